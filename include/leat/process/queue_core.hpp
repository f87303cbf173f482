// queue_core: a process_queue without the type of its messages, as this process has it. Users see process_queue.hpp.
//
// Invariants of the shared memory:
//  1. Who changes the queue holds its lock, which names the process: a lock of the dead is taken over.
//  2. What is inside is said by one of two records; a change fills the other one, and is made by the step that says which of them
//     counts. So whoever takes over a lock finds the queue as it was before a change or after it.
//  3. What a record or a message says of sizes is checked against the size of the memory, which is sealed.
//  4. Which processes send and which receive is written in places, each taken and left by one step; the places of the dead are
//     known by the identity in them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

#include <leat/base/bug.hpp>
#include <leat/process/shared_memory.hpp>
#include <leat/process/spawn.hpp>
#include <leat/task/task.hpp>
#include <leat/task/wait_limit.hpp>

namespace leat {

// Why a message was not sent to a process_queue, or not received.
enum class queue_error : unsigned char {
    closed,     // somebody has closed it, or all on the other side have left; of a receiver: and nothing is left inside
    peer_died,  // all processes of the other side have ended or left, one without a word; of a receiver: likewise
    full,       // there is no room now
    empty,      // there is no message now
    timed_out,
    cancelled,  // the task was asked to stop while it waited
    too_large,  // larger than the queue
    malformed,  // a message that is no T was taken out, and is gone
    damaged,    // some process has written what makes no sense
};
[[nodiscard]] const char* text_of(queue_error error) noexcept;

namespace detail {

class queue_core {
public:
    enum class role : bool { sender, receiver };
    // Processes of one role at a time.
    static constexpr std::size_t most_processes = 64;

    static expected<std::shared_ptr<queue_core>, shared_error> create(std::size_t items, std::size_t bytes,
                                                                      std::uint64_t type);
    static expected<std::shared_ptr<queue_core>, shared_error> attach(int first, std::uint64_t type);
    [[nodiscard]] std::vector<passed_descriptor> passed(int first) const;
    queue_core(const queue_core&) = delete;
    queue_core& operator=(const queue_core&) = delete;
    ~queue_core();

    // One more end of this process; with the first it takes a place among those of the role.
    std::optional<shared_error> add(role which);
    // The last one leaves the place.
    void drop(role which) noexcept;
    std::optional<shared_error> expect(role which, pid_t pid);

    std::optional<queue_error> try_put(std::string_view message) noexcept;
    expected<std::string, queue_error> try_take();
    // `message` lives until then. A stop request is queue_error::cancelled here, and thrown below.
    task<std::optional<queue_error>> put(std::string_view message, time_limit limit);
    task<expected<std::string, queue_error>> take(time_limit limit);
    std::optional<queue_error> blocking_put(std::string_view message, time_limit limit) noexcept;
    expected<std::string, queue_error> blocking_take(time_limit limit);
    void close() noexcept;
    [[nodiscard]] std::size_t depth() noexcept;

private:
    struct state;
    explicit queue_core(std::unique_ptr<state> made) noexcept;
    std::optional<queue_error> put_or_why(std::string_view message, bool look_for_the_dead) noexcept;
    expected<std::string, queue_error> take_or_why(bool look_for_the_dead);
    std::unique_ptr<state> state_;
};

// An end, copied to share it. In a fork of the process that made it, it still works, and counts for nothing: take one anew.
template <queue_core::role Role>
class queue_end {
public:
    queue_end(const queue_end& other) noexcept : core_(other.core_), owner_(other.owner_) {
        if (core_ != nullptr && owner_ == ::getpid()) (void)core_->add(Role);  // it has a place already
    }
    queue_end(queue_end&& other) noexcept : core_(std::move(other.core_)), owner_(other.owner_) {}
    queue_end& operator=(queue_end other) noexcept {
        std::swap(core_, other.core_);
        std::swap(owner_, other.owner_);
        return *this;
    }
    ~queue_end() { reset(); }

    // No more in, for all senders; what is inside still comes out, and then the receivers are told. Any end, any thread.
    void close() noexcept { core().close(); }
    // Gives this end up; with the last end of its role, the process leaves.
    void reset() noexcept {
        if (core_ != nullptr && owner_ == ::getpid()) core_->drop(Role);
        core_.reset();
    }

protected:
    // Of which a share was added.
    explicit queue_end(std::shared_ptr<queue_core> core) noexcept : core_(std::move(core)), owner_(::getpid()) {}
    [[nodiscard]] queue_core& core() const noexcept {
        if (core_ == nullptr) bug("an end of a process_queue that was moved from or given up was used");
        return *core_;
    }

private:
    std::shared_ptr<queue_core> core_;
    pid_t owner_;
};

}  // namespace detail
}  // namespace leat
