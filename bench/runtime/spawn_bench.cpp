// Question: what do the smallest things cost that a program of tasks does all the time: to spawn and join a task, to await
// one that has its value at once, to yield?
//
// Peers: oneTBB's task_group (as many threads), std::async, Boost.Asio's coroutines and Go for spawn and join; a deferred
// std::async, which also makes a lazy result on the heap, and an asio::awaitable for the await; Go's Gosched, asio's post and
// sched_yield between two threads bound to no CPU for the yield.
// Not measured: fork and join of divide and conquer, stealing under uneven load, wake-ups of an idle machine.
#include <future>
#include <thread>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <leat/leat.hpp>
#include <support/bench.hpp>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

namespace {

constexpr unsigned threads = 2;
constexpr std::uint64_t batch = 1000;  // tasks in a scope at a time

// Each task writes to a slot of its own: proof that it ran, without a line that threads fight over.
using slots = std::vector<std::uint64_t>;

std::uint64_t sum_of(const slots& all) {
    std::uint64_t sum = 0;
    for (const std::uint64_t each : all) sum = sum * 31 + each;
    return sum;
}

// --- Spawn and join ---

leat::task<> touch(std::uint64_t* slot, std::uint64_t value) {
    *slot += value;
    co_return;
}

leat::task<> spawn_and_join(slots& all, std::uint64_t batches) {
    leat::scope work;
    for (std::uint64_t round = 1; round <= batches; ++round) {
        for (std::uint64_t i = 0; i < batch; ++i) work.spawn(touch, &all[i], round);
        co_await work.join();
    }
}

std::uint64_t spawn_in_leat(leat::runtime& where, std::uint64_t batches) {
    slots all(batch);
    where.run(spawn_and_join(all, batches));
    return sum_of(all);
}

std::uint64_t spawn_in_tbb(tbb::task_arena& where, std::uint64_t batches) {
    slots all(batch);
    where.execute([&] {
        tbb::task_group work;
        for (std::uint64_t round = 1; round <= batches; ++round) {
            for (std::uint64_t i = 0; i < batch; ++i) work.run([slot = &all[i], round] { *slot += round; });
            work.wait();
        }
    });
    return sum_of(all);
}

std::uint64_t spawn_in_std(std::uint64_t batches) {
    slots all(batch);
    std::vector<std::future<void>> work(batch);
    for (std::uint64_t round = 1; round <= batches; ++round) {
        for (std::uint64_t i = 0; i < batch; ++i)
            work[i] = std::async(std::launch::async, [slot = &all[i], round] { *slot += round; });
        for (auto& each : work) each.get();
    }
    return sum_of(all);
}

// --- Await of a value that is there at once ---

leat::task<std::uint64_t> ready(std::uint64_t value) { co_return value ^ 1U; }

leat::task<> await_ready(std::uint64_t count, std::uint64_t& sum) {
    for (std::uint64_t i = 0; i < count; ++i) sum = sum * 31 + co_await ready(i);
}

std::uint64_t deferred(std::uint64_t count) {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i)
        sum = sum * 31 + std::async(std::launch::deferred, [i] { return i ^ 1U; }).get();
    return sum;
}

// --- Yield: two tasks on one thread, or two threads ---

leat::task<> yield_often(std::uint64_t count, std::uint64_t* done) {
    for (std::uint64_t i = 0; i < count; ++i) {
        co_await leat::this_task::yield();
        ++*done;
    }
}

leat::task<> two_that_yield(std::uint64_t count, std::uint64_t& first, std::uint64_t& second) {
    leat::scope work;
    work.spawn(yield_often, count / 2, &first);
    work.spawn(yield_often, count / 2, &second);
    co_await work.join();
}

std::uint64_t threads_that_yield(std::uint64_t count) {
    std::uint64_t done[2] = {};
    const auto body = [&](int who) {
        std::uint64_t mine = 0;
        for (std::uint64_t i = 0; i < count / 2; ++i) {
            std::this_thread::yield();
            ++mine;
        }
        done[who] = mine;
    };
    std::thread other(body, 1);
    body(0);
    other.join();
    return done[0] + done[1];
}

// --- The same in asio, on one thread ---

namespace asio = boost::asio;

asio::awaitable<void> touch_in_asio(std::uint64_t* slot, std::uint64_t value) {
    *slot += value;
    co_return;
}

std::uint64_t spawn_in_asio(std::uint64_t batches) {
    slots all(batch);
    asio::io_context loop(1);
    for (std::uint64_t round = 1; round <= batches; ++round) {
        for (std::uint64_t i = 0; i < batch; ++i) asio::co_spawn(loop, touch_in_asio(&all[i], round), asio::detached);
        loop.run();
        loop.restart();
    }
    return sum_of(all);
}

asio::awaitable<std::uint64_t> ready_in_asio(std::uint64_t value) { co_return value ^ 1U; }

std::uint64_t await_in_asio(std::uint64_t count) {
    std::uint64_t sum = 0;
    asio::io_context loop(1);
    asio::co_spawn(
        loop,
        [](std::uint64_t times, std::uint64_t& result) -> asio::awaitable<void> {
            for (std::uint64_t i = 0; i < times; ++i) result = result * 31 + co_await ready_in_asio(i);
        }(count, sum),
        asio::detached);
    loop.run();
    return sum;
}

std::uint64_t yield_in_asio(std::uint64_t count) {
    std::uint64_t done = 0;
    asio::io_context loop(1);
    const auto often = [](std::uint64_t times, std::uint64_t& sum) -> asio::awaitable<void> {
        for (std::uint64_t i = 0; i < times; ++i) {
            co_await asio::post(asio::use_awaitable);
            ++sum;
        }
    };
    for (int i = 0; i < 2; ++i) asio::co_spawn(loop, often(count / 2, done), asio::detached);
    loop.run();
    return done;
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "spawn");
    const auto pool = leat::make_runtime(leat::run_options(threads));
    const auto alone = leat::make_runtime(leat::run_options(1));
    tbb::task_arena arena(static_cast<int>(threads));

    const std::uint64_t batches = bench.size(300, 3);
    const std::uint64_t few = bench.size(10, 1);  // a thread each: slow
    bench.compare("spawn and join", "oneTBB task_group", "ns/task",
                  bench::per_unit(batches * batch, [&] { return spawn_in_leat(*pool, batches); }),
                  bench::per_unit(batches * batch, [&] { return spawn_in_tbb(arena, batches); }));
    bench.compare("spawn and join", "std::async", "ns/task",
                  bench::per_unit(few * batch, [&] { return spawn_in_leat(*pool, few); }),
                  bench::per_unit(few * batch, [&] { return spawn_in_std(few); }));

    bench.compare_go("spawn and join", "spawn", "ns/task",
                     bench::per_unit(batches * batch, [&] { return spawn_in_leat(*pool, batches); }), batches * batch,
                     threads, static_cast<double>(batches * batch));
    bench.compare("spawn and join, one thread", "asio co_spawn", "ns/task",
                  bench::per_unit(batches * batch, [&] { return spawn_in_leat(*alone, batches); }),
                  bench::per_unit(batches * batch, [&] { return spawn_in_asio(batches); }));
    bench.compare_go("spawn and join, one thread", "spawn", "ns/task",
                     bench::per_unit(batches * batch, [&] { return spawn_in_leat(*alone, batches); }), batches * batch,
                     1, static_cast<double>(batches * batch));

    const std::uint64_t awaits = bench.size(2'000'000, 20'000);
    const auto await_in_leat = [&] {
        std::uint64_t sum = 0;
        alone->run(await_ready(awaits, sum));
        return sum;
    };
    bench.compare("await of a ready task", "std::async, deferred", "ns/await", bench::per_unit(awaits, await_in_leat),
                  bench::per_unit(awaits, [&] { return deferred(awaits); }));

    bench.compare("await of a ready task", "asio awaitable", "ns/await", bench::per_unit(awaits, await_in_leat),
                  bench::per_unit(awaits, [&] { return await_in_asio(awaits); }));

    const std::uint64_t yields = bench.size(1'000'000, 10'000);
    const auto yield_in_leat = [&] {
        std::uint64_t first = 0;
        std::uint64_t second = 0;
        alone->run(two_that_yield(yields, first, second));
        return first + second;
    };
    bench.compare("yield", "std::this_thread::yield", "ns/yield", bench::per_unit(yields, yield_in_leat),
                  bench::per_unit(yields, [&] { return threads_that_yield(yields); }));
    bench.compare("yield", "asio post", "ns/yield", bench::per_unit(yields, yield_in_leat),
                  bench::per_unit(yields, [&] { return yield_in_asio(yields); }));
    bench.compare_go("yield", "yield", "ns/yield", bench::per_unit(yields, yield_in_leat), yields, 1,
                     static_cast<double>(yields));
    return bench.exit_code();
}
