// codec: what crosses to another process arrives as it was, and what a message must look like.
#include <leat/process/codec.hpp>

#include <array>
#include <chrono>
#include <deque>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>
#include <list>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

// Types with names of their own, since those of an unnamed namespace would be other types in another program.
namespace codec_test {

enum class colour : unsigned char { red, green, blue = 200 };
enum plain_colour { cyan, magenta };
enum class signed_step : short { back = -1, none, forth };
enum class permissions : unsigned { read = 1, write = 2 };

struct point {
    double x = 0;
    double y = 0;
    friend bool operator==(const point&, const point&) = default;
};
struct padded {
    char letter = 0;
    bool yes = false;
    std::int64_t number = 0;
    colour paint = colour::red;
    std::array<point, 2> ends;
    friend bool operator==(const padded&, const padded&) = default;
};
struct nothing {
    friend bool operator==(const nothing&, const nothing&) = default;
};
struct person {
    std::string name;
    unsigned age = 0;
    std::vector<std::string> mail;
    std::optional<point> home;
    friend bool operator==(const person&, const person&) = default;
};
struct tree {
    int value = 0;
    std::vector<tree> children;
    std::map<std::string, tree> named;
    friend bool operator==(const tree&, const tree&) = default;
};
struct no_default {
    explicit no_default(int from) : value(from) {}
    int value;
    friend bool operator==(const no_default&, const no_default&) = default;
};
struct even {
    int value;
    friend bool operator==(const even&, const even&) = default;
};
struct holds_own {
    no_default first;
    std::vector<even> rest;
    friend bool operator==(const holds_own&, const holds_own&) = default;
};
struct twice_own {
    no_default inner;
    friend bool operator==(const twice_own&, const twice_own&) = default;
};
struct maybe_own {
    std::optional<int> value;
    friend bool operator==(const maybe_own&, const maybe_own&) = default;
};

}  // namespace codec_test

template <>
inline constexpr bool leat::any_enum_value<codec_test::permissions> = true;
template <>
struct leat::codec<codec_test::no_default> {
    static int pack(const codec_test::no_default& value) { return value.value; }
    static codec_test::no_default unpack(int value) { return codec_test::no_default(value); }
};
template <>
struct leat::codec<codec_test::even> {
    static int pack(codec_test::even value) { return value.value; }
    static std::optional<codec_test::even> unpack(int value) {
        if (value % 2 != 0) return std::nullopt;
        return codec_test::even{value};
    }
};
template <>
struct leat::codec<codec_test::twice_own> {
    static codec_test::no_default pack(const codec_test::twice_own& value) { return value.inner; }
    static codec_test::twice_own unpack(codec_test::no_default value) { return {value}; }
};
template <>
struct leat::codec<codec_test::maybe_own> {
    static std::optional<int> pack(codec_test::maybe_own value) { return value.value; }
    static codec_test::maybe_own unpack(std::optional<int> value) { return {value}; }
};

namespace {

using namespace codec_test;
using namespace std::literals;

template <class T>
void expect_back(const T& value) {
    const std::string message = leat::encode(value);
    const auto again = leat::decode<T>(message);
    ASSERT_TRUE(again) << again.error().text();
    EXPECT_TRUE(*again == value);
}

// What decoding a T from these bytes complains of.
template <class T>
std::string complaint(std::string_view message) {
    const auto value = leat::decode<T>(message);
    return value ? "nothing" : value.error().text();
}

TEST(codec, gives_back_every_kind_of_value) {
    expect_back(true);
    expect_back('x');
    expect_back(std::numeric_limits<std::int64_t>::min());
    expect_back(1.5F);
    expect_back(colour::blue);
    expect_back(magenta);
    expect_back(static_cast<permissions>(3));
    expect_back(std::byte{77});
    expect_back(1500ms);
    expect_back(std::chrono::system_clock::time_point(12345s));
    expect_back(nothing());
    expect_back(std::array<int, 3>{1, 2, 3});
    expect_back(std::array<int, 0>());
    expect_back(padded{'a', true, -5, colour::green, {{{1, 2}, {3, 4}}}});
    expect_back(""s);
    expect_back(std::string(100'000, 'x') + '\0' + "after a zero");
    expect_back(std::vector<int>{1, -1, 1 << 30});
    expect_back(std::vector<bool>{true, false, true});
    expect_back(std::vector<padded>(3));
    expect_back(std::vector<nothing>(3));
    expect_back(std::vector<std::string>{"a", std::string(40, 'b'), std::string(300, 'c'), std::string(70'000, 'd')});
    expect_back(std::deque<short>{1, 2, 300});
    expect_back(std::list<std::optional<float>>{1.5F, std::nullopt});
    expect_back(std::set<std::string>{"b", "a"});
    expect_back(std::multiset<int>{1, 1, 2});
    expect_back(std::unordered_set<int>{1, 2, 3});
    expect_back(std::map<std::string, std::vector<int>>{{"a", {1}}, {"b", {}}});
    expect_back(std::unordered_map<int, std::string>{{1, "one"}, {-1, "minus one"}});
    expect_back(std::multimap<int, int>{{1, 2}, {1, 2}});
    expect_back(std::pair<int, std::string>(1, "one"));
    expect_back(std::tuple<>());
    expect_back(std::tuple<char, std::string, std::tuple<double>>('a', "b", 0.5));
    expect_back(std::variant<std::monostate, int, std::string>("text"));
    expect_back(std::variant<int, int>(std::in_place_index<1>, 5));
    expect_back(std::optional<std::string>());
    expect_back(std::array<std::string, 2>{"a", "b"});
    expect_back(person{"Ada", 36, {"a@b", "c@d"}, point{1, 2}});
    expect_back(tree{1, {{2, {}, {}}, {3, {{4, {}, {}}}, {}}}, {{"x", {5, {}, {}}}}});
}

TEST(codec, tells_apart_what_is_missing_inside_what_is_missing) {
    using doubly = std::optional<std::optional<int>>;
    expect_back(doubly());
    expect_back(doubly(std::optional<int>()));
    expect_back(doubly(5));
    expect_back(std::optional<maybe_own>());
    expect_back(std::optional<maybe_own>(maybe_own{}));
}

TEST(codec, gives_back_types_with_a_codec_of_their_own) {
    expect_back(no_default(7));
    expect_back(twice_own{no_default(8)});
    expect_back(std::vector<twice_own>(2, {no_default(9)}));
    expect_back(std::array<no_default, 2>{no_default(1), no_default(2)});
    expect_back(std::map<int, no_default>{{1, no_default(2)}});
    expect_back(holds_own{no_default(1), {{2}, {4}}});
    EXPECT_EQ(complaint<even>(leat::encode(3)),
              "at byte 0: expected a value that its codec accepts, found one that it refuses");
    EXPECT_EQ(complaint<std::vector<even>>("\x92\x02\x03"),
              "at byte 2: expected a value that its codec accepts, found one that it refuses");
}

TEST(codec, gives_back_numbers_of_all_lengths_inside_a_message) {
    for (int bits = 0; bits < 64; ++bits)
        for (const int around : {-1, 0, 1}) {
            const std::uint64_t number = (std::uint64_t{1} << bits) + static_cast<std::uint64_t>(around);
            expect_back(std::tuple(number, static_cast<std::int64_t>(number), -static_cast<std::int64_t>(number / 2)));
            expect_back(std::tuple(static_cast<std::int8_t>(number), static_cast<std::int16_t>(number)));
            expect_back(std::tuple(static_cast<std::uint8_t>(number), static_cast<std::uint32_t>(number)));
        }
    expect_back(std::tuple(1.0F, 1e300, -0.0, std::numeric_limits<double>::infinity()));
}

TEST(codec, sends_numbers_and_their_aggregates_as_bytes_without_padding) {
    EXPECT_EQ(leat::encode(std::uint32_t{0x01020304}), "\4\3\2\1");
    EXPECT_EQ(leat::codec_bytes<padded>, 1U + 1 + 8 + 1 + 32);
    EXPECT_EQ(leat::encode(padded()).size(), leat::codec_bytes<padded>);
    EXPECT_EQ(leat::encode(nothing()), "");
    EXPECT_FALSE(leat::codec_is_bytes<std::string>);
    std::array<char, leat::codec_bytes<point>> place{};
    leat::encode_bytes<point>(place, {1, 2});
    EXPECT_EQ(std::string_view(place.data(), place.size()), leat::encode(point{1, 2}));
}

// What the specification of MessagePack says.
TEST(codec, sends_the_rest_as_message_pack) {
    EXPECT_EQ(leat::encode(std::tuple(7, -1, 200, -200, 70'000)),
              "\x95\x07\xff\xcc\xc8\xd1\xff\x38\xce\x00\x01\x11\x70"s);
    EXPECT_EQ(leat::encode("hello"s), "\xa5hello");
    EXPECT_EQ(leat::encode(std::string(40, 'x')), "\xd9\x28" + std::string(40, 'x'));
    EXPECT_EQ(leat::encode(std::tuple(true, false, 0.5F, 0.5)),
              "\x94\xc3\xc2\xca\x3f\x00\x00\x00\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00"s);
    EXPECT_EQ(leat::encode(std::map<std::string, int>{{"a", 1}}), "\x81\xa1\x61\x01");
    EXPECT_EQ(leat::encode(std::optional<int>()), "\xc0");
    EXPECT_EQ(leat::encode(std::variant<int, std::string>("x")), "\x92\x01\xa1x");
    EXPECT_EQ(leat::encode(std::vector<std::uint16_t>{1, 2}), "\xc4\x04\x01\x00\x02\x00"s);
    EXPECT_EQ(leat::encode(std::list<int>(16)).substr(0, 3), "\xdc\x00\x10"s);
    EXPECT_EQ(leat::encode(std::tuple(colour::blue, 5s)), "\x92\xcc\xc8\x05");
    EXPECT_EQ(leat::encode(person{"A", 1, {}, {}}),
              "\x94\xa1"
              "A\x01\x90\xc0");
}

TEST(codec, appends_to_what_is_there) {
    std::string out = "before";
    leat::encode_to(out, "x"s);
    leat::encode_to(out, 'y');
    leat::encode_to(out, padded());
    EXPECT_EQ(out.substr(0, 9), "before\xa1xy");
    EXPECT_EQ(out.size(), 9 + leat::codec_bytes<padded>);
}

TEST(codec, reads_numbers_that_were_written_longer_than_they_need) {
    EXPECT_EQ(std::get<0>(*leat::decode<std::tuple<int>>("\x91\xd3\x00\x00\x00\x00\x00\x00\x00\x05"s)), 5);
    EXPECT_EQ(std::get<0>(*leat::decode<std::tuple<std::uint8_t>>("\x91\xd1\x00\x05"s)), 5);
    EXPECT_EQ(std::get<0>(*leat::decode<std::tuple<double>>("\x91\xca\x3f\x00\x00\x00"s)), 0.5);
}

TEST(codec, says_where_a_message_is_wrong_and_how) {
    EXPECT_EQ(complaint<int>("abc"), "at byte 3: expected 4 bytes, found the end");
    EXPECT_EQ(complaint<int>("abcde"), "at byte 4: expected the end, found 1 bytes more");
    EXPECT_EQ(complaint<bool>("\x02"), "at byte 0: expected a bool, found the byte 2");
    EXPECT_EQ(complaint<colour>("\x05"), "at byte 0: expected an enumerator, found the number 5");
    EXPECT_EQ(complaint<signed_step>("\xfe\xff"), "at byte 0: expected an enumerator, found the number -2");
    EXPECT_EQ(complaint<padded>("a\x07"s + std::string(41, '\0')), "at byte 1: expected a bool, found the byte 7");
    EXPECT_EQ(complaint<std::vector<colour>>("\xc4\x02\x01\x07"),
              "at byte 3: expected an enumerator, found the number 7");
    EXPECT_EQ(complaint<std::tuple<colour>>("\x91\x07"), "at byte 1: expected an enumerator, found the number 7");
    EXPECT_EQ(complaint<std::string>(""), "at byte 0: expected a string, found the end");
    EXPECT_EQ(complaint<std::string>("\xa5hell"), "at byte 5: expected 5 bytes, found the end");
    EXPECT_EQ(complaint<std::string>("\xda\x01"), "at byte 2: expected 2 bytes of a number, found the end");
    EXPECT_EQ(complaint<std::string>("\xa1xy"), "at byte 2: expected the end, found 1 bytes more");
    EXPECT_EQ(complaint<std::string>("\x07"), "at byte 0: expected a string, found the number 7");
    EXPECT_EQ(complaint<std::string>("\xc1"), "at byte 0: expected a string, found a byte that begins nothing");
    EXPECT_EQ(complaint<std::string>("\xd4\x01\x01"), "at byte 0: expected a string, found an extension");
    EXPECT_EQ(complaint<std::tuple<std::int8_t>>("\x91\xcc\x80"),
              "at byte 1: expected a signed integer of 8 bits, found the number 128");
    EXPECT_EQ(complaint<std::tuple<std::int8_t>>("\x91\xd1\xff\x7f"),
              "at byte 1: expected a signed integer of 8 bits, found the number -129");
    EXPECT_EQ(complaint<std::tuple<unsigned>>("\x91\xff"),
              "at byte 1: expected an unsigned integer of 32 bits, found the number -1");
    EXPECT_EQ(complaint<std::tuple<float>>("\x91\xcb" + std::string(8, '\0')),
              "at byte 1: expected a real of 4 bytes, found a real of 8 bytes");
    EXPECT_EQ(complaint<std::tuple<int>>("\x92\x01\x02"), "at byte 0: expected an array of 1, found an array of 2");
    EXPECT_EQ(complaint<std::vector<int>>("\xc4\x03\x01\x02\x03"),
              "at byte 0: expected pieces of 4 bytes, found 3 bytes");
    EXPECT_EQ(complaint<std::vector<std::string>>("\xdd\xff\xff\xff\xff"),
              "at byte 5: expected a string, found the end");
    EXPECT_EQ(complaint<std::vector<std::string>>("\x80"), "at byte 0: expected an array, found a map of 0");
    EXPECT_EQ(complaint<std::vector<point>>("\x91\xc4\x02xx"),
              "at byte 0: expected pieces of 16 bytes, found an array of 1");
    EXPECT_EQ(complaint<std::list<point>>("\x91\xc4\x02xx"), "at byte 1: expected 16 bytes, found 2 bytes");
    EXPECT_EQ(complaint<std::optional<std::string>>("\xc3"), "at byte 0: expected a string, found true");
    EXPECT_EQ(complaint<std::optional<std::optional<int>>>("\x92"),
              "at byte 0: expected an array of 0 or 1, found an array of 2");
    using either = std::variant<int, std::string>;
    EXPECT_EQ(complaint<either>("\x92\x02\x01"),
              "at byte 1: expected the index of one of 2 alternatives, found the number 2");
    EXPECT_EQ(complaint<std::set<int>>("\x92\x01\x01"),
              "at byte 2: expected a key that is not there yet, found one that is");
    using numbers = std::map<int, int>;
    EXPECT_EQ(complaint<numbers>("\x82\x01\x02\x01\x03"),
              "at byte 3: expected a key that is not there yet, found one that is");
}

TEST(codec, bounds_how_deep_values_are_nested) {
    const auto nested = [](int levels) {
        tree root;
        for (int i = 0; i < levels; ++i) {
            tree outer;
            outer.children.push_back(std::move(root));
            root = std::move(outer);
        }
        return root;
    };
    expect_back(nested(63));  // a tree and a vector each
    EXPECT_THROW((void)leat::encode(nested(64)), leat::not_encodable);
    std::string deep;
    for (int i = 0; i < 1'000'000; ++i) deep += "\x93\x01\x91";
    EXPECT_EQ(complaint<tree>(deep), "at byte 192: expected a nesting of at most 128, found more");
}

TEST(codec, refuses_to_send_what_nobody_would_accept) {
    EXPECT_THROW((void)leat::encode(static_cast<colour>(5)), leat::not_encodable);
    EXPECT_THROW((void)leat::encode(std::vector<colour>{static_cast<colour>(5)}), leat::not_encodable);
    EXPECT_THROW((void)leat::encode(std::tuple(static_cast<signed_step>(-2))), leat::not_encodable);
}

TEST(codec, knows_when_compiling_what_may_cross) {
    static_assert(leat::crosses_processes<int> && leat::crosses_processes<const int>);
    static_assert(leat::crosses_processes<tree> && leat::crosses_processes<person>);
    static_assert(leat::crosses_processes<no_default> && leat::crosses_processes<std::vector<holds_own>>);
    static_assert(!leat::crosses_processes<int&> && !leat::crosses_processes<int*> && !leat::crosses_processes<void>);
    static_assert(!leat::crosses_processes<std::string_view> && !leat::crosses_processes<std::span<int>>);
    static_assert(!leat::crosses_processes<std::vector<std::map<int, std::unique_ptr<int>>>>);
    static_assert(!leat::crosses_processes<std::tuple<int&>> && !leat::crosses_processes<std::pair<int, const char*>>);
    static_assert(!leat::crosses_processes<std::variant<int, std::string_view>>);
    static_assert(!leat::crosses_processes<std::function<void()>> && !leat::crosses_processes<std::exception_ptr>);
}

TEST(codec, hashes_types_by_their_structure) {
    struct same_as_point {
        double a, b;
    };
    EXPECT_EQ(leat::codec_type_hash<point>(), leat::codec_type_hash<same_as_point>());
    EXPECT_EQ(leat::codec_type_hash<no_default>(), leat::codec_type_hash<int>());
    EXPECT_NE(leat::codec_type_hash<person>(), leat::codec_type_hash<tree>());
    EXPECT_NE(leat::codec_type_hash<int>(), leat::codec_type_hash<unsigned>());
    EXPECT_NE(leat::codec_type_hash<int>(), leat::codec_type_hash<colour>());
    EXPECT_NE((leat::codec_type_hash<std::array<int, 3>>()), (leat::codec_type_hash<std::array<int, 4>>()));
    EXPECT_NE((leat::codec_type_hash<std::tuple<int, char>>()), (leat::codec_type_hash<std::tuple<char, int>>()));
}

}  // namespace
