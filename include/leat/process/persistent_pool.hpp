// persistent_pool: programs that are started once and then take an item and answer it, many times: a line each, or what else
// their protocol says.
//
//   leat::persistent_pool pool(options);                        // inside a task
//   std::string answer = co_await pool.call("a line");          // from any number of tasks at once
//   co_await pool.close();                                      // before it is destroyed, on every path: see finally()
//
// What a worker's end means:
//  1. When it had begun to read the first item that it has not answered, that item is the suspect: its call fails,
//     retryable. The items behind it go to other workers, and what the worker did for them outside may happen again: not
//     with a window of 1.
//  2. Otherwise no item is to blame, and all go to other workers. When workers end `fruitless_starts` times in a row without
//     having read anything at all, the command is broken: all calls fail, and nothing is started any more. (Ends by SIGKILL,
//     which comes from outside, count a tenth.)
// A worker that hangs (timeout), answers too much, or closes its output and runs on, is killed, and counts as case 1. One
// that answers out of turn, when it has no item, is killed too. What a worker leaves behind in its group is killed with it.
//
// Invariant: each call ends exactly once, with the answer to its own item or with an error. What a worker held was given to
// no other worker before that one was dead and its output read to the end.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <leat/base/env.hpp>
#include <leat/process/exit_status.hpp>
#include <leat/process/spawn.hpp>
#include <leat/process/worker_protocol.hpp>
#include <leat/task/context.hpp>
#include <leat/task/task.hpp>

namespace leat {

struct persistent_options {
    persistent_options() {}
    explicit persistent_options(std::vector<std::string> argv) : child(std::move(argv)) {}

    spawn_options child;  // what to start; its in and out are set by the pool
    worker_protocol protocol = worker_protocol::line;
    unsigned workers = 1;
    unsigned window = 1;                                    // items that a worker may hold
    duration timeout = duration::max();                     // for an answer, once the item is the worker's oldest
    std::size_t max_answer_bytes = std::size_t{16} << 20U;  // of one answer
    bool inherit_err = false;                               // workers write to our standard error instead of the tail
    std::size_t err_tail_bytes = std::size_t{8} << 10U;     // of a worker's standard error, kept for its failure
    duration grace = std::chrono::seconds(2);               // at close(): before SIGTERM, and again before SIGKILL
    unsigned fruitless_starts = 5;
};

// A call without an answer.
class worker_failed : public std::runtime_error {
public:
    enum class reason : unsigned char {
        died,         // it ended by itself
        timed_out,    // no answer in time
        too_long,     // an answer of more than max_answer_bytes
        no_answer,    // it closed its output, and ran on
        not_started,  // the command cannot be started, or dies again and again without reading an item
        bad_item,     // it cannot be said in the protocol: a line feed in a line
        closed,       // the pool is closed, or was stopped
    };
    worker_failed(reason why, const std::string& message, std::optional<exit_status> status = {}, std::string err = {})
        : std::runtime_error(message), why_(why), status_(status), err_(std::move(err)) {}

    [[nodiscard]] reason why() const noexcept { return why_; }
    // Whether the same item may be answered by another worker.
    [[nodiscard]] bool retryable() const noexcept { return why_ <= reason::no_answer; }
    // How the worker ended, when one did.
    [[nodiscard]] const std::optional<exit_status>& status() const noexcept { return status_; }
    // The last that the worker wrote to standard error.
    [[nodiscard]] const std::string& err() const noexcept { return err_; }

private:
    reason why_;
    std::optional<exit_status> status_;
    std::string err_;
};

// An item of many that has no answer.
struct many_failure {
    many_failure(std::string which, std::size_t place, worker_failed why)
        : item(std::move(which)), at(place), error(std::move(why)) {}
    std::string item;     // without its mark
    std::size_t at;       // where its answer would be among the answers
    worker_failed error;  // as call() throws it
};

// What happened so far. Snapshots.
struct persistent_counts {
    persistent_counts() {}
    std::uint64_t started = 0;   // workers
    std::uint64_t replaced = 0;  // workers that ended before the pool was closed
    std::uint64_t answered = 0;  // calls
    std::uint64_t failed = 0;    // calls
    std::uint64_t resent = 0;    // items given to another worker behind a suspect
};

class persistent_pool {
public:
    // Below the task that runs on this thread, on its executor: asking that task to stop ends all workers and fails all
    // calls. Starts nothing: a worker is started when an item finds no idle one. Throws std::invalid_argument for options
    // that cannot be meant so (no command, 0 workers, a window of 0).
    explicit persistent_pool(persistent_options options);
    // Below the line given.
    persistent_pool(persistent_options options, context& line);
    // A bug unless close() was awaited, or nothing was ever called.
    ~persistent_pool();

    // Gives `item` (without a line feed or NUL byte at its end) to the worker that holds the fewest and has room in its window,
    // first come, first served; gives the answer, without one too. `alone`: to a worker that holds nothing else meanwhile, for an item
    // under suspicion. Resumes on the awaiting task's executor. Throws worker_failed. Throws cancelled when the task was
    // asked to stop; then the item may have reached a worker or not, and its answer is dropped. Any number of tasks at once.
    task<std::string> call(std::string item, bool alone = false);

    // What became of some items in a row.
    struct many_answers;
    using many_taker = std::function<task<>(many_answers)>;
    // Gives `count` items to one worker together: `items` is what it is to read, each with the line feed or NUL byte behind it
    // (not for frames: a bug). What holds for an item of call() holds for each of these: one that costs a worker its life has
    // failed, and those behind it are given to another. They are counted as `count` in the window, and a worker that holds
    // nothing is given them in any case. What became of them is given to `take`, in their order, in one piece unless that takes
    // longer than `patience`: then what there is. Resumes, stops and throws as call() does, and as `take` does; worker_failed
    // only for a pool that was closed or broken before.
    task<> call_many(std::string items, std::size_t count, many_taker take,
                     duration patience = std::chrono::milliseconds(100));

    // From now on a worker may hold so many items, at least 1; those that hold more keep them. Any thread.
    void set_window(unsigned window) noexcept;

    // No more calls; those under way get their answers; then the workers' inputs are closed and their ends awaited, with
    // SIGTERM and SIGKILL for those that take longer than the grace. Resumes on the awaiting task's executor. A stop
    // request does not end the wait but ends the workers at once. Again: waits for nothing.
    task<> close();

    [[nodiscard]] persistent_counts counts() const noexcept;
    // The processes that run now. For tests and reports: a snapshot.
    [[nodiscard]] std::vector<int> pids() const;

private:
    struct state;
    std::unique_ptr<state> state_;
};

struct persistent_pool::many_answers {
    std::size_t count = 0;               // of the items, with those that have failed
    std::string text;                    // the answers, in the order of the items, each with its mark
    std::vector<many_failure> failures;  // in the order of the items
};

}  // namespace leat
