// Question: what does an item cost in the channel kinds beside channel<T>: alone and in batches, for several capacities and
// sizes, within one thread and between two, and what does a round trip cost?
//
// Peers: for spsc_channel a bare ring of two indices whose sides spin (the least that two threads can do, with a whole CPU each),
// channel<T>, Boost.Lockfree's ring and moodycamel's blocking ring, oneTBB's bounded queue, a queue of std::mutex and two
// condition variables, and for one thread channels of Boost.Fiber and Boost.Asio; for the others what one would write with
// a mutex, or the standard's future.
// Not measured: many ends (channel_bench.cpp has those of channel<T>), what the waiting side leaves to others meanwhile,
// latency under load. On fewer than two quiet CPUs the spinning peers measure the scheduler.
#include <array>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <queue>
#include <thread>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#include <leat/leat.hpp>
#include <support/bench.hpp>
#include <tbb/concurrent_queue.h>

#if __has_include(<boost/fiber/all.hpp>)
#    include <boost/fiber/all.hpp>
#    define LEAT_BENCH_BOOST_FIBER 1
#endif
#if __has_include(<readerwriterqueue/readerwritercircularbuffer.h>)
#    include <readerwriterqueue/readerwritercircularbuffer.h>
#    define LEAT_BENCH_MOODYCAMEL 1
#endif

namespace {

// An item of so many bytes, of which the first eight are its number.
template <std::size_t Bytes>
struct parcel {
    std::uint64_t number = 0;
    std::array<std::uint64_t, Bytes / 8 - 1> rest{};
    parcel() = default;
    explicit parcel(std::uint64_t value) noexcept : number(value) {}
};
template <>
struct parcel<8> {
    std::uint64_t number = 0;
    parcel() = default;
    explicit parcel(std::uint64_t value) noexcept : number(value) {}
};

// In order, or the sum differs.
std::uint64_t mix(std::uint64_t sum, std::uint64_t item) { return sum * 31 + item; }

constexpr std::size_t usual_capacity = 1024;
constexpr std::size_t batch = 64;

// --- In leat: a task that sends and one that receives ---

template <class Sender>
leat::task<> produce(Sender out, std::uint64_t count) {
    using item = parcel<8>;
    for (std::uint64_t i = 0; i < count; ++i) {
        auto sent = co_await out.send(item(i));
        if (!sent) co_return;
    }
}
template <class Receiver>
leat::task<> consume(Receiver in, std::uint64_t* sum) {
    while (auto item = co_await in.recv()) *sum = mix(*sum, item->number);
}
template <class T>
leat::task<> produce_sized(leat::spsc_sender<T> out, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        auto sent = co_await out.send(T(i));
        if (!sent) co_return;
    }
}
leat::task<> produce_batches(leat::spsc_sender<parcel<8>> out, std::uint64_t count) {
    std::array<parcel<8>, batch> items;
    for (std::uint64_t i = 0; i < count; i += batch) {
        for (std::size_t k = 0; k < batch; ++k) items[k].number = i + k;
        auto sent = co_await out.send_many(items);
        if (!sent) co_return;
    }
}
leat::task<> consume_batches(leat::spsc_receiver<parcel<8>> in, std::uint64_t* sum) {
    std::array<parcel<8>, batch> items;
    while (const auto got = co_await in.recv_many(items))
        for (std::size_t k = 0; k < *got; ++k) *sum = mix(*sum, items[k].number);
}

template <class T>
leat::task<> pass(std::uint64_t count, std::size_t capacity, std::uint64_t& sum) {
    auto ends = leat::spsc_channel<T>(capacity);
    leat::scope work;
    work.spawn(produce_sized<T>, std::move(ends.out), count);
    work.spawn(consume<leat::spsc_receiver<T>>, std::move(ends.in), &sum);
    co_await work.join();
}
leat::task<> pass_batches(std::uint64_t count, std::size_t capacity, std::uint64_t& sum) {
    auto ends = leat::spsc_channel<parcel<8>>(capacity);
    leat::scope work;
    work.spawn(produce_batches, std::move(ends.out), count);
    work.spawn(consume_batches, std::move(ends.in), &sum);
    co_await work.join();
}
leat::task<> pass_mpmc(std::uint64_t count, std::size_t capacity, std::uint64_t& sum) {
    auto ends = leat::channel<parcel<8>>(capacity);
    leat::scope work;
    work.spawn(produce<leat::sender<parcel<8>>>, std::move(ends.out), count);
    work.spawn(consume<leat::receiver<parcel<8>>>, std::move(ends.in), &sum);
    co_await work.join();
}

leat::task<> serve(leat::spsc_receiver<parcel<8>> in, leat::spsc_sender<parcel<8>> out) {
    while (auto item = co_await in.recv()) {
        auto sent = co_await out.send(parcel<8>(item->number + 1));
        if (!sent) co_return;
    }
}
leat::task<> ping_pong(std::uint64_t count, std::size_t, std::uint64_t& sum) {
    auto there = leat::spsc_channel<parcel<8>>(1);
    auto back = leat::spsc_channel<parcel<8>>(1);
    leat::scope work;
    work.spawn(serve, std::move(there.in), std::move(back.out));
    for (std::uint64_t i = 0; i < count; ++i) {
        (void)(co_await there.out.send(parcel<8>(i))).has_value();
        const auto item = co_await back.in.recv();
        sum = mix(sum, item->number);
    }
    there.out.reset();
    co_await work.join();
}

// --- Queues of plain threads ---

// The ring itself, without the possibility to wait: what a batch costs at least.
class bare_ring {
public:
    explicit bare_ring(std::size_t) {}
    void push(parcel<8> item) { push_many(&item, 1); }
    parcel<8> pop() {
        parcel<8> item;
        while (pop_many(&item, 1) == 0) {
        }
        return item;
    }
    void push_many(const parcel<8>* items, std::size_t count) {
        while (mine_.tail + count - mine_.head_seen > usual_capacity) {
            mine_.head_seen = head_.load(std::memory_order_acquire);
            if (mine_.tail + count - mine_.head_seen > usual_capacity) leat::env::pause();
        }
        for (std::size_t i = 0; i < count; ++i) slots_[(mine_.tail + i) % usual_capacity] = items[i];
        mine_.tail += count;
        tail_.store(mine_.tail, std::memory_order_release);
    }
    std::size_t pop_many(parcel<8>* items, std::size_t most) {
        if (yours_.tail_seen == yours_.head) {
            yours_.tail_seen = tail_.load(std::memory_order_acquire);
            if (yours_.tail_seen == yours_.head) {
                leat::env::pause();
                return 0;
            }
        }
        const std::size_t count = std::min<std::size_t>(most, yours_.tail_seen - yours_.head);
        for (std::size_t i = 0; i < count; ++i) items[i] = slots_[(yours_.head + i) % usual_capacity];
        yours_.head += count;
        head_.store(yours_.head, std::memory_order_release);
        return count;
    }

private:
    struct alignas(64) producer {
        std::uint64_t tail = 0, head_seen = 0;
    } mine_;
    struct alignas(64) consumer {
        std::uint64_t head = 0, tail_seen = 0;
    } yours_;
    alignas(64) std::atomic<std::uint64_t> tail_{0};
    alignas(64) std::atomic<std::uint64_t> head_{0};
    alignas(64) std::array<parcel<8>, usual_capacity> slots_;
};

class lockfree_ring {
public:
    explicit lockfree_ring(std::size_t capacity) : items_(capacity) {}
    void push(parcel<8> item) {
        while (!items_.push(item)) leat::env::pause();
    }
    parcel<8> pop() {
        parcel<8> item;
        while (!items_.pop(item)) leat::env::pause();
        return item;
    }

private:
    boost::lockfree::spsc_queue<parcel<8>> items_;
};

class tbb_queue {
public:
    explicit tbb_queue(std::size_t capacity) { items_.set_capacity(static_cast<std::ptrdiff_t>(capacity)); }
    void push(parcel<8> item) { items_.push(item); }
    parcel<8> pop() {
        parcel<8> item;
        items_.pop(item);
        return item;
    }

private:
    tbb::concurrent_bounded_queue<parcel<8>> items_;
};

class locked_queue {
public:
    explicit locked_queue(std::size_t capacity) : capacity_(capacity) {}
    void push(parcel<8> item) {
        std::unique_lock held(lock_);
        not_full_.wait(held, [&] { return items_.size() < capacity_; });
        items_.push_back(item);
        held.unlock();
        not_empty_.notify_one();
    }
    parcel<8> pop() {
        std::unique_lock held(lock_);
        not_empty_.wait(held, [&] { return !items_.empty(); });
        const parcel<8> item = items_.front();
        items_.pop_front();
        held.unlock();
        not_full_.notify_one();
        return item;
    }

private:
    std::size_t capacity_;
    std::mutex lock_;
    std::condition_variable not_full_, not_empty_;
    std::deque<parcel<8>> items_;
};

#ifdef LEAT_BENCH_MOODYCAMEL
class moodycamel_ring {
public:
    explicit moodycamel_ring(std::size_t capacity) : items_(capacity) {}
    void push(parcel<8> item) { items_.wait_enqueue(item); }
    parcel<8> pop() {
        parcel<8> item;
        items_.wait_dequeue(item);
        return item;
    }

private:
    moodycamel::BlockingReaderWriterCircularBuffer<parcel<8>> items_;
};
#endif

// leat's, on plain threads.
class blocking_ends {
public:
    explicit blocking_ends(std::size_t capacity) : ends_(leat::spsc_channel<parcel<8>>(capacity)) {}
    void push(parcel<8> item) { (void)ends_.out.blocking_send(item).has_value(); }
    parcel<8> pop() { return *ends_.in.blocking_recv(); }

private:
    leat::spsc_ends<parcel<8>> ends_;
};

template <class Queue>
std::uint64_t between_threads(std::uint64_t count, std::size_t capacity) {
    Queue queue(capacity);
    std::uint64_t sum = 0;
    std::thread consumer([&] {
        for (std::uint64_t i = 0; i < count; ++i) sum = mix(sum, queue.pop().number);
    });
    for (std::uint64_t i = 0; i < count; ++i) queue.push(parcel<8>(i));
    consumer.join();
    return sum;
}
template <class Queue>
std::uint64_t ping_pong_between_threads(std::uint64_t count, std::size_t) {
    Queue there(1), back(1);
    std::uint64_t sum = 0;
    std::thread server([&] {
        for (std::uint64_t i = 0; i < count; ++i) back.push(parcel<8>(there.pop().number + 1));
    });
    for (std::uint64_t i = 0; i < count; ++i) {
        there.push(parcel<8>(i));
        sum = mix(sum, back.pop().number);
    }
    server.join();
    return sum;
}
std::uint64_t batches_in_bare_ring(std::uint64_t count, std::size_t capacity) {
    const auto ring = std::make_unique<bare_ring>(capacity);
    std::uint64_t sum = 0;
    std::thread consumer([&] {
        std::array<parcel<8>, batch> items;
        for (std::uint64_t i = 0; i < count;) {
            const std::size_t got = ring->pop_many(items.data(), batch);
            for (std::size_t k = 0; k < got; ++k) sum = mix(sum, items[k].number);
            i += got;
        }
    });
    std::array<parcel<8>, batch> items;
    for (std::uint64_t i = 0; i < count; i += batch) {
        for (std::size_t k = 0; k < batch; ++k) items[k].number = i + k;
        ring->push_many(items.data(), batch);
    }
    consumer.join();
    return sum;
}
std::uint64_t batches_between_threads(std::uint64_t count, std::size_t capacity) {
    auto ends = leat::spsc_channel<parcel<8>>(capacity);
    std::uint64_t sum = 0;
    std::thread consumer([&] {
        std::array<parcel<8>, batch> items;
        for (std::uint64_t i = 0; i < count;) {
            const std::size_t got = *ends.in.blocking_recv_many(items);
            for (std::size_t k = 0; k < got; ++k) sum = mix(sum, items[k].number);
            i += got;
        }
    });
    std::array<parcel<8>, batch> items;
    for (std::uint64_t i = 0; i < count; i += batch) {
        for (std::size_t k = 0; k < batch; ++k) items[k].number = i + k;
        (void)ends.out.blocking_send_many(items).has_value();
    }
    consumer.join();
    return sum;
}

// --- Others within one thread ---

#ifdef LEAT_BENCH_BOOST_FIBER
std::uint64_t in_boost_fibers(std::uint64_t count, std::size_t capacity) {
    boost::fibers::buffered_channel<parcel<8>> items(capacity);
    std::uint64_t sum = 0;
    boost::fibers::fiber consumer([&] {
        for (const parcel<8>& item : items) sum = mix(sum, item.number);
    });
    for (std::uint64_t i = 0; i < count; ++i) items.push(parcel<8>(i));
    items.close();
    consumer.join();
    return sum;
}
#endif

using asio_channel = boost::asio::experimental::channel<void(boost::system::error_code, std::uint64_t)>;

boost::asio::awaitable<void> asio_produce(asio_channel& out, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i)
        co_await out.async_send(boost::system::error_code(), i, boost::asio::use_awaitable);
}
boost::asio::awaitable<void> asio_consume(asio_channel& in, std::uint64_t count, std::uint64_t& sum) {
    for (std::uint64_t i = 0; i < count; ++i) sum = mix(sum, co_await in.async_receive(boost::asio::use_awaitable));
}
std::uint64_t in_asio(std::uint64_t count, std::size_t capacity) {
    boost::asio::io_context loop(1);
    asio_channel items(loop, capacity);
    std::uint64_t sum = 0;
    boost::asio::co_spawn(loop, asio_produce(items, count), boost::asio::detached);
    boost::asio::co_spawn(loop, asio_consume(items, count, sum), boost::asio::detached);
    loop.run();
    return sum;
}

// --- The other kinds, each against what one would write with a mutex; one thread, nobody waits ---

std::uint64_t oneshots(std::uint64_t count, std::size_t) {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        auto ends = leat::oneshot<std::uint64_t>();
        (void)std::move(ends.out).send(i).has_value();
        sum = mix(sum, *ends.in.try_recv());
    }
    return sum;
}
std::uint64_t futures(std::uint64_t count, std::size_t) {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        std::promise<std::uint64_t> out;
        auto in = out.get_future();
        out.set_value(i);
        sum = mix(sum, in.get());
    }
    return sum;
}

std::uint64_t broadcasts(std::uint64_t count, std::size_t capacity) {
    auto ends = leat::broadcast<std::uint64_t>(capacity);
    std::array receivers{ends.in, ends.in, ends.in, std::move(ends.in)};
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        (void)ends.out.send(i).has_value();
        for (auto& each : receivers) sum = mix(sum, *each.try_recv());
    }
    return sum;
}
std::uint64_t four_locked_deques(std::uint64_t count, std::size_t capacity) {
    std::deque<locked_queue> queues;
    for (int i = 0; i < 4; ++i) queues.emplace_back(capacity);
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        for (auto& each : queues) each.push(parcel<8>(i));
        for (auto& each : queues) sum = mix(sum, each.pop().number);
    }
    return sum;
}

std::uint64_t watches(std::uint64_t count, std::size_t) {
    auto ends = leat::watch<std::uint64_t>(0);
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        ends.out.send(i);
        if (ends.in.try_changed()) sum = mix(sum, *ends.in.borrow());
    }
    return sum;
}
std::uint64_t locked_shared_ptr(std::uint64_t count, std::size_t) {
    std::mutex lock;
    std::shared_ptr<const std::uint64_t> latest;
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        auto next = std::make_shared<const std::uint64_t>(i);
        {
            const std::lock_guard held(lock);
            latest.swap(next);
        }
        const std::lock_guard held(lock);
        const std::shared_ptr<const std::uint64_t> seen = latest;
        sum = mix(sum, *seen);
    }
    return sum;
}

// A full queue of `capacity`; each step takes the highest and sends another.
std::uint64_t priorities(std::uint64_t count, std::size_t capacity) {
    auto ends = leat::priority_channel<std::uint64_t>(capacity);
    for (std::size_t i = 0; i < capacity; ++i) (void)ends.out.try_send(bench::spin(i, 1)).has_value();
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t highest = *ends.in.try_recv();
        sum = mix(sum, highest);
        (void)ends.out.try_send(bench::spin(highest, 1)).has_value();
    }
    return sum;
}
std::uint64_t locked_priority_queue(std::uint64_t count, std::size_t capacity) {
    std::mutex lock;
    std::priority_queue<std::uint64_t> items;
    for (std::size_t i = 0; i < capacity; ++i) items.push(bench::spin(i, 1));
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        std::uint64_t highest = 0;
        {
            const std::lock_guard held(lock);
            highest = items.top();
            items.pop();
        }
        sum = mix(sum, highest);
        const std::lock_guard held(lock);
        items.push(bench::spin(highest, 1));
    }
    return sum;
}

using work = std::function<std::uint64_t(std::uint64_t count, std::size_t capacity)>;

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "kinds");
    const std::uint64_t many = bench.size(4'000'000, 6'400);
    const std::uint64_t few = bench.size(200'000, 1'000);
    const auto side = [](const work& body, std::uint64_t count, std::size_t capacity) {
        return [body, count, capacity] {
            std::uint64_t sum = 0;
            const double time = bench::nanoseconds_of([&] { sum = body(count, capacity); });
            return bench::sample{time / static_cast<double>(count), sum};
        };
    };
    const auto two = leat::make_runtime(leat::run_options(2));
    const auto one = leat::make_runtime(leat::run_options(1));
    const auto on = [](leat::runtime& where, auto program) -> work {
        return [&where, program](std::uint64_t count, std::size_t capacity) {
            std::uint64_t sum = 0;
            where.run(program(count, capacity, sum));
            return sum;
        };
    };
    const auto compare = [&](const char* name, const char* peer, const work& ours, const work& theirs,
                             std::uint64_t count, std::size_t capacity = usual_capacity) {
        bench.compare(name, peer, "ns/item", side(ours, count, capacity), side(theirs, count, capacity));
    };
    const work item_on_one = on(*one, pass<parcel<8>>);
    const work item_on_two = on(*two, pass<parcel<8>>);
    const work item_on_threads = between_threads<blocking_ends>;

    compare("spsc, one thread", "leat channel", item_on_one, on(*one, pass_mpmc), many);
    compare("spsc, one thread", "asio experimental channel", item_on_one, in_asio, few);
#ifdef LEAT_BENCH_BOOST_FIBER
    compare("spsc, one thread", "Boost.Fiber buffered_channel", item_on_one, in_boost_fibers, many);
#else
    bench.skip("spsc, one thread", "Boost.Fiber buffered_channel", "libboost-fiber1.81-dev is not installed");
#endif
    compare("spsc, one thread, batches", "single items", on(*one, pass_batches), item_on_one, many);
    compare("spsc, two workers", "leat channel", item_on_two, on(*two, pass_mpmc), many);
    compare("spsc, two workers", "bare ring, spinning threads", item_on_two, between_threads<bare_ring>, many);
    compare("spsc, two workers, batches", "bare ring, batches, spinning", on(*two, pass_batches), batches_in_bare_ring,
            many);

    compare("spsc, two threads", "bare ring, spinning", item_on_threads, between_threads<bare_ring>, many);
    compare("spsc, two threads", "Boost.Lockfree spsc_queue, spinning", item_on_threads, between_threads<lockfree_ring>,
            many);
#ifdef LEAT_BENCH_MOODYCAMEL
    compare("spsc, two threads", "moodycamel blocking ring", item_on_threads, between_threads<moodycamel_ring>, many);
#else
    bench.skip("spsc, two threads", "moodycamel blocking ring", "libreaderwriterqueue-dev is not installed");
#endif
    compare("spsc, two threads", "oneTBB concurrent_bounded_queue", item_on_threads, between_threads<tbb_queue>, many);
    compare("spsc, two threads", "std::mutex + condition_variable", item_on_threads, between_threads<locked_queue>,
            many);
    compare("spsc, two threads, batches", "bare ring, batches, spinning", batches_between_threads, batches_in_bare_ring,
            many);

    compare("spsc, capacity 16", "oneTBB, capacity 16", item_on_two, between_threads<tbb_queue>, many, 16);
    compare("spsc, capacity 65536", "oneTBB, capacity 65536", item_on_two, between_threads<tbb_queue>, many, 65536);
    compare("spsc, 64 bytes", "8 bytes", on(*two, pass<parcel<64>>), item_on_two, many);
    compare("spsc, 256 bytes", "8 bytes", on(*two, pass<parcel<256>>), item_on_two, many);

    compare("round trip, one worker", "std::mutex + condition_variable", on(*one, ping_pong),
            ping_pong_between_threads<locked_queue>, few);
    compare("round trip, two workers", "oneTBB, two threads", on(*two, ping_pong), ping_pong_between_threads<tbb_queue>,
            few);
    compare("round trip, two threads", "oneTBB, two threads", ping_pong_between_threads<blocking_ends>,
            ping_pong_between_threads<tbb_queue>, few);

    compare("oneshot", "std::promise and future", oneshots, futures, few);
    compare("broadcast to four", "four locked deques", broadcasts, four_locked_deques, few);
    compare("watch", "shared_ptr under a std::mutex", watches, locked_shared_ptr, few);
    compare("priority_channel", "priority_queue under a std::mutex", priorities, locked_priority_queue, few);
    return bench.exit_code();
}
