// The lock for what several cores use all the time, on real threads: the explorer has another.
#include <leat/base/env_spin.hpp>

#include <chrono>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace {

namespace env = leat::env;

TEST(busy_mutex, lets_one_thread_in_at_a_time) {
    env::busy_mutex lock;
    constexpr int threads = 4, rounds = 20000;
    int sum = 0;
    std::vector<std::thread> all;
    for (int i = 0; i < threads; ++i)
        all.emplace_back([&] {
            for (int n = 0; n < rounds; ++n) {
                const env::lock_guard held(lock);
                ++sum;
            }
        });
    for (std::thread& each : all) each.join();
    EXPECT_EQ(sum, threads * rounds);
}

TEST(busy_mutex, who_waits_longer_than_it_spins_gets_it_when_it_is_free) {
    env::busy_mutex lock;
    bool done = false;
    lock.lock();
    std::thread other([&] {
        const env::lock_guard held(lock);
        done = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // so that it sleeps, most likely
    EXPECT_FALSE(done);
    lock.unlock();
    other.join();
    EXPECT_TRUE(done);
}

TEST(busy_mutex, is_refused_while_it_is_held) {
    env::busy_mutex lock;
    EXPECT_TRUE(lock.try_lock());
    EXPECT_FALSE(lock.try_lock());
    lock.unlock();
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
}

}  // namespace
