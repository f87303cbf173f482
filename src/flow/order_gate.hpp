// order_gate: lets the outputs of a parallel segment leave in the order of its inputs. Used by the engine.
//
// Each input has a place, counted from 0 without gaps. A worker has a run of them at a time: places that follow each other.
// Outputs of a run that is not at the head are kept until it is its turn; a worker may be at most `window` places ahead of the
// head, which is backpressure.
//
//   co_await gate.admit(first + count - 1);
//   …                                                            // the work; outputs leave at once if gate.is_turn(first)
//   if (gate.complete(first, count, outputs))                    // it is this worker that lets outputs leave
//       while (gate.next(outputs)) { send all of outputs; gate.left(); }
//
// Invariants (under lock_):
//  1. head_ is the first place whose outputs have not all left. Only one worker at a time sends: the one that leads_, or
//     the one whose place is head_ while nobody leads.
//  2. A place below head_ + window has its own slot; a run lies in the slot of its first place.
#pragma once

#include <vector>

#include <leat/flow/stage.hpp>
#include <leat/sync/waiter_queue.hpp>

namespace leat {

class order_gate {
public:
    explicit order_gate(std::size_t window) : slots_(window) {}

    [[nodiscard]] std::size_t window() const noexcept { return slots_.size(); }
    // Awaits that `place` is within the window. Throws cancelled when stopped, as all waits here.
    task<> admit(std::uint64_t place);
    [[nodiscard]] bool is_admitted(std::uint64_t place) noexcept;
    // Awaits that the outputs of `place` may be sent directly.
    task<> turn(std::uint64_t place);
    [[nodiscard]] bool is_turn(std::uint64_t place) noexcept;
    // The run of `count` places from `first` on is done, except for its outputs (without what was sent directly), which are
    // taken. True when it is its turn: the caller leads, calls next() until it gives nothing, and left() after it has sent
    // each. False: who leads sends them.
    [[nodiscard]] bool complete(std::uint64_t first, std::size_t count, std::vector<item>& outputs);
    // Swaps the outputs that leave next with `into`, which is empty. False when the head is not done: then the caller leads
    // no longer.
    [[nodiscard]] bool next(std::vector<item>& into);
    void left() noexcept;
    // Awaits that everything below `places` has left.
    task<> drained(std::uint64_t places);

private:
    struct slot {
        std::size_t count = 0;  // of the run that begins here and is done; 0: there is none
        std::vector<item> outputs;
    };
    enum class until : unsigned char { admitted, its_turn, passed };
    struct look;

    task<> await(until what, std::uint64_t place);
    [[nodiscard]] bool holds(until what, std::uint64_t place) const noexcept;
    void wake_locked(resume_list& woken) noexcept;

    env::mutex lock_;
    std::uint64_t head_ = 0;
    bool leads_ = false;
    std::vector<slot> slots_;
    waiter_queue waiting_;
};

}  // namespace leat
