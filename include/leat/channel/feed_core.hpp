// feed_core: a count of what was published, and those who wait for it to grow: what broadcast and watch have in common. Users
// see broadcast.hpp and watch.hpp.
//
// Invariants (under lock_):
//  1. Somebody waits only while the feed is open and nothing was published that he has not seen.
//  2. A wake-up tells only that there is news: each takes for himself, so a stopped one loses nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include <leat/channel/channel_end.hpp>

namespace leat::detail {

class feed_core {
public:
    struct node_type : wait_node {
        explicit node_type(std::uint64_t& place) noexcept : seen(&place) {}
        std::uint64_t* seen;  // the receiver's: the number of the last that it has seen
    };

    feed_core() = default;
    feed_core(const feed_core&) = delete;
    feed_core& operator=(const feed_core&) = delete;

    // For await_suspend: false when there is news.
    bool begin(node_type& node, context& line, std::coroutine_handle<> at) noexcept;
    void close() noexcept;
    void add_sender() noexcept;
    // A receiver that has seen all that was published so far; gives its place.
    [[nodiscard]] std::uint64_t add_receiver() noexcept;
    [[nodiscard]] std::size_t receivers() const noexcept;

protected:
    // After a wait: throws cancelled when it was ended by a stop.
    void leave(node_type& node);
    // One more was published. Lock held.
    void publish(resume_list& woken) noexcept;
    // True when that was the last end of all.
    [[nodiscard]] bool remove_sender() noexcept;  // the last one closes
    [[nodiscard]] bool remove_receiver() noexcept;

    mutable env::mutex lock_;
    std::uint64_t published_ = 0;
    bool closed_ = false;
    std::size_t senders_ = 1;
    std::size_t receivers_ = 1;
    waiter_queue waiting_;
};

}  // namespace leat::detail
