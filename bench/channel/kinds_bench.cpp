// Question: what does an item cost in the channel kinds beside channel<T>: in an spsc_channel alone and in batches, within one
// thread and between two; in the others when nobody waits?
//
// Peers: for spsc_channel a bare ring of two indices whose sides spin (the least that two threads can do, with a whole CPU each),
// channel<T>, Boost.Lockfree's ring and moodycamel's blocking ring; for the others what one would write with a mutex, or the
// standard's future.
// Not measured: queues for many (channel_bench.cpp), other capacities and sizes (matrix_bench.cpp), round trips
// (ping_pong_bench.cpp), what the waiting side leaves to others meanwhile, latency under load. On fewer than two quiet CPUs the
// spinning peers measure the scheduler.
#include <future>
#include <memory>
#include <queue>
#include <string>

#include <channel/queues.hpp>
#include <support/tasks.hpp>

namespace {

using namespace bench;

constexpr std::size_t batch = 64;

// In order, or the sum differs.
std::uint64_t mix(std::uint64_t sum, std::uint64_t item) { return sum * 31 + item; }

// --- Batches between plain threads ---

template <class Queue>
std::uint64_t batches_between_threads(const traffic& all) {
    const auto queue = std::make_unique<Queue>(all.capacity);
    tally sum(all);
    std::thread consumer([&] {
        std::array<small, batch> items;
        for (std::uint64_t i = 0; i < all.count;) {
            const std::size_t got = queue->pop_many(items);
            for (std::size_t k = 0; k < got; ++k) sum.add(items[k].number);
            i += got;
        }
    });
    std::array<small, batch> items;
    for (std::uint64_t i = 0; i < all.count; i += batch) {
        for (std::size_t k = 0; k < batch; ++k) items[k].number = i + k;
        queue->push_many(items);
    }
    consumer.join();
    return sum.sum();
}

// --- The other kinds, each against what one would write with a mutex; one thread, nobody waits ---

constexpr std::size_t capacity = 1024;

std::uint64_t oneshots(std::uint64_t count) {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        auto ends = leat::oneshot<std::uint64_t>();
        (void)std::move(ends.out).send(i).has_value();
        sum = mix(sum, *ends.in.try_recv());
    }
    return sum;
}
std::uint64_t futures(std::uint64_t count) {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        std::promise<std::uint64_t> out;
        auto in = out.get_future();
        out.set_value(i);
        sum = mix(sum, in.get());
    }
    return sum;
}

std::uint64_t broadcasts(std::uint64_t count) {
    auto ends = leat::broadcast<std::uint64_t>(capacity);
    std::array receivers{ends.in, ends.in, ends.in, std::move(ends.in)};
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        (void)ends.out.send(i).has_value();
        for (auto& each : receivers) sum = mix(sum, *each.try_recv());
    }
    return sum;
}
std::uint64_t four_locked_deques(std::uint64_t count) {
    std::deque<locked_queue> queues;
    for (int i = 0; i < 4; ++i) queues.emplace_back(capacity);
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        for (auto& each : queues) each.push(small(i));
        for (auto& each : queues) sum = mix(sum, each.pop().number);
    }
    return sum;
}

std::uint64_t watches(std::uint64_t count) {
    auto ends = leat::watch<std::uint64_t>(0);
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        ends.out.send(i);
        if (ends.in.try_changed()) sum = mix(sum, *ends.in.borrow());
    }
    return sum;
}
std::uint64_t locked_shared_ptr(std::uint64_t count) {
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
std::uint64_t priorities(std::uint64_t count) {
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
std::uint64_t locked_priority_queue(std::uint64_t count) {
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

using work = std::function<std::uint64_t(const traffic&)>;

template <class Kind>
work on_runtime(leat::runtime& where, std::size_t at_once) {
    return [&where, at_once](const traffic& all) {
        std::uint64_t sum = 0;
        where.run(pass<Kind>(all, at_once, sum));
        return sum;
    };
}

}  // namespace

int main(int argc, char** argv) {
    session bench(argc, argv, "kinds");
    const std::uint64_t many = bench.size(4'096'000, 6'400);
    const std::uint64_t few = bench.size(200'000, 1'000);
    const auto two = leat::make_runtime(leat::run_options(2));
    const auto one = leat::make_runtime(leat::run_options(1));

    const auto spsc = [&](const char* name, const char* peer, const work& ours, const work& theirs) {
        const auto passing = [&](const work& body) {
            return per_unit(many, [body](std::uint64_t count) { return body(traffic{count}); });
        };
        bench.compare(name, peer, "ns/item", passing(ours), passing(theirs));
    };
    using kind = spsc_kind<small>;
    const work on_one = on_runtime<kind>(*one, 1);
    const work on_two = on_runtime<kind>(*two, 1);
    const work batches_on_two = on_runtime<kind>(*two, batch);
    spsc("spsc, one thread", "leat channel", on_one, on_runtime<shared_kind<small>>(*one, 1));
    spsc("spsc, one thread, batches", "single items", on_runtime<kind>(*one, batch), on_one);
    spsc("spsc, two workers", "leat channel", on_two, on_runtime<shared_kind<small>>(*two, 1));
    spsc("spsc, two workers", "bare ring, spinning threads", on_two, between_threads<bare_ring>);
    spsc("spsc, two workers, batches", "bare ring, one at a time", batches_on_two, between_threads<bare_ring>);
    spsc("spsc, two workers, batches", "bare ring, batches, spinning", batches_on_two,
         batches_between_threads<bare_ring>);

    const work on_threads = between_threads<blocking_spsc>;
    spsc("spsc, two threads", "bare ring, spinning", on_threads, between_threads<bare_ring>);
    spsc("spsc, two threads", "Boost.Lockfree spsc_queue, spinning", on_threads, between_threads<lockfree_ring>);
#ifdef LEAT_BENCH_READER_WRITER_QUEUE
    spsc("spsc, two threads", "moodycamel blocking ring", on_threads, between_threads<moodycamel_ring>);
#else
    bench.skip("spsc, two threads", "moodycamel blocking ring",
               "libreaderwriterqueue-dev was not there when this was built");
#endif
    spsc("spsc, two threads, batches", "bare ring, batches, spinning", batches_between_threads<blocking_spsc>,
         batches_between_threads<bare_ring>);

    const auto other = [&](const char* name, const char* peer, const auto& ours, const auto& theirs) {
        bench.compare(name, peer, "ns/item", per_unit(few, ours), per_unit(few, theirs));
    };
    other("oneshot", "std::promise and future", oneshots, futures);
    other("broadcast to four", "four locked deques", broadcasts, four_locked_deques);
    other("watch", "shared_ptr under a std::mutex", watches, locked_shared_ptr);
    other("priority_channel", "priority_queue under a std::mutex", priorities, locked_priority_queue);
    return bench.exit_code();
}
