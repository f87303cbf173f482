// All schedules of selects against each other and against plain ends, timers, stops and closes. Each item has a number and is
// looked for at the end: it was received or is still with its sender; never both, never nowhere.
#include <gtest/gtest.h>

#include <array>
#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/channel/select.hpp>
#include <leat/sync/future.hpp>
#include <memory>

namespace {

namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;
using leat::block_on;
using leat::recv_error;
using leat::send_failure;

// Move-only; 0 when moved from.
class item {
public:
    explicit item(int id) : id_(id) {}
    item(item&& other) noexcept : id_(std::exchange(other.id_, 0)) {}
    item& operator=(item&& other) noexcept {
        id_ = std::exchange(other.id_, 0);
        return *this;
    }
    [[nodiscard]] int id() const { return id_; }

private:
    int id_;
};

// Two selects never begin anew because of each other: a schedule is short, and one that is not repeats itself.
const explore::options bounded{.max_steps = 600, .reduce = true};

struct scene {
    explicit scene(std::size_t capacity = 0) : a(leat::channel<item>(capacity)), b(leat::channel<item>(capacity)) {}
    leat::channel_ends<item> a, b;
    explore::hand_executor worker;
    leat::stop_source stop;
    std::array<int, 4> got{};  // by number of the item
    int ended = 0;
    void take(leat::expected<item, recv_error>& from) {
        explore::check(from.has_value(), "it has a value");
        ++got[static_cast<std::size_t>(from->id())];
    }
};

// Meets whoever takes item `id` or gives one, at either channel; says whether it sent.
template <class Select>
bool meet(scene& all, int id, Select select_of, leat::sender<item>& out, leat::receiver<item>& in) {
    item mine(id);
    auto won = block_on(select_of(out, mine, in));
    explore::check(!won.cancelled(), "nobody has stopped it");
    const bool sent = won.index() == 0;
    explore::check(sent == (mine.id() == 0), "it moves when it wins, and only then");
    if (sent) explore::check(won.template get<0>().has_value(), "it was sent");
    else all.take(won.template get<1>());
    return sent;
}
constexpr auto biased = [](leat::sender<item>& out, item& mine, leat::receiver<item>& in) {
    return leat::select_biased(leat::on_send(out, mine), leat::on_recv(in));
};
constexpr auto fair = [](leat::sender<item>& out, item& mine, leat::receiver<item>& in) {
    return leat::select(leat::on_send(out, mine), leat::on_recv(in));
};

TEST(select, two_that_meet_at_two_rendezvous_exchange_one_item) {
    expect_right(explore::run(bounded, [] {
        auto all = std::make_shared<scene>();
        bool first = false, second = false;
        explore::thread("first", [&, all] { first = meet(*all, 1, biased, all->a.out, all->b.in); });
        explore::thread("second", [&, all] { second = meet(*all, 2, biased, all->b.out, all->a.in); });
        explore::join_all();
        explore::check(first != second, "one gives, the other takes");
        explore::check(all->got[1] == (first ? 1 : 0) && all->got[2] == (second ? 1 : 0), "what was sent is received");
    }));
}

TEST(select, two_that_name_the_channels_in_opposite_orders_neither_deadlock_nor_repeat_for_ever) {
    expect_right(explore::run(bounded, [] {
        auto all = std::make_shared<scene>();
        bool first = false, second = false;
        explore::thread("first", [&, all] { first = meet(*all, 1, biased, all->a.out, all->b.in); });
        explore::thread("second", [&, all] {
            item mine(2);
            auto won = block_on(leat::select_biased(leat::on_recv(all->a.in), leat::on_send(all->b.out, mine)));
            second = won.index() == 1;
            explore::check(second == (mine.id() == 0), "it moves when it wins, and only then");
            if (!second) all->take(won.get<0>());
        });
        explore::join_all();
        explore::check(first != second, "one gives, the other takes");
        explore::check(all->got[1] + all->got[2] == 1, "once");
    }));
}

TEST(select, two_that_send_and_receive_at_one_rendezvous_meet_each_other_and_not_themselves) {
    expect_right(explore::run(bounded, [] {
        auto all = std::make_shared<scene>();
        bool first = false, second = false;
        explore::thread("first", [&, all] { first = meet(*all, 1, fair, all->a.out, all->a.in); });
        explore::thread("second", [&, all] { second = meet(*all, 2, fair, all->a.out, all->a.in); });
        explore::join_all();
        explore::check(first != second, "one gives, the other takes");
        explore::check(all->got[1] == (first ? 1 : 0) && all->got[2] == (second ? 1 : 0), "what was sent is received");
    }));
}

// Three in a ring over two channels: two of them meet, and a plain receiver and sender free whoever is left.
TEST(select, three_that_meet_at_two_rendezvous_lose_nothing) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<scene>();
        std::array<bool, 4> sent{};
        explore::thread("first", [&, all] { sent[1] = meet(*all, 1, biased, all->a.out, all->b.in); });
        explore::thread("second", [&, all] { sent[2] = meet(*all, 2, biased, all->b.out, all->a.in); });
        explore::thread("third", [&, all] {
            item mine(3);
            auto won = block_on(leat::select_biased(leat::on_recv(all->b.in), leat::on_send(all->a.out, mine),
                                                    leat::after(std::chrono::seconds(1))));
            sent[3] = won.index() == 1;
            explore::check(sent[3] == (mine.id() == 0), "it moves when it wins, and only then");
            if (won.index() == 0) all->take(won.get<0>());
            if (won.index() == 2) return;  // the others have met
            // Frees the one that is left, whatever it waits for.
            item other(0);
            auto rest =
                block_on(leat::select_biased(leat::on_recv(all->a.in), leat::on_recv(all->b.in),
                                             leat::on_send(all->a.out, other), leat::on_send(all->b.out, other)));
            if (rest.index() == 0) all->take(rest.get<0>());
            if (rest.index() == 1) all->take(rest.get<1>());
        });
        explore::join_all();
        for (std::size_t id = 1; id <= 3; ++id)
            explore::check(all->got[id] == (sent[id] ? 1 : 0), "what was sent is received once, and nothing else");
    }));
}

TEST(select, a_receive_over_two_channels_takes_one_item_and_leaves_the_other) {
    for (const std::size_t capacity : {0U, 1U})
        expect_right(explore::run({.preemption_bound = 3}, [capacity] {
            auto all = std::make_shared<scene>(capacity);
            for (int id = 1; id <= 2; ++id)
                explore::thread("sender", [all, id] {
                    auto& to = id == 1 ? all->a.out : all->b.out;
                    if (to.blocking_send(item(id))) return;
                    explore::fail("nobody has closed it");
                });
            for (int round = 0; round < 2; ++round) {
                auto won = block_on(leat::select_biased(leat::on_recv(all->a.in), leat::on_recv(all->b.in)));
                if (won.index() == 0) all->take(won.get<0>());
                else all->take(won.get<1>());
            }
            explore::join_all();
            explore::check(all->got[1] == 1 && all->got[2] == 1, "each once");
        }));
}

// One value offered at two places, where two plain receivers and no more take it: it moves once.
TEST(select, one_value_offered_to_two_channels_goes_to_one) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto all = std::make_shared<scene>();
        for (int which = 0; which < 2; ++which)
            explore::thread("receiver", [all, which] {
                auto& from = which == 0 ? all->a.in : all->b.in;
                auto got = from.blocking_recv();
                if (got) all->take(got);
                else ++all->ended;
            });
        item mine(1);
        auto won = block_on(leat::select_biased(leat::on_send(all->a.out, mine), leat::on_send(all->b.out, mine)));
        explore::check(won.index() < 2 && mine.id() == 0, "it was sent");
        all->a.out.close();
        all->b.out.close();
        explore::join_all();
        explore::check(all->got[1] == 1 && all->ended == 1, "one has it, the other ends");
    }));
}

TEST(select, an_item_that_comes_as_the_time_is_over_is_received_or_stays_with_its_sender) {
    expect_right(explore::run({.timeouts = 1, .reduce = true}, [] {
        auto all = std::make_shared<scene>();
        bool sent = false;
        explore::thread("sender", [&, all] {
            item mine(1);
            auto won = block_on(leat::select_biased(leat::on_send(all->a.out, mine)));
            sent = won.get<0>().has_value();
            explore::check(sent == (mine.id() == 0), "it moves when it wins, and only then");
        });
        auto got = all->a.in.blocking_recv_for(std::chrono::seconds(1));
        if (got) all->take(got);
        else explore::check(got.error() == recv_error::timed_out, "it gave up in time");
        all->a.in.reset();  // frees the sender
        explore::join_all();
        explore::check(all->got[1] == (sent ? 1 : 0), "received or kept");
    }));
}

leat::task<> selects(scene& all, item& mine) {
    auto won = co_await leat::select_biased(leat::on_recv(all.a.in), leat::on_send(all.b.out, mine));
    if (won.index() == 0) all.take(won.get<0>());
    else if (won.index() == 1) explore::check(won.get<1>().has_value(), "it was sent");
    else explore::check(won.cancelled() && all.stop.stop_requested(), "it was stopped");
}

TEST(select, one_that_is_stopped_while_it_is_served_has_done_one_thing_or_nothing) {
    for (const std::size_t capacity : {0U, 1U})
        expect_right(explore::run(all_schedules, [capacity] {
            auto all = std::make_shared<scene>(capacity);
            item mine(2);
            if (capacity == 1) (void)all->b.out.try_send(item(3));  // no room
            bool sent = false;
            explore::thread("stopper", [all] { all->stop.request_stop(); });
            explore::thread("others", [&, all] {
                sent = all->a.out.try_send(item(1)).has_value();
                while (auto got = all->b.in.try_recv()) all->take(got);
            });
            explore::run_line(all->worker, "selects", selects(*all, mine), &all->stop);
            explore::join_all();
            while (auto got = all->a.in.try_recv()) all->take(got);
            while (auto got = all->b.in.try_recv()) all->take(got);
            explore::check(all->got[1] == (sent ? 1 : 0), "what was sent is received");
            explore::check(all->got[2] == (mine.id() == 0 ? 1 : 0), "the value is with one of the two");
            explore::check(!all->a.out.try_send(item(1)) || capacity == 1, "nobody waits any more");
        }));
}

TEST(select, one_whose_channels_close_ends_once) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        item mine(2);
        explore::thread("closer", [all] { all->a.out.close(); });
        explore::thread("aborter", [all] { all->b.in.abort(); });
        auto won = block_on(leat::select_biased(leat::on_recv(all->a.in), leat::on_send(all->b.out, mine)));
        if (won.index() == 0) explore::check(won.get<0>().error() == recv_error::closed, "closed");
        else explore::check(won.get<1>().error() == send_failure::aborted, "aborted");
        explore::join_all();
        explore::check(mine.id() == 2, "the value is where it was");
    }));
}

leat::task<> waits_for_end(const leat::future<int>& asked, bool& stopped) {
    auto won = co_await leat::select(leat::on_done(asked));
    stopped = won.cancelled();
    explore::check(stopped || asked.done(), "it was done");
}

TEST(select, one_that_waits_for_a_future_sees_its_end_or_the_stop_and_leaves_the_value) {
    for (const bool with_stop : {false, true})
        expect_right(explore::run(all_schedules, [with_stop] {
            auto all = std::make_shared<scene>();
            leat::promise<int> answer;
            const leat::future<int> asked = answer.get_future();
            bool stopped = false;
            explore::thread("keeper", [&answer] { answer.set_value(5); });
            if (with_stop) explore::thread("stopper", [all] { all->stop.request_stop(); });
            explore::run_line(all->worker, "waits", waits_for_end(asked, stopped), &all->stop);
            explore::join_all();
            explore::check(with_stop || !stopped, "nobody has stopped it");
            explore::check(asked.blocking_get() == 5, "the value is there");
        }));
}

// --- Arms that watch what is not used up ---

struct bells {
    explore::hand_executor worker;
    leat::stop_source stop;
    leat::event a, b;
    std::size_t won = 9;  // the worker's own
};
leat::task<> waits_for_a_bell(bells& all) {
    auto won = co_await leat::select_biased(leat::on_event(all.a), leat::on_event(all.b));
    all.won = won.cancelled() ? 2 : won.index();
}

TEST(select, of_two_events_that_are_set_at_once_one_wins_and_both_stay_set) {
    for (const bool with_stop : {false, true})
        expect_right(explore::run({.preemption_bound = 3}, [with_stop] {
            auto all = std::make_shared<bells>();
            explore::thread("rings a", [all] { all->a.set(); });
            explore::thread("rings b", [all] { all->b.set(); });
            if (with_stop) explore::thread("stopper", [all] { all->stop.request_stop(); });
            explore::run_line(all->worker, "waits", waits_for_a_bell(*all), &all->stop);
            explore::join_all();
            explore::check(all->won < 2 || (with_stop && all->won == 2), "one has won");
            explore::check(all->a.is_set() && all->b.is_set() && all->worker.idle(), "both are set, nothing is left");
        }));
}

// One is set, and never the other: whoever is published second still sees it.
TEST(select, two_that_watch_the_same_events_in_opposite_orders_both_see_the_one_that_is_set) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto all = std::make_shared<bells>();
        explore::thread("one", [all] {
            auto won = block_on(leat::select_biased(leat::on_event(all->a), leat::on_event(all->b)));
            explore::check(won.index() == 0, "a was set");
        });
        explore::thread("other", [all] {
            auto won = block_on(leat::select_biased(leat::on_event(all->b), leat::on_event(all->a)));
            explore::check(won.index() == 1, "a was set");
        });
        all->a.set();
        explore::join_all();
        explore::check(all->a.is_set() && !all->b.is_set(), "they have left them as they were");
    }));
}

TEST(select, an_event_may_be_destroyed_by_who_has_selected_it_while_the_other_is_set) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        struct state {
            std::unique_ptr<leat::event> a = std::make_unique<leat::event>();
            leat::event b;
        };
        auto all = std::make_shared<state>();
        explore::thread("rings a", [bell = all->a.get()] { bell->set(); });
        explore::thread("rings b", [all] { all->b.set(); });
        auto won = block_on(leat::select_biased(leat::on_event(*all->a), leat::on_event(all->b)));
        if (won.index() == 1) all->a->blocking_wait();
        all->a.reset();
        explore::join_all();
    }));
}

TEST(select, an_item_that_comes_as_an_event_is_set_is_received_or_stays) {
    for (const std::size_t capacity : {0U, 1U})
        expect_right(explore::run({.preemption_bound = 3}, [capacity] {
            auto all = std::make_shared<scene>(capacity);
            auto bell = std::make_shared<leat::event>();
            explore::thread("sender",
                            [all] { explore::check(all->a.out.blocking_send(item(1)).has_value(), "it is received"); });
            explore::thread("rings", [bell] { bell->set(); });
            auto won = block_on(leat::select_biased(leat::on_recv(all->a.in), leat::on_event(*bell)));
            if (won.index() == 0) {
                all->take(won.get<0>());
            } else {
                auto got = all->a.in.blocking_recv();
                all->take(got);
            }
            explore::join_all();
            explore::check(all->got[1] == 1 && bell->is_set(), "received once");
        }));
}

TEST(select, of_two_futures_that_are_set_at_once_one_wins_and_both_values_stay) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        leat::promise<int> left, right;
        const leat::future<int> a = left.get_future(), b = right.get_future();
        explore::thread("left", [&left] { left.set_value(5); });
        explore::thread("right", [&right] { right.set_value(6); });
        auto won = block_on(leat::select_biased(leat::on_done(a), leat::on_done(b)));
        explore::check(won.index() == 0 ? a.done() : b.done(), "what has won is done");
        explore::check(a.blocking_get() == 5 && b.blocking_get() == 6, "the values are there");
        explore::join_all();
    }));
}

// --- What an arm that loses leaves behind ---

// A heavy item that waits in a select lets the light one behind it in when another arm wins.
TEST(select, an_arm_that_loses_lets_in_who_waits_behind_it) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto all = std::make_shared<scene>();
        auto bytes = std::make_shared<leat::channel_ends<int>>(
            leat::byte_channel<int>(4, [](const int& weight) { return static_cast<std::size_t>(weight); }));
        explore::check(bytes->out.try_send(3).has_value(), "there is room");
        explore::thread("light", [bytes] { explore::check(bytes->out.blocking_send(1).has_value(), "sent"); });
        explore::thread("sender", [all] { (void)all->a.out.blocking_send(item(1)); });
        int heavy = 4;
        auto won = block_on(leat::select_biased(leat::on_send(bytes->out, heavy), leat::on_recv(all->a.in)));
        explore::check(won.index() == 1, "the heavy one finds no room");
        explore::join_all();  // though nothing was received
        explore::check(bytes->in.counts().bytes == 4, "the light one is in");
    }));
}

// --- The rest of the channel ---

TEST(permit, one_that_is_dropped_lets_the_next_in_and_one_that_is_held_is_room) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto ends = std::make_shared<leat::channel_ends<item>>(leat::channel<item>(1));
        explore::thread(
            "sender", [ends] { explore::check(ends->out.blocking_send(item(1)).has_value(), "the room comes back"); });
        explore::thread("reserver", [ends] {
            auto permit = ends->out.blocking_reserve();
            explore::check(permit.has_value(), "the room comes back");
            const auto counts = ends->in.counts();
            explore::check(counts.reserved == 1 && counts.depth == 0, "a permit is room that nobody else has");
        });
        auto got = ends->in.blocking_recv();
        explore::check(got.has_value(), "sent");
        explore::join_all();
        explore::check(ends->in.counts().reserved == 0, "all room is back");
    }));
}

TEST(permit, one_that_is_dropped_lets_in_a_sender_that_nobody_receives_from) {
    expect_right(explore::run(all_schedules, [] {
        auto ends = std::make_shared<leat::channel_ends<item>>(leat::channel<item>(1));
        auto permit = ends->out.try_reserve();
        explore::thread(
            "sender", [ends] { explore::check(ends->out.blocking_send(item(1)).has_value(), "the room comes back"); });
        permit->release();
        explore::join_all();
        explore::check(ends->in.counts().depth == 1, "it is inside");
    }));
}

TEST(permit, a_receiver_of_a_closed_channel_waits_for_what_was_reserved) {
    expect_right(explore::run(all_schedules, [] {
        auto ends = std::make_shared<leat::channel_ends<item>>(leat::channel<item>(1));
        auto permit = ends->out.try_reserve();
        const bool uses = explore::choose(2) == 1;
        explore::thread("closer", [ends] { ends->out.close(); });
        explore::thread("holder", [mine = std::move(*permit), uses]() mutable {
            if (uses) explore::check(mine.send(item(1)).has_value(), "there is room, closed or not");
            else mine.release();
        });
        auto got = ends->in.blocking_recv();
        explore::check(got.has_value() == uses, "what was reserved comes out");
        if (!got) explore::check(got.error() == recv_error::closed, "drained");
        explore::join_all();
    }));
}

TEST(permit, a_value_passes_those_who_wait_to_reserve) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto ends = std::make_shared<leat::channel_ends<item>>(leat::channel<item>(0));
        explore::thread("reserver", [ends] {
            auto permit = ends->out.blocking_reserve();
            explore::check(!permit && permit.error() == send_failure::aborted, "a rendezvous has no room");
        });
        explore::thread("sender", [ends] { explore::check(ends->out.blocking_send(item(1)).has_value(), "met"); });
        auto got = ends->in.blocking_recv();
        explore::check(got.has_value(), "met");
        ends->in.reset();
        explore::join_all();
    }));
}

TEST(batch, goes_in_in_order_while_another_sends_and_the_channel_closes) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto ends = std::make_shared<leat::channel_ends<int>>(leat::channel<int>(1));
        std::size_t sent = 0;
        explore::thread("batch", [&sent, ends] {
            std::array<int, 3> values{1, 2, 3};
            const auto done = ends->out.blocking_send_many(values);
            sent = done ? 3 : done.error().sent;
        });
        explore::thread("closer", [ends] { ends->out.close(); });
        std::vector<int> got;
        while (ends->in.blocking_recv_many(got, 2)) {
        }
        explore::join_all();
        explore::check(got.size() == sent, "what was sent is received");
        for (std::size_t i = 0; i < got.size(); ++i) explore::check(got[i] == static_cast<int>(i) + 1, "in order");
    }));
}

TEST(drop_oldest, senders_never_wait_and_the_counts_add_up) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto ends = std::make_shared<leat::channel_ends<int>>(leat::channel<int>(1, leat::overflow::drop_oldest));
        for (int id = 1; id <= 2; ++id)
            explore::thread("sender", [ends, id] { explore::check(ends->out.try_send(id).has_value(), "accepted"); });
        const auto got = ends->in.blocking_recv();
        explore::join_all();
        explore::check(got.has_value(), "one is there");
        const auto counts = ends->in.counts();
        explore::check(counts.sent == 2 && counts.received + counts.depth + counts.dropped == 2, "they add up");
    }));
}

}  // namespace
