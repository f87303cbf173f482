// remote_error: what is left of an exception that was thrown in another process.
#include <leat/process/remote_error.hpp>

#include <gtest/gtest.h>
#include <leat/process/codec.hpp>

namespace {

leat::exception_record crossed(const std::exception_ptr& error) {
    return *leat::decode<leat::exception_record>(leat::encode(leat::exception_record::of(error)));
}

TEST(remote_error, says_type_and_text_of_what_was_thrown_elsewhere) {
    const leat::remote_error error(crossed(std::make_exception_ptr(std::out_of_range("too far"))));
    EXPECT_EQ(error.type(), "std::out_of_range");
    EXPECT_EQ(error.text(), "too far");
    EXPECT_STREQ(error.what(), "std::out_of_range in another process: too far");
}

TEST(remote_error, knows_the_type_of_what_is_no_exception_class) {
    EXPECT_EQ(crossed(std::make_exception_ptr(7)),
              (leat::exception_record{"int", "an exception that is no std::exception"}));
}

TEST(remote_error, stays_what_it_was_over_a_second_border) {
    const leat::exception_record first = crossed(std::make_exception_ptr(std::out_of_range("too far")));
    EXPECT_EQ(crossed(std::make_exception_ptr(leat::remote_error(first))), first);
}

}  // namespace
