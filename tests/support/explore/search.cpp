#include "search.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <functional>
#include <stdexcept>
#include <utility>

#include "memory.hpp"

namespace leat::explore::detail {

search::search(const options& how)
    : mode_(!how.replay.empty()         ? mode::replay
            : how.random_schedules != 0 ? mode::random
                                        : mode::all),
      random_left_(how.random_schedules),
      random_state_(how.seed),
      pct_depth_(how.pct_depth) {
    if (has_priorities()) draw_priorities();
    if (mode_ == mode::replay) parse(how.replay);
}

unsigned search::choose(unsigned count, unsigned allowed, std::uint32_t skip, std::uint32_t signature) {
    unsigned chosen = 0;
    switch (mode_) {
        case mode::all:
            if (position_ == entries_.size()) {
                while ((skip & (1U << chosen)) != 0) ++chosen;
                entries_.push_back(
                    {static_cast<unsigned char>(chosen), static_cast<unsigned char>(allowed), skip, signature});
            }
            diverged_ = diverged_ || entries_[position_].signature != signature;
            chosen = entries_[position_].chosen;
            break;
        case mode::random:
            chosen = static_cast<unsigned>(random() % count);
            break;
        case mode::replay:
            if (position_ < replayed_.size()) chosen = replayed_[position_];
            diverged_ = diverged_ || chosen >= count;
            break;
    }
    ++position_;
    if (diverged_) chosen = 0;
    path_.push_back(static_cast<unsigned char>(chosen));
    return chosen;
}

unsigned search::choose_seldom(unsigned count) {
    if (mode_ != mode::random || now_and_then()) return choose(count, count, 0, count);
    return follow();
}

void search::draw_priorities() {
    longest_ = std::max(longest_, step_);
    step_ = 0;
    priorities_.resize(max_threads);
    for (unsigned i = 0; i < max_threads; ++i) {
        const std::size_t at = random() % (i + 1);
        priorities_[i] = std::exchange(priorities_[at], pct_depth_ + i);  // a permutation, drawn as it grows
    }
    changes_.clear();
    for (unsigned i = 1; i < pct_depth_; ++i) changes_.push_back(1 + random() % longest_);
    std::sort(changes_.begin(), changes_.end(), std::greater<>());
}

unsigned search::prefer(unsigned current, const unsigned* threads, unsigned count, std::uint32_t seldom) {
    for (++step_; !changes_.empty() && changes_.back() <= step_; changes_.pop_back())
        priorities_[current] = static_cast<unsigned>(changes_.size()) - 1;  // below those that fell before
    if (count == 1) return 0;
    const bool all = seldom == (1U << count) - 1;
    unsigned chosen = count;
    for (unsigned i = 0; i < count; ++i) {
        if (!all && (seldom & (1U << i)) != 0) {
            if (!now_and_then()) continue;
            chosen = i;
            break;
        }
        if (chosen == count || priorities_[threads[i]] > priorities_[threads[chosen]]) chosen = i;
    }
    path_.push_back(static_cast<unsigned char>(chosen));
    return chosen;
}

bool search::next() {
    position_ = 0;
    path_.clear();
    switch (mode_) {
        case mode::replay:
            return false;
        case mode::random:
            if (has_priorities()) draw_priorities();
            return --random_left_ != 0;
        case mode::all:
            break;
    }
    for (; !entries_.empty(); entries_.pop_back()) {
        entry& last = entries_.back();
        do ++last.chosen;
        while (last.chosen < last.allowed && (last.skip & (1U << last.chosen)) != 0);
        if (last.chosen < last.allowed) return true;
    }
    return false;
}

void search::restart() noexcept {
    unlock_is_step_ = true;
    entries_.clear();
    path_.clear();
    position_ = 0;
}

// "u" when unlock is a step, then runs of equal choices: "0x12,1,0x3".
std::string search::replay_string() const {
    std::string out = unlock_is_step_ ? "u" : "";
    for (std::size_t i = 0; i < path_.size();) {
        std::size_t end = i + 1;
        while (end < path_.size() && path_[end] == path_[i]) ++end;
        if (!out.empty()) out += ',';
        out += end - i == 1 ? fmt::format("{}", path_[i]) : fmt::format("{}x{}", path_[i], end - i);
        i = end;
    }
    return out.empty() ? "0" : out;
}

void search::parse(const std::string& text) {
    const char* at = text.data();
    const char* const end = at + text.size();
    const auto number = [&] {
        unsigned value = 0;
        const auto read = std::from_chars(at, end, value);
        if (read.ec != std::errc()) throw std::invalid_argument("not a replay string: " + text);
        at = read.ptr;
        return value;
    };
    if (at != end && *at == 'u') {
        unlock_is_step_ = true;
        ++at;
        if (at != end && *at++ != ',') throw std::invalid_argument("not a replay string: " + text);
    }
    while (at != end) {
        const unsigned choice = number();
        unsigned times = 1;
        if (at != end && *at == 'x') {
            ++at;
            times = number();
        }
        replayed_.insert(replayed_.end(), times, static_cast<unsigned char>(choice));
        if (at != end && *at++ != ',') throw std::invalid_argument("not a replay string: " + text);
    }
}

// splitmix64
std::uint64_t search::random() noexcept {
    std::uint64_t z = random_state_ += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
}

}  // namespace leat::explore::detail
