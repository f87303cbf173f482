// scope: what tasks are spawned into and joined by. Nothing outlives its scope.
//
// with_scope(fn, args…) is the usual form: it joins on every path. A bare `scope` is the expert's: it must be joined before
// it is destroyed, whatever happens in between; else the program ends with a message that names the tasks.
//
// Invariants:
//  1. The first error of a task stops its siblings and is what join() throws; `cancelled` is never an error.
//  2. A finishing task touches nothing of the scope after its arrive(), unless it was the last one (see countdown).
#pragma once

#include <memory>
#include <source_location>
#include <tuple>

#include <leat/task/arm.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

// The name of a task in reports: a literal.
struct task_name {
    const char* text;
    explicit constexpr task_name(const char* literal) noexcept : text(literal) {}
};

// What a scope can be told of one task: spawn(task_options("reader", priority::high), read, …).
struct task_options {
    const char* name;  // a literal
    priority urgency;
    constexpr task_options(const char* literal, priority how_urgent) noexcept : name(literal), urgency(how_urgent) {}
};

class scope;

namespace detail {

// A spawned task on the heap: its context, function and arguments. Frees itself at its end.
class spawned_base : public arm_base {
public:
    virtual ~spawned_base() = default;
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* block, std::size_t size) noexcept { free_frame(block, size); }

protected:
    spawned_base(scope& owner, task_options how) noexcept;
    void post(std::coroutine_handle<> body) noexcept { post_at(body, false); }
    using arm_base::end;

private:
    friend class leat::scope;
    virtual void post() = 0;
    virtual const outcome_base& result() const noexcept = 0;
    static void at_end(arm_base& self) noexcept;
    scope& owner_;
};

template <class Body, class Function, class... Argument>
class spawned final : public spawned_base {
public:
    template <class F, class... A>
    spawned(scope& owner, task_options how, F&& fn, A&&... arguments)
        : spawned_base(owner, how),
          function_(std::forward<F>(fn)),
          arguments_(std::forward<A>(arguments)...),
          body_(std::apply(std::move(function_), std::move(arguments_))) {}

private:
    void post() override { spawned_base::post(body_.start_on(*this, end())); }
    const outcome_base& result() const noexcept override { return body_.peek_outcome(); }

    // Kept for the life of the task: its parameters may refer to them, and a lambda's captures are the lambda's.
    Function function_;
    std::tuple<Argument...> arguments_;
    Body body_;
};

}  // namespace detail

class scope {
public:
    // Below the task that runs on this thread: its stop requests reach the scope's tasks, which run where it runs now, with
    // the priority that it has now.
    explicit scope(std::source_location where = std::source_location::current());
    // Below the line given.
    explicit scope(context& line) noexcept
        : line_(line), where_(line.where()), urgency_(line.urgency), ends_(0), stop_(line.stop()) {}
    ~scope();

    // Runs function(arguments…), which returns a task, on the scope's executor, never inside this call. Function and
    // arguments are decay-copied into the task and live until its end (but what a copy is converted to for a reference
    // parameter does not: pass a std::string, not a literal, for const std::string&). Its value is dropped; its error stops the siblings.
    // Callable by the owner before join(), and by tasks of the scope at any time. After stop() the task starts with stop
    // requested. Throws what copying the arguments or making the frame throws; then nothing was spawned.
    template <class Function, class... Argument>
    void spawn(Function&& function, Argument&&... arguments) {
        spawn(task_options("task", urgency_), std::forward<Function>(function), std::forward<Argument>(arguments)...);
    }
    template <class Function, class... Argument>
    void spawn(task_name name, Function&& function, Argument&&... arguments) {
        spawn(task_options(name.text, urgency_), std::forward<Function>(function),
              std::forward<Argument>(arguments)...);
    }
    template <class Function, class... Argument>
    void spawn(task_options how, Function&& function, Argument&&... arguments) {
        using body = decltype(std::apply(std::declval<std::decay_t<Function>>(),
                                         std::declval<std::tuple<std::decay_t<Argument>...>>()));
        static_assert(detail::is_task<body>::value, "a scope spawns functions that return leat::task");
        using block = detail::spawned<body, std::decay_t<Function>, std::decay_t<Argument>...>;
        add(std::make_unique<block>(*this, how, std::forward<Function>(function),
                                    std::forward<Argument>(arguments)...));
    }

    // Asks all tasks to stop, also those spawned later. Any thread.
    void stop() noexcept { stop_.request_stop(); }
    stop_source& source() noexcept { return stop_; }

    // Awaits the end of all tasks; resumes on the awaiting task's executor. Rethrows the first error; throws cancelled when
    // the awaiting task was asked to stop. The wait itself cannot be interrupted: stop requests reach the tasks, which end.
    // Afterwards the scope is empty and can be used again.
    auto join() noexcept { return join_operation(*this, true); }
    // The same without throwing: the first error, or null.
    auto join_quietly() noexcept { return join_operation(*this, false); }

    // Counts `error` as the first error unless there is one, and stops the tasks.
    void fail(std::exception_ptr error) noexcept;

    // How many tasks have not ended. A snapshot.
    [[nodiscard]] std::size_t pending() const noexcept { return ends_.pending(); }

private:
    friend class detail::spawned_base;

    class [[nodiscard]] join_operation {
    public:
        join_operation(scope& owner, bool throws) noexcept : owner_(owner), throws_(throws) {}
        bool await_ready() const noexcept { return false; }
        template <has_context Promise>
        bool await_suspend(std::coroutine_handle<Promise> parent) noexcept {
            line_ = &parent.promise().leat_context();
            return owner_.ends_.suspend(*line_, parent, "scope join");
        }
        std::exception_ptr await_resume() { return owner_.finish(*line_, throws_); }

    private:
        scope& owner_;
        context* line_ = nullptr;
        bool throws_;
    };

    void add(std::unique_ptr<detail::spawned_base> task) noexcept;
    std::exception_ptr finish(const context& line, bool throws);

    context& line_;
    executor& where_;  // this and the next: copies, since the line may move while tasks spawn
    priority urgency_;
    countdown ends_;
    child_stop_source stop_;
    env::mutex lock_;
    std::exception_ptr first_error_;  // under lock_ until all have arrived
    env::atomic<bool> joined_{true};  // true: no task was spawned since the last join
};

namespace detail {

template <class T, class Function, class... Argument>
task<T> call_in(Function& fn, scope& work, Argument&... arguments) {
    task<T> body = fn(work, std::move(arguments)...);
    co_return co_await body;
}

}  // namespace detail

// Runs fn(scope&, args…), then joins the scope, on every path. When the body or a task fails, all others are stopped, and
// the first error is rethrown after all have ended. The body's value is kept otherwise. Arguments are held by value.
template <class Function, class... Argument>
auto with_scope(Function fn, Argument... arguments)
    -> task<typename std::invoke_result_t<Function, scope&, Argument...>::value_type> {
    using value = typename std::invoke_result_t<Function, scope&, Argument...>::value_type;
    context& line = co_await this_task::line();
    scope work(line);
    // Through a task of ours, so that what fn itself throws, before there is a task of it, is an end like any other.
    lone_arm<value> body(line, detail::call_in<value>(fn, work, arguments...));
    body.start(work.source());
    co_await body.arrived("scope body");
    outcome<value> end = body.take();
    if (end.is_error()) work.fail(end.error());
    else if (end.is_cancelled()) work.stop();
    if (std::exception_ptr error = co_await work.join_quietly()) std::rethrow_exception(error);
    co_return std::move(end).get();
}

}  // namespace leat
