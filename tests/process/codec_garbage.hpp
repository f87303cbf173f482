// What the tests of malformed messages and the fuzzer share: a type with a bit of everything, and one look at a message.
#pragma once

#include <array>
#include <chrono>
#include <cstdlib>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <leat/process/codec.hpp>

namespace codec_garbage {

enum class colour : signed char { dark = -3, red = 0, green, blue = 100 };

struct pixel {
    std::array<float, 3> at{};
    colour paint = colour::red;
    bool seen = false;
    friend bool operator==(const pixel&, const pixel&) = default;
};
struct branch {
    std::string name;
    std::vector<branch> below;
    std::optional<std::int64_t> weight;
    friend bool operator==(const branch&, const branch&) = default;
};
struct everything {
    std::variant<std::monostate, std::string, std::vector<std::int32_t>, branch> any;
    std::map<std::string, std::list<std::optional<std::optional<short>>>> by_name;
    std::set<std::uint16_t> marks;
    std::vector<pixel> pixels;
    std::tuple<bool, double, float, colour, std::chrono::milliseconds> scalars;
    std::unordered_map<int, std::pair<std::string, pixel>> by_number;
    std::array<std::string, 2> names;
    std::vector<bool> bits;
    pixel one;
    friend bool operator==(const everything&, const everything&) = default;
};

inline everything example() {
    everything made;
    made.any = branch{"root", {{"left", {}, 5}, {"right", {{"leaf", {}, {}}}, -70'000}}, {}};
    made.by_name = {{"a", {std::optional<short>(1), std::nullopt, std::optional<short>()}}, {"b", {}}};
    made.marks = {1, 2, 40'000};
    made.pixels = {{{1, 2, 3}, colour::blue, true}, {{4, 5, 6}, colour::dark, false}};
    made.scalars = {true, 0.5, 1.5F, colour::green, std::chrono::milliseconds(1500)};
    made.by_number = {{-1, {std::string(50, 'x'), {}}}, {1 << 20, {"", {}}}};
    made.names = {"first", std::string(300, 'y')};
    made.bits = {true, false, true};
    return made;
}

// What is read is written and read again as the same; returns whether there was something to read.
template <class T>
bool look(std::string_view message) {
    const leat::expected<T, leat::codec_error> value = leat::decode<T>(message);
    if (!value) {
        if (value.error().offset > message.size() || value.error().text().empty()) std::abort();
        return false;
    }
    const std::string written = leat::encode(*value);
    const leat::expected<T, leat::codec_error> again = leat::decode<T>(written);
    // Of the same size: a hash map may have another order, and NaN is not equal to itself.
    if (!again || leat::encode(*again).size() != written.size()) std::abort();
    return true;
}

}  // namespace codec_garbage
