// ring_side: one end of a ring in shared memory, sender or receiver alike: its mapping, how far it may go, and its waits. Users
// see shared_ring.hpp.
//
// The two ends mirror each other. Each has a window that the other side's index opens (the sender's is room, the receiver's is
// what was sent) and its own index shrinks; each waits until its window has so many bytes.
//
// Invariants:
//  1. The bytes of the ring are mapped twice, one behind the other, so that what lies across its end is in one piece.
//  2. The window is never larger than the ring: an index of the other side that says so is damage, and nothing is read then.
//  3. Its own index is kept here too; what the other side does to the shared one changes nothing but that it is told.
//
// A ring of many senders has one place of a sender all the same, which they use in turn: for a message, or for a batch. The turn
// is a word that names the process that has it, so that another can take it over from a dead one; there is nothing to repair
// then, since what was not committed was never there.
//  4. A sender that has not the turn has a window of nothing, and so comes to the turn before all else. has() that is true, and
//     wait() that has waited for it, leave it with the turn, until it passes on or lets go.
//  5. Under the turn it waits for room: so one waits at the head, as in other rings, and the others wait for the turn.
#pragma once

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <leat/io/descriptor.hpp>
#include <leat/process/process_identity.hpp>
#include <leat/process/process_lock_word.hpp>
#include <leat/process/ring_copier.hpp>
#include <leat/process/ring_core.hpp>
#include <leat/process/shared_memory.hpp>
#include <leat/process/spawn.hpp>
#include <leat/task/task.hpp>
#include <leat/task/thread_line.hpp>
#include <leat/task/wait_limit.hpp>

namespace leat {

// Why a message was not sent or received.
enum class ring_error : unsigned char {
    closed,     // one side has closed it; of the receiver: and nothing is left inside
    peer_died,  // the process of the other side has ended without closing; of the receiver: and nothing is left inside
    full,       // there is no room now
    empty,      // there is no message now
    timed_out,
    cancelled,  // the task was asked to stop while it waited
    too_large,  // larger than the ring
    damaged,    // the other side has written what makes no sense
};
[[nodiscard]] const char* text_of(ring_error error) noexcept;

// How many may send into a ring at a time.
enum class ring_senders : unsigned char {
    one,   // the fastest
    many,  // of any processes, up to 1024
};

namespace detail {

// What a ring is, in its memory.
struct ring_facts {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t element_bytes;  // 0: messages of any size
    std::uint64_t capacity;       // bytes; a power of two and whole pages
    std::uint64_t seats;          // for senders
};

// Who sends, in a ring of many: 0, or the identity of a process, with one of two bits that the time of its start leaves free.
using ring_seat = env::atomic<std::uint64_t>;

// The beginning of the memory. In a ring of many the seats follow. The bytes of the ring begin at the next page.
struct ring_layout {
    ring_facts facts;
    alignas(64) env::atomic<std::uint64_t> sender{0};    // of a ring of one: the identity of its process; 0: nobody yet
    alignas(64) env::atomic<std::uint64_t> receiver{0};  // likewise
    ring_index tail;
    ring_index head;
    process_lock_word turn;  // of a ring of many
};

// A mapping of the whole, with the descriptors that come with it. Shared by the ends of this process.
class ring_map {
public:
    static expected<std::shared_ptr<ring_map>, shared_error> create(std::size_t bytes, std::uint32_t element_bytes,
                                                                    ring_senders senders);
    // Takes `first` and the two, of a ring of many three, descriptors after it.
    static expected<std::shared_ptr<ring_map>, shared_error> attach(int first, std::uint32_t element_bytes);
    ring_map(const ring_map&) = delete;
    ring_map& operator=(const ring_map&) = delete;
    ~ring_map();

    [[nodiscard]] ring_layout& layout() const noexcept { return *layout_; }
    [[nodiscard]] std::byte* bytes() const noexcept { return bytes_; }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }  // as it was when it was checked
    [[nodiscard]] std::vector<passed_descriptor> passed(int first) const;
    [[nodiscard]] int sender_bell() const noexcept { return sender_bell_.get(); }
    [[nodiscard]] int receiver_bell() const noexcept { return receiver_bell_.get(); }
    [[nodiscard]] int turn_bell() const noexcept { return turn_bell_.get(); }
    // Of a ring of many; none in others.
    [[nodiscard]] std::span<ring_seat> seats() const noexcept { return seats_; }

private:
    ring_map() = default;
    std::optional<shared_error> map(std::size_t capacity, std::size_t seats);

    io::unique_fd memory_, sender_bell_, receiver_bell_;
    io::unique_fd turn_bell_;  // of a ring of many
    std::span<ring_seat> seats_;
    ring_layout* layout_ = nullptr;
    std::byte* bytes_ = nullptr;  // twice the capacity
    std::size_t capacity_ = 0;
    std::size_t header_bytes_ = 0;
    std::byte* mapped_ = nullptr;
};

class ring_side {
public:
    enum class role : bool { sender, receiver };
    // Takes the place of this role.
    static expected<std::unique_ptr<ring_side>, shared_error> take(std::shared_ptr<ring_map> map, role which);
    ring_side(const ring_side&) = delete;
    ring_side& operator=(const ring_side&) = delete;
    ~ring_side();

    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    // Whether the window has so many bytes, as far as is known without a wait.
    [[nodiscard]] bool has(std::uint64_t bytes) noexcept {
        if (seen_ - base_ >= bytes) [[likely]]
            return true;
        if (turn_ != nullptr) return has_in_turn(bytes, bytes);
        // Each look of a receiver takes the line from a sender that is running: after a short time there is more to see than
        // one message. (A sender looks once in a whole ring.)
        if (role_ == role::receiver)
            for (int i = 0; i < pauses_before_look; ++i) env::pause();
        return has_now(bytes);
    }
    // The same for `least`; the window is that of `most` bytes if it can be.
    [[nodiscard]] bool has_some(std::uint64_t least, std::uint64_t most) noexcept {
        if (turn_ != nullptr) return has_in_turn(least, most);
        return has(most) || has(least);
    }
    // Of a sender for which has() was true, and that does not pass on: another may have the turn.
    // Nothing in a fork of the process that took the place.
    void let_go() noexcept;
    // Bytes of the window, as it was seen last.
    [[nodiscard]] std::uint64_t window() const noexcept { return seen_ - base_; }
    // Where the window begins.
    [[nodiscard]] std::byte* place() const noexcept { return bytes_ + (position_ & (capacity_ - 1)); }
    // Of a sender, before it writes: asks for a line further on, from which the receiver has to be told to part. Only where the
    // window is, so that it is none that the receiver has still to read.
    void fetch_ahead() const noexcept {
#if defined(__x86_64__)
        constexpr std::uint64_t ahead = 512;
        if (seen_ - base_ > ahead) asm volatile("prefetchw %0" : : "m"(*(place() + ahead)));
#endif
    }
    // Into the window.
    void copy_in(std::byte* to, std::span<const std::byte> message) noexcept {
        if (message.size() < ring_copier::least) std::copy(message.begin(), message.end(), to);
        else copier_.copy(to, message.data(), message.size());
    }
    // Gives the first bytes of the window to the other side: of a sender they are sent, of a receiver they are free. No error, or
    // why not.
    [[nodiscard]] std::optional<ring_error> pass_on(std::uint64_t bytes) noexcept {
        const auto bell = [this] { ring_their_bell(); };
        const auto how = role_ == role::sender ? mine_.move(position_, position_ + bytes, bell)
                                               : mine_.move_to_the_end(position_, position_ + bytes, bell);
        if (how != ring_index::move_result::moved) [[unlikely]] {
            if (how == ring_index::move_result::damaged) (void)damage();
            let_go();
            return how == ring_index::move_result::ended ? ring_error::closed : ring_error::damaged;
        }
        position_ += bytes;
        base_ += bytes;
        if (turn_ != nullptr) give_turn();
        return {};
    }
    // Why the window has not so many bytes, as it was seen last.
    [[nodiscard]] ring_error why_not() const noexcept {
        if (damaged_) return ring_error::damaged;
        // The end was seen together with the index: nothing follows that was not seen.
        if (ended_) return ring_error::closed;
        return role_ == role::sender ? ring_error::full : ring_error::empty;
    }
    ring_error damage() noexcept {
        damaged_ = true;
        seen_ = base_;
        return ring_error::damaged;
    }

    // Waits until the window has so many bytes: how else it ended.
    task<std::optional<ring_error>> wait(std::uint64_t bytes, time_limit limit) {
        return turn_ != nullptr ? wait_in_turn(bytes, limit) : wait_for_window(bytes, limit);
    }
    std::optional<ring_error> blocking_wait(std::uint64_t bytes, time_limit limit, const char* name) noexcept;

    // No more in. Any thread. Nothing in a fork of the process that took the place.
    void close() noexcept;
    // Until somebody takes the other place it is this process that may die. Of a receiver from many: it is one of them.
    void expect(pid_t pid) noexcept;
    // Whether the process of the other side is known to have ended; of many: all of them, and not all by closing.
    [[nodiscard]] bool peer_gone() noexcept;

    // A unit of the cooperative budget of tasks.
    static constexpr int units = 64;
    [[nodiscard]] bool may_go_on() noexcept { return --units_left_ >= 0; }
    [[nodiscard]] bool yields(context& line, std::coroutine_handle<> at) noexcept {
        units_left_ = units;
        return line.yields_at(at, units);
    }

    bool lent = false;  // a part of the window is with the user: reserved or borrowed

private:
    ring_side(std::shared_ptr<ring_map> map, role which, ring_seat* seat) noexcept;
    static expected<ring_seat*, shared_error> take_place(ring_map& map, role which);
    static constexpr int pauses_before_look = 8;  // about what it takes to fetch the line
    [[nodiscard]] bool has_now(std::uint64_t bytes) noexcept {
        if (seen_ - base_ < bytes) look();
        return seen_ - base_ >= bytes;
    }
    void look() noexcept;
    void ring_their_bell() const noexcept;
    bool comes_soon(std::uint64_t needed) noexcept;
    std::optional<ring_error> end_of_wait(std::uint64_t bytes, ring_error otherwise) noexcept;
    [[nodiscard]] process_identity peer() const noexcept;
    [[nodiscard]] bool watch(process_identity who) noexcept;
    [[nodiscard]] std::optional<ring_error> why_nobody_sends() noexcept;
    task<std::optional<ring_error>> wait_for_window(std::uint64_t bytes, time_limit limit);
    std::optional<ring_error> blocking_wait_for_window(std::uint64_t bytes, time_point deadline) noexcept;

    // The turn, of a sender among many.
    [[nodiscard]] bool has_in_turn(std::uint64_t least, std::uint64_t most) noexcept;
    [[nodiscard]] bool take_turn() noexcept;
    void give_turn() noexcept;
    task<std::optional<ring_error>> wait_in_turn(std::uint64_t bytes, time_limit limit);
    task<std::optional<ring_error>> wait_for_turn(time_point deadline);
    std::optional<ring_error> blocking_wait_for_turn(time_point deadline) noexcept;

    const std::shared_ptr<ring_map> map_;
    const role role_;
    ring_index& mine_;
    ring_index& theirs_;
    std::byte* const bytes_;
    const std::uint64_t capacity_;
    ring_copier copier_{capacity_};
    std::uint64_t position_ = 0;  // of the own index
    std::uint64_t base_ = 0;      // where the other index would be if the window were empty
    std::uint64_t seen_ = 0;      // where the other index was seen last; without the turn: where the window is nothing
    process_lock_word* const turn_;  // of a sender among many; null for others
    bool has_turn_ = false;
    std::uint64_t seen_in_turn_ = 0;  // where the other index was seen last, with a turn
    std::uint64_t me_ = 0;            // who has the turn then
    ring_seat* const seat_;           // of a sender among many
    const bool from_many_;            // a receiver from many
    const pid_t owner_;
    int units_left_ = units;
    int patience_;
    bool ended_ = false;  // as it was seen last
    bool damaged_ = false;

    bool expects_ = false;
    process_identity expected_;
    // The process that is watched: the pidfd is open, or it is known to have ended.
    process_identity watched_;
    bool watched_ended_ = false;
    io::unique_fd pidfd_;
    io::unique_fd events_;  // an epoll of the own bell and the pidfd; none until a task waits
    bool pidfd_in_events_ = false;
    io::unique_fd turn_events_;  // an epoll of the bell of the turn: a loop watches a descriptor once
};

// --- Forms of operations ---
//
// An attempt is a small struct:
//   using result = expected<…, ring_error>;
//   ring_side* side;
//   result operator()() noexcept            fails with full or empty when it is worth waiting
//   std::uint64_t needs() const noexcept    for what
//   static constexpr bool throws_cancelled  what a stop request comes out as

inline bool is_worth_waiting(ring_error why) noexcept { return why == ring_error::full || why == ring_error::empty; }

template <class Attempt>
class [[nodiscard]] ring_operation {
    using result = typename Attempt::result;
    using waiting = task<std::optional<ring_error>>;

    class awaiter {
    public:
        awaiter(Attempt what, time_limit limit) noexcept : attempt_(std::move(what)), limit_(limit) {}
        bool await_ready() {
            result_.emplace(attempt_());
            waits_ = !*result_ && is_worth_waiting(result_->error());
            return !waits_ && attempt_.side->may_go_on();
        }
        template <has_context Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) {
            if (!waits_) {
                if (attempt_.side->yields(self.promise().leat_context(), self)) return std::noop_coroutine();
                return self;
            }
            wait_.emplace(attempt_.side->wait(attempt_.needs(), limit_));
            inner_.emplace(wait_->operator co_await());
            return inner_->await_suspend(self);
        }
        result await_resume() {
            if (!waits_) return std::move(*result_);
            if (const std::optional<ring_error> why = inner_->await_resume()) {
                if (Attempt::throws_cancelled && *why == ring_error::cancelled) throw_cancelled();
                return unexpected(*why);
            }
            return attempt_();
        }

    private:
        Attempt attempt_;
        time_limit limit_;
        bool waits_ = false;
        std::optional<result> result_;
        std::optional<waiting> wait_;
        std::optional<decltype(std::declval<waiting&>().operator co_await())> inner_;
    };

public:
    ring_operation(Attempt what, time_limit limit) noexcept : attempt_(std::move(what)), limit_(limit) {}
    awaiter operator co_await() && noexcept { return awaiter(std::move(attempt_), limit_); }

private:
    Attempt attempt_;
    time_limit limit_;
};

template <class Attempt>
typename Attempt::result ring_blocking(Attempt attempt, time_limit limit, const char* name) {
    auto result = attempt();
    if (result || !is_worth_waiting(result.error())) return result;
    if (const auto why = attempt.side->blocking_wait(attempt.needs(), limit, name)) return unexpected(*why);
    return attempt();
}

}  // namespace detail
}  // namespace leat
