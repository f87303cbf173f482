#include <leat/io/signals.hpp>

#include <csignal>
#include <gtest/gtest.h>

#include <leat/runtime/run.hpp>
#include <leat/task/timeout.hpp>

namespace {

void (*action_of(int number))(int) {
    struct sigaction now{};
    ::sigaction(number, nullptr, &now);
    return now.sa_handler;
}

TEST(signals, come_in_order_with_their_numbers) {
    const auto body = []() -> leat::task<> {
        leat::io::signals watched({SIGUSR1, SIGUSR2});
        ::raise(SIGUSR1);
        EXPECT_EQ(co_await watched.next(), SIGUSR1);
        ::raise(SIGUSR2);
        EXPECT_EQ(co_await watched.next(), SIGUSR2);
        EXPECT_THROW(co_await leat::timeout(watched.next(), std::chrono::milliseconds(2)), leat::timed_out);
    };
    // One thread: the thread sanitizer holds signals back from a main thread that sleeps on a futex.
    leat::run(leat::run_options(1), body);
}

TEST(signals, restore_what_was_installed_before) {
    ::signal(SIGUSR1, SIG_IGN);
    {
        const leat::io::signals watched({SIGUSR1});
        EXPECT_NE(action_of(SIGUSR1), SIG_IGN);
    }
    EXPECT_EQ(action_of(SIGUSR1), SIG_IGN);
    ::signal(SIGUSR1, SIG_DFL);
}

TEST(signals, are_held_by_one_object_at_a_time) {
    {
        const leat::io::signals watched({SIGUSR1});
        EXPECT_THROW(leat::io::signals({SIGUSR2, SIGUSR1}), std::invalid_argument);
        EXPECT_EQ(action_of(SIGUSR2), SIG_DFL);
    }
    const leat::io::signals again({SIGUSR1, SIGUSR2});
    EXPECT_NE(action_of(SIGUSR2), SIG_DFL);
}

TEST(signals, that_cannot_be_caught_are_refused) {
    EXPECT_THROW(leat::io::signals({SIGKILL}), std::system_error);
    EXPECT_THROW(leat::io::signals({0}), std::system_error);
    EXPECT_THROW(leat::io::signals({65}), std::system_error);
}

}  // namespace
