// order_gate: lets the outputs of a parallel segment leave in the order of its inputs. Used by the engine.
//
// Each input has a place, counted from 0 without gaps. Outputs of a place that is not at the head are kept until it is its
// turn; a worker may be at most `window` places ahead of the head, which is backpressure.
//
// Invariants (under lock_):
//  1. head_ is the first place whose outputs have not all left. Only one worker at a time sends: the one that is draining_,
//     or the one whose place is head_ while nobody drains.
//  2. A place below head_ + window has its own slot.
#pragma once

#include <functional>
#include <vector>

#include <leat/flow/stage.hpp>
#include <leat/sync/waiter_queue.hpp>

namespace leat {

class order_gate {
public:
    explicit order_gate(std::size_t window) : slots_(window) {}

    // Awaits that `place` is within the window. Throws cancelled when stopped, as all waits here.
    task<> admit(std::uint64_t place);
    // Awaits that the outputs of `place` may be sent directly.
    task<> turn(std::uint64_t place);
    [[nodiscard]] bool is_turn(std::uint64_t place) noexcept;
    // `place` is done: its outputs (what was not sent directly) leave now if it is its turn, through `send`, and so do
    // those of the places behind it that are done; else when the places before it are done.
    task<> complete(std::uint64_t place, std::vector<item> outputs, const std::function<task<>(item)>& send);
    // Awaits that everything below `places` has left.
    task<> drained(std::uint64_t places);

private:
    struct slot {
        bool done = false;
        std::vector<item> outputs;
    };
    enum class until : unsigned char { admitted, its_turn, passed };
    struct look;

    task<> await(until what, std::uint64_t place);
    [[nodiscard]] bool holds(until what, std::uint64_t place) const noexcept;
    void wake_locked(resume_list& woken) noexcept;

    env::mutex lock_;
    std::uint64_t head_ = 0;
    bool draining_ = false;
    std::vector<slot> slots_;
    waiter_queue waiting_;
};

}  // namespace leat
