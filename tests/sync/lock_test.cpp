// What all locks and signals promise alike, asked of each: awaited, tried, awaited for a limited time, and by plain threads;
// first come, first served; nothing lost when a waiter is stopped or out of time; destruction while it is used.
#include <core.hpp>
#include <optional>
#include <soak.hpp>
#include <thread>
#include <vector>

#include <leat/leat.hpp>
#include <leat/runtime/sim.hpp>

namespace {

using leat::task;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::on_threads;
using namespace std::chrono_literals;

// Each lock as something that one line at a time can have.
struct use_of_mutex {
    static constexpr const char* name = "a mutex";
    leat::mutex thing;
    using held = leat::mutex::guard;
    auto take() { return thing.lock(); }
    auto take_for(leat::time_limit limit) { return thing.lock_for(limit); }
    std::optional<held> try_take() { return thing.try_lock(); }
    held blocking_take() { return thing.blocking_lock(); }
    std::optional<held> blocking_take_for(leat::time_limit limit) { return thing.blocking_lock_for(limit); }
};
struct use_of_recursive_mutex {
    static constexpr const char* name = "a recursive mutex";
    leat::recursive_mutex thing;
    using held = leat::recursive_mutex::guard;
    auto take() { return thing.lock(); }
    auto take_for(leat::time_limit limit) { return thing.lock_for(limit); }
    std::optional<held> try_take() { return thing.try_lock(); }
    held blocking_take() { return thing.blocking_lock(); }
    std::optional<held> blocking_take_for(leat::time_limit limit) { return thing.blocking_lock_for(limit); }
};
struct use_of_shared_mutex {
    static constexpr const char* name = "a shared mutex";
    leat::shared_mutex thing;
    using held = leat::shared_mutex::guard;
    auto take() { return thing.lock(); }
    auto take_for(leat::time_limit limit) { return thing.lock_for(limit); }
    std::optional<held> try_take() { return thing.try_lock(); }
    held blocking_take() { return thing.blocking_lock(); }
    std::optional<held> blocking_take_for(leat::time_limit limit) { return thing.blocking_lock_for(limit); }
};
struct use_of_semaphore {
    static constexpr const char* name = "a semaphore";
    leat::semaphore thing{3, 3};
    using held = leat::semaphore::permit;
    auto take() { return thing.acquire(3); }
    auto take_for(leat::time_limit limit) { return thing.acquire_for(limit, 3); }
    std::optional<held> try_take() { return thing.try_acquire(3); }
    held blocking_take() { return thing.blocking_acquire(3); }
    std::optional<held> blocking_take_for(leat::time_limit limit) { return thing.blocking_acquire_for(limit, 3); }
};

template <class Use>
class locks : public testing::Test {};
using all_locks = testing::Types<use_of_mutex, use_of_recursive_mutex, use_of_shared_mutex, use_of_semaphore>;
TYPED_TEST_SUITE(locks, all_locks);

// Nobody else is inside meanwhile.
class visit {
public:
    explicit visit(int& inside) : inside_(inside) { EXPECT_EQ(++inside_, 1); }
    visit(const visit&) = delete;
    ~visit() { --inside_; }

private:
    int& inside_;
};

TYPED_TEST(locks, serve_in_order_of_arrival) {
    std::string order;
    on_one_thread([&]() -> task<> {
        TypeParam lock;
        leat::scope work;
        for (const char name : {'a', 'b', 'c'})
            work.spawn(
                [&](char mine) -> task<> {
                    const auto held = co_await lock.take();
                    order += mine;
                    co_await giving(0, 3);
                    order += mine;
                },
                name);
        co_await work.join();
        EXPECT_TRUE(lock.try_take());
    });
    EXPECT_EQ(order, "aabbcc");
}

TYPED_TEST(locks, protect_a_plain_variable_between_tasks_on_many_threads_and_a_plain_thread) {
    int counter = 0;
    TypeParam lock;
    std::thread outside([&] {
        for (int round = 0; round < 1000; ++round) {
            const auto held = lock.blocking_take();
            ++counter;
        }
    });
    on_threads(4, [&]() -> task<> {
        leat::scope work;
        for (int i = 0; i < 8; ++i)
            work.spawn([&]() -> task<> {
                for (int round = 0; round < 1000; ++round) {
                    const auto held = co_await lock.take();
                    ++counter;
                    if (round % 16 == 0) co_await leat::this_task::yield();
                }
            });
        co_await work.join();
    });
    outside.join();
    EXPECT_EQ(counter, 9'000);
}

TYPED_TEST(locks, of_a_plain_thread_run_out_of_time_while_another_has_it) {
    TypeParam lock;
    auto held = std::make_optional(lock.blocking_take());
    std::thread other([&] {
        EXPECT_FALSE(lock.try_take());
        EXPECT_FALSE(lock.blocking_take_for(1ms));
        EXPECT_FALSE(lock.blocking_take_for(0ms));
        EXPECT_FALSE(lock.blocking_take_for(-1h));
        EXPECT_FALSE(lock.blocking_take_for(leat::time_point{}));
    });
    other.join();
    held.reset();
    EXPECT_TRUE(lock.blocking_take_for(0ms)) << "what is free needs no time";
    EXPECT_TRUE(lock.blocking_take_for(std::chrono::hours::max()));
}

TYPED_TEST(locks, of_a_task_run_out_of_time_and_take_nothing_along) {
    const auto program = []() -> task<> {
        TypeParam lock;
        leat::scope work;
        std::optional<typename TypeParam::held> held(co_await lock.take());
        work.spawn([&]() -> task<> {
            const leat::time_point start = co_await leat::this_task::now();
            for (const leat::duration none : {leat::duration(0), leat::duration(-1), leat::duration::min()}) {
                const auto got = co_await lock.take_for(none);
                EXPECT_FALSE(got);
            }
            const leat::time_point still = co_await leat::this_task::now();
            EXPECT_EQ(still, start) << "no time passes where there is none";
            const auto late = co_await lock.take_for(10ms);
            EXPECT_FALSE(late);
            const leat::time_point after_that = co_await leat::this_task::now();
            EXPECT_EQ(after_that, start + 10ms);
            const auto point = co_await lock.take_for(start + 15ms);
            EXPECT_FALSE(point);
            const leat::time_point at_the_point = co_await leat::this_task::now();
            EXPECT_EQ(at_the_point, start + 15ms);
            const auto in_time = co_await lock.take_for(1h);
            EXPECT_TRUE(in_time);
            const leat::time_point when_free = co_await leat::this_task::now();
            EXPECT_EQ(when_free, start + 20ms);
        });
        work.spawn([&]() -> task<> {
            const auto got = co_await lock.take_for(std::chrono::hours::max());
            EXPECT_TRUE(got);
        });
        co_await leat::sleep_for(20ms);
        held.reset();
        co_await work.join();
        const auto again = co_await lock.take_for(-1h);
        EXPECT_TRUE(again) << "what is free needs no time";
    };
    leat::sim::explore({.seeds = 20}, program);
}

TYPED_TEST(locks, claimed_for_a_task_that_is_then_stopped_are_not_lost) {
    on_one_thread([]() -> task<> {
        TypeParam lock;
        leat::scope work;
        bool had = false;
        std::optional<typename TypeParam::held> held(co_await lock.take());
        work.spawn([&]() -> task<> {
            const auto mine = co_await lock.take();
            had = true;
        });
        co_await leat::this_task::yield();
        held.reset();  // claims for the waiter, which has not run yet
        work.stop();
        co_await work.join();
        EXPECT_TRUE(had);
        EXPECT_TRUE(lock.try_take());
    });
}

TYPED_TEST(locks, that_are_free_are_given_even_to_a_task_that_was_asked_to_stop) {
    on_one_thread([]() -> task<> {
        TypeParam lock;
        leat::scope work;
        work.stop();
        bool got = false;
        work.spawn([&]() -> task<> {
            const auto held = co_await lock.take();
            const auto none = co_await giving(0, 1);
            got = none == 0;
        });
        co_await work.join();
        EXPECT_TRUE(got);
    });
}

TYPED_TEST(locks, taken_in_a_loop_let_others_run) {
    on_one_thread([]() -> task<> {
        TypeParam lock;
        leat::scope work;
        bool other_ran = false;
        work.spawn([&]() -> task<> {
            other_ran = true;
            co_return;
        });
        for (int i = 0; i < 10'000; ++i) const auto held = co_await lock.take();
        EXPECT_TRUE(other_ran);
        other_ran = false;
        work.spawn([&]() -> task<> {
            other_ran = true;
            co_return;
        });
        for (int i = 0; i < 10'000; ++i) const auto held = co_await lock.take_for(1h);
        EXPECT_TRUE(other_ran);
        co_await work.join();
    });
}

TYPED_TEST(locks, are_waited_for_by_fibers) {
    on_threads(2, []() -> task<> {
        TypeParam lock;
        int inside = 0;
        const auto in_fiber = [&] {
            for (int round = 0; round < 100; ++round) {
                const auto held = leat::await(lock.take());
                const visit here(inside);
                leat::await(leat::this_task::yield());
                const auto none = leat::await(lock.take_for(0ms));
                const bool again = std::is_same_v<TypeParam, use_of_recursive_mutex>;
                EXPECT_EQ(none.has_value(), again);
            }
        };
        leat::scope work;
        for (int i = 0; i < 4; ++i) work.spawn(leat::in_fiber(in_fiber));
        co_await work.join();
    });
}

// Many that take it, with limits and stops at drawn times: never two inside, and in the end it is free.
template <class Use>
task<> fight() {
    Use lock;
    int inside = 0;
    leat::scope work;
    for (int i = 0; i < 6; ++i)
        work.spawn([&]() -> task<> {
            leat::scope mine;
            mine.spawn([&]() -> task<> {
                for (int round = 0; round < 4; ++round) {
                    if (leat::sim::chance(50)) {
                        const auto held = co_await lock.take();
                        const visit here(inside);
                        if (leat::sim::chance(50)) co_await leat::sleep_for(leat::sim::draw(5) * 1us);
                    } else {
                        const auto held = co_await lock.take_for(leat::sim::draw(5) * 1us);
                        if (!held) continue;
                        const visit here(inside);
                        co_await leat::this_task::yield();
                    }
                }
            });
            if (leat::sim::chance(50)) {
                co_await leat::sleep_for(leat::sim::draw(20) * 1us);
                mine.stop();
            }
            co_await mine.join();
        });
    co_await work.join();
    EXPECT_TRUE(lock.try_take());
}

TYPED_TEST(locks, are_never_lost_nor_had_by_two_soak) {
    for (leat_test::soak rounds(3); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat::sim::exploration how{.seeds = 150, .first = rounds.seed() * 1000};
        leat::sim::explore(how, [] { return fight<TypeParam>(); });
    }
}

TYPED_TEST(locks, say_where_a_line_waits_and_who_holds_it) {
    on_one_thread([]() -> task<> {
        TypeParam lock;
        leat::scope work;
        const leat::context* waiting = nullptr;
        const leat::context& me = co_await leat::this_task::line();
        std::optional<typename TypeParam::held> held(co_await lock.take());
        work.spawn([&]() -> task<> {
            waiting = &co_await leat::this_task::line();
            {
                const auto mine = co_await lock.take();
                EXPECT_EQ(waiting->waits_at(), nullptr);
            }
            co_await leat::sleep_for(1us);
        });
        co_await leat::this_task::yield();
        const leat::wait_place* const place = waiting->waits_at();
        EXPECT_NE(place, nullptr);
        if (place != nullptr) {
            EXPECT_STREQ(place->name(), TypeParam::name);
            EXPECT_STREQ(waiting->waits_for(), TypeParam::name);
            const bool has_holder = !std::is_same_v<TypeParam, use_of_semaphore>;
            EXPECT_EQ(place->holder(), has_holder ? &me : nullptr);
            held.reset();
            EXPECT_NE(place->holder(), waiting) << "it has not run yet";
        }
        held.reset();
        co_await work.join();
    });
}

template <class Use>
task<> destroys_with_waiters() {
    // Signals have no holder, and locks are held while somebody waits: either way the program ends.
    std::optional<Use> lock(std::in_place);
    leat::scope work;
    auto held = co_await lock->take();
    work.spawn([](Use& one) -> task<> { const auto none = co_await one.take(); }, std::ref(*lock));
    co_await leat::this_task::yield();
    lock.reset();
}

TYPED_TEST(locks, destroyed_while_somebody_waits_end_the_program_death) {
    EXPECT_DEATH(on_one_thread(destroys_with_waiters<TypeParam>),
                 "bug: " + std::string(TypeParam::name) + ": destroyed while");
}

TYPED_TEST(locks, waited_for_by_blocking_on_a_thread_that_runs_tasks_end_the_program_death) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     TypeParam lock;
                     const auto held = lock.blocking_take();
                     co_return;
                 }),
                 "on a thread that runs tasks");
}

TEST(mutex_death, destroyed_while_it_is_locked) {
    EXPECT_DEATH(
        {
            std::optional<leat::mutex> lock(std::in_place);
            auto held = lock->try_lock();
            lock.reset();
        },
        "bug: a mutex: destroyed while it is locked");
    EXPECT_DEATH(
        {
            std::optional<leat::shared_mutex> lock(std::in_place);
            auto held = lock->try_lock_shared();
            lock.reset();
        },
        "bug: a shared mutex: destroyed while it is locked");
    EXPECT_DEATH(
        {
            std::optional<leat::recursive_mutex> lock(std::in_place);
            auto held = lock->try_lock();
            lock.reset();
        },
        "bug: a recursive mutex: destroyed while it is locked");
}

TEST(semaphore_death, more_permits_than_there_may_be) {
    EXPECT_DEATH(
        {
            leat::semaphore two(1, 2);
            two.release();
            two.release();
        },
        "bug: a semaphore: more permits were released than there may be");
    EXPECT_DEATH(leat::semaphore(3, 2), "bug: a semaphore: made with more permits than there may be");
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     leat::semaphore two(2, 2);
                     const auto three = co_await two.acquire(3);
                 }),
                 "bug: a semaphore: asked for more permits than there may be");
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     leat::semaphore one(0, 1);
                     leat::scope work;
                     work.spawn([&]() -> task<> { const auto held = co_await one.acquire(); });
                     co_await leat::this_task::yield();
                     one.release(2);
                     co_await work.join();
                 }),
                 "bug: a semaphore: more permits were released than there may be");
}

// --- recursive_mutex ---

task<int> nested(leat::recursive_mutex& lock, int depth) {
    const auto held = co_await lock.lock();
    EXPECT_TRUE(lock.is_mine());
    if (depth == 0) co_return 0;
    co_await leat::this_task::yield();
    co_return co_await nested(lock, depth - 1) + 1;
}

TEST(recursive_mutex, is_its_owners_through_the_tasks_that_it_awaits) {
    on_threads(2, []() -> task<> {
        leat::recursive_mutex lock;
        leat::scope work;
        int inside = 0;
        for (int i = 0; i < 8; ++i)
            work.spawn([&]() -> task<> {
                for (int round = 0; round < 50; ++round) {
                    const auto held = co_await lock.lock();
                    EXPECT_EQ(++inside, 1);
                    const int depth = co_await nested(lock, 5);
                    EXPECT_EQ(depth, 5);
                    const auto once_more = lock.try_lock();
                    EXPECT_TRUE(once_more);
                    const auto in_no_time = co_await lock.lock_for(0ms);
                    EXPECT_TRUE(in_no_time);
                    --inside;
                }
            });
        co_await work.join();
        EXPECT_FALSE(lock.is_mine());
        EXPECT_EQ(lock.holder(), nullptr);
    });
}

TEST(recursive_mutex, is_not_that_of_arms_below_its_owner) {
    on_one_thread([]() -> task<> {
        leat::recursive_mutex lock;
        const auto held = co_await lock.lock();
        const auto tries = [](leat::recursive_mutex& it) -> task<bool> {
            const auto got = co_await it.lock_for(1ms);
            co_return got.has_value();
        };
        const auto [left, right] = co_await leat::when_all(tries(lock), tries(lock));
        EXPECT_FALSE(left || right);
    });
}

TEST(recursive_mutex, is_a_plain_threads_own) {
    leat::recursive_mutex lock;
    auto outer = std::make_optional(lock.blocking_lock());
    const auto inner = lock.blocking_lock_for(0ms);
    EXPECT_TRUE(inner && lock.is_mine());
    outer.reset();
    std::thread([&] { EXPECT_FALSE(lock.is_mine() || lock.try_lock()); }).join();
}

TEST(recursive_mutex_death, unlocked_by_another_task) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     leat::recursive_mutex lock;
                     leat::scope work;
                     auto held = co_await lock.lock();
                     work.spawn(
                         [](leat::recursive_mutex::guard mine) -> task<> {
                             mine.unlock();
                             co_return;
                         },
                         std::move(held));
                     co_await work.join();
                 }),
                 "bug: a recursive mutex: unlocked by somebody who does not own it");
}

// --- shared_mutex ---

TEST(shared_mutex, is_shared_by_readers_and_had_alone_by_a_writer) {
    on_threads(4, []() -> task<> {
        leat::shared_mutex lock;
        leat::env::atomic<int> readers{0};
        leat::env::atomic<int> most{0};
        int value = 0;
        leat::scope work;
        for (int i = 0; i < 6; ++i)
            work.spawn([&]() -> task<> {
                for (int round = 0; round < 300; ++round) {
                    const auto held = co_await lock.lock_shared();
                    const int now = readers.fetch_add(1) + 1;
                    int before = most.load();
                    while (before < now && !most.compare_exchange_weak(before, now)) {
                    }
                    EXPECT_GE(value, 0);
                    co_await leat::this_task::yield();
                    readers.fetch_sub(1);
                }
            });
        for (int i = 0; i < 2; ++i)
            work.spawn([&]() -> task<> {
                for (int round = 0; round < 300; ++round) {
                    const auto held = co_await lock.lock();
                    EXPECT_EQ(readers.load(), 0);
                    value = -1;
                    co_await leat::this_task::yield();
                    value = round;
                }
            });
        co_await work.join();
        EXPECT_GT(most.load(), 1);
    });
}

TEST(shared_mutex, a_writer_is_not_overtaken_by_readers_that_come_after_it) {
    std::string order;
    on_one_thread([&]() -> task<> {
        leat::shared_mutex lock;
        auto reads = std::make_optional(co_await lock.lock_shared());
        leat::scope work;
        const auto writes = [&]() -> task<> {
            const auto held = co_await lock.lock();
            order += 'w';
        };
        const auto reads_too = [&](char name) -> task<> {
            const auto held = co_await lock.lock_shared();
            order += name;
            co_await giving(0, 2);
            order += name;
        };
        work.spawn(reads_too, 'a');
        co_await giving(0, 5);
        work.spawn(writes);
        work.spawn(reads_too, 'b');
        work.spawn(reads_too, 'c');
        co_await giving(0, 5);
        EXPECT_EQ(order, "aa");
        EXPECT_FALSE(lock.try_lock_shared()) << "a writer waits";
        reads.reset();
        co_await work.join();
    });
    EXPECT_EQ(order, "aawbcbc");
}

TEST(shared_mutex, a_writer_that_gives_up_lets_the_readers_behind_it_go) {
    const auto program = []() -> task<> {
        leat::shared_mutex lock;
        const auto reads = co_await lock.lock_shared();
        leat::scope work;
        work.spawn([&]() -> task<> {
            const auto none = co_await lock.lock_for(5us);
            EXPECT_FALSE(none);
        });
        work.spawn([&]() -> task<> {
            co_await leat::sleep_for(1us);
            const auto held = co_await lock.lock_shared_for(1h);
            EXPECT_TRUE(held);
        });
        co_await work.join();
    };
    leat::sim::explore({.seeds = 50}, program);
}

}  // namespace
