// What the library calls back: nothing that may throw. An exception inside one ends the program, where it is thrown.
#include <leat/task/work_item.hpp>

#include <concepts>
#include <gtest/gtest.h>
#include <stdexcept>

#include <leat/base/log.hpp>
#include <leat/runtime/event_loop.hpp>
#include <leat/task/executor.hpp>
#include <leat/task/stop.hpp>

namespace {

// A function that may throw is no Callback; one that says that it does not is.
template <class Callback, class... Argument>
constexpr bool takes_no_throwing_function = !std::convertible_to<void (*)(Argument...), Callback> &&
                                            std::convertible_to<void (*)(Argument...) noexcept, Callback>;

TEST(callbacks, that_may_throw_do_not_compile) {
    EXPECT_TRUE((takes_no_throwing_function<leat::work_item::function, leat::work_item&>));
    EXPECT_TRUE((takes_no_throwing_function<leat::timer::function, leat::timer&>));
    EXPECT_TRUE((takes_no_throwing_function<leat::stop_callback::function, leat::stop_callback&>));
    EXPECT_TRUE((takes_no_throwing_function<leat::log_hook, void*, leat::log_level, std::string_view>));
}

void fail(const char* text) { throw std::runtime_error(text); }

TEST(callbacks_death, that_throw_end_the_program_and_are_not_taken_for_the_error_of_a_task) {
    struct throwing : leat::work_item {
        throwing() : work_item([](work_item&) noexcept { fail("from an item"); }) {}
    };
    const auto posted = [] {
        leat::event_loop loop;
        throwing item;
        loop.post(item);
        try {
            loop.poll();
        } catch (const std::runtime_error&) {  // it does not come here
        }
    };
    EXPECT_DEATH(posted(), "from an item");
}

}  // namespace
