#include <leat/task/context.hpp>

#include <string>

#include <leat/base/bug.hpp>

namespace leat {

bool context::begin(std::coroutine_handle<> at, const char* what, interruptible how, std::uint64_t suspended) noexcept {
    if (!is_linked()) link();
    resume_point_ = at;
    waits_for_.store(what, env::relaxed);  // relaxed: a report, orders nothing
    std::uint64_t before = word_.load(env::relaxed);
    for (;;) {
        const std::uint64_t stop = before & bit_stop;
        const bool refused = stop != 0 && how == interruptible::yes;
        std::uint64_t after = (before & ~(one_wait - 1)) + one_wait + stop;
        if (refused) after |= static_cast<std::uint64_t>(wake::cancelled) << shift_reason;
        else after |= state_waiting | suspended | (how == interruptible::yes ? 0 : bit_deaf);
        // release pairs with the acquire of request_stop(), which may claim at once and resume at resume_point_.
        if (!word_.compare_exchange_weak(before, after, env::release, env::relaxed)) continue;
        if (refused) waits_for_.store(nullptr, env::relaxed);
        return !refused;
    }
}

bool context::commit_wait() noexcept {
    std::uint64_t before = word_.load(env::acquire);  // pairs with resume(): what was handed over is visible
    for (;;) {
        if ((before & mask_state) == state_handed) {
            waits_for_.store(nullptr, env::relaxed);
            return false;
        }
        // release: the claimer that sees the bit posts a line whose frame is complete. acquire: as above.
        if (word_.compare_exchange_weak(before, before | bit_suspended, env::acq_rel, env::acquire)) return true;
    }
}

bool context::withdraw(ticket which, wake reason) noexcept {
    if (!claim(which, reason)) return false;
    waits_for_.store(nullptr, env::relaxed);  // relaxed: a report, orders nothing
    return true;
}

bool context::claim(ticket which, wake reason) noexcept {
    std::uint64_t before = word_.load(env::acquire);
    for (;;) {
        if ((before & ~(bit_stop | bit_suspended)) != which.word) return false;
        // acq_rel: sees the line's resume point (release in begin), and lets later losers see the claim.
        if (word_.compare_exchange_weak(before, claimed(before, reason), env::acq_rel, env::acquire)) return true;
    }
}

bool context::claim(wake reason) noexcept {
    std::uint64_t before = word_.load(env::relaxed);  // relaxed: the exchange decides, and the lock orders the rest
    while ((before & mask_state) == state_waiting)
        // acq_rel: as with a ticket.
        if (word_.compare_exchange_weak(before, claimed(before, reason), env::acq_rel, env::relaxed)) return true;
    return false;
}

bool context::join(item_chain& together) noexcept {
    // acquire: a line that has suspended since the claim has its frame complete.
    if ((word_.load(env::acquire) & bit_suspended) == 0 || urgency != priority::normal) return false;
    if (together.where != nullptr && together.where != exec_) return false;
    together.where = exec_;
    together.items.push(*this);
    ++together.count;
    return true;
}

void context::resume() noexcept {
    std::uint64_t before = word_.load(env::acquire);
    while ((before & bit_suspended) == 0) {
        // release pairs with commit_wait(): the line sees what was handed over.
        if (word_.compare_exchange_weak(before, (before & ~mask_state) | state_handed, env::acq_rel, env::acquire))
            return;
    }
    exec_->post(*this);
}

void context::request_stop() noexcept {
    stop_.request_stop();  // those below first: after the claim this line may run on and end
    const std::uint64_t before = word_.fetch_or(bit_stop, env::acq_rel);  // pairs with begin() both ways
    if ((before & bit_stop) != 0 || (before & mask_state) != state_waiting || (before & bit_deaf) != 0) return;
    if (claim({before & ~bit_suspended}, wake::cancelled)) resume();
}

context& context::required(const char* what) noexcept {
    context* const here = current();
    if (here == nullptr) bug(std::string(what) + " outside a task: start it from leat::run or leat::main");
    return *here;
}

void context::post_at(std::coroutine_handle<> at, bool last) noexcept {
    resume_point_ = at;
    if (last) exec_->post_last(*this);
    else exec_->post(*this);
}

void context::move_to(executor& where, std::coroutine_handle<> at) noexcept {
    resume_point_ = at;
    waits_for_.store("a place on another executor", env::relaxed);  // relaxed: a report, orders nothing
    exec_ = &where;
    where.post(*this);
}

void context::resume_coroutine(work_item& item) noexcept {
    if (item.is_watched) [[unlikely]] {
        static_cast<context&>(item).exec_->run_watched(item, &resume_here);
        return;
    }
    resume_here(item);
}

void context::resume_here(work_item& item) noexcept {
    auto& self = static_cast<context&>(item);
    void*& current = env::this_thread(env::slot::context);  // this function stays on one thread
    current = &self;
    self.waits_for_.store(nullptr, env::relaxed);
    self.budget_ = share;
    self.nested_ = 0;
    self.resume_point_.resume();  // self may be gone afterwards
    current = nullptr;
}

}  // namespace leat
