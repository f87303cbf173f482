// Tasks: how they are begun, waited for, stopped, put off and moved. See docs/constructs.md.
#include "../show.hpp"

#include <leat/runtime/sim.hpp>
#include <leat/runtime/thread_pool.hpp>
#include <leat/task/stop_when.hpp>

#include <atomic>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;

namespace {

// --- What the examples run ---

leat::task<int> square(int number) { co_return number* number; }
leat::task<> add(std::atomic<int>& to, int number) {
    to += number;
    co_return;
}
leat::task<> sleep_all_day() { co_await leat::sleep_for(24h); }
leat::task<int> refuse() {
    throw std::runtime_error("refused");
    co_return 0;
}
leat::task<int> square_unless_odd(int number) {
    if (number % 2 != 0) throw std::runtime_error("odd");
    co_return number* number;
}
int square_slowly(int number) { return number * number; }  // stands for what blocks its thread

// --- Begin and join ---

leat::task<std::string> run_from_plain_code() {
    const auto plain_code = [] { return leat::run(leat::run_options(1), square, 6); };
    const int value = co_await leat::blocking(plain_code);  // a task must not: it is on a runtime already
    co_return text(value);
}

leat::task<std::string> spawn_and_join() {
    std::atomic<int> sum{0};
    leat::scope work;
    for (int i = 1; i <= 3; ++i) work.spawn(add, std::ref(sum), i);
    co_await work.join();
    co_return text("sum ", sum.load());
}

leat::task<> spawn_two(leat::scope& work, std::atomic<int>& sum) {
    work.spawn(add, std::ref(sum), 1);
    work.spawn(add, std::ref(sum), 2);
    co_return;
}
leat::task<std::string> group_of_tasks() {
    std::atomic<int> sum{0};
    co_await leat::with_scope(spawn_two, std::ref(sum));  // joins on every path
    co_return text("sum ", sum.load());
}

leat::task<std::string> join_one_task() {
    leat::scope work;
    const leat::task_handle<int> handle = work.submit(square, 7);
    const int value = co_await handle.join();
    co_await work.join();
    co_return text(value);
}

leat::task<std::string> join_in_time() {
    leat::scope work;
    const leat::task_handle<> handle = work.submit(sleep_all_day);
    bool in_time = true;
    try {
        co_await leat::timeout(handle.join(), 1ms);
    } catch (const leat::timed_out&) {
        in_time = false;  // the task goes on
    }
    handle.stop();
    (void)co_await work.join_quietly();
    co_return in_time ? "in time" : "timed out";
}

leat::task<std::string> thread_waits_for_task() {
    leat::scope work;
    const leat::task_handle<int> handle = work.submit(square, 8);
    const auto plain_code = [&handle] { return handle.blocking_join(); };
    const int value = co_await leat::blocking(plain_code);  // stands for a thread of another library
    co_await work.join();
    co_return text(value);
}

leat::task<std::string> name_of_a_task() {
    leat::scope work;
    work.spawn(leat::task_name("reader"), sleep_all_day);  // reports say: reader
    work.stop();
    const std::exception_ptr error = co_await work.join_quietly();
    co_return error ? "an error" : "stopped";
}

// --- Several at once ---

leat::task<std::string> gather_with_a_bound() {
    const std::vector<int> numbers{3, 1, 2};
    const std::vector<int> squares = co_await leat::gather(numbers, square, 2);  // two at a time
    co_return text(squares[0], " ", squares[1], " ", squares[2]);
}

leat::task<std::string> gather_errors_too() {
    const std::vector<int> numbers{2, 3};
    const auto ends = co_await leat::gather_outcomes(numbers, square_unless_odd, 2);
    co_return text(ends[0].is_value() ? "a value" : "", ", ", ends[1].is_error() ? "an error" : "");
}

leat::task<std::string> all_of_different_types() {
    const auto both = co_await leat::when_all(square(3), group_of_tasks());
    co_return text(std::get<0>(both), ", ", std::get<1>(both));
}

leat::task<std::string> first_of_several() {
    const auto won = co_await leat::when_any(sleep_all_day(), square(3));  // the other is stopped, and has ended
    co_return text("number ", won.index(), ": ", std::get<1>(won));
}

leat::task<std::string> in_order_of_completion() {
    leat::scope work;
    std::vector<leat::task_handle<int>> handles;
    for (int i = 1; i <= 3; ++i) handles.push_back(work.submit(square, i));
    auto ended = leat::as_completed(handles);
    int sum = 0;
    while (auto* handle = co_await ended.next()) sum += co_await handle->join();
    co_await work.join();
    co_return text("sum ", sum);
}

leat::task<int> nap_then(int value) {
    co_await leat::sleep_for(24h);
    co_return value;
}
leat::task<std::string> wait_for_the_first() {
    leat::scope work;
    std::vector<leat::task_handle<int>> handles;
    handles.push_back(work.submit(nap_then, 1));
    handles.push_back(work.submit(square, 3));
    const leat::waited now = co_await leat::wait(handles, leat::until::first_completed);
    work.stop();  // those that it has not waited for go on until then
    (void)co_await work.join_quietly();
    co_return text("done: number ", now.done[0], "; pending: ", now.pending.size());
}

leat::task<std::string> map_on_all_cores() {
    const std::vector<int> numbers{1, 2, 3, 4};
    const std::vector<int> squares = co_await leat::parallel_map(numbers, square_slowly);
    co_return text("sum ", std::accumulate(squares.begin(), squares.end(), 0));
}

leat::task<std::string> loop_on_all_cores() {
    std::vector<int> numbers{1, 2, 3, 4};
    const auto double_it = [](int& number) { number *= 2; };
    co_await leat::parallel_for(numbers, double_it);
    co_return text("last ", numbers.back());
}

leat::fork_task<long> fib(int n) {
    if (n < 2) co_return n;
    long left = 0;
    co_await leat::fork(&left, fib, n - 1);
    const long right = co_await leat::call(fib, n - 2);
    co_await leat::join();
    co_return left + right;
}
leat::task<std::string> divide_and_conquer() {
    const long value = co_await fib(20);
    co_return text(value);
}

// --- Errors and stops ---

leat::task<std::string> first_error_stops_the_others() {
    leat::scope work;
    work.spawn(sleep_all_day);
    work.spawn(refuse);
    std::string error;
    try {
        co_await work.join();
    } catch (const std::runtime_error& first) {
        error = first.what();
    }
    co_return error;
}

leat::task<std::string> error_of_a_task() {
    leat::scope work;
    const leat::task_handle<int> handle = work.submit(refuse);
    const leat::outcome<int> end = co_await handle.as_outcome();  // join() would throw it
    co_await work.join();
    co_return end.is_error() ? "an error" : "no error";
}

leat::task<std::string> stop_a_task() {
    leat::scope work;
    const leat::task_handle<> handle = work.submit(sleep_all_day);
    handle.stop();
    const leat::outcome<void> end = co_await handle.as_outcome();
    co_await work.join();
    co_return end.is_cancelled() ? "cancelled" : "not cancelled";
}

leat::task<> count_until_stopped(int& rounds) {
    const leat::stop_token stop = co_await leat::this_task::stop_token();
    for (; !stop.stop_requested() || rounds == 0; ++rounds) co_await leat::this_task::yield();
}
leat::task<std::string> ask_whether_to_stop() {
    int rounds = 0;
    leat::scope work;
    work.spawn(count_until_stopped, std::ref(rounds));
    work.stop();  // all tasks of the scope, and of scopes below it
    (void)co_await work.join_quietly();
    co_return rounds > 0 ? "stopped by itself" : "did not run";
}

leat::task<std::string> stop_by_a_token() {
    leat::stop_source token;
    token.request_stop();
    const leat::outcome<void> end = co_await leat::stop_when(sleep_all_day(), token);
    co_return end.is_cancelled() ? "cancelled" : "not cancelled";
}

leat::task<std::string> end_in_time() {
    bool in_time = true;
    try {
        co_await leat::timeout(sleep_all_day(), 1ms);
    } catch (const leat::timed_out&) {
        in_time = false;
    }
    co_return in_time ? "in time" : "timed out";
}

leat::task<> write_last_line(std::string& log) {
    co_await leat::sleep_for(1ms);  // would throw cancelled
    log = "written";
}
leat::task<> work_and_write(std::string& log) { co_await leat::shield(write_last_line(log)); }
leat::task<std::string> deaf_to_stops() {
    std::string log;
    leat::scope work;
    work.spawn(work_and_write, std::ref(log));
    work.stop();
    (void)co_await work.join_quietly();
    co_return log;
}

leat::task<> sleep_and_write(std::string& log) {
    const auto clean_up = [&log] { return write_last_line(log); };
    co_await leat::finally(sleep_all_day(), clean_up);
}
leat::task<std::string> clean_up_that_waits() {
    std::string log;
    leat::scope work;
    work.spawn(sleep_and_write, std::ref(log));
    work.stop();
    (void)co_await work.join_quietly();
    co_return log;
}

// --- Time ---

leat::task<std::string> sleep_a_while() {
    const leat::time_point before = co_await leat::this_task::now();
    co_await leat::sleep_for(2ms);
    const leat::time_point after = co_await leat::this_task::now();
    co_return after - before >= 2ms ? "slept" : "too short";
}

leat::task<std::string> let_others_run() {
    std::atomic<int> sum{0};
    leat::scope work;
    work.spawn(add, std::ref(sum), 1);
    while (sum == 0) co_await leat::this_task::yield();
    co_await work.join();
    co_return text("sum ", sum.load());
}

leat::task<std::string> tick() {
    leat::interval every(1ms, leat::missed_ticks::skip);
    const leat::time_point first = co_await every.next();  // at once
    leat::time_point last = first;
    for (int i = 0; i < 3; ++i) last = co_await every.next();
    co_return last - first >= 3ms ? "three periods" : "too fast";
}

leat::task<> ring_later(leat::duration time, std::atomic<int>& rings) {
    co_await leat::sleep_for(time);
    ++rings;
}
leat::task<std::string> call_later() {
    std::atomic<int> rings{0};
    leat::scope work;
    const leat::task_handle<> never = work.submit(ring_later, 24h, std::ref(rings));
    const leat::task_handle<> soon = work.submit(ring_later, 1ms, std::ref(rings));
    never.stop();
    co_await soon.join();
    (void)co_await never.as_outcome();
    co_await work.join();
    co_return text("rings ", rings.load());
}

leat::task<std::string> virtual_time() {
    const auto test = [] { return leat::sim::run(leat::sim::options{}, sleep_all_day); };
    const leat::sim::result run = co_await leat::blocking(test);  // a test is plain code
    co_return text(run.ok() ? "" : "failed, ", std::chrono::duration_cast<std::chrono::hours>(run.time).count(), " h");
}

leat::task<> wait_for_nobody() {
    leat::event never;
    co_await never.wait();
}
leat::task<std::string> deadlock_is_told() {
    const auto test = [] { return leat::sim::run(leat::sim::options{}, wait_for_nobody); };
    const leat::sim::result run = co_await leat::blocking(test);
    co_return run.how == leat::sim::ending::deadlock ? "deadlock" : "no deadlock";
}

// --- Where it runs ---

leat::task<std::string> call_that_blocks() {
    const int value = co_await leat::blocking(square_slowly, 9);
    co_return text(value);
}

leat::task<> count(int& to) {
    ++to;
    co_return;
}
leat::task<> count_on(leat::strand& turn, int& to) { co_await leat::on(turn, count(to)); }
leat::task<std::string> one_at_a_time() {
    leat::strand turn((co_await leat::this_task::line()).where());
    int counted = 0;  // no lock: what is on the strand takes turns
    leat::scope work;
    for (int i = 0; i < 100; ++i) work.spawn(count_on, std::ref(turn), std::ref(counted));
    co_await work.join();
    co_return text(counted);
}

leat::task<std::string> on_another_pool() {
    leat::thread_pool other(2);
    const int value = co_await leat::on(other, square(5));
    co_return text(value);
}

// --- Sequences, and functions that suspend ---

leat::generator<int> numbers(int from) {
    for (;; ++from) co_yield from;
}
leat::task<std::string> lazy_sequence() {
    int sum = 0;
    for (int each : numbers(1)) {
        if (each > 4) break;
        sum += each;
    }
    co_return text("sum ", sum);
}

leat::async_generator<int> numbers_slowly(int count) {
    for (int i = 1; i <= count; ++i) {
        co_await leat::this_task::yield();
        co_yield i;
    }
}
leat::task<std::string> sequence_that_waits() {
    auto all = numbers_slowly(4);
    int sum = 0;
    while (auto each = co_await all.next()) sum += *each;
    co_return text("sum ", sum);
}

int plain_function(int number) { return leat::await(square(number)); }  // no coroutine, and suspends all the same
leat::task<std::string> plain_function_that_waits() {
    const int value = co_await leat::run_in_fiber(plain_function, 5);
    co_return text(value);
}

leat::task<std::string> stack_of_its_own() {
    leat::fiber<int(int)> sums([](auto& self, int value) {
        for (int sum = 0;;) value = self.suspend(sum += value);
        return 0;
    });
    sums.resume(1);
    co_return text(sums.resume(5));
}

constexpr example all[] = {
    {"run_from_plain_code", run_from_plain_code},
    {"spawn_and_join", spawn_and_join},
    {"group_of_tasks", group_of_tasks},
    {"join_one_task", join_one_task},
    {"join_in_time", join_in_time},
    {"thread_waits_for_task", thread_waits_for_task},
    {"name_of_a_task", name_of_a_task},
    {"gather_with_a_bound", gather_with_a_bound},
    {"gather_errors_too", gather_errors_too},
    {"all_of_different_types", all_of_different_types},
    {"first_of_several", first_of_several},
    {"in_order_of_completion", in_order_of_completion},
    {"wait_for_the_first", wait_for_the_first},
    {"map_on_all_cores", map_on_all_cores},
    {"loop_on_all_cores", loop_on_all_cores},
    {"divide_and_conquer", divide_and_conquer},
    {"first_error_stops_the_others", first_error_stops_the_others},
    {"error_of_a_task", error_of_a_task},
    {"stop_a_task", stop_a_task},
    {"ask_whether_to_stop", ask_whether_to_stop},
    {"stop_by_a_token", stop_by_a_token},
    {"end_in_time", end_in_time},
    {"deaf_to_stops", deaf_to_stops},
    {"clean_up_that_waits", clean_up_that_waits},
    {"sleep_a_while", sleep_a_while},
    {"let_others_run", let_others_run},
    {"tick", tick},
    {"call_later", call_later},
    {"virtual_time", virtual_time},
    {"deadlock_is_told", deadlock_is_told},
    {"call_that_blocks", call_that_blocks},
    {"one_at_a_time", one_at_a_time},
    {"on_another_pool", on_another_pool},
    {"lazy_sequence", lazy_sequence},
    {"sequence_that_waits", sequence_that_waits},
    {"plain_function_that_waits", plain_function_that_waits},
    {"stack_of_its_own", stack_of_its_own},
};

leat::task<> program() { return show(all); }

}  // namespace

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
