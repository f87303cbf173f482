// All schedules of the ends of a priority_channel against each other and against close, abort, stop and the loss of an end.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <explore/ledger.hpp>
#include <leat/channel/priority_channel.hpp>
#include <memory>

namespace {

namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;
using item = explore::numbered;
using why = leat::send_error<item>::reason;
using leat::recv_error;

struct lower_id {
    bool operator()(const item& a, const item& b) const noexcept { return a.id() < b.id(); }
};

struct scene {
    explore::ledger book;
    explore::hand_executor worker;
    leat::stop_source stop;
    leat::priority_ends<item, lower_id> ends = leat::priority_channel<item, lower_id>(1);

    [[nodiscard]] item make(int id) { return item(id, book); }
    static void sent(leat::expected<void, leat::send_error<item>> result, why allowed) {
        if (result) return;
        explore::check(result.error().why == allowed, "it failed for the reason that was there");
        result.error().value.come_back();
    }
    recv_error drain() {
        for (;;) {
            auto next = ends.in.blocking_recv();
            if (!next) return next.error();
            next->receive();
        }
    }
    void take_the_rest() {
        while (auto rest = ends.in.try_recv()) rest->receive();
    }
};

TEST(priority, two_senders_lose_nothing_and_the_receiver_ends_behind_them) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<scene>();
        explore::thread("one", [all, out = all->ends.out]() mutable {
            for (const int id : {1, 3}) scene::sent(out.blocking_send(all->make(id)), why::closed);
            out.reset();
        });
        explore::thread("two", [all, out = std::move(all->ends.out)]() mutable {
            scene::sent(out.blocking_send(all->make(2)), why::closed);
            out.reset();
        });
        explore::thread("receiver", [all] { explore::check(all->drain() == recv_error::closed, "it was closed"); });
        explore::join_all();
        explore::check(all->book.order.size() == 3, "all came");
        all->book.settle_undropped(3);
    }));
}

TEST(priority, one_item_meets_one_of_two_receivers) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto all = std::make_shared<scene>();
        for (int i = 0; i < 2; ++i)
            explore::thread("receiver", [all, in = all->ends.in]() mutable {
                while (auto next = in.blocking_recv()) next->receive();
            });
        explore::thread("sender", [all] {
            scene::sent(all->ends.out.blocking_send(all->make(1)), why::closed);
            all->ends.out.reset();
        });
        explore::join_all();
        all->book.settle_undropped(1);
    }));
}

TEST(priority, abort_beside_a_send_and_a_receive_leaves_each_item_in_one_place) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto all = std::make_shared<scene>();
        explore::thread("sender", [all] {
            for (int id = 1; id <= 2; ++id) scene::sent(all->ends.out.blocking_send(all->make(id)), why::aborted);
        });
        explore::thread("aborter", [all, out = all->ends.out]() mutable { out.abort(); });
        explore::thread("receiver", [all] {
            auto next = all->ends.in.blocking_recv();
            if (next) next->receive();
            else explore::check(next.error() == recv_error::aborted, "it was aborted");
        });
        explore::join_all();
        all->book.settle(2);
    }));
}

TEST(priority, both_ends_may_go_at_once) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("sender", [all] {
            scene::sent(all->ends.out.try_send(all->make(1)), why::aborted);
            all->ends.out.reset();
        });
        explore::thread("receiver", [all] { all->ends.in.reset(); });
        explore::join_all();
        all->book.settle(1);
    }));
}

leat::task<> send_one(scene& all, int id) {
    auto sending = all.ends.out.send(all.make(id));
    auto result = co_await std::move(sending);
    scene::sent(std::move(result), why::cancelled);
}
leat::task<> receive_one(scene& all) {
    try {
        auto next = co_await all.ends.in.recv();
        if (next) next->receive();
    } catch (const leat::cancelled&) {
        explore::note("the receiver was stopped");
    }
}

TEST(priority, a_send_that_is_stopped_while_room_comes_keeps_its_item_or_has_sent_it) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        scene::sent(all->ends.out.try_send(all->make(1)), why::full);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("receiver", [all] {
            if (auto next = all->ends.in.try_recv()) next->receive();
        });
        explore::run_line(all->worker, "sender", send_one(*all, 2), &all->stop);
        explore::join_all();
        all->take_the_rest();
        all->book.settle_undropped(2);
    }));
}

TEST(priority, a_receive_that_is_stopped_while_an_item_comes_has_it_or_leaves_it) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("sender", [all] { scene::sent(all->ends.out.try_send(all->make(1)), why::full); });
        explore::run_line(all->worker, "receiver", receive_one(*all), &all->stop);
        explore::join_all();
        all->take_the_rest();
        all->book.settle_undropped(1);
    }));
}

}  // namespace
