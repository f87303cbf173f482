// All schedules of the two ends of a channel against each other and against close, abort, stop and the loss of an end. Each
// item has a number and is looked for at the end: it was received, came back to its sender, was dropped by an abort or is
// still inside; never twice, never nowhere.
#include <gtest/gtest.h>

#include <array>
#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <explore/ledger.hpp>
#include <leat/channel/channel.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;
using leat::recv_error;

using explore::ledger;
using item = explore::numbered;
using why = leat::send_error<item>::reason;

struct scene {
    explicit scene(std::size_t capacity) : ends(leat::channel<item>(capacity)) {}
    ledger book;
    explore::hand_executor worker;
    leat::stop_source stop;
    leat::channel_ends<item> ends;

    void got(item&& value) { value.receive(); }
    // Keeps the books of a send; true when the item went in.
    bool sent(leat::expected<void, leat::send_error<item>> result, std::initializer_list<why> allowed) {
        if (result) return true;
        bool foreseen = false;
        for (const why each : allowed) foreseen = foreseen || each == result.error().why;
        explore::check(foreseen, "it failed for a reason that was there");
        result.error().value.come_back();
        return false;
    }
    // Receives until the channel has ended.
    void drain(leat::receiver<item>& from) {
        for (;;) {
            auto next = from.blocking_recv();
            if (!next) return explore::check(next.error() == recv_error::closed, "drained");
            got(std::move(*next));
        }
    }
    // Each item from 1 to `last` is in one place.
    void settle(int last) {
        for (int id = 1; id <= last; ++id) explore::check(book.places(id) == 1, "each item is in exactly one place");
    }
};

void send_and_leave(scene& all, leat::sender<item> out, int first, int last) {
    for (int id = first; id <= last; ++id) (void)all.sent(out.blocking_send(item(id, all.book)), {});
}

class channel : public testing::TestWithParam<std::size_t> {};

TEST_P(channel, everything_sent_is_received_in_order_and_then_the_receiver_ends) {
    expect_right(explore::run({.preemption_bound = 3}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("sender", [all] { send_and_leave(*all, std::move(all->ends.out), 1, 3); });
        explore::thread("receiver", [all] { all->drain(all->ends.in); });
        explore::join_all();
        explore::check(all->book.order == std::vector<int>{1, 2, 3}, "in order, none lost, none twice");
    }));
}

TEST_P(channel, one_item_meets_its_receiver_in_every_schedule) {
    expect_right(explore::run({.spurious = 1, .reduce = true}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("sender", [all] { (void)all->sent(all->ends.out.blocking_send(item(1, all->book)), {}); });
        explore::thread("receiver", [all] {
            auto next = all->ends.in.blocking_recv();
            explore::check(next.has_value(), "nobody has closed it");
            all->got(std::move(*next));
        });
        explore::join_all();
        all->settle(1);
    }));
}

TEST_P(channel, two_senders_lose_nothing_and_keep_their_own_order) {
    expect_right(explore::run({.preemption_bound = 2}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("one", [all, out = all->ends.out]() mutable { send_and_leave(*all, std::move(out), 1, 2); });
        explore::thread(
            "two", [all, out = std::move(all->ends.out)]() mutable { send_and_leave(*all, std::move(out), 3, 3); });
        explore::thread("receiver", [all] { all->drain(all->ends.in); });
        explore::join_all();
        all->settle(3);
        int low = 0, high = 2;
        for (const int id : all->book.order) explore::check(id == (id <= 2 ? ++low : ++high), "in the order of each");
    }));
}

TEST_P(channel, two_receivers_share_what_is_sent_and_both_end) {
    expect_right(explore::run({.preemption_bound = 2}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("sender", [all] { send_and_leave(*all, std::move(all->ends.out), 1, 2); });
        for (int i = 0; i < 2; ++i) explore::thread("receiver", [all, in = all->ends.in]() mutable { all->drain(in); });
        explore::join_all();
        all->settle(2);
        explore::check(all->book.order.size() == 2, "both were received");
    }));
}

TEST_P(channel, close_beside_sends_lets_each_item_in_or_gives_it_back) {
    expect_right(explore::run({.preemption_bound = 3}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("sender", [all] {
            bool open = true;
            for (int id = 1; id <= 2; ++id) {
                const bool in = all->sent(all->ends.out.blocking_send(item(id, all->book)), {why::closed});
                explore::check(open || !in, "closed for good");
                open = in;
            }
            all->ends.out.reset();
        });
        explore::thread("closer", [all, out = all->ends.out]() mutable { out.close(); });
        explore::thread("receiver", [all] { all->drain(all->ends.in); });
        explore::join_all();
        all->settle(2);
        for (int id = 1; id <= 2; ++id)
            explore::check(all->book.dropped[static_cast<std::size_t>(id)] == 0, "close drops nothing");
    }));
}

TEST_P(channel, close_gives_a_waiting_sender_its_item_back) {
    expect_right(explore::run(all_schedules, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("sender", [all, capacity] {
            const int last = static_cast<int>(capacity) + 1;
            for (int id = 1; id <= last; ++id)
                (void)all->sent(all->ends.out.blocking_send(item(id, all->book)), {why::closed});
            explore::check(all->book.back[static_cast<std::size_t>(last)] == 1, "there was no room for the last");
        });
        explore::thread("closer", [all, out = all->ends.out]() mutable { out.close(); });
        explore::join_all();
        while (auto rest = all->ends.in.try_recv()) all->got(std::move(*rest));
        all->settle(static_cast<int>(capacity) + 1);
    }));
}

TEST_P(channel, abort_beside_a_send_and_a_receive_leaves_each_item_in_one_place) {
    expect_right(explore::run({.preemption_bound = 3}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("sender", [all] {
            for (int id = 1; id <= 2; ++id)
                (void)all->sent(all->ends.out.blocking_send(item(id, all->book)), {why::aborted});
        });
        explore::thread("aborter", [all, out = all->ends.out]() mutable { out.abort(); });
        explore::thread("receiver", [all] {
            auto next = all->ends.in.blocking_recv();
            if (next) all->got(std::move(*next));
            else explore::check(next.error() == recv_error::aborted, "it was aborted");
        });
        explore::join_all();
        all->settle(2);
    }));
}

TEST_P(channel, a_sender_whose_last_receiver_goes_gets_its_item_back) {
    expect_right(explore::run(all_schedules, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("sender", [all] {
            for (int id = 1; id <= 2; ++id)
                (void)all->sent(all->ends.out.blocking_send(item(id, all->book)), {why::aborted});
        });
        explore::thread("receiver", [all] { all->ends.in.reset(); });
        explore::join_all();
        all->settle(2);
        if (capacity < 2) explore::check(all->book.back[2] == 1, "there was no room for the second");
    }));
}

TEST_P(channel, a_receiver_whose_last_sender_goes_ends) {
    expect_right(explore::run(all_schedules, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("sender", [all] { all->ends.out.reset(); });
        explore::thread("receiver", [all] { all->drain(all->ends.in); });
    }));
}

TEST_P(channel, both_ends_may_go_at_once) {
    expect_right(explore::run(all_schedules, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("sender", [all] {
            auto result = all->ends.out.try_send(item(1, all->book));
            (void)all->sent(std::move(result), {why::aborted, why::full});
            all->ends.out.reset();
        });
        explore::thread("receiver", [all] { all->ends.in.reset(); });
        explore::join_all();
        all->settle(1);
    }));
}

TEST_P(channel, ends_are_shared_while_others_go) {
    expect_right(explore::run(all_schedules, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("one", [all, out = all->ends.out]() mutable {
            leat::sender<item> copy = out;
            out.reset();
            (void)all->sent(copy.try_send(item(1, all->book)), {why::full, why::aborted});
        });
        explore::thread("two", [all, in = std::move(all->ends.in)]() mutable {
            leat::receiver<item> copy = in;
            in.reset();
            if (auto next = copy.try_recv()) all->got(std::move(*next));
        });
        explore::join_all();
        all->ends.out.reset();
    }));
}

TEST_P(channel, what_is_tried_on_both_sides_at_once_is_in_one_place) {
    expect_right(explore::run(all_schedules, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("sender", [all] {
            for (int id = 1; id <= 2; ++id) (void)all->sent(all->ends.out.try_send(item(id, all->book)), {why::full});
        });
        explore::thread("receiver", [all] {
            for (int i = 0; i < 2; ++i) {
                auto next = all->ends.in.try_recv();
                if (next) all->got(std::move(*next));
                else explore::check(next.error() == recv_error::empty, "only empty");
            }
        });
        explore::join_all();
        while (auto rest = all->ends.in.try_recv()) all->got(std::move(*rest));
        all->settle(2);
    }));
}

// --- More than can be searched: drawn by priorities, with loads that see older values ---

const explore::options drawn{.random_schedules = 1'000, .pct_depth = 3, .seed = 50, .spurious = 2, .stale = 2};

TEST_P(channel, three_senders_and_two_receivers_lose_nothing_and_keep_the_order_of_each_sender) {
    const explore::report report = explore::run(drawn, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        for (int me = 0; me < 3; ++me)
            explore::thread("sender", [all, me, out = all->ends.out]() mutable {
                send_and_leave(*all, std::move(out), 2 * me + 1, 2 * me + 2);
            });
        all->ends.out.reset();
        std::array<std::vector<int>, 2> orders;
        for (auto& mine : orders)
            explore::thread("receiver", [all, &mine, in = all->ends.in]() mutable {
                while (auto next = in.blocking_recv()) {
                    mine.push_back(next->id());
                    all->got(std::move(*next));
                }
            });
        explore::join_all();
        all->settle(6);
        for (const auto& order : orders)
            for (std::size_t i = 0; i < order.size(); ++i)
                for (std::size_t j = 0; j < i; ++j)
                    explore::check((order[i] + 1) / 2 != (order[j] + 1) / 2 || order[j] < order[i], "in order");
    });
    EXPECT_TRUE(report.ok()) << report.text();
}

TEST_P(channel, abort_beside_two_senders_and_two_receivers_leaves_each_item_in_one_place) {
    const explore::report report = explore::run(drawn, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        for (int me = 0; me < 2; ++me)
            explore::thread("sender", [all, me, out = all->ends.out]() mutable {
                for (int id = 3 * me + 1; id <= 3 * me + 3; ++id)
                    (void)all->sent(out.blocking_send(item(id, all->book)), {why::aborted});
            });
        for (int i = 0; i < 2; ++i)
            explore::thread("receiver", [all, in = all->ends.in]() mutable {
                while (auto next = in.blocking_recv()) all->got(std::move(*next));
            });
        explore::thread("aborter", [all, out = std::move(all->ends.out)]() mutable { out.abort(); });
        explore::join_all();
        all->settle(6);
    });
    EXPECT_TRUE(report.ok()) << report.text();
}

// --- Tasks that are stopped while they wait ---

leat::task<> send_one(scene& all, int id) {
    item value(id, all.book);
    auto sending = all.ends.out.send(std::move(value));
    auto result = co_await std::move(sending);
    (void)all.sent(std::move(result), {why::cancelled, why::closed, why::aborted});
}

// Returns what it received, or nothing when it was stopped or the channel has ended.
leat::task<> receive_one(scene& all) {
    try {
        auto next = co_await all.ends.in.recv();
        if (next) all.got(std::move(*next));
    } catch (const leat::cancelled&) {
        explore::note("the receiver was stopped");
    }
}

// Fills the channel, so that the next send waits.
int fill(scene& all, std::size_t capacity) {
    int id = 0;
    while (id < static_cast<int>(capacity)) (void)all.sent(all.ends.out.try_send(item(++id, all.book)), {});
    return id;
}

TEST_P(channel, a_send_that_is_stopped_while_its_item_is_received_keeps_it_or_has_sent_it) {
    expect_right(explore::run(all_schedules, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        const int last = fill(*all, capacity) + 1;
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("receiver", [all] {
            if (auto next = all->ends.in.try_recv()) all->got(std::move(*next));
        });
        explore::run_line(all->worker, "sender", send_one(*all, last), &all->stop);
        explore::join_all();
        while (auto rest = all->ends.in.try_recv()) all->got(std::move(*rest));
        all->settle(last);
    }));
}

TEST_P(channel, a_receive_that_is_stopped_while_an_item_comes_has_it_or_leaves_it) {
    expect_right(explore::run(all_schedules, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("sender", [all] { (void)all->sent(all->ends.out.try_send(item(1, all->book)), {why::full}); });
        explore::run_line(all->worker, "receiver", receive_one(*all), &all->stop);
        explore::join_all();
        while (auto rest = all->ends.in.try_recv()) all->got(std::move(*rest));
        all->settle(1);
        explore::check(all->ends.in.counts().depth == 0, "the counts agree");
    }));
}

TEST_P(channel, an_item_meant_for_a_receiver_that_is_stopped_goes_to_the_next) {
    expect_right(explore::run({.preemption_bound = 3}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::line leaves(all->worker, "leaves", receive_one(*all));
        explore::line stays(all->worker, "stays", receive_one(*all));
        leaves.attach(all->stop);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("sender", [all] {
            // Waits for a receiver where there is no room; ends, if it must, when the ends go.
            (void)all->sent(all->ends.out.blocking_send(item(1, all->book)), {why::aborted});
        });
        leaves.start();
        stays.start();
        leaves.finish();
        if (!stays.has_ended() && all->book.received[1] == 1) all->ends.out.close();  // the first has it
        stays.finish();
        explore::join_all();
        explore::check(all->book.received[1] == 1, "somebody has it");
    }));
}

TEST_P(channel, room_meant_for_a_sender_that_is_stopped_goes_to_the_next) {
    expect_right(explore::run({.preemption_bound = 3}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        const int inside = fill(*all, capacity);
        explore::line leaves(all->worker, "leaves", send_one(*all, inside + 1));
        explore::line stays(all->worker, "stays", send_one(*all, inside + 2));
        leaves.attach(all->stop);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("receiver", [all] { all->got(std::move(*all->ends.in.blocking_recv())); });
        leaves.start();
        stays.start();
        leaves.finish();
        if (!stays.has_ended() && all->book.back[static_cast<std::size_t>(inside + 1)] == 0)
            all->got(std::move(*all->ends.in.blocking_recv()));  // the first took the room
        stays.finish();
        explore::join_all();
        while (auto rest = all->ends.in.try_recv()) all->got(std::move(*rest));
        all->settle(inside + 2);
        explore::check(all->book.back[static_cast<std::size_t>(inside + 2)] == 0, "nobody has stopped the second");
    }));
}

TEST_P(channel, a_wider_bound_lets_a_waiting_sender_in) {
    expect_right(explore::run(all_schedules, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        const int last = fill(*all, capacity) + 1;
        explore::thread("widener", [all, capacity] { all->ends.out.set_bounds(capacity + 1); });
        explore::run_line(all->worker, "sender", send_one(*all, last));
        explore::join_all();
        while (auto rest = all->ends.in.try_recv()) all->got(std::move(*rest));
        all->settle(last);
        explore::check(all->book.order.size() == capacity + 1, "all were inside");
    }));
}

TEST_P(channel, a_wider_bound_lets_a_waiting_sender_in_even_while_it_is_stopped) {
    expect_right(explore::run(all_schedules, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        const int last = fill(*all, capacity) + 1;
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("widener", [all, capacity] { all->ends.out.set_bounds(capacity + 1); });
        explore::run_line(all->worker, "sender", send_one(*all, last), &all->stop);
        explore::join_all();
        while (auto rest = all->ends.in.try_recv()) all->got(std::move(*rest));
        all->settle(last);
    }));
}

// --- Bounds in bytes ---

TEST(channel_bytes, a_light_item_waits_behind_a_heavy_one_until_that_one_is_stopped) {
    expect_right(explore::run(all_schedules, [] {
        struct state {
            explore::hand_executor worker;
            leat::stop_source stop;
            leat::channel_ends<int> ends = leat::channel<int>(leat::channel_bounds(8, 4), [](const int& weight) {
                return static_cast<std::size_t>(weight);  // an item is its own weight
            });
            int sent = 0, stopped = 0;
        };
        static constexpr auto send = [](state& all, int weight) -> leat::task<> {
            auto result = co_await all.ends.out.send(weight);
            (result ? all.sent : all.stopped) += weight;
        };
        auto all = std::make_shared<state>();
        explore::check(all->ends.out.try_send(2).has_value(), "there is room");
        auto heavy = std::make_unique<explore::line>(all->worker, "heavy", send(*all, 3));
        explore::line light(all->worker, "light", send(*all, 1));
        heavy->attach(all->stop);
        heavy->start();
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("trier", [all] {
            auto result = all->ends.out.try_send(1);
            if (result) explore::check(all->stopped == 3 || all->stop.stop_requested(), "nobody overtakes");
        });
        light.start();
        heavy->finish();
        heavy.reset();
        light.finish();  // though nothing was received
        explore::join_all();
        explore::check(all->stopped == 3 && all->sent == 1, "the heavy one was stopped, the light one let in");
        int inside = 0;
        while (auto next = all->ends.in.try_recv()) inside += *next;
        explore::check(inside == 3 || inside == 4, "what was sent is inside");
    }));
}

INSTANTIATE_TEST_SUITE_P(capacity, channel, testing::Values(0U, 1U, 2U),
                         [](const auto& of) { return std::to_string(of.param); });

}  // namespace
