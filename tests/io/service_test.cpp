// The service as the place where idle threads park: wake-ups from posts, timers and descriptors, on both runtimes.
#include <leat/io/service.hpp>

#include <child_output.hpp>
#include <gtest/gtest.h>

#include <csignal>

#include <sys/time.h>

#include <leat/io/descriptor.hpp>
#include <leat/io/signals.hpp>
#include <leat/runtime/blocking.hpp>
#include <leat/runtime/run.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>
#include <leat/task/when_any.hpp>

namespace {

using leat_test::pipe_pair;
using wake = leat::context::wake;

class io_service : public testing::TestWithParam<unsigned> {
protected:
    leat::run_options options() const { return leat::run_options(GetParam()); }
};

leat::task<> park_here() {
    leat::context& line = co_await leat::this_task::line();
    leat::io::service::of(line.where());
}

TEST_P(io_service, is_one_for_an_executor) {
    leat::run(options(), []() -> leat::task<> {
        leat::context& line = co_await leat::this_task::line();
        EXPECT_EQ(&leat::io::service::of(line.where()), &leat::io::service::of(line.where()));
    });
}

TEST_P(io_service, timers_fire_while_the_threads_park_in_it) {
    leat::run(options(), []() -> leat::task<> {
        co_await park_here();
        const auto start = leat::env::now();
        for (int i = 0; i < 20; ++i) co_await leat::sleep_for(std::chrono::milliseconds(1));
        EXPECT_GE(leat::env::now() - start, std::chrono::milliseconds(20));
    });
}

TEST_P(io_service, a_post_from_another_thread_wakes_a_parked_thread) {
    leat::run(options(), []() -> leat::task<> {
        co_await park_here();
        int sum = 0;
        for (int i = 0; i < 2000; ++i) {
            const auto same = [](int value) { return value; };
            sum += co_await leat::blocking(same, i);  // ends on another thread each time
        }
        EXPECT_EQ(sum, 1999 * 1000);
    });
}

leat::task<int> ping_pong(int in, int out, int rounds) {
    leat::io::descriptor ready(in);
    int seen = 0;
    for (char byte = 0; seen < rounds; ++seen) {
        [[maybe_unused]] const auto put = ::write(out, &byte, 1);
        while (::read(in, &byte, 1) < 0)
            if (co_await ready.readable() != wake::ready) co_return seen;
    }
    co_return seen;
}

TEST_P(io_service, readiness_wakes_tasks_that_wait_for_each_other) {
    pipe_pair there;
    pipe_pair back;
    ::fcntl(there.reader(), F_SETFL, O_NONBLOCK);
    ::fcntl(back.reader(), F_SETFL, O_NONBLOCK);
    const auto [first, second] = leat::run(options(), [&] {
        return leat::when_all(ping_pong(there.reader(), back.writer(), 3000),
                              ping_pong(back.reader(), there.writer(), 3000));
    });
    EXPECT_EQ(first, 3000);
    EXPECT_EQ(second, 3000);
}

leat::task<> wait_for(int fd, wake expected) {
    leat::io::descriptor ready(fd);
    const auto how = co_await ready.readable();
    EXPECT_EQ(how, expected);
}

TEST_P(io_service, a_stop_ends_a_wait_and_races_with_readiness_without_harm) {
    for (int round = 0; round < 300; ++round) {
        pipe_pair pipe;
        leat::run(options(), [&]() -> leat::task<> {
            const auto body = [](leat::scope& work, pipe_pair& ends) -> leat::task<> {
                const auto waiter = [](int fd) -> leat::task<> {
                    leat::io::descriptor ready(fd);
                    const auto how = co_await ready.readable();
                    EXPECT_NE(how, wake::timed_out);
                };
                work.spawn(waiter, ends.reader());
                co_await leat::this_task::yield();
                [[maybe_unused]] const auto put = ::write(ends.writer(), "x", 1);
                work.stop();
            };
            co_await leat::with_scope(body, std::ref(pipe));
        });
    }
}

TEST_P(io_service, a_stop_ends_a_wait_that_nothing_else_would) {
    pipe_pair pipe;
    leat::run(options(), [&]() -> leat::task<> {
        const auto body = [](leat::scope& work, int fd) -> leat::task<> {
            work.spawn(wait_for, fd, wake::cancelled);
            co_await leat::sleep_for(std::chrono::milliseconds(2));
            work.stop();
        };
        co_await leat::with_scope(body, pipe.reader());
    });
}

TEST_P(io_service, a_deadline_ends_a_wait) {
    pipe_pair pipe;
    leat::run(options(), [&]() -> leat::task<> {
        leat::io::descriptor ready(pipe.reader());
        for (int i = 0; i < 10; ++i) {
            const auto deadline = leat::env::now() + std::chrono::milliseconds(i);
            const auto how = co_await ready.readable(deadline);
            EXPECT_EQ(how, wake::timed_out);
            EXPECT_GE(leat::env::now(), deadline);
        }
        [[maybe_unused]] const auto put = ::write(pipe.writer(), "x", 1);
        const auto how = co_await ready.readable(leat::env::now() + std::chrono::seconds(30));
        EXPECT_EQ(how, wake::ready);
    });
}

// What is said of a deadlock in `program`; "" when there was none.
template <class Program>
std::string deadlock_in(const leat::run_options& options, Program program) {
    try {
        leat::run(options, program);
    } catch (const leat::deadlocked& found) {
        return found.what();
    }
    return "";
}

// Rings while nobody else is there but this thread and the workers.
leat::task<int> an_alarm() {
    leat::io::signals alarm({SIGALRM});
    struct itimerval in_a_while{};
    in_a_while.it_value.tv_usec = 300'000;
    ::setitimer(ITIMER_REAL, &in_a_while, nullptr);
    co_return co_await alarm.next();
}

leat::task<int> for_ever() {
    co_await leat::sleep_for(std::chrono::hours::max());
    co_return 0;
}

TEST_P(io_service, a_wait_for_a_descriptor_is_no_deadlock_and_without_it_there_is_one) {
    pipe_pair pipe;
    const auto waits = [](int fd) -> leat::task<> {
        leat::semaphore nothing(0);
        leat::io::descriptor ready(fd);
        const auto how = co_await ready.readable(leat::env::now() + std::chrono::milliseconds(1));
        EXPECT_EQ(how, wake::timed_out);
        (void)co_await nothing.acquire();
    };
    EXPECT_NE(deadlock_in(options(), [&] { return waits(pipe.reader()); }), "");
    EXPECT_EQ(deadlock_in(options(), []() -> leat::task<> { co_await an_alarm(); }), "");
}

TEST_P(io_service, a_task_that_sleeps_until_it_is_stopped_is_no_deadlock) {
    EXPECT_EQ(deadlock_in(options(),
                          []() -> leat::task<> {
                              auto either = leat::when_any(an_alarm(), for_ever());
                              co_await std::move(either);
                          }),
              "");
}

INSTANTIATE_TEST_SUITE_P(runtimes, io_service, testing::Values(1U, 2U, 4U),
                         [](const auto& which) { return std::to_string(which.param) + "_threads"; });

}  // namespace
