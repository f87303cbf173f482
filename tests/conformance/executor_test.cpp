// What every executor of the library promises, asked of each: the event loop and thread pools of several sizes.
#include <leat/task/executor.hpp>

#include <core.hpp>
#include <thread>
#include <vector>

#include <leat/channel/channel.hpp>
#include <leat/runtime/blocking.hpp>
#include <leat/runtime/event_loop.hpp>
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
using hosts = testing::Types<loop, pool_of<1>, pool_of<2>, pool_of<3>, pool_of<4>>;
TYPED_TEST_SUITE(executor_conformance, hosts);

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

TYPED_TEST(executor_conformance, post_from_another_thread_wakes_it) {
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
        mark()
            : timer([](timer& self) noexcept {
                  auto& mine = static_cast<mark&>(self);
                  mine.at = leat::env::now();
                  mine.fired.fetch_add(1);
              }) {}
        leat::time_point at;
        leat::env::atomic<int> fired{0};
    };
    this->run([this]() -> task<> {
        mark soon;
        mark never;
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
