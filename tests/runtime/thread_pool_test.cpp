// thread_pool: work spreads, nobody sleeps on ready work, and idle workers cost nothing.
#include <leat/runtime/thread_pool.hpp>

#include <algorithm>
#include <core.hpp>
#include <set>
#include <stdexcept>
#include <sys/resource.h>
#include <thread>
#include <vector>

#include <leat/channel/channel.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::task;
using leat_test::until_stopped;
using namespace std::chrono_literals;

class pool_of : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(threads, pool_of, testing::Values(1U, 2U, 4U, 8U));

task<int> tree(int levels) {
    if (levels == 0) co_return 1;
    leat::scope work;
    int left = 0;
    int right = 0;
    const auto half = [](int below, int& result) -> task<> { result = co_await tree(below); };
    work.spawn(half, levels - 1, std::ref(left));
    work.spawn(half, levels - 1, std::ref(right));
    co_await work.join();
    co_return left + right;
}

TEST_P(pool_of, runs_a_tree_of_tasks) {
    leat::thread_pool pool(GetParam());
    EXPECT_EQ(pool.size(), GetParam());
    EXPECT_EQ(pool.run(tree(12)), 4096);
    EXPECT_EQ(pool.run(tree(3)), 8);  // again on the same
}

TEST_P(pool_of, short_bursts_with_idle_gaps_lose_no_wake_up) {
    leat::thread_pool pool(GetParam());
    for (int burst = 0; burst < 1500; ++burst) {
        // From outside, as a lone item; then from inside, as a few at once.
        const int sum = pool.run([](int size) -> task<int> {
            leat::env::atomic<int> ran{0};
            leat::scope work;
            for (int i = 0; i < size; ++i)
                work.spawn([&ran]() -> task<> {
                    ran.fetch_add(1);
                    co_return;
                });
            co_await work.join();
            co_return ran.load();
        }(burst % 5));
        EXPECT_EQ(sum, burst % 5);
    }
}

TEST_P(pool_of, two_tasks_that_wake_each_other_in_turn_never_sleep_on_it) {
    leat_test::on_threads(GetParam(), []() -> task<> {
        leat::semaphore ping(0);
        leat::semaphore pong(0);
        leat::scope work;
        const auto player = [](leat::semaphore& mine, leat::semaphore& other) -> task<> {
            for (int i = 0; i < 5000; ++i) {
                leat::semaphore::permit ball = co_await mine.acquire();
                ball.forget();
                other.release();
            }
        };
        work.spawn(player, std::ref(ping), std::ref(pong));
        work.spawn(player, std::ref(pong), std::ref(ping));
        ping.release();
        co_await work.join();
    });
}

TEST(thread_pool, work_spreads_over_all_threads) {
    // Four tasks that each wait, without yielding, until all four run: only four threads can do that.
    leat_test::on_threads(4, []() -> task<> {
        leat::env::atomic<int> arrived{0};
        leat::scope work;
        for (int i = 0; i < 4; ++i)
            work.spawn([&arrived]() -> task<> {
                arrived.fetch_add(1);
                while (arrived.load() < 4) std::this_thread::yield();
                co_return;
            });
        co_await work.join();
        EXPECT_EQ(arrived.load(), 4);
    });
}

TEST(thread_pool, a_task_that_holds_its_thread_does_not_hold_those_it_made_ready) {
    leat_test::on_threads(2, []() -> task<> {
        leat::env::atomic<bool> ran{false};
        leat::scope work;
        work.spawn([&ran]() -> task<> {
            ran.store(true);
            co_return;
        });
        while (!ran.load()) std::this_thread::yield();  // held in this worker's slot, until it is stolen
        co_await work.join();
    });
}

TEST(thread_pool, takes_work_from_inside_while_its_own_tasks_never_end) {
    // A pool whose every worker is kept busy by yielding tasks still looks at what comes from outside and at timers.
    leat_test::on_threads(2, []() -> task<> {
        leat::scope busy;
        for (int i = 0; i < 8; ++i)
            busy.spawn([]() -> task<> {
                const leat::stop_token token = co_await leat::this_task::stop_token();
                while (!token.stop_requested()) co_await leat::this_task::yield();
            });
        co_await leat::sleep_for(1ms);
        auto [out, in] = leat::channel<int>(0);
        std::thread outside([mine = std::move(out)]() mutable { EXPECT_TRUE(mine.blocking_send(1)); });
        const auto item = co_await in.recv();
        EXPECT_EQ(*item, 1);
        outside.join();
        busy.stop();
        co_await busy.join();
    });
}

TEST(thread_pool, posts_from_many_plain_threads_all_run) {
    leat::thread_pool pool(3);
    auto [out, in] = leat::channel<int>(2);
    std::vector<std::thread> outside;
    for (int i = 0; i < 4; ++i)
        outside.emplace_back([mine = out]() mutable {
            for (int n = 0; n < 500; ++n) EXPECT_TRUE(mine.blocking_send(1));
        });
    out.reset();
    const int sum = pool.run([](leat::receiver<int> from) -> task<int> {
        int total = 0;
        for (;;) {
            const auto item = co_await from.recv();
            if (!item) co_return total;
            total += *item;
        }
    }(std::move(in)));
    for (auto& each : outside) each.join();
    EXPECT_EQ(sum, 2000);
}

TEST(thread_pool, several_threads_may_run_tasks_on_it_at_once) {
    leat::thread_pool pool(2);
    std::vector<std::thread> callers;
    leat::env::atomic<int> sum{0};
    for (int i = 0; i < 4; ++i) callers.emplace_back([&] { sum.fetch_add(pool.run(tree(6))); });
    for (auto& each : callers) each.join();
    EXPECT_EQ(sum.load(), 4 * 64);
}

TEST_P(pool_of, sleeps_of_many_tasks_never_end_early) {
    leat_test::on_threads(GetParam(), []() -> task<> {
        leat::scope work;
        const leat::time_point start = leat::env::now();
        for (int i = 0; i < 200; ++i)
            work.spawn(
                [start](int place) -> task<> {
                    const leat::time_point until = start + place * 50us;
                    co_await leat::sleep_until(until);
                    EXPECT_GE(leat::env::now(), until);
                },
                (i * 37) % 200);
        co_await work.join();
    });
}

TEST(thread_pool, thousands_of_timers_set_and_cancelled) {
    leat_test::on_threads(4, []() -> task<> {
        leat::scope work;
        leat::env::atomic<int> timed_out{0};
        for (int i = 0; i < 4000; ++i)
            work.spawn(
                [&timed_out](int number) -> task<> {
                    try {
                        if (number % 2 == 0) co_await leat::timeout(leat_test::giving(1, 2), 1h);
                        else co_await leat::timeout(until_stopped(), (number % 50) * 10us);
                    } catch (const leat::timed_out&) {
                        timed_out.fetch_add(1);
                    }
                },
                i);
        co_await work.join();
        EXPECT_EQ(timed_out.load(), 2000);
    });
}

TEST(thread_pool, a_timer_set_while_all_sleep_wakes_in_time) {
    leat::thread_pool pool(4);
    for (int i = 0; i < 100; ++i) {
        // The later of two deadlines is set first, and every worker may sleep by then.
        pool.run([]() -> task<> {
            leat::scope work;
            work.spawn([]() -> task<> { co_await leat::sleep_for(200us); });
            work.spawn([]() -> task<> { co_await leat::sleep_for(50us); });
            co_await work.join();
        }());
    }
}

TEST(thread_pool, an_idle_one_uses_no_cpu) {
    leat::thread_pool pool(8);
    pool.run(tree(8));
    const auto used = [] {
        rusage usage{};
        ::getrusage(RUSAGE_SELF, &usage);
        const auto of = [](const timeval& time) { return time.tv_sec * 1'000'000 + time.tv_usec; };
        return of(usage.ru_utime) + of(usage.ru_stime);
    };
    std::this_thread::sleep_for(20ms);
    const auto before = used();
    std::this_thread::sleep_for(300ms);
    EXPECT_LT(used() - before, 30'000);  // microseconds: a tenth of one core, where nothing is expected
}

TEST(thread_pool, more_threads_than_are_sane_are_refused) {
    try {
        const leat::thread_pool pool(1'000'000);
        FAIL() << "made";
    } catch (const std::invalid_argument& error) {
        EXPECT_STREQ(error.what(), "a thread pool of 1000000 threads was asked for: at most 1024");
    }
}

TEST(thread_pool, by_default_has_a_thread_for_each_effective_cpu) {
    EXPECT_GE(leat::thread_pool().size(), 1U);
    EXPECT_LE(leat::thread_pool().size(), std::max(1U, std::thread::hardware_concurrency()));
}

// A poller that posts what another thread gives it, as the io layer's does.
class slot_poller : public leat::poller {
public:
    void wait(leat::time_point deadline) noexcept override {
        waits_.fetch_add(1);
        while (!interrupted_.exchange(false)) {
            if (poll() || leat::env::now() >= deadline) return;
            std::this_thread::sleep_for(50us);
        }
    }
    bool poll() noexcept override {
        leat::context* const line = ready_.exchange(nullptr);
        if (line == nullptr) return false;
        line->resume();
        return true;
    }
    void interrupt() noexcept override { interrupted_.store(true); }
    void complete(leat::context& claimed) noexcept { ready_.store(&claimed); }
    int waits() const noexcept { return waits_.load(); }

private:
    leat::env::atomic<bool> interrupted_{false};
    leat::env::atomic<leat::context*> ready_{nullptr};
    leat::env::atomic<int> waits_{0};
};

TEST_P(pool_of, an_idle_worker_waits_in_the_poller_and_is_interrupted_for_other_work) {
    slot_poller events;
    leat::thread_pool pool(GetParam());
    pool.use(events);
    for (int round = 0; round < 100; ++round) {
        EXPECT_EQ(pool.run(leat_test::giving(round)), round);
        if (round % 10 == 0) std::this_thread::sleep_for(1ms);
        pool.run([](slot_poller& from) -> task<> {
            struct event {
                slot_poller& source;
                bool await_ready() const noexcept { return false; }
                bool await_suspend(std::coroutine_handle<leat::detail::promise<void>> at) noexcept {
                    leat::context& line = at.promise().leat_context();
                    if (!line.begin_wait(at, "event")) return false;
                    (void)line.claim(line.current_ticket(), leat::context::wake::ready);
                    source.complete(line);
                    return true;
                }
                void await_resume() const noexcept {}
            };
            event happens{from};
            co_await happens;
            co_await leat::sleep_for(20us);
        }(events));
    }
    EXPECT_GT(events.waits(), 0);
}

}  // namespace
