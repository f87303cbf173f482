// graph: tasks that depend on each other: each is run once, when those it comes after are done, with their results.
//
//   leat::graph work;
//   auto text = work.add("load", load);                                // string load()
//   auto words = work.add("count", count).after(text);                 // task<long> count(const string&)
//   auto lines = work.add("lines", count_lines, text);                 // the same in one step
//   auto done = work.add("show", show).after(words, lines);            // void show(long, long)
//   leat::graph_report told = co_await work.run();
//   if (told.ok()) use(words.get());
//
// A function may be plain or return a task; it is called once, with the results of the nodes that it was added after, as const
// references in their order: those without a result only order. A function that takes no arguments is given none.
// What fails cancels what depends on it, directly or not, and nothing else: the rest goes on.
//
// Invariants:
//  1. A node waits, runs, then has ended, for good. It runs only when all it comes after are done; it ends as not_run as soon
//     as one of them has ended otherwise, or the graph is stopped.
//  2. Edges lead from nodes that were there to nodes that have not begun, and never close a cycle; so the nodes that have not
//     ended always have one among them that can go on.
//  3. A node is added under the graph's lock, in which run() sees that nothing is left: so none is added that nobody runs.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include <leat/task/task.hpp>

namespace leat {

// How far a node is, or how it has ended.
enum class graph_node_end : std::uint8_t {
    waiting,    // for others, or for its turn
    running,    // it has begun
    done,       // it has returned
    failed,     // it threw
    cancelled,  // it ended as cancelled: by a stop of the graph, or because of what it awaited
    not_run,    // because of another node, or of a stop of the graph
};
// "waiting", …, "not run".
[[nodiscard]] std::string_view to_string(graph_node_end end) noexcept;

struct graph_node_report {
    std::string name;
    graph_node_end end = graph_node_end::waiting;
    std::string why;                 // failed: what it threw; not_run: because of what; else empty
    std::vector<std::size_t> after;  // the nodes that it came after, by their places in graph_report::nodes
    bool began = false;
    double start_s = 0;  // since the start of the run; both 0 for one that has not begun
    double end_s = 0;    // of one that runs: now
};

// The account of a graph, in the order in which the nodes were added.
struct graph_report {
    std::vector<graph_node_report> nodes;
    double seconds = 0;    // of the run, until now or its end
    unsigned limit = 0;    // how many nodes ran at a time, at most
    bool stopped = false;  // it was asked to stop
    // The chain of nodes, each after the one before it, that took longest: no number of workers makes the run shorter.
    std::vector<std::size_t> critical_path;
    double critical_s = 0;      // the time its nodes ran for
    double critical_share = 0;  // of `seconds`

    [[nodiscard]] std::size_t count(graph_node_end end) const noexcept;
    // Every node is done.
    [[nodiscard]] bool ok() const noexcept { return count(graph_node_end::done) == nodes.size(); }
    // A table for a person; several lines, each ended.
    [[nodiscard]] std::string to_text() const;
    // One JSON object: seconds, limit, stopped, nodes (name, end, why, after, start_s, end_s), critical_path, …
    [[nodiscard]] std::string to_json() const;
};

// What was asked of a graph cannot be: a node of another graph, one that has begun, one without a result.
class graph_error : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

// after() would have closed a cycle. what() is "a cycle: a → b → a"; each node comes after the one before it.
class graph_cycle : public graph_error {
public:
    explicit graph_cycle(std::vector<std::string> names);
    // The nodes on it by name, the first again at the end.
    [[nodiscard]] const std::vector<std::string>& path() const noexcept { return path_; }

private:
    std::vector<std::string> path_;
};

struct graph_options {
    graph_options() = default;
    explicit graph_options(unsigned most) noexcept : limit(most) {}
    unsigned limit =
        0;  // nodes that run at a time; 0: the effective CPUs. Raise it for nodes that wait more than they compute
};

class graph;
template <class T>
class graph_node;

namespace detail {

class graph_core;  // src/flow/graph.cpp
struct graph_entry;

// What a node runs, and the place of its result.
class graph_body {
public:
    graph_body() = default;
    graph_body(const graph_body&) = delete;
    graph_body& operator=(const graph_body&) = delete;
    virtual ~graph_body() = default;
    virtual task<> run() = 0;
    // The function is not needed any more: destroys it, with what it holds. The result stays.
    virtual void drop() noexcept = 0;
};

template <class T>
class graph_result : public graph_body {
public:
    [[nodiscard]] const T& value() const noexcept { return *value_; }  // of a node that is done

protected:
    std::optional<T> value_;
};
template <>
class graph_result<void> : public graph_body {};

// The part of a handle that needs no types.
class graph_node_base {
public:
    [[nodiscard]] const std::string& name() const noexcept;
    // A snapshot; any thread.
    [[nodiscard]] graph_node_end end() const;

protected:
    graph_node_base(graph_core& owner, graph_entry& at) noexcept : owner_(&owner), at_(&at) {}
    void come_after(std::initializer_list<graph_node_base> others) const;
    void require_done() const;  // throws its error, or graph_error

private:
    friend class leat::graph;
    friend class graph_core;
    graph_core* owner_;
    graph_entry* at_;
};

template <class T>
struct graph_without_task {
    using type = std::decay_t<T>;
};
template <class T>
struct graph_without_task<task<T>> {
    using type = std::decay_t<T>;
};

// The results of nodes as arguments: those of void are left out.
template <class T>
auto graph_argument(const graph_result<T>* of) noexcept {
    if constexpr (std::is_void_v<T>) return std::tuple<>();
    else return std::tuple<const graph_result<T>*>(of);
}

// How a function is called with results of types T…: with all of them, or with none.
template <class Function, class Arguments>
struct graph_call_of;
template <class Function, class... T>
    requires std::invocable<Function&, const T&...>
struct graph_call_of<Function, std::tuple<const graph_result<T>*...>> {
    using direct = std::invoke_result_t<Function&, const T&...>;
    static constexpr bool takes_results = true;
};
template <class Function, class... T>
    requires(!std::invocable<Function&, const T&...> && std::invocable<Function&>)
struct graph_call_of<Function, std::tuple<const graph_result<T>*...>> {
    using direct = std::invoke_result_t<Function&>;
    static constexpr bool takes_results = false;
};

template <class Function, class Arguments>
concept graph_callable = requires { typename graph_call_of<Function, Arguments>::direct; };

template <class Function, class Arguments>
using graph_value = typename graph_without_task<typename graph_call_of<Function, Arguments>::direct>::type;

template <class Function, class Arguments>
class graph_call final : public graph_result<graph_value<Function, Arguments>> {
    using how = graph_call_of<Function, Arguments>;
    using direct = typename how::direct;
    using value = graph_value<Function, Arguments>;

public:
    graph_call(Function fn, Arguments from) : fn_(std::move(fn)), from_(from) {}

    task<> run() override {
        if constexpr (is_task<direct>::value) {
            direct body = call();
            if constexpr (std::is_void_v<value>) co_await body;
            else this->value_.emplace(co_await body);
        } else if constexpr (std::is_void_v<value>) {
            call();
        } else {
            this->value_.emplace(call());
        }
        co_return;
    }
    void drop() noexcept override { fn_.reset(); }

private:
    direct call() {
        if constexpr (how::takes_results)
            return std::apply([this](const auto*... of) -> direct { return std::invoke(*fn_, of->value()...); }, from_);
        else return std::invoke(*fn_);
    }
    std::optional<Function> fn_;
    Arguments from_;
};

}  // namespace detail

// A node of a graph, whose function gives a T: a handle to be copied, valid while the graph is there.
template <class T>
class graph_node : public detail::graph_node_base {
public:
    using value_type = T;

    // Lets this node wait for `others` too. Their results are not passed on: get() gives them. Any thread; throws graph_cycle,
    // or graph_error when this one has begun or ended, and nothing has changed then. (A node of a graph that runs begins
    // as soon as it can: there, name what it comes after in add().)
    template <class... Other>
    graph_node after(const graph_node<Other>&... others) const {
        this->come_after({others...});
        return *this;
    }
    // The result, once the node is done: inside a node that comes after it, or after the run. Rethrows what the node threw;
    // throws graph_error when it has not ended, or was cancelled or not run.
    auto get() const -> std::add_lvalue_reference_t<const T> {
        this->require_done();
        if constexpr (!std::is_void_v<T>) return result_->value();
    }

private:
    friend class graph;
    template <class Function>
    friend class graph_draft;
    graph_node(detail::graph_core& owner, detail::graph_entry& at, const detail::graph_result<T>& result) noexcept
        : graph_node_base(owner, at), result_(&result) {}
    const detail::graph_result<T>* result_;
};

// A function that takes results, before it is said whose: after() makes a node of it. Dropped without, it is no node.
template <class Function>
class [[nodiscard]] graph_draft {
public:
    // Adds the node: as graph::add() with the name and function given there.
    template <class... T>
    auto after(const graph_node<T>&... others) &&;

private:
    friend class graph;
    graph_draft(graph& owner, std::string name, Function fn)
        : owner_(owner), name_(std::move(name)), fn_(std::move(fn)) {}
    graph& owner_;
    std::string name_;
    Function fn_;
};

class graph {
public:
    graph();
    graph(graph&&) noexcept = default;  // the handles stay valid; not while it runs
    graph& operator=(graph&&) noexcept = default;
    // Not while it runs.
    ~graph();

    // Adds a node. Function and result are kept: the function until it has run, the result as long as the graph.
    // Any thread; also while the graph runs, also from inside a node: then it may begin before this returns, and is not_run
    // at once where it comes after one that has failed. (A node that shall be waited for adds what continues it.)
    // Throws graph_error for nodes of another graph, and when the run has ended.
    template <class Function, class... T>
        requires(sizeof...(T) > 0 || std::invocable<std::decay_t<Function>&>)
    auto add(std::string name, Function&& fn, const graph_node<T>&... after) {
        using function = std::decay_t<Function>;
        auto from = std::tuple_cat(detail::graph_argument(after.result_)...);
        using arguments = decltype(from);
        static_assert(detail::graph_callable<function, arguments>,
                      "the function takes neither the results of the nodes that it comes after, as const references in "
                      "their order, nor nothing");
        using call = detail::graph_call<function, arguments>;
        using value = detail::graph_value<function, arguments>;
        auto body = std::make_unique<call>(std::forward<Function>(fn), from);
        const detail::graph_result<value>& result = *body;
        detail::graph_entry& at = place(std::move(name), std::move(body), {after...});
        return graph_node<value>(*core_, at, result);
    }
    // The same for a function that needs results: they are named by after().
    template <class Function>
        requires(!std::invocable<std::decay_t<Function>&>)
    graph_draft<std::decay_t<Function>> add(std::string name, Function&& fn) {
        return {*this, std::move(name), std::forward<Function>(fn)};
    }

    // Runs all nodes on the executor of the awaiting task, and resumes there when each has ended, those that were added
    // meanwhile too. Once. A node that fails is in the report: this throws cancelled alone, after everything has ended, when
    // the awaiting task was stopped.
    task<graph_report> run(graph_options options = {});
    // Asks the nodes that run to stop, and begins no more: run() then gives its report. Any thread.
    void stop() noexcept;
    // How far it is. Any thread; also after run() has thrown.
    [[nodiscard]] graph_report report() const;

private:
    detail::graph_entry& place(std::string name, std::unique_ptr<detail::graph_body> body,
                               std::initializer_list<detail::graph_node_base> after);

    std::shared_ptr<detail::graph_core> core_;
};

template <class Function>
template <class... T>
auto graph_draft<Function>::after(const graph_node<T>&... others) && {
    return owner_.add(std::move(name_), std::move(fn_), others...);
}

}  // namespace leat
