// waiting_room: what every lock and signal is made of: a lock of its own, the queue of those who wait, and a name for
// reports. And the forms in which all of them are waited for: awaited, awaited for a limited time, and by a plain thread.
//
// A primitive is a room with a state and a request: one wait at it, which lives in the frame, or on the stack, of who waits.
//
//   struct request : detail::request {
//       explicit request(asked)                               what is asked for, a small value
//       bool begin(context& line, std::coroutine_handle<> at) noexcept
//           takes what is there; or waits, and says true: then the line may already run elsewhere, unless `in_two_steps`
//       bool end() noexcept                                   after that: whether it was served. Leaves the room if not.
//       T value() noexcept                                    when it was: what the operation gives
//   };
//
// Invariants:
//  1. The state is changed for a waiter by who serves it, under lock_, together with the claim of its wait: a waiter that was
//     stopped or is out of time is passed over, and what was meant for it goes to the next.
//  2. Who is served is resumed after lock_ is released: posted, never run inside.
//  3. A room may be destroyed as soon as nobody waits in it and what it said (a lock taken, an event set) shows that the
//     others are through: its end waits for who is still inside lock_, and none of them touches it afterwards.
#pragma once

#include <optional>
#include <type_traits>

#include <leat/sync/waiter_queue.hpp>
#include <leat/task/outcome.hpp>
#include <leat/task/thread_line.hpp>
#include <leat/task/wait_limit.hpp>

namespace leat::detail {

struct request : waiter {
    request() = default;
    // Until it begins it is a description, and may be copied, but for its place in a queue, which it has not yet.
    // NOLINTNEXTLINE(bugprone-copy-constructor-init): so
    request(const request& other) noexcept
        : waiter(), in_two_steps(other.in_two_steps), how(other.how), waited(false), plain_thread(other.plain_thread) {}
    request& operator=(const request&) = delete;

    // Whether the wait was given up: stopped, out of time, or refused from the start.
    [[nodiscard]] bool gave_up() const noexcept { return line->woken_by() != context::wake::ready; }

    // Beside what waiter has in a word: the line's own, none of them written once the wait is published.
    bool in_two_steps : 1 = false;  // the caller commits the wait: it publishes it elsewhere too
    context::interruptible how : 1 = context::interruptible::yes;
    bool waited : 1 = false;        // began a wait, or was refused it
    bool plain_thread : 1 = false;  // the line is one on the stack of block()
};

class waiting_room : public wait_place {
protected:
    explicit waiting_room(const kind& what) noexcept : wait_place(what) {}
    // A bug while somebody waits.
    ~waiting_room();

    // Makes `self`, whose line is set, wait here. False when it was asked to stop. Lock held; the last thing before it is
    // released.
    [[nodiscard]] bool queue(request& self, std::coroutine_handle<> at) noexcept;
    // For request::end(), once it has waited: whether it was served. If not it has left the queue.
    [[nodiscard]] bool has_ended_well(request& self) noexcept;
    // Serves all. Lock held.
    void claim_all(resume_list& served) noexcept;
    // The program ends: "<name>: <what>".
    [[noreturn]] void bug_here(const char* what) const noexcept;

    mutable env::mutex lock_;
    waiter_queue waiters_;
};

// --- Forms ---

// Its own awaiter: GCC keeps both in the frame where one makes the other. Copied as a description, before it is awaited.
template <class Request>
class [[nodiscard]] operation : Request {
public:
    explicit operation(typename Request::asked what) noexcept : Request(what) {}
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
        context& who = self.promise().leat_context();
        if (this->begin(who, self)) return true;
        return !this->waited && who.yields_at(self);
    }
    auto await_resume() {
        const bool served = this->end();
        this->waited = false;  // it may be awaited again
        if (!served) throw_cancelled();
        return this->value();
    }
};

// What an operation gives that may run out of time: whether it did, where there is nothing else to give.
template <class Request>
using in_time = std::conditional_t<std::is_void_v<decltype(std::declval<Request&>().value())>, bool,
                                   std::optional<decltype(std::declval<Request&>().value())>>;

template <class Request>
in_time<Request> value_in_time(Request& served) noexcept {
    if constexpr (std::is_same_v<in_time<Request>, bool>) {
        served.value();
        return true;
    } else {
        return served.value();
    }
}

template <class Request>
class [[nodiscard]] timed_operation {
    using asked = typename Request::asked;
    class awaiter : Request {
    public:
        awaiter(asked what, time_limit limit) noexcept : Request(what), limit_(limit) { this->in_two_steps = true; }
        bool await_ready() const noexcept { return false; }
        template <has_context Promise>
        bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
            context& who = self.promise().leat_context();
            if (this->begin(who, self)) return limit_.suspend(who, self);
            return !this->waited && who.yields_at(self);
        }
        in_time<Request> await_resume() {
            limit_.cancel();
            if (this->end()) return value_in_time<Request>(*this);
            if (this->line->woken_by() == context::wake::cancelled) throw_cancelled();
            return {};
        }

    private:
        wait_limit limit_;
    };

public:
    timed_operation(asked what, time_limit limit) noexcept : what_(what), limit_(limit) {}
    awaiter operator co_await() const noexcept { return awaiter(what_, limit_); }

private:
    asked what_;
    time_limit limit_;
};

// On a plain thread, named `name` in reports; a bug on one that runs tasks.
template <class Request>
auto block(typename Request::asked what, const char* name) noexcept {
    thread_line line(name);
    Request self(what);
    self.plain_thread = true;
    if (self.begin(line, {})) line.park();
    (void)self.end();  // true: nobody stops a thread
    return self.value();
}
template <class Request>
in_time<Request> block(typename Request::asked what, const char* name, time_limit limit) noexcept {
    thread_line line(name);
    Request self(what);
    self.plain_thread = true;
    if (self.begin(line, {})) line.park_until(limit.from(env::now()), line.current_ticket());
    if (self.end()) return value_in_time(self);
    return {};
}

}  // namespace leat::detail
