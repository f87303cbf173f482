// Schedules of forks whose continuations are stolen: the join sees what all children wrote, whoever comes last goes on, and
// the awaiting task goes on once, on its executor.
#include <gtest/gtest.h>

#include <array>
#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/task/fork.hpp>
#include <memory>
#include <stdexcept>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::expect_right;
using leat::fork;
using leat::fork_task;
using leat::join;
using leat::detail::fork_frame;
using leat::detail::fork_worker;

// For random schedules, which are never complete.
void expect_ok(const explore::report& of) { EXPECT_TRUE(of.ok()) << of.text(); }

struct scene {
    explore::hand_executor home;
    std::array<fork_worker, 3> workers;
    std::array<env::shared<int>, 4> cells;
    leat::stop_source stop;
    int ends = 0;
};

// Runs `body` on the first worker, while `thieves` others each try so many times to steal from all before them.
template <class Body>
explore::report with_thieves(const explore::options& how, unsigned thieves, int tries, Body body) {
    return explore::run(how, [=] {
        auto all = std::make_shared<scene>();
        for (unsigned i = 1; i <= thieves; ++i)
            explore::thread("thief", [all, i, tries] {
                explore::hand_executor::forks_with(all->workers[i]);
                for (int n = 0; n < tries; ++n)
                    for (unsigned victim = 0; victim < i; ++victim)
                        if (fork_frame* const stolen = all->workers[victim].steal())
                            all->workers[i].run_stolen(*stolen);
            });
        explore::thread("owner", [all, body] {
            explore::hand_executor::forks_with(all->workers[0]);
            explore::run_line(all->home, "root", body(*all), &all->stop);
            explore::check(all->ends == 1, "it has ended once");
        });
    });
}

fork_task<> write(env::shared<int>& where, int value) {
    where.write() = value;
    co_return;
}
fork_task<int> write_two(scene& all) {
    co_await fork(write, all.cells[0], 1);
    co_await fork(write, all.cells[1], 2);
    co_await join();
    co_return all.cells[0].read() + all.cells[1].read();
}
leat::task<> two_children(scene& all) {
    const int sum = co_await write_two(all);
    explore::check(sum == 3 && all.cells[0].read() == 1, "both have written");
    ++all.ends;
}

TEST(fork, a_join_sees_what_its_children_wrote) {
    expect_right(with_thieves({.preemption_bound = 3}, 1, 2, two_children));
    expect_right(with_thieves({.preemption_bound = 2}, 2, 1, two_children));
}

TEST(fork, a_join_of_children_that_two_thieves_run) {
    expect_ok(with_thieves({.random_schedules = 20'000}, 2, 2, two_children));
}

fork_task<int> two_rounds(scene& all) {
    int first = 0;
    int second = 0;
    co_await fork(&first, write_two, all);
    co_await join();
    co_await fork(&second, write_two, all);
    co_await join();
    co_return first + second;
}
leat::task<> rounds(scene& all) {
    const int sum = co_await two_rounds(all);
    explore::check(sum == 6, "both rounds have their values");
    ++all.ends;
}

TEST(fork, a_frame_that_was_stolen_is_at_home_again_after_its_join) {
    expect_right(with_thieves({.preemption_bound = 2}, 1, 3, rounds));
    expect_ok(with_thieves({.random_schedules = 20'000}, 2, 3, rounds));
}

fork_task<> fail(const char* text) {
    throw std::runtime_error(text);
    co_return;
}
fork_task<> forks_and_fails(scene& all) {
    co_await fork(write, all.cells[0], 1);
    co_await fork(fail, "child");
    co_await fork(write, all.cells[1], 1);
    throw std::runtime_error("parent");
}
leat::task<> failing(scene& all) {
    bool failed = false;
    try {
        co_await forks_and_fails(all);
    } catch (const std::runtime_error&) {
        failed = true;
    }
    explore::check(failed && all.cells[0].read() == 1 && all.cells[1].read() == 1, "all have ended before the error");
    ++all.ends;
}

TEST(fork, a_parent_that_throws_waits_for_the_children_that_others_run) {
    expect_right(with_thieves({.preemption_bound = 2}, 1, 3, failing));
    expect_ok(with_thieves({.random_schedules = 20'000}, 2, 3, failing));
}

fork_task<> only_a_child_fails(scene& all) {
    co_await fork(write, all.cells[0], 1);
    co_await fork(fail, "child");
    co_await fork(write, all.cells[1], 1);
    co_await join();
}
leat::task<> child_failing(scene& all) {
    bool failed = false;
    try {
        co_await only_a_child_fails(all);
    } catch (const std::runtime_error&) {
        failed = true;
    }
    explore::check(failed, "the join throws it");
    ++all.ends;
}

TEST(fork, the_error_of_a_child_comes_out_of_the_join_wherever_it_ran) {
    expect_right(with_thieves({.preemption_bound = 2}, 1, 3, child_failing));
}

leat::task<> later(scene& all) {
    all.cells[2].write() = 1;
    co_return;
}
fork_task<> waits(scene& all) { co_await later(all); }
fork_task<> forks_a_wait(scene& all) {
    co_await fork(waits, all);
    co_await fork(write, all.cells[0], 1);
    co_await join();
}
leat::task<> waiting(scene& all) {
    co_await forks_a_wait(all);
    explore::check(all.cells[0].read() == 1 && all.cells[2].read() == 1, "both have ended");
    ++all.ends;
}

TEST(fork, a_frame_that_steps_aside_lets_its_parent_go_on) {
    expect_right(with_thieves({.preemption_bound = 2}, 1, 2, waiting));
    expect_ok(with_thieves({.random_schedules = 20'000}, 2, 2, waiting));
}

// Its frame lies shortly above `parent`, a local of the frame that forks it: on the same stack.
fork_task<> lies_above(const char* parent) {
    char here = 0;
    const auto where = reinterpret_cast<std::uintptr_t>(&here);
    co_await join();
    const auto below = reinterpret_cast<std::uintptr_t>(parent);
    explore::check(where > below && where - below < 8192, "frames lie on the stack of the frame that made them");
    here = 1;
}
fork_task<> goes_home(scene& all) {
    char here = 0;
    co_await fork(write, all.cells[0], 1);
    co_await join();
    co_await fork(lies_above, &here);
    co_await join();
    co_await later(all);
    co_await fork(lies_above, &here);
    co_await join();
    here = 1;
}
fork_task<> forks_what_goes_home(scene& all) {
    co_await fork(goes_home, all);
    co_await fork(write, all.cells[1], 1);
    co_await join();
}
leat::task<> going_home(scene& all) {
    co_await forks_what_goes_home(all);
    ++all.ends;
}

TEST(fork, past_a_join_and_a_wait_frames_lie_at_home_again) {
    expect_right(with_thieves({.preemption_bound = 2}, 1, 3, going_home));
    expect_ok(with_thieves({.random_schedules = 20'000}, 2, 3, going_home));
}

TEST(fork, a_tree_that_begins_when_a_stop_was_requested_is_cancelled) {
    explore::expect_right(with_thieves({.preemption_bound = 2}, 1, 1, [](scene& all) -> leat::task<> {
        all.stop.request_stop();
        bool cancelled = false;
        try {
            (void)co_await two_rounds(all);
        } catch (const leat::cancelled&) {
            cancelled = true;
        }
        explore::check(cancelled, "at its first fork");
        ++all.ends;
    }));
}

leat::task<> stopped(scene& all) {
    bool cancelled = false;
    try {
        (void)co_await two_rounds(all);
    } catch (const leat::cancelled&) {
        cancelled = true;
    }
    explore::check(cancelled || (all.cells[0].read() == 1 && all.cells[1].read() == 2),
                   "it has ended or was cancelled");
    ++all.ends;
}

TEST(fork, a_stop_request_comes_between_forks_and_joins) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<scene>();
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("thief", [all] {
            explore::hand_executor::forks_with(all->workers[1]);
            if (fork_frame* const stolen = all->workers[0].steal()) all->workers[1].run_stolen(*stolen);
        });
        explore::thread("owner", [all] {
            explore::hand_executor::forks_with(all->workers[0]);
            explore::run_line(all->home, "root", stopped(*all), &all->stop);
            explore::check(all->ends == 1, "it has ended once");
        });
    }));
}

// --- The protocol of the join, with planted mistakes: two orphaned children arrive, the parent waits ---

struct join_mistakes {
    std::memory_order arrive = env::acq_rel, wait = env::acq_rel;
    bool waits_by_look = false;          // the parent looks whether all are there, then says that it waits
    bool leaves_stack_late = false;      // a child touches the parent's stack after it has arrived
    bool forgets_a_theft = false;        // counts one theft of two
    bool goes_on_when_not_last = false;  // whoever finds the parent waiting goes on with it
};

explore::report join_protocol(join_mistakes wrong) {
    return explore::run(explore::all_schedules, [wrong] {
        struct parent {
            env::atomic<int> arrived{0};
            env::shared<int> stack{0}, went_on{0};
            std::array<env::shared<int>, 2> results;
            void go_on() {
                explore::check(++went_on.write() == 1, "the parent goes on once");
                explore::check(results[0].read() == 1 && results[1].read() == 1, "all have written");
                stack.write() = 2;
            }
        };
        auto all = std::make_shared<parent>();
        for (unsigned i = 0; i < 2; ++i)
            explore::thread("child", [all, wrong, i] {
                all->results[i].write() = 1;
                const bool first_worker = i == 0;  // it stands on the parent's home
                if (first_worker && !wrong.leaves_stack_late) all->stack.write() = 1;
                const int before = all->arrived.fetch_sub(1, wrong.arrive);
                if (first_worker && wrong.leaves_stack_late) all->stack.write() = 1;
                if (before == 1 || (wrong.goes_on_when_not_last && before > 0)) all->go_on();
            });
        explore::thread("parent", [all, wrong] {
            const int stolen = wrong.forgets_a_theft ? 1 : 2;
            if (wrong.waits_by_look) {
                if (all->arrived.load(env::acquire) == -stolen) return all->go_on();
                all->arrived.fetch_add(stolen, wrong.wait);
                return;
            }
            if (all->arrived.fetch_add(stolen, wrong.wait) + stolen == 0) all->go_on();
        });
        explore::join_all();
        explore::check(all->went_on.read() == 1, "the parent goes on once");
    });
}

TEST(mutants, join_of_orphans) {
    using explore::expect_broken;
    expect_right(join_protocol({}));
    expect_broken(join_protocol({.arrive = env::relaxed}), "data race");
    expect_broken(join_protocol({.arrive = env::release}), "data race");
    expect_broken(join_protocol({.wait = env::relaxed}), "data race");
    expect_broken(join_protocol({.waits_by_look = true}), "");
    expect_broken(join_protocol({.leaves_stack_late = true}), "data race");
    expect_broken(join_protocol({.forgets_a_theft = true}), "");
    expect_broken(join_protocol({.goes_on_when_not_last = true}), "");
}

}  // namespace
