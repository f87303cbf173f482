// All schedules of those who ask a cache for one key: one computes, the others get what it computed, and who fails or is
// stopped leaves the turn to the next. (The cache is of the layer flow; it rests on sync alone, and so can be driven here.)
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/flow/cache.hpp>
#include <leat/task/this_task.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::expect_right;

struct state {
    leat::cache<int, int> values;
    env::shared<int> computed{0};  // by who has the turn: a race when two compute
    leat::stop_source stop;
    env::atomic<int> served{0}, failed{0}, stopped{0};
};

// Asks for 1; its function fails when it is told to.
leat::task<> asks(state& all, bool fails) {
    const auto compute = [&all, fails]() -> leat::task<int> {
        const int before = all.computed.read();
        co_await leat::this_task::yield();
        all.computed.write() = before + 1;
        if (fails) throw 1;
        co_return 7;
    };
    try {
        auto getting = all.values.get(1, compute);
        const int got = co_await std::move(getting);
        explore::check(got == 7, "the value is the computed one");
        all.served.fetch_add(1);
    } catch (const leat::cancelled&) {
        all.stopped.fetch_add(1);
    } catch (int) {
        all.failed.fetch_add(1);
    }
}

// The same without a trace: two may compute where the key was erased in between.
leat::task<> asks_plainly(state& all) {
    auto getting = all.values.get(1, [] { return 7; });
    const int got = co_await std::move(getting);
    explore::check(got == 7, "the value is the computed one");
    all.served.fetch_add(1);
}

// One thread with an executor of its own asks.
void asker(const std::shared_ptr<state>& all, bool fails = false, leat::stop_source* stop = nullptr) {
    explore::thread("asker", [all, fails, stop] {
        explore::hand_executor worker;
        explore::run_line(worker, "asks", asks(*all, fails), stop);
    });
}

TEST(cache, of_two_who_ask_one_computes_and_both_get_it) {
    expect_right(explore::run({.preemption_bound = 2, .stale = 1}, [] {
        auto all = std::make_shared<state>();
        asker(all);
        asker(all);
        explore::join_all();
        explore::check(all->computed.read() == 1, "it was computed once");
        explore::check(all->served.load() == 2, "both have it");
        explore::check(all->values.counts().items == 1, "it is stored");
    }));
}

TEST(cache, when_it_fails_the_error_is_its_own_and_the_other_computes) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<state>();
        asker(all, true);
        asker(all);
        explore::join_all();
        explore::check(all->served.load() == 1 || all->failed.load() == 0, "the other one has it");
        explore::check(all->served.load() + all->failed.load() == 2, "each has an end");
        explore::check(all->computed.read() == 1 + all->failed.load(), "computed once more for each failure");
    }));
}

TEST(cache, one_that_is_stopped_touches_nobody_else) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<state>();
        asker(all, false, &all->stop);
        asker(all);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::join_all();
        explore::check(all->served.load() + all->stopped.load() == 2, "each has an end");
        explore::check(all->served.load() >= 1, "who was not stopped has it");
        explore::check(all->values.counts().items == 1, "it is stored");
    }));
}

TEST(cache, an_erased_key_is_computed_anew_and_nobody_is_left_waiting) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<state>();
        for (int i = 0; i < 2; ++i)
            explore::thread("asker", [all] {
                explore::hand_executor worker;
                explore::run_line(worker, "asks", asks_plainly(*all));
            });
        explore::thread("eraser", [all] { all->values.erase(1); });
        explore::join_all();
        explore::check(all->served.load() == 2, "both have it");
    }));
}

TEST(cache, what_was_erased_while_it_was_computed_is_not_stored_in_the_place_of_what_came_after) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<state>();
        const auto ask = [all](int value) {
            return [all, value] {
                explore::hand_executor worker;
                const auto one = [](state& of, int result) -> leat::task<> {
                    const auto compute = [&of, result]() -> leat::task<int> {
                        if (result == 1) of.values.erase(1);
                        co_await leat::this_task::yield();
                        co_return result;
                    };
                    auto getting = of.values.get(1, compute);
                    (void)co_await std::move(getting);
                    of.served.fetch_add(1);
                };
                explore::run_line(worker, "asks", one(*all, value));
            };
        };
        explore::thread("stale", ask(1));
        explore::thread("fresh", ask(2));
        explore::join_all();
        explore::check(all->served.load() == 2, "both have a value");
        const auto stored = all->values.find(1, env::now());
        explore::check(!stored || *stored == 2, "what was erased is not stored");
    }));
}

}  // namespace
