// process_pool: functions of this program, called in other processes: for what leaks, crashes, holds a lock of its own, or must
// be killed when it takes too long.
//
//   int count_words(const std::string& file) { … }
//
//   leat::task<> program(leat::process_pool& pool) {
//       std::vector<int> counts = co_await pool.map<count_words>(files);
//       int one = co_await pool.apply<count_words>("README.md");
//   }
//   co_await leat::with_process_pool(leat::pool_options(4), program);      // closes the pool on every path
//
// A bare process_pool is the expert's form: it must be closed before it is destroyed, whatever happens in between.
//
// The workers are this same program, started again: leat::main (or worker_main(), for programs with a main of their own) finds
// that it is one and runs calls instead of the program. They share nothing with this process: no lock, no descriptor but those
// of the pool, no memory but the pool's rings, no global variable that was changed.
//
// What may be called, checked when compiling (detail in pool_function.hpp, and docs/processes.md):
//   * a named function, plain or one that returns a task, given as a template argument: the other process finds it by its name;
//   * whose parameters and value may cross (crosses_processes). What it throws comes back as remote_error, with type and text.
//   * Its first parameter may be a T&: the worker's state, a T that a function given to at_start() has made there.
//
// What a worker's end means. A worker that dies, or was killed since an item took longer than the timeout, costs at most that one
// item: it is given to another worker until it has been tried `tries` times, then its call fails with worker_failed. All else that
// the worker held is done by others; of these, items in the same message as the suspect may have been done already, and are done
// again. Asking a task that waits for a call to stop kills the workers that are at it.
//
// Items travel in messages. `chunk` items are handed out together; 0 lets the pool find how many, so that a message is worth the
// way (about a fifth of a millisecond of work) and the last ones are shared out evenly. Chunks of items that take only
// microseconds travel several at a time.
#pragma once

#include <chrono>
#include <concepts>
#include <functional>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <leat/process/persistent_pool.hpp>
#include <leat/process/pool_function.hpp>
#include <leat/process/pool_job.hpp>
#include <leat/process/remote_error.hpp>
#include <leat/process/spawn.hpp>
#include <leat/sync/future.hpp>
#include <leat/task/async_generator.hpp>
#include <leat/task/task.hpp>

namespace leat {

struct pool_options {
    pool_options() {}
    explicit pool_options(unsigned count) : workers(count) {}

    unsigned workers = 0;                // 0: the effective CPUs of the machine
    duration timeout = duration::max();  // for one item; noticed at most an eighth later
    unsigned tries = 2;                  // attempts at an item that a worker dies of, in all; 1: none is done twice
    std::uint64_t recycle_items = 0;     // a worker that has done so many is replaced; 0: never
    std::uint64_t recycle_bytes = 0;     // likewise one that has become so large (resident memory), after a message
    std::size_t ring_bytes = std::size_t{1} << 20U;     // of each worker's two rings; larger messages go in pieces
    duration start_timeout = std::chrono::seconds(60);  // from the start of a worker until it is in leat::main
    duration grace = std::chrono::seconds(2);           // at close(): before SIGTERM, and again before SIGKILL
    unsigned fruitless_starts = 5;                      // so many starts in a row without a worker end the pool
    bool inherit_err = false;  // workers write to our standard error, instead of what is kept for each item
    // Called with what an item has written to standard error (its first 64 KiB), when it has ended: in one piece. Not set: it is
    // written to ours. What a failed call throws has it too. One call at a time.
    std::function<void(std::string_view)> on_err;
    spawn_options child;  // directory, environment and limits of the workers; the rest is the pool's

    // Has each worker call Function(arguments…) before its first item, in the order of these calls. What it returns is the
    // worker's state: functions whose first parameter is a reference to that type are given it; it is destroyed when the
    // worker ends by itself. What it throws ends the pool: each call throws it.
    template <auto Function, class... Argument>
    pool_options& at_start(const Argument&... argument) {
        using starter = detail::pool_starter<Function>;
        starts_.emplace_back(std::string(starter::name()), starter::item(argument...));
        (void)starter::number();
        return *this;
    }

private:
    friend class process_pool;
    std::vector<std::pair<std::string, std::string>> starts_;  // the names of functions, and their arguments
};

// What happened so far. A snapshot.
struct pool_counts {
    pool_counts() {}
    std::uint64_t started = 0;   // workers
    std::uint64_t died = 0;      // workers that ended by themselves or were killed, before the pool was closed
    std::uint64_t recycled = 0;  // workers
    std::uint64_t done = 0;      // items that came back, with a value or an exception
    std::uint64_t retried = 0;   // items given to another worker after one had died of them
    std::uint64_t repeated = 0;  // items given to another worker though none was to blame on them
    std::uint64_t failed = 0;    // items that workers died of, and no more attempts were left
};

class process_pool {
    template <auto Function>
    using value_of = typename detail::pool_function<Function>::value;
    template <auto Function>
    using values_of =
        std::conditional_t<std::is_void_v<value_of<Function>>, void, std::vector<detail::stored<value_of<Function>>>>;
    template <auto Function>
    using arguments_of = typename detail::pool_function<Function>::arguments;
    template <auto Function>
    using item_of = std::tuple_element_t<0, arguments_of<Function>>;

public:
    // Below the task that runs on this thread, on its executor: asking that task to stop kills all workers and fails all calls.
    // Starts nothing: a worker is started when an item finds no idle one. Throws std::invalid_argument for options that cannot
    // be meant so, and std::logic_error in a process that was started as a worker and did not reach leat::main.
    explicit process_pool(pool_options options);
    explicit process_pool(unsigned workers) : process_pool(pool_options(workers)) {}
    // A bug unless close() was awaited, or nothing was ever called.
    ~process_pool();

    // All calls: any number of tasks at once; they resume on the awaiting task's executor. They throw remote_error (what the
    // function threw), worker_failed (what became of a worker; reason closed after close()), what a codec throws, and cancelled
    // when the awaiting task was asked to stop: then the workers that were at it are dead, or will be at once.

    // Function(argument…) in a worker.
    template <auto Function, class... Argument>
    task<value_of<Function>> apply(Argument&&... argument) {
        return await_call<Function>(item<Function>(std::forward<Argument>(argument)...));
    }
    // The same without waiting. Dropping the future does not end the call; close() waits for it.
    template <auto Function, class... Argument>
    future<value_of<Function>> apply_async(Argument&&... argument) {
        auto job = std::make_shared<detail::call_job<Function>>(item<Function>(std::forward<Argument>(argument)...));
        future<value_of<Function>> end = job->get_future();
        submit(job);
        return end;
    }

    // Function of each item: the values in the order of the items. At the first failure nothing more is handed out, and it is
    // thrown; what other workers are at then is finished and dropped. The items live until then.
    template <auto Function>
    task<values_of<Function>> map(std::span<const item_of<Function>> items, std::size_t chunk = 0) {
        static_assert(std::tuple_size_v<arguments_of<Function>> == 1,
                      "leat: map is for functions of one item: use starmap");
        return await_values<Function, item_of<Function>>(items, chunk);
    }
    // The same for functions of several: each item is a tuple of the arguments.
    template <auto Function>
    task<values_of<Function>> starmap(std::span<const arguments_of<Function>> items, std::size_t chunk = 0) {
        return await_values<Function, arguments_of<Function>>(items, chunk);
    }
    // As map, to the end of all items: how each ended.
    template <auto Function>
    task<std::vector<outcome<value_of<Function>>>> try_map(std::span<const item_of<Function>> items,
                                                           std::size_t chunk = 0) {
        static_assert(std::tuple_size_v<arguments_of<Function>> == 1, "leat: try_map is for functions of one item");
        auto job = std::make_shared<detail::outcomes_job<Function, item_of<Function>>>(items, chunk);
        const leave_taking guard(*this, *job);
        if (!items.empty()) {
            submit(job);
            co_await job->ended().wait();
        }
        co_return job->outcomes();
    }

    // As map, value by value, of items that come from a range (its own copy; a leat::generator too) as there is room: at most
    // `ahead` items are inside, 0 for 32 a worker. A failure is thrown in its place and ends the sequence. Dropping the sequence
    // kills the workers that are at it. The pool outlives it.
    template <auto Function, std::ranges::input_range Items>
    async_generator<value_of<Function>> imap(Items items, std::size_t chunk = 0, std::size_t ahead = 0) {
        return stream<Function>(std::move(items), true, chunk, ahead);
    }
    // The values as they come.
    template <auto Function, std::ranges::input_range Items>
    async_generator<value_of<Function>> imap_unordered(Items items, std::size_t chunk = 0, std::size_t ahead = 0) {
        return stream<Function>(std::move(items), false, chunk, ahead);
    }

    // No more calls; those under way end; then the workers end, with SIGTERM and SIGKILL for those that take longer than the
    // grace. Resumes on the awaiting task's executor. A stop request does not end the wait but kills the workers. Again: waits
    // for nothing.
    task<> close();

    [[nodiscard]] pool_counts counts() const noexcept;
    // The processes that run now, for tests and reports. A snapshot.
    [[nodiscard]] std::vector<int> pids() const;
    [[nodiscard]] unsigned workers() const noexcept;

private:
    template <auto Function>
    friend class process_feed;
    // Gives a job up when its call leaves.
    class leave_taking {
    public:
        leave_taking(process_pool& pool, detail::pool_job& job) noexcept : pool_(pool), job_(job) {}
        leave_taking(const leave_taking&) = delete;
        leave_taking& operator=(const leave_taking&) = delete;
        ~leave_taking() { pool_.give_up(job_); }

    private:
        process_pool& pool_;
        detail::pool_job& job_;
    };

    template <auto Function, class... Argument>
    static std::string item(Argument&&... argument) {
        static_assert(std::is_constructible_v<arguments_of<Function>, Argument...>,
                      "leat: these are not the function's arguments");
        const arguments_of<Function> all(std::forward<Argument>(argument)...);
        std::string out;
        std::apply([&](const auto&... each) { detail::pool_function<Function>::append_item(out, each...); }, all);
        return out;
    }
    template <auto Function>
    task<value_of<Function>> await_call(std::string encoded) {
        auto job = std::make_shared<detail::call_job<Function>>(std::move(encoded));
        future<value_of<Function>> end = job->get_future();
        const leave_taking guard(*this, *job);
        submit(job);
        co_return co_await std::move(end);
    }
    template <auto Function, class Item>
    task<values_of<Function>> await_values(std::span<const Item> items, std::size_t chunk) {
        auto job = std::make_shared<detail::values_job<Function, Item>>(items, chunk);
        const leave_taking guard(*this, *job);
        if (!items.empty()) {
            submit(job);
            co_await job->ended().wait();
        }
        co_return job->values();
    }
    template <auto Function, class Items>
    async_generator<value_of<Function>> stream(Items items, bool ordered, std::size_t chunk, std::size_t ahead) {
        static_assert(std::tuple_size_v<arguments_of<Function>> == 1, "leat: imap is for functions of one item");
        auto job = std::make_shared<detail::stream_job<Function>>(chunk, ordered);
        const leave_taking guard(*this, *job);
        if (ahead == 0) ahead = std::size_t{32} * workers();
        ahead = std::max(ahead, std::max<std::size_t>(chunk, 1));
        auto at = std::ranges::begin(items);
        const auto end = std::ranges::end(items);
        for (;;) {
            std::optional<value_of<Function>> value;
            std::size_t added = 0;
            bool over = false;
            {
                const env::lock_guard held(job->in_use);
                value = job->next_value();
                // By halves, so that items are handed out together.
                if (at != end && job->inside() <= ahead / 2) {
                    for (; at != end && job->inside() < ahead; ++at) job->add(item_of<Function>(*at));
                    added = job->added();
                }
                over = !value && job->inside() == 0 && at == end;
            }
            if (added != 0) extend(job, added);
            if (over) co_return;
            if (value) co_yield std::move(*value);
            else co_await job->changed().wait();
        }
    }

    void submit(const std::shared_ptr<detail::pool_job>& job);
    // It has items up to `end` now.
    void extend(const std::shared_ptr<detail::pool_job>& job, std::size_t end);
    void give_up(detail::pool_job& job) noexcept;

    struct state;
    std::unique_ptr<state> state_;
};

// Awaits fn(pool, arguments…) with a pool of its own, which is closed on every path, exceptions and cancellation included. Gives
// what fn gives. Function and arguments are kept until then.
template <class Function, class... Argument>
auto with_process_pool(pool_options options, Function fn, Argument... arguments)
    -> std::invoke_result_t<Function&, process_pool&, Argument&...> {
    using value = typename std::invoke_result_t<Function&, process_pool&, Argument&...>::value_type;
    process_pool pool(std::move(options));
    task<value> body = std::invoke(fn, pool, arguments...);
    outcome<value> end = co_await std::move(body).as_outcome();
    co_await pool.close();
    co_return std::move(end).get();
}

}  // namespace leat
