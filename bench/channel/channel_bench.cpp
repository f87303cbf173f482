// Question: what does an item of 8 bytes cost that is sent through a channel of 1024, one at a time, from one producer to one
// consumer and from two to two, on one thread and on two?
//
// Ours: channel<T>, and spsc_channel between one and one; between tasks of a runtime of two workers (which may well keep two
// tasks on one of them: then that is its answer), between tasks of two event loops, and between plain threads.
// Peers: on one thread Boost.Asio's experimental channel, Boost.Fiber's buffered_channel, Go's channel, and a locked deque
// filled and drained by a plain loop, the least that a locked queue can cost. On two: Asio's concurrent channel on an
// io_context that two threads run, Boost.Fiber's with the producers in one thread and the consumers in another, Go on two
// processors; and, with a thread for each producer and each consumer, a careful queue of std::mutex and two condition
// variables, oneTBB's bounded queue, moodycamel's ConcurrentQueue, whose consumers spin, and BlockingConcurrentQueue, both
// without a bound. Bare rings that spin: kinds_bench.cpp.
// Not measured: other capacities, larger items and batches (matrix_bench.cpp), what the waiting side leaves to others
// meanwhile. A spinning peer does not do the same work: it takes a CPU whether there are items or not.
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <channel/queues.hpp>
#include <fmt/format.h>
#include <support/boost_fiber.hpp>
#include <support/tasks.hpp>

namespace {

using namespace bench;

std::uint64_t deque_in_a_loop(const traffic& all) {
    locked_queue queue(all.capacity);
    tally sum(all);
    for (std::uint64_t from = 0; from < all.count; from += all.capacity) {
        const std::uint64_t end = std::min<std::uint64_t>(all.count, from + all.capacity);
        for (std::uint64_t i = from; i < end; ++i) queue.push(small(i));
        for (std::uint64_t i = from; i < end; ++i) sum.add(queue.pop().number);
    }
    return sum.sum();
}

// Producers on one event loop, consumers on another.
template <class Kind>
std::uint64_t pass_between_loops(const traffic& all) {
    auto ends = Kind::make(all.capacity);
    std::uint64_t sum = 0;
    on_two_loops([&] { return produce_all<Kind>(std::move(ends.out), all, 1); },
                 [&] { return consume_all<Kind>(std::move(ends.in), all, 1, sum); });
    return sum;
}

namespace asio = boost::asio;

template <class Channel>
asio::awaitable<void> produce_in_asio(Channel& out, std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t i = first; i < first + count; ++i)
        co_await out.async_send(boost::system::error_code(), i, asio::use_awaitable);
}
template <class Channel>
asio::awaitable<void> consume_in_asio(Channel& in, traffic all, std::uint64_t& sum) {
    tally mine(all);
    for (std::uint64_t i = 0; i < all.count / all.consumers; ++i)
        mine.add(co_await in.async_receive(asio::use_awaitable));
    sum = mine.sum();
}
template <class Channel>
std::uint64_t in_asio(const traffic& all, int threads) {
    asio::io_context loop(threads);
    Channel items(loop, all.capacity);
    std::vector<std::uint64_t> sums(all.consumers);
    for (unsigned p = 0; p < all.producers; ++p)
        asio::co_spawn(loop, produce_in_asio(items, p * all.sent_by_each(), all.sent_by_each()), asio::detached);
    for (std::uint64_t& each : sums) asio::co_spawn(loop, consume_in_asio(items, all, each), asio::detached);
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back([&] { loop.run(); });
    loop.run();
    for (std::thread& each : others) each.join();
    return total(sums);
}
using message = void(boost::system::error_code, std::uint64_t);
std::uint64_t in_asio_on_one(const traffic& all) { return in_asio<asio::experimental::channel<message>>(all, 1); }
std::uint64_t in_asio_on_two(const traffic& all) {
    return in_asio<asio::experimental::concurrent_channel<message>>(all, 2);
}

#ifdef LEAT_BENCH_BOOST_FIBER
std::uint64_t in_boost_fibers(const traffic& all, bool two_threads) {
    boost::fibers::buffered_channel<small> items(all.capacity);
    std::vector<std::uint64_t> sums(all.consumers);
    const auto produce = [&] {
        std::vector<boost::fibers::fiber> fibers;
        for (unsigned p = 0; p < all.producers; ++p)
            fibers.emplace_back([&, first = p * all.sent_by_each()] {
                for (std::uint64_t i = first; i < first + all.sent_by_each(); ++i) items.push(small(i));
            });
        for (boost::fibers::fiber& each : fibers) each.join();
    };
    const auto consume = [&] {
        std::vector<boost::fibers::fiber> fibers;
        for (std::uint64_t& each : sums)
            fibers.emplace_back([&] {
                tally mine(all);
                for (std::uint64_t i = 0; i < all.count / all.consumers; ++i) mine.add(items.value_pop().number);
                each = mine.sum();
            });
        for (boost::fibers::fiber& each : fibers) each.join();
    };
    if (two_threads) {
        std::thread other(consume);
        produce();
        other.join();
    } else {
        boost::fibers::fiber other(consume);
        produce();
        other.join();
    }
    return total(sums);
}
std::uint64_t in_boost_fibers_on_one(const traffic& all) { return in_boost_fibers(all, false); }
std::uint64_t in_boost_fibers_on_two(const traffic& all) { return in_boost_fibers(all, true); }
#endif

using work = std::function<std::uint64_t(const traffic&)>;

class comparisons {
public:
    explicit comparisons(session& bench) : bench_(bench) {}

    void on_one_thread(const std::string& name, const work& ours, unsigned ends) {
        compare(name, "asio experimental channel", ours, in_asio_on_one, few_, ends);
        boost_fiber(name, ours, ends, false);
        go(name, ours, ends, 1);
        if (ends == 1) compare(name, "locked deque in a plain loop", ours, deque_in_a_loop, many_, ends);
    }
    void on_two_threads(const std::string& name, const work& ours, unsigned ends) {
        compare(name, "std::mutex + condition_variable", ours, between_threads<locked_queue>, many_, ends);
        compare(name, "oneTBB concurrent_bounded_queue", ours, between_threads<tbb_queue>, many_, ends);
#ifdef LEAT_BENCH_CONCURRENT_QUEUE
        compare(name, "moodycamel ConcurrentQueue", ours, between_threads<concurrent_queue>, many_, ends);
        compare(name, "moodycamel BlockingConcurrentQueue", ours, between_threads<blocking_concurrent_queue>, many_,
                ends);
#else
        bench_.skip(name.c_str(), "moodycamel ConcurrentQueue",
                    "libconcurrentqueue-dev was not there when this was built");
#endif
        compare(name, "asio concurrent_channel", ours, in_asio_on_two, few_, ends);
        boost_fiber(name, ours, ends, true);
        go(name, ours, ends, 2);
    }
    void compare(const std::string& name, const char* peer, const work& ours, const work& theirs, unsigned ends) {
        compare(name, peer, ours, theirs, many_, ends);
    }

private:
    static traffic from_each_to_each(std::uint64_t count, unsigned ends) {
        traffic all{count};
        all.producers = all.consumers = ends;
        return all;
    }
    static side passing(const work& body, std::uint64_t count, unsigned ends) {
        return per_unit(count, [body, all = from_each_to_each(count, ends)] { return body(all); });
    }
    void compare(const std::string& name, const char* peer, const work& ours, const work& theirs, std::uint64_t count,
                 unsigned ends) {
        bench_.compare(name.c_str(), peer, "ns/item", passing(ours, count, ends), passing(theirs, count, ends));
    }
    void boost_fiber(const std::string& name, const work& ours, unsigned ends, bool two_threads) {
        constexpr const char* peer = "Boost.Fiber buffered_channel";
#ifdef LEAT_BENCH_BOOST_FIBER
        compare(name, peer, ours, two_threads ? in_boost_fibers_on_two : in_boost_fibers_on_one, many_, ends);
#else
        (void)ours, (void)ends, (void)two_threads;
        bench_.skip(name.c_str(), peer, no_boost_fiber);
#endif
    }
    void go(const std::string& name, const work& ours, unsigned ends, unsigned processors) {
        bench_.compare_go(name.c_str(), ends == 1 ? "stream" : "streams", "ns/item", passing(ours, many_, ends), many_,
                          processors, static_cast<double>(many_));
    }

    session& bench_;
    std::uint64_t many_ = bench_.size(1'024'000, 10'240);
    std::uint64_t few_ = bench_.size(204'800, 10'240);
};

template <class Kind>
work on_runtime(leat::runtime& where) {
    return [&where](const traffic& all) {
        std::uint64_t sum = 0;
        where.run(pass<Kind>(all, 1, sum));
        return sum;
    };
}

}  // namespace

int main(int argc, char** argv) {
    session bench(argc, argv, "channel");
    comparisons all(bench);
    using shared = shared_kind<small>;
    using spsc = spsc_kind<small>;
    const auto one = leat::make_runtime(leat::run_options(1));
    const auto two = leat::make_runtime(leat::run_options(2));

    all.on_one_thread("channel 1x1, one thread", on_runtime<shared>(*one), 1);
    all.on_one_thread("spsc 1x1, one thread", on_runtime<spsc>(*one), 1);
    all.on_one_thread("channel 2x2, one thread", on_runtime<shared>(*one), 2);

    all.on_two_threads("channel 1x1, two workers", on_runtime<shared>(*two), 1);
    all.on_two_threads("spsc 1x1, two workers", on_runtime<spsc>(*two), 1);
    all.on_two_threads("channel 2x2, two workers", on_runtime<shared>(*two), 2);

    const auto against_locked = [&](const char* name, const work& ours, unsigned ends) {
        all.compare(name, "std::mutex + condition_variable", ours, between_threads<locked_queue>, ends);
    };
    against_locked("channel 1x1, two loops", pass_between_loops<shared>, 1);
    against_locked("spsc 1x1, two loops", pass_between_loops<spsc>, 1);
    against_locked("channel 2x2, two loops", pass_between_loops<shared>, 2);
    against_locked("channel 1x1, plain threads", between_threads<blocking_channel>, 1);
    against_locked("spsc 1x1, plain threads", between_threads<blocking_spsc>, 1);
    against_locked("channel 2x2, plain threads", between_threads<blocking_channel>, 2);
    return bench.exit_code();
}
