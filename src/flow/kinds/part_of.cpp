#include <flow/kinds/part_of.hpp>

#include <boost/json.hpp>
#include <fmt/format.h>

#include <leat/flow/policy.hpp>

namespace leat {

namespace {

constexpr std::string_view attribute_prefix = "attribute:";

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view blanks = " \t\r\n";
    const std::size_t first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

}  // namespace

part_of::part_of(std::string_view spec, const std::string& option) : which_(part::content) {
    if (spec == "content") return;
    if (spec == "line") which_ = part::line;
    else if (spec == "key") which_ = part::key;
    else if (spec.starts_with(attribute_prefix) && spec.size() > attribute_prefix.size())
        which_ = part::attribute, name_ = spec.substr(attribute_prefix.size());
    else if (spec.starts_with('/')) {
        which_ = part::pointer, name_ = spec;
        boost::json::error_code
            error;  // asked of an empty object: a pointer that is none is told from one that finds nothing
        (void)boost::json::value(boost::json::object()).find_pointer(name_, error);
        if (error && error != boost::json::error::not_found && error != boost::json::error::value_is_scalar)
            throw option_error(option, fmt::format("is no JSON pointer: \"{}\"; {}", spec, error.message()));
    } else {
        throw option_error(option, fmt::format("is \"{}\"; expected {}", spec, words));
    }
}

std::string_view part_of::get(const record& from, std::string& room) const {
    switch (which_) {
        case part::content:
            return from.bytes;
        case part::line:
            return trimmed(from.bytes);
        case part::key:
            return from.key;
        case part::attribute:
            for (const auto& [name, value] : from.attributes)
                if (name == name_) return value;
            throw permanent_error(fmt::format("it has no attribute '{}'", name_));
        case part::pointer:
            break;
    }
    boost::json::error_code error;
    const boost::json::value whole = boost::json::parse(from.bytes, error);
    if (error) throw permanent_error(fmt::format("it is not JSON: {}", error.message()));
    const boost::json::value* found = whole.find_pointer(name_, error);
    if (found == nullptr) throw permanent_error(fmt::format("it has no value at '{}'", name_));
    if (found->is_string()) room.assign(found->get_string().data(), found->get_string().size());
    else room = boost::json::serialize(*found);
    return room;
}

}  // namespace leat
