#include "order_gate.hpp"

#include <leat/task/outcome.hpp>

namespace leat {

// One look at the condition, and a wait for its next change when it does not hold.
struct order_gate::look : waiter {
    look(order_gate& owner, until condition, std::uint64_t which) noexcept
        : gate(owner), what(condition), place(which) {}
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> at) noexcept {
        line = &at.promise().leat_context();
        env::lock_guard held(gate.lock_);
        if (gate.holds(what, place)) return false;
        waited = true;
        if (!line->begin_wait(at, "its turn in the order")) return false;
        wait_as(*line);
        gate.waiting_.push_back(*this);
        return true;
    }
    // True when the condition held; false: look again.
    bool await_resume() {
        if (!waited) return true;
        if (line->woken_by() == context::wake::ready) return false;
        {
            env::lock_guard held(gate.lock_);
            gate.waiting_.remove(*this);
        }
        detail::throw_cancelled();
    }
    using waiter::wait_as;
    order_gate& gate;
    until what;
    std::uint64_t place;
    bool waited = false;
};

bool order_gate::holds(until what, std::uint64_t place) const noexcept {
    switch (what) {
        case until::admitted:
            return place < head_ + slots_.size();
        case until::its_turn:
            return place == head_ && !leads_;
        case until::passed:
            return head_ >= place;
    }
    return true;
}

// GCC 12 miscompiles `while (!co_await …) {}` with an empty body: hence the names and the plain loop.
task<> order_gate::await(until what, std::uint64_t place) {
    for (;;) {
        look change(*this, what, place);
        const bool now = co_await change;
        if (now) co_return;
    }
}

task<> order_gate::admit(std::uint64_t place) { return await(until::admitted, place); }
task<> order_gate::turn(std::uint64_t place) { return await(until::its_turn, place); }
task<> order_gate::drained(std::uint64_t places) { return await(until::passed, places); }

bool order_gate::is_admitted(std::uint64_t place) noexcept {
    env::lock_guard held(lock_);
    return holds(until::admitted, place);
}

bool order_gate::is_turn(std::uint64_t place) noexcept {
    env::lock_guard held(lock_);
    return holds(until::its_turn, place);
}

void order_gate::wake_locked(resume_list& woken) noexcept {
    waiter* following = nullptr;
    for (waiter* each = waiting_.first(); each != nullptr; each = following) {
        following = each->next;
        const auto& asks = static_cast<look&>(*each);
        if (!holds(asks.what, asks.place)) continue;
        waiting_.remove(*each);
        if (each->claim()) woken.add(*each);
    }
}

bool order_gate::complete(std::uint64_t first, std::size_t count, std::vector<item>& outputs) {
    env::lock_guard held(lock_);
    slot& mine = slots_[first % slots_.size()];
    mine.outputs.swap(outputs);
    mine.count = count;
    if (leads_ || first != head_) return false;
    leads_ = true;
    return true;
}

bool order_gate::next(std::vector<item>& into) {
    resume_list woken;
    {
        env::lock_guard held(lock_);
        slot& first = slots_[head_ % slots_.size()];
        if (first.count != 0) {
            first.outputs.swap(into);
            return true;
        }
        leads_ = false;
        wake_locked(woken);
    }
    woken.resume_all();
    return false;
}

void order_gate::left() noexcept {
    resume_list woken;
    {
        env::lock_guard held(lock_);
        head_ += std::exchange(slots_[head_ % slots_.size()].count, 0);
        wake_locked(woken);
    }
    woken.resume_all();
}

}  // namespace leat
