// blocking: moves a call that blocks its thread (a file, a DNS look-up, somebody else's library) off the workers.
//
//   std::string text = co_await leat::blocking(read_file, path);
#pragma once

#include <functional>
#include <tuple>

#include <leat/task/executor.hpp>
#include <leat/task/outcome.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

// The threads for it: started when needed, at most `limit` at a time, ended after some seconds without work. One an
// executor. What finds no free thread waits in order; each waiter is a suspended task, so the queue needs no bound.
class blocking_pool final : public attachment {
public:
    static constexpr unsigned limit = 64;
    explicit blocking_pool(executor& where, unsigned most_threads = limit);  // one at least
    ~blocking_pool() override;
    void stop() noexcept override;

    // Runs item.run on a thread of the pool; on the calling one, before it returns, when the system refuses to give the
    // pool its first thread. Any thread.
    void post(work_item& item) noexcept;

private:
    struct state;
    std::unique_ptr<state> state_;
};

namespace detail {

template <class T, class Function, class... Argument>
class blocking_call : work_item {
public:
    blocking_call(Function&& fn, std::tuple<Argument...>&& arguments)
        : work_item(&call), function_(std::move(fn)), arguments_(std::move(arguments)) {}
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> at) {
        line_ = &at.promise().leat_context();
        auto& pool = line_->where().template attached<blocking_pool>();
        if (line_->stop_requested()) return false;
        (void)line_->begin_wait(at, "blocking call", context::interruptible::no);
        wait_ = line_->current_ticket();
        pool.post(*this);
        return true;
    }
    T await_resume() { return std::move(result_).get(); }

private:
    static void call(work_item& item) noexcept {
        auto& self = static_cast<blocking_call&>(item);
        try {
            if constexpr (std::is_void_v<T>) {
                std::apply(std::move(self.function_), std::move(self.arguments_));
                self.result_.set_value();
            } else {
                self.result_.set_value(std::apply(std::move(self.function_), std::move(self.arguments_)));
            }
        } catch (...) {
            self.result_.set_current_exception();
        }
        context& line = *self.line_;
        if (line.claim(self.wait_, context::wake::ready)) line.resume();
    }

    Function function_;
    std::tuple<Argument...> arguments_;
    context* line_ = nullptr;
    context::ticket wait_;
    outcome<T> result_;  // without a value when a stop was requested before the call began: cancelled
};

template <class T, class Function, class... Argument>
class [[nodiscard]] blocking_operation {
public:
    template <class F, class... A>
    explicit blocking_operation(F&& fn, A&&... arguments)
        : function_(std::forward<F>(fn)), arguments_(std::forward<A>(arguments)...) {}
    blocking_call<T, Function, Argument...> operator co_await() && {
        return {std::move(function_), std::move(arguments_)};
    }

private:
    Function function_;
    std::tuple<Argument...> arguments_;
};

}  // namespace detail

// Calls fn(args…) on a thread of the blocking pool; gives its value or throws what it threw; resumes on the awaiting task's
// executor. Function and arguments are held by value. Throws cancelled when the task was asked to stop before the call was
// handed over; a call under way cannot be cancelled and is waited for.
// In a simulation the call is a step of its own on the one thread, and must not wait for a task.
template <class Function, class... Argument>
auto blocking(Function&& fn, Argument&&... arguments) {
    using result = std::invoke_result_t<std::decay_t<Function>, std::decay_t<Argument>...>;
    return detail::blocking_operation<result, std::decay_t<Function>, std::decay_t<Argument>...>(
        std::forward<Function>(fn), std::forward<Argument>(arguments)...);
}

}  // namespace leat
