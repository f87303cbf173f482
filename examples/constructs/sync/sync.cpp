// Locks, signals and futures. All of them serve tasks on all threads, and plain threads through their `blocking_` functions.
// See docs/constructs.md.
#include "../show.hpp"

#include <atomic>
#include <functional>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

// --- Locks ---

leat::task<> count(leat::mutex& lock, int& to) {
    leat::mutex::guard held = co_await lock.lock();
    const int before = to;
    co_await leat::this_task::yield();  // held over a wait
    to = before + 1;
}
leat::task<std::string> lock_a_mutex() {
    leat::mutex lock;
    int counted = 0;
    leat::scope work;
    for (int i = 0; i < 10; ++i) work.spawn(count, std::ref(lock), std::ref(counted));
    co_await work.join();
    co_return text(counted);
}

leat::task<std::string> lock_at_once_or_not() {
    leat::mutex lock;
    const leat::mutex::guard held = co_await lock.lock();
    co_return lock.try_lock() ? "locked twice" : "not now";
}

leat::task<std::string> lock_in_time() {
    leat::mutex lock;
    const leat::mutex::guard held = co_await lock.lock();
    const auto second = co_await lock.lock_for(1ms);
    co_return second ? "locked twice" : "not in time";
}

leat::task<std::string> lock_again() {
    leat::recursive_mutex lock;
    const leat::recursive_mutex::guard once = co_await lock.lock();
    const leat::recursive_mutex::guard again = co_await lock.lock();
    co_return again ? "twice" : "once";
}

leat::task<std::string> readers_and_a_writer() {
    leat::shared_mutex lock;
    leat::shared_mutex::shared_guard one = co_await lock.lock_shared();
    leat::shared_mutex::shared_guard other = co_await lock.lock_shared();
    const bool excluded = !lock.try_lock();
    one.unlock();
    other.unlock();
    const leat::shared_mutex::guard writer = co_await lock.lock();
    co_return text("two readers, ", excluded && writer ? "then a writer" : "and a writer");
}

leat::task<std::string> thread_and_task_share_a_lock() {
    leat::mutex lock;
    int counted = 0;
    std::thread other([&] {
        leat::mutex::guard held = lock.blocking_lock();
        ++counted;
    });
    co_await count(lock, counted);
    other.join();
    co_return text(counted);
}

// --- Permits ---

leat::task<> enter(leat::semaphore& places, std::atomic<int>& inside, std::atomic<bool>& crowded) {
    const leat::semaphore::permit mine = co_await places.acquire();
    if (++inside > 2) crowded = true;
    co_await leat::this_task::yield();
    --inside;
}
leat::task<std::string> at_most_two() {
    leat::semaphore places(2);
    std::atomic<int> inside{0};
    std::atomic<bool> crowded{false};
    leat::scope work;
    for (int i = 0; i < 10; ++i) work.spawn(enter, std::ref(places), std::ref(inside), std::ref(crowded));
    co_await work.join();
    co_return crowded ? "more than two" : "never more than two";
}

leat::task<std::string> bounded_permits() {
    leat::semaphore places(1, 1);  // a second release() would be a bug, which ends the program with a message
    leat::semaphore::permit mine = co_await places.acquire();
    mine.release();
    co_return text(places.available(), " of 1");
}

leat::task<std::string> weighted_permits() {
    leat::semaphore megabytes(100);
    const leat::semaphore::permit mine = co_await megabytes.acquire(60);
    co_return text(megabytes.try_acquire(60) ? "too much, " : "no room, ", megabytes.available(), " left");
}

leat::task<std::string> so_many_a_second() {
    leat::rate_limiter requests(1000, 2);
    const leat::time_point before = co_await leat::this_task::now();
    for (int i = 0; i < 4; ++i) co_await requests.acquire();  // two at once, then one a millisecond
    const leat::time_point after = co_await leat::this_task::now();
    co_return after - before >= 1ms ? "in time" : "too fast";
}

// --- Signals ---

leat::task<> wait_and_count(leat::event& start, std::atomic<int>& started) {
    co_await start.wait();
    ++started;
}
leat::task<std::string> signal_all() {
    leat::event start;
    std::atomic<int> started{0};
    leat::scope work;
    for (int i = 0; i < 3; ++i) work.spawn(wait_and_count, std::ref(start), std::ref(started));
    start.set();
    co_await work.join();
    co_return text(started.load(), " started");
}

leat::task<std::string> wait_in_time() {
    leat::event never;
    const bool in_time = co_await never.wait_for(1ms);
    co_return in_time ? "set" : "not in time";
}

leat::task<std::string> signal_one() {
    leat::auto_reset_event signal;
    signal.set();
    co_await signal.wait();  // does not wait, and takes the signal
    co_return signal.try_wait() ? "two went through" : "one went through";
}

struct shelf {
    leat::mutex lock;
    leat::condition_variable changed;
    int books = 0;
};
leat::task<> bring(shelf& to) {
    leat::mutex::guard held = co_await to.lock.lock();
    ++to.books;
    to.changed.notify_one();
}
leat::task<std::string> wait_for_a_condition() {
    shelf shared;
    leat::scope work;
    work.spawn(bring, std::ref(shared));
    leat::mutex::guard held = co_await shared.lock.lock();
    const auto some = [&shared] { return shared.books > 0; };
    co_await shared.changed.wait(held, some);
    held.unlock();
    co_await work.join();
    co_return text(shared.books, " book");
}

leat::task<> count_down(leat::latch& left) {
    left.count_down();
    co_return;
}
leat::task<std::string> wait_for_a_count() {
    leat::latch left(3);
    leat::scope work;
    for (int i = 0; i < 3; ++i) work.spawn(count_down, std::ref(left));
    co_await left.wait();
    co_await work.join();
    co_return text(left.left(), " left");
}

leat::task<> three_phases(leat::barrier<>& phase, std::atomic<int>& sum, std::atomic<bool>& apart) {
    for (int round = 1; round <= 3; ++round) {
        ++sum;
        co_await phase.arrive_and_wait();
        if (sum != round * 2) apart = true;
        co_await phase.arrive_and_wait();
    }
}
leat::task<std::string> phase_by_phase() {
    leat::barrier phase(2);
    std::atomic<int> sum{0};
    std::atomic<bool> apart{false};
    leat::scope work;
    for (int i = 0; i < 2; ++i) work.spawn(three_phases, std::ref(phase), std::ref(sum), std::ref(apart));
    co_await work.join();
    co_return apart ? "apart" : "together";
}

leat::task<> open_file(int& opened) {
    ++opened;
    co_return;
}
leat::task<std::string> done_one_time() {
    leat::once opening;
    int opened = 0;
    for (int i = 0; i < 3; ++i) co_await opening.call(open_file, std::ref(opened));
    co_return text("opened ", opened);
}

// --- Futures ---

leat::task<> answer(leat::promise<int> to) {
    to.set_value(42);
    co_return;
}
leat::task<std::string> future_between_tasks() {
    leat::promise<int> promise;
    const leat::future<int> asked = promise.get_future();
    leat::scope work;
    work.spawn(answer, std::move(promise));
    const int value = co_await asked;
    co_await work.join();
    co_return text(value);
}

leat::task<std::string> future_set_by_a_thread() {
    leat::promise<int> promise;
    const leat::future<int> asked = promise.get_future();
    std::thread other([to = std::move(promise)]() mutable { to.set_value(42); });
    const int value = co_await asked;
    other.join();
    co_return text(value);
}

constexpr example all[] = {
    {"lock_a_mutex", lock_a_mutex},
    {"lock_at_once_or_not", lock_at_once_or_not},
    {"lock_in_time", lock_in_time},
    {"lock_again", lock_again},
    {"readers_and_a_writer", readers_and_a_writer},
    {"thread_and_task_share_a_lock", thread_and_task_share_a_lock},
    {"at_most_two", at_most_two},
    {"bounded_permits", bounded_permits},
    {"weighted_permits", weighted_permits},
    {"so_many_a_second", so_many_a_second},
    {"signal_all", signal_all},
    {"wait_in_time", wait_in_time},
    {"signal_one", signal_one},
    {"wait_for_a_condition", wait_for_a_condition},
    {"wait_for_a_count", wait_for_a_count},
    {"phase_by_phase", phase_by_phase},
    {"done_one_time", done_one_time},
    {"future_between_tasks", future_between_tasks},
    {"future_set_by_a_thread", future_set_by_a_thread},
};

leat::task<> program() { return show(all); }

}  // namespace

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
