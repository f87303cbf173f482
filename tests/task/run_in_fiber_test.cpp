// run_in_fiber: plain functions that await, on one thread and on a pool: values, errors, stops, nesting, many at once.
#include <leat/task/run_in_fiber.hpp>

#include <core.hpp>
#include <memory>
#include <stack_gauge.hpp>
#include <vector>

#include <leat/base/sanitizer.hpp>
#include <leat/channel/channel.hpp>
#include <leat/runtime/event_loop.hpp>
#include <leat/runtime/thread_pool.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/task/fiber.hpp>
#include <leat/task/generator.hpp>
#include <leat/task/resume_on.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>

namespace {

using leat::run_in_fiber;
using leat::task;
using leat_test::counted;
using leat_test::error_of;
using leat_test::failing;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::on_threads;
using leat_test::token;
using leat_test::until_stopped;
using namespace std::chrono_literals;

// Runs fn(args…) in a fiber on one thread.
template <class Function, class... Argument>
decltype(auto) in_a_fiber(Function fn, Argument... arguments) {
    return on_one_thread([&] { return run_in_fiber(std::move(fn), std::move(arguments)...); });
}

int adds(int left, int right) { return left + leat::await(giving(right, 3)); }

TEST(run_in_fiber, a_plain_function_awaits_and_gives_a_value) {
    EXPECT_EQ(in_a_fiber(adds, 2, 3), 5);
    EXPECT_EQ(in_a_fiber([] { return adds(adds(1, 2), 3); }), 6);
}

TEST(run_in_fiber, one_that_awaits_nothing_is_a_call) {
    EXPECT_EQ(in_a_fiber([](std::unique_ptr<int> owned) { return *owned; }, std::make_unique<int>(4)), 4);
    int number = 1;
    on_one_thread([&] { return run_in_fiber([](int& to) { to = 9; }, std::ref(number)); });
    EXPECT_EQ(number, 9);
    EXPECT_EQ(&on_one_thread([&] { return run_in_fiber([&]() -> int& { return number; }); }), &number);
}

TEST(run_in_fiber, awaits_every_kind_of_operation) {
    in_a_fiber([] {
        auto [out, in] = leat::channel<token>(1);
        EXPECT_TRUE(leat::await(out.send(token(7))).has_value());
        EXPECT_EQ(leat::await(in.recv())->number(), 7);
        leat::await(leat::sleep_for(1ms));
        leat::await(leat::this_task::yield());
        EXPECT_FALSE(leat::await(leat::this_task::stop_token()).stop_requested());
        leat::mutex lock;
        {
            const auto held = leat::await(lock.lock());
        }
        EXPECT_EQ(leat::await(leat::when_all(giving(1, 2), giving(2, 1))), std::make_tuple(1, 2));
        EXPECT_THROW(leat::await(leat::timeout(until_stopped(), 1ms)), leat::timed_out);
        EXPECT_TRUE(leat::await(failing("broken").as_outcome()).is_error());
        EXPECT_EQ(leat::await(run_in_fiber(adds, 1, 2)), 3);
        leat::scope work;
        int sum = 0;
        work.spawn([](int& to) -> task<> { to += co_await giving(5, 2); }, std::ref(sum));
        leat::await(work.join());
        EXPECT_EQ(sum, 5);
    });
}

TEST(run_in_fiber, errors_pass_through_both_ways) {
    EXPECT_EQ(error_of([] { return run_in_fiber([]() -> int { throw std::runtime_error("inside"); }); }), "inside");
    EXPECT_EQ(error_of([] { return run_in_fiber([] { leat::await(failing("below", 2)); }); }), "below");
    EXPECT_EQ(in_a_fiber([] {
                  try {
                      return leat::await(failing("caught", 1));
                  } catch (const std::runtime_error& error) {
                      // Awaits while it handles the exception, among others that do so.
                      const int after = leat::await(giving(1, 2));
                      EXPECT_STREQ(error.what(), "caught");
                      return after;
                  }
              }),
              1);
}

struct refuses {
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<>) const { throw std::runtime_error("refused"); }
    void await_resume() const {}
};

TEST(run_in_fiber, an_operation_that_throws_instead_of_suspending_throws_in_the_fiber) {
    in_a_fiber([] { EXPECT_THROW(leat::await(refuses{}), std::runtime_error); });
}

// --- Cancellation ---

TEST(run_in_fiber, a_stop_ends_an_await_with_cancelled_and_unwinds_the_stack) {
    on_one_thread([]() -> task<> {
        int alive = 0;
        bool cancelled = false;
        const auto waits = [&] {
            const counted local(alive);
            try {
                leat::await(until_stopped());
            } catch (const leat::cancelled&) {
                cancelled = true;
                EXPECT_THROW(leat::await(leat::sleep_for(1h)), leat::cancelled);  // stopped for good
                leat::await(leat::shield(giving(1, 2)));                          // but for clean-up
                throw;
            }
        };
        leat::scope work;
        work.spawn(leat::in_fiber(waits));
        const bool began = co_await leat_test::turns_until([&] { return alive == 1; });
        EXPECT_TRUE(began);
        work.stop();
        co_await work.join();
        EXPECT_TRUE(cancelled);
        EXPECT_EQ(alive, 0);
    });
}

TEST(run_in_fiber, a_time_limit_stops_it) {
    on_one_thread([]() -> task<> {
        task<> waits = run_in_fiber([] { leat::await(until_stopped()); });
        bool over = false;
        try {
            co_await leat::timeout(std::move(waits), 1ms);
        } catch (const leat::timed_out&) {
            over = true;
        }
        EXPECT_TRUE(over);
    });
}

TEST(run_in_fiber, one_dropped_unawaited_destroys_its_arguments) {
    auto shared = std::make_shared<int>(1);
    {
        const auto dropped = run_in_fiber([](const std::shared_ptr<int>&) {}, shared);
    }
    EXPECT_EQ(shared.use_count(), 1);
}

// --- What it is nested in, and what is nested in it ---

TEST(run_in_fiber, fibers_that_it_resumes_may_await_too) {
    in_a_fiber([] {
        leat::fiber<int(int)> doubles([](auto& self, int value) {
            for (;;) value = self.suspend(2 * leat::await(giving(value, 2)));
            return 0;
        });
        EXPECT_EQ(doubles.resume(1), 2);
        EXPECT_EQ(doubles.resume(leat::await(giving(4, 1))), 8);
        leat::fiber<void()> unwinds([](auto& self) {
            struct waits_at_end {
                ~waits_at_end() { EXPECT_EQ(leat::await(giving(1, 2)), 1); }
            } const local;
            self.suspend();
        });
        unwinds.resume();
    });
}

leat::generator<int> awaits_each(int count) {
    for (int i = 0; i < count; ++i) co_yield leat::await(giving(i, 1));
}

TEST(run_in_fiber, a_generator_that_it_iterates_may_await) {
    in_a_fiber([] {
        int expected = 0;
        for (const int each : awaits_each(5)) EXPECT_EQ(each, expected++);
        EXPECT_EQ(expected, 5);
    });
}

int deep(int levels) { return levels == 0 ? 0 : leat::await(run_in_fiber(deep, levels - 1)) + 1; }

TEST(run_in_fiber, fibers_in_fibers_leave_the_stack_of_the_thread_flat) { EXPECT_EQ(in_a_fiber(deep, 2000), 2000); }

TEST(run_in_fiber, a_million_awaits_of_ready_tasks_leave_both_stacks_flat) {
    leat_test::stack_gauge gauge;
    const auto looks = [](leat_test::stack_gauge& at) -> task<int> {
        at.look();
        co_return 1;
    };
    const int sum = in_a_fiber([&] {
        int total = 0;
        for (int i = 0; i < 1'000'000; ++i) total += leat::await(looks(gauge));
        return total;
    });
    EXPECT_EQ(sum, 1'000'000);
    EXPECT_LT(gauge.span_bytes(), leat_test::flat_bytes);
}

TEST(run_in_fiber, a_fiber_that_drives_a_loop_of_its_own_runs_its_tasks_there) {
    in_a_fiber([] {
        const auto program = []() -> task<int> { co_return co_await run_in_fiber(adds, 1, 2); };
        leat::event_loop loop;
        // A foreign loop is driven by poll() where run() would wait: here a task of it runs on the fiber's stack.
        struct item : leat::work_item {
            explicit item(bool& to) noexcept
                : work_item([](work_item& self) noexcept { static_cast<item&>(self).ran = true; }), ran(to) {}
            bool& ran;
        };
        bool ran = false;
        item posted(ran);
        loop.post(posted);
        while (!ran) loop.poll();
        EXPECT_EQ(leat::await(program()), 3);
    });
}

// --- Many, and on many threads ---

// The thread sanitizer counts fibers as threads, up to some 8000.
constexpr int many = leat::sanitizer::thread ? 1'000 : 10'000;

TEST(run_in_fiber, ten_thousand_wait_at_once) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(1);
        int sum = 0;
        const auto waits = [](leat::receiver<int>& from, int& to) { to += *leat::await(from.recv()); };
        leat::scope work;
        for (int i = 0; i < many; ++i) work.spawn(leat::in_fiber(waits), std::ref(in), std::ref(sum));
        for (int i = 0; i < many; ++i) {
            auto sent = co_await out.send(1);
            EXPECT_TRUE(sent.has_value());
        }
        co_await work.join();
        EXPECT_EQ(sum, many);
    });
}

// Goes on wherever the pool resumes it, with the context and the exception that are its own.
int wanders(int turns) {
    int moves = 0;
    auto last = leat_test::thread_number();
    for (int i = 0; i < turns; ++i) {
        try {
            throw i;
        } catch (int number) {
            leat::await(leat::this_task::yield());
            EXPECT_EQ(number, i);
            EXPECT_EQ(leat::context::current(), &leat::await(leat::this_task::line()));
        }
        const auto now = leat_test::thread_number();
        moves += now != last ? 1 : 0;
        last = now;
    }
    return moves;
}

TEST(run_in_fiber, goes_on_on_whichever_worker_takes_it) {
    const int moves = on_threads(4, []() -> task<int> {
        int total = 0;
        for (int round = 0; round < 1000 && total == 0; ++round) {
            std::vector<task<int>> all;
            for (int i = 0; i < 8; ++i) all.push_back(run_in_fiber(wanders, 200));
            for (const int each : co_await leat::when_all(std::move(all))) total += each;
        }
        co_return total;
    });
    EXPECT_GT(moves, 0);
}

TEST(run_in_fiber, moves_to_another_executor_and_back) {
    leat::thread_pool other{1};
    in_a_fiber([&] {
        const long mine = leat_test::thread_number();
        for (int round = 0; round < 1000; ++round) {
            leat::executor& before = leat::await(leat::resume_on(other));
            EXPECT_NE(leat_test::thread_number(), mine);
            (void)leat::await(leat::resume_on(before));
            EXPECT_EQ(leat_test::thread_number(), mine);
        }
        EXPECT_EQ(leat::await(leat::on(other, giving(3, 2))), 3);
        EXPECT_EQ(leat_test::thread_number(), mine);
    });
}

TEST(run_in_fiber, producers_and_consumers_on_a_pool) {
    const auto produce = [](leat::sender<int> out, int count) {
        for (int i = 0; i < count; ++i)
            if (!leat::await(out.send(1))) return;
    };
    const auto consume = [](leat::receiver<int> in, std::atomic<int>& sum) {
        while (auto each = leat::await(in.recv())) sum += *each;
    };
    std::atomic<int> sum = 0;
    on_threads(4, [&]() -> task<> {
        auto [out, in] = leat::channel<int>(8);
        leat::scope work;
        for (int i = 0; i < 4; ++i) {
            work.spawn(leat::in_fiber(produce), out, 2000);
            work.spawn(leat::in_fiber(consume), in, std::ref(sum));
        }
        out.reset();
        in.reset();
        co_await work.join();
    });
    EXPECT_EQ(sum, 8000);
}

// --- Bugs ---

TEST(run_in_fiber_death, await_outside_a_fiber_is_a_bug) {
    EXPECT_DEATH(leat::await(giving(1)), "outside a fiber");
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     leat::await(giving(1));
                     co_return;
                 }),
                 "outside a fiber");
    // A task that a fiber awaits is none either.
    EXPECT_DEATH(in_a_fiber([] {
                     const auto wrong = []() -> task<> {
                         leat::await(giving(1));
                         co_return;
                     };
                     leat::await(wrong());
                 }),
                 "outside a fiber");
}

TEST(run_in_fiber_death, overflowing_the_stack_ends_the_program_at_the_guard) {
    EXPECT_DEATH(in_a_fiber(leat_test::recurse, leat_test::deeper_than_any_stack), "");
}

}  // namespace
