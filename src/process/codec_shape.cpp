#include <leat/process/codec_shape.hpp>

#include <cstring>
#include <leat/process/msgpack.hpp>

namespace leat::codec_detail {

namespace {

namespace tag = msgpack::tag;
using form = shape::form;

constexpr codec_term the_end{"the end"};

// An item of a message, without what it contains.
struct item {
    enum class type : unsigned char {
        nil,
        boolean,
        natural,
        negative,
        real,
        string,
        bin,
        array,
        map,
        extension,
        reserved
    };
    type what = type::nil;
    unsigned char width = 0;   // of a real, in bytes
    std::uint64_t number = 0;  // a value or a length
};

codec_term found_text(const item& found) {
    using enum item::type;
    switch (found.what) {
        case nil:
            return {"nil"};
        case boolean:
            return {found.number != 0 ? "true" : "false"};
        case natural:
            return {"the number {}", found.number};
        case negative:
            return {"the number {}", 0 - found.number, true};
        case real:
            return {"a real of {} bytes", found.width};
        case string:
            return {"a string of {} bytes", found.number};
        case bin:
            return {"{} bytes", found.number};
        case array:
            return {"an array of {}", found.number};
        case map:
            return {"a map of {}", found.number};
        case extension:
            return {"an extension"};
        case reserved:
            break;
    }
    return {"a byte that begins nothing"};
}

class verifier {
public:
    explicit verifier(std::string_view message) : begin_(message.data()), at_(begin_), end_(begin_ + message.size()) {}

    std::optional<codec_error> whole(const shape& expected) {
        const bool right = expected.as_bytes ? only_bytes(expected) : value(expected, 0) && nothing_more();
        return right ? std::nullopt : std::optional(error_);
    }

private:
    [[nodiscard]] std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - at_); }
    bool wrong(const char* where, codec_term expected, codec_term found) {
        error_ = {static_cast<std::size_t>(where - begin_), expected, found};
        return false;
    }
    bool nothing_more() { return at_ == end_ || wrong(at_, the_end, {"{} bytes more", left()}); }

    bool only_bytes(const shape& expected) {
        if (left() < expected.bytes) return wrong(end_, {"{} bytes", expected.bytes}, the_end);
        return bytes(expected) && nothing_more();
    }

    // The bytes are there; do they make a value?
    bool bytes(const shape& expected) {
        if (expected.plain) {
            at_ += expected.bytes;
            return true;
        }
        switch (expected.how) {
            case form::boolean: {
                const auto found = static_cast<unsigned char>(*at_);
                return found <= 1 ? (++at_, true) : wrong(at_, {"a bool"}, {"the byte {}", found});
            }
            case form::repeated:
                for (std::size_t i = 0; i < expected.count; ++i)
                    if (!bytes(*expected.parts[0])) return false;
                return true;
            case form::fields:
                for (std::size_t i = 0; i < expected.count; ++i)
                    if (!bytes(*expected.parts[i])) return false;
                return true;
            default:
                return enumerator(expected);
        }
    }

    // With the sign of a number of so many bytes in all the bits above.
    static std::uint64_t extended(std::uint64_t value, std::size_t bytes) {
        const auto unused = static_cast<unsigned>(64 - 8 * bytes);
        return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << unused) >> unused);
    }

    bool enumerator(const shape& expected) {
        std::uint64_t value = 0;
        std::memcpy(&value, at_, expected.bytes);
        if (expected.how == form::integer) value = extended(value, expected.bytes);
        if (!expected.valid(value)) return wrong(at_, {"an enumerator"}, number(value, expected.how == form::integer));
        at_ += expected.bytes;
        return true;
    }

    static codec_term number(std::uint64_t value, bool is_signed) {
        const bool negative = is_signed && static_cast<std::int64_t>(value) < 0;
        return {"the number {}", negative ? 0 - value : value, negative};
    }

    // Reads the head of the next item; `awaited` is for the error when the message ends before.
    bool next(item& found, codec_term awaited) {
        using enum item::type;
        if (at_ == end_) return wrong(end_, awaited, the_end);
        start_ = at_;
        const auto first = static_cast<unsigned char>(*at_++);
        if (first < 0x80) return found = {natural, 0, first}, true;
        if (first >= tag::negative_fix) return found = {negative, 0, first - std::uint64_t{256}}, true;
        if (first >= tag::fix_string && first < tag::nil) return found = {string, 0, first & 0x1fU}, true;
        if (first >= tag::fix_array && first < tag::fix_string) return found = {array, 0, first & 0xfU}, true;
        if (first < tag::fix_array) return found = {map, 0, first & 0xfU}, true;
        switch (first) {
            case tag::nil:
                return found = {nil}, true;
            case tag::no:
                return found = {boolean, 0, 0}, true;
            case tag::yes:
                return found = {boolean, 0, 1}, true;
            case tag::bin8:
                return sized<std::uint8_t>(found, bin);
            case tag::bin16:
                return sized<std::uint16_t>(found, bin);
            case tag::bin32:
                return sized<std::uint32_t>(found, bin);
            case tag::real32:
                return found.width = 4, sized<std::uint32_t>(found, real);
            case tag::real64:
                return found.width = 8, sized<std::uint64_t>(found, real);
            case tag::natural8:
                return sized<std::uint8_t>(found, natural);
            case tag::natural16:
                return sized<std::uint16_t>(found, natural);
            case tag::natural32:
                return sized<std::uint32_t>(found, natural);
            case tag::natural64:
                return sized<std::uint64_t>(found, natural);
            case tag::integer8:
                return sized<std::uint8_t>(found, negative) && widened(found, 1);
            case tag::integer16:
                return sized<std::uint16_t>(found, negative) && widened(found, 2);
            case tag::integer32:
                return sized<std::uint32_t>(found, negative) && widened(found, 4);
            case tag::integer64:
                return sized<std::uint64_t>(found, negative) && widened(found, 8);
            case tag::string8:
                return sized<std::uint8_t>(found, string);
            case tag::string16:
                return sized<std::uint16_t>(found, string);
            case tag::string32:
                return sized<std::uint32_t>(found, string);
            case tag::array16:
                return sized<std::uint16_t>(found, array);
            case tag::array32:
                return sized<std::uint32_t>(found, array);
            case tag::map16:
                return sized<std::uint16_t>(found, map);
            case tag::map32:
                return sized<std::uint32_t>(found, map);
            case tag::reserved:
                return found = {reserved}, true;
            default:
                return found = {extension}, true;
        }
    }
    template <class N>
    bool sized(item& found, item::type what) {
        if (left() < sizeof(N)) return wrong(end_, {"{} bytes of a number", sizeof(N)}, the_end);
        found.what = what;
        found.number = msgpack::load<N>(at_);
        at_ += sizeof(N);
        return true;
    }
    // A number that was written as a signed one need not be negative.
    static bool widened(item& found, std::size_t bytes) {
        const std::uint64_t value = extended(found.number, bytes);
        const bool negative = static_cast<std::int64_t>(value) < 0;
        found = {negative ? item::type::negative : item::type::natural, 0, value};
        return true;
    }

    bool unlike(codec_term expected, const item& found) { return wrong(start_, expected, found_text(found)); }
    // Skips so many bytes, which belong to what begins at start_.
    bool skip(std::uint64_t size) {
        if (left() < size) return wrong(end_, {"{} bytes", size}, the_end);
        at_ += size;
        return true;
    }

    bool value(const shape& expected, unsigned depth) {
        if (expected.as_bytes && (expected.how == form::fields || expected.how == form::repeated))
            return packed(expected);
        switch (expected.how) {
            case form::boolean:
                return scalar(item::type::boolean, {"a bool"});
            case form::integer:
                return integer(expected);
            case form::natural:
                return natural(expected);
            case form::real:
                return real(expected);
            case form::string:
                return scalar(item::type::string, {"a string"}) && skip(last_.number);
            case form::blob:
                return blob(expected);
            default:
                break;
        }
        if (depth == max_nesting) return wrong(at_, {"a nesting of at most {}", max_nesting}, {"more"});
        switch (expected.how) {
            case form::optional:
                if (at_ != end_ && static_cast<unsigned char>(*at_) == tag::nil) return ++at_, true;
                return value(*expected.parts[0], depth + 1);
            case form::nested_optional:
                if (!scalar(item::type::array, {"an array of 0 or 1"})) return false;
                if (last_.number > 1) return unlike({"an array of 0 or 1"}, last_);
                return last_.number == 0 || value(*expected.parts[0], depth + 1);
            case form::variant:
                return variant(expected, depth);
            case form::fields:
                if (!array_of(expected.count)) return false;
                for (std::size_t i = 0; i < expected.count; ++i)
                    if (!value(*expected.parts[i], depth + 1)) return false;
                return true;
            case form::repeated:
                return array_of(expected.count) && values(expected, depth, expected.count, 1);
            case form::list:
                return scalar(item::type::array, {"an array"}) && values(expected, depth, last_.number, 1);
            case form::map:
                return scalar(item::type::map, {"a map"}) && values(expected, depth, last_.number, 2);
            default:
                return true;
        }
    }

    // `count` times the first parts in turn. A count that lies ends with the message, since each item takes a byte or more.
    bool values(const shape& expected, unsigned depth, std::uint64_t count, std::size_t parts) {
        for (std::uint64_t i = 0; i < count; ++i)
            for (std::size_t part = 0; part < parts; ++part)
                if (!value(*expected.parts[part], depth + 1)) return false;
        return true;
    }

    bool scalar(item::type type, codec_term expected) {
        if (!next(last_, expected)) return false;
        return last_.what == type || unlike(expected, last_);
    }

    bool array_of(std::size_t count) {
        const codec_term expected{"an array of {}", count};
        return scalar(item::type::array, expected) && (last_.number == count || unlike(expected, last_));
    }

    bool integer(const shape& expected) {
        const codec_term wanted{"a signed integer of {} bits", 8 * expected.bytes};
        if (!next(last_, wanted)) return false;
        const std::uint64_t most = (std::uint64_t{1} << (8 * expected.bytes - 1)) - 1;
        const bool fits = (last_.what == item::type::natural && last_.number <= most) ||
                          (last_.what == item::type::negative && last_.number >= ~most);
        return (fits || unlike(wanted, last_)) && known(expected);
    }

    bool natural(const shape& expected) {
        const codec_term wanted{"an unsigned integer of {} bits", 8 * expected.bytes};
        if (!next(last_, wanted)) return false;
        const std::uint64_t most = ~std::uint64_t{0} >> (64 - 8 * expected.bytes);
        const bool fits = last_.what == item::type::natural && last_.number <= most;
        return (fits || unlike(wanted, last_)) && known(expected);
    }

    bool known(const shape& expected) {
        return expected.valid == nullptr || expected.valid(last_.number) || unlike({"an enumerator"}, last_);
    }

    // A wider real takes a narrower one, without loss.
    bool real(const shape& expected) {
        const codec_term wanted{"a real of {} bytes", expected.bytes};
        return scalar(item::type::real, wanted) && (last_.width <= expected.bytes || unlike(wanted, last_));
    }

    bool packed(const shape& expected) {
        const codec_term wanted{"{} bytes", expected.bytes};
        if (!scalar(item::type::bin, wanted)) return false;
        if (last_.number != expected.bytes) return unlike(wanted, last_);
        if (left() < expected.bytes) return wrong(end_, wanted, the_end);
        return bytes(expected);
    }

    bool blob(const shape& expected) {
        const shape& element = *expected.parts[0];
        const codec_term wanted{"pieces of {} bytes", element.bytes};
        if (!scalar(item::type::bin, wanted)) return false;
        if (last_.number % element.bytes != 0) return unlike(wanted, last_);
        if (left() < last_.number || element.plain) return skip(last_.number);
        for (std::uint64_t rest = last_.number; rest > 0; rest -= element.bytes)
            if (!bytes(element)) return false;
        return true;
    }

    bool variant(const shape& expected, unsigned depth) {
        const codec_term wanted{"the index of one of {} alternatives", expected.count};
        if (!array_of(2) || !scalar(item::type::natural, wanted)) return false;
        if (last_.number >= expected.count) return unlike(wanted, last_);
        return value(*expected.parts[last_.number], depth + 1);
    }

    const char* begin_;
    const char* at_;
    const char* end_;
    const char* start_ = nullptr;  // of the last item
    item last_;
    codec_error error_;
};

// A shape that is being hashed, and those around it: one that contains itself is told by how far out it was.
struct around {
    const shape* what;
    const around* outer;
};

class hasher {
public:
    void add(const shape& now, const around* outer) {
        std::uint64_t distance = 1;
        for (const around* known = outer; known != nullptr; known = known->outer, ++distance)
            if (known->what == &now) return mix(~distance);
        mix(static_cast<std::uint64_t>(now.how));
        mix(now.as_bytes);
        mix(now.bytes);
        mix(now.count);
        mix(now.valid != nullptr);
        const around here{&now, outer};
        const std::size_t parts = now.how == form::repeated ? 1 : now.count;
        for (std::size_t i = 0; i < parts; ++i) add(*now.parts[i], &here);
    }
    [[nodiscard]] std::uint64_t sum() const noexcept { return sum_; }

private:
    void mix(std::uint64_t value) noexcept {  // FNV-1a
        for (int i = 0; i < 8; ++i, value >>= 8U) sum_ = (sum_ ^ (value & 0xffU)) * 1099511628211U;
    }
    std::uint64_t sum_ = 14695981039346656037U;
};

}  // namespace

std::optional<codec_error> verify(const shape& expected, std::string_view message) {
    return verifier(message).whole(expected);
}

std::uint64_t hash_of(const shape& all) {
    hasher hash;
    hash.add(all, nullptr);
    return hash.sum();
}

}  // namespace leat::codec_detail
