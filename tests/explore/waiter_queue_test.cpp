// All schedules of those who wait in one queue against those who wake, stop and time them out: what is handed out reaches
// exactly one waiter that takes it, and a waiter that leaves takes nothing along.
#include <gtest/gtest.h>

#include <array>
#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/sync/waiter_queue.hpp>
#include <leat/task/thread_line.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;
using leat::context;
using wake = leat::context::wake;

// The smallest primitive on a waiter queue: tokens that are handed out, kept when nobody waits.
struct tokens {
    env::mutex lock;
    leat::waiter_queue waiting;
    env::shared<int> kept{0};  // under lock

    void give() {
        leat::waiter* next = nullptr;
        {
            env::lock_guard held(lock);
            next = waiting.claim_first();
            if (next == nullptr) ++kept.write();
        }
        if (next != nullptr) next->resume();
    }

    struct awaiter : leat::waiter {
        explicit awaiter(tokens& from) : owner(from) {}
        tokens& owner;
        bool waits = false;
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
            return wait(self.promise().leat_context(), self);
        }
        bool wait(context& who, std::coroutine_handle<> at) noexcept {
            env::lock_guard held(owner.lock);
            if (owner.kept.read() > 0) {
                --owner.kept.write();
                return false;
            }
            waits = true;
            line = &who;
            if (!who.begin_wait(at, "token")) return false;
            wait_as(who);
            owner.waiting.push_back(*this);
            return true;
        }
        // True when it has a token.
        bool await_resume() noexcept {
            if (!waits || line->woken_by() == wake::ready) return true;
            env::lock_guard held(owner.lock);
            owner.waiting.remove(*this);
            return false;
        }
    };
};

struct scene {
    explore::hand_executor worker;
    leat::stop_source stop;
    tokens here;
    int got = 0, left = 0;  // the worker's own
};

leat::task<> take(scene& all) {
    tokens::awaiter token(all.here);
    const bool got = co_await token;
    (got ? all.got : all.left) += 1;
}

// Takes one that was given; or nothing, when none is kept.
int kept(scene& all) {
    env::lock_guard held(all.here.lock);
    return all.here.kept.read();
}

TEST(waiter_queue, a_token_given_while_its_waiter_is_stopped_is_taken_or_kept) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("giver", [all] { all->here.give(); });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::run_line(all->worker, "taker", take(*all), &all->stop);
        explore::join_all();
        explore::check(all->got + all->left == 1, "one wait, one end");
        explore::check(all->got + kept(*all) == 1, "the token is taken or kept");
        explore::check(all->here.waiting.empty() && all->worker.idle(), "nobody is left");
    }));
}

TEST(waiter_queue, a_token_passes_a_waiter_that_was_stopped_and_goes_to_the_next) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::line leaves(all->worker, "leaves", take(*all));
        explore::line stays(all->worker, "stays", take(*all));
        leaves.attach(all->stop);
        explore::thread("giver", [all] { all->here.give(); });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        leaves.start();
        stays.start();
        // Both cannot end by the one token, unless the first was stopped: then the second has it.
        leaves.finish();
        explore::join_all();
        if (all->got == 1 && !stays.has_ended()) all->here.give();
        stays.finish();
        explore::check(all->got + all->left == 2 && all->left <= 1, "each wait has ended");
        explore::check(kept(*all) == 0 && all->here.waiting.empty() && all->worker.idle(), "nothing is left");
    }));
}

TEST(waiter_queue, two_givers_serve_two_waiters_in_any_order_of_arrival) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto all = std::make_shared<scene>();
        explore::line one(all->worker, "one", take(*all));
        explore::line two(all->worker, "two", take(*all));
        for (int i = 0; i < 2; ++i) explore::thread([all] { all->here.give(); });
        one.start();
        two.start();
        one.finish();
        two.finish();
        explore::join_all();
        explore::check(all->got == 2 && kept(*all) == 0, "both have a token");
    }));
}

// Plain threads as waiters.
bool take_on_this_thread(tokens& from, const leat::time_point* deadline) {
    leat::thread_line line("taker");
    tokens::awaiter token(from);
    if (token.wait(line, {})) {
        if (deadline == nullptr) line.park();
        else line.park_until(*deadline, line.current_ticket());
    }
    return token.await_resume();
}

TEST(waiter_queue, plain_threads_wait_like_tasks) {
    expect_right(explore::run({.preemption_bound = 3, .spurious = 1}, [] {
        auto here = std::make_shared<tokens>();
        for (int i = 0; i < 2; ++i)
            explore::thread([here] { explore::check(take_on_this_thread(*here, nullptr), "has a token"); });
        here->give();
        here->give();
        explore::join_all();
        explore::check(here->waiting.empty() && here->kept.read() == 0, "nothing is left");
    }));
}

TEST(waiter_queue, a_token_given_while_its_thread_times_out_is_taken_or_kept) {
    expect_right(explore::run({.timeouts = 1}, [] {
        struct state {
            tokens here;
            int got = 0;
        };
        auto all = std::make_shared<state>();
        explore::thread("taker", [all] {
            const leat::time_point deadline = env::now() + std::chrono::seconds(1);
            all->got += take_on_this_thread(all->here, &deadline) ? 1 : 0;
        });
        explore::thread("giver", [all] { all->here.give(); });
        explore::join_all();
        explore::check(all->here.waiting.empty(), "nobody is left");
        explore::check(all->got + all->here.kept.read() == 1, "the token is taken or kept");
    }));
}

// More than can be searched: drawn by priorities, with loads that see older values.
const explore::options drawn{
    .random_schedules = 3'000, .pct_depth = 3, .seed = 40, .timeouts = 2, .spurious = 2, .stale = 2};

TEST(waiter_queue, three_threads_that_give_and_take_in_turn_lose_no_token) {
    const explore::report report = explore::run(drawn, [] {
        struct state {
            tokens here;
            std::array<int, 3> got{};
        };
        auto all = std::make_shared<state>();
        for (std::size_t me = 0; me < 3; ++me)
            explore::thread([all, me] {
                for (int round = 0; round < 2; ++round) {
                    all->here.give();
                    const leat::time_point deadline = env::now() + std::chrono::seconds(1);
                    // The last has no deadline: there is a token for each, if the others did not take two.
                    all->got[me] += take_on_this_thread(all->here, me == 2 ? nullptr : &deadline) ? 1 : 0;
                }
            });
        explore::join_all();
        explore::check(all->here.waiting.empty(), "nobody is left");
        explore::check(all->got[0] + all->got[1] + all->got[2] + all->here.kept.read() == 6, "taken or kept");
        explore::check(all->got[2] == 2, "who waits without a deadline gets its tokens");
    });
    EXPECT_TRUE(report.ok()) << report.text();
}

TEST(waiter_queue, tokens_given_by_two_threads_reach_those_of_four_tasks_that_a_third_does_not_stop) {
    const explore::report report = explore::run(drawn, [] {
        auto all = std::make_shared<scene>();
        std::array<std::unique_ptr<explore::line>, 4> lines;
        for (std::size_t i = 0; i < lines.size(); ++i) {
            lines[i] = std::make_unique<explore::line>(all->worker, "taker", take(*all));
            if (i % 2 == 0) lines[i]->attach(all->stop);
        }
        for (int giver = 0; giver < 2; ++giver)
            explore::thread("giver", [all] {
                all->here.give();
                all->here.give();
            });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        for (auto& each : lines) each->start();
        for (auto& each : lines) each->finish();
        explore::join_all();
        explore::check(all->got + all->left == 4 && all->left <= 2, "each wait has ended");
        explore::check(all->got + kept(*all) == 4, "each token is taken or kept");
        explore::check(all->here.waiting.empty() && all->worker.idle(), "nobody is left");
    });
    EXPECT_TRUE(report.ok()) << report.text();
}

}  // namespace
