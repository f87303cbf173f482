// All schedules of the senders and receivers of broadcast and watch: no news is missed by who waits for it, and what is not
// received is counted.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/channel/broadcast.hpp>
#include <leat/channel/watch.hpp>
#include <memory>

namespace {

namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;
using why = leat::broadcast_error::reason;

// Receives or misses, in order, until the end; gives how many.
std::uint64_t account(leat::broadcast_receiver<int>& in) {
    std::uint64_t count = 0;
    for (int last = 0;;) {
        const auto next = in.blocking_recv();
        if (next) {
            explore::check(*next > last, "in order, none twice");
            explore::check(static_cast<std::uint64_t>(*next) == ++count, "the missed ones are those between");
            last = *next;
        } else if (next.error().why == why::lagged) {
            count += next.error().missed;
        } else {
            return count;
        }
    }
}

TEST(feed, two_receivers_of_a_broadcast_account_for_every_value) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<leat::broadcast_ends<int>>(leat::broadcast<int>(2));
        explore::thread(
            "one", [all, in = all->in]() mutable { explore::check(account(in) == 3, "each was received or missed"); });
        explore::thread("two", [all, in = std::move(all->in)]() mutable {
            explore::check(account(in) == 3, "each was received or missed");
        });
        explore::thread("sender", [all, out = std::move(all->out)]() mutable {
            for (int i = 1; i <= 3; ++i) (void)out.send(i).has_value();
            out.reset();
        });
    }));
}

TEST(feed, a_broadcast_waits_for_one_value_in_every_schedule) {
    expect_right(explore::run({.spurious = 1, .reduce = true}, [] {
        auto all = std::make_shared<leat::broadcast_ends<int>>(leat::broadcast<int>(1));
        explore::thread("receiver", [all] {
            const auto next = all->in.blocking_recv();
            explore::check(next.has_value() && *next == 1, "it came");
        });
        explore::thread("sender", [all] { explore::check(all->out.send(1).has_value(), "somebody receives"); });
    }));
}

TEST(feed, two_senders_of_a_broadcast_and_the_end_of_the_last) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<leat::broadcast_ends<int>>(leat::broadcast<int>(4));
        explore::thread("one", [out = all->out]() mutable { (void)out.send(1).has_value(), out.reset(); });
        explore::thread("two", [out = std::move(all->out)]() mutable { (void)out.send(2).has_value(), out.reset(); });
        explore::thread("receiver", [in = std::move(all->in)]() mutable {
            int sum = 0;
            while (const auto next = in.blocking_recv()) sum += *next;
            explore::check(sum == 3, "both came before the end");
            in.reset();
        });
    }));
}

TEST(feed, the_last_receiver_may_go_while_a_value_is_sent) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<leat::broadcast_ends<int>>(leat::broadcast<int>(1));
        explore::thread("sender", [all] {
            const auto sent = all->out.send(1);
            explore::check(sent.has_value() || sent.error().value == 1, "it was sent or came back");
            all->out.reset();
        });
        explore::thread("receiver", [all] { all->in.reset(); });
    }));
}

template <class Scene>
leat::task<> wait_for_news(Scene& all) {
    try {
        const auto next = co_await all.in.recv();
        explore::check(next.has_value(), "a value");
        ++all.seen;
    } catch (const leat::cancelled&) {
        explore::note("the receiver was stopped");
    }
}

TEST(feed, a_receiver_that_is_stopped_while_a_value_comes_gets_it_later) {
    expect_right(explore::run(all_schedules, [] {
        struct scene : leat::broadcast_ends<int> {
            scene() : leat::broadcast_ends<int>(leat::broadcast<int>(1)) {}
            explore::hand_executor worker;
            leat::stop_source stop;
            int seen = 0;
        };
        auto all = std::make_shared<scene>();
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("sender", [all] { (void)all->out.send(1).has_value(); });
        explore::run_line(all->worker, "receiver", wait_for_news(*all), &all->stop);
        explore::join_all();
        if (all->in.try_recv().has_value()) ++all->seen;
        explore::check(all->seen == 1, "once");
    }));
}

TEST(feed, a_watcher_sees_the_last_value_and_then_the_end) {
    for (const explore::options& how :
         {explore::options{.preemption_bound = 3}, explore::options{.stale = 1, .reduce = true}})
        expect_right(explore::run(how, [] {
            auto all = std::make_shared<leat::watch_ends<int>>(leat::watch(0));
            explore::thread("watcher", [all] {
                int last = 0;
                while (all->in.blocking_changed()) {
                    const int now = all->in.get();
                    explore::check(now >= last, "never backwards");
                    last = now;
                }
                explore::check(last == 2 && all->in.get() == 2, "the last one was seen");
            });
            explore::thread("sender", [all] {
                all->out.send(1);
                all->out.send(2);
                all->out.reset();
            });
        }));
}

TEST(feed, both_ends_of_a_watch_may_go_at_once) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<leat::watch_ends<int>>(leat::watch(0));
        explore::thread("sender", [all] { all->out.reset(); });
        explore::thread("watcher", [all] { all->in.reset(); });
    }));
}

}  // namespace
