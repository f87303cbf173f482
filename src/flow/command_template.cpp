#include <leat/flow/command_template.hpp>

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <stdexcept>

#include <flow/shell_text.hpp>
#include <leat/flow/policy.hpp>

namespace leat {

namespace {

std::string_view without_extension(std::string_view item) {
    const auto dot = item.rfind('.');
    const auto slash = item.rfind('/');
    if (dot == std::string_view::npos || (slash != std::string_view::npos && dot < slash)) return item;
    return item.substr(0, dot);
}

std::string_view base_name(std::string_view item) { return item.substr(item.rfind('/') + 1); }

// All slashes at the end go, but not the first byte.
std::string_view without_trailing_slashes(std::string_view path) {
    while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
    return path;
}

// As dirname of Perl's File::Basename, which is what GNU parallel calls: the directory of "a/b/" is "a".
std::string_view folder_of(std::string_view item) {
    const auto slash = item.rfind('/');
    if (slash == std::string_view::npos) return ".";
    const auto folder = without_trailing_slashes(item.substr(0, slash + 1));
    if (slash + 1 < item.size() || folder == "/") return folder;
    const auto above = folder.rfind('/');
    return above == std::string_view::npos ? "." : without_trailing_slashes(folder.substr(0, above + 1));
}

}  // namespace

command_template::command_template(std::vector<std::string> argv, command_template_options options) {
    if (argv.empty()) throw std::invalid_argument("there is no command");
    if (argv[0].empty()) throw std::invalid_argument("the command is an empty string");
    for (const std::string& each : argv)
        if (each.find('\0') != std::string::npos)
            throw std::invalid_argument("an argument of the command holds a NUL byte, which no argument can");
    bool any = false;
    for (const std::string& each : argv) {
        arguments_.push_back(parse(each));
        for (const piece& each_piece : arguments_.back().pieces) {
            any |= each_piece.what != part::text;
            takes_item_ |= is_of_item(each_piece.what);
            takes_number_ |= each_piece.what == part::number || each_piece.what == part::slot;
        }
    }
    if (!any && options.append_item) {
        argv.emplace_back("{}");
        arguments_.push_back(parse("{}"));
        takes_item_ = true;
    }
    check_shell(argv, options.shell_quote);
}

// Upholds invariant 2.
void command_template::check_shell(const std::vector<std::string>& argv, bool shell_quote) {
    const auto use = find_shell_text(argv);
    if (!use || use->text == argv.size()) return;
    argument& text = arguments_[use->text];
    if (std::none_of(text.pieces.begin(), text.pieces.end(), [](const piece& each) { return is_of_item(each.what); }))
        return;
    const std::string advice = fmt::format(
        "give it as an argument instead, which the text names as \"$0\": {} -c 'echo \"$0\"' {{}}", use->shell);
    if (!shell_quote)
        throw std::invalid_argument(fmt::format(
            "the item would become part of the text that {} runs (-c {:?}), where it could be read as a command; "
            "{} (or ask for --shell-quote)",
            use->shell, argv[use->text], advice));
    if (!use->posix)
        throw std::invalid_argument(
            fmt::format("{} has quotes of its own, which --shell-quote does not know; {}", use->shell, advice));
    std::size_t place = 0;
    std::string shown;  // the text with each replacement string as an empty quoted word
    for (const piece& each : text.pieces) {
        if (is_of_item(each.what)) {
            if (const auto problem = problem_with_quoting_at(shown, place))
                throw std::invalid_argument(fmt::format(
                    "--shell-quote cannot quote an item {} (in the text of {} -c); {}", *problem, use->shell, advice));
            shown += "''";
        } else {
            shown += each.what == part::text ? each.text : "1";
        }
        place = shown.size();
    }
    text.quoted = true;
}

command_template::argument command_template::parse(std::string_view text) {
    argument parsed;
    const auto add_text = [&](std::string_view more) {
        if (more.empty()) return;
        if (parsed.pieces.empty() || parsed.pieces.back().what != part::text)
            parsed.pieces.push_back({part::text, {}, 0});
        parsed.pieces.back().text += more;
    };
    while (!text.empty()) {
        const auto open = text.find('{');
        add_text(text.substr(0, open));
        if (open == std::string_view::npos) break;
        text.remove_prefix(open);
        const auto close = text.find('}');
        std::string_view inside = close == std::string_view::npos ? text : text.substr(1, close - 1);
        part what = part::text;
        std::size_t place = 0;
        if (inside == "#") what = part::number;
        else if (inside == "%") what = part::slot;
        else {
            const auto digits = std::min(inside.find_first_not_of("0123456789"), inside.size());
            const std::string_view position = inside.substr(0, digits);
            const std::string_view rest = inside.substr(digits);
            if (rest.empty()) what = part::item;
            else if (rest == ".") what = part::stem;
            else if (rest == "/") what = part::base;
            else if (rest == "//") what = part::folder;
            else if (rest == "/.") what = part::base_stem;
            // {0} is no position, and one of more digits than these is text.
            if (what != part::text && !position.empty()) {
                const auto [end, error] = std::from_chars(position.data(), position.data() + position.size(), place);
                if (position[0] == '0' || error != std::errc()) what = part::text;
            }
        }
        if (close == std::string_view::npos || what == part::text) {
            add_text(text.substr(0, 1));
            text.remove_prefix(1);
        } else {
            parsed.pieces.push_back({what, {}, place});
            text.remove_prefix(close + 1);
        }
    }
    return parsed;
}

std::string command_template::fixed_command() const {
    const auto& pieces = arguments_[0].pieces;
    return pieces.size() == 1 && pieces[0].what == part::text ? pieces[0].text : std::string();
}

namespace {

// What a shell is to read as one word, or the value as it is.
std::string quoted_if(bool quoted, std::string_view value) {
    return quoted ? single_quoted(value) : std::string(value);
}

}  // namespace

std::string command_template::value_of(const piece& which, std::span<const std::string> parts, bool quoted) {
    if (which.position == 0) {
        std::string all;
        for (std::size_t place = 1; place <= parts.size(); ++place) {
            if (place > 1) all += ' ';
            all += value_of({which.what, {}, place}, parts, quoted);
        }
        return all;
    }
    const std::string_view value =
        which.position <= parts.size() ? std::string_view(parts[which.position - 1]) : std::string_view();
    switch (which.what) {
        case part::stem:
            return quoted_if(quoted, without_extension(value));
        case part::base:
            return quoted_if(quoted, base_name(value));
        case part::folder:
            return quoted_if(quoted, value.data() == nullptr ? value : folder_of(value));
        case part::base_stem:
            return quoted_if(quoted, without_extension(base_name(value)));
        default:
            return quoted_if(quoted, value);
    }
}

std::vector<std::string> command_template::fill(std::span<const std::string> parts, std::uint64_t number,
                                                unsigned slot) const {
    if (takes_item_)
        for (const std::string& each : parts)
            if (const auto nul = each.find('\0'); nul != std::string::npos)
                throw permanent_error(fmt::format(
                    "the item holds a NUL byte (at byte {}), which an argument cannot; a command can be given such an "
                    "item on its standard input",
                    nul + 1));
    std::vector<std::string> filled;
    filled.reserve(arguments_.size() + parts.size());
    for (const argument& each : arguments_) {
        if (is_all_parts(each) && !each.quoted) {
            for (std::size_t place = 1; place <= parts.size(); ++place)
                filled.push_back(value_of({each.pieces[0].what, {}, place}, parts, false));
            continue;
        }
        std::string& text = filled.emplace_back();
        for (const piece& next : each.pieces) {
            switch (next.what) {
                case part::text:
                    text += next.text;
                    break;
                case part::number:
                    text += fmt::to_string(number);
                    break;
                case part::slot:
                    text += fmt::to_string(slot);
                    break;
                default:
                    text += value_of(next, parts, each.quoted);
            }
        }
    }
    return filled;
}

std::string shell_line(std::span<const std::string> words) {
    constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:@_";
    std::string line;
    for (const std::string& each : words) {
        if (!line.empty()) line += ' ';
        const bool is_plain = !each.empty() && each.find_first_not_of(plain) == std::string::npos;
        line += is_plain ? each : single_quoted(each);
    }
    return line;
}

}  // namespace leat
