// cluster_client: functions of this program, called on a cluster.
//
//   int count_words(const std::string& file) { … }
//
//   leat::task<> program(leat::cluster::cluster_client& cluster) {
//       int one = co_await cluster.submit<count_words>("README.md");
//       std::vector<int> counts = co_await cluster.map<count_words>(files);
//   }
//   co_await leat::cluster::with_cluster_client(broker, leat::cluster::client_options(), program);  // closes it on every path
//
// The workers are this same program, started on other machines, in which serve_jobs() runs (job_worker.hpp). What may be
// called is what a process_pool may call, but for functions with a worker's state.
//
// What is promised. A job whose worker dies is done by another one: so a job may be done more than once, and its caller gets
// one answer. What a function throws comes back as remote_error, and is not tried again. A job that no worker gets to the end
// of (it kills them, it never ends) comes back as job_failed after some attempts (job_worker_options::deliveries).
// Jobs belong to their client: when that ends, by close() or by dying, nobody wants them any more, and workers leave out
// those that have not begun.
//
// Stopping a task that awaits a job withdraws the job, as well as that can be done: one that was not sent yet never is; of one
// that was, the workers hear within about a second, leave it out, or ask it to stop where it has begun. It may have had its
// effect all the same.
//
// Many small jobs travel in one message: a client sends what has gathered while its last messages were on their way, as many
// jobs at a time as together take about `parcel_time` by what such jobs have taken so far. So one job alone is sent at once,
// and long ones go one by one, to be shared out evenly.
//
// Arguments and values above 512 KiB go through a blob_store by reference; clients write and remove them. submit_kept() leaves
// a value on the cluster, to be an argument of other jobs without passing through the client (cluster_graph.hpp).
#pragma once

#include <algorithm>
#include <concepts>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include <leat/cluster/blob_store.hpp>
#include <leat/cluster/broker.hpp>
#include <leat/cluster/broker_failed.hpp>
#include <leat/cluster/job_function.hpp>
#include <leat/process/remote_error.hpp>
#include <leat/task/async_generator.hpp>
#include <leat/task/task.hpp>

namespace leat::cluster {

struct client_options {
    client_options() {}
    std::string name = "leat";       // of the queue; its streams and buckets have names that begin with lj_<name>
    std::string version;             // of the program, beside the table of its functions
    std::size_t most_jobs = 10'000;  // under way at a time: more wait
    std::size_t most_bytes = std::size_t{64} << 20U;       // of their arguments
    std::size_t parcel_jobs = 500;                         // in one message, at most
    std::size_t parcel_bytes = std::size_t{256} << 10U;    // likewise
    duration parcel_time = std::chrono::milliseconds(10);  // what the jobs of a message take together, about
    unsigned messages = 8;                                 // on their way at a time
    duration ack_wait = std::chrono::seconds(30);    // without a sign of life from a worker: its jobs go to others
    duration gone_after = std::chrono::minutes(10);  // without one from this client: its jobs are dropped
    duration patience = std::chrono::seconds(30);    // with the engine, in open() and close() and with blobs
    unsigned replicas = 1;
    blob_options blobs = {};  // bucket and replicas are the client's
};

// Why a job has no answer of its function.
class job_failed : public std::runtime_error {
public:
    enum class reason : std::uint8_t {
        poison,     // workers died of it, or never came to its end, as often as they may
        timed_out,  // it took longer than the workers allow, and ended when it was asked to
        refused,    // no worker could read it
        lost,       // an argument, or the value, by reference is not there any more
        engine,     // the engine refused to take it
        gone,       // the cluster took this client for dead, since it was cut off for too long
        closed,     // the client was closed
    };
    job_failed(reason why, const std::string& text) : std::runtime_error(text), why_(why) {}
    [[nodiscard]] reason why() const noexcept { return why_; }

private:
    reason why_;
};

// A snapshot.
struct client_counts {
    std::uint64_t submitted = 0;
    std::uint64_t answered = 0;
    std::uint64_t failed = 0;      // of these: an exception, or job_failed
    std::uint64_t withdrawn = 0;   // those who waited were stopped
    std::uint64_t parcels = 0;     // messages sent
    std::uint64_t unexpected = 0;  // answers that nobody waited for: of jobs done twice, or withdrawn
    std::uint64_t under_way = 0;
    std::uint64_t by_reference = 0;  // arguments and values that went through the blob_store
};

class cluster_client;

namespace detail {

class client_core;  // src/cluster/client_core.hpp

// How a job has ended.
struct job_end {
    std::uint64_t index = 0;  // which of the caller's
    job_value value;
    std::exception_ptr error;  // null: it has a value
};

// The jobs of one caller: begun with an index each, and told as they end. Those that have not ended when this goes are
// withdrawn. One task at a time.
class job_calls {
public:
    explicit job_calls(cluster_client& of);
    job_calls(const job_calls&) = delete;
    job_calls& operator=(const job_calls&) = delete;
    ~job_calls();
    // Waits for room. Throws job_failed, broker_failed and cancelled: then it was not begun.
    task<> begin(std::uint64_t index, std::uint64_t function, job_arguments arguments);
    // Waits for the next that has ended; there must be one under way.
    task<job_end> next();
    [[nodiscard]] std::size_t under_way() const noexcept { return under_way_; }

private:
    struct inbox;
    friend class client_core;
    std::shared_ptr<client_core> core_;
    std::shared_ptr<inbox> inbox_;
    std::size_t under_way_ = 0;
};

// Reads a value that came, and removes it from the store where it is there by reference.
task<std::string> take_value(std::shared_ptr<client_core> core, job_value value);
task<std::string> read_value(std::shared_ptr<client_core> core, std::shared_ptr<const kept_value> value);
std::shared_ptr<const kept_value> keep_value(const std::shared_ptr<client_core>& core, job_value value);

}  // namespace detail

// A value of type T that a job gave, and that stays where it is: small ones here, large ones in the cluster's blob_store until
// the last copy of this is gone (and no longer than blob_options::age). An argument of other jobs in place of a T. Valid as
// long as its client is open.
template <class T>
class cluster_value {
public:
    // Brings it here. Throws job_failed when it is gone.
    task<T> get() const {
        const std::string bytes = co_await detail::read_value(core_, kept_);
        co_return leat::detail::decoded<T>(bytes);
    }
    // Whether it is in the store.
    [[nodiscard]] bool is_by_reference() const noexcept { return std::holds_alternative<blob_ref>(kept_->value); }

private:
    friend class cluster_client;
    cluster_value(std::shared_ptr<detail::client_core> core, std::shared_ptr<const detail::kept_value> kept) noexcept
        : core_(std::move(core)), kept_(std::move(kept)) {}
    std::shared_ptr<detail::client_core> core_;
    std::shared_ptr<const detail::kept_value> kept_;
};

namespace detail {

template <class T>
struct value_in_cluster {
    static constexpr bool is_one = false;
};
template <class T>
struct value_in_cluster<cluster_value<T>> {
    static constexpr bool is_one = true;
    using type = T;
};

// Whether an Argument can be given for a Parameter.
template <class Argument, class Parameter>
consteval bool fits() {
    if constexpr (value_in_cluster<Argument>::is_one)
        return std::is_same_v<typename value_in_cluster<Argument>::type, Parameter>;
    else return std::is_constructible_v<Parameter, const Argument&>;
}
template <class All, std::size_t First, class... Argument, std::size_t... I>
consteval bool all_fit(std::index_sequence<I...>) {
    if constexpr (First + sizeof...(Argument) > std::tuple_size_v<All>) return false;
    else return (fits<Argument, std::tuple_element_t<First + I, All>>() && ...);
}
// Whether these can be the arguments of Function from number First on.
template <auto Function, std::size_t First, class... Argument>
inline constexpr bool are_arguments =
    all_fit<typename job_function<Function>::arguments, First, Argument...>(std::index_sequence_for<Argument...>());

}  // namespace detail

class cluster_client {
    template <auto Function>
    using value_of = typename detail::job_function<Function>::value;
    template <auto Function>
    using arguments_of = typename detail::job_function<Function>::arguments;
    template <auto Function>
    using item_of = std::tuple_element_t<0, arguments_of<Function>>;
    template <class T>
    struct many {
        using type = std::vector<T>;
    };
    template <auto Function>
    using values_of = typename std::conditional_t<std::is_void_v<value_of<Function>>, std::type_identity<void>,
                                                  many<value_of<Function>>>::type;
    template <auto Function>
    using kept_of = std::conditional_t<std::is_void_v<value_of<Function>>, std::type_identity<void>,
                                       std::type_identity<cluster_value<value_of<Function>>>>::type;

public:
    // Below the task that runs on this thread, on its executor: asking that task to stop fails all calls. The broker outlives
    // it. Throws std::invalid_argument for options that cannot be meant so.
    explicit cluster_client(broker& where, client_options options = {});
    cluster_client(const cluster_client&) = delete;
    cluster_client& operator=(const cluster_client&) = delete;
    // A bug unless close() was awaited, or open() never was.
    ~cluster_client();

    // Makes what the queue needs in the engine, or finds it there. Once, before all else. Throws broker_failed.
    task<> open();

    // All calls: any number of tasks at once; they resume on the awaiting task's executor. They throw remote_error (what the
    // function threw), job_failed, broker_failed, what a codec throws, and cancelled when the awaiting task was stopped.

    // Function(argument…) on some worker. An argument may be a cluster_value.
    template <auto Function, class... Argument>
    task<value_of<Function>> submit(const Argument&... argument) {
        return await_call<Function>(pack<Function, 0>(argument...));
    }
    // The same, and leaves the value on the cluster.
    template <auto Function, class... Argument>
    task<kept_of<Function>> submit_kept(const Argument&... argument) {
        return await_kept<Function>(pack<Function, 0>(argument...));
    }

    // Function of each item: the values in the order of the items, of which at most `ahead` are under way at a time; 0: as many
    // as the client allows. The first failure is thrown, and withdraws the others. The items live until then.
    template <auto Function>
    task<values_of<Function>> map(std::span<const item_of<Function>> items, std::size_t ahead = 0) {
        return await_map<Function>(items, ahead);
    }
    // As map, value by value, of items that come from a range (its own copy; a leat::generator too) as there is room: at most
    // `ahead` items are inside, those whose value waits for its turn too; 0: 1000. A failure is thrown in its place and ends the
    // sequence. Dropping the sequence withdraws what is under way.
    template <auto Function, std::ranges::input_range Items>
    async_generator<value_of<Function>> imap(Items items, std::size_t ahead = 0) {
        return stream<Function>(std::move(items), ahead, true);
    }
    // The values as they come.
    template <auto Function, std::ranges::input_range Items>
    async_generator<value_of<Function>> imap_unordered(Items items, std::size_t ahead = 0) {
        return stream<Function>(std::move(items), ahead, false);
    }

    // No more calls: those under way fail as closed. Removes from the engine what is this client's. Resumes on the awaiting
    // task's executor; a stop request does not end the wait, which takes as long as the engine may (patience). Again: nothing.
    task<> close();

    [[nodiscard]] client_counts counts() const noexcept;
    [[nodiscard]] blob_store& blobs() noexcept;
    [[nodiscard]] const client_options& options() const noexcept;

    // For remote(): the messages of arguments, from number First on.
    template <auto Function, std::size_t First, class... Argument>
    static detail::job_arguments pack(const Argument&... argument) {
        static_assert(detail::are_arguments<Function, First, Argument...>,
                      "leat: these are not the function's arguments");
        detail::job_arguments all;
        pack_from<Function, First>(all, std::index_sequence_for<Argument...>(), argument...);
        return all;
    }
    template <auto Function>
    task<value_of<Function>> await_call(detail::job_arguments arguments) {
        check_arity<Function>(arguments);
        detail::job_calls calls(*this);
        co_await calls.begin(0, detail::job_function<Function>::number(), std::move(arguments));
        detail::job_end end = co_await calls.next();
        if (end.error) std::rethrow_exception(end.error);
        const std::string bytes = co_await detail::take_value(core_, std::move(end.value));
        if constexpr (!std::is_void_v<value_of<Function>>) co_return leat::detail::decoded<value_of<Function>>(bytes);
    }
    template <auto Function>
    task<kept_of<Function>> await_kept(detail::job_arguments arguments) {
        check_arity<Function>(arguments);
        detail::job_calls calls(*this);
        co_await calls.begin(0, detail::job_function<Function>::number(), std::move(arguments));
        detail::job_end end = co_await calls.next();
        if (end.error) std::rethrow_exception(end.error);
        if constexpr (!std::is_void_v<value_of<Function>>)
            co_return cluster_value<value_of<Function>>(core_, detail::keep_value(core_, std::move(end.value)));
    }

private:
    friend class detail::job_calls;

    template <auto Function>
    static void check_arity(const detail::job_arguments& arguments) {
        if (arguments.values.size() != detail::job_function<Function>::arity)
            throw std::invalid_argument("a job was given another number of arguments than its function has");
    }
    template <auto Function, std::size_t First, std::size_t... I, class... Argument>
    static void pack_from(detail::job_arguments& all, std::index_sequence<I...>, const Argument&... argument) {
        (pack_one<std::tuple_element_t<First + I, arguments_of<Function>>>(all, argument), ...);
    }
    template <class Parameter, class Argument>
    static void pack_one(detail::job_arguments& all, const Argument& argument) {
        if constexpr (detail::value_in_cluster<Argument>::is_one) {
            all.values.push_back(argument.kept_->value);
            all.kept.push_back(argument.kept_);
        } else if constexpr (std::is_same_v<Argument, Parameter>) {
            all.values.emplace_back(encode(argument));
        } else {
            all.values.emplace_back(encode(Parameter(argument)));
        }
    }

    template <auto Function>
    task<values_of<Function>> await_map(std::span<const item_of<Function>> items, std::size_t ahead) {
        static_assert(detail::job_function<Function>::arity == 1, "leat: map is for functions of one item");
        using value = value_of<Function>;
        std::vector<std::optional<std::conditional_t<std::is_void_v<value>, bool, value>>> made(items.size());
        ahead = ahead == 0 ? options().most_jobs : ahead;
        detail::job_calls calls(*this);
        std::size_t next = 0;
        while (next < items.size() || calls.under_way() != 0) {
            while (next < items.size() && calls.under_way() < ahead) {
                detail::job_arguments one = pack<Function, 0>(items[next]);
                co_await calls.begin(next, detail::job_function<Function>::number(), std::move(one));
                ++next;
            }
            detail::job_end end = co_await calls.next();
            if (end.error) std::rethrow_exception(end.error);
            const std::string bytes = co_await detail::take_value(core_, std::move(end.value));
            if constexpr (!std::is_void_v<value>) made[end.index].emplace(leat::detail::decoded<value>(bytes));
        }
        if constexpr (!std::is_void_v<value>) {
            std::vector<value> all;
            all.reserve(made.size());
            for (auto& each : made) all.push_back(std::move(*each));
            co_return all;
        }
    }

    template <auto Function, class Items>
    async_generator<value_of<Function>> stream(Items items, std::size_t ahead, bool is_ordered) {
        static_assert(detail::job_function<Function>::arity == 1, "leat: imap is for functions of one item");
        static_assert(!std::is_void_v<value_of<Function>>, "leat: imap is for functions with a value: use map");
        ahead = std::min(ahead == 0 ? std::size_t{1000} : ahead, options().most_jobs);
        detail::job_calls calls(*this);
        std::map<std::uint64_t, detail::job_end> early;  // ended before their turn
        std::uint64_t begun = 0;
        std::uint64_t turn = 0;
        auto at = std::ranges::begin(items);
        const auto last = std::ranges::end(items);
        for (;;) {
            for (; at != last && calls.under_way() + early.size() < ahead; ++at) {
                detail::job_arguments one = pack<Function, 0>(item_of<Function>(*at));
                co_await calls.begin(begun, detail::job_function<Function>::number(), std::move(one));
                ++begun;
            }
            detail::job_end end;
            if (!early.empty() && early.begin()->first == turn) {
                end = std::move(early.begin()->second);
                early.erase(early.begin());
            } else if (calls.under_way() == 0) {
                co_return;
            } else {
                end = co_await calls.next();
                if (is_ordered && end.index != turn) {
                    const std::uint64_t index = end.index;
                    early.emplace(index, std::move(end));
                    continue;
                }
            }
            ++turn;
            if (end.error) std::rethrow_exception(end.error);
            const std::string bytes = co_await detail::take_value(core_, std::move(end.value));
            co_yield leat::detail::decoded<value_of<Function>>(bytes);
        }
    }

    std::shared_ptr<detail::client_core> core_;
};

// Awaits fn(client, arguments…) with a client of its own, which is opened before and closed on every path, exceptions and
// cancellation included. Gives what fn gives. Function and arguments are kept until then.
template <class Function, class... Argument>
auto with_cluster_client(broker& where, client_options options, Function fn, Argument... arguments)
    -> std::invoke_result_t<Function&, cluster_client&, Argument&...> {
    using value = typename std::invoke_result_t<Function&, cluster_client&, Argument&...>::value_type;
    cluster_client client(where, std::move(options));
    outcome<void> opened = co_await client.open().as_outcome();
    outcome<value> end;
    if (opened.is_value()) {
        task<value> body = std::invoke(fn, client, arguments...);
        end = co_await std::move(body).as_outcome();
    }
    co_await client.close();
    std::move(opened).get();
    co_return std::move(end).get();
}

}  // namespace leat::cluster
