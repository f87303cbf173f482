// on, resume_on: a task on another executor: a strand, a second pool, the loop of a foreign thread.
//
//   auto rows = co_await leat::on(database_strand, read_rows(query));   // runs there, comes back here
//
//   leat::executor& before = co_await leat::resume_on(other);            // from here on there
//   …
//   co_await leat::resume_on(before);
//
// on() is the form to reach for: it comes back on every path. resume_on() moves the whole line (see context.hpp): the task,
// those that it awaits and those that await it, until the next move. What the line has begun before stays where it is:
// tasks of a scope run where the scope was made, and timers fire where they were set.
//
// The other executor must outlive every line on it, and run: moving to an event_loop that nobody drives waits for ever.
// Neither is a cancellation point, so that there is always a way back; the task sees the request at its next wait, there.
// Synchronisation and channels do not mind on which executors those are that meet at them; each resumes on its own. An Asio
// object does: it is awaited on the executor whose service it was made with.
#pragma once

#include <leat/task/this_task.hpp>

namespace leat {

namespace detail {

class mover {
public:
    explicit mover(executor& to) noexcept : to_(to) {}
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
        context& line = self.promise().leat_context();
        from_ = &line.where();
        if (from_ == &to_) return false;
        line.move_to(to_, self);
        return true;
    }
    executor& await_resume() const noexcept { return *from_; }

private:
    executor& to_;
    executor* from_ = nullptr;
};

}  // namespace detail

// Goes on on `where`; at once when that is where the task runs. Gives the executor that it left.
struct [[nodiscard]] resume_on {
    explicit resume_on(executor& where) noexcept : to(where) {}
    detail::mover operator co_await() const noexcept { return detail::mover(to); }
    executor& to;
};

// Runs `body` on `where` and comes back on every path; gives its value, or throws what it threw.
template <class T>
task<T> on(executor& where, task<T> body) {
    executor& before = co_await resume_on(where);
    outcome<T> end = co_await body.as_outcome();
    body.reset();  // what the body holds ends where it was used
    co_await resume_on(before);
    co_return std::move(end).get();
}

}  // namespace leat
