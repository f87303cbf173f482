// All schedules of the two ends of a oneshot against each other and against a stop.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <explore/ledger.hpp>
#include <leat/channel/oneshot.hpp>
#include <memory>

namespace {

namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;
using item = explore::numbered;
using leat::recv_error;

struct scene {
    explore::ledger book;
    explore::hand_executor worker;
    leat::stop_source stop;
    leat::oneshot_ends<item> ends = leat::oneshot<item>();

    void send() {
        auto sent = std::move(ends.out).send(item(1, book));
        if (!sent) sent.error().value.come_back();
    }
};

TEST(oneshot, the_value_meets_its_receiver) {
    expect_right(explore::run({.spurious = 1, .stale = 1, .reduce = true}, [] {
        auto all = std::make_shared<scene>();
        explore::thread("sender", [all] { all->send(); });
        explore::thread("receiver", [all] { all->ends.in.blocking_recv().value().receive(); });
        explore::join_all();
        all->book.settle_undropped(1);
    }));
}

TEST(oneshot, a_sender_that_goes_ends_the_wait) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("sender", [all] { all->ends.out.reset(); });
        explore::thread("receiver", [all] {
            const auto value = all->ends.in.blocking_recv();
            explore::check(!value && value.error() == recv_error::closed, "it was closed");
        });
    }));
}

TEST(oneshot, a_receiver_that_goes_drops_the_value_or_gives_it_back) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("sender", [all] { all->send(); });
        explore::thread("receiver", [all] { all->ends.in.reset(); });
        explore::join_all();
        all->book.settle(1);
    }));
}

leat::task<> receive(scene& all) {
    try {
        auto value = co_await all.ends.in.recv();
        if (value) value->receive();
    } catch (const leat::cancelled&) {
        explore::note("the receiver was stopped");
    }
}

TEST(oneshot, a_receiver_that_is_stopped_has_the_value_or_leaves_it) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("sender", [all] { all->send(); });
        explore::run_line(all->worker, "receiver", receive(*all), &all->stop);
        explore::join_all();
        if (auto late = all->ends.in.try_recv()) late->receive();
        all->book.settle_undropped(1);
    }));
}

}  // namespace
