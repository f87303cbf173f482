#include <leat/runtime/timer_queue.hpp>

#include <algorithm>
#include <bit>
#include <utility>

namespace leat {

namespace {

constexpr int steps_under_the_lock = 64;  // then others have their turn
constexpr int timers_looked_at = 32;      // for the earliest of a slot
constexpr auto never = duration::max().count();

std::uint64_t ticks_of(time_point when) noexcept {
    return static_cast<std::uint64_t>(std::max<duration::rep>(when.time_since_epoch().count(), 0));
}

}  // namespace

bool timer_queue::start(timer& which) noexcept {
    which.home = this;  // before the lock: read without it by whoever cancels, who comes after this call
    const duration::rep due = which.due.time_since_epoch().count();
    if (due == never) return false;
    env::lock_guard held(lock_);
    insert(which);
    if (due >= next_.load(env::relaxed)) return false;  // relaxed: written under the lock
    next_.store(due, env::seq_cst);                     // pairs with a sleeper's announcement: see thread_pool
    next_was_cancelled_ = false;
    return true;
}

void timer_queue::cancel(timer& which) noexcept {
    env::lock_guard held(lock_);
    if (which.link == nullptr) return;
    unlink(which);
    // next_ stays, also when this was the only one: a loop that sets and cancels would else wake a sleeper in each turn.
    if (which.due == not_before()) next_was_cancelled_ = true;
}

bool timer_queue::fire(time_point now) noexcept {
    if (not_before() > now) return false;
    bool any = false;
    bool more = true;
    while (more) {
        env::lock_guard held(lock_);
        more = fire_some(ticks_of(now), any);
        if (!more) find_next();
    }
    return any;
}

time_point timer_queue::next() noexcept {
    if (not_before() == time_point::max()) return time_point::max();
    env::lock_guard held(lock_);
    if (next_was_cancelled_) find_next();
    return not_before();
}

// Some steps towards `now`. False when it is reached.
bool timer_queue::fire_some(ticks now, bool& any) noexcept {
    now = std::max(now, current_);  // as far as another caller has been
    for (int step = 0; step < steps_under_the_lock; ++step) {
        if (timer* const falling = lists_[moving]) {
            unlink(*falling);
            insert(*falling);
            continue;
        }
        if (levels_in_use_ == 0) break;
        const place first = first_in_use();
        if (first.begin > now) break;
        current_ = first.begin;
        timer*& list = lists_[first.level * slots + first.slot];
        timer& head = *list;
        if (first.level == 0) {
            unlink(head);
            head.fire(head);
            any = true;
            continue;
        }
        // The whole list falls by a level or more, each timer in a step of its own.
        list = nullptr;
        in_use_[first.level] &= ~(std::uint64_t{1} << first.slot);
        if (in_use_[first.level] == 0) levels_in_use_ &= ~(1U << first.level);
        lists_[moving] = &head;
        head.link = &lists_[moving];
    }
    if (lists_[moving] != nullptr || (levels_in_use_ != 0 && first_in_use().begin <= now)) return true;
    current_ = now;
    return false;
}

timer_queue::place timer_queue::first_in_use() const noexcept {
    const auto level = static_cast<unsigned>(std::countr_zero(levels_in_use_));
    const auto slot = static_cast<unsigned>(std::countr_zero(in_use_[level]));
    const unsigned shift = level * digit_bits;
    const unsigned above = shift + digit_bits;
    const ticks upper = above < 64 ? current_ >> above << above : 0;
    return {level, slot, upper | ticks{slot} << shift};
}

void timer_queue::insert(timer& which) noexcept {
    const ticks due = std::max(ticks_of(which.due), current_);
    const ticks differing = due ^ current_;
    const unsigned level = differing == 0 ? 0 : (static_cast<unsigned>(std::bit_width(differing)) - 1) / digit_bits;
    const auto slot = static_cast<unsigned>(due >> (level * digit_bits)) % slots;
    push(lists_[level * slots + slot], which);
    in_use_[level] |= std::uint64_t{1} << slot;
    levels_in_use_ |= 1U << level;
}

void timer_queue::push(timer*& list, timer& which) noexcept {
    which.next = list;
    if (list != nullptr) list->link = &which.next;
    which.link = &list;
    list = &which;
}

void timer_queue::unlink(timer& which) noexcept {
    timer** const link = std::exchange(which.link, nullptr);
    *link = which.next;
    if (which.next != nullptr) {
        which.next->link = link;
        return;
    }
    // The last of its list. It was the only one when it was linked from the table.
    const std::size_t at =
        (reinterpret_cast<std::uintptr_t>(link) - reinterpret_cast<std::uintptr_t>(lists_.data())) / sizeof(timer*);
    if (at >= moving) return;
    const std::size_t level = at / slots;
    in_use_[level] &= ~(std::uint64_t{1} << at % slots);
    if (in_use_[level] == 0) levels_in_use_ &= ~(1U << level);
}

// Sets next_ anew. The timers of a long slot can be many, and then it is its beginning: when that comes they go down.
void timer_queue::find_next() noexcept {
    next_was_cancelled_ = false;
    duration::rep earliest = never;
    if (lists_[moving] != nullptr) {
        earliest = static_cast<duration::rep>(current_);
    } else if (levels_in_use_ != 0) {
        const place first = first_in_use();
        const timer* each = lists_[first.level * slots + first.slot];
        for (int i = 0; i < timers_looked_at && each != nullptr; ++i, each = each->next)
            earliest = std::min(earliest, each->due.time_since_epoch().count());
        if (each != nullptr) earliest = std::min(earliest, static_cast<duration::rep>(first.begin));
    }
    next_.store(earliest, env::seq_cst);  // pairs with a sleeper's announcement: see thread_pool
}

}  // namespace leat
