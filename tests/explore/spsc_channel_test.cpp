// All schedules of the two ends of an spsc_channel against each other and against close, abort, stop and the loss of an end;
// also with loads that see older values, since its fast paths have no lock. Each item has a number and is looked for at the
// end.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <explore/ledger.hpp>
#include <leat/channel/spsc_channel.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace {

namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;
using item = explore::numbered;
using why = leat::send_error<item>::reason;
using why_many = leat::send_many_error::reason;
using leat::recv_error;

const explore::options stale_loads{.preemption_bound = 2, .stale = 1};

struct scene {
    explicit scene(std::size_t capacity) : ends(leat::spsc_channel<item>(capacity)) {}
    explore::ledger book;
    explore::hand_executor worker;
    leat::stop_source stop;
    leat::spsc_ends<item> ends;

    [[nodiscard]] item make(int id) { return item(id, book); }
    [[nodiscard]] std::vector<item> make(int first, int last) {
        std::vector<item> all;
        for (int id = first; id <= last; ++id) all.push_back(make(id));
        return all;
    }
    // Keeps the books of a send; true when the item went in.
    static bool sent(leat::expected<void, leat::send_error<item>> result, std::initializer_list<why> allowed) {
        if (result) return true;
        bool foreseen = false;
        for (const why each : allowed) foreseen = foreseen || each == result.error().why;
        explore::check(foreseen, "it failed for a reason that was there");
        result.error().value.come_back();
        return false;
    }
    static void sent_many(leat::expected<void, leat::send_many_error> result, std::vector<item>& items,
                          std::initializer_list<why_many> allowed) {
        std::size_t count = items.size();
        if (!result) {
            bool foreseen = false;
            for (const why_many each : allowed) foreseen = foreseen || each == result.error().why;
            explore::check(foreseen, "it failed for a reason that was there");
            count = result.error().sent;
        }
        for (std::size_t i = 0; i < items.size(); ++i) {
            explore::check((items[i].id() == 0) == (i < count), "the first are inside, the others are here");
            if (i >= count) items[i].come_back();
        }
    }
    recv_error drain() {
        for (;;) {
            auto next = ends.in.blocking_recv();
            if (!next) return next.error();
            next->receive();
        }
    }
    recv_error drain_in_batches(std::size_t most) {
        std::vector<item> batch(most);
        for (;;) {
            const auto count = ends.in.blocking_recv_many(batch);
            if (!count) return count.error();
            explore::check(*count > 0, "a batch is not empty");
            for (std::size_t i = 0; i < *count; ++i) batch[i].receive();
        }
    }
    // What nobody waits for any more.
    void take_the_rest() {
        while (auto rest = ends.in.try_recv()) rest->receive();
    }
};

class spsc : public testing::TestWithParam<std::size_t> {};

TEST_P(spsc, everything_sent_is_received_in_order_and_then_the_receiver_ends) {
    for (const explore::options& how : {explore::options{.preemption_bound = 3}, stale_loads})
        expect_right(explore::run(how, [capacity = GetParam()] {
            auto all = std::make_shared<scene>(capacity);
            explore::thread("sender", [all] {
                for (int id = 1; id <= 3; ++id) (void)scene::sent(all->ends.out.blocking_send(all->make(id)), {});
                all->ends.out.reset();
            });
            explore::thread("receiver", [all] { explore::check(all->drain() == recv_error::closed, "it was closed"); });
            explore::join_all();
            explore::check(all->book.order == std::vector<int>{1, 2, 3}, "in order, none lost, none twice");
        }));
}

TEST_P(spsc, one_item_meets_its_receiver_in_every_schedule) {
    expect_right(explore::run({.spurious = 1, .reduce = true}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("sender", [all] { (void)scene::sent(all->ends.out.blocking_send(all->make(1)), {}); });
        explore::thread("receiver", [all] {
            auto next = all->ends.in.blocking_recv();
            explore::check(next.has_value(), "nobody has closed it");
            next->receive();
        });
        explore::join_all();
        all->book.settle_undropped(1);
    }));
}

TEST_P(spsc, batches_arrive_whole_and_in_order) {
    for (const explore::options& how : {explore::options{.preemption_bound = 2}, stale_loads})
        expect_right(explore::run(how, [capacity = GetParam()] {
            auto all = std::make_shared<scene>(capacity);
            explore::thread("sender", [all] {
                auto items = all->make(1, 3);
                scene::sent_many(all->ends.out.blocking_send_many(items), items, {});
                all->ends.out.reset();
            });
            explore::thread("receiver",
                            [all] { explore::check(all->drain_in_batches(2) == recv_error::closed, "it was closed"); });
            explore::join_all();
            explore::check(all->book.order == std::vector<int>{1, 2, 3}, "in order, none lost, none twice");
        }));
}

TEST_P(spsc, a_sender_that_waits_for_room_for_two_is_woken_by_single_receives) {
    for (const explore::options& how : {explore::options{.preemption_bound = 3}, stale_loads})
        expect_right(explore::run(how, [capacity = GetParam()] {
            auto all = std::make_shared<scene>(capacity);
            explore::thread("sender", [all, capacity] {
                auto items = all->make(1, static_cast<int>(capacity) + 2);
                scene::sent_many(all->ends.out.blocking_send_many(items), items, {});
            });
            explore::thread("receiver", [all, capacity] {
                for (std::size_t i = 0; i < capacity + 2; ++i) all->ends.in.blocking_recv().value().receive();
            });
            explore::join_all();
            all->book.settle_undropped(static_cast<int>(capacity) + 2);
        }));
}

TEST_P(spsc, what_is_tried_on_both_sides_at_once_is_in_one_place) {
    for (const explore::options& how : {all_schedules, stale_loads})
        expect_right(explore::run(how, [capacity = GetParam()] {
            auto all = std::make_shared<scene>(capacity);
            explore::thread("sender", [all] {
                for (int id = 1; id <= 3; ++id) (void)scene::sent(all->ends.out.try_send(all->make(id)), {why::full});
            });
            explore::thread("receiver", [all] {
                for (int i = 0; i < 2; ++i) {
                    auto next = all->ends.in.try_recv();
                    if (next) next->receive();
                    else explore::check(next.error() == recv_error::empty, "only empty");
                }
            });
            explore::join_all();
            all->take_the_rest();
            all->book.settle_undropped(3);
        }));
}

TEST_P(spsc, close_by_the_receiver_lets_each_item_in_or_gives_it_back) {
    for (const explore::options& how : {explore::options{.preemption_bound = 3}, stale_loads})
        expect_right(explore::run(how, [capacity = GetParam()] {
            auto all = std::make_shared<scene>(capacity);
            explore::thread("sender", [all] {
                bool open = true;
                for (int id = 1; id <= 3; ++id) {
                    const bool in = scene::sent(all->ends.out.blocking_send(all->make(id)), {why::closed});
                    explore::check(open || !in, "closed for good");
                    open = in;
                }
            });
            explore::thread("receiver", [all] {
                all->ends.in.close();
                explore::check(all->drain() == recv_error::closed, "it was closed");
            });
            explore::join_all();
            all->book.settle_undropped(3);
        }));
}

TEST_P(spsc, close_gives_a_waiting_batch_its_rest_back) {
    expect_right(explore::run({.preemption_bound = 2}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("sender", [all] {
            auto items = all->make(1, 3);
            scene::sent_many(all->ends.out.blocking_send_many(items), items, {why_many::closed});
        });
        explore::thread("closer", [all] { all->ends.out.close(); });
        explore::thread("receiver", [all] { explore::check(all->drain() == recv_error::closed, "it was closed"); });
        explore::join_all();
        all->book.settle_undropped(3);
    }));
}

TEST_P(spsc, an_item_and_the_close_behind_it_are_both_seen_by_who_tries) {
    for (const explore::options& how : {all_schedules, stale_loads})
        expect_right(explore::run(how, [capacity = GetParam()] {
            auto all = std::make_shared<scene>(capacity);
            explore::thread("sender", [all] {
                (void)scene::sent(all->ends.out.try_send(all->make(1)), {});
                all->ends.out.reset();
            });
            explore::thread("receiver", [all] {
                for (int i = 0; i < 2; ++i) {
                    auto next = all->ends.in.try_recv();
                    if (next) next->receive();
                    else if (next.error() == recv_error::closed)
                        explore::check(all->book.received[1] == 1, "closed comes after the item");
                }
            });
            explore::join_all();
            all->take_the_rest();
            all->book.settle_undropped(1);
        }));
}

TEST_P(spsc, abort_beside_sends_and_receives_leaves_each_item_in_one_place) {
    for (const explore::options& how : {explore::options{.preemption_bound = 3}, stale_loads})
        expect_right(explore::run(how, [capacity = GetParam()] {
            auto all = std::make_shared<scene>(capacity);
            explore::thread("sender", [all] {
                for (int id = 1; id <= 2; ++id)
                    (void)scene::sent(all->ends.out.blocking_send(all->make(id)), {why::aborted});
            });
            explore::thread("aborter", [all] { all->ends.out.abort(); });
            explore::thread("receiver", [all] {
                auto next = all->ends.in.blocking_recv();
                if (next) next->receive();
                else explore::check(next.error() == recv_error::aborted, "it was aborted");
            });
            explore::join_all();
            const auto late = all->ends.in.try_recv();
            explore::check(!late && late.error() == recv_error::aborted, "nothing comes out of an aborted channel");
            all->book.settle(2);
        }));
}

TEST_P(spsc, a_sender_whose_receiver_goes_gets_its_item_back) {
    for (const explore::options& how : {all_schedules, stale_loads})
        expect_right(explore::run(how, [capacity = GetParam()] {
            auto all = std::make_shared<scene>(capacity);
            explore::thread("sender", [all] {
                for (int id = 1; id <= 2; ++id)
                    (void)scene::sent(all->ends.out.blocking_send(all->make(id)), {why::aborted});
            });
            explore::thread("receiver", [all] { all->ends.in.reset(); });
            explore::join_all();
            all->book.settle(2);
        }));
}

TEST_P(spsc, both_ends_may_go_at_once) {
    for (const explore::options& how : {all_schedules, stale_loads})
        expect_right(explore::run(how, [capacity = GetParam()] {
            auto all = std::make_shared<scene>(capacity);
            explore::thread("sender", [all] {
                (void)scene::sent(all->ends.out.try_send(all->make(1)), {why::aborted});
                all->ends.out.reset();
            });
            explore::thread("receiver", [all] { all->ends.in.reset(); });
            explore::join_all();
            all->book.settle(1);
        }));
}

// --- Tasks that are stopped while they wait ---

leat::task<> send_one(scene& all, int id) {
    auto sending = all.ends.out.send(all.make(id));
    auto result = co_await std::move(sending);
    (void)scene::sent(std::move(result), {why::cancelled});
}
leat::task<> send_batch(scene& all, int first, int last) {
    auto items = all.make(first, last);
    auto sending = all.ends.out.send_many(items);
    auto result = co_await std::move(sending);
    scene::sent_many(std::move(result), items, {why_many::cancelled});
}
leat::task<> receive_one(scene& all) {
    try {
        auto next = co_await all.ends.in.recv();
        if (next) next->receive();
    } catch (const leat::cancelled&) {
        explore::note("the receiver was stopped");
    }
}

// Fills the channel, so that the next send waits.
int fill(scene& all, std::size_t capacity) {
    for (int id = 1; id <= static_cast<int>(capacity); ++id) (void)scene::sent(all.ends.out.try_send(all.make(id)), {});
    return static_cast<int>(capacity);
}

TEST_P(spsc, a_send_that_is_stopped_while_room_comes_keeps_its_item_or_has_sent_it) {
    expect_right(explore::run(all_schedules, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        const int last = fill(*all, capacity) + 1;
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("receiver", [all] {
            if (auto next = all->ends.in.try_recv()) next->receive();
        });
        explore::run_line(all->worker, "sender", send_one(*all, last), &all->stop);
        explore::check(all->worker.idle(), "it was resumed once");
        explore::join_all();
        all->take_the_rest();
        all->book.settle_undropped(last);
    }));
}

TEST_P(spsc, a_batch_that_is_stopped_while_room_comes_is_inside_or_here) {
    expect_right(explore::run({.preemption_bound = 3}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        const int inside = fill(*all, capacity);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("receiver", [all] {
            for (int i = 0; i < 2; ++i)
                if (auto next = all->ends.in.try_recv()) next->receive();
        });
        explore::run_line(all->worker, "sender", send_batch(*all, inside + 1, inside + 3), &all->stop);
        explore::check(all->worker.idle(), "it was resumed once");
        explore::join_all();
        all->take_the_rest();
        all->book.settle_undropped(inside + 3);
    }));
}

TEST_P(spsc, a_batch_larger_than_the_channel_is_sent_without_its_task) {
    expect_right(explore::run({.preemption_bound = 2}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("receiver", [all] {
            for (int i = 0; i < 5; ++i) all->ends.in.blocking_recv().value().receive();
        });
        explore::run_line(all->worker, "sender", send_batch(*all, 1, 5));
        explore::join_all();
        explore::check(all->book.order == std::vector<int>{1, 2, 3, 4, 5}, "in order, none lost, none twice");
    }));
}

TEST_P(spsc, a_receive_that_is_stopped_while_an_item_comes_has_it_or_leaves_it) {
    expect_right(explore::run(all_schedules, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("sender", [all] { (void)scene::sent(all->ends.out.try_send(all->make(1)), {}); });
        explore::run_line(all->worker, "receiver", receive_one(*all), &all->stop);
        explore::check(all->worker.idle(), "it was resumed once");
        explore::join_all();
        all->take_the_rest();
        all->book.settle_undropped(1);
    }));
}

TEST_P(spsc, a_task_that_was_stopped_waits_again_and_is_woken) {
    expect_right(explore::run({.preemption_bound = 3}, [capacity = GetParam()] {
        auto all = std::make_shared<scene>(capacity);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("sender", [all] { (void)scene::sent(all->ends.out.blocking_send(all->make(1)), {}); });
        explore::run_line(all->worker, "receiver", receive_one(*all), &all->stop);
        explore::check(all->worker.idle(), "it was resumed once");
        if (all->book.received[1] == 0) explore::run_line(all->worker, "again", receive_one(*all));
        explore::join_all();
        explore::check(all->book.received[1] == 1, "it came");
    }));
}

INSTANTIATE_TEST_SUITE_P(capacity, spsc, testing::Values(1U, 2U),
                         [](const auto& of) { return std::to_string(of.param); });

}  // namespace
