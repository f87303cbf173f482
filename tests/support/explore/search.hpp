// search: which alternative to take at each choice of a schedule. Used by the engine, which lists the alternatives, and by
// run(), which asks for the next schedule.
//
// Invariants of the depth-first search:
//  1. The entries are the choices of the schedule so far that had an alternative; the next schedule repeats all but the
//     last that has one left, and takes the next alternative there.
//  2. A schedule with the same choices has the same alternatives; a signature of them is kept to find out otherwise.
#pragma once

#include <cstdint>
#include <explore/explorer.hpp>
#include <string>
#include <vector>

namespace leat::explore::detail {

class search {
public:
    explicit search(const options& how);

    // One of `count` alternatives, of which only the first `allowed` may be taken, and none that `skip` has a bit for.
    // `signature` describes the alternatives. Sets diverged() when a repeated schedule came to other alternatives.
    unsigned choose(unsigned count, unsigned allowed, std::uint32_t skip, std::uint32_t signature);
    // As choose() of all; random schedules mostly take the first.
    unsigned choose_seldom(unsigned count);

    // --- options.pct_depth: who goes on is decided by priorities ---
    [[nodiscard]] bool has_priorities() const noexcept { return mode_ == mode::random && pct_depth_ != 0; }
    // One of the alternatives that go on with these threads, at the next step of the schedule. Those for which `seldom` has
    // a bit (a deadline passes, a sleeper wakes for nothing) are taken now and then, whoever's they are.
    unsigned prefer(unsigned current, const unsigned* threads, unsigned count, std::uint32_t seldom);

    // As choose(), but takes the first: the rest of a schedule that will not be searched.
    unsigned follow() {
        path_.push_back(0);
        return 0;
    }
    [[nodiscard]] bool diverged() const noexcept { return diverged_; }
    // At the end of a schedule: a repeated one that came to fewer choices has diverged, too.
    void end() noexcept { diverged_ = diverged_ || position_ < entries_.size(); }

    // Prepares the next schedule; false when there is none.
    bool next();
    // Begins again, now with unlock as a step of its own.
    void restart() noexcept;

    [[nodiscard]] bool replays() const noexcept { return mode_ == mode::replay; }
    [[nodiscard]] bool exhaustive() const noexcept { return mode_ == mode::all; }
    [[nodiscard]] bool unlock_is_step() const noexcept { return unlock_is_step_; }
    // The choices of the present schedule, for options.replay.
    [[nodiscard]] std::string replay_string() const;

private:
    enum class mode : unsigned char { all, random, replay };
    struct entry {
        unsigned char chosen;
        unsigned char allowed;
        std::uint32_t skip;
        std::uint32_t signature;
    };
    void parse(const std::string& text);
    std::uint64_t random() noexcept;
    // What is possible at nearly every step, but is spent after a few.
    bool now_and_then() noexcept { return random() % 8 == 0; }
    void draw_priorities();

    mode mode_;
    bool diverged_ = false;
    bool unlock_is_step_ = false;
    std::vector<entry> entries_;
    std::size_t position_ = 0;
    std::vector<unsigned char> path_;      // what was chosen in this schedule
    std::vector<unsigned char> replayed_;  // what is to be chosen
    std::uint64_t random_left_;
    std::uint64_t random_state_;

    unsigned pct_depth_;
    std::vector<unsigned> priorities_;    // of each thread; those below pct_depth_ are of threads that have fallen
    std::vector<std::uint64_t> changes_;  // the steps at which the running thread falls, the last first
    std::uint64_t step_ = 0;
    std::uint64_t longest_ = 64;  // steps of a schedule so far, at a guess at first
};

}  // namespace leat::explore::detail
