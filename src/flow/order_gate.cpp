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
            return place == head_ && !draining_;
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

task<> order_gate::complete(std::uint64_t place, std::vector<item> outputs, const std::function<task<>(item)>& send) {
    {
        env::lock_guard held(lock_);
        slot& mine = slots_[place % slots_.size()];
        mine.outputs = std::move(outputs);
        mine.done = true;
        if (draining_ || place != head_) co_return;
        draining_ = true;
    }
    for (;;) {
        std::vector<item> leaving;
        {
            resume_list woken;
            bool more = true;
            {
                env::lock_guard held(lock_);
                slot& first = slots_[head_ % slots_.size()];
                if (first.done) {
                    leaving = std::move(first.outputs);
                    first.outputs.clear();
                } else {
                    draining_ = false;
                    more = false;
                    wake_locked(woken);
                }
            }
            woken.resume_all();
            if (!more) co_return;
        }
        for (item& each : leaving) co_await send(std::move(each));
        resume_list woken;
        {
            env::lock_guard held(lock_);
            slots_[head_ % slots_.size()].done = false;
            ++head_;
            wake_locked(woken);
        }
        woken.resume_all();
    }
}

}  // namespace leat
