// shared_ring<T> and byte_ring: a bounded queue in shared memory from one process to another, the fastest way between two. A
// message costs no system call while both sides run; who has to wait sleeps, and is woken.
//
//   auto ring = leat::shared_ring<trade>::create(4096);                        // here
//   options.pass = ring->passed(3);                                            // descriptors 3, 4 and 5 of the child
//   auto out = ring->sender();
//   while (…) if (auto sent = co_await out->send(next); !sent) …               // sent.error(): closed, peer_died, …
//
//   auto ring = leat::shared_ring<trade>::attach(3);                           // in the child
//   auto in = ring->receiver();
//   while (auto message = co_await in->recv()) use(*message);
//
// shared_ring<T> carries values of one trivially copyable type; byte_ring carries messages of any size, which can be written
// and read in place, without a copy:
//
//   auto slot = co_await out->reserve(1 << 20);          auto loan = co_await in->borrow();
//   fill(slot->bytes());                                 use(loan->bytes());
//   slot->commit();                                      loan->release();
//
// One sender and one receiver at a time, each moved and not copied, each used by one task or thread at a time; close() and
// abandon by death may come at any time. Both are in the same pid namespace.
//
// Many senders: create(4096, leat::ring_senders::many). Any process, and any task or thread in it, calls sender() for one of its
// own. The messages of each are received in its order; a batch that fits (try_send_many()) lies in one piece. The ring closes when
// the last sender that is known has gone: those that have called sender(), and those of which the receiver was told by expect().
// Who wants it to stay open while nobody sends keeps a sender himself. They send by turns, each message a turn, which costs about
// twice as much as alone, and more where they contend. A slot that is reserved is a turn until it is committed or dropped;
// meanwhile the others wait, and their try_send() says full. A process that is stopped (SIGSTOP) in its turn holds up the others; one
// that is killed does not, but those who wait at that moment for up to 50 ms.
//
// What is promised when a process dies, by kill -9 too:
//  1. A message is received whole or not at all: what was reserved and not committed was never there.
//  2. All that was committed is received. Then the receiver is told: ring_error::peer_died.
//  3. The sender is told when it has to wait for room. (It does not ask the system at each message; peer_gone() asks.) Who waits
//     already is told: a task at once, a plain thread within 50 ms.
//     Of many senders: when the last one is gone, and one of those that died has not been replaced; else it is closed.
//  4. Another process may take the place of a dead one, with the same descriptors. A new receiver goes on at the oldest message
//     that was not released; so what its predecessor had borrowed comes again.
// A side that writes nonsense into the memory, or sizes that are not there, gives ring_error::damaged on the other: no crash, no
// read outside the ring. The content of messages that are borrowed can change under the reader if the sender is hostile: recv()
// copies first.
#pragma once

#include <cstring>
#include <span>
#include <type_traits>

#include <leat/process/ring_side.hpp>
#include <leat/task/outcome.hpp>

namespace leat {

template <class T>
class ring_sender;
template <class T>
class ring_receiver;
class byte_sender;
class byte_receiver;

namespace detail {

// In words, which a compiler keeps in registers: a message that was just made of its members would be read back from memory in
// one piece, for which a processor waits.
template <class T>
void put_message(std::byte* place, const T& value) noexcept {
    constexpr std::size_t in_words = 64;
    if constexpr (sizeof(T) % 8 == 0 && sizeof(T) <= in_words) {
        for (std::size_t at = 0; at < sizeof(T); at += 8)
            std::memcpy(place + at, reinterpret_cast<const std::byte*>(&value) + at, 8);
    } else {
        std::memcpy(place, &value, sizeof(T));
    }
}

// What both kinds of ends share.
class ring_end {
public:
    // No more in, for all senders; what is inside still comes out. Who waits on the other side is woken, and so is who waits here.
    // Also the end of this object, but for a sender among many: that leaves, and the last to leave closes. Any thread.
    void close() noexcept { side().close(); }
    // Who will take the other place: its death is noticed from now on, not only after it has attached. Of a child that was
    // spawned: its pid. A receiver from many says each: then the ring does not end before these have come, and gone.
    void expect(pid_t pid) noexcept { side().expect(pid); }
    // Asks the system whether the process of the other side has ended. False while nobody has been there. Of many senders: whether
    // all are gone, and one of them by dying.
    [[nodiscard]] bool peer_gone() noexcept { return side().peer_gone(); }
    // In bytes.
    [[nodiscard]] std::size_t capacity_bytes() const noexcept { return side().capacity(); }

protected:
    explicit ring_end(std::unique_ptr<ring_side> side) noexcept : side_(std::move(side)) {}
    [[nodiscard]] ring_side& side() const noexcept {
        if (side_ == nullptr) bug("an end of a shared ring that was moved from was used");
        return *side_;
    }

private:
    std::unique_ptr<ring_side> side_;
};

// What both kinds of rings share. `Sender` and `Receiver` are friends of it.
template <class Sender, class Receiver, std::uint32_t ElementBytes>
class ring_of {
public:
    // Takes the descriptors `first`, `first` + 1 and `first` + 2, which spawn_options::pass put there. They are this object's then,
    // also when it fails; of a ring of many senders `first` + 3 too. Everything is checked; throws only bad_alloc.
    template <class Ring>
    [[nodiscard]] static expected<Ring, shared_error> attach_at(int first) {
        auto map = ring_map::attach(first, ElementBytes);
        if (!map) return unexpected(std::move(map.error()));
        return Ring(std::move(*map));
    }
    // For spawn_options::pass: the three descriptors, to be `first` and the two after it in the child. Of a ring of many senders
    // four.
    [[nodiscard]] std::vector<passed_descriptor> passed(int first) const { return map_->passed(first); }

    // Takes a place, for as long as this process lives, or the end that is given; also the place of a process that has died. Fails
    // with kind taken when it is held by one that lives, or when many are 1024. The end keeps the memory mapped; the ring may go.
    [[nodiscard]] expected<Sender, shared_error> sender() {
        auto side = ring_side::take(map_, ring_side::role::sender);
        if (!side) return unexpected(std::move(side.error()));
        return Sender(std::move(*side));
    }
    [[nodiscard]] expected<Receiver, shared_error> receiver() {
        auto side = ring_side::take(map_, ring_side::role::receiver);
        if (!side) return unexpected(std::move(side.error()));
        return Receiver(std::move(*side));
    }

protected:
    explicit ring_of(std::shared_ptr<ring_map> map) noexcept : map_(std::move(map)) {}

private:
    std::shared_ptr<ring_map> map_;
};

}  // namespace detail

// --- Messages of one type ---

template <class T>
class shared_ring : public detail::ring_of<ring_sender<T>, ring_receiver<T>, sizeof(T)> {
    static_assert(std::is_trivially_copyable_v<T> && std::is_object_v<T>,
                  "messages between processes are copied as bytes: send a trivially copyable type, or use byte_ring");
    static_assert(!std::is_pointer_v<T> && !std::is_member_pointer_v<T>, "a pointer means nothing to another process");

public:
    // Makes a ring that holds at least `capacity` messages. All of its memory is taken now. Throws only bad_alloc.
    [[nodiscard]] static expected<shared_ring, shared_error> create(std::size_t capacity,
                                                                    ring_senders senders = ring_senders::one) {
        auto map = detail::ring_map::create(capacity > SIZE_MAX / sizeof(T) ? SIZE_MAX : capacity * sizeof(T),
                                            sizeof(T), senders);
        if (!map) return unexpected(std::move(map.error()));
        return shared_ring(std::move(*map));
    }
    [[nodiscard]] static expected<shared_ring, shared_error> attach(int first) {
        return shared_ring::template attach_at<shared_ring>(first);
    }

private:
    friend detail::ring_of<ring_sender<T>, ring_receiver<T>, sizeof(T)>;
    using detail::ring_of<ring_sender<T>, ring_receiver<T>, sizeof(T)>::ring_of;
};

// How many of a batch were sent before it ended otherwise.
struct ring_batch_error {
    ring_error why;
    std::size_t sent;
};

template <class T>
class ring_sender : public detail::ring_end {
    // Value: T, or a reference to one that lives until the end.
    template <class Value>
    struct attempt {
        using result = expected<void, ring_error>;
        static constexpr bool throws_cancelled = false;
        detail::ring_side* side;
        Value value;
        attempt(detail::ring_side& on, const T& what) noexcept : side(&on), value(what) {}
        static std::uint64_t needs() noexcept { return sizeof(T); }
        result operator()() noexcept {
            if (!side->has(sizeof(T))) [[unlikely]]
                return unexpected(side->why_not());
            side->fetch_ahead();
            detail::put_message(side->place(), value);
            if (const auto why = side->pass_on(sizeof(T))) [[unlikely]]
                return unexpected(*why);
            return {};
        }
    };

public:
    // Awaits room and sends; resumes on the awaiting task's executor. Fails with closed, peer_died, damaged, timed_out (after
    // `limit`), or cancelled when the task was asked to stop while it waited: then nothing was sent. A send that finds room
    // succeeds even then.
    auto send(const T& value, time_limit limit = time_limit::never()) noexcept {
        return detail::ring_operation<attempt<T>>(attempt<T>(side(), value), limit);
    }
    // Sends at once or fails with full.
    expected<void, ring_error> try_send(const T& value) noexcept { return attempt<const T&>(side(), value)(); }
    // For threads that run no tasks (a bug in others, told when it has to wait).
    expected<void, ring_error> blocking_send(const T& value, time_limit limit = time_limit::never()) {
        return detail::ring_blocking(attempt<const T&>(side(), value), limit, "blocking_send");
    }

    // Sends as many of the first as there is room for, which become visible together; gives how many. Fails as try_send() does
    // when that is none.
    expected<std::size_t, ring_error> try_send_many(std::span<const T> values) noexcept {
        auto& on = side();
        if (values.empty()) return std::size_t{0};
        if (!on.has_some(sizeof(T), values.size_bytes())) return unexpected(on.why_not());
        const std::size_t count = std::min<std::size_t>(values.size(), on.window() / sizeof(T));
        std::memcpy(on.place(), values.data(), count * sizeof(T));
        if (const auto why = on.pass_on(count * sizeof(T))) return unexpected(*why);
        return count;
    }
    // Sends all, awaiting room as often as that takes. Fails as send() does; says how many were sent. The values live until then.
    task<expected<void, ring_batch_error>> send_many(std::span<const T> values) {
        std::size_t done = 0;
        while (done < values.size()) {
            const auto count = try_send_many(values.subspan(done));
            if (count) {
                done += *count;
                continue;
            }
            auto why = std::optional(count.error());
            if (*why == ring_error::full) why = co_await side().wait(sizeof(T), time_limit::never());
            if (why) co_return unexpected(ring_batch_error{*why, done});
        }
        co_return expected<void, ring_batch_error>();
    }
    expected<void, ring_batch_error> blocking_send_many(std::span<const T> values) {
        std::size_t done = 0;
        while (done < values.size()) {
            const auto count = try_send_many(values.subspan(done));
            if (count) {
                done += *count;
                continue;
            }
            auto why = std::optional(count.error());
            if (*why == ring_error::full)
                why = side().blocking_wait(sizeof(T), time_limit::never(), "blocking_send_many");
            if (why) return unexpected(ring_batch_error{*why, done});
        }
        return {};
    }

private:
    friend detail::ring_of<ring_sender<T>, ring_receiver<T>, sizeof(T)>;
    using ring_end::ring_end;
};

template <class T>
class ring_receiver : public detail::ring_end {
    struct attempt {
        using result = expected<T, ring_error>;
        static constexpr bool throws_cancelled = true;
        detail::ring_side* side;
        explicit attempt(detail::ring_side& on) noexcept : side(&on) {}
        static std::uint64_t needs() noexcept { return sizeof(T); }
        result operator()() noexcept {
            if (!side->has(sizeof(T))) [[unlikely]]
                return unexpected(side->why_not());
            alignas(T) std::byte copy[sizeof(T)];
            std::memcpy(copy, side->place(), sizeof(T));
            if (const auto why = side->pass_on(sizeof(T))) [[unlikely]]
                return unexpected(*why);
            return *std::launder(reinterpret_cast<T*>(copy));
        }
    };

public:
    // Awaits the next message; resumes on the awaiting task's executor. Fails with closed or
    // peer_died when nothing is left inside, damaged, or timed_out (after `limit`). Throws cancelled when the task was asked to
    // stop while it waited; no message is lost then.
    auto recv(time_limit limit = time_limit::never()) noexcept {
        return detail::ring_operation<attempt>(attempt(side()), limit);
    }
    // The next message at once, or empty.
    expected<T, ring_error> try_recv() noexcept { return attempt(side())(); }
    // For threads that run no tasks (a bug in others, told when it has to wait).
    expected<T, ring_error> blocking_recv(time_limit limit = time_limit::never()) {
        return detail::ring_blocking(attempt(side()), limit, "blocking_recv");
    }

    // Takes what is there, as many as `into` has places for; gives how many. Fails as try_recv() does when that is none.
    expected<std::size_t, ring_error> try_recv_many(std::span<T> into) noexcept {
        auto& on = side();
        if (into.empty()) return std::size_t{0};
        (void)on.has(into.size_bytes());
        if (!on.has(sizeof(T))) return unexpected(on.why_not());
        const std::size_t count = std::min<std::size_t>(into.size(), on.window() / sizeof(T));
        std::memcpy(into.data(), on.place(), count * sizeof(T));
        if (const auto why = on.pass_on(count * sizeof(T))) return unexpected(*why);
        return count;
    }
    // The same once there is at least one. Ends as recv() does.
    task<expected<std::size_t, ring_error>> recv_many(std::span<T> into) {
        for (;;) {
            auto count = try_recv_many(into);
            if (count || count.error() != ring_error::empty) co_return count;
            const auto why = co_await side().wait(sizeof(T), time_limit::never());
            if (why && *why == ring_error::cancelled) detail::throw_cancelled();
            if (why) co_return unexpected(*why);
        }
    }
    expected<std::size_t, ring_error> blocking_recv_many(std::span<T> into) {
        for (;;) {
            auto count = try_recv_many(into);
            if (count || count.error() != ring_error::empty) return count;
            if (const auto why = side().blocking_wait(sizeof(T), time_limit::never(), "blocking_recv_many"))
                return unexpected(*why);
        }
    }

private:
    friend detail::ring_of<ring_sender<T>, ring_receiver<T>, sizeof(T)>;
    using ring_end::ring_end;
};

// --- Messages of any size ---

class byte_ring : public detail::ring_of<byte_sender, byte_receiver, 0> {
public:
    // Makes a ring of at least `bytes` bytes. Each message takes its own, up to a multiple of 16, and 16 more. All of its memory is
    // taken now. Throws only bad_alloc.
    [[nodiscard]] static expected<byte_ring, shared_error> create(std::size_t bytes,
                                                                  ring_senders senders = ring_senders::one) {
        auto map = detail::ring_map::create(bytes, 0, senders);
        if (!map) return unexpected(std::move(map.error()));
        return byte_ring(std::move(*map));
    }
    [[nodiscard]] static expected<byte_ring, shared_error> attach(int first) { return attach_at<byte_ring>(first); }

private:
    friend detail::ring_of<byte_sender, byte_receiver, 0>;
    using ring_of::ring_of;
};

namespace detail {

// Each message lies behind its size.
constexpr std::uint64_t ring_header = 16;
constexpr std::uint64_t in_ring(std::uint64_t size) noexcept { return ring_header + (size + 15) / 16 * 16; }
// What is outside no ring: no sum with it wraps.
constexpr std::uint64_t largest_in_ring = std::uint64_t{1} << 60U;

}  // namespace detail

// Room for a message, in the ring itself: dropped without commit() it was never there. It is used where its sender is, and ends
// before it.
class [[nodiscard]] ring_slot {
public:
    ring_slot(ring_slot&& other) noexcept
        : side_(std::exchange(other.side_, nullptr)), bytes_(std::exchange(other.bytes_, {})) {}
    ring_slot& operator=(ring_slot&& other) noexcept {
        ring_slot old(std::move(*this));
        side_ = std::exchange(other.side_, nullptr);
        bytes_ = std::exchange(other.bytes_, {});
        return *this;
    }
    ~ring_slot() { drop(); }

    // What was reserved; at a multiple of 16. What is in it is left from earlier messages.
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
    // Sends its first `size` bytes; all of them without. Fails when the ring has been closed meanwhile. A bug when it was done.
    expected<void, ring_error> commit(std::size_t size) noexcept {
        if (side_ == nullptr) bug("a slot of a ring was committed twice");
        if (size > bytes_.size()) bug("more was committed than was reserved");
        auto& on = *side_;
        const std::uint64_t header = size;
        std::memcpy(on.place(), &header, sizeof header);
        std::exchange(side_, nullptr)->lent = false;
        if (const auto why = on.pass_on(detail::in_ring(size))) return unexpected(*why);
        return {};
    }
    expected<void, ring_error> commit() noexcept { return commit(bytes_.size()); }

private:
    friend class byte_sender;
    ring_slot(detail::ring_side& side, std::span<std::byte> bytes) noexcept : side_(&side), bytes_(bytes) {
        side.lent = true;
    }
    void drop() noexcept {
        if (side_ == nullptr) return;
        side_->lent = false;
        std::exchange(side_, nullptr)->let_go();
    }
    detail::ring_side* side_;
    std::span<std::byte> bytes_;
};

// A message, in the ring itself, until it is released. It is used where its receiver is, and ends before it.
class [[nodiscard]] ring_loan {
public:
    ring_loan(ring_loan&& other) noexcept
        : side_(std::exchange(other.side_, nullptr)), bytes_(std::exchange(other.bytes_, {})) {}
    ring_loan& operator=(ring_loan&& other) noexcept {
        ring_loan old(std::move(*this));
        side_ = std::exchange(other.side_, nullptr);
        bytes_ = std::exchange(other.bytes_, {});
        return *this;
    }
    ~ring_loan() { release(); }

    // At a multiple of 16.
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
    // The message has been received: the next one can be borrowed, and its place is the sender's. Harmless when that was done.
    void release() noexcept {
        if (side_ == nullptr) return;
        auto& on = *std::exchange(side_, nullptr);
        on.lent = false;
        (void)on.pass_on(detail::in_ring(std::exchange(bytes_, {}).size()));  // damage is told at the next message
    }

private:
    friend class byte_receiver;
    // It has not been received.
    void keep() noexcept { std::exchange(side_, nullptr)->lent = false; }
    ring_loan(detail::ring_side& side, std::span<const std::byte> bytes) noexcept : side_(&side), bytes_(bytes) {
        side.lent = true;
    }
    detail::ring_side* side_;
    std::span<const std::byte> bytes_;
};

class byte_sender : public detail::ring_end {
    static expected<ring_slot, ring_error> room(detail::ring_side& on, std::size_t size) noexcept {
        if (size > detail::largest_in_ring || detail::in_ring(size) > on.capacity())
            return unexpected(ring_error::too_large);
        if (on.lent) bug("room in a ring was asked for while a slot of it is reserved");
        if (!on.has(detail::in_ring(size))) [[unlikely]]
            return unexpected(on.why_not());
        return ring_slot(on, std::span(on.place() + detail::ring_header, size));
    }
    struct reserving {
        using result = expected<ring_slot, ring_error>;
        static constexpr bool throws_cancelled = false;
        detail::ring_side* side;
        std::size_t size;
        reserving(detail::ring_side& on, std::size_t bytes) noexcept : side(&on), size(bytes) {}
        std::uint64_t needs() const noexcept { return detail::in_ring(size); }
        result operator()() noexcept { return room(*side, size); }
    };
    struct sending {
        using result = expected<void, ring_error>;
        static constexpr bool throws_cancelled = false;
        detail::ring_side* side;
        std::span<const std::byte> message;
        sending(detail::ring_side& on, std::span<const std::byte> what) noexcept : side(&on), message(what) {}
        std::uint64_t needs() const noexcept { return detail::in_ring(message.size()); }
        result operator()() noexcept {
            auto slot = room(*side, message.size());
            if (!slot) return unexpected(slot.error());
            side->copy_in(slot->bytes().data(), message);
            return slot->commit();
        }
    };

public:
    // The largest message that the ring takes.
    [[nodiscard]] std::size_t largest() const noexcept { return side().capacity() - detail::ring_header; }

    // Awaits room for `size` bytes, to be written in place and committed. One slot at a time: a bug while one is reserved.
    // Resumes, fails and is cancelled as ring_sender::send(); too_large when the ring never has so much room.
    auto reserve(std::size_t size, time_limit limit = time_limit::never()) noexcept {
        return detail::ring_operation<reserving>(reserving(side(), size), limit);
    }
    expected<ring_slot, ring_error> try_reserve(std::size_t size) noexcept { return room(side(), size); }
    expected<ring_slot, ring_error> blocking_reserve(std::size_t size, time_limit limit = time_limit::never()) {
        return detail::ring_blocking(reserving(side(), size), limit, "blocking_reserve");
    }

    // Copies `message` into the ring; it lives until then. As reserve().
    auto send(std::span<const std::byte> message, time_limit limit = time_limit::never()) noexcept {
        return detail::ring_operation<sending>(sending(side(), message), limit);
    }
    expected<void, ring_error> try_send(std::span<const std::byte> message) noexcept {
        return sending(side(), message)();
    }
    expected<void, ring_error> blocking_send(std::span<const std::byte> message,
                                             time_limit limit = time_limit::never()) {
        return detail::ring_blocking(sending(side(), message), limit, "blocking_send");
    }

private:
    friend detail::ring_of<byte_sender, byte_receiver, 0>;
    using ring_end::ring_end;
};

class byte_receiver : public detail::ring_end {
    static expected<ring_loan, ring_error> next(detail::ring_side& on) noexcept {
        if (on.lent) bug("a message of a ring was asked for while one is borrowed");
        if (!on.has(detail::ring_header)) [[unlikely]]
            return unexpected(on.why_not());
        // Read once: who wrote it might change it.
        const std::uint64_t size = *reinterpret_cast<const volatile std::uint64_t*>(on.place());
        // It was committed whole, so all of it is there.
        if (size > detail::largest_in_ring || detail::in_ring(size) > on.window()) [[unlikely]]
            return unexpected(on.damage());
        return ring_loan(on, std::span<const std::byte>(on.place() + detail::ring_header, size));
    }
    struct borrowing {
        using result = expected<ring_loan, ring_error>;
        static constexpr bool throws_cancelled = true;
        detail::ring_side* side;
        explicit borrowing(detail::ring_side& on) noexcept : side(&on) {}
        static std::uint64_t needs() noexcept { return detail::ring_header; }
        result operator()() noexcept { return next(*side); }
    };
    struct receiving {
        using result = expected<std::vector<std::byte>, ring_error>;
        static constexpr bool throws_cancelled = true;
        detail::ring_side* side;
        explicit receiving(detail::ring_side& on) noexcept : side(&on) {}
        static std::uint64_t needs() noexcept { return detail::ring_header; }
        result operator()() {
            auto loan = next(*side);
            if (!loan) return unexpected(loan.error());
            const auto bytes = loan->bytes();
            try {
                return std::vector<std::byte>(bytes.begin(), bytes.end());
            } catch (...) {
                loan->keep();
                throw;
            }
        }
    };

public:
    // Awaits the next message and gives it in place, until it is released. One at a time: a bug while one is borrowed. Resumes,
    // fails and is cancelled as ring_receiver::recv().
    auto borrow(time_limit limit = time_limit::never()) noexcept {
        return detail::ring_operation<borrowing>(borrowing(side()), limit);
    }
    expected<ring_loan, ring_error> try_borrow() noexcept { return next(side()); }
    expected<ring_loan, ring_error> blocking_borrow(time_limit limit = time_limit::never()) {
        return detail::ring_blocking(borrowing(side()), limit, "blocking_borrow");
    }

    // Awaits the next message and gives a copy. Throws bad_alloc; the message is still there then.
    auto recv(time_limit limit = time_limit::never()) noexcept {
        return detail::ring_operation<receiving>(receiving(side()), limit);
    }
    expected<std::vector<std::byte>, ring_error> try_recv() { return receiving(side())(); }
    expected<std::vector<std::byte>, ring_error> blocking_recv(time_limit limit = time_limit::never()) {
        return detail::ring_blocking(receiving(side()), limit, "blocking_recv");
    }

private:
    friend detail::ring_of<byte_sender, byte_receiver, 0>;
    using ring_end::ring_end;
};

}  // namespace leat
