// csv: the rows of a file of comma-separated values, each as a JSON object.
#include <fmt/format.h>

#include <flow/csv_reader.hpp>
#include <flow/kinds/kinds.hpp>
#include <flow/record_json.hpp>
#include <leat/flow/record.hpp>

namespace leat {

namespace {

char separator_of(const option_values& given) {
    const std::string& text = given.text("separator");
    if (text == "tab") return '\t';
    if (text.size() != 1 || text == "\"" || text == "\n" || text == "\r")
        throw option_error("separator",
                           "is no separator; expected one character that is no quote and no line end, or \"tab\"");
    return text.front();
}

csv_options options_of(const option_values& given) {
    csv_options made(given.text("path"));
    made.separator = separator_of(given);
    made.header = given.boolean("header");
    if (given.has("columns")) made.columns = given.list("columns");
    if (!made.header && made.columns.empty())
        throw option_error("header", "is false, but 'columns' does not say what the columns are called");
    made.trim = given.boolean("trim");
    made.longest_row = given.size("max_row");
    const std::string& bad = given.text("bad_rows");
    made.bad_rows = bad == "skip"          ? csv_bad_rows::skip
                    : bad == "dead-letter" ? csv_bad_rows::dead_letter
                    : bad == "keep-going"  ? csv_bad_rows::keep_going
                    : bad == "pass-on"     ? csv_bad_rows::pass_on
                                           : csv_bad_rows::fail;
    return made;
}

class csv_rows final : public source {
public:
    explicit csv_rows(const option_values& given) try : in_(options_of(given)) {
    } catch (const std::invalid_argument& error) {
        throw option_error("columns", fmt::format("cannot be used: {}", error.what()));
    }

    task<> run(source_output& out) override {
        co_await in_.open();
        for (const std::string& each : *in_.columns()) {
            if (!is_utf8(each))
                throw permanent_error(fmt::format("{}: the name of a column is not UTF-8", in_.options().path));
            std::string& name = names_.emplace_back();
            append_json_string(name, each);
        }
        std::uint64_t sequence = 0;
        for (bool more = true; more; more = co_await in_.fill()) {
            while (in_.take()) {
                std::string why;
                payload value(next_record(sequence++, why));
                if (!why.empty() && in_.options().bad_rows != csv_bad_rows::pass_on)
                    co_await out.refuse(std::move(value), why, to_on_error(in_.options().bad_rows));
                else if (out.put(std::move(value))) co_await out.flush();
            }
            co_await out.flush();
        }
    }
    bool has_unique_names() const noexcept override { return true; }
    bool has_dead_letters() const noexcept override { return in_.options().bad_rows == csv_bad_rows::dead_letter; }

private:
    // `why`: it is bad.
    record next_record(std::uint64_t sequence, std::string& why) const {
        record made(std::string(), in_.key());
        why = in_.why();
        if (why.empty()) why = write(made.bytes);
        made.sequence = sequence;
        if (why.empty()) return made;
        made.bytes = in_.raw();
        if (in_.options().bad_rows == csv_bad_rows::pass_on) made.set_attribute("error", why);
        return made;
    }
    // The row as a JSON object; gives what is wrong with it.
    std::string write(std::string& to) const {
        to += '{';
        for (std::size_t i = 0; i < names_.size(); ++i) {
            if (i != 0) to += ',';
            to += names_[i];
            to += ':';
            const std::string_view field = in_.field(i);
            if (!is_utf8(field)) return fmt::format("{}: column {} is not UTF-8", in_.key(), names_[i]);
            append_json_string(to, field);
        }
        to += '}';
        return {};
    }
    csv_reader in_;
    std::vector<std::string> names_;  // as JSON
};

}  // namespace

void add_csv_kind(registry& kinds) {
    component kind;
    kind.role = component_role::source;
    kind.name = "csv";
    kind.summary = "the rows of a file of comma-separated values, each as a JSON object";
    kind.help =
        "As RFC 4180 has it: fields in quotes may hold separators, line ends and doubled quotes. Lines end with CR LF "
        "or "
        "LF,\n"
        "empty ones are left out, and the last needs no end. The members of an object are texts, in the order of the\n"
        "columns. The key of an item is \"FILE:LINE\", with the line in which the row begins. A row is bad when a "
        "quote "
        "is\n"
        "misplaced or not closed, when it has another number of fields than there are columns, is too long, or is not "
        "UTF-8.\n";
    kind.options = {
        option("path", option_type::text, "the file; \"-\" is standard input")
            .required()
            .at_least(1)
            .also_called({"file"}),
        option("separator", option_type::text, "what stands between fields; \"tab\" for a tab")
            .defaults(",")
            .also_called({"delimiter", "sep"}),
        option("header", option_type::boolean, "the first row has the names of the columns").defaults("true"),
        option("columns", option_type::text_list, "the names of the columns, in the place of those in the header")
            .also_called({"names", "fields"}),
        option("trim", option_type::boolean, "fields lose the blanks around them").defaults("false"),
        option("max_row", option_type::size, "a longer row is bad")
            .defaults("16MiB")
            .at_least(1)
            .also_called({"max_line"}),
        option(
            "bad_rows", option_type::word,
            "what becomes of a bad row: as 'on_error' of a stage, or 'pass-on': an item with its text, and why in the "
            "attribute 'error'")
            .one_of({"fail", "skip", "dead-letter", "keep-going", "pass-on"})
            .defaults("fail")
            .also_called({"on_error", "errors"})};
    kind.make_source = [](const option_values& given) -> std::shared_ptr<source> {
        return std::make_shared<csv_rows>(given);
    };
    kinds.add(std::move(kind));
}

}  // namespace leat
