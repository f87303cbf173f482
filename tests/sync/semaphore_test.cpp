// semaphore and mutex: order of service, permits that are never lost, guards.
#include <leat/sync/semaphore.hpp>

#include <core.hpp>
#include <vector>

#include <leat/sync/mutex.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::task;
using leat_test::giving;
using leat_test::on_one_thread;
using namespace std::chrono_literals;

// Takes `count` permits, notes its name, gives them back.
task<> takes(leat::semaphore& from, std::size_t count, std::string& order, char name) {
    const leat::semaphore::permit held = co_await from.acquire(count);
    EXPECT_EQ(held.count(), count);
    order += name;
    co_await leat::this_task::yield();
}

TEST(semaphore, serves_in_order_of_arrival) {
    std::string order;
    on_one_thread([&]() -> task<> {
        leat::semaphore one(0);
        leat::scope work;
        for (const char name : {'a', 'b', 'c', 'd'}) work.spawn(takes, std::ref(one), 1, std::ref(order), name);
        co_await leat::this_task::yield();
        EXPECT_EQ(order, "");
        one.release();
        co_await work.join();
        EXPECT_EQ(one.available(), 1U);
    });
    EXPECT_EQ(order, "abcd");
}

TEST(semaphore, one_that_asks_for_many_is_not_overtaken) {
    std::string order;
    on_one_thread([&]() -> task<> {
        leat::semaphore permits(0);
        leat::scope work;
        work.spawn(takes, std::ref(permits), 3, std::ref(order), 'm');
        work.spawn(takes, std::ref(permits), 1, std::ref(order), 'f');
        co_await leat::this_task::yield();
        permits.release(2);
        EXPECT_FALSE(permits.try_acquire());  // does not overtake either
        co_await giving(0, 5);
        EXPECT_EQ(order, "");
        permits.release();
        co_await work.join();
        EXPECT_EQ(permits.available(), 3U);
    });
    EXPECT_EQ(order, "mf");
}

TEST(semaphore, one_release_serves_as_many_as_it_can) {
    std::string order;
    on_one_thread([&]() -> task<> {
        leat::semaphore permits(0);
        leat::scope work;
        for (const char name : {'a', 'b', 'c'}) work.spawn(takes, std::ref(permits), 1, std::ref(order), name);
        co_await leat::this_task::yield();
        permits.release(2);
        EXPECT_EQ(permits.available(), 0U);
        co_await giving(0, 1);
        EXPECT_EQ(order, "ab");
        co_await work.join();
    });
}

TEST(semaphore, try_acquire_takes_at_once_or_not_at_all) {
    leat::semaphore permits(3);
    std::optional<leat::semaphore::permit> two = permits.try_acquire(2);
    ASSERT_TRUE(two);
    EXPECT_FALSE(permits.try_acquire(2));
    EXPECT_TRUE(permits.try_acquire(1));  // and gives it back here
    EXPECT_EQ(permits.available(), 1U);
    two.reset();
    EXPECT_EQ(permits.available(), 3U);
}

TEST(semaphore, a_permit_released_twice_or_moved_gives_back_once) {
    leat::semaphore permits(1);
    {
        leat::semaphore::permit held = *permits.try_acquire();
        held.release();
        held.release();
        EXPECT_EQ(permits.available(), 1U);
        leat::semaphore::permit other = *permits.try_acquire();
        held = std::move(other);
        const leat::semaphore::permit third(std::move(held));
        EXPECT_EQ(permits.available(), 0U);
    }
    EXPECT_EQ(permits.available(), 1U);
}

TEST(semaphore, a_forgotten_permit_stays_out) {
    leat::semaphore permits(2);
    permits.try_acquire()->forget();
    EXPECT_EQ(permits.available(), 1U);
    permits.release();
    EXPECT_EQ(permits.available(), 2U);
}

TEST(semaphore, a_cancelled_waiter_holds_nothing_and_lets_smaller_requests_pass) {
    std::string order;
    on_one_thread([&]() -> task<> {
        leat::semaphore permits(1);
        leat::scope large;
        leat::scope small;
        large.spawn(takes, std::ref(permits), 2, std::ref(order), 'L');
        small.spawn(takes, std::ref(permits), 1, std::ref(order), 's');
        co_await giving(0, 2);
        EXPECT_EQ(order, "");
        large.stop();
        co_await large.join();
        co_await small.join();
        EXPECT_EQ(permits.available(), 1U);
    });
    EXPECT_EQ(order, "s");
}

TEST(semaphore, a_permit_claimed_for_a_task_that_is_then_stopped_is_not_lost) {
    on_one_thread([]() -> task<> {
        leat::semaphore one(0);
        leat::scope work;
        std::string order;
        work.spawn(takes, std::ref(one), 1, std::ref(order), 'x');
        co_await leat::this_task::yield();
        one.release();  // claims for the waiter, which has not run yet
        work.stop();
        co_await work.join();
        EXPECT_EQ(order, "x");
        EXPECT_EQ(one.available(), 1U);
    });
}

TEST(semaphore, a_task_asked_to_stop_still_gets_what_is_there) {
    on_one_thread([]() -> task<> {
        leat::semaphore one(1);
        leat::scope work;
        work.stop();
        bool got = false;
        bool cancelled = false;
        work.spawn([&]() -> task<> {
            const leat::semaphore::permit held = co_await one.acquire();
            got = true;
            try {
                (void)co_await one.acquire();
            } catch (const leat::cancelled&) {
                cancelled = true;
            }
        });
        co_await work.join();
        EXPECT_TRUE(got && cancelled);
        EXPECT_EQ(one.available(), 1U);
    });
}

TEST(semaphore, acquire_in_a_loop_lets_others_run) {
    on_one_thread([]() -> task<> {
        leat::semaphore one(1);
        leat::scope work;
        bool other_ran = false;
        work.spawn([&]() -> task<> {
            other_ran = true;
            co_return;
        });
        for (int i = 0; i < 10'000; ++i) {
            leat::semaphore::permit held = co_await one.acquire();
            held.release();
        }
        EXPECT_TRUE(other_ran);
        co_await work.join();
    });
}

TEST(semaphore, under_random_cancellation_no_permit_is_lost) {
    leat_test::on_threads(4, []() -> task<> {
        leat::semaphore permits(3);
        leat::env::atomic<int> holding{0};
        leat::scope work;
        for (int i = 0; i < 400; ++i)
            work.spawn(
                [&](int number) -> task<> {
                    const std::size_t wanted = static_cast<std::size_t>(number % 3) + 1;
                    for (int round = 0; round < 20; ++round) {
                        const auto use = [&]() -> task<> {
                            const leat::semaphore::permit held = co_await permits.acquire(wanted);
                            const int now = holding.fetch_add(static_cast<int>(wanted)) + static_cast<int>(wanted);
                            EXPECT_LE(now, 3);
                            if (round % 2 == 0) co_await leat::this_task::yield();
                            holding.fetch_sub(static_cast<int>(wanted));
                        };
                        try {
                            co_await leat::timeout(use(), ((number * 7 + round * 13) % 40) * 1us);
                        } catch (const leat::timed_out&) {
                        }
                    }
                },
                i);
        co_await work.join();
        EXPECT_EQ(permits.available(), 3U);
    });
}

TEST(mutex, excludes_and_serves_in_order_of_arrival) {
    std::string order;
    on_one_thread([&]() -> task<> {
        leat::mutex lock;
        leat::scope work;
        for (const char name : {'a', 'b', 'c'})
            work.spawn(
                [&](char mine) -> task<> {
                    const leat::mutex::guard held = co_await lock.lock();
                    order += mine;
                    co_await giving(0, 3);
                    order += mine;
                },
                name);
        co_await work.join();
        EXPECT_FALSE(lock.is_locked());
    });
    EXPECT_EQ(order, "aabbcc");
}

TEST(mutex, protects_a_plain_variable_on_many_threads) {
    int counter = 0;
    leat_test::on_threads(4, [&]() -> task<> {
        leat::mutex lock;
        leat::scope work;
        for (int i = 0; i < 8; ++i)
            work.spawn([&]() -> task<> {
                for (int round = 0; round < 2000; ++round) {
                    const leat::mutex::guard held = co_await lock.lock();
                    ++counter;
                    if (round % 16 == 0) co_await leat::this_task::yield();
                }
            });
        co_await work.join();
    });
    EXPECT_EQ(counter, 16'000);
}

TEST(mutex, try_lock_and_early_unlock) {
    leat::mutex lock;
    std::optional<leat::mutex::guard> held = lock.try_lock();
    ASSERT_TRUE(held);
    EXPECT_TRUE(lock.is_locked());
    EXPECT_FALSE(lock.try_lock());
    held->unlock();
    EXPECT_FALSE(lock.is_locked());
    const std::optional<leat::mutex::guard> again = lock.try_lock();
    held->unlock();  // harmless: it holds nothing any more
    EXPECT_TRUE(lock.is_locked());
    EXPECT_TRUE(again);
}

TEST(mutex, a_cancelled_waiter_hands_the_lock_on) {
    on_one_thread([]() -> task<> {
        leat::mutex lock;
        leat::scope first;
        leat::scope second;
        bool served = false;
        bool cancelled = false;
        std::optional<leat::mutex::guard> held = lock.try_lock();
        first.spawn([&]() -> task<> {
            try {
                const leat::mutex::guard mine = co_await lock.lock();
            } catch (const leat::cancelled&) {
                cancelled = true;
            }
        });
        second.spawn([&]() -> task<> {
            const leat::mutex::guard mine = co_await lock.lock();
            served = true;
        });
        co_await giving(0, 2);
        first.stop();
        held->unlock();
        co_await first.join();
        co_await second.join();
        EXPECT_TRUE(cancelled);
        EXPECT_TRUE(served);
        EXPECT_FALSE(lock.is_locked());
    });
}

TEST(mutex, may_be_unlocked_by_another_task) {
    on_one_thread([]() -> task<> {
        leat::mutex lock;
        leat::scope work;
        std::optional<leat::mutex::guard> held = lock.try_lock();
        work.spawn(
            [](leat::mutex::guard mine) -> task<> {
                co_await leat::this_task::yield();
                mine.unlock();
            },
            std::move(*held));
        const leat::mutex::guard next = co_await lock.lock();
        EXPECT_TRUE(lock.is_locked());
        co_await work.join();
    });
}

TEST(semaphore_death, destroyed_while_tasks_wait) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     std::optional<leat::semaphore> none(std::in_place, 0);
                     leat::scope work;
                     work.spawn([&]() -> task<> { (void)co_await none->acquire(); });
                     co_await leat::this_task::yield();
                     none.reset();
                 }),
                 "bug: a semaphore: destroyed while somebody waits for it");
}

}  // namespace
