// Question: what does it cost to hand work to a runtime that is asleep, to one that is awake, and what does one cost that
// has nothing to do?
//
// Peers: two threads with a mutex and a condition variable, which do the same there and back; an asio::io_context whose one
// thread sleeps. "Asleep": each side waits until the other has surely gone to sleep, so that every hand-over is a wake-up.
// "Awake": there and back at once, as fast as it goes; whoever spins before it sleeps gains here.
// Idle: the CPU time that the process has used in the time given, in parts of a million, while two workers and a timer
// that is far away wait; the peer is the process with no runtime in it.
// Not measured: more than one sleeper, wake-ups under load.
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <sys/resource.h>

#include <leat/leat.hpp>
#include <leat/runtime/thread_pool.hpp>
#include <support/bench.hpp>

namespace {

using namespace std::chrono_literals;
constexpr auto until_asleep = 300us;  // more than anybody spins

// A number for one who waits, through a mutex and a condition variable.
class letter_box {
public:
    void put(std::uint64_t value) {
        {
            const std::lock_guard held(lock_);
            value_ = value;
            full_ = true;
        }
        change_.notify_one();
    }
    std::uint64_t take() {
        std::unique_lock held(lock_);
        change_.wait(held, [&] { return full_; });
        full_ = false;
        return value_;
    }

private:
    std::mutex lock_;
    std::condition_variable change_;
    std::uint64_t value_ = 0;
    bool full_ = false;
};

// `there(i)` brings i to the other side and gives its answer; the time of all of them but the pauses, a round trip.
template <class There>
bench::sample round_trips(std::uint64_t count, bool asleep, There there) {
    std::uint64_t sum = 0;
    double time = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        if (asleep) std::this_thread::sleep_for(until_asleep);
        time += bench::nanoseconds_of([&] { sum = sum * 31 + there(i); });
    }
    return {time / static_cast<double>(count) / 1000, sum};
}

bench::sample in_leat(std::uint64_t count, bool asleep) {
    leat::thread_pool pool(1);
    auto [questions, asked] = leat::channel<std::uint64_t>(1);
    auto [answers, answered] = leat::channel<std::uint64_t>(1);
    std::thread other([&, in = std::move(asked), out = std::move(answers)]() mutable {
        pool.run([](leat::receiver<std::uint64_t> from, leat::sender<std::uint64_t> to) -> leat::task<> {
            while (auto value = co_await from.recv())
                if (!co_await to.send(*value ^ 1U)) co_return;
        }(std::move(in), std::move(out)));
    });
    const bench::sample result = round_trips(count, asleep, [&](std::uint64_t value) {
        (void)questions.blocking_send(value);
        return *answered.blocking_recv();
    });
    questions.close();
    other.join();
    return result;
}

bench::sample in_std(std::uint64_t count, bool asleep) {
    letter_box there;
    letter_box back;
    std::thread other([&] {
        for (std::uint64_t i = 0; i < count; ++i) back.put(there.take() ^ 1U);
    });
    const bench::sample result = round_trips(count, asleep, [&](std::uint64_t value) {
        there.put(value);
        return back.take();
    });
    other.join();
    return result;
}

bench::sample in_asio(std::uint64_t count, bool asleep) {
    boost::asio::io_context loop(1);
    auto work = boost::asio::make_work_guard(loop);
    std::thread other([&] { loop.run(); });
    letter_box back;
    const bench::sample result = round_trips(count, asleep, [&](std::uint64_t value) {
        boost::asio::post(loop, [&back, value] { back.put(value ^ 1U); });
        return back.take();
    });
    work.reset();
    other.join();
    return result;
}

double cpu_seconds() {
    struct rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

// In parts of a million of one CPU; never 0, so that there is a ratio.
bench::sample idle(std::chrono::milliseconds time) {
    const double before = cpu_seconds();
    std::this_thread::sleep_for(time);
    const double used = cpu_seconds() - before;
    return {1 + used / std::chrono::duration<double>(time).count() * 1e6, 0};
}

bench::sample idle_leat(std::chrono::milliseconds time) {
    const auto pool = leat::make_runtime(leat::run_options(2));
    leat::stop_source stop;
    std::thread other([&] {
        try {
            pool->run([]() -> leat::task<> { co_await leat::sleep_for(1h); }(), &stop);
        } catch (const leat::cancelled&) {
            return;
        }
    });
    std::this_thread::sleep_for(10ms);
    const bench::sample result = idle(time);
    stop.request_stop();
    other.join();
    return result;
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "wake");
    for (const bool asleep : {true, false}) {
        const std::uint64_t count = asleep ? bench.size(2'000, 20) : bench.size(20'000, 200);
        const char* const name = asleep ? "hand-over to one asleep" : "hand-over to one awake";
        bench.compare(
            name, "std::condition_variable", "us/trip", [&] { return in_leat(count, asleep); },
            [&] { return in_std(count, asleep); });
        bench.compare(
            name, "asio post", "us/trip", [&] { return in_leat(count, asleep); },
            [&] { return in_asio(count, asleep); });
    }
    const std::chrono::milliseconds time(bench.size(10'000, 50));
    bench.compare("idle", "no runtime", "ppm CPU", [&] { return idle_leat(time); }, [&] { return idle(time); }, 1);
    return bench.exit_code();
}
