// run_in_fiber: a plain function that may wait. It runs on a stack of its own as a part of the awaiting task, and
// leat::await(operation) anywhere below it, through any number of plain functions, suspends that stack and not the thread.
//
//   int fetch(leat::receiver<int>& in) { return *leat::await(in.recv()); }    // no coroutine
//   int value = co_await leat::run_in_fiber(fetch, std::ref(in));
//   work.spawn(leat::in_fiber(serve), std::move(connection));                 // a fiber a connection
//
// It is a task in every respect: same context, executor, stop requests (an await throws leat::cancelled), timeout, when_all.
// The function may go on on another thread after each await: it must not hold a lock of the thread over one, and what it
// knows of the thread from before (a thread_local, errno, std::this_thread::get_id()) may be another's; compilers keep even
// the answer, so ask from a function that is not inlined and does not await. Await may be called in a catch block, in a destructor, in a leat::generator that the fiber
// iterates, and in a leat::fiber that it resumes (which suspends both).
//
// An await costs two switches and what the operation costs; nothing is allocated. The operation suspends on the thread's
// stack, after the fiber has been left: another thread may resume the fiber before this one has turned away.
#pragma once

#include <concepts>
#include <functional>

#include <leat/task/awaiter_of.hpp>
#include <leat/task/fiber_stack.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

namespace detail {

// What an operation sees as the promise of the one who awaits it.
struct fiber_promise {
    context* line;
    context& leat_context() const noexcept { return *line; }
};
// What it resumes: laid out as the frame of a coroutine with that promise. tests/task/frame_stub_test.cpp probes it.
struct fiber_frame : frame_stub {
    fiber_frame(function body, context& line) noexcept : frame_stub(body), promise{&line} {}
    std::coroutine_handle<fiber_promise> handle() noexcept {
        return std::coroutine_handle<fiber_promise>::from_address(frame_stub::handle().address());
    }
    function destroy = nullptr;  // never called
    fiber_promise promise;
};

// A fiber that is a part of a line. Lives in the frame of run_in_fiber's task.
class fiber_line {
public:
    using function = void (*)(fiber_line& self) noexcept;

    fiber_line(context& line, fiber_options options, function body);
    fiber_line(const fiber_line&) = delete;
    fiber_line& operator=(const fiber_line&) = delete;

    // The one whose code runs on this thread; a bug outside.
    static fiber_line& here() noexcept;

    // For await_suspend of the task: runs until the line waits (true) or the function has ended.
    [[nodiscard]] bool start(std::coroutine_handle<> parent) noexcept {
        parent_ = parent;
        return !drive();
    }

    // Called in the fiber: suspends it, then calls awaiter.await_suspend(). Throws what that throws.
    template <class Awaiter>
    void suspend(Awaiter& awaiter) {
        awaiter_ = std::addressof(awaiter);
        await_suspend_ = [](void* what, std::coroutine_handle<fiber_promise> at) -> std::coroutine_handle<> {
            auto& self = *static_cast<Awaiter*>(what);
            using result = decltype(self.await_suspend(at));
            if constexpr (std::is_void_v<result>) {
                self.await_suspend(at);
                return nullptr;
            } else if constexpr (std::same_as<result, bool>) {
                return self.await_suspend(at) ? nullptr : std::coroutine_handle<>(at);
            } else {
                return self.await_suspend(at);
            }
        };
        leave();
    }

private:
    struct frame : fiber_frame {
        frame(fiber_line& owner, context& line) noexcept : fiber_frame(&resume, line), self(owner) {}
        static void resume(frame_stub* stub) noexcept;
        fiber_line& self;
    };
    struct visit;  // the stay of a thread in a fiber: a frame of drive()

    // True when the function has ended; false when the line waits, or does so no longer: then `this` may be gone.
    bool drive() noexcept;
    void leave();
    static void enter(arrival came) noexcept;

    fiber_stack stack_;
    frame frame_;
    function body_;
    stack_point inside_;  // where it is suspended: on its own stack, or on that of a fiber that it has resumed
    stack_point thread_;  // while it runs: where the thread's own stack is suspended
    exception_state exceptions_;
    std::coroutine_handle<> parent_;
    void* awaiter_ = nullptr;  // what it wants to suspend on, and how
    std::coroutine_handle<> (*await_suspend_)(void*, std::coroutine_handle<fiber_promise>) = nullptr;
    std::exception_ptr refused_;  // what await_suspend threw
    bool asks_ = false;           // it was left to suspend on the awaiter, which has not been told
    bool ended_ = false;
};

template <class T, class Call>
class fiber_call final : public fiber_line {
public:
    fiber_call(context& line, fiber_options options, Call& call) : fiber_line(line, options, &run), call_(call) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> parent) noexcept { return start(parent); }
    T await_resume() { return std::move(result_).get(); }

private:
    static void run(fiber_line& base) noexcept {
        auto& self = static_cast<fiber_call&>(base);
        try {
            if constexpr (std::is_void_v<T>) {
                self.call_();
                self.result_.set_value();
            } else {
                self.result_.set_value(self.call_());
            }
        } catch (...) {
            self.result_.set_current_exception();
        }
    }
    Call& call_;
    outcome<T> result_;
};

template <class Function, class... Argument>
using call_result = std::invoke_result_t<std::decay_t<Function>, std::unwrap_ref_decay_t<Argument>...>;

// The function and its arguments live in this frame.
template <class T, class Function, class... Argument>
task<T> fiber_task(fiber_options options, Function function, Argument... arguments) {
    context& line = co_await this_task::line();
    const auto call = [&]() -> T { return std::invoke(std::move(function), std::forward<Argument>(arguments)...); };
    fiber_call<T, const decltype(call)> body(line, options, call);
    co_return co_await body;
}

}  // namespace detail

// In a fiber: awaits anything that a task can await, and gives what it gives. Throws what it throws; so leat::cancelled when
// the task is asked to stop, if the operation does. A bug outside run_in_fiber.
template <class Operation>
decltype(auto) await(Operation&& operation) {
    detail::fiber_line& here = detail::fiber_line::here();
    auto&& awaiter = detail::awaiter_of(std::forward<Operation>(operation));
    if (!awaiter.await_ready()) here.suspend(awaiter);
    return awaiter.await_resume();
}

// A task that calls fn(args…) in a fiber and gives what it returns, or throws what it throws. Function and arguments are
// decay-copied, std::ref becomes a reference. The stack is taken when the task begins, and std::bad_alloc is its error when
// there is none.
template <class Function, class... Argument>
task<detail::call_result<Function, Argument...>> run_in_fiber(fiber_options options, Function&& function,
                                                              Argument&&... arguments) {
    return detail::fiber_task<detail::call_result<Function, Argument...>, std::decay_t<Function>,
                              std::unwrap_ref_decay_t<Argument>...>(options, std::forward<Function>(function),
                                                                    std::forward<Argument>(arguments)...);
}
template <class Function, class... Argument>
    requires(!std::same_as<std::remove_cvref_t<Function>, fiber_options>)
task<detail::call_result<Function, Argument...>> run_in_fiber(Function&& function, Argument&&... arguments) {
    return run_in_fiber(fiber_options{}, std::forward<Function>(function), std::forward<Argument>(arguments)...);
}

// A function object whose call gives run_in_fiber's task: for scope::spawn and whatever else takes functions that return
// tasks. Called as an rvalue it hands its function over, else it copies it.
template <class Function>
class in_fiber {
public:
    explicit in_fiber(Function function, fiber_options options = {})
        : function_(std::move(function)), options_(options) {}
    template <class... Argument>
    auto operator()(Argument&&... arguments) && {
        return run_in_fiber(options_, std::move(function_), std::forward<Argument>(arguments)...);
    }
    template <class... Argument>
    auto operator()(Argument&&... arguments) const& {
        return run_in_fiber(options_, function_, std::forward<Argument>(arguments)...);
    }

private:
    Function function_;
    fiber_options options_;
};

}  // namespace leat
