// Signals: event, auto_reset_event, condition_variable, latch, barrier, once, rate_limiter: who is let go and who is not,
// in time or never, and what is left when a waiter is stopped.
#include <array>
#include <cmath>
#include <core.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <soak.hpp>
#include <stack_gauge.hpp>
#include <thread>
#include <vector>

#include <leat/leat.hpp>
#include <leat/runtime/sim.hpp>

namespace {

using leat::task;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::on_threads;
using namespace std::chrono_literals;

// Takes part in whatever is stopped at a drawn time.
template <class Body>
task<> stopped_at_some_time(Body body) {
    leat::scope mine;
    mine.spawn(std::move(body));
    if (leat::sim::chance(40)) {
        co_await leat::sleep_for(leat::sim::draw(20) * 1us);
        mine.stop();
    }
    co_await mine.join();
}

// --- event ---

TEST(event, lets_all_go_on_that_wait_and_that_come_until_it_is_reset) {
    on_one_thread([]() -> task<> {
        leat::event ready;
        leat::scope work;
        int gone_on = 0;
        const auto waits = [&]() -> task<> {
            co_await ready.wait();
            ++gone_on;
        };
        for (int i = 0; i < 3; ++i) work.spawn(waits);
        co_await giving(0, 3);
        EXPECT_EQ(gone_on, 0);
        EXPECT_FALSE(ready.try_wait());
        ready.set();
        EXPECT_EQ(gone_on, 0) << "nobody is resumed inside";
        co_await giving(0, 3);
        EXPECT_EQ(gone_on, 3);
        work.spawn(waits);
        co_await giving(0, 3);
        EXPECT_EQ(gone_on, 4);
        EXPECT_TRUE(ready.try_wait());
        ready.reset();
        work.spawn(waits);
        co_await giving(0, 3);
        EXPECT_EQ(gone_on, 4);
        ready.set();
        co_await work.join();
        EXPECT_EQ(gone_on, 5);
    });
}

template <class Event>
class events : public testing::Test {};
using both_events = testing::Types<leat::event, leat::auto_reset_event>;
TYPED_TEST_SUITE(events, both_events);

TYPED_TEST(events, are_waited_for_until_a_time_and_no_longer) {
    const auto program = []() -> task<> {
        TypeParam bell;
        const leat::time_point start = co_await leat::this_task::now();
        for (const leat::duration none : {leat::duration(0), leat::duration(-1), leat::duration::min()}) {
            const bool rang = co_await bell.wait_for(none);
            EXPECT_FALSE(rang);
        }
        const bool in_time = co_await bell.wait_until(start + 5ms);
        EXPECT_FALSE(in_time);
        const leat::time_point late = co_await leat::this_task::now();
        EXPECT_EQ(late, start + 5ms);
        leat::scope work;
        work.spawn([&]() -> task<> {
            const bool rang = co_await bell.wait_for(std::chrono::hours::max());
            EXPECT_TRUE(rang);
        });
        co_await leat::sleep_for(1h);
        bell.set();
        co_await work.join();
        bell.set();
        const bool was_set = co_await bell.wait_for(-1s);
        EXPECT_TRUE(was_set) << "what is set needs no time";
    };
    leat::sim::explore({.seeds = 20}, program);
}

TYPED_TEST(events, wake_plain_threads) {
    TypeParam bell;
    EXPECT_FALSE(bell.blocking_wait_for(1ms));
    EXPECT_FALSE(bell.blocking_wait_for(-1ms));
    leat::env::atomic<int> rung{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([&, i] {
            if (i == 0) EXPECT_TRUE(bell.blocking_wait_for(std::chrono::hours::max()));
            else bell.blocking_wait();
            rung.fetch_add(1);
        });
    for (int i = 0; i < 3; ++i) {
        bell.set();
        while (rung.load() <= i && bell.is_set()) std::this_thread::yield();
        while (rung.load() <= i) std::this_thread::yield();
    }
    for (std::thread& each : threads) each.join();
    EXPECT_EQ(rung.load(), 3);
}

TYPED_TEST(events, destroyed_while_somebody_waits_end_the_program_death) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     std::optional<TypeParam> bell(std::in_place);
                     leat::scope work;
                     work.spawn([](TypeParam& one) -> task<> { co_await one.wait(); }, std::ref(*bell));
                     co_await leat::this_task::yield();
                     bell.reset();
                 }),
                 "event: destroyed while somebody waits for it");
}

TEST(event, may_be_destroyed_by_who_has_seen_it_set) {
    for (int round = 0; round < 2000; ++round) {
        auto ready = std::make_unique<leat::event>();
        std::thread sets([&one = *ready] { one.set(); });
        if (round % 2 == 0) ready->blocking_wait();
        else
            while (!ready->is_set()) std::this_thread::yield();
        ready.reset();
        sets.join();
    }
}

TEST(event, many_waiters_are_released_without_growing_the_stack) {
    on_one_thread([]() -> task<> {
        constexpr int many = 200'000;
        leat::event ready;
        leat::scope work;
        int gone_on = 0;
        leat_test::stack_gauge gauge;
        for (int i = 0; i < many; ++i)
            work.spawn([&]() -> task<> {
                co_await ready.wait();
                gauge.look();
                ++gone_on;
            });
        co_await leat::this_task::yield();
        EXPECT_EQ(gone_on, 0);
        ready.set();
        co_await work.join();
        EXPECT_EQ(gone_on, many);
        EXPECT_LT(gauge.span_bytes(), leat_test::flat_bytes);
    });
}

TEST(event, releases_lines_of_several_executors_and_priorities_at_once) {
    constexpr int each_kind = 2000;
    on_threads(3, []() -> task<> {
        leat::event ready;
        std::atomic<int> gone_on = 0;
        const auto waits = [&]() -> task<> {
            co_await ready.wait();
            ++gone_on;
        };
        leat::strand serial(leat::context::current()->where());
        leat::scope work;
        for (int i = 0; i < each_kind; ++i) {
            work.spawn(waits);
            work.spawn(leat::task_options("urgent", leat::priority::high), waits);
            work.spawn([&]() -> task<> { co_await leat::on(serial, waits()); });
            if (i == each_kind / 2) co_await leat::sleep_for(1ms);  // some wait, some come meanwhile, some find it set
        }
        ready.set();
        co_await work.join();
        EXPECT_EQ(gone_on, 3 * each_kind);
    });
}

// A line that waits for two events and a time at once, as select does.
class either {
public:
    either(leat::event& left, leat::event& right) : left_(left), right_(right) {}
    bool await_ready() const noexcept { return false; }
    template <leat::has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
        line_ = &self.promise().leat_context();
        at_left_.line = at_right_.line = line_;
        if (!line_->prepare_wait(self, "one of two events")) return false;
        at_left_.wait_as(*line_);
        at_right_.wait_as(*line_);
        if (!left_.watch(at_left_) || !right_.watch(at_right_)) {
            if (line_->withdraw(line_->current_ticket(), leat::context::wake::ready)) return false;
        }
        return line_->commit_wait();
    }
    std::string await_resume() {
        left_.unwatch(at_left_);
        right_.unwatch(at_right_);
        if (line_->woken_by() == leat::context::wake::cancelled) throw leat::cancelled{};
        return at_left_.chosen ? "left" : at_right_.chosen ? "right" : "was set";
    }

private:
    leat::event& left_;
    leat::event& right_;
    leat::context* line_ = nullptr;
    leat::waiter at_left_;
    leat::waiter at_right_;
};

TEST(event, can_be_watched_beside_others) {
    on_one_thread([]() -> task<> {
        leat::event left;
        leat::event right;
        leat::scope work;
        std::string order;
        const auto waits = [&]() -> task<> {
            either one(left, right);
            order += co_await one;
            order += ' ';
        };
        work.spawn(waits);
        co_await giving(0, 2);
        right.set();
        left.set();
        co_await giving(0, 2);
        EXPECT_EQ(order, "right ");
        work.spawn(waits);
        co_await work.join();
        EXPECT_EQ(order, "right was set ");
        left.reset();
        right.reset();
        leat::scope stopped;
        stopped.spawn(waits);
        co_await giving(0, 2);
        stopped.stop();
        co_await stopped.join();
        EXPECT_EQ(order, "right was set ");
    });
}

TEST(auto_reset_event, lets_one_go_on_for_each_set_and_remembers_one) {
    std::string order;
    on_one_thread([&]() -> task<> {
        leat::auto_reset_event bell;
        leat::scope work;
        for (const char name : {'a', 'b', 'c'})
            work.spawn(
                [&](char mine) -> task<> {
                    co_await bell.wait();
                    order += mine;
                },
                name);
        co_await giving(0, 2);
        bell.set();
        co_await giving(0, 2);
        EXPECT_EQ(order, "a");
        bell.set();
        bell.set();
        co_await work.join();
        EXPECT_FALSE(bell.is_set());
        bell.set();
        bell.set();
        EXPECT_TRUE(bell.try_wait());
        EXPECT_FALSE(bell.try_wait());
        bell.set();
        bell.reset();
        EXPECT_FALSE(bell.try_wait());
    });
    EXPECT_EQ(order, "abc");
}

TEST(auto_reset_event, one_meant_for_a_waiter_that_leaves_goes_to_the_next_soak) {
    // Each signal wakes exactly one of those who stay, or is there in the end.
    const auto program = []() -> task<> {
        leat::auto_reset_event bell;
        int rung = 0;
        leat::scope work;
        for (int i = 0; i < 4; ++i)
            work.spawn([&]() -> task<> {
                const auto waits = [&]() -> task<> {
                    if (leat::sim::chance(50)) {
                        co_await bell.wait();
                        ++rung;
                    } else {
                        const bool got = co_await bell.wait_for(leat::sim::draw(20) * 1us);
                        rung += got ? 1 : 0;
                    }
                };
                return stopped_at_some_time(waits);
            });
        int set = 0;
        while (work.pending() > 0) {
            co_await leat::sleep_for(leat::sim::draw(10) * 1us + 1us);
            if (bell.is_set()) continue;
            bell.set();
            ++set;
        }
        co_await work.join();
        EXPECT_EQ(rung + (bell.is_set() ? 1 : 0), set);
    };
    for (leat_test::soak rounds(3); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat::sim::explore({.seeds = 500, .first = rounds.seed() * 1000}, program);
    }
}

// --- condition_variable ---

TEST(condition_variable, waits_until_the_predicate_has_come_true_and_holds_the_lock_then) {
    on_threads(4, []() -> task<> {
        leat::mutex lock;
        leat::condition_variable changed;
        std::deque<int> jobs;
        leat::scope work;
        long sum = 0;
        for (int i = 0; i < 4; ++i)
            work.spawn([&]() -> task<> {
                for (int round = 0; round < 500; ++round) {
                    leat::mutex::guard held = co_await lock.lock();
                    const auto there_is_one = [&] { return !jobs.empty(); };
                    co_await changed.wait(held, there_is_one);
                    EXPECT_TRUE(held && lock.is_locked());
                    sum += jobs.front();
                    jobs.pop_front();
                }
            });
        for (int i = 0; i < 2; ++i)
            work.spawn([&]() -> task<> {
                for (int round = 0; round < 1000; ++round) {
                    {
                        const leat::mutex::guard held = co_await lock.lock();
                        jobs.push_back(round);
                    }
                    changed.notify_one();
                }
            });
        co_await work.join();
        EXPECT_EQ(sum, 2L * 999 * 1000 / 2);
    });
}

TEST(condition_variable, plain_threads_and_tasks_wait_for_each_other) {
    leat::mutex lock;
    leat::condition_variable changed;
    int turn = 0;
    std::thread outside([&] {
        for (int round = 0; round < 200; ++round) {
            leat::mutex::guard held = lock.blocking_lock();
            changed.blocking_wait(held, [&] { return turn % 2 == 1; });
            ++turn;
            changed.notify_all();
        }
    });
    on_threads(2, [&]() -> task<> {
        const auto mine = [&] { return turn % 2 == 0; };
        for (int round = 0; round < 200; ++round) {
            leat::mutex::guard held = co_await lock.lock();
            co_await changed.wait(held, mine);
            ++turn;
            changed.notify_all();
        }
    });
    outside.join();
    EXPECT_EQ(turn, 400);
    leat::mutex::guard held = lock.blocking_lock();
    EXPECT_FALSE(changed.blocking_wait_for(held, 1ms, [] { return false; }));
    EXPECT_FALSE(changed.blocking_wait_for(held, -1h, [] { return false; }));
    EXPECT_TRUE(changed.blocking_wait_for(held, -1h, [] { return true; }));
    EXPECT_TRUE(held);
}

TEST(condition_variable, holds_the_lock_however_a_wait_ends) {
    const auto program = []() -> task<> {
        leat::mutex lock;
        leat::condition_variable changed;
        const auto never = [] { return false; };
        leat::mutex::guard held = co_await lock.lock();
        for (const leat::duration limit : {leat::duration(1ms), leat::duration(0), leat::duration::min()}) {
            const bool in_time = co_await changed.wait_for(held, limit, never);
            EXPECT_FALSE(in_time);
            EXPECT_TRUE(held && lock.is_locked());
        }
        const auto fails = []() -> bool { throw std::runtime_error("no"); };
        bool thrown = false;
        try {
            co_await changed.wait(held, fails);
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        EXPECT_TRUE(thrown && held);
        held.unlock();
        leat::scope work;
        bool stopped = false;
        work.spawn([&]() -> task<> {
            leat::mutex::guard mine = co_await lock.lock();
            try {
                co_await changed.wait(mine, never);
            } catch (const leat::cancelled&) {
                stopped = true;
                EXPECT_TRUE(mine && lock.is_locked());
            }
        });
        co_await leat::sleep_for(1ms);
        leat::mutex::guard again = co_await lock.lock();  // it has let go
        work.stop();
        co_await leat::sleep_for(1ms);
        EXPECT_FALSE(stopped) << "it waits for the lock first";
        again.unlock();
        co_await work.join();
        EXPECT_TRUE(stopped);
        EXPECT_TRUE(lock.try_lock());
    };
    leat::sim::explore({.seeds = 50}, program);
}

TEST(condition_variable, a_notification_for_a_waiter_that_leaves_goes_to_the_next_soak) {
    const auto program = []() -> task<> {
        leat::mutex lock;
        leat::condition_variable changed;
        int jobs = 0;
        int done = 0;
        leat::scope work;
        for (int i = 0; i < 4; ++i)
            work.spawn([&]() -> task<> {
                const auto takes = [&]() -> task<> {
                    leat::mutex::guard held = co_await lock.lock();
                    const auto there_is_one = [&] { return jobs > 0; };
                    bool got = true;
                    if (leat::sim::chance(50)) co_await changed.wait(held, there_is_one);
                    else got = co_await changed.wait_for(held, leat::sim::draw(20) * 1us, there_is_one);
                    if (!got) co_return;
                    --jobs;
                    ++done;
                };
                return stopped_at_some_time(takes);
            });
        int given = 0;
        while (work.pending() > 0) {
            co_await leat::sleep_for(leat::sim::draw(10) * 1us + 1us);
            const leat::mutex::guard held = co_await lock.lock();
            if (jobs > 0) continue;  // one at a time: a lost notification would leave the last waiter for ever
            ++jobs;
            ++given;
            changed.notify_one();
        }
        co_await work.join();
        EXPECT_EQ(done + jobs, given);
    };
    for (leat_test::soak rounds(3); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat::sim::explore({.seeds = 500, .first = rounds.seed() * 1000}, program);
    }
}

TEST(condition_variable_death, waited_for_without_the_lock) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     leat::condition_variable changed;
                     leat::mutex::guard none;
                     const auto never = [] { return false; };
                     co_await changed.wait(none, never);
                 }),
                 "bug: a condition variable: waited for without the lock");
}

// --- latch ---

TEST(latch, opens_for_all_when_it_has_been_counted_down) {
    on_one_thread([]() -> task<> {
        leat::latch three(3);
        leat::scope work;
        int through = 0;
        for (int i = 0; i < 2; ++i)
            work.spawn([&]() -> task<> {
                co_await three.arrive_and_wait();
                ++through;
            });
        co_await giving(0, 3);
        EXPECT_EQ(through, 0);
        EXPECT_EQ(three.left(), 1U);
        EXPECT_FALSE(three.try_wait());
        const bool in_time = co_await three.wait_for(0ms);
        EXPECT_FALSE(in_time);
        three.count_down(0);
        EXPECT_FALSE(three.try_wait());
        three.count_down();
        EXPECT_TRUE(three.try_wait());
        co_await work.join();
        EXPECT_EQ(through, 2);
        leat::latch open(0);
        co_await open.wait();
    });
    leat::latch two(2);
    EXPECT_FALSE(two.blocking_wait_for(1ms));
    std::thread other([&] { two.count_down(2); });
    two.blocking_wait();
    other.join();
}

TEST(latch_death, counted_down_below_zero) {
    EXPECT_DEATH(
        {
            leat::latch one(1);
            one.count_down(2);
        },
        "bug: a latch: counted down below zero");
}

// --- barrier ---

TEST(barrier, nobody_goes_on_before_all_have_arrived_and_the_completion_has_run) {
    on_threads(4, []() -> task<> {
        constexpr int participants = 4;
        int completed = 0;
        std::array<int, participants> phase{};
        const auto completion = [&]() noexcept {
            ++completed;
            for (const int each : phase) EXPECT_EQ(each, completed);
        };
        leat::barrier together(participants, completion);
        leat::scope work;
        for (std::size_t i = 0; i < participants; ++i)
            work.spawn(
                [&](std::size_t me) -> task<> {
                    for (int round = 1; round <= 500; ++round) {
                        ++phase[me];
                        co_await together.arrive_and_wait();
                        // The next completion needs this one's arrival.
                        EXPECT_EQ(completed, round);
                    }
                },
                i);
        co_await work.join();
        EXPECT_EQ(completed, 500);
    });
}

TEST(barrier, who_drops_out_is_not_waited_for_again) {
    on_one_thread([]() -> task<> {
        leat::barrier together(3);
        leat::scope work;
        int through = 0;
        for (int i = 0; i < 2; ++i)
            work.spawn([&]() -> task<> {
                for (int round = 0; round < 3; ++round) {
                    co_await together.arrive_and_wait();
                    ++through;
                }
            });
        co_await giving(0, 5);
        EXPECT_EQ(through, 0);
        together.arrive_and_drop();
        co_await work.join();
        EXPECT_EQ(through, 6);
    });
}

TEST(barrier, an_arrival_counts_also_when_its_wait_is_over_before) {
    const auto program = []() -> task<> {
        leat::barrier together(2);
        leat::scope work;
        work.spawn([&]() -> task<> {
            const leat::barrier<>::phase now = together.arrive();
            const bool in_time = co_await together.wait_for(now, 1ms);
            EXPECT_FALSE(in_time);
            EXPECT_FALSE(together.try_wait(now));
            co_await together.wait(now);
            EXPECT_TRUE(together.try_wait(now));
            const bool over = co_await together.wait_for(now, -1ms);
            EXPECT_TRUE(over);
        });
        work.spawn([&]() -> task<> {
            co_await leat::sleep_for(5ms);
            co_await together.arrive_and_wait();
        });
        co_await work.join();
    };
    leat::sim::explore({.seeds = 20}, program);
}

TEST(barrier, one_that_is_stopped_drops_out_and_the_others_go_on_soak) {
    const auto program = []() -> task<> {
        leat::barrier together(4);
        std::array<int, 4> phases{};
        leat::scope work;
        for (std::size_t i = 0; i < phases.size(); ++i)
            work.spawn(
                [&](std::size_t me) -> task<> {
                    // Not stopped before it begins: somebody else has to drop then.
                    const auto takes_part = [&together, &mine = phases[me]]() -> task<> {
                        leat::barrier<>::phase now = together.arrive();
                        try {
                            for (; mine < 5; now = together.arrive()) {
                                co_await together.wait(now);
                                ++mine;
                                co_await leat::sleep_for(leat::sim::draw(4) * 1us);
                            }
                        } catch (const leat::cancelled&) {
                        }
                        together.drop(now);
                    };
                    return stopped_at_some_time(takes_part);
                },
                i);
        co_await work.join();
    };
    for (leat_test::soak rounds(3); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat::sim::explore({.seeds = 500, .first = rounds.seed() * 1000}, program);
    }
}

TEST(barrier, plain_threads_take_part) {
    leat::env::atomic<int> completed{0};
    const auto completion = [&]() noexcept { completed.fetch_add(1); };
    leat::barrier together(3, completion);
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([&] {
            for (int round = 1; round <= 100; ++round) {
                together.blocking_arrive_and_wait();
                EXPECT_GE(completed.load(), round);
            }
        });
    for (std::thread& each : threads) each.join();
    EXPECT_EQ(completed.load(), 100);
    const leat::barrier<>::phase no_longer_over = leat::barrier<>(2).arrive();
    EXPECT_TRUE(together.blocking_wait_for(no_longer_over, -1ms));
}

TEST(barrier_death, more_arrive_than_are_expected) {
    EXPECT_DEATH(
        {
            leat::barrier two(2);
            (void)two.arrive(3);
        },
        "bug: a barrier: more have arrived than are expected");
    EXPECT_DEATH(
        {
            leat::barrier none(0);
            (void)none.arrive();
        },
        "bug: a barrier: more have arrived than are expected");
}

// --- once ---

TEST(once, is_done_by_one_and_waited_for_by_the_others) {
    on_threads(4, []() -> task<> {
        leat::once first;
        int done = 0;
        leat::scope work;
        for (int i = 0; i < 20; ++i)
            work.spawn([&]() -> task<> {
                const auto does = [](int& count) -> task<> {
                    co_await giving(0, 5);
                    ++count;
                };
                co_await first.call(does, std::ref(done));
                EXPECT_EQ(done, 1);
            });
        co_await work.join();
        EXPECT_TRUE(first.is_done());
        const auto never = []() -> task<> {
            ADD_FAILURE() << "it is done";
            co_return;
        };
        const bool in_time = co_await first.call_for(-1s, never);
        EXPECT_TRUE(in_time);
    });
}

TEST(once, that_fails_or_is_stopped_is_done_by_the_next) {
    std::string order;
    const auto program = [&]() -> task<> {
        order.clear();
        leat::once first;
        leat::scope stopped;
        leat::scope work;
        const auto fails = [&]() -> task<> {
            co_await leat::sleep_for(1ms);
            order += 'f';
            throw std::runtime_error("not yet");
        };
        const auto waits = [&]() -> task<> {
            order += 'w';
            co_await leat_test::until_stopped();
        };
        const auto does = [&]() -> task<> {
            order += 'd';
            co_return;
        };
        work.spawn([&]() -> task<> {
            bool failed = false;
            try {
                co_await first.call(fails);
            } catch (const std::runtime_error&) {
                failed = true;
            }
            EXPECT_TRUE(failed);
        });
        co_await leat::sleep_for(1us);
        stopped.spawn([&]() -> task<> { co_await first.call(waits); });
        co_await leat::sleep_for(1us);
        work.spawn([&]() -> task<> {
            const bool in_time = co_await first.call_for(1us, does);
            EXPECT_FALSE(in_time);
        });
        work.spawn([&]() -> task<> { co_await first.call(does); });
        co_await leat::sleep_for(5ms);
        EXPECT_FALSE(first.is_done() || first.try_call([] {}));
        stopped.stop();
        co_await stopped.join();
        co_await work.join();
        EXPECT_TRUE(first.is_done());
        EXPECT_EQ(order, "fwd");
    };
    leat::sim::explore({.seeds = 50}, program);
}

TEST(once, who_failed_may_try_again_at_once_though_the_next_has_not_gone_on_yet) {
    const auto program = []() -> task<> {
        leat::once first;
        int tries = 0;
        const auto asks = [&]() -> task<> {
            const auto fails_twice = [&]() -> task<> {
                co_await leat::this_task::yield();
                if (++tries < 3) throw std::runtime_error("not yet");
            };
            while (!first.is_done()) {
                auto call = first.call(fails_twice);
                (void)co_await call.as_outcome();
            }
        };
        leat::scope work;
        work.spawn(asks);
        work.spawn(asks);
        co_await work.join();
        EXPECT_EQ(tries, 3);
    };
    leat::sim::explore({.seeds = 50}, program);
}

TEST(once, is_done_by_plain_threads) {
    leat::once first;
    int done = 0;
    EXPECT_THROW(first.blocking_call([] { throw std::runtime_error("not yet"); }), std::runtime_error);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            first.blocking_call([&] { ++done; });
            EXPECT_EQ(done, 1);
        });
    for (std::thread& each : threads) each.join();
    EXPECT_TRUE(first.try_call([&] { ++done; }));
    EXPECT_EQ(done, 1);
}

TEST(once_death, called_inside_itself) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     leat::once first;
                     const auto inner = []() -> task<> { co_return; };
                     const auto outer = [&]() -> task<> { co_await first.call(inner); };
                     co_await first.call(outer);
                 }),
                 "bug: a once: called inside its own function");
}

// --- rate_limiter ---

TEST(rate_limiter, gives_a_burst_and_then_a_constant_rate_in_order_of_arrival) {
    const auto program = []() -> task<> {
        leat::rate_limiter limit(1000, 5);
        const leat::time_point start = co_await leat::this_task::now();
        for (int i = 0; i < 5; ++i) co_await limit.acquire();
        const leat::time_point burst = co_await leat::this_task::now();
        EXPECT_EQ(burst, start);
        EXPECT_FALSE(limit.try_acquire(1, burst));
        for (int i = 0; i < 10; ++i) co_await limit.acquire();
        const leat::time_point drip = co_await leat::this_task::now();
        EXPECT_NEAR(static_cast<double>((drip - start).count()), 10e6, 10.0);
        co_await leat::sleep_for(1h);
        const leat::time_point late = co_await leat::this_task::now();
        EXPECT_FALSE(limit.try_acquire(1, drip)) << "by a clock that lags nothing has dripped in";
        EXPECT_TRUE(limit.try_acquire(5, late));
        EXPECT_FALSE(limit.try_acquire(1, late)) << "no more than a burst is saved";

        std::string order;
        leat::scope work;
        for (const char name : {'a', 'b', 'c'}) {
            work.spawn(
                [&](char mine) -> task<> {
                    co_await limit.acquire(mine == 'a' ? 5 : 1);
                    order += mine;
                },
                name);
            co_await leat::sleep_for(1ns);
        }
        EXPECT_FALSE(limit.try_acquire(1, late + 1s)) << "others wait";
        co_await work.join();
        EXPECT_EQ(order, "abc");
    };
    leat::sim::explore({.seeds = 20}, program);
}

TEST(rate_limiter, one_that_is_stopped_or_out_of_time_takes_nothing_soak) {
    const auto program = []() -> task<> {
        leat::rate_limiter limit(1e6, 3);  // one in a microsecond
        int taken = 0;
        leat::scope work;
        const leat::time_point start = co_await leat::this_task::now();
        for (int i = 0; i < 5; ++i)
            work.spawn([&]() -> task<> {
                const auto takes = [&]() -> task<> {
                    for (int round = 0; round < 5; ++round) {
                        const int tokens = static_cast<int>(leat::sim::draw(3)) + 1;
                        bool got = true;
                        if (leat::sim::chance(50)) co_await limit.acquire(tokens);
                        else got = co_await limit.acquire_for(leat::sim::draw(10) * 1us, tokens);
                        if (got) taken += tokens;
                    }
                };
                return stopped_at_some_time(takes);
            });
        co_await work.join();
        // What was taken is what there was, and what is left is the rest of it.
        const leat::time_point end = co_await leat::this_task::now();
        const double passed = std::chrono::duration<double, std::micro>(end - start).count();
        EXPECT_LE(taken, 3 + passed + 0.01);
        co_await limit.acquire(3);
        const leat::time_point full = co_await leat::this_task::now();
        EXPECT_LE(full - end, 3us + 5ns);
    };
    for (leat_test::soak rounds(3); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat::sim::explore({.seeds = 500, .first = rounds.seed() * 1000}, program);
    }
}

TEST(rate_limiter, knows_at_once_when_the_time_is_too_short) {
    const auto program = []() -> task<> {
        leat::rate_limiter limit(1, 10);
        co_await limit.acquire(10);
        const leat::time_point start = co_await leat::this_task::now();
        const bool in_time = co_await limit.acquire_for(5s, 6);
        EXPECT_FALSE(in_time);
        const bool none = co_await limit.acquire_for(-1s, 0);
        EXPECT_TRUE(none);
        const leat::time_point still = co_await leat::this_task::now();
        EXPECT_EQ(still, start);
        const bool enough = co_await limit.acquire_for(6s, 5);
        EXPECT_TRUE(enough);
    };
    leat::sim::explore({.seeds = 5}, program);
}

TEST(rate_limiter, limits_plain_threads) {
    leat::rate_limiter limit(1000, 1);
    const leat::time_point start = leat::env::now();
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i)
        threads.emplace_back([&] {
            for (int round = 0; round < 5; ++round) limit.blocking_acquire();
        });
    for (std::thread& each : threads) each.join();
    EXPECT_GE(leat::env::now() - start, 8900us);
    leat::rate_limiter slow(0.001, 1);
    EXPECT_TRUE(slow.blocking_acquire_for(0ms));
    EXPECT_FALSE(slow.blocking_acquire_for(1ms));
}

TEST(rate_limiter_death, numbers_that_make_no_sense) {
    EXPECT_DEATH(leat::rate_limiter(0, 1), "its rate is not positive");
    EXPECT_DEATH(leat::rate_limiter(std::nan(""), 1), "its rate is not positive");
    EXPECT_DEATH(leat::rate_limiter(1, 0), "its burst is below one");
    EXPECT_DEATH((void)leat::rate_limiter(1, 1).try_acquire(2), "a number of tokens that it never holds");
    EXPECT_DEATH((void)leat::rate_limiter(1, 1).try_acquire(-1), "a number of tokens that it never holds");
}

}  // namespace
