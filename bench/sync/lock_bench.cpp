// Question: what does it cost to lock and unlock a mutex that nobody else wants, and one that others want; and to release a
// million tasks that wait for one event?
//
// Peers: std::mutex between threads, beside ours between tasks on as many workers; Boost.Fiber's mutex between fibers of one
// thread, beside ours between tasks of one thread; for the event a list of as many heap nodes of a task's size that is walked:
// what any design pays for touching them. "released" ends when set() returns, "gone on" when the last task has.
// Not measured: fairness (ours is first come, first served, std::mutex is not), locks held for long.
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <leat/leat.hpp>
#include <support/bench.hpp>

#if __has_include(<boost/fiber/all.hpp>)
#    include <boost/fiber/all.hpp>
#    define LEAT_BENCH_BOOST_FIBER 1
#endif

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

struct release_times {
    double released = 0;  // ms, from set() until it returns: all are ready
    double gone_on = 0;   // until the last has gone on
};

leat::task<> wait_and_count(leat::event& ready, std::uint64_t& gone_on, leat::latch& all) {
    co_await ready.wait();
    ++gone_on;
    all.count_down();
}

leat::task<> release_many(std::uint64_t count, std::uint64_t& gone_on, release_times& times) {
    leat::event ready;
    leat::latch all(count);
    leat::scope work;
    for (std::uint64_t i = 0; i < count; ++i)
        work.spawn(wait_and_count, std::ref(ready), std::ref(gone_on), std::ref(all));
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

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "lock");
    const auto alone = leat::make_runtime(leat::run_options(1));
    const auto each = [](std::uint64_t count, auto work) {
        return [count, work] {
            std::uint64_t sum = 0;
            const double time = bench::nanoseconds_of([&] { sum = work(count); });
            return bench::sample{time / static_cast<double>(count), sum};
        };
    };
    // A program of tasks that adds to a sum, on one thread.
    const auto run = [&](auto program) {
        return [&alone, program](std::uint64_t count) {
            std::uint64_t sum = 0;
            alone->run(program(count, sum));
            return sum;
        };
    };

    const std::uint64_t locks = bench.size(20'000'000, 10'000);
    bench.compare("lock and unlock", "std::mutex", "ns/lock", each(locks, run(lock_alone)),
                  each(locks, std_lock_alone));
    bench.compare("lock and unlock", "no lock", "ns/lock", each(locks, run(lock_alone)), each(locks, add_alone));

    const std::uint64_t fought = bench.size(2'000'000, 8'000);
    for (const unsigned workers : {2U, 4U}) {
        const auto pool = leat::make_runtime(leat::run_options(workers));
        const std::string name = "fought for by " + std::to_string(workers) + " threads";
        bench.compare(name.c_str(), "std::mutex", "ns/lock",
                      each(fought,
                           [&](std::uint64_t count) {
                               std::uint64_t total = 0;
                               pool->run(lock_with_others(workers, count, total));
                               return total;
                           }),
                      each(fought, [&](std::uint64_t count) { return std_lock_with_others(workers, count); }));
    }

#if defined(LEAT_BENCH_BOOST_FIBER)
    bench.compare("two that hold it over a yield", "Boost.Fiber", "ns/lock", each(fought, run(two_that_hold)),
                  each(fought, [](std::uint64_t count) {
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
    bench.skip("two that hold it over a yield", "Boost.Fiber",
               "libboost-fiber1.81-dev was not there when this was built");
    (void)two_that_hold;
#endif

    const std::uint64_t waiters = bench.size(1'000'000, 1'000);
    const auto event_of = [&](double release_times::* which) {
        return [&alone, waiters, which] {
            std::uint64_t gone_on = 0;
            release_times times;
            alone->run(release_many(waiters, gone_on, times));
            return bench::sample{times.*which, gone_on};
        };
    };
    const auto list = [&] { return walk_list(waiters); };
    bench.compare("a million waiters released", "a list walked", "ms", event_of(&release_times::released), list, 5);
    bench.compare("a million waiters gone on", "a list walked", "ms", event_of(&release_times::gone_on), list, 5);
    return bench.exit_code();
}
