// Deadlocks: a run in which every task waits for another ends with a report; one that something could still wake does not.
#include <leat/runtime/deadlock.hpp>

#include <core.hpp>
#include <functional>
#include <gmock/gmock.h>
#include <soak.hpp>
#include <thread>

#include <leat/base/log.hpp>
#include <leat/leat.hpp>
#include <leat/runtime/sim.hpp>

namespace {

using namespace std::chrono_literals;
using leat::task;
using leat::task_name;
using testing::HasSubstr;

task<> lock_both(leat::mutex& first, leat::mutex& second, leat::semaphore& both_hold_one, leat::semaphore& go_on) {
    const auto one = co_await first.lock();
    both_hold_one.release();
    (void)co_await go_on.acquire();
    const auto two = co_await second.lock();
}

task<> crosswise() {
    leat::mutex a;
    leat::mutex b;
    leat::semaphore hold(0);
    leat::semaphore go_on(0);
    leat::scope work;
    work.spawn(task_name("left"), lock_both, std::ref(a), std::ref(b), std::ref(hold), std::ref(go_on));
    work.spawn(task_name("right"), lock_both, std::ref(b), std::ref(a), std::ref(hold), std::ref(go_on));
    (void)(co_await hold.acquire(2)).forget();
    go_on.release(2);
    co_await work.join();
}

// What is said of a deadlock in `program` on so many threads; "" when there was none.
std::string report_of(unsigned threads, const std::function<task<>()>& program) {
    try {
        leat::run(leat::run_options(threads), program);
    } catch (const leat::deadlocked& found) {
        return found.what();
    }
    return "";
}

class on_any_runtime : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(runtimes, on_any_runtime, testing::Values(1U, 2U), [](const auto& each) {
    return each.param == 1 ? std::string("an_event_loop") : "a_pool_of_" + std::to_string(each.param);
});

TEST_P(on_any_runtime, two_locks_taken_crosswise_end_with_a_report_that_names_tasks_and_waits) {
    const std::string report = report_of(GetParam(), crosswise);
    EXPECT_THAT(report, HasSubstr("deadlock: every task waits for another"));
    EXPECT_THAT(report, HasSubstr("main waits for scope join"));
    EXPECT_THAT(report, HasSubstr("left waits for a mutex, held by right"));
    EXPECT_THAT(report, HasSubstr("right waits for a mutex, held by left"));
}

TEST_P(on_any_runtime, what_the_tasks_hold_is_destroyed_when_the_run_ends) {
    const auto held = std::make_shared<int>(1);
    const std::string report = report_of(GetParam(), [held]() -> task<> {
        const auto mine = held;
        leat::semaphore nothing(0);
        (void)co_await nothing.acquire();
    });
    EXPECT_NE(report, "");
    EXPECT_EQ(held.use_count(), 1);
}

TEST_P(on_any_runtime, a_thread_that_comes_later_is_no_deadlock) {
    auto [out, in] = leat::channel<int>(1);
    std::thread late([end = std::move(out)]() mutable {
        std::this_thread::sleep_for(300ms);
        EXPECT_TRUE(end.blocking_send(7));
    });
    const int got = leat::run(leat::run_options(GetParam()), [&in]() -> task<int> { co_return *co_await in.recv(); });
    late.join();
    EXPECT_EQ(got, 7);
}

TEST_P(on_any_runtime, a_call_on_a_thread_for_blocking_calls_is_no_deadlock) {
    EXPECT_EQ(report_of(GetParam(),
                        []() -> task<> {
                            const auto slow = [] { std::this_thread::sleep_for(300ms); };
                            co_await leat::blocking(slow);
                        }),
              "");
}

TEST_P(on_any_runtime, a_timer_that_is_far_away_is_no_deadlock) {
    EXPECT_EQ(report_of(GetParam(), []() -> task<> { co_await leat::sleep_for(300ms); }), "");
}

// However many tasks a report has room for, and with a thread that the look takes for none of its business.
TEST_P(on_any_runtime, one_that_sleeps_until_it_is_stopped_behind_many_that_wait_is_no_deadlock) {
    leat::stop_source stop;
    std::thread later([&stop] {
        const leat::detail::bystander unseen;
        std::this_thread::sleep_for(400ms);
        stop.request_stop();
    });
    leat::run_options options(GetParam());
    options.stop = &stop;
    EXPECT_THROW(leat::run(options,
                           []() -> task<> {
                               leat::semaphore nothing(0);
                               leat::scope work;
                               for (int i = 0; i < 150; ++i)
                                   work.spawn([](leat::semaphore& from) -> task<> { (void)co_await from.acquire(); },
                                              std::ref(nothing));
                               work.spawn(leat_test::until_stopped);
                               co_await work.join();
                           }),
                 leat::cancelled);
    later.join();
}

TEST_P(on_any_runtime, one_that_cannot_be_proven_is_suspected_in_the_log) {
    std::string said;
    leat::set_log_hook(
        [](void* user, leat::log_level, std::string_view text) noexcept { *static_cast<std::string*>(user) += text; },
        &said);
    auto [out, in] = leat::channel<int>(1);
    leat::run_options options(GetParam());
    options.suspect_deadlock_after = 50ms;
    std::thread other([end = std::move(out)]() mutable { std::this_thread::sleep_for(300ms); });
    leat::run(options, [&in]() -> task<> { EXPECT_FALSE(co_await in.recv()); });
    leat::set_log_hook(nullptr, nullptr);
    other.join();
    EXPECT_THAT(said, HasSubstr("a deadlock is suspected"));
    EXPECT_THAT(said, HasSubstr("main waits for "));
}

// --- Planted ones: each of these kinds among so many others that come and go ---

task<> comes_and_goes(int rounds) {
    for (int i = 0; i < rounds; ++i) co_await leat::this_task::yield();
}

task<> ring_of_locks(std::vector<leat::mutex>& locks, std::size_t mine, leat::semaphore& hold, leat::semaphore& go_on) {
    const auto one = co_await locks[mine].lock();
    hold.release();
    (void)co_await go_on.acquire();
    const auto two = co_await locks[(mine + 1) % locks.size()].lock();
}
task<> locks_in_a_ring(std::size_t size) {
    std::vector<leat::mutex> locks(size);
    leat::semaphore hold(0);
    leat::semaphore go_on(0);
    leat::scope work;
    for (std::size_t i = 0; i < size; ++i)
        work.spawn(ring_of_locks, std::ref(locks), i, std::ref(hold), std::ref(go_on));
    work.spawn(comes_and_goes, 50);
    (co_await hold.acquire(size)).forget();
    go_on.release(size);
    co_await work.join();
}

task<> passes_on(leat::receiver<int> from, leat::sender<int> to) {
    while (auto item = co_await from.recv())
        if (!co_await to.send(*item)) co_return;
}
// Each waits for the one before, and nobody begins.
task<> channels_in_a_ring(std::size_t size) {
    std::vector<leat::channel_ends<int>> ring;
    for (std::size_t i = 0; i < size; ++i) ring.push_back(leat::channel<int>(1));
    leat::scope work;
    for (std::size_t i = 0; i < size; ++i) work.spawn(passes_on, ring[i].in, ring[(i + 1) % size].out);
    work.spawn(comes_and_goes, 50);
    co_await work.join();
}

// More goes round than there is room for.
task<> a_ring_that_is_full(std::size_t size) {
    std::vector<leat::channel_ends<int>> ring;
    for (std::size_t i = 0; i < size; ++i) ring.push_back(leat::channel<int>(1));
    leat::scope work;
    for (std::size_t i = 0; i < size; ++i)
        for (int j = 0; j < 3; ++j)
            work.spawn(
                [](leat::sender<int> out) -> task<> {
                    while (co_await out.send(1)) co_await leat::this_task::yield();
                },
                ring[i].out);
    co_await work.join();
}

task<> permits_that_never_come(std::size_t missing) {
    leat::semaphore permits(3);
    leat::scope work;
    for (std::size_t i = 0; i < 3; ++i)
        work.spawn(
            [](leat::semaphore& from, std::size_t more) -> task<> {
                const auto one = co_await from.acquire();
                co_await leat::this_task::yield();
                const auto rest = co_await from.acquire(more + 1);  // three at least, of the two that are left
            },
            std::ref(permits), missing);
    co_await work.join();
}

task<> a_lock_taken_twice(std::size_t depth) {
    const auto body = [](auto& self, leat::mutex& lock, std::size_t left) -> task<> {
        if (left != 0) co_return co_await self(self, lock, left - 1);
        const auto again = co_await lock.lock();
    };
    leat::mutex lock;
    const auto held = co_await lock.lock();
    co_await body(body, lock, depth);
}

// Locks taken in one order, permits that are given back, channels whose senders end: whatever the schedule, it ends.
task<> lawful(leat_test::dice roll, std::vector<leat::mutex>& locks, leat::semaphore& permits, leat::sender<int> out) {
    for (int i = 0; i < 4; ++i) {
        const unsigned first = roll(3);
        const auto one = co_await locks[first].lock();
        if (roll(2) == 0) co_await leat::this_task::yield();
        const auto two = co_await locks[first + 1 + roll(static_cast<unsigned>(locks.size()) - first - 1)].lock();
        const auto some = co_await permits.acquire(1 + roll(2));
        if (roll(3) == 0) co_await leat::sleep_for(std::chrono::milliseconds(roll(5)));
        if (!co_await out.send(i)) co_return;
    }
}
task<> takes_all(leat::receiver<int> in, leat::semaphore& seen) {
    while (auto item = co_await in.recv()) seen.release();
}
task<> lawful_tasks(unsigned seed) {
    leat_test::dice roll(seed);
    std::vector<leat::mutex> locks(4);
    leat::semaphore permits(2);
    leat::semaphore seen(0);
    const unsigned tasks = 2 + roll(4);
    leat::scope work;
    {
        auto [out, in] = leat::channel<int>(roll(3));
        for (unsigned i = 0; i < tasks; ++i)
            work.spawn(lawful, leat_test::dice(seed * 31 + i), std::ref(locks), std::ref(permits), out);
        for (unsigned i = 0; i <= roll(2); ++i) work.spawn(takes_all, in, std::ref(seen));
    }
    (co_await seen.acquire(4 * tasks)).forget();
    co_await work.join();
}

TEST(deadlock, soak_none_is_found_where_there_is_none) {
    for (leat_test::soak round(1000); round.go_on();) {
        SCOPED_TRACE(round.text());
        const leat::sim::result ended = leat::sim::run({.seed = round.seed()}, lawful_tasks, round.seed());
        EXPECT_TRUE(ended.ok()) << ended.report();
    }
}

TEST(deadlock, fifty_planted_ones_are_all_found) {
    int found = 0;
    for (std::size_t size = 2; size < 7; ++size)
        for (const unsigned threads : {1U, 2U})
            for (task<> (*const plant)(std::size_t) : {&locks_in_a_ring, &channels_in_a_ring, &a_ring_that_is_full,
                                                       &permits_that_never_come, &a_lock_taken_twice})
                found += report_of(threads, [&] { return plant(size); }).empty() ? 0 : 1;
    EXPECT_EQ(found, 50);
}

}  // namespace
