// Question: what does it cost to lock and unlock a mutex that nobody else wants, and one that others want; and to release a
// million tasks that wait for one event?
//
// Peers: std::mutex between threads, beside ours between tasks on as many workers; Go's, on as many processors; Boost.Fiber's
// between fibers of one thread, beside ours between tasks of one thread. For the event a list of as many heap nodes of a
// task's size that is walked: what any design pays for touching them; coroutines of Boost.Asio that wait for a timer that is
// cancelled, and goroutines whose channel is closed. "released" ends when set() returns, "gone on" when the last task has.
// "stack" is how far the deepest of those that went on lies below main: its peer are a thousand of them, and the program
// fails when a million lie a page deeper.
// Not measured: fairness (ours is first come, first served, std::mutex and Go's are not), locks held for long, a million
// threads that wait for a std::condition_variable.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <support/boost_fiber.hpp>
#include <support/tasks.hpp>

namespace {

// --- Uncontended: lock, add, unlock ---

leat::task<> lock_alone(std::uint64_t count, std::uint64_t& sum) {
    leat::mutex lock;
    for (std::uint64_t i = 0; i < count; ++i) {
        const leat::mutex::guard held = co_await lock.lock();
        sum += i;
    }
}

std::uint64_t std_lock_alone(std::uint64_t count) {
    std::uint64_t sum = 0;
    std::mutex lock;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::lock_guard<std::mutex> held(lock);
        sum += i;
    }
    return sum;
}

std::uint64_t add_alone(std::uint64_t count) {
    std::uint64_t sum = 0;
    std::uint64_t* volatile where = &sum;  // each turn stores, as under a lock
    for (std::uint64_t i = 0; i < count; ++i) *where += i;
    return sum;
}

// --- Contended: `tasks` of them, each `count` times ---

leat::task<> lock_among_others(leat::mutex& lock, std::uint64_t count, std::uint64_t& total) {
    for (std::uint64_t i = 0; i < count; ++i) {
        const leat::mutex::guard held = co_await lock.lock();
        total += i;
    }
}

leat::task<> lock_with_others(unsigned tasks, std::uint64_t count, std::uint64_t& total) {
    leat::mutex lock;
    leat::scope work;
    for (unsigned i = 0; i < tasks; ++i) work.spawn(lock_among_others, std::ref(lock), count / tasks, std::ref(total));
    co_await work.join();
}

std::uint64_t std_lock_with_others(unsigned threads, std::uint64_t count) {
    std::uint64_t total = 0;
    std::mutex lock;
    std::vector<std::thread> all;
    for (unsigned t = 0; t < threads; ++t)
        all.emplace_back([&] {
            for (std::uint64_t i = 0; i < count / threads; ++i) {
                const std::lock_guard<std::mutex> held(lock);
                total += i;
            }
        });
    for (std::thread& each : all) each.join();
    return total;
}

// --- Held over a turn of the others: each lock is one that somebody waits for ---

leat::task<> hold_and_yield(leat::mutex& lock, std::uint64_t count, std::uint64_t& total) {
    for (std::uint64_t i = 0; i < count; ++i) {
        const leat::mutex::guard held = co_await lock.lock();
        total += i;
        co_await leat::this_task::yield();
    }
}

leat::task<> two_that_hold(std::uint64_t count, std::uint64_t& total) {
    leat::mutex lock;
    leat::scope work;
    for (int i = 0; i < 2; ++i) work.spawn(hold_and_yield, std::ref(lock), count / 2, std::ref(total));
    co_await work.join();
}

// --- An event with many waiters ---

// Where the stack of this thread ends now, as a number that grows with its depth.
[[gnu::noinline]] std::uintptr_t stack_depth() noexcept {
    return 0 - reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}

struct release {
    double released = 0;  // ms, from set() until it returns: all are ready
    double gone_on = 0;   // until the last has gone on
    std::uintptr_t deepest = 0;
};

leat::task<> wait_and_count(leat::event& ready, std::uint64_t& gone_on, leat::latch& all, std::uintptr_t& deepest) {
    co_await ready.wait();
    ++gone_on;
    deepest = std::max(deepest, stack_depth());
    all.count_down();
}

leat::task<> release_many(std::uint64_t count, std::uint64_t& gone_on, release& times) {
    leat::event ready;
    leat::latch all(count);
    leat::scope work;
    for (std::uint64_t i = 0; i < count; ++i)
        work.spawn(wait_and_count, std::ref(ready), std::ref(gone_on), std::ref(all), std::ref(times.deepest));
    co_await leat::this_task::yield();
    const auto start = std::chrono::steady_clock::now();
    const auto so_far = [start] {
        return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    };
    ready.set();
    times.released = so_far();
    co_await all.wait();
    times.gone_on = so_far();
    co_await work.join();
}

struct node {
    std::uint64_t* counter;
    std::unique_ptr<node> next;
    std::uint64_t padding[28];  // about a frame and a context
};

bench::sample walk_list(std::uint64_t count) {
    std::uint64_t gone_on = 0;
    std::unique_ptr<node> list;
    for (std::uint64_t i = 0; i < count; ++i) list = std::make_unique<node>(node{&gone_on, std::move(list), {}});
    const double time = bench::nanoseconds_of([&] {
        for (node* each = list.get(); each != nullptr; each = each->next.get()) ++*each->counter;
    });
    while (list) list = std::move(list->next);  // not recursively
    return {time / 1e6, gone_on};
}

namespace asio = boost::asio;

asio::awaitable<void> wait_in_asio(asio::steady_timer& gate, std::uint64_t& gone_on) {
    boost::system::error_code cancelled;
    co_await gate.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
    ++gone_on;
}
bench::sample release_in_asio(std::uint64_t count) {
    std::uint64_t gone_on = 0;
    asio::io_context loop(1);
    asio::steady_timer gate(loop, std::chrono::hours(1));
    for (std::uint64_t i = 0; i < count; ++i) asio::co_spawn(loop, wait_in_asio(gate, gone_on), asio::detached);
    loop.poll();
    const double time = bench::nanoseconds_of([&] {
        gate.cancel();
        loop.run();
    });
    return {time / 1e6, gone_on};
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "lock");
    const auto alone = leat::make_runtime(leat::run_options(1));
    const std::uint64_t locks = bench.size(20'000'000, 10'000);
    const bench::side lock_and_unlock = bench::per_unit(locks, bench::on(*alone, lock_alone));
    bench.compare("lock and unlock", "std::mutex", "ns/lock", lock_and_unlock, bench::per_unit(locks, std_lock_alone));
    bench.compare("lock and unlock", "no lock", "ns/lock", lock_and_unlock, bench::per_unit(locks, add_alone));
    bench.compare_go("lock and unlock", "lock", "ns/lock", lock_and_unlock, locks, 1, static_cast<double>(locks));

    const std::uint64_t fought = bench.size(2'000'000, 8'000);
    for (const unsigned workers : {2U, 4U}) {
        const auto pool = leat::make_runtime(leat::run_options(workers));
        const std::string name = "fought for by " + std::to_string(workers) + " threads";
        const bench::side ours = bench::per_unit(fought, [&](std::uint64_t count) {
            std::uint64_t total = 0;
            pool->run(lock_with_others(workers, count, total));
            return total;
        });
        bench.compare(name.c_str(), "std::mutex", "ns/lock", ours, bench::per_unit(fought, [&](std::uint64_t count) {
                          return std_lock_with_others(workers, count);
                      }));
        bench.compare_go(name.c_str(), "locks", "ns/lock", ours, fought, workers, static_cast<double>(fought));
    }

#if defined(LEAT_BENCH_BOOST_FIBER)
    bench.compare("two that hold it over a yield", "Boost.Fiber", "ns/lock",
                  bench::per_unit(fought, bench::on(*alone, two_that_hold)),
                  bench::per_unit(fought, [](std::uint64_t count) {
                      std::uint64_t total = 0;
                      boost::fibers::mutex lock;
                      const auto turns = [&] {
                          for (std::uint64_t i = 0; i < count / 2; ++i) {
                              const std::lock_guard<boost::fibers::mutex> held(lock);
                              total += i;
                              boost::this_fiber::yield();
                          }
                      };
                      boost::fibers::fiber one(turns);
                      boost::fibers::fiber two(turns);
                      one.join();
                      two.join();
                      return total;
                  }));
#else
    bench.skip("two that hold it over a yield", "Boost.Fiber", bench::no_boost_fiber);
    (void)two_that_hold;
#endif

    const std::uint64_t waiters = bench.size(1'000'000, 1'000);
    const std::uintptr_t top = stack_depth();
    const auto released = [&](std::uint64_t count, auto figure) -> bench::side {
        return [&alone, count, figure] {
            std::uint64_t gone_on = 0;
            release times;
            alone->run(release_many(count, gone_on, times));
            return bench::sample{figure(times), gone_on};
        };
    };
    const auto list = [&] { return walk_list(waiters); };
    const bench::side all_ready = released(waiters, [](const release& times) { return times.released; });
    const bench::side all_gone_on = released(waiters, [](const release& times) { return times.gone_on; });
    bench.compare("a million waiters released", "a list walked", "ms", all_ready, list, 5);
    bench.compare("a million waiters gone on", "a list walked", "ms", all_gone_on, list, 5);
    bench.compare(
        "a million waiters gone on", "asio awaitable", "ms", all_gone_on, [&] { return release_in_asio(waiters); }, 5);
    bench.compare_go("a million waiters gone on", "release", "ms", all_gone_on, waiters, 1, 1e6, 5);

    if (bench.wanted("stack, a million gone on")) {
        const auto depth_of = [&](std::uint64_t count) {
            bench::sample result =
                released(count, [&](const release& times) { return static_cast<double>(times.deepest - top); })();
            result.checksum = static_cast<std::uint64_t>(result.checksum == count);
            return result;
        };
        const bench::sample many = depth_of(waiters);
        const bench::sample few = depth_of(1'000);
        bench.record("stack, a million gone on", "a thousand gone on", "bytes", many, few);
        if (many.value > few.value + 4096) bench.fail("the stack grows with the number of those that are released");
    }
    return bench.exit_code();
}
