// split: cuts the content of an item into pieces, an item each.
#include <flow/kinds/kinds.hpp>
#include <leat/flow/record.hpp>

namespace leat {

namespace {

enum class cut : unsigned char { lines, paragraphs, separator };

struct split_settings {
    explicit split_settings(const option_values& given) : keep_empty(given.boolean("keep_empty")) {
        const std::string& word = given.text("by");
        by = word == "paragraphs" ? cut::paragraphs : word == "separator" ? cut::separator : cut::lines;
        if (by == cut::separator) {
            if (!given.has("separator"))
                throw option_error("by", "is \"separator\", but 'separator' does not say which");
            separator = given.text("separator");
        } else if (given.has("separator")) {
            throw option_error("separator", "is given, but 'by' is not \"separator\"");
        }
    }
    cut by;
    std::string separator = "\n";
    bool keep_empty;
};

// Takes the next piece off the front of `rest`; `more` turns false with the last.
std::string_view take_piece(std::string_view& rest, bool& more, std::string_view separator) {
    const std::size_t end = rest.find(separator);
    const std::string_view piece = rest.substr(0, end);
    more = end != std::string_view::npos;
    rest.remove_prefix(more ? end + separator.size() : rest.size());
    return piece;
}

// The same for paragraphs: runs of lines that are not empty.
std::string_view take_paragraph(std::string_view& rest, bool& more) {
    while (!rest.empty() && (rest.front() == '\n' || rest.starts_with("\r\n")))
        rest.remove_prefix(rest.front() == '\n' ? 1 : 2);
    std::size_t end = 0;
    while (end < rest.size()) {  // line by line to an empty one
        const std::size_t line_end = std::min(rest.find('\n', end), rest.size());
        const std::string_view line = rest.substr(end, line_end - end);
        if (line.empty() || line == "\r") break;
        end = line_end + 1;
    }
    std::string_view piece = rest.substr(0, std::min(end, rest.size()));
    rest.remove_prefix(piece.size());
    more = !rest.empty();
    while (!piece.empty() && (piece.back() == '\n' || piece.back() == '\r')) piece.remove_suffix(1);
    return piece;
}

class split_worker final : public stage_worker {
public:
    explicit split_worker(std::shared_ptr<const split_settings> settings) : settings_(std::move(settings)) {}

    task<> process(item& in, emitter& out) override {
        const auto& whole = in.value.as<record>();
        std::string_view rest = whole.bytes;
        bool more = !rest.empty();
        for (std::size_t number = 0; more;) {
            const std::string_view piece = settings_->by == cut::paragraphs
                                               ? take_paragraph(rest, more)
                                               : take_piece(rest, more, settings_->separator);
            if (settings_->by == cut::lines && rest.empty()) more = false;  // a last line end begins no line
            if (piece.empty() && !settings_->keep_empty) continue;
            record each(std::string(piece), whole.key + "#" + std::to_string(++number));
            each.attributes = whole.attributes;
            each.sequence = whole.sequence;
            payload value(std::move(each));
            co_await out.emit(std::move(value));
        }
    }

private:
    std::shared_ptr<const split_settings> settings_;
};

class split_stage final : public stage {
public:
    explicit split_stage(const option_values& given) : settings_(std::make_shared<split_settings>(given)) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<split_worker>(settings_); }

private:
    std::shared_ptr<const split_settings> settings_;
};

}  // namespace

void add_split_kind(registry& kinds) {
    component kind;
    kind.name = "split";
    kind.summary = "cuts the content into pieces, an item each";
    kind.help = "A piece is called KEY#N, N from 1, and has the attributes of the whole.\n";
    kind.options = {
        option("by", option_type::word, "where it is cut; a paragraph ends at an empty line")
            .one_of({"lines", "paragraphs", "separator"})
            .defaults("lines"),
        option("separator", option_type::text, "the text between pieces, with by = \"separator\"").at_least(1),
        option("keep_empty", option_type::boolean, "empty pieces are items too").defaults("false")};
    kind.make_stage = [](const option_values& given) -> std::shared_ptr<stage> {
        return std::make_shared<split_stage>(given);
    };
    kinds.add(std::move(kind));
}

}  // namespace leat
