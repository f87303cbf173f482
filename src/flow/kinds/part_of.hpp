// part_of: the part of a record that an option names: its content, its key, an attribute, a value inside its JSON. Shared by
// the kinds that look at one of them.
#pragma once

#include <string>
#include <string_view>

#include <leat/flow/option.hpp>
#include <leat/flow/record.hpp>

namespace leat {

class part_of {
public:
    // "content", "line" (the content without its line end and the blanks around it), "key", "attribute:NAME", or a JSON
    // pointer ("/a/b", or "/" and so on as in RFC 6901). Throws option_error for `option` on anything else.
    part_of(std::string_view spec, const std::string& option);

    // The part; `room` holds it when it is not in the record itself. A JSON text is given as it is, any other JSON value
    // as JSON. Throws permanent_error when the record has no such part.
    [[nodiscard]] std::string_view get(const record& from, std::string& room) const;

    // For the help of an option.
    static constexpr const char* words = "content, line, key, attribute:NAME, or a JSON pointer such as /name";

private:
    enum class part : unsigned char { content, line, key, attribute, pointer };
    part which_;
    std::string name_;
};

}  // namespace leat
