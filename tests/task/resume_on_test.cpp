// on, resume_on: a line on another executor: where it runs, what comes back, what a stop and a timer do there.
#include <leat/task/resume_on.hpp>

#include <core.hpp>
#include <stdexcept>
#include <thread>

#include <leat/channel/channel.hpp>
#include <leat/runtime/blocking.hpp>
#include <leat/runtime/event_loop.hpp>
#include <leat/runtime/thread_pool.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>

namespace {

using leat::task;
using namespace std::chrono_literals;

// The executor on whose thread the caller is: each test has one pool of one thread, and a loop or pool that it comes from.
std::thread::id here() { return std::this_thread::get_id(); }

task<std::thread::id> thread_of() { co_return here(); }

struct two_executors : testing::Test {
    leat::event_loop home;
    leat::thread_pool other{1};
    std::thread::id there = other.run(thread_of());

    template <class Program>
    decltype(auto) run(Program program) {
        return home.run(program());
    }
};
using on = two_executors;
using resume_on = two_executors;

TEST_F(on, runs_the_task_there_and_comes_back_with_its_value) {
    run([&]() -> task<> {
        const std::thread::id mine = here();
        EXPECT_EQ(co_await leat::on(other, thread_of()), there);
        EXPECT_EQ(here(), mine);
        co_await leat::this_task::yield();
        EXPECT_EQ(here(), mine);
    });
}

TEST_F(on, comes_back_on_every_path) {
    run([&]() -> task<> {
        const std::thread::id mine = here();
        bool failed = false;
        try {
            co_await leat::on(other, leat_test::failing("x", 2));
        } catch (const std::runtime_error&) {
            failed = true;
        }
        EXPECT_TRUE(failed);
        EXPECT_EQ(here(), mine);

        bool timed_out = false;
        try {
            co_await leat::timeout(leat::on(other, leat_test::until_stopped()), 1ms);
        } catch (const leat::timed_out&) {
            timed_out = true;
        }
        EXPECT_TRUE(timed_out);
        EXPECT_EQ(here(), mine);
    });
}

TEST_F(on, comes_back_from_a_task_that_has_moved_on) {
    leat::thread_pool third(1);
    run([&]() -> task<> {
        const std::thread::id mine = here();
        const auto wanders = [](leat::executor& to) -> task<std::thread::id> {
            (void)co_await leat::resume_on(to);
            co_return here();
        };
        EXPECT_NE(co_await leat::on(other, wanders(third)), there);
        EXPECT_EQ(here(), mine);
    });
}

TEST_F(on, destroys_what_the_task_held_where_it_ran) {
    struct tells {
        std::thread::id* died_on;
        explicit tells(std::thread::id& where) : died_on(&where) {}
        tells(tells&& from) noexcept : died_on(std::exchange(from.died_on, nullptr)) {}
        ~tells() {
            if (died_on != nullptr) *died_on = here();
        }
    };
    std::thread::id died_on;
    run([&]() -> task<> {
        const auto holds = [](tells) -> task<> { co_await leat::this_task::yield(); };
        co_await leat::on(other, holds(tells(died_on)));
    });
    EXPECT_EQ(died_on, there);
}

TEST_F(resume_on, moves_the_whole_line_and_gives_what_it_left) {
    run([&]() -> task<> {
        const std::thread::id mine = here();
        const auto moves = [](leat::executor& to) -> task<leat::executor*> {
            leat::executor& before = co_await leat::resume_on(to);
            co_return &before;
        };
        leat::executor* const before = co_await moves(other);
        EXPECT_EQ(before, &home);
        EXPECT_EQ(here(), there);  // also the task that awaited the one that moved
        co_await leat::sleep_for(1ms);
        EXPECT_EQ(here(), there);
        EXPECT_EQ(&co_await leat::resume_on(*before), &other);
        EXPECT_EQ(here(), mine);
    });
}

TEST_F(resume_on, to_where_the_task_is_goes_on_at_once) {
    run([&]() -> task<> {
        bool another_ran = false;
        leat::scope work;
        work.spawn([&]() -> task<> {
            another_ran = true;
            co_return;
        });
        EXPECT_EQ(&co_await leat::resume_on(home), &home);
        EXPECT_FALSE(another_ran);
        co_await work.join();
    });
}

TEST_F(resume_on, is_no_cancellation_point) {
    leat::stop_source stop;
    stop.request_stop();
    const auto program = [&]() -> task<int> {
        leat::executor& before = co_await leat::resume_on(other);
        EXPECT_EQ(here(), there);
        (void)co_await leat::resume_on(before);
        co_return 1;
    };
    EXPECT_EQ(home.run(program(), &stop), 1);
}

TEST_F(resume_on, a_line_may_end_elsewhere_than_it_began) {
    const auto leaves = [](leat::executor& to) -> task<int> {
        (void)co_await leat::resume_on(to);
        co_return 1;
    };
    for (int round = 0; round < 500; ++round) {
        leat::event_loop brief;  // ends as soon as it knows
        EXPECT_EQ(brief.run(leaves(other)), 1);
        EXPECT_EQ(leat::run(leat::run_options(2), leaves, std::ref(static_cast<leat::executor&>(other))), 1);
    }
}

TEST_F(resume_on, tasks_of_a_scope_run_where_it_was_made) {
    run([&]() -> task<> {
        const std::thread::id mine = here();
        leat::scope work;
        const auto asks = [](std::thread::id expected) -> task<> {
            EXPECT_EQ(here(), expected);
            co_return;
        };
        leat::executor& before = co_await leat::resume_on(other);
        work.spawn(asks, mine);
        co_await work.join();
        EXPECT_EQ(here(), there);
        leat::scope here_made;
        here_made.spawn(asks, there);
        co_await here_made.join();
        (void)co_await leat::resume_on(before);
    });
}

TEST_F(resume_on, tasks_spawn_into_a_scope_whose_owner_moves) {
    run([&]() -> task<> {
        leat::scope work;
        leat::env::atomic<int> ran{0};
        const auto counts = [](leat::env::atomic<int>& count) -> task<> {
            count.fetch_add(1);
            co_return;
        };
        const auto spawns = [&work, &ran, counts](leat::executor& to) -> task<> {
            (void)co_await leat::resume_on(to);
            for (int i = 0; i < 200; ++i) work.spawn(counts, std::ref(ran));
        };
        work.spawn(spawns, std::ref(static_cast<leat::executor&>(other)));
        for (int i = 0; i < 100; ++i) {
            leat::executor& before = co_await leat::resume_on(other);
            (void)co_await leat::resume_on(before);
        }
        co_await work.join();
        EXPECT_EQ(ran.load(), 200);
    });
}

TEST_F(resume_on, timers_and_blocking_calls_are_those_of_where_the_task_is) {
    run([&]() -> task<> {
        const auto mixed = [this]() -> task<> {
            for (int i = 0; i < 200; ++i) {
                leat::executor& before = co_await leat::resume_on(other);
                co_await leat::timeout(leat_test::giving(1, 1), 1h);  // set and cancelled there
                if (i % 50 == 0) {
                    co_await leat::sleep_for(100us);
                    auto call = leat::blocking([] { std::this_thread::yield(); });
                    co_await std::move(call);
                }
                EXPECT_EQ(here(), there);
                (void)co_await leat::resume_on(before);
                co_await leat::timeout(leat_test::giving(1, 1), 1h);
            }
        };
        co_await leat::when_all(mixed(), mixed(), mixed());
    });
}

TEST_F(resume_on, a_stop_from_any_thread_finds_the_line_wherever_it_is) {
    for (int round = 0; round < 100; ++round) {
        leat::stop_source stop;
        std::thread stopper;
        const auto moves = [&]() -> task<> {
            stopper = std::thread([&stop] { stop.request_stop(); });
            for (;;) {
                leat::executor& before = co_await leat::resume_on(other);
                co_await leat::sleep_for(round % 2 == 0 ? leat::duration(0) : leat::duration::max());
                (void)co_await leat::resume_on(before);
                co_await leat::sleep_for(0ms);
            }
        };
        EXPECT_THROW(home.run(moves(), &stop), leat::cancelled);
        stopper.join();
    }
}

// --- One runtime beside another ---

TEST(runtimes, a_task_made_on_one_may_be_awaited_on_another) {
    task<int> made = leat::run(leat::run_options(2), []() -> task<task<int>> { co_return leat_test::giving(7, 3); });
    EXPECT_EQ(leat::event_loop().run(std::move(made)), 7);
}

TEST(runtimes, tasks_of_two_meet_at_a_channel) {
    leat::thread_pool first(2);
    leat::thread_pool second(2);
    auto [out, in] = leat::channel<int>(1);
    const auto sends = [](leat::sender<int> to) -> task<> {
        for (int i = 1; i <= 1000; ++i) EXPECT_TRUE(co_await to.send(i));
    };
    const auto sums = [](leat::receiver<int> from) -> task<int> {
        int sum = 0;
        for (;;) {
            const auto item = co_await from.recv();
            if (!item) co_return sum;
            sum += *item;
        }
    };
    std::thread other([&, mine = std::move(out)]() mutable { first.run(sends(std::move(mine))); });
    EXPECT_EQ(second.run(sums(std::move(in))), 500'500);
    other.join();
}

TEST(runtimes, one_made_inside_a_task_is_used_through_on) {
    const int sum = leat_test::on_threads(2, []() -> task<int> {
        int total = 0;
        for (int i = 0; i < 20; ++i) {
            leat::thread_pool inner(2);
            total += co_await leat::on(inner, leat_test::giving(i, 2));
        }
        co_return total;
    });
    EXPECT_EQ(sum, 190);
}

}  // namespace
