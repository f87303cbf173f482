// Other processes: programs run once, or kept and fed line by line; functions of this program in processes of their own; pipes. See docs/constructs.md.
#include "../show.hpp"

#include <leat/base/machine.hpp>
#include <leat/io/pipe.hpp>
#include <leat/io/signals.hpp>
#include <leat/process/codec.hpp>
#include <leat/process/command.hpp>
#include <leat/process/persistent_pool.hpp>
#include <leat/process/process_event.hpp>
#include <leat/process/process_mutex.hpp>
#include <leat/process/process_pipe.hpp>
#include <leat/process/process_pool.hpp>
#include <leat/process/process_queue.hpp>
#include <leat/process/process_semaphore.hpp>
#include <leat/process/shared_array.hpp>
#include <leat/process/shared_memory.hpp>
#include <leat/process/shared_ring.hpp>
#include <leat/process/shared_slice.hpp>

#include <array>
#include <csignal>
#include <span>
#include <unistd.h>

using namespace std::chrono_literals;

namespace {

leat::command_options shell(const char* script) {
    return leat::command_options(std::vector<std::string>{"sh", "-c", script});
}

leat::task<std::string> run_a_program() {
    const leat::command_result done = co_await leat::run_command(shell("echo hello; exit 3"));
    co_return text(done.status.text(), " and wrote ", done.out.memory().substr(0, 5));
}

leat::task<std::string> feed_a_program() {
    leat::command_options sort = shell("sort");
    sort.input = "b\na\n";
    const leat::command_result done = co_await leat::run_command(std::move(sort));
    co_return text("first ", done.out.memory().substr(0, 1));
}

leat::task<std::string> end_a_program_in_time() {
    leat::command_options slow = shell("sleep 1000");
    slow.timeout = 1ms;  // SIGTERM to it and all that it has started, then SIGKILL
    const leat::command_result done = co_await leat::run_command(std::move(slow));
    co_return text(done.timed_out ? "timed out, " : "", done.status.text());
}

leat::task<std::string> ask_workers() {
    leat::persistent_options upper(std::vector<std::string>{"sed", "-u", "s/a/A/"});
    upper.workers = 2;
    leat::persistent_pool pool(upper);
    const std::string answer = co_await pool.call("a line");
    co_await pool.close();
    co_return answer;
}

int cubed(int x) { return x * x * x; }
int added(int x, int y) { return x + y; }

leat::task<std::string> map_with(leat::process_pool& pool) {
    const std::vector<int> items{1, 2, 3};
    const auto cubes = co_await pool.map<cubed>(items);
    const std::vector<std::tuple<int, int>> pairs{{1, 2}, {3, 4}};
    const auto sums = co_await pool.starmap<added>(pairs);
    co_return text(cubes[2], " and ", sums[1]);
}
leat::task<std::string> map_in_processes() {
    // Two workers: this program, which finds in leat::main that it is one. The pool is closed on every path.
    return leat::with_process_pool(leat::pool_options(2), map_with);
}

leat::task<std::string> call_in_a_process() {
    leat::process_pool pool(1);
    const int sum = co_await pool.apply<added>(1, 2);
    leat::future<int> later = pool.apply_async<added>(3, 4);
    const int last = co_await std::move(later);
    co_await pool.close();
    co_return text(sum, " and ", last);
}

leat::task<std::string> values_of_a_range_in_processes() {
    leat::process_pool pool(2);
    auto values = pool.imap<cubed>(std::vector<int>{1, 2, 3});  // in order; as they come: imap_unordered
    int sum = 0;
    while (auto value = co_await values.next()) sum += *value;
    co_await pool.close();
    co_return text(sum);
}

int divided(int x) {
    if (x == 0) throw std::domain_error("by nothing");
    if (x < 0) std::abort();
    return 100 / x;
}
leat::task<std::string> calls_that_fail_or_crash() {
    leat::pool_options options(2);
    options.tries = 1;
    options.on_err = [](std::string_view) {};
    leat::process_pool pool(std::move(options));
    const std::vector<int> items{4, 0, -1, 5};
    const auto ends = co_await pool.try_map<divided>(items);
    std::string all;
    for (const auto& end : ends) all += end.is_value() ? "value " : "error ";
    co_await pool.close();
    co_return all + "and nothing else is lost";
}

struct dictionary {
    std::string language;
};
dictionary open_dictionary(const std::string& language) { return {language}; }
std::string translated(dictionary& in, const std::string& word) { return word + " in " + in.language; }
leat::task<std::string> state_of_a_worker() {
    leat::pool_options options(1);
    options.at_start<open_dictionary>("Latin");
    options.recycle_items = 1000;  // then the worker is replaced, and has a new one
    leat::process_pool pool(std::move(options));
    const std::string word = co_await pool.apply<translated>("leat");
    co_await pool.close();
    co_return word;
}

leat::task<> write_and_close(leat::io::pipe_writer out) {
    const std::string bytes = "hello";
    (void)co_await out.write_all(bytes);
}
leat::task<std::string> through_a_pipe() {
    auto ends = leat::io::make_incoming_pipe();
    leat::scope work;
    work.spawn(write_and_close, leat::io::pipe_writer(std::move(ends->writer)));
    std::array<char, 16> bytes{};
    const auto count = co_await ends->reader.read_some(bytes);
    co_await work.join();
    co_return std::string(bytes.data(), *count);
}

struct reading {
    std::string sensor;
    std::vector<double> values;
};
leat::task<std::string> value_as_a_message() {
    const std::string message = leat::encode(reading{"roof", {20.5, 21}});
    const auto again = leat::decode<reading>(message);
    const auto garbage = leat::decode<reading>("garbage");
    co_return text(again->sensor, " ", again->values.size(), "; ", garbage.error().text());
}

leat::task<std::string> queue_between_processes() {
    auto ring =
        leat::shared_ring<int>::create(100);  // another process: spawn_options::pass = ring->passed(3); attach(3) there
    auto out = ring->sender();
    auto in = ring->receiver();
    (void)co_await out->send(7);
    out->close();
    const auto first = co_await in->recv();
    const auto second = co_await in->recv();
    co_return text(*first, ", then ", leat::text_of(second.error()));
}

leat::task<std::string> objects_between_processes() {
    auto queue = leat::process_queue<reading>::create(100, 65536);  // as the ring; at most 100, in at most 64 KiB
    auto out = queue->sender();
    auto in = queue->receiver();
    reading cellar{"cellar", {12.5}};
    (void)co_await out->send(std::move(cellar));
    out->close();
    const auto first = co_await in->recv();
    const auto second = co_await in->recv();
    co_return text(first->sensor, ", then ", leat::text_of(second.error()));
}

leat::task<std::string> both_ways_between_processes() {
    auto ends =
        leat::process_pipe<std::string, int>::create();  // another process: ends->there.passed(3); attach(3) there
    (void)co_await ends->here.send("four");
    const auto word = co_await ends->there.recv();
    (void)co_await ends->there.send(static_cast<int>(word->size()));
    ends->there.reset();
    const auto answer = co_await ends->here.recv();
    const auto second = co_await ends->here.recv();
    co_return text(*answer, ", then ", leat::text_of(second.error()));
}

leat::task<std::string> lock_between_processes() {
    auto lock =
        leat::process_mutex::create();  // another process: spawn_options::pass = lock->passed(3); attach(3) there
    const auto held = co_await lock->lock();
    co_return held.owner_died() ? "to be repaired" : "locked";
}

leat::task<std::string> permits_between_processes() {
    auto slots = leat::process_semaphore::create(4);  // as the lock
    const auto two = co_await slots->acquire(2);
    co_return text(slots->available(), " left", two.holder_died() ? ", half used" : "");
}

leat::task<std::string> event_between_processes() {
    auto ready = leat::process_event::create();  // as the lock
    ready->set();
    co_await ready->wait();
    co_return "set";
}

leat::task<std::string> array_between_processes() {
    const auto counts = leat::shared_array<int>::create(1000);  // as the lock, in one descriptor
    auto lock = leat::process_mutex::create();
    const auto held = co_await lock->lock();  // nothing else keeps others off the elements
    (*counts)[999] += 5;
    co_return text(counts->size(), " numbers, the last is ", counts->elements().back());
}

leat::task<std::string> memory_between_processes() {
    const auto ours = leat::shared_memory::create(4096);
    const auto theirs = leat::shared_memory::attach(leat::io::unique_fd(::dup(ours->fd())), 4096);
    ours->bytes()[10] = std::byte(5);
    co_return text(std::to_integer<int>(theirs->bytes()[10]));
}

leat::task<std::string> large_data_without_a_copy() {
    const auto memory = leat::shared_region::of(std::move(*leat::shared_memory::create(1 << 20)));  // another: attach
    const auto numbers = memory->slice<int>(0, 250'000);
    numbers->elements().back() = 5;
    const std::string message = leat::encode(*numbers);  // what a pipe or a queue does
    const auto again = leat::decode<leat::shared_slice<int>>(message);
    co_return text(again->size(), " numbers in ", message.size(), " bytes, the last is ", again->elements().back());
}

leat::task<std::string> wait_for_a_signal() {
    leat::io::signals reload({SIGHUP});
    (void)::kill(::getpid(), SIGHUP);  // raise() would send it to this worker, and workers take none
    const int number = co_await reload.next();
    co_return number == SIGHUP ? "SIGHUP" : "another";
}

leat::task<std::string> cpus_to_use() {
    const leat::machine here = leat::effective_machine();
    co_return here.worker_count >= 1 ? "one at least" : "none";
}

constexpr example all[] = {
    {"run_a_program", run_a_program},
    {"feed_a_program", feed_a_program},
    {"end_a_program_in_time", end_a_program_in_time},
    {"ask_workers", ask_workers},
    {"map_in_processes", map_in_processes},
    {"call_in_a_process", call_in_a_process},
    {"values_of_a_range_in_processes", values_of_a_range_in_processes},
    {"calls_that_fail_or_crash", calls_that_fail_or_crash},
    {"state_of_a_worker", state_of_a_worker},
    {"through_a_pipe", through_a_pipe},
    {"value_as_a_message", value_as_a_message},
    {"queue_between_processes", queue_between_processes},
    {"objects_between_processes", objects_between_processes},
    {"both_ways_between_processes", both_ways_between_processes},
    {"lock_between_processes", lock_between_processes},
    {"permits_between_processes", permits_between_processes},
    {"event_between_processes", event_between_processes},
    {"array_between_processes", array_between_processes},
    {"memory_between_processes", memory_between_processes},
    {"large_data_without_a_copy", large_data_without_a_copy},
    {"wait_for_a_signal", wait_for_a_signal},
    {"cpus_to_use", cpus_to_use},
};

leat::task<> program() { return show(all); }

}  // namespace

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
