// Question: how much memory does a task take that waits, with all that belongs to it?
//
// A million tasks of one scope wait for a semaphore without permits; what counts is by how much the
// process has grown, so the heap's own share is in it. Peers: coroutines of Boost.Asio that wait for a timer each, in the
// same number; goroutines that wait for a channel, with Go's smallest stack; a thread with its stack costs the kernel some
// 10 KiB before it has done anything and is left out.
// The checksum is the number of those that went on afterwards.
// Not measured: what the tasks' own locals would add, memory that a second million would find in caches.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <malloc.h>

#include <leat/leat.hpp>
#include <support/bench.hpp>

namespace {

leat::task<> waits(leat::semaphore* gate, std::uint64_t* ended) {
    (void)co_await gate->acquire();
    ++*ended;
}

leat::task<bench::sample> a_scope_of(std::uint64_t count) {
    std::uint64_t ended = 0;
    leat::semaphore gate(0);
    leat::scope all;
    const std::uint64_t before = bench::resident_bytes();
    for (std::uint64_t i = 0; i < count; ++i) all.spawn(waits, &gate, &ended);
    co_await leat::this_task::yield();  // all wait
    const std::uint64_t after = bench::resident_bytes();
    gate.release(1);  // each gives it to the next
    co_await all.join();
    co_return bench::sample{static_cast<double>(after - before) / static_cast<double>(count), ended};
}

bench::sample in_leat(std::uint64_t count) {
    ::malloc_trim(0);
    return leat::run(leat::run_options(1), a_scope_of, count);
}

namespace asio = boost::asio;

asio::awaitable<void> waits_in_asio(asio::steady_timer* gate, std::uint64_t* ended) {
    boost::system::error_code cancelled;
    co_await gate->async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
    ++*ended;
}

bench::sample in_asio(std::uint64_t count) {
    ::malloc_trim(0);
    std::uint64_t ended = 0;
    asio::io_context loop(1);
    asio::steady_timer gate(loop, std::chrono::hours(1));
    const std::uint64_t before = bench::resident_bytes();
    for (std::uint64_t i = 0; i < count; ++i) asio::co_spawn(loop, waits_in_asio(&gate, &ended), asio::detached);
    loop.poll();
    const std::uint64_t after = bench::resident_bytes();
    gate.cancel();
    loop.run();
    return {static_cast<double>(after - before) / static_cast<double>(count), ended};
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "memory");
    const std::uint64_t count = bench.size(1'000'000, 1'000);
    bench.compare(
        "a task that waits", "asio awaitable", "bytes", [&] { return in_leat(count); }, [&] { return in_asio(count); },
        3);
    bench.compare_go(
        "a task that waits", "waiting", "bytes", [&] { return in_leat(count); }, count, 1, static_cast<double>(count),
        3);
    return bench.exit_code();
}
