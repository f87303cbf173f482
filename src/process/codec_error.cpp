#include <leat/process/codec_error.hpp>

#include <fmt/format.h>
#include <string_view>

namespace leat {

std::string codec_term::text() const {
    const std::string_view words = what;
    const std::size_t gap = words.find("{}");
    if (gap == std::string_view::npos) return std::string(words);
    return fmt::format("{}{}{}{}", words.substr(0, gap), negative ? "-" : "", number, words.substr(gap + 2));
}

std::string codec_error::text() const {
    return fmt::format("at byte {}: expected {}, found {}", offset, expected.text(), found.text());
}

}  // namespace leat
