// Queues between plain threads: the peers of channels, and leat's own as threads see them. Each has out() and in(), what one
// producer has and one consumer; those push() and pop(), which wait.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

#include <boost/lockfree/spsc_queue.hpp>
#include <channel/traffic.hpp>
#include <tbb/concurrent_queue.h>

#if __has_include(<concurrentqueue/blockingconcurrentqueue.h>)
#    include <concurrentqueue/blockingconcurrentqueue.h>
#    define LEAT_BENCH_CONCURRENT_QUEUE 1
#endif
#if __has_include(<readerwriterqueue/readerwritercircularbuffer.h>)
#    include <readerwriterqueue/readerwritercircularbuffer.h>
#    define LEAT_BENCH_READER_WRITER_QUEUE 1
#endif

namespace bench {

using small = parcel<8>;

// Where all use the queue itself.
template <class Self>
struct one_for_all {
    Self& out() noexcept { return static_cast<Self&>(*this); }
    Self& in() noexcept { return static_cast<Self&>(*this); }
};

// std::mutex and two condition variables, with care: it notifies only who waits, and outside the lock.
class locked_queue : public one_for_all<locked_queue> {
public:
    explicit locked_queue(std::size_t capacity) : capacity_(capacity) {}
    void push(small item) {
        bool waited = false;
        {
            std::unique_lock held(lock_);
            while (items_.size() == capacity_) wait(held, not_full_, full_waiters_);
            items_.push_back(item);
            waited = empty_waiters_ != 0;
        }
        if (waited) not_empty_.notify_one();
    }
    small pop() {
        small item;
        bool waited = false;
        {
            std::unique_lock held(lock_);
            while (items_.empty()) wait(held, not_empty_, empty_waiters_);
            item = items_.front();
            items_.pop_front();
            waited = full_waiters_ != 0;
        }
        if (waited) not_full_.notify_one();
        return item;
    }

private:
    static void wait(std::unique_lock<std::mutex>& held, std::condition_variable& until, int& waiters) {
        ++waiters;
        until.wait(held);
        --waiters;
    }
    std::size_t capacity_;
    std::mutex lock_;
    std::condition_variable not_full_;
    std::condition_variable not_empty_;
    int full_waiters_ = 0;
    int empty_waiters_ = 0;
    std::deque<small> items_;
};

class tbb_queue : public one_for_all<tbb_queue> {
public:
    explicit tbb_queue(std::size_t capacity) { items_.set_capacity(static_cast<std::ptrdiff_t>(capacity)); }
    void push(small item) { items_.push(item); }
    small pop() {
        small item;
        items_.pop(item);
        return item;
    }

private:
    tbb::concurrent_bounded_queue<small> items_;
};

#ifdef LEAT_BENCH_CONCURRENT_QUEUE
// moodycamel's, which have no bound: a producer never waits. With the tokens that their manual recommends. Who finds nothing
// in the plain one looks again, and gives its CPU away now and then.
template <class Queue>
class moodycamel_queue {
public:
    explicit moodycamel_queue(std::size_t capacity) : items_(capacity) {}
    class producer {
    public:
        explicit producer(Queue& items) : items_(items), token_(items) {}
        void push(small item) { items_.enqueue(token_, item); }

    private:
        Queue& items_;
        moodycamel::ProducerToken token_;
    };
    class consumer {
    public:
        explicit consumer(Queue& items) : items_(items), token_(items) {}
        small pop() {
            small item;
            if constexpr (std::is_same_v<Queue, moodycamel::BlockingConcurrentQueue<small>>) {
                items_.wait_dequeue(token_, item);
            } else {
                for (unsigned looks = 1; !items_.try_dequeue(token_, item); ++looks) {
                    if (looks % 64 == 0) std::this_thread::yield();
                    else leat::env::pause();
                }
            }
            return item;
        }

    private:
        Queue& items_;
        moodycamel::ConsumerToken token_;
    };
    producer out() { return producer(items_); }
    consumer in() { return consumer(items_); }

private:
    Queue items_;
};
using concurrent_queue = moodycamel_queue<moodycamel::ConcurrentQueue<small>>;
using blocking_concurrent_queue = moodycamel_queue<moodycamel::BlockingConcurrentQueue<small>>;
#endif

#ifdef LEAT_BENCH_READER_WRITER_QUEUE
class moodycamel_ring : public one_for_all<moodycamel_ring> {
public:
    explicit moodycamel_ring(std::size_t capacity) : items_(capacity) {}
    void push(small item) { items_.wait_enqueue(item); }
    small pop() {
        small item;
        items_.wait_dequeue(item);
        return item;
    }

private:
    moodycamel::BlockingReaderWriterCircularBuffer<small> items_;
};
#endif

class lockfree_ring : public one_for_all<lockfree_ring> {
public:
    explicit lockfree_ring(std::size_t capacity) : items_(capacity) {}
    void push(small item) {
        while (!items_.push(item)) leat::env::pause();
    }
    small pop() {
        small item;
        while (!items_.pop(item)) leat::env::pause();
        return item;
    }

private:
    boost::lockfree::spsc_queue<small> items_;
};

// Two indices and no possibility to wait: the least that two threads can do, and what a batch costs at least.
class bare_ring : public one_for_all<bare_ring> {
public:
    static constexpr std::size_t capacity = 1024;
    explicit bare_ring(std::size_t /* always `capacity` */) {}
    void push(small item) { push_many({&item, 1}); }
    small pop() {
        small item;
        while (pop_many({&item, 1}) == 0) {
        }
        return item;
    }
    void push_many(std::span<const small> items) {
        const std::size_t count = items.size();
        while (mine_.tail + count - mine_.head_seen > capacity) {
            mine_.head_seen = head_.load(std::memory_order_acquire);
            if (mine_.tail + count - mine_.head_seen > capacity) leat::env::pause();
        }
        for (std::size_t i = 0; i < count; ++i) slots_[(mine_.tail + i) % capacity] = items[i];
        mine_.tail += count;
        tail_.store(mine_.tail, std::memory_order_release);
    }
    std::size_t pop_many(std::span<small> items) {
        if (yours_.tail_seen == yours_.head) {
            yours_.tail_seen = tail_.load(std::memory_order_acquire);
            if (yours_.tail_seen == yours_.head) {
                leat::env::pause();
                return 0;
            }
        }
        const std::size_t count = std::min<std::size_t>(items.size(), yours_.tail_seen - yours_.head);
        for (std::size_t i = 0; i < count; ++i) items[i] = slots_[(yours_.head + i) % capacity];
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
    alignas(64) std::array<small, capacity> slots_;
};

// leat's, on plain threads. One thread alone uses each end of the first.
class blocking_spsc : public one_for_all<blocking_spsc> {
public:
    explicit blocking_spsc(std::size_t capacity) : ends_(leat::spsc_channel<small>(capacity)) {}
    void push(small item) { (void)ends_.out.blocking_send(item).has_value(); }
    small pop() { return *ends_.in.blocking_recv(); }
    void push_many(std::span<small> items) { (void)ends_.out.blocking_send_many(items).has_value(); }
    std::size_t pop_many(std::span<small> items) { return *ends_.in.blocking_recv_many(items); }

private:
    leat::spsc_ends<small> ends_;
};
class blocking_channel : public one_for_all<blocking_channel> {
public:
    explicit blocking_channel(std::size_t capacity) : ends_(leat::channel<small>(capacity)) {}
    void push(small item) { (void)ends_.out.blocking_send(item).has_value(); }
    small pop() { return *ends_.in.blocking_recv(); }

private:
    leat::channel_ends<small> ends_;
};

// A thread for each producer and consumer, the first of which is this one.
template <class Queue>
std::uint64_t between_threads(const traffic& all) {
    const auto queue = std::make_unique<Queue>(all.capacity);
    std::vector<std::uint64_t> sums(all.consumers);
    const auto produce = [&](unsigned which) {
        auto&& out = queue->out();
        const std::uint64_t first = which * all.sent_by_each();
        for (std::uint64_t i = first; i < first + all.sent_by_each(); ++i) out.push(small(i));
    };
    const auto consume = [&](unsigned which) {
        auto&& in = queue->in();
        tally mine(all);
        for (std::uint64_t i = 0; i < all.count / all.consumers; ++i) mine.add(in.pop().number);
        sums[which] = mine.sum();
    };
    std::vector<std::thread> others;
    for (unsigned c = 0; c < all.consumers; ++c) others.emplace_back(consume, c);
    for (unsigned p = 1; p < all.producers; ++p) others.emplace_back(produce, p);
    produce(0);
    for (std::thread& each : others) each.join();
    return total(sums);
}

}  // namespace bench
