// channel_state<T>: what the ends of one channel share: the items, and how they are moved under the lock. Users see
// channel.hpp; the invariants are those of channel_core.hpp.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include <leat/base/expected.hpp>
#include <leat/channel/channel_core.hpp>
#include <leat/channel/ring.hpp>
#include <leat/channel/select_arm.hpp>

namespace leat {

// Why something was not sent, or not reserved.
enum class send_failure : unsigned char { closed, aborted, full, cancelled, timed_out };

// Why a value was not sent; the value comes back.
template <class T>
struct send_error {
    using reason = send_failure;
    reason why;
    T value;
    send_error(reason cause, T unsent) noexcept : why(cause), value(std::move(unsent)) {}
};

// How far send_many came: the first `sent` values went in and were moved from, the others are as they were.
struct batch_error {
    send_failure why;
    std::size_t sent;
    batch_error(send_failure cause, std::size_t count) noexcept : why(cause), sent(count) {}
};

// Why nothing was received: closed and drained, aborted, empty just now (try_ forms), or not in time (timed forms).
enum class recv_error : unsigned char { closed, aborted, empty, timed_out };

namespace detail {

template <class T>
class channel_state final : public channel_core {
    static_assert(std::is_nothrow_move_constructible_v<T>,
                  "items of a channel move without throwing: send a std::unique_ptr of other types");

public:
    // Has values to send, one after the other; or none, and waits for room to reserve.
    struct send_waiter : end_waiter {
        explicit send_waiter(std::span<T> values) noexcept : next(values.data()), left(values.size()) {}
        explicit send_waiter(std::size_t bytes) noexcept : weight(bytes) {}
        [[nodiscard]] bool reserves() const noexcept { return next == nullptr; }
        T* next = nullptr;  // not moved from yet
        std::size_t left = 0;
        std::size_t weight = 0;  // of the next value, or what is to be reserved
    };
    struct recv_waiter : end_waiter {
        std::optional<T> value;
    };

    channel_state(channel_bounds bounds, std::size_t (*size_of)(const T&), overflow policy) noexcept
        : channel_core(bounds, policy, size_of != nullptr), size_of_(size_of) {}

    // --- For await_suspend: true when the line waits, or has had its share and was posted ---

    bool send(send_waiter& self, context& line, std::coroutine_handle<> at) {
        lock_.lock();
        return send_or_wait(self, line, at);
    }
    // One value. Where it goes in and nobody waits, as most do, no node is made for it.
    bool send(T& value, std::optional<send_waiter>& self, context& line, std::coroutine_handle<> at) {
        fetch_ahead();
        lock_.lock();
        if (!is_plain_to_send()) [[unlikely]]
            return send_otherwise(value, self, line, at);
        send_plainly(value);
        return line.yields_at(at);
    }
    bool reserve(send_waiter& self, context& line, std::coroutine_handle<> at) {
        self.line = &line;
        {
            env::lock_guard held(lock_);
            if (!reserve_locked(self)) return wait_in(sending_, self, line, at, "reserve in a channel");
        }
        return line.yields_at(at);
    }
    // One value, into `self` or, as most do, where it is there and nobody waits, into `value`.
    bool recv(std::optional<T>& value, std::optional<recv_waiter>& self, context& line,
              std::coroutine_handle<> at) noexcept {
        fetch_ahead();
        lock_.lock();
        if (!is_plain_to_receive()) [[unlikely]]
            return recv_otherwise(value, self, line, at);
        recv_plainly(value);
        return line.yields_at(at);
    }
    // The same with room for several in `into`, which is used up before anything is waited for.
    bool recv_many(recv_waiter& self, std::vector<T>& into, std::size_t most, context& line,
                   std::coroutine_handle<> at) noexcept {
        self.line = &line;
        resume_list woken;
        {
            env::lock_guard held(lock_);
            if (take_many(into, most, woken) != 0) self.how = result::moved;
            else if (!recv_locked(self, woken)) return wait_in(receiving_, self, line, at, waits_to_receive);
        }
        woken.resume_all();
        return line.yields_at(at);
    }

    // --- Without waiting ---

    // True when it is over, and self.how tells how.
    [[nodiscard]] bool try_send(send_waiter& self) {
        lock_.lock();
        return go_on(self, nullptr, {}) == progress::over;
    }
    [[nodiscard]] bool try_reserve(send_waiter& self) {
        env::lock_guard held(lock_);
        return reserve_locked(self);
    }
    [[nodiscard]] bool try_recv(recv_waiter& self) noexcept {
        resume_list woken;
        bool over = false;
        {
            env::lock_guard held(lock_);
            over = recv_locked(self, woken);
        }
        woken.resume_all();
        return over;
    }
    std::size_t try_recv_many(std::vector<T>& into, std::size_t most) noexcept {
        resume_list woken;
        std::size_t count = 0;
        {
            env::lock_guard held(lock_);
            count = take_many(into, most, woken);
        }
        woken.resume_all();
        return count;
    }

    // --- For arms of a select; see select_arm ---

    // A sender or a reserver.
    [[nodiscard]] select_arm::published publish(send_waiter& self, const own_wait& wait) {
        using published = select_arm::published;
        resume_list woken;
        std::optional<T> displaced;  // a send that would drop never waits, and so is never published
        {
            env::lock_guard held(lock_);
            const bool could = phase_ != phase::open || (sending_.empty() && fits(weigh(self))) ||
                               (!self.reserves() && waits_another(receiving_, wait.line()));
            if (!could) {
                wait_in(sending_, self, wait.line());
                return published::waits;
            }
            items_.make_room(reserved_ + 1);
            if (!wait.end()) return published::lost;
            const bool over = self.reserves() ? reserve_locked(self) : advance(self, woken, displaced) == step::over;
            if (!over) return published::anew;
        }
        woken.resume_all();
        return published::completed;
    }
    [[nodiscard]] select_arm::published publish(recv_waiter& self, const own_wait& wait) noexcept {
        using published = select_arm::published;
        resume_list woken;
        {
            env::lock_guard held(lock_);
            if (items_.empty() && end_for_receivers() == result::none && !another_has_a_value(wait.line())) {
                wait_in(receiving_, self, wait.line());
                return published::waits;
            }
            if (!wait.end()) return published::lost;
            if (!recv_locked(self, woken)) return published::anew;
        }
        woken.resume_all();
        return published::completed;
    }

    // --- After a wait: out of the queue, unless the channel has ended it. ---

    void leave(send_waiter& self) noexcept {
        if (self.how != result::none) return;
        resume_list woken;
        {
            env::lock_guard held(lock_);
            sending_.remove(self);
            admit(woken);  // it may have stood in the way of a lighter one
        }
        woken.resume_all();
    }
    void leave(recv_waiter& self) noexcept {
        if (self.how != result::none) return;
        env::lock_guard held(lock_);
        receiving_.remove(self);
    }

    // --- Permits ---

    // Uses the permit up, or returns why not: aborted, or full where the value is heavier than what was reserved.
    [[nodiscard]] result send_reserved(T& value, std::size_t reserved) noexcept {
        resume_list woken;
        {
            env::lock_guard held(lock_);
            if (phase_ == phase::aborted) return result::aborted;
            const std::size_t weight = weight_of(value);
            if (weight > reserved) return result::full;
            unreserve(reserved);
            if (!hand_over(value, woken)) {
                items_.push(std::move(value));
                count_in(weight);
            }
            if (phase_ == phase::open) admit(woken);
            else end_receivers_if_drained(woken);
        }
        woken.resume_all();
        return result::moved;
    }
    void give_back(std::size_t reserved) noexcept {
        resume_list woken;
        {
            env::lock_guard held(lock_);
            unreserve(reserved);
            if (phase_ == phase::open) admit(woken);
            else end_receivers_if_drained(woken);
        }
        woken.resume_all();
    }
    // What a permit for so many bytes takes.
    [[nodiscard]] std::size_t weight_of_permit(std::size_t bytes) const noexcept {
        return has_size_ ? std::max<std::size_t>(bytes, 1) : 0;
    }

    // --- The ends ---

    void abort() noexcept {
        resume_list woken;
        ring<T> dropped;  // destroyed outside the lock: destructors of items are the user's
        {
            env::lock_guard held(lock_);
            abort_locked(woken, dropped);
        }
        woken.resume_all();
    }
    void set_bounds(channel_bounds bounds) noexcept {
        check_bounds(bounds);
        resume_list woken;
        {
            env::lock_guard held(lock_);
            bounds_ = bounds;
            admit(woken);
        }
        woken.resume_all();
    }
    void drop_receiver() noexcept {
        resume_list woken;
        ring<T> dropped;
        bool gone = false;
        {
            env::lock_guard held(lock_);
            if (--receivers_ == 0) abort_locked(woken, dropped);
            gone = unused();
        }
        woken.resume_all();
        if (gone) delete this;
    }

private:
    enum class step : unsigned char {
        over,       // self.how tells how
        waits,      // it must wait
        displaced,  // something was dropped: to be called again when that is destroyed, outside the lock
    };

    // All functions below: lock held.

    [[nodiscard]] std::size_t weight_of(const T& value) const noexcept {
        return size_of_ == nullptr ? 0 : std::max<std::size_t>(size_of_(value), 1);
    }
    // By its own line, or after one of its values has moved: two arms of a select may have the same value, which another
    // channel may be moving while the node is still in the queue of this one.
    std::size_t weigh(send_waiter& self) const noexcept {
        if (self.left != 0) self.weight = weight_of(*self.next);
        return self.weight;
    }

    enum class progress : unsigned char {
        over,   // self.how tells how
        stays,  // there is no room: it was not to wait, or was asked to stop
        waits,
    };

    static constexpr const char* waits_to_send = "send to a channel";
    static constexpr const char* waits_to_receive = "receive from a channel";

    // Releases the lock, whatever happens.
    struct releases_lock {
        explicit releases_lock(env::busy_mutex& lock) noexcept : held(lock) {}
        releases_lock(const releases_lock&) = delete;
        releases_lock& operator=(const releases_lock&) = delete;
        ~releases_lock() { held.unlock(); }
        env::busy_mutex& held;
    };

    // The following release the lock. Kept out of line, so that the callers' short ways are short.
    [[gnu::noinline]] bool send_or_wait(send_waiter& self, context& line, std::coroutine_handle<> at) {
        self.line = &line;
        const progress how = go_on(self, &line, at);
        return how == progress::over ? line.yields_at(at) : how == progress::waits;
    }
    [[gnu::noinline]] bool recv_or_wait(recv_waiter& self, context& line, std::coroutine_handle<> at) noexcept {
        self.line = &line;
        resume_list woken;
        {
            const releases_lock held(lock_);
            if (!recv_locked(self, woken)) return wait_in(receiving_, self, line, at, waits_to_receive);
        }
        woken.resume_all();
        return line.yields_at(at);
    }
    // Sends as much as it can; then `line` waits at `at` for the rest, where one is given.
    progress go_on(send_waiter& self, context* line, std::coroutine_handle<> at) {
        for (;; lock_.lock()) {
            resume_list woken;
            std::optional<T> displaced;  // destroyed outside the lock: destructors of items are the user's
            step how{};
            bool waits = false;
            {
                const releases_lock held(lock_);
                how = advance(self, woken, displaced);
                // The last that touches `self`, before the lock is released.
                if (how == step::waits && line != nullptr) waits = wait_in(sending_, self, *line, at, waits_to_send);
            }
            woken.resume_all();
            if (how == step::over) [[likely]]
                return progress::over;
            if (how == step::waits) return waits ? progress::waits : progress::stays;
        }
    }

    // Whether one value goes in, or out, and there is nothing to do but that.
    [[nodiscard]] bool is_plain_to_send() const noexcept {
        return depth_ + reserved_ < bounds_.items && phase_ == phase::open && receiving_.empty() && sending_.empty() &&
               !has_size_ && items_.has_room(reserved_ + 1);
    }
    [[nodiscard]] bool is_plain_to_receive() const noexcept {
        return !items_.empty() && sending_.empty() && !has_size_;
    }
    void send_plainly(T& value) noexcept {
        items_.push(std::move(value));
        count_in(0);
        lock_.unlock();
    }
    void recv_plainly(std::optional<T>& value) noexcept {
        value.emplace(items_.pop());
        count_out(0);
        lock_.unlock();
    }
    // To a receiver who waits; or, where it is only full, after a while in which there may be room again.
    [[gnu::noinline]] bool send_otherwise(T& value, std::optional<send_waiter>& self, context& line,
                                          std::coroutine_handle<> at) {
        if (phase_ == phase::open && !receiving_.empty()) {
            sending_side_.where = &line.where().host();
            if (waiter* const first = claim_receiver(value)) {
                lock_.unlock();
                first->resume();
                return line.yields_at(at);
            }
        }
        const auto is_full = [this] {
            return phase_ == phase::open && depth_ != 0 && depth_ + reserved_ >= bounds_.items && sending_.empty();
        };
        if (is_full() && policy_ == overflow::wait) {
            linger(sending_side_, receiving_side_, line, is_full);
            if (is_plain_to_send()) return send_plainly(value), line.yields_at(at);
        }
        return send_or_wait(self.emplace(std::span<T>(&value, 1)), line, at);
    }
    // Waits; or, where the senders may run now, after a while in which something may have come.
    [[gnu::noinline]] bool recv_otherwise(std::optional<T>& value, std::optional<recv_waiter>& self, context& line,
                                          std::coroutine_handle<> at) noexcept {
        const auto is_empty = [this] {
            return items_.empty() && sending_.empty() && receiving_.empty() && end_for_receivers() == result::none;
        };
        if (is_empty()) {
            linger(receiving_side_, sending_side_, line, is_empty);
            if (is_plain_to_receive()) return recv_plainly(value), line.yields_at(at);
            if (is_empty()) {
                const releases_lock held(lock_);
                self.emplace().line = &line;
                return wait_in(receiving_, *self, line, at, waits_to_receive);
            }
        }
        return recv_or_wait(self.emplace(), line, at);
    }

    // Moves the value to a waiting receiver, if there is one.
    [[nodiscard]] bool hand_over(T& value, resume_list& woken) noexcept {
        waiter* const first = receiving_.empty() ? nullptr : claim_receiver(value);
        if (first == nullptr) return false;
        woken.add(*first);
        return true;
    }
    // Who has it now, and is to be resumed; null when nobody waits.
    [[nodiscard]] waiter* claim_receiver(T& value) noexcept {
        waiter* const first = receiving_.claim_first();
        if (first == nullptr) return nullptr;
        auto& receiver = static_cast<recv_waiter&>(*first);
        receiver.value.emplace(std::move(value));
        receiver.how = result::moved;
        count_passed();
        return first;
    }
    // Moves the next value to a waiting receiver or inside, where there is memory for it. False when it must wait.
    [[nodiscard]] bool put(send_waiter& self, resume_list& woken) noexcept {
        if (!hand_over(*self.next, woken)) {
            if (!fits(weigh(self)) || (policy_ == overflow::wait && !sending_.empty())) return false;
            items_.push(std::move(*self.next));
            count_in(self.weight);
        }
        step_on(self);
        return true;
    }
    static void step_on(send_waiter& self) noexcept { ++self.next, --self.left; }
    static step end_as(send_waiter& self, result how) noexcept {
        self.how = how;
        return step::over;
    }
    step advance(send_waiter& self, resume_list& woken, std::optional<T>& displaced) {
        if (self.left == 0) return end_as(self, result::moved);
        if (phase_ != phase::open) return end_as(self, end_for_senders());
        const std::size_t held = depth_ + reserved_;
        // For as many as can go inside, before any has moved.
        items_.make_room(reserved_ + (held < bounds_.items ? std::min(self.left, bounds_.items - held) : 0));
        for (;;) {
            if (put(self, woken)) {
                if (self.left == 0) return end_as(self, result::moved);
                if (displaced) return step::displaced;
                continue;
            }
            if (policy_ == overflow::wait) return step::waits;
            if (policy_ == overflow::fail) return end_as(self, result::full);
            if (displaced) return step::displaced;
            ++dropped_;
            if (policy_ == overflow::drop_oldest && !items_.empty()) {
                displaced.emplace(items_.pop());
                --depth_;
                bytes_ -= weight_of(*displaced);
                continue;
            }
            displaced.emplace(std::move(*self.next));
            step_on(self);
            if (self.left == 0) return end_as(self, result::moved);
            return step::displaced;
        }
    }
    [[nodiscard]] bool reserve_locked(send_waiter& self) {
        if (phase_ != phase::open) return end_as(self, end_for_senders()) == step::over;
        if (!sending_.empty() || !fits(self.weight)) return false;
        items_.make_room(reserved_ + 1);
        channel_core::reserve(self.weight);
        self.how = result::moved;
        return true;
    }
    // True when it is over, with a value or because nothing will come.
    [[nodiscard]] bool recv_locked(recv_waiter& self, resume_list& woken) noexcept {
        self.value.reset();
        take(self.value, woken);
        self.how = self.value ? result::moved : end_for_receivers();
        return self.how != result::none;
    }
    std::size_t take_many(std::vector<T>& into, std::size_t most, resume_list& woken) noexcept {
        std::size_t count = 0;
        for (std::optional<T> value; count < most && into.size() < into.capacity(); ++count, value.reset()) {
            take(value, woken);
            if (!value) break;
            into.push_back(std::move(*value));
        }
        return count;
    }
    // Takes the oldest value, if there is one, and lets those who wait for room follow.
    void take(std::optional<T>& value, resume_list& woken) noexcept {
        if (!items_.empty()) {
            value.emplace(items_.pop());
            count_out(weight_of(*value));
            if (!sending_.empty()) admit(woken);
        } else {
            take_from_a_sender(value, woken);
        }
    }
    void take_from_a_sender(std::optional<T>& value, resume_list& woken) noexcept {
        for (waiter* each = sending_.first(); each != nullptr;) {
            auto& sender = static_cast<send_waiter&>(*each);
            each = each->next;
            if (sender.reserves() || !take_next(sender, woken)) continue;
            value.emplace(std::move(*sender.next));
            step_on(sender);
            weigh(sender);
            count_passed();
            if (!sending_.empty()) admit(woken);  // what it has next may be lighter
            return;
        }
    }
    // Readies a waiting sender for the move of its next value: the last one ends its wait. False when it is leaving.
    [[nodiscard]] bool take_next(send_waiter& sender, resume_list& woken) noexcept {
        // Of one who is leaving more may go: it looks under the lock how many have gone.
        if (sender.left > 1) return true;
        sending_.remove(sender);
        if (!sender.claim()) return false;
        sender.how = result::moved;
        woken.add(sender);
        return true;
    }
    // Lets in those who wait and fit.
    void admit(resume_list& woken) noexcept {
        while (waiter* const first = sending_.first()) {
            auto& sender = static_cast<send_waiter&>(*first);
            if (!fits(sender.weight)) return;
            items_.make_room(reserved_ + 1);  // noexcept: what cannot be kept cannot be given back either
            if (!take_next(sender, woken)) continue;
            if (sender.reserves()) {
                channel_core::reserve(sender.weight);
            } else {
                items_.push(std::move(*sender.next));
                count_in(sender.weight);
                step_on(sender);
                weigh(sender);
            }
        }
    }
    [[nodiscard]] bool another_has_a_value(const context& line) const noexcept {
        const waiter* each = sending_.first();
        while (each != nullptr && (each->line == &line || static_cast<const send_waiter*>(each)->reserves()))
            each = each->next;
        return each != nullptr;
    }
    void abort_locked(resume_list& woken, ring<T>& dropped) noexcept {
        if (phase_ == phase::aborted) return;
        phase_ = phase::aborted;
        fail_all(sending_, result::aborted, woken);
        fail_all(receiving_, result::aborted, woken);
        items_.swap(dropped);
        dropped_ += depth_;
        depth_ = bytes_ = 0;
    }

    ring<T> items_;
    std::size_t (*size_of_)(const T&);
};

}  // namespace detail
}  // namespace leat
