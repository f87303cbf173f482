// semaphore: a number of permits. acquire() waits in order of arrival; one that asks for many is not overtaken by others
// that ask for few, so nobody starves.
#pragma once

#include <utility>

#include <leat/sync/permits.hpp>

namespace leat {

class semaphore : detail::permits {
    struct request;

public:
    using permits::unlimited;
    // With so many permits to begin with, and never more than `most`: releasing more, and asking for more at once, are bugs.
    explicit semaphore(std::size_t available, std::size_t most = unlimited) noexcept
        : permits(this_kind, available, most) {}
    // Destroying one with waiters is a bug.
    ~semaphore() = default;

    // Permits held; gives them back when destroyed. Move-only; any task or thread may do so. Its semaphore must outlive it.
    class [[nodiscard]] permit {
    public:
        permit(permit&& other) noexcept : owner_(other.owner_), count_(other.count_) { other.owner_ = nullptr; }
        permit& operator=(permit&& other) noexcept {
            permit old(std::move(other));
            std::swap(owner_, old.owner_);
            std::swap(count_, old.count_);
            return *this;
        }
        ~permit() { release(); }
        // Gives them back now. Harmless when that was done.
        void release() noexcept {
            if (owner_ != nullptr) std::exchange(owner_, nullptr)->release(count_);
        }
        // Keeps them out of the semaphore for good (or until somebody calls semaphore::release).
        void forget() noexcept { owner_ = nullptr; }
        [[nodiscard]] std::size_t count() const noexcept { return count_; }

    private:
        friend class semaphore;
        permit(semaphore& owner, std::size_t count) noexcept : owner_(&owner), count_(count) {}
        semaphore* owner_;
        std::size_t count_;
    };

    // Awaits `count` permits (first come, first served); resumes on the awaiting task's executor. Throws cancelled when
    // stopped while it waits; then no permit is held and none is lost. What is there it gives even to a task that was asked
    // to stop. Any number of tasks at once.
    auto acquire(std::size_t count = 1) noexcept { return detail::operation<request>(asked{this, count}); }
    // The same for a limited time: std::nullopt when it was over first.
    auto acquire_for(time_limit limit, std::size_t count = 1) noexcept {
        return detail::timed_operation<request>(asked{this, count}, limit);
    }
    auto acquire_until(time_point until, std::size_t count = 1) noexcept { return acquire_for(until, count); }
    // Permits at once, or none. Does not overtake waiters. Any thread.
    [[nodiscard]] std::optional<permit> try_acquire(std::size_t count = 1) noexcept {
        if (!try_take(count)) return std::nullopt;
        return permit(*this, count);
    }
    // As acquire(), for threads that run no tasks.
    permit blocking_acquire(std::size_t count = 1) noexcept {
        return detail::block<request>(asked{this, count}, "blocking_acquire");
    }
    std::optional<permit> blocking_acquire_for(time_limit limit, std::size_t count = 1) noexcept {
        return detail::block<request>(asked{this, count}, "blocking_acquire_for", limit);
    }

    // Adds permits, and serves waiters: they are posted, never resumed inside. Any thread, also without having acquired.
    void release(std::size_t count = 1) noexcept { give(count); }
    // A snapshot.
    using permits::available;

private:
    static constexpr kind this_kind{"a semaphore"};
    struct asked {
        semaphore* from;
        std::size_t count;
    };
    struct request : permits::request {
        using asked = semaphore::asked;
        explicit request(asked what) noexcept : permits::request(*what.from, what.count) {}
        permit value() noexcept { return permit(static_cast<semaphore&>(from), count); }
    };
};

}  // namespace leat
