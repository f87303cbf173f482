// exception_text: what an exception says.
#include <leat/base/exception_text.hpp>

#include <gtest/gtest.h>
#include <stdexcept>

namespace {

TEST(exception_text, is_what_a_standard_exception_says) {
    EXPECT_EQ(leat::text_of(std::make_exception_ptr(std::runtime_error("no such file"))), "no such file");
    try {
        throw std::out_of_range("too far");
    } catch (...) {
        EXPECT_EQ(leat::current_exception_text(), "too far");
    }
}

TEST(exception_text, of_a_failed_allocation_says_that_memory_is_out) {
    EXPECT_TRUE(leat::text_of(std::make_exception_ptr(std::bad_alloc())).starts_with("out of memory"));
}

TEST(exception_text, of_any_other_says_that_it_is_none) {
    EXPECT_EQ(leat::text_of(std::make_exception_ptr(7)), "an exception that is no std::exception");
}

TEST(exception_text, leaves_the_exception_that_is_being_handled_as_it_is) {
    try {
        throw std::runtime_error("outer");
    } catch (...) {
        EXPECT_EQ(leat::text_of(std::make_exception_ptr(std::runtime_error("inner"))), "inner");
        EXPECT_EQ(leat::current_exception_text(), "outer");
    }
}

}  // namespace
