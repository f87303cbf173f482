// start_gate: lets jobs begin when there is a place for them and the machine bears another. It stands between the source of
// items and the commands, so that an item that has not begun has not been given to the flow: an interrupt leaves it out.
//
// The number of places may change while jobs run: when it falls below the number of jobs, these end by themselves, and none
// begins meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include <leat/flow/stage.hpp>
#include <leat/sync/event.hpp>

namespace leat::cli {

// Called by one at a time.
struct gate_rules {
    std::function<unsigned()> places;  // so many jobs at a time; asked for each start, and while one is waited for
    std::function<bool()> has_room;    // whether the machine bears one more job; null: always
    std::function<bool()> is_crowded;  // whether it must lose one; null: never
    duration settle{0};                // between two starts: until a job shows in what has_room looks at
    duration look_again = std::chrono::milliseconds(250);  // while none may begin
};

class start_gate : public std::enable_shared_from_this<start_gate> {
public:
    // What a job holds until its end. Any thread.
    class place {
    public:
        place(std::shared_ptr<start_gate> gate, unsigned slot) noexcept : gate_(std::move(gate)), slot_(slot) {}
        place(const place&) = delete;
        place& operator=(const place&) = delete;
        ~place() { gate_->leave(*this); }
        [[nodiscard]] start_gate& gate() const noexcept { return *gate_; }
        [[nodiscard]] unsigned slot() const noexcept { return slot_; }  // from 1, the lowest that was free

    private:
        friend start_gate;
        std::shared_ptr<start_gate> gate_;
        unsigned slot_;
        std::uint64_t started_as_ = 0;  // under the gate's lock; 0: it does not run
    };

    explicit start_gate(gate_rules rules) noexcept : rules_(std::move(rules)) {}

    // Waits until a job may begin. One caller at a time. Throws cancelled when stopped while it waits.
    task<std::shared_ptr<place>> enter();

    // Whether jobs may be ended to make room.
    [[nodiscard]] bool may_crowd_out() const noexcept { return rules_.is_crowded != nullptr; }
    // Returns when the job is to be ended: the machine must lose one, and this one is the youngest of several.
    task<> crowded_out(place& job);
    // What was crowded out waits for room here before its next attempt; if it is alone, it does not wait.
    task<> room_again(place& job);

private:
    void leave(place& gone) noexcept;
    void runs(place& job);
    void rests(place& job) noexcept;
    [[nodiscard]] std::size_t taken() const;
    [[nodiscard]] unsigned places();
    [[nodiscard]] bool has_room();
    [[nodiscard]] bool is_crowded();
    [[nodiscard]] bool is_youngest_of_several(const place& job) const;

    std::mutex asking_;
    gate_rules rules_;  // what it holds is called under asking_
    time_point next_start_{};
    auto_reset_event left_;
    mutable std::mutex lock_;
    std::vector<bool> slots_;               // under lock_: true: taken
    std::size_t taken_ = 0;                 // under lock_
    std::set<std::uint64_t> running_jobs_;  // under lock_: started_as_ of those that run
    std::uint64_t last_started_ = 0;        // under lock_
};

// The items of `from`, each with a place of its own.
std::shared_ptr<source> gated(std::shared_ptr<source> from, std::shared_ptr<start_gate> gate);

}  // namespace leat::cli
