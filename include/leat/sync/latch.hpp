// latch: opens for good when it has been counted down to zero.
#pragma once

#include <cstddef>

#include <leat/sync/event.hpp>

namespace leat {

class latch {
public:
    explicit latch(std::size_t count) noexcept : left_(count), open_(this_kind, count == 0) {}
    // Destroying one with waiters is a bug. Who has seen it open may destroy it.
    ~latch() = default;

    // Any thread. Below zero is a bug. Lets all who wait go on when it comes to zero; they are posted, never resumed inside.
    void count_down(std::size_t count = 1) noexcept {
        // acq_rel: the last one hands on what all others did. Only the last touches the latch afterwards.
        const std::size_t before = left_.fetch_sub(count, env::acq_rel);
        if (before < count) bug("a latch: counted down below zero");
        if (before == count) open_.set();
    }
    // A snapshot.
    [[nodiscard]] std::size_t left() const noexcept { return left_.load(env::relaxed); }

    // Awaits that it opens; resumes on the awaiting task's executor. Throws cancelled when stopped while it waits.
    auto wait() noexcept { return open_.wait(); }
    // The same for a limited time: false when it was over first.
    auto wait_for(time_limit limit) noexcept { return open_.wait_for(limit); }
    auto wait_until(time_point until) noexcept { return open_.wait_for(until); }
    [[nodiscard]] bool try_wait() const noexcept { return open_.is_set(); }
    // As wait(), for threads that run no tasks.
    void blocking_wait() noexcept { open_.blocking_wait(); }
    bool blocking_wait_for(time_limit limit) noexcept { return open_.blocking_wait_for(limit); }

    // Counts down, here and now, and gives the wait to be awaited. A wait that is stopped takes nothing back.
    auto arrive_and_wait(std::size_t count = 1) noexcept {
        count_down(count);
        return wait();
    }

private:
    static constexpr wait_place::kind this_kind{"a latch"};
    env::atomic<std::size_t> left_;
    event open_;
};

}  // namespace leat
