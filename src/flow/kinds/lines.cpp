// lines and jsonl: the lines of a file or of standard input.
#include <boost/json.hpp>
#include <fmt/format.h>

#include <flow/kinds/kinds.hpp>
#include <flow/kinds/line_reader.hpp>
#include <leat/flow/record.hpp>

namespace leat {

namespace {

// Throws permanent_error for a line that is no JSON value. False for one that is blank.
bool check_json(std::string_view line, const line_reader& at, boost::json::parser& parser) {
    const std::size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return false;
    boost::json::error_code error;
    parser.reset();
    const std::size_t good = parser.write_some(line.data(), line.size(), error);
    if (!error && line.find_first_not_of(" \t\r", good) != std::string_view::npos)
        error = boost::json::error::extra_data;
    if (error) throw permanent_error(fmt::format("{}:{}: not JSON: {}", at.place(), good + 1, error.message()));
    return true;
}

class lines_source final : public source {
public:
    lines_source(const option_values& given, bool json)
        : path_(given.text("path")),
          end_(!json && given.text("end") == "nul" ? '\0' : '\n'),
          longest_(given.size("max_line")),
          json_(json) {}

    task<> run(source_output& out) override {
        line_reader in(path_, end_, longest_);
        co_await in.open();
        boost::json::parser parser;
        std::uint64_t sequence = 0;
        do {
            while (const auto line = in.take()) {
                if (line->size() > longest_)
                    throw permanent_error(fmt::format("{}: the line is longer than {} bytes", in.place(), longest_));
                if (json_ && !check_json(*line, in, parser)) continue;
                record each(std::string(*line), in.place());
                each.sequence = sequence++;
                payload value(std::move(each));
                co_await out.emit(std::move(value));
            }
        } while (co_await in.fill());
    }

    [[nodiscard]] bool has_unique_names() const noexcept override { return true; }

private:
    std::string path_;
    char end_;
    std::uint64_t longest_;
    bool json_;
};

option path_option() {
    return option("path", option_type::text, "the file; \"-\" is standard input")
        .required()
        .at_least(1)
        .also_called({"file"});
}
option longest_option() {
    return option("max_line", option_type::size, "a longer line ends the flow with an error")
        .defaults("16MiB")
        .at_least(1)
        .also_called({"max_length"});
}

}  // namespace

void add_lines_kinds(registry& kinds) {
    component lines;
    lines.role = component_role::source;
    lines.name = "lines";
    lines.summary = "the lines of a file or of standard input";
    lines.help = "The key of an item is \"FILE:LINE\". The last line needs no line end.\n";
    lines.options = {path_option(),
                     option("end", option_type::word, "what ends a line; nul: as 'find -print0' writes it")
                         .one_of({"newline", "nul"})
                         .defaults("newline"),
                     longest_option()};
    lines.make_source = [](const option_values& given) -> std::shared_ptr<source> {
        return std::make_shared<lines_source>(given, false);
    };
    kinds.add(std::move(lines));

    component jsonl;
    jsonl.role = component_role::source;
    jsonl.name = "jsonl";
    jsonl.summary = "the lines of a file, each a JSON value";
    jsonl.help =
        "The key of an item is \"FILE:LINE\". A line that is no JSON value ends the flow; blank lines are left out.\n";
    jsonl.options = {path_option(), longest_option()};
    jsonl.make_source = [](const option_values& given) -> std::shared_ptr<source> {
        return std::make_shared<lines_source>(given, true);
    };
    kinds.add(std::move(jsonl));
}

}  // namespace leat
