// codec against messages that nobody wrote: an error each time, no crash, and not one allocation before the message is known to
// be whole.
#include <cstdlib>
#include <gtest/gtest.h>
#include <new>

#include "codec_garbage.hpp"
#include "soak.hpp"

namespace {

// Counts what this thread allocates while one is alive.
class allocation_meter {
public:
    allocation_meter() { counting = true, count_ = 0, largest_ = 0; }
    ~allocation_meter() { counting = false; }
    allocation_meter(const allocation_meter&) = delete;
    [[nodiscard]] std::size_t count() const { return count_; }
    [[nodiscard]] std::size_t largest() const { return largest_; }
    static void note(std::size_t size) {
        if (!counting) return;
        ++count_;
        largest_ = std::max(largest_, size);
    }

private:
    static thread_local bool counting;
    static thread_local std::size_t count_;
    static thread_local std::size_t largest_;
};
thread_local bool allocation_meter::counting = false;
thread_local std::size_t allocation_meter::count_ = 0;
thread_local std::size_t allocation_meter::largest_ = 0;

}  // namespace

// A sanitizer has an operator new of its own: there nothing is counted, and the sanitizer looks.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#    define SANITIZED 1
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#        define SANITIZED 1
#    endif
#endif

#if !defined(SANITIZED)

// Of the whole test program; the other forms end in these. Not inlined, or GCC misses the new of a free().
[[gnu::noinline]] void* operator new(std::size_t size) {
    allocation_meter::note(size);
    if (void* const place = std::malloc(size == 0 ? 1 : size)) return place;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* place) noexcept { std::free(place); }
[[gnu::noinline]] void operator delete(void* place, std::size_t) noexcept { std::free(place); }

TEST(allocation_meter, counts_what_is_allocated) {
    const allocation_meter meter;
    const std::vector<char> thousand(1000);
    EXPECT_EQ(meter.count(), 1U);
    EXPECT_EQ(meter.largest(), 1000U);
}

#endif

namespace {

using namespace codec_garbage;

// Decodes a T from bytes that lie at the very end of a block, so that a sanitizer sees a read beyond them.
template <class T>
struct attempt {
    explicit attempt(std::string_view message) {
        const std::vector<char> block(message.begin(), message.end());
        const allocation_meter meter;
        const auto value = leat::decode<T>({block.data(), block.size()});
        allocations = meter.count();
        largest = meter.largest();
        good = value.has_value();
        if (!good) what = value.error();
    }
    bool good = false;
    leat::codec_error what;
    std::size_t allocations = 0;
    std::size_t largest = 0;
};

// Whatever it is: an error that points into it, or a value that can be sent again.
template <class T>
void expect_sound(const std::string& message) {
    const attempt<T> tried(message);
    if (tried.good) {
        EXPECT_TRUE(look<T>(message));
        EXPECT_LE(tried.largest, 64 * (message.size() + 16));  // a value needs more than its message, in proportion
    } else {
        EXPECT_LE(tried.what.offset, message.size());
        EXPECT_FALSE(tried.what.text().empty());
        const bool by_value = std::string_view(tried.what.expected.what).starts_with("a key");
        EXPECT_TRUE(by_value || tried.allocations == 0) << tried.what.text();
    }
}

template <class T>
class codec_malformed : public testing::Test {};

template <class T>
T sample() {
    if constexpr (std::is_same_v<T, everything>) return example();
    else if constexpr (std::is_same_v<T, branch>) return std::get<branch>(example().any);
    else if constexpr (std::is_same_v<T, std::vector<pixel>>) return example().pixels;
    else return example().pixels[0];
}

using sampled = testing::Types<everything, branch, std::vector<pixel>, pixel>;
TYPED_TEST_SUITE(codec_malformed, sampled);

TYPED_TEST(codec_malformed, the_sample_itself_is_good) {
    const attempt<TypeParam> tried(leat::encode(sample<TypeParam>()));
    EXPECT_TRUE(tried.good) << tried.what.text();
    EXPECT_TRUE(leat::decode<TypeParam>(leat::encode(sample<TypeParam>())).value() == sample<TypeParam>());
}

TYPED_TEST(codec_malformed, cut_anywhere_it_is_an_error_and_allocates_nothing) {
    const std::string message = leat::encode(sample<TypeParam>());
    for (std::size_t size = 0; size < message.size(); ++size) {
        const attempt<TypeParam> tried(std::string_view(message).substr(0, size));
        ASSERT_FALSE(tried.good) << size;
        ASSERT_EQ(tried.allocations, 0U) << size;
        ASSERT_LE(tried.what.offset, size);
    }
}

TYPED_TEST(codec_malformed, with_more_behind_it_is_an_error) {
    const std::string message = leat::encode(sample<TypeParam>());
    const attempt<TypeParam> tried(message + '\0');
    EXPECT_FALSE(tried.good);
    EXPECT_EQ(tried.allocations, 0U);
}

TYPED_TEST(codec_malformed, with_any_byte_changed_to_any_other_it_is_an_error_or_another_value) {
    const std::string message = leat::encode(sample<TypeParam>());
    for (std::size_t at = 0; at < message.size(); ++at)
        for (int value = 0; value < 256; ++value) {
            std::string changed = message;
            changed[at] = static_cast<char>(value);
            expect_sound<TypeParam>(changed);
        }
}

TYPED_TEST(codec_malformed, lengths_that_lie_allocate_nothing) {
    const std::string message = leat::encode(sample<TypeParam>());
    for (std::size_t at = 0; at < message.size(); ++at)
        for (const char first : {'\xc6', '\xdb', '\xdd', '\xdf'})
            for (const char* const length : {"\xff\xff\xff\xff", "\x7f\xff\xff\xff", "\x10\x01\x01\x01"}) {
                std::string changed = message.substr(0, at) + first + length;
                expect_sound<TypeParam>(changed);
                expect_sound<TypeParam>(changed + message.substr(at));
            }
}

TYPED_TEST(codec_malformed, soak_of_random_bytes_and_of_random_changes) {
    const std::string message = leat::encode(sample<TypeParam>());
    for (leat_test::soak rounds(4000); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice dice(rounds.seed());
        std::string random(dice(60), '\0');
        for (char& byte : random) byte = static_cast<char>(dice(3) == 0 ? 0x90 + dice(4) : dice(256));
        expect_sound<TypeParam>(random);
        std::string changed = message;
        for (unsigned changes = 1 + dice(4); changes > 0 && !changed.empty(); --changes) {
            const std::size_t at = dice(static_cast<unsigned>(changed.size()));
            const std::size_t other = dice(static_cast<unsigned>(changed.size()));
            switch (dice(4)) {
                case 0:
                    changed[at] = static_cast<char>(dice(256));
                    break;
                case 1:
                    changed.erase(at, dice(8));
                    break;
                case 2:
                    changed.insert(at, message.substr(std::min(other, message.size()), dice(40)));
                    break;
                default:
                    changed.insert(changed.begin() + static_cast<std::ptrdiff_t>(at), static_cast<char>(dice(256)));
            }
        }
        expect_sound<TypeParam>(changed);
    }
}

}  // namespace
