// All schedules of unpark() against park(): no wake-up is lost, several count as one, and the sleeper sees what was written
// before the unpark that woke it.
#include <gtest/gtest.h>

#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/runtime/parker.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;

const explore::options stale_loads{.stale = 2, .reduce = true};

struct state {
    leat::parker here;
    env::shared<int> work{0};
    env::atomic<bool> ready{false};
};

TEST(parker, an_unpark_before_or_during_a_park_ends_it) {
    for (const explore::options& how : {all_schedules, explore::options{.spurious = 1}, stale_loads})
        expect_right(explore::run(how, [] {
            auto all = std::make_shared<state>();
            explore::thread("sleeper", [all] {
                all->here.park();
                explore::check(all->work.read() == 1, "what was written before the unpark is there");
            });
            explore::thread("waker", [all] {
                all->work.write() = 1;
                all->here.unpark();
            });
        }));
}

TEST(parker, an_unpark_that_is_heard_before_the_park_is_not_lost_and_ends_no_park) {
    for (const explore::options& how : {all_schedules, stale_loads})
        expect_right(explore::run(how, [] {
            auto all = std::make_shared<state>();
            explore::thread("sleeper", [all] {
                if (!all->here.hears_soon()) all->here.park();
                explore::check(all->work.read() == 1, "what was written before the unpark is there");
            });
            explore::thread("waker", [all] {
                all->work.write() = 1;
                all->here.unpark();
            });
        }));
}

TEST(parker, of_two_unparks_each_ends_a_park_or_they_count_as_one) {
    // The sleeper parks until it has seen both: at no time is an unpark of something unseen lost.
    for (const explore::options& how : {all_schedules, stale_loads})
        expect_right(explore::run(how, [] {
            auto all = std::make_shared<state>();
            auto other = std::make_shared<env::atomic<bool>>(false);
            explore::thread("sleeper", [all, other] {
                while (!all->ready.load(env::acquire) || !other->load(env::acquire)) all->here.park();
            });
            explore::thread("one", [all] {
                all->ready.store(true, env::release);
                all->here.unpark();
            });
            explore::thread("two", [all, other] {
                other->store(true, env::release);
                all->here.unpark();
            });
        }));
}

TEST(parker, an_unpark_that_nobody_waited_for_makes_one_park_return_and_no_more) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<state>();
        auto parks = std::make_shared<int>(0);
        explore::thread("sleeper", [all, parks] {
            all->here.park();
            ++*parks;
            all->here.park(env::now() + std::chrono::seconds(1));
            ++*parks;
        });
        explore::thread("waker", [all] {
            all->here.unpark();
            all->here.unpark();
        });
        explore::join_all();
        explore::check(*parks == 2, "the second park ended by the second unpark or its deadline");
    }));
}

TEST(parker, a_deadline_that_passes_beside_an_unpark_loses_neither) {
    expect_right(explore::run({.timeouts = 2}, [] {
        auto all = std::make_shared<state>();
        explore::thread("sleeper", [all] {
            while (!all->ready.load(env::acquire)) all->here.park(env::now() + std::chrono::seconds(1));
            explore::check(all->work.read() == 1, "the work is there");
        });
        explore::thread("waker", [all] {
            all->work.write() = 1;
            all->ready.store(true, env::release);
            all->here.unpark();
        });
    }));
}

// A poller that is nothing but its interruption.
class fake_poller final : public leat::poller {
public:
    bool poll() noexcept override { return false; }
    void wait(leat::time_point deadline) noexcept override {
        while (interrupted_.exchange(0, env::acq_rel) == 0)
            if (!env::futex_wait_until(interrupted_, 0, deadline)) return;
    }
    void interrupt() noexcept override {
        interrupted_.store(1, env::release);
        env::futex_wake(interrupted_, 1);
    }

private:
    env::atomic<std::uint32_t> interrupted_{0};
};

TEST(parker, an_unpark_interrupts_the_poller_that_the_sleeper_waits_in) {
    for (const explore::options& how : {all_schedules, stale_loads})
        expect_right(explore::run(how, [] {
            struct polling : state {
                fake_poller events;
            };
            auto all = std::make_shared<polling>();
            explore::thread("sleeper", [all] {
                while (!all->ready.load(env::acquire)) {
                    all->here.park_in(all->events, leat::time_point::max());
                    if (!all->ready.load(env::acquire)) all->here.park();  // changes its bed
                }
                explore::check(all->work.read() == 1, "the work is there");
            });
            explore::thread("waker", [all] {
                all->work.write() = 1;
                all->ready.store(true, env::release);
                all->here.unpark();
            });
        }));
}

// Parks three times beside one unpark: only the first two can be ended by it.
template <class Park>
explore::report park_three_times(Park park) {
    return explore::run({.timeouts = 1}, [park] {
        struct polling : state {
            fake_poller events;
        };
        auto all = std::make_shared<polling>();
        const auto a_second = [park](polling& it) {
            const leat::time_point deadline = env::now() + std::chrono::seconds(1);
            park(it, deadline);
            return env::now() >= deadline;
        };
        explore::thread("sleeper", [all, a_second] {
            const bool expired = a_second(*all);
            while (!all->ready.load(env::acquire)) env::pause();
            explore::check(a_second(*all) || expired, "the unpark has ended the first park");
            explore::check(a_second(*all), "nothing is left that could end the third but its deadline");
        });
        explore::thread("waker", [all] {
            all->here.unpark();
            all->ready.store(true, env::release);
        });
    });
}

TEST(parker, a_park_leaves_nothing_behind_that_would_end_a_later_one) {
    expect_right(park_three_times([](auto& it, leat::time_point deadline) { it.here.park(deadline); }));
    expect_right(park_three_times([](auto& it, leat::time_point deadline) { it.here.park_in(it.events, deadline); }));
}

}  // namespace
