// All schedules of a stop request against those who come and go below the source.
#include <gtest/gtest.h>

#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/task/stop.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;

// Counts its calls, in a variable that only the source's lock may order.
struct listener : leat::stop_callback {
    listener() : stop_callback([](stop_callback& self) noexcept { static_cast<listener&>(self).hear(); }) {}
    void hear() {
        explore::check(alive.read(), "called only while it is attached");
        word.store(1);  // takes its time
        ++calls.write();
    }
    env::atomic<int> word{0};
    env::shared<int> calls{0};
    env::shared<bool> alive{true};
};

TEST(stop, a_listener_that_attaches_while_stop_is_requested_hears_it_exactly_once) {
    expect_right(explore::run(all_schedules, [] {
        struct state {
            leat::stop_source source;
            listener hears;
        };
        auto all = std::make_shared<state>();
        explore::thread("asker", [all] { all->source.request_stop(); });
        explore::thread("listener", [all] { all->hears.attach(all->source); });
        explore::join_all();
        explore::check(all->hears.calls.read() == 1, "heard once");
        explore::check(all->source.stop_requested(), "and remembered");
        all->hears.detach();
    }));
}

TEST(stop, after_detach_a_listener_is_neither_called_nor_being_called) {
    expect_right(explore::run(all_schedules, [] {
        struct state {
            leat::stop_source source;
        };
        auto all = std::make_shared<state>();
        auto* const hears = new listener;
        hears->attach(all->source);
        explore::thread("asker", [all] { all->source.request_stop(); });
        explore::thread("listener", [hears] {
            (void)hears->word.load();  // a step: the call may be under way
            hears->detach();
            explore::check(hears->calls.read() <= 1, "heard at most once");
            hears->alive.write() = false;
            delete hears;
        });
    }));
}

TEST(stop, two_requests_call_each_listener_once) {
    expect_right(explore::run(all_schedules, [] {
        struct state {
            leat::stop_source source;
            listener one, two;
        };
        auto all = std::make_shared<state>();
        all->one.attach(all->source);
        all->two.attach(all->source);
        for (int i = 0; i < 2; ++i)
            explore::thread([all] {
                all->source.request_stop();
                explore::check(all->source.stop_requested(), "asked");
            });
        explore::join_all();
        explore::check(all->one.calls.read() == 1 && all->two.calls.read() == 1, "each once");
        all->one.detach();
        all->two.detach();
    }));
}

TEST(stop, listeners_come_and_go_while_another_is_called) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        struct state {
            leat::stop_source source;
            listener stays, comes, goes;
        };
        auto all = std::make_shared<state>();
        all->stays.attach(all->source);
        all->goes.attach(all->source);
        explore::thread("asker", [all] { all->source.request_stop(); });
        explore::thread("goes", [all] { all->goes.detach(); });
        explore::thread("comes", [all] { all->comes.attach(all->source); });
        explore::join_all();
        explore::check(all->stays.calls.read() == 1 && all->comes.calls.read() == 1, "both heard");
        explore::check(all->goes.calls.read() <= 1, "perhaps");
        all->stays.detach();
        all->comes.detach();
    }));
}

TEST(stop, who_sees_the_request_sees_what_was_written_before_it) {
    expect_right(explore::run(all_schedules, [] {
        struct state {
            leat::stop_source source;
            env::shared<int> reason{0};
        };
        auto all = std::make_shared<state>();
        explore::thread("asker", [all] {
            all->reason.write() = 7;
            all->source.request_stop();
        });
        explore::thread("asked", [all] {
            if (all->source.stop_requested()) explore::check(all->reason.read() == 7, "the reason is there");
        });
    }));
}

TEST(stop, a_child_source_hears_its_parent_until_it_is_gone_and_is_asked_once) {
    expect_right(explore::run(all_schedules, [] {
        struct state {
            leat::stop_source parent;
        };
        auto all = std::make_shared<state>();
        explore::thread("above", [all] { all->parent.request_stop(); });
        explore::thread("below", [all] {
            leat::child_stop_source child(all->parent);
            listener hears;
            hears.attach(child);
            child.request_stop();
            explore::check(hears.calls.read() == 1, "asked from above and by itself, it hears once");
            hears.detach();
        });
    }));
}

}  // namespace
