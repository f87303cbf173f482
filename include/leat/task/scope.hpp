// scope: what tasks are spawned into and joined by. Nothing outlives its scope.
//
// with_scope(fn, args…) is the usual form: it joins on every path. A bare `scope` is the expert's: it must be joined before
// it is destroyed, whatever happens in between; else the program ends with a message that names the tasks.
//
// Invariants:
//  1. The first error of a task stops its siblings and is what join() throws; `cancelled` is never an error.
//     The error of a task that was submitted belongs to its handle first: sync/task_handle.hpp.
//  2. A finishing task touches nothing of the scope after its arrive(), unless it was the last one (see countdown).
#pragma once

#include <functional>
#include <memory>
#include <source_location>
#include <tuple>

#include <leat/task/arm.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

// The name of a task in reports: a literal. Its own place is told as the one where the task was spawned: make it there. (Of a
// task that is spawned without a name reports have only the types of function and arguments.)
struct task_name {
    const char* text;
    std::source_location spawned_at;
    explicit constexpr task_name(const char* literal,
                                 std::source_location where = std::source_location::current()) noexcept
        : text(literal), spawned_at(where) {}
};

// What a scope can be told of one task: spawn(task_options("reader", priority::high), read, …).
struct task_options {
    const char* name;  // a literal
    priority urgency;
    std::source_location spawned_at;
    constexpr task_options(const char* literal, priority how_urgent,
                           std::source_location where = std::source_location::current()) noexcept
        : name(literal), urgency(how_urgent), spawned_at(where) {}
};

class scope;

namespace detail {

// The error of a task that belongs to the task's handle (sync/task_handle.hpp), until it is taken there or the scope is
// joined. In the scope's list from hold() to let_go() or surrender(), whichever comes first.
class held_error {
public:
    // The scope is joined: the error, or null when it was taken. Called once, with no lock held; this may be gone after it.
    virtual std::exception_ptr surrender() noexcept = 0;

protected:
    virtual ~held_error() = default;

private:
    friend class leat::scope;
    held_error* next_ = nullptr;
    held_error** link_ = nullptr;  // what points to this in the list; null: not there
};

// A spawned task on the heap: its line and what it runs. Frees itself at its end.
// There is one for each task that waits: so it has none of what is the same for all of its type, as the arms have.
class spawned_base : public context {
public:
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* block, std::size_t size) noexcept { free_frame(block, size); }

protected:
    spawned_base(scope& owner, priority how_urgent) noexcept;
    // What the body continues with: AtEnd(block), where the line that ends, whose code runs, tells which.
    template <auto AtEnd>
    static std::coroutine_handle<> end() noexcept {
        static constinit frame_stub stub(&ended<AtEnd>);
        return stub.handle();
    }
    // The scope is known by its stop source, which the line follows: a task has no other field for it.
    [[nodiscard]] scope& owner() const noexcept;
    // Tells the scope that the task has ended. `self` is gone afterwards.
    template <class Self>
    static void leave(Self& self);

private:
    template <auto AtEnd>
    static void ended(frame_stub*) noexcept {
        auto& self = static_cast<spawned_base&>(*current());
        self.unlink();
        AtEnd(self);
    }
};

// How a spawned task is called. With a name that takes a place of its own; without one the word in the line is enough.
struct unnamed {
    unnamed(context& line, const task_options& how) noexcept { line.rename(line_label(how.spawned_at)); }
};
class named {
public:
    named(context& line, const task_options& how) noexcept : both_{how.name, how.spawned_at} {
        line.rename(line_label(both_));
    }

private:
    line_label::record both_;
};

// One whose frame holds all that it uses.
template <class Label, class Body>
class spawned final : public spawned_base {
public:
    spawned(scope& owner, const task_options& how, Body body) noexcept
        : spawned_base(owner, how.urgency), label_(*this, how), body_(std::move(body)) {}
    void post() { post_at(body_.start_on(*this, end<&at_end>()), false); }

private:
    static void at_end(spawned_base& self) noexcept {
        auto& mine = static_cast<spawned&>(self);
        if (mine.body_.ended().failed()) [[unlikely]]
            mine.owner().fail(mine.body_.ended().error());
        leave(mine);
    }
    [[no_unique_address]] Label label_;
    Body body_;
};

// One whose function and arguments are kept for the life of the task: its parameters may refer to the arguments, and a
// lambda's captures are the lambda's.
template <class Label, class Body, class Function, class... Argument>
class spawned_call final : public spawned_base {
public:
    template <class F, class... A>
    spawned_call(scope& owner, const task_options& how, F&& fn, A&&... arguments)
        : spawned_base(owner, how.urgency),
          label_(*this, how),
          function_(std::forward<F>(fn)),
          arguments_(std::forward<A>(arguments)...),
          body_(std::apply(std::move(function_), std::move(arguments_))) {}
    void post() { post_at(body_.start_on(*this, end<&at_end>()), false); }

private:
    static void at_end(spawned_base& self) noexcept {
        auto& mine = static_cast<spawned_call&>(self);
        if (mine.body_.ended().failed()) [[unlikely]]
            mine.owner().fail(mine.body_.ended().error());
        leave(mine);
    }
    [[no_unique_address]] Label label_;
    Function function_;
    std::tuple<Argument...> arguments_;
    Body body_;
};

// Whether a coroutine takes copies of all its arguments as they are, so that nobody else needs to keep them: a function,
// or a lambda without captures, whose parameters are of the arguments' types, or numbers both.
template <class Parameter, class Argument>
constexpr bool is_copy_of =  // NOLINTNEXTLINE(misc-redundant-expression): for two that are one type
    std::is_same_v<Parameter, Argument> || (std::is_arithmetic_v<Parameter> && std::is_arithmetic_v<Argument>);
template <class Function, class... Argument>
constexpr bool takes_copies = false;
template <class R, class... Parameter, class... Argument>
    requires(sizeof...(Parameter) == sizeof...(Argument))
constexpr bool takes_copies<R (*)(Parameter...), Argument...> = (is_copy_of<Parameter, Argument> && ...);
template <class R, class... Parameter, class... Argument>
    requires(sizeof...(Parameter) == sizeof...(Argument))
constexpr bool takes_copies<R (*)(Parameter...) noexcept, Argument...> = (is_copy_of<Parameter, Argument> && ...);
template <class Function, class... Argument>
    requires(std::is_empty_v<Function> && requires(const Function& fn) { +fn; })
constexpr bool takes_copies<Function, Argument...> =
    takes_copies<decltype(+std::declval<const Function&>()), Argument...>;

}  // namespace detail

class scope : private child_stop_source {
public:
    // Below the task that runs on this thread: its stop requests reach the scope's tasks, which run where it runs now, with
    // the priority that it has now.
    explicit scope(std::source_location where = std::source_location::current());
    // Below the line given.
    explicit scope(context& line) noexcept
        : child_stop_source(line.stop()), line_(line), where_(line.where()), urgency_(line.urgency), ends_(0) {}
    ~scope();

    // Runs function(arguments…), which returns a task, on the scope's executor, never inside this call. Function and
    // arguments are decay-copied into the task and live until its end (but what a copy is converted to for a reference
    // parameter does not: pass a std::string, not a literal, for const std::string&). Its value is dropped; its error stops the siblings.
    // Callable by the owner before join(), and by tasks of the scope at any time. After stop() the task starts with stop
    // requested. Throws what copying the arguments or making the frame throws; then nothing was spawned.
    template <class Function, class... Argument>
    void spawn(Function&& function, Argument&&... arguments) {
        spawn_as<detail::unnamed>(task_options(line_label::nameless, urgency_), std::forward<Function>(function),
                                  std::forward<Argument>(arguments)...);
    }
    template <class Function, class... Argument>
    void spawn(task_name name, Function&& function, Argument&&... arguments) {
        spawn(task_options(name.text, urgency_, name.spawned_at), std::forward<Function>(function),
              std::forward<Argument>(arguments)...);
    }
    template <class Function, class... Argument>
    void spawn(task_options how, Function&& function, Argument&&... arguments) {
        spawn_as<detail::named>(how, std::forward<Function>(function), std::forward<Argument>(arguments)...);
    }

    // As spawn(), and gives a task_handle to its value, error and stop: defined in leat/sync/task_handle.hpp.
    template <class... Spawned>
    [[nodiscard]] auto submit(Spawned&&... as_for_spawn);

    // Asks all tasks to stop, also those spawned later. Any thread.
    void stop() noexcept { request_stop(); }
    stop_source& source() noexcept { return *this; }

    // Awaits the end of all tasks; resumes on the awaiting task's executor. Rethrows the first error; throws cancelled when
    // the awaiting task was asked to stop. The wait itself cannot be interrupted: stop requests reach the tasks, which end.
    // Afterwards the scope is empty and can be used again.
    auto join() noexcept { return join_operation(*this, true); }
    // The same without throwing: the first error, or null.
    auto join_quietly() noexcept { return join_operation(*this, false); }

    // Counts `error` as the first error unless there is one, and stops the tasks.
    void fail(std::exception_ptr error) noexcept;
    // For task_handle: keeps an error in case nobody takes it before the join; and no longer. let_go() is false when the
    // join has begun with it: surrender() is called then.
    void hold(detail::held_error& error) noexcept;
    bool let_go(detail::held_error& error) noexcept;

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

    template <class Label, class Function, class... Argument>
    void spawn_as(task_options how, Function&& function, Argument&&... arguments) {
        using body = decltype(std::apply(std::declval<std::decay_t<Function>>(),
                                         std::declval<std::tuple<std::decay_t<Argument>...>>()));
        static_assert(detail::is_task<body>::value, "a scope spawns functions that return leat::task");
        if constexpr (detail::takes_copies<std::decay_t<Function>, std::decay_t<Argument>...>) {
            using block = detail::spawned<Label, body>;
            add(*new block(*this, how, std::invoke(function, std::forward<Argument>(arguments)...)));
        } else {
            using block = detail::spawned_call<Label, body, std::decay_t<Function>, std::decay_t<Argument>...>;
            add(*new block(*this, how, std::forward<Function>(function), std::forward<Argument>(arguments)...));
        }
    }

    template <class Spawned>
    void add(Spawned& task) noexcept {
        joined_.store(false, env::relaxed);  // relaxed: read by the owner, after the arrivals
        ends_.add();
        task.post();
    }
    std::exception_ptr finish(const context& line, bool throws);
    [[nodiscard]] detail::held_error* next_held() noexcept;
    static bool take_out(detail::held_error& error) noexcept;

    context& line_;
    executor& where_;  // this and the next: copies, since the line may move while tasks spawn
    priority urgency_;
    countdown ends_;
    env::mutex lock_;
    std::exception_ptr first_error_;      // under lock_
    detail::held_error* held_ = nullptr;  // under lock_; newest first
    env::atomic<bool> joined_{true};      // true: no task was spawned since the last join
};

namespace detail {

inline spawned_base::spawned_base(scope& owner, priority how_urgent) noexcept
    : context(owner.line_, owner.where_, how_urgent) {
    attach(owner);
}

inline scope& spawned_base::owner() const noexcept {
    return static_cast<scope&>(static_cast<child_stop_source&>(*upstream()));
}

template <class Self>
void spawned_base::leave(Self& self) {
    scope& owner = self.owner();
    delete &self;  // before the arrival: arguments and frame are gone when the scope is joined
    owner.ends_.arrive();
}

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
