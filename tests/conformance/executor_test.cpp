// What every executor of the library promises, asked of each: the event loop, thread pools of several
// sizes, and the simulation with orders of both kinds.
#include <leat/task/executor.hpp>

#include <core.hpp>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include <leat/channel/channel.hpp>
#include <leat/runtime/blocking.hpp>
#include <leat/runtime/event_loop.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/runtime/thread_pool.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_any.hpp>

namespace {

using leat::task;
using namespace std::chrono_literals;

template <unsigned Threads>
struct pool_of {
    leat::thread_pool where{Threads};
};
struct loop {
    leat::event_loop where;
};
template <leat::sim::schedule Order>
struct simulated {
    leat::sim::simulation where{leat::sim::options{.seed = 4, .order = Order}};
};

template <class Host>
class executor_conformance : public testing::Test {
protected:
    template <class Program>
    decltype(auto) run(Program program) {
        return host_.where.run(program());
    }
    leat::runtime& where() { return host_.where; }

private:
    Host host_;
};
using hosts = testing::Types<loop, pool_of<1>, pool_of<2>, pool_of<3>, pool_of<4>,
                             simulated<leat::sim::schedule::uniform>, simulated<leat::sim::schedule::pct>>;
TYPED_TEST_SUITE(executor_conformance, hosts);

// What those promise that other threads may use, which the simulation is not.
template <class Host>
class executor_conformance_of_threads : public executor_conformance<Host> {};
using threaded = testing::Types<loop, pool_of<1>, pool_of<2>, pool_of<3>, pool_of<4>>;
TYPED_TEST_SUITE(executor_conformance_of_threads, threaded);

TYPED_TEST(executor_conformance, runs_a_task_to_its_end_again_and_again) {
    for (int i = 0; i < 20; ++i) EXPECT_EQ(this->run([i]() -> task<int> { return leat_test::giving(i, i); }), i);
}

TYPED_TEST(executor_conformance, throws_the_error_of_the_task) {
    EXPECT_THROW(this->run([]() -> task<int> { return leat_test::failing("x", 2); }), std::runtime_error);
}

// An item that another thread posts, and that tells on which thread it ran.
struct told : leat::work_item {
    told()
        : work_item([](work_item& self) noexcept {
              auto& mine = static_cast<told&>(self);
              mine.thread = std::this_thread::get_id();
              mine.ran.store(true);
          }) {}
    std::thread::id thread;
    leat::env::atomic<bool> ran{false};
};

TYPED_TEST(executor_conformance, post_runs_an_item_once_and_never_inside_the_call) {
    this->run([this]() -> task<> {
        told normal;
        told last;
        told urgent;
        urgent.urgency = leat::priority::high;
        // The one thread of a host with one cannot run them before this task waits.
        this->where().post(normal);
        this->where().post_last(last);
        this->where().post(urgent);
        const bool all = co_await leat_test::turns_until([&] { return normal.ran && last.ran && urgent.ran; });
        EXPECT_TRUE(all);
    });
}

TYPED_TEST(executor_conformance_of_threads, post_from_another_thread_wakes_it) {
    for (int round = 0; round < 50; ++round) {
        told item;
        std::thread other;
        this->run([&]() -> task<> {
            auto [out, in] = leat::channel<int>(1);
            other = std::thread([this, &item, mine = std::move(out)]() mutable {
                this->where().post(item);
                (void)mine.blocking_send(1);
            });
            (void)co_await in.recv();
            const bool ran = co_await leat_test::turns_until([&] { return item.ran.load(); });
            EXPECT_TRUE(ran);
        });
        EXPECT_NE(item.thread, other.get_id());
        other.join();
    }
}

TYPED_TEST(executor_conformance, a_timer_fires_once_not_early_and_not_after_cancel) {
    struct mark : leat::timer {
        explicit mark(const leat::executor& on)
            : timer([](timer& self) noexcept {
                  auto& mine = static_cast<mark&>(self);
                  mine.at = mine.where.now();
                  mine.fired.fetch_add(1);
              }),
              where(on) {}
        const leat::executor& where;
        leat::time_point at;
        leat::env::atomic<int> fired{0};
    };
    this->run([this]() -> task<> {
        mark soon(this->where());
        mark never(this->where());
        soon.due = this->where().now() + 1ms;
        never.due = this->where().now() + 2ms;
        this->where().start(soon);
        this->where().start(never);
        this->where().cancel(never);
        co_await leat::sleep_for(4ms);
        this->where().cancel(soon);
        EXPECT_EQ(soon.fired.load(), 1);
        EXPECT_GE(soon.at, soon.due);
        EXPECT_EQ(never.fired.load(), 0);
    });
}

TYPED_TEST(executor_conformance, timers_run_while_tasks_yield_for_ever) {
    this->run([]() -> task<> {
        const auto spins = []() -> task<> {
            const leat::stop_token token = co_await leat::this_task::stop_token();
            while (!token.stop_requested()) co_await leat::this_task::yield();
        };
        const auto sleeps = []() -> task<> { co_await leat::sleep_for(1ms); };
        const auto first = co_await leat::when_any(spins(), sleeps());
        EXPECT_EQ(first.index(), 1U);
    });
}

// --- Priorities ---

// With several threads another one may be in the middle of anything: the order is told by those with one.
template <class Host>
class executor_of_one_thread : public executor_conformance<Host> {};
using lone_hosts = testing::Types<loop, pool_of<1>>;
TYPED_TEST_SUITE(executor_of_one_thread, lone_hosts);

TYPED_TEST(executor_of_one_thread, runs_an_urgent_task_before_a_backlog_of_normal_ones) {
    this->run([]() -> task<> {
        int ran = 0;
        int before = -1;
        leat::scope work;
        const auto normal = [](int& count) -> task<> {
            ++count;
            co_return;
        };
        const auto urgent = [](const int& count, int& seen) -> task<> {
            seen = count;
            co_return;
        };
        for (int i = 0; i < 1'000; ++i) {
            work.spawn(normal, std::ref(ran));
            if (i != 500) continue;
            work.spawn(leat::task_options("urgent", leat::priority::high), urgent, std::ref(ran), std::ref(before));
        }
        co_await work.join();
        EXPECT_LE(before, 1);
        EXPECT_EQ(ran, 1'000);
    });
}

TYPED_TEST(executor_conformance, normal_tasks_have_their_turn_beside_urgent_ones_that_never_end) {
    this->run([]() -> task<> {
        leat::env::atomic<bool> enough{false};
        leat::scope work;
        // More than there are threads, each ready again as soon as it has run.
        struct ping : leat::work_item {
            ping(leat::executor& on, leat::env::atomic<bool>& until)
                : work_item([](work_item& self) noexcept {
                      auto& mine = static_cast<ping&>(self);
                      if (mine.end.load()) mine.ended.store(true);
                      else mine.where.post(self);
                  }),
                  where(on),
                  end(until) {
                urgency = leat::priority::high;
            }
            leat::executor& where;
            leat::env::atomic<bool>& end;
            leat::env::atomic<bool> ended{false};
        };
        leat::context& line = co_await leat::this_task::line();
        std::vector<std::unique_ptr<ping>> urgent;
        for (int i = 0; i < 16; ++i) {
            urgent.push_back(std::make_unique<ping>(line.where(), enough));
            line.where().post(*urgent.back());
        }
        leat::env::atomic<int> ran{0};
        const auto normal = [](leat::env::atomic<int>& count) -> task<> {
            for (int i = 0; i < 10; ++i) co_await leat::this_task::yield();
            count.fetch_add(1);
        };
        for (int i = 0; i < 20; ++i) work.spawn(normal, std::ref(ran));
        co_await leat::sleep_for(1ms);
        co_await work.join();
        EXPECT_EQ(ran.load(), 20);
        enough.store(true);
        for (const auto& each : urgent) {
            const bool ended = co_await leat_test::turns_until([&] { return each->ended.load(); });
            EXPECT_TRUE(ended);
        }
    });
}

TYPED_TEST(executor_conformance, a_task_sets_its_priority_for_itself_and_for_what_it_begins) {
    this->run([]() -> task<> {
        leat::context& line = co_await leat::this_task::line();
        EXPECT_EQ(line.urgency, leat::priority::normal);
        EXPECT_EQ(co_await leat::this_task::set_priority(leat::priority::high), leat::priority::normal);
        EXPECT_EQ(line.urgency, leat::priority::high);
        const auto mine = []() -> task<leat::priority> {
            leat::context& self = co_await leat::this_task::line();
            co_return self.urgency;
        };
        EXPECT_EQ(co_await mine(), leat::priority::high);
        EXPECT_EQ(co_await leat::timeout(mine(), 1h), leat::priority::high);
        leat::priority spawned{};
        leat::priority told{};
        const auto reports = [mine](leat::priority& to) -> task<> { to = co_await mine(); };
        leat::scope work;
        work.spawn(reports, std::ref(spawned));
        work.spawn(leat::task_options("humble", leat::priority::normal), reports, std::ref(told));
        co_await work.join();
        EXPECT_EQ(spawned, leat::priority::high);
        EXPECT_EQ(told, leat::priority::normal);
        EXPECT_EQ(co_await leat::this_task::set_priority(leat::priority::normal), leat::priority::high);
    });
}

TYPED_TEST(executor_conformance, a_yield_of_an_urgent_task_lets_all_that_is_ready_run) {
    this->run([]() -> task<> {
        leat::env::atomic<bool> ran{false};
        (void)co_await leat::this_task::set_priority(leat::priority::high);
        leat::scope work;
        work.spawn(
            leat::task_options("normal", leat::priority::normal),
            [](leat::env::atomic<bool>& flag) -> task<> {
                flag.store(true);
                co_return;
            },
            std::ref(ran));
        const bool seen = co_await leat_test::turns_until([&] { return ran.load(); });
        EXPECT_TRUE(seen);
        co_await work.join();
    });
}

// --- Detached callbacks ---

// What an executor calls has no caller who could catch: it is noexcept by its type, and an exception out of it ends the
// program, at once and where it was thrown.
void fail_with(const char* text) { throw std::runtime_error(text); }

TYPED_TEST(executor_conformance, an_exception_out_of_a_detached_callback_ends_the_program) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    struct throws : leat::work_item {
        throws() : work_item([](work_item&) noexcept { fail_with("thrown by an item"); }) {}
    };
    struct rings : leat::timer {
        rings() : timer([](timer&) noexcept { fail_with("thrown by a timer"); }) {}
    };
    EXPECT_DEATH(this->run([this]() -> task<> {
        throws item;
        this->where().post(item);
        co_await leat_test::until_stopped();
    }),
                 "thrown by an item");
    EXPECT_DEATH(this->run([this]() -> task<> {
        rings timer;
        timer.due = this->where().now();
        this->where().start(timer);
        co_await leat_test::until_stopped();
    }),
                 "thrown by a timer");
}

struct attached_once final : leat::attachment {
    explicit attached_once(leat::executor&) { made.fetch_add(1); }
    ~attached_once() override { destroyed.fetch_add(1); }
    void stop() noexcept override {
        EXPECT_EQ(destroyed.load(), 0);
        stopped.fetch_add(1);
    }
    static inline leat::env::atomic<int> made{0};
    static inline leat::env::atomic<int> stopped{0};
    static inline leat::env::atomic<int> destroyed{0};
};

TYPED_TEST(executor_conformance, an_attachment_is_made_once_and_stopped_before_it_is_destroyed) {
    attached_once::made = attached_once::stopped = attached_once::destroyed = 0;
    {
        TypeParam host;
        host.where.run([](leat::runtime& where) -> task<> {
            auto& first = where.attached<attached_once>();
            co_await leat::this_task::yield();
            EXPECT_EQ(&where.attached<attached_once>(), &first);
        }(host.where));
        EXPECT_EQ(attached_once::made.load(), 1);
        EXPECT_EQ(attached_once::stopped.load(), 0);
    }
    EXPECT_EQ(attached_once::stopped.load(), 1);
    EXPECT_EQ(attached_once::destroyed.load(), 1);
}

TYPED_TEST(executor_conformance, all_kinds_of_waits_side_by_side) {
    const int sum = this->run([]() -> task<int> {
        auto [out, in] = leat::channel<int>(2);
        leat::scope work;
        work.spawn(
            [](leat::sender<int> mine) -> task<> {
                for (int i = 0; i < 100; ++i) {
                    if (i % 10 == 0) co_await leat::sleep_for(20us);
                    if (i % 25 == 0) {
                        auto call = leat::blocking([] { std::this_thread::yield(); });
                        co_await std::move(call);
                    }
                    EXPECT_TRUE(co_await mine.send(i));
                }
            },
            std::move(out));
        int total = 0;
        for (;;) {
            auto receiving = in.recv();
            const auto item = co_await leat::timeout(std::move(receiving), 1h);
            if (!item) break;
            total += *item;
        }
        co_await work.join();
        co_return total;
    });
    EXPECT_EQ(sum, 4950);
}

}  // namespace
