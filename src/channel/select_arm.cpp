#include <leat/channel/select_arm.hpp>

#include <algorithm>

#include <leat/base/env_place.hpp>

namespace leat {

bool select_wait::suspend(context& line, std::coroutine_handle<> at) {
    line_ = &line;
    for (;;) {
        won_ = first_ready(line);
        if (won_ != none) return line.yields_at(at);
        if (!line.prepare_wait(at, "select")) return false;
        switch (publish_all(own_wait(line))) {
            case select_arm::published::waits:
            case select_arm::published::lost:
                return line.commit_wait();
            case select_arm::published::completed:
                return line.yields_at(at);
            case select_arm::published::anew:
                take_all_back();
        }
    }
}

std::uint32_t select_wait::finish() noexcept {
    take_all_back();
    return won_;
}

std::uint32_t select_wait::first_ready(context& line) const {
    using turn = select_arm::turn;
    const auto ready = [&](std::uint32_t place, auto wanted) {
        select_arm& each = arm(place);
        return wanted(each.turn_) && each.enabled_ && each.try_now(line);
    };
    const auto in_order = [&](auto wanted) {
        std::uint32_t place = 0;
        while (place < count_ && !ready(place, wanted)) ++place;
        return place < count_ ? place : none;
    };
    std::uint32_t found = none;
    if (order_ == order::fair && count_ > 1) {
        // From a random start in a random direction: of two arms that are ready each is as likely, wherever they are.
        const std::uint32_t drawn = line.draw(2 * count_);
        const std::uint32_t step = drawn % 2 == 0 ? 1 : count_ - 1;
        std::uint32_t place = drawn / 2;
        for (std::uint32_t left = count_; left > 0; --left) {
            if (ready(place, [](turn when) { return when == turn::any; })) return place;
            place += step;
            if (place >= count_) place -= count_;
        }
        found = in_order([](turn when) { return when == turn::last; });
    } else {
        found = in_order([](turn when) { return when != turn::default_; });
    }
    return found != none ? found : in_order([](turn when) { return when == turn::default_; });
}

// Merges: recursive, in as many levels as the count has bits, and without memory of its own.
select_arm* select_wait::in_order_of_places(std::uint32_t first, std::uint32_t last) const noexcept {
    if (first == last) return nullptr;
    if (last - first == 1) {
        select_arm& only = arm(first);
        only.next_ = nullptr;
        return &only;
    }
    const std::uint32_t middle = first + (last - first) / 2;
    select_arm* low = in_order_of_places(first, middle);
    select_arm* high = in_order_of_places(middle, last);
    select_arm* sorted = nullptr;
    select_arm** end = &sorted;
    while (low != nullptr && high != nullptr) {
        select_arm*& least = env::lies_before(high->place_, low->place_) ? high : low;
        *end = least;
        end = &least->next_;
        least = least->next_;
    }
    *end = low != nullptr ? low : high;
    return sorted;
}

select_arm::published select_wait::publish_all(const own_wait& wait) {
    using published = select_arm::published;
    published_ = true;
    try {
        for (select_arm* each = in_order_of_places(0, count_); each != nullptr; each = each->next_) {
            if (!each->enabled_) continue;
            const published how = each->publish(wait);
            each->waits_ = how == published::waits;
            if (how == published::waits) continue;
            if (how == published::completed)
                for (won_ = 0; &arm(won_) != each;) ++won_;
            return how;
        }
    } catch (...) {
        if (!wait.end()) return published::lost;  // somebody has served another arm: that is what happened
        take_all_back();
        throw;
    }
    return published::waits;
}

void select_wait::take_all_back() noexcept {
    if (!std::exchange(published_, false)) return;
    for (std::uint32_t place = 0; place < count_; ++place) {
        select_arm& each = arm(place);
        if (!std::exchange(each.waits_, false)) continue;
        if (each.take_back(*line_)) won_ = place;
    }
}

// --- Time ---

bool time_arm::try_now(context& line) {
    const time_point now = line.where().now();
    if (relative_) {
        // From the first look on; a time beyond the clock never comes.
        due = length_ > time_point::max() - now ? time_point::max() : now + length_;
        relative_ = false;
    }
    return due <= now;
}

select_arm::published time_arm::publish(const own_wait& wait) {
    line_ = &wait.line();
    ticket_ = wait.ticket();
    fired_ = false;
    line_->where().start(*this);
    return published::waits;
}

bool time_arm::take_back(context& line) noexcept {
    line.where().cancel(*this);
    return fired_;
}

void time_arm::over(timer& self) noexcept {
    auto& mine = static_cast<time_arm&>(self);
    context& line = *mine.line_;
    if (!line.claim(mine.ticket_, context::wake::timed_out)) return;
    mine.fired_ = true;
    line.resume();
}

}  // namespace leat
