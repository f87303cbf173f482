// Question: what does it cost to pass an int from one producer to one consumer through a channel of 1024, on two threads
// and within one? (The runtime of two threads may well keep both tasks on one of them: then that is its answer.)
//
// Peers: a careful queue of std::mutex and two condition variables (it notifies only who waits, and outside the lock) and
// oneTBB's bounded queue, both between two threads; for one thread, that same queue filled and drained by a plain loop, the
// least that a locked queue can cost.
// Not measured: many ends, other capacities, large items, latency of a single item, what the waiting side does meanwhile.
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include <leat/leat.hpp>
#include <support/bench.hpp>
#include <tbb/concurrent_queue.h>

namespace {

constexpr std::size_t capacity = 1024;

// In order, or the sum differs.
std::uint64_t mix(std::uint64_t sum, int item) { return sum * 31 + static_cast<std::uint64_t>(item); }

leat::task<> produce(leat::sender<int> out, int count) {
    for (int i = 0; i < count; ++i) {
        auto sent = co_await out.send(i);
        if (!sent) co_return;
    }
}

leat::task<> consume(leat::receiver<int> in, std::uint64_t* sum) {
    while (auto item = co_await in.recv()) *sum = mix(*sum, *item);
}

leat::task<> pass(int count, std::uint64_t& sum) {
    auto ends = leat::channel<int>(capacity);
    leat::scope work;
    work.spawn(produce, std::move(ends.out), count);
    work.spawn(consume, std::move(ends.in), &sum);
    co_await work.join();
}

class locked_queue {
public:
    void push(int item) {
        bool waited = false;
        {
            std::unique_lock held(lock_);
            while (items_.size() == capacity) wait(held, not_full_, full_waiters_);
            items_.push_back(item);
            waited = empty_waiters_ != 0;
        }
        if (waited) not_empty_.notify_one();
    }
    int pop() {
        int item = 0;
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
    std::mutex lock_;
    std::condition_variable not_full_;
    std::condition_variable not_empty_;
    int full_waiters_ = 0;
    int empty_waiters_ = 0;
    std::deque<int> items_;
};

class tbb_queue {
public:
    tbb_queue() { items_.set_capacity(capacity); }
    void push(int item) { items_.push(item); }
    int pop() {
        int item = 0;
        items_.pop(item);
        return item;
    }

private:
    tbb::concurrent_bounded_queue<int> items_;
};

template <class Queue>
std::uint64_t pass_between_threads(int count) {
    Queue queue;
    std::uint64_t sum = 0;
    std::thread consumer([&] {
        for (int i = 0; i < count; ++i) sum = mix(sum, queue.pop());
    });
    for (int i = 0; i < count; ++i) queue.push(i);
    consumer.join();
    return sum;
}

std::uint64_t pass_in_a_loop(int count) {
    locked_queue queue;
    std::uint64_t sum = 0;
    for (int from = 0; from < count; from += static_cast<int>(capacity)) {
        const int end = std::min(count, from + static_cast<int>(capacity));
        for (int i = from; i < end; ++i) queue.push(i);
        for (int i = from; i < end; ++i) sum = mix(sum, queue.pop());
    }
    return sum;
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "channel");
    const int count = static_cast<int>(bench.size(1'000'000, 10'000));
    const auto per_item = [&](auto work) {
        return [work, count] {
            std::uint64_t sum = 0;
            const double time = bench::nanoseconds_of([&] { sum = work(count); });
            return bench::sample{time / count, sum};
        };
    };
    const auto on = [](leat::runtime& where) {
        return [&where](int items) {
            std::uint64_t sum = 0;
            where.run(pass(items, sum));
            return sum;
        };
    };
    const auto two = leat::make_runtime(leat::run_options(2));
    const auto one = leat::make_runtime(leat::run_options(1));
    bench.compare("two threads", "std::mutex + condition_variable", "ns/item", per_item(on(*two)),
                  per_item(pass_between_threads<locked_queue>));
    bench.compare("two threads", "oneTBB concurrent_bounded_queue", "ns/item", per_item(on(*two)),
                  per_item(pass_between_threads<tbb_queue>));
    bench.compare("one thread", "locked deque in a plain loop", "ns/item", per_item(on(*one)),
                  per_item(pass_in_a_loop));
    return bench.exit_code();
}
