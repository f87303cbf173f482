// Question: how long is a number on its way to another task and back, on one thread and across two?
//
// Ours: two spsc channels with room for one, and two channels without room (rendezvous); on one thread between two tasks of an
// event loop; across two threads between tasks of two event loops, and between plain threads; and on a runtime of two workers,
// which decides for itself whether to use the second.
// Peers: on one thread Boost.Asio's experimental channel and Boost.Fiber's unbuffered_channel; on two Asio's concurrent channel
// between two io_contexts, a queue of std::mutex and two condition variables with room for one, and oneTBB's bounded queue;
// Go's channel without room, on one processor, and on two: with a thread for each side, and where Go decides for itself.
// Not measured: a partner that is surely asleep (wake_bench.cpp); how much CPU is used while one waits. Across two threads
// whoever looks on for a while before he sleeps gains, as long as two CPUs are free: on a loaded machine these rows say how
// fast it puts threads to sleep and wakes them.
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <channel/queues.hpp>
#include <support/boost_fiber.hpp>
#include <support/tasks.hpp>

namespace {

using namespace bench;

std::uint64_t mix(std::uint64_t sum, std::uint64_t answer) { return sum * 31 + answer; }

// --- In leat: who asks, and who answers ---

template <class Sender, class Receiver>
leat::task<> answer(Receiver from, Sender to) {
    while (auto item = co_await from.recv()) {
        auto sent = co_await to.send(*item ^ 1U);
        if (!sent) co_return;
    }
}
template <class Sender, class Receiver>
leat::task<> ask(Sender to, Receiver from, std::uint64_t count, std::uint64_t& sum) {
    for (std::uint64_t i = 0; i < count; ++i) {
        auto sent = co_await to.send(i);
        if (!sent) co_return;
        auto item = co_await from.recv();
        sum = mix(sum, *item);
    }
}

struct spsc_of_one {
    static auto make() { return leat::spsc_channel<std::uint64_t>(1); }
};
struct rendezvous {
    static auto make() { return leat::channel<std::uint64_t>(0); }
};

template <class Kind>
leat::task<> in_one_runtime(std::uint64_t count, std::uint64_t& sum) {
    auto [question, asked] = Kind::make();
    auto [answers, answered] = Kind::make();
    using sender = decltype(question);
    using receiver = decltype(asked);
    leat::scope work;
    work.spawn(answer<sender, receiver>, std::move(asked), std::move(answers));
    work.spawn(ask<sender, receiver>, std::move(question), std::move(answered), count, std::ref(sum));
    co_await work.join();
}

template <class Kind>
std::uint64_t between_two_loops(std::uint64_t count) {
    auto there = Kind::make();
    auto back = Kind::make();
    using sender = decltype(there.out);
    using receiver = decltype(there.in);
    std::uint64_t sum = 0;
    on_two_loops([&] { return ask<sender, receiver>(std::move(there.out), std::move(back.in), count, sum); },
                 [&] { return answer<sender, receiver>(std::move(there.in), std::move(back.out)); });
    return sum;
}

// --- Peers ---

template <class Queue>
std::uint64_t between_two_threads(std::uint64_t count) {
    Queue there(1);
    Queue back(1);
    std::thread other([&] {
        for (std::uint64_t i = 0; i < count; ++i) back.push(small(there.pop().number ^ 1U));
    });
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        there.push(small(i));
        sum = mix(sum, back.pop().number);
    }
    other.join();
    return sum;
}

namespace asio = boost::asio;

template <class Channel>
asio::awaitable<void> ask_in_asio(Channel& to, Channel& from, std::uint64_t count, std::uint64_t& sum) {
    for (std::uint64_t i = 0; i < count; ++i) {
        co_await to.async_send(boost::system::error_code(), i, asio::use_awaitable);
        sum = mix(sum, co_await from.async_receive(asio::use_awaitable));
    }
}
template <class Channel>
asio::awaitable<void> answer_in_asio(Channel& from, Channel& to, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t value = co_await from.async_receive(asio::use_awaitable);
        co_await to.async_send(boost::system::error_code(), value ^ 1U, asio::use_awaitable);
    }
}
using message = void(boost::system::error_code, std::uint64_t);

std::uint64_t in_asio(std::uint64_t count) {
    using channel = asio::experimental::channel<message>;
    asio::io_context loop(1);
    channel there(loop, 0);
    channel back(loop, 0);
    std::uint64_t sum = 0;
    asio::co_spawn(loop, ask_in_asio(there, back, count, sum), asio::detached);
    asio::co_spawn(loop, answer_in_asio(there, back, count), asio::detached);
    loop.run();
    return sum;
}
std::uint64_t between_two_asio_loops(std::uint64_t count) {
    using channel = asio::experimental::concurrent_channel<message>;
    asio::io_context here;
    asio::io_context yonder;
    channel there(yonder, 0);
    channel back(here, 0);
    std::uint64_t sum = 0;
    asio::co_spawn(here, ask_in_asio(there, back, count, sum), asio::detached);
    asio::co_spawn(yonder, answer_in_asio(there, back, count), asio::detached);
    std::thread other([&] { yonder.run(); });
    here.run();
    other.join();
    return sum;
}

#ifdef LEAT_BENCH_BOOST_FIBER
std::uint64_t in_boost_fibers(std::uint64_t count) {
    boost::fibers::unbuffered_channel<std::uint64_t> there;
    boost::fibers::unbuffered_channel<std::uint64_t> back;
    boost::fibers::fiber other([&] {
        for (const std::uint64_t value : there) back.push(value ^ 1U);
    });
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        there.push(i);
        sum = mix(sum, back.value_pop());
    }
    there.close();
    other.join();
    return sum;
}
#endif

}  // namespace

int main(int argc, char** argv) {
    session bench(argc, argv, "ping_pong");
    const auto one = leat::make_runtime(leat::run_options(1));
    const auto two = leat::make_runtime(leat::run_options(2));
    const std::uint64_t near = bench.size(300'000, 1'000);
    const std::uint64_t far = bench.size(10'000, 100);
    constexpr unsigned rounds_of_far = 5;

    const auto on_one_thread = [&](const char* name, const auto& program) {
        const side ours = per_unit(near, on(*one, program));
        bench.compare(name, "asio experimental channel", "ns/trip", ours, per_unit(near, in_asio));
#ifdef LEAT_BENCH_BOOST_FIBER
        bench.compare(name, "Boost.Fiber unbuffered_channel", "ns/trip", ours, per_unit(near, in_boost_fibers));
#else
        bench.skip(name, "Boost.Fiber unbuffered_channel", no_boost_fiber);
#endif
        bench.compare_go(name, "pingpong", "ns/trip", ours, near, 1, static_cast<double>(near));
    };
    on_one_thread("one thread, spsc", in_one_runtime<spsc_of_one>);
    on_one_thread("one thread, rendezvous", in_one_runtime<rendezvous>);

    const auto across = [&](const char* name, const auto& work) {
        const side ours = per_unit(far, work);
        const auto compare = [&](const char* peer, const auto& theirs) {
            bench.compare(name, peer, "ns/trip", ours, per_unit(far, theirs), rounds_of_far);
        };
        compare("std::mutex + condition_variable", between_two_threads<locked_queue>);
        compare("oneTBB concurrent_bounded_queue", between_two_threads<tbb_queue>);
        compare("asio concurrent_channel", between_two_asio_loops);
        bench.compare_go(name, "pingpong of threads", "ns/trip", ours, far, 2, static_cast<double>(far), rounds_of_far);
    };
    across("two loops, spsc", between_two_loops<spsc_of_one>);
    across("two loops, rendezvous", between_two_loops<rendezvous>);
    across("plain threads, spsc", between_two_threads<blocking_spsc>);

    const auto of_the_pool = [&](const char* name, const auto& program) {
        const side ours = per_unit(far, on(*two, program));
        bench.compare(name, "std::mutex + condition_variable", "ns/trip", ours,
                      per_unit(far, between_two_threads<locked_queue>), rounds_of_far);
        bench.compare_go(name, "pingpong", "ns/trip", ours, far, 2, static_cast<double>(far), rounds_of_far);
    };
    of_the_pool("two workers, spsc", in_one_runtime<spsc_of_one>);
    of_the_pool("two workers, rendezvous", in_one_runtime<rendezvous>);
    return bench.exit_code();
}
