// wait and as_completed: for several task_handles or futures at once, without taking anything from them.
//
//   auto [done, pending] = co_await leat::wait(handles, leat::until::first_completed);   // places in `handles`
//
//   auto ended = leat::as_completed(handles);
//   while (auto* handle = co_await ended.next()) use(co_await handle->join());            // does not wait: it has ended
//
// Stopping who waits, or a timeout, leaves the tasks alone and loses nothing: stop() them, or wait again.
#pragma once

#include <array>
#include <memory>
#include <ranges>
#include <vector>

#include <leat/sync/completion.hpp>
#include <leat/task/task.hpp>

namespace leat {

enum class until : unsigned char {
    first_completed,  // one has ended
    first_exception,  // one has ended with an error (cancelled is none), or all have ended
    all_completed,
};

// Places, ascending: of those that had ended when the wait was over, and of the rest.
struct waited {
    std::vector<std::size_t> done;
    std::vector<std::size_t> pending;
};

namespace detail {

// Completions in the order in which they come, for one line that waits for them. Keeps them alive.
class arrivals {
public:
    explicit arrivals(std::vector<counted<completion>> of);
    arrivals(const arrivals&) = delete;
    arrivals& operator=(const arrivals&) = delete;
    ~arrivals();

    static constexpr std::size_t none = ~std::size_t{0};
    // Awaits the next one; gives its place, or `none` when all have been given. Throws cancelled; then nothing is lost. One
    // call at a time.
    auto next() noexcept { return next_operation(*this); }

private:
    struct member : completion::observer {
        member() noexcept : observer(&arrived) {}
        arrivals* group = nullptr;
        member* following = nullptr;  // in the list of those that have come
    };
    struct next_awaiter {
        explicit next_awaiter(arrivals& which) noexcept : of(which) {}
        next_awaiter(const next_awaiter&) = delete;
        bool await_ready() const noexcept { return false; }
        template <has_context Promise>
        bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
            return suspend(self.promise().leat_context(), self);
        }
        bool suspend(context& line, std::coroutine_handle<> at) noexcept { return of.suspend(node, line, at); }
        std::size_t await_resume() { return of.take(node); }
        arrivals& of;
        completion::lone_waiter node;
    };
    struct [[nodiscard]] next_operation {
        explicit next_operation(arrivals& which) noexcept : of(&which) {}
        next_awaiter operator co_await() const noexcept { return next_awaiter(*of); }
        arrivals* of;
    };

    bool suspend(completion::lone_waiter& self, context& line, std::coroutine_handle<> at) noexcept;
    std::size_t take(completion::lone_waiter& self);
    void append(member& one) noexcept;
    static void arrived(completion::observer& self, resume_list& woken) noexcept;

    const std::vector<counted<completion>> of_;
    const std::unique_ptr<member[]> members_;  // of the same places
    env::mutex lock_;                          // taken after that of a completion
    member* first_ = nullptr;                  // come and not yet given, oldest first
    member* last_ = nullptr;
    std::size_t given_ = 0;
    waiter_queue waiting_;
};

template <class Owner>
counted<completion> completion_of(const Owner& owner) noexcept {
    completion* of = nullptr;
    if constexpr (has_completion<Owner>) of = &owner.completes();
    else of = &owner->completes();  // a pointer to one
    of->add_ref();
    return counted<completion>::adopt(of);
}
template <class Range>
std::vector<counted<completion>> completions_of(Range& owners) {
    std::vector<counted<completion>> all;
    for (const auto& each : owners) all.push_back(completion_of(each));
    return all;
}

task<waited> wait_for(std::vector<counted<completion>> all, until when);

}  // namespace detail

// Awaits what `when` says of a range of handles and futures, or of pointers to them; resumes on the awaiting task's executor.
// Throws no error of theirs, only cancelled when the awaiting task was stopped. Of nothing: gives nothing, at once. They may
// be moved and dropped meanwhile. An empty handle is a bug.
template <std::ranges::input_range Range>
task<waited> wait(Range&& owners, until when = until::all_completed) {
    return detail::wait_for(detail::completions_of(owners), when);
}
template <detail::has_completion... Owner>
task<waited> wait(until when, const Owner&... owners) {
    std::array<detail::counted<completion>, sizeof...(Owner)> all{detail::completion_of(owners)...};
    return detail::wait_for({all.begin(), all.end()}, when);
}

// The owners of a range in the order in which they end. The range outlives it, and its elements stay where they are.
template <std::ranges::forward_range Range>
class [[nodiscard]] completed_stream {
    using owner = std::remove_reference_t<std::ranges::range_reference_t<Range>>;

public:
    explicit completed_stream(Range& owners) : all_(detail::completions_of(owners)) {
        for (auto& each : owners) owners_.push_back(std::addressof(each));
    }

    // Awaits the next that has ended and gives a pointer to it; null when all were given. Resumes on the awaiting task's
    // executor. Throws cancelled when stopped; then a later call gives it. One call at a time.
    auto next() noexcept { return next_operation(*this); }

private:
    using wait_operation = decltype(std::declval<detail::arrivals&>().next());
    using awaiter_base = decltype(std::declval<wait_operation&>().operator co_await());
    struct next_awaiter : awaiter_base {
        explicit next_awaiter(completed_stream& which) noexcept : awaiter_base(which.all_), stream(which) {}
        owner* await_resume() {
            const std::size_t place = awaiter_base::await_resume();
            return place == detail::arrivals::none ? nullptr : stream.owners_[place];
        }
        completed_stream& stream;
    };
    struct [[nodiscard]] next_operation {
        explicit next_operation(completed_stream& which) noexcept : stream(&which) {}
        next_awaiter operator co_await() const noexcept { return next_awaiter(*stream); }
        completed_stream* stream;
    };

    detail::arrivals all_;
    std::vector<owner*> owners_;
};

template <std::ranges::forward_range Range>
completed_stream<Range> as_completed(Range& owners) {
    return completed_stream<Range>(owners);
}

}  // namespace leat
