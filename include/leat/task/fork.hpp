// fork and join: divide and conquer over the threads of an executor, at about the cost of a function call where nobody
// steals.
//
//   leat::fork_task<long> fib(int n) {
//       if (n < 2) co_return n;
//       long left = 0;
//       co_await leat::fork(&left, fib, n - 1);           // runs it now; others may go on here meanwhile
//       const long right = co_await leat::call(fib, n - 2);
//       co_await leat::join();                             // left is there now
//       co_return left + right;
//   }
//   leat::task<> program() { std::printf("%ld\n", co_await fib(30)); }
//
// A fork_task is a coroutine that may fork. Any task awaits one: it runs on that task's executor, on a thread_pool in
// parallel, on an event_loop one after the other, and the task goes on on its executor when the whole tree has ended.
// Inside a fork_task one can await fork(), call(), join(), another fork_task (as call() does) and a leat::task; other
// operations (a channel, sleep_for) are awaited by a task that it awaits. It may go on on another thread after each.
//
// Order: the child runs first, on the thread that forked it, until it ends or waits; what follows the fork is offered to
// other threads meanwhile.
// Lifetime: what a child refers to lives until the join: results, and what is given for reference parameters. So give
// those no temporaries; they die when the fork returns. A fork_task that ends with children outstanding, by an exception or
// without a join, waits for them; its parameters live until then, its locals do not.
// Errors: what a called child throws is thrown by the await. What a forked child throws is thrown at the join, after all
// children have ended: the first, and the rest is dropped. A frame for which there is no memory: std::bad_alloc at the fork.
// Cancellation: when the awaiting task is asked to stop, fork() and call() throw cancelled from then on, and so the tree
// ends; a join then throws the cancelled of its children.
// Memory: frames lie on stacks of the workers, which grow in segments; a fork allocates nothing else. Frames are aligned to
// 16 bytes at most.
// Fairness: a tree of forks holds its threads until it has ended or waits, as any computation does: no budget ends its turn,
// and on one thread no timer fires meanwhile. Not that forks could not be counted: it is the turn that costs. What ran inside a fork
// would lie on top of the tree's frames and its deque, so that trees of its own could not be stolen from; and to step aside
// with a whole tree means to post each continuation that it has on offer. So give long trees a pool of their own (on()), or
// have a frame await a task that yields: the frame waits then, and the others of its tree run on. The log tells of a tree that
// holds its worker for long (run_options::report_holds_after).
#pragma once

#include <functional>
#include <memory>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

#include <leat/task/arm.hpp>
#include <leat/task/fork_worker.hpp>
#include <leat/task/task.hpp>

namespace leat {

template <class T = void>
class fork_task;

namespace detail {

template <class T>
struct is_fork_task : std::false_type {};
template <class T>
struct is_fork_task<fork_task<T>> : std::true_type {
    using value_type = T;
};

// How a value is kept: references as pointers.
template <class T>
using fork_stored = std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, T>;

// What fork() and call() give: a call yet to be made. Refers to its arguments.
template <fork_kind Kind, class T, class Function, class... Argument>
class [[nodiscard]] fork_call {
public:
    fork_call(fork_stored<T>* result, Function& function, Argument&&... arguments) noexcept
        : result_(result), function_(function), arguments_(std::forward<Argument>(arguments)...) {}

private:
    template <class, bool>
    friend class fork_promise;
    fork_task<T> make() {
        return std::apply(
            [this](Argument&&... each) { return std::invoke(function_, std::forward<Argument>(each)...); },
            std::move(arguments_));
    }
    fork_stored<T>* result_;
    Function& function_;
    std::tuple<Argument&&...> arguments_;
};

template <class Function, class... Argument>
using fork_result = typename is_fork_task<std::invoke_result_t<Function&, Argument...>>::value_type;

struct [[nodiscard]] fork_join {};

// The value of a child that was called, on its way into the awaiting frame. Frames that wait are not destroyed, so it needs
// no destructor; GCC 12 would run it twice.
template <class T>
class fork_value {
public:
    void* place() noexcept { return bytes_; }
    T take() {
        auto* const value = std::launder(reinterpret_cast<fork_stored<T>*>(bytes_));
        if constexpr (std::is_reference_v<T>) {
            return static_cast<T>(**value);
        } else {
            struct ending {
                T* value;
                ~ending() { std::destroy_at(value); }
            } const end{value};
            return std::move(*value);
        }
    }

private:
    alignas(fork_stored<T>) std::byte bytes_[sizeof(fork_stored<T>)];
};
template <>
class fork_value<void> {
public:
    void* place() noexcept { return nullptr; }
    void take() noexcept {}
};

// How a fork_task returns.
template <class T>
class fork_return : public fork_frame {
public:
    template <class U = T>
    void return_value(U&& value) {
        using stored = fork_stored<T>;
        if constexpr (std::is_reference_v<T>) {
            static_assert(std::is_lvalue_reference_v<U>,
                          "a reference is to what outlives the task, not to a temporary");
            *static_cast<stored*>(result) = std::addressof(value);
        } else if constexpr (!std::is_assignable_v<T&, U&&> || std::is_trivially_copyable_v<T>) {
            std::construct_at(static_cast<stored*>(result), std::forward<U>(value));
        } else if (in_place) {
            std::construct_at(static_cast<stored*>(result), std::forward<U>(value));
        } else {
            *static_cast<stored*>(result) = std::forward<U>(value);
        }
    }
};
template <>
class fork_return<void> : public fork_frame {
public:
    void return_void() noexcept {}
};

struct fork_awaiter {
    fork_frame* child;

    bool await_ready() const noexcept { return false; }
    template <class Promise, int Bound = transfers_nested>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) noexcept {
        fork_frame& fresh = *child;  // read now: once it is offered this frame may go on elsewhere
        fork_worker& here = *fork_worker::here();
        here.offer(self.promise());
        return here.transfer<Bound>(fresh.handle());
    }
    void await_resume() const noexcept {}
};

template <class T>
struct fork_call_awaiter {
    fork_frame& frame;
    fork_value<T> value;

    explicit fork_call_awaiter(fork_frame& caller) noexcept : frame(caller) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise, int Bound = transfers_nested>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise>) noexcept {
        fork_frame& child = *frame.callee;
        child.result = value.place();
        return fork_worker::here()->template transfer<Bound>(child.handle());
    }
    T await_resume() {
        if (frame.callee_lingers) [[unlikely]]
            frame.end_of_call();
        return value.take();
    }
};

struct fork_join_awaiter {
    fork_frame& frame;

    bool await_ready() const noexcept { return frame.stolen.read() == 0; }
    template <class Promise, int Bound = transfers_nested>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise>) noexcept {
        fork_worker& here = *fork_worker::here();
        return here.transfer<Bound>(here.join(frame));
    }
    void await_resume() const {
        if (frame.failed()) [[unlikely]]
            frame.rethrow_failure();
    }
};

// A task that a frame waits for: it runs on a line of its own, and whoever ends it posts the frame.
template <class T>
class fork_task_awaiter : arm_base {
public:
    fork_task_awaiter(fork_frame& frame, task<T>& body) noexcept
        : fork_task_awaiter(frame, body, fork_worker::here()->line()) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) noexcept {
        fork_worker::here()->step_aside(frame_);
        attach(root_.stop());
        post_at(body_.start_on(*this, end()), false);
    }
    T await_resume() { return body_.take_outcome().get(); }

private:
    struct again : frame_stub {
        explicit again(fork_task_awaiter& owner) noexcept
            : frame_stub([](frame_stub* stub) noexcept {
                  fork_task_awaiter& self = static_cast<again*>(stub)->owner_;
                  fork_worker::run_again(self.frame_, self.root_);
              }),
              owner_(owner) {}
        fork_task_awaiter& owner_;
    };
    static void at_end(arm_base& self) noexcept {
        auto& mine = static_cast<fork_task_awaiter&>(self);
        mine.post_at(mine.again_.handle(), false);
    }
    fork_task_awaiter(fork_frame& frame, task<T>& body, context& root) noexcept
        : arm_base(root, ends_with<&at_end>()), root_(root), frame_(frame), body_(body), again_(*this) {}
    context& root_;
    fork_frame& frame_;
    task<T>& body_;
    again again_;
};

// Plain: its parameters need no destructor, so that its frame ends by giving its place back.
template <class T, bool Plain>
class fork_promise : public fork_return<T> {
public:
    static void* operator new(std::size_t bytes) {
        fork_worker* const here = fork_worker::here();
        return here != nullptr ? here->take(bytes) : ::operator new(bytes);
    }
    static void operator delete(void* place) noexcept {
        fork_worker* const here = fork_worker::here();
        if (here != nullptr && here->holds(place)) here->give_back(place);
        else ::operator delete(place);
    }

    fork_task<T> get_return_object() noexcept { return fork_task<T>(*this); }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    void unhandled_exception() noexcept { this->fail_with_current(); }

    template <int Bound>
    struct final_awaiter {
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<fork_promise> self) noexcept {
            fork_promise& mine = self.promise();
            fork_worker& here = *fork_worker::here();
            if (!Plain || mine.kind == fork_kind::root || mine.stolen.read() != 0 || mine.failed()) [[unlikely]]
                return here.end(mine);
            fork_frame& parent = *mine.parent;
            const bool called = mine.kind == fork_kind::called;
            here.give_back(self.address());
            if (!called) return here.template transfer<Bound>(here.after_child(parent));
            return here.template transfer<Bound>(parent.handle());
        }
        void await_resume() const noexcept {}
    };
    final_awaiter<transfers_nested> final_suspend() const noexcept { return {}; }

    // --- What a fork_task can await ---

    template <class Child, class Function, class... Argument>
    fork_awaiter await_transform(fork_call<fork_kind::forked, Child, Function, Argument...>&& call) {
        fork_worker& here = ready();
        return fork_awaiter{&adopt(here, call.make(), fork_kind::forked, call.result_)};
    }
    template <class Child, class Function, class... Argument>
    fork_call_awaiter<Child> await_transform(fork_call<fork_kind::called, Child, Function, Argument...>&& call) {
        fork_worker& here = ready();
        this->callee = &adopt(here, call.make(), fork_kind::called, nullptr);
        return fork_call_awaiter<Child>(*this);
    }
    template <class Child>
    fork_call_awaiter<Child> await_transform(fork_task<Child>&& child) {
        this->callee = &adopt(ready(), std::move(child), fork_kind::called, nullptr);
        return fork_call_awaiter<Child>(*this);
    }
    fork_join_awaiter await_transform(fork_join) noexcept { return fork_join_awaiter{*this}; }
    template <class U>
    fork_task_awaiter<U> await_transform(task<U>&& body) noexcept {
        return fork_task_awaiter<U>(*this, body);
    }
    template <class U>
    fork_task_awaiter<U> await_transform(task<U>& body) noexcept {
        return fork_task_awaiter<U>(*this, body);
    }
    template <class Other>
    void await_transform(Other&&) {
        static_assert(
            !std::is_same_v<Other, Other>,
            "a fork_task awaits fork(), call(), join(), another fork_task or a leat::task: put this operation "
            "into a leat::task and await that");
    }

private:
    fork_worker& ready() {
        fork_worker& here = *fork_worker::here();
        here.prepare();
        return here;
    }
    template <class Child>
    fork_frame& adopt(fork_worker& here, fork_task<Child>&& child, fork_kind how, void* where) noexcept {
        fork_frame& fresh = child.release();
        fresh.parent = this;
        fresh.home = here.stack();
        fresh.result = where;
        fresh.kind = how;
        fresh.in_place = how == fork_kind::called;
        return fresh;
    }
};

}  // namespace detail

template <class T>
class [[nodiscard]] fork_task {
public:
    using value_type = T;

    fork_task(const fork_task&) = delete;
    fork_task& operator=(const fork_task&) = delete;
    ~fork_task() {
        if (frame_ != nullptr) frame_->handle().destroy();
    }

    // From a task: runs the tree on the task's executor, and the task goes on when all of it has ended. Gives the value, or
    // throws what it threw, or cancelled. Once, where it was made: `co_await fib(30)`; a second time is a bug.
    auto operator co_await() && noexcept { return root_awaiter(*frame_); }

private:
    template <class, bool>
    friend class detail::fork_promise;
    explicit fork_task(detail::fork_frame& frame) noexcept : frame_(&frame) {}
    detail::fork_frame& release() noexcept { return *std::exchange(frame_, nullptr); }

    class root_awaiter {
    public:
        explicit root_awaiter(detail::fork_frame& frame) noexcept : frame_(frame) {}
        bool await_ready() const noexcept { return false; }
        template <has_context Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) {
            root_.line = &self.promise().leat_context();
            root_.awaiting = self;
            root_.attach(root_.line->stop());
            frame_.result = value_.place();
            frame_.in_place = true;
            // Where it ended elsewhere this frame has been posted, and may be gone.
            if (detail::fork_worker::run_root(frame_, root_)) return self;
            return std::noop_coroutine();
        }
        T await_resume() {
            root_.detach();
            if (frame_.failed()) frame_.rethrow_failure();
            return value_.take();
        }

    private:
        detail::fork_frame& frame_;
        detail::fork_root root_;
        detail::fork_value<T> value_;
    };

    detail::fork_frame* frame_;
};

// `co_await fork(&result, fn, args…)` inside a fork_task: runs the fork_task that fn(args…) returns; its value is in
// `result` after the next join(). A value is assigned to what `result` points to; a reference is given as a pointer.
// Throws what fn's call throws, std::bad_alloc, and cancelled.
template <class Result, class Function, class... Argument>
    requires std::invocable<Function&, Argument...>
auto fork(Result* result, Function&& function, Argument&&... arguments) noexcept {
    using value = detail::fork_result<Function, Argument...>;
    static_assert(std::is_same_v<Result, detail::fork_stored<value>>, "the result is what the fork_task returns");
    return detail::fork_call<detail::fork_kind::forked, value, std::remove_reference_t<Function>, Argument...>(
        result, function, std::forward<Argument>(arguments)...);
}
// The same for a fork_task without a value.
template <class Function, class... Argument>
    requires std::invocable<Function&, Argument...>
auto fork(Function&& function, Argument&&... arguments) noexcept {
    using value = detail::fork_result<Function, Argument...>;
    static_assert(std::is_void_v<value>, "say where the value goes: fork(&result, fn, args...)");
    return detail::fork_call<detail::fork_kind::forked, void, std::remove_reference_t<Function>, Argument...>(
        nullptr, function, std::forward<Argument>(arguments)...);
}

// `co_await call(fn, args…)` inside a fork_task: runs the fork_task that fn(args…) returns and gives its value: as
// `co_await fn(args…)`, a little faster. Throws what the child throws, std::bad_alloc, and cancelled.
template <class Function, class... Argument>
    requires std::invocable<Function&, Argument...>
auto call(Function&& function, Argument&&... arguments) noexcept {
    using value = detail::fork_result<Function, Argument...>;
    return detail::fork_call<detail::fork_kind::called, value, std::remove_reference_t<Function>, Argument...>(
        nullptr, function, std::forward<Argument>(arguments)...);
}

// `co_await join()` inside a fork_task: waits for all that it has forked. Throws the first error of those, or cancelled when
// one of them was.
inline detail::fork_join join() noexcept { return {}; }

}  // namespace leat

template <class T, class... Argument>
struct std::coroutine_traits<leat::fork_task<T>, Argument...> {
    using promise_type = leat::detail::fork_promise<T, (std::is_trivially_destructible_v<Argument> && ...)>;
};
