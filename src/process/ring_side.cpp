#include <leat/process/ring_side.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <new>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <system_error>
#include <unistd.h>

#include <leat/base/bug.hpp>
#include <leat/task/this_task.hpp>

#include "bell.hpp"
#include "sealed_memory.hpp"

namespace leat {

const char* text_of(ring_error error) noexcept {
    switch (error) {
        case ring_error::closed:
            return "the ring was closed";
        case ring_error::peer_died:
            return "the process on the other side has died";
        case ring_error::full:
            return "the ring is full";
        case ring_error::empty:
            return "the ring is empty";
        case ring_error::timed_out:
            return "timed out";
        case ring_error::cancelled:
            return "cancelled";
        case ring_error::too_large:
            return "the message is larger than the ring";
        case ring_error::damaged:
            return "the other side has damaged the ring";
    }
    return "?";
}

namespace detail {

namespace {

constexpr std::uint64_t magic = 0x676e'6972'7461'656cU;  // "leatring"
constexpr std::uint32_t version = 2;

// In pauses, as spsc_core: at most about half of what it costs to sleep and be woken.
constexpr int least_patience = 16;
constexpr int most_patience = 512;

// A thread that sleeps in a futex looks this often whether the other process lives: a futex cannot be waited for together with
// a process.
constexpr auto look_for_death_every = std::chrono::milliseconds(50);

constexpr std::size_t most_senders = 1024;

// In pauses: who finds the turn taken looks for so long; most are over in less.
constexpr int patience_for_a_turn = 128;

// What a seat says beside who: the times at which processes start need no more than 40 bits (350 years).
constexpr std::uint64_t only_expected = std::uint64_t{1} << 41U;  // the receiver has said that it will come
constexpr std::uint64_t has_left = std::uint64_t{1} << 40U;       // it was there, and has closed
constexpr std::uint64_t seat_bits = only_expected | has_left;
// An expected one that had ended before its identity could be asked for. (No process has this id.)
constexpr std::uint64_t ended_before = 1;

bool is_free(std::uint64_t seat) noexcept { return seat == 0 || (seat & has_left) != 0; }
process_identity sitting_on(std::uint64_t seat) noexcept { return process_identity::from(seat & ~seat_bits); }

using waits = process_lock_word::waits;
using kind = shared_error::kind;

}  // namespace

// --- ring_map ---

std::size_t header_bytes_for(std::size_t seats) noexcept {
    return sealed_memory::in_pages(sizeof(ring_layout) + seats * sizeof(ring_seat));
}

std::optional<shared_error> ring_map::map(std::size_t capacity, std::size_t seats) {
    capacity_ = capacity;
    header_bytes_ = header_bytes_for(seats);
    // A place for header and bytes and bytes again, then the memory over it.
    const std::size_t all = header_bytes_ + 2 * capacity;
    void* const place = ::mmap(nullptr, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) return sealed_memory::system_error("finding a place for a ring", errno);
    mapped_ = static_cast<std::byte*>(place);
    bytes_ = mapped_ + header_bytes_;
    const auto put = [this](std::byte* at, std::size_t bytes, std::size_t offset) {
        return ::mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory_.get(),
                      static_cast<off_t>(offset)) != MAP_FAILED;
    };
    if (!put(mapped_, header_bytes_ + capacity, 0) || !put(bytes_ + capacity, capacity, header_bytes_))
        return sealed_memory::system_error("mapping a ring", errno);
    layout_ = std::launder(reinterpret_cast<ring_layout*>(mapped_));
    if (seats != 0) seats_ = {std::launder(reinterpret_cast<ring_seat*>(mapped_ + sizeof(ring_layout))), seats};
    return {};
}

ring_map::~ring_map() {
    if (mapped_ != nullptr) ::munmap(mapped_, header_bytes_ + 2 * capacity_);
}

expected<std::shared_ptr<ring_map>, shared_error> ring_map::create(std::size_t bytes, std::uint32_t element_bytes,
                                                                   ring_senders senders) {
    const std::size_t pages = sealed_memory::in_pages(std::max<std::size_t>(bytes, 1));
    if (bytes == 0 || pages == 0)
        return unexpected(shared_error(kind::bad_size, 0, fmt::format("there is no ring of {} bytes", bytes)));
    const std::shared_ptr<ring_map> made(new ring_map());
    const std::size_t capacity = std::bit_ceil(pages);
    const std::size_t seats = senders == ring_senders::many ? most_senders : 0;
    auto memory = sealed_memory::create(header_bytes_for(seats) + capacity);
    if (!memory) return unexpected(std::move(memory.error()));
    auto sender_bell = make_bell();
    if (!sender_bell) return unexpected(std::move(sender_bell.error()));
    auto receiver_bell = make_bell();
    if (!receiver_bell) return unexpected(std::move(receiver_bell.error()));
    made->memory_ = std::move(*memory);
    made->sender_bell_ = std::move(*sender_bell);
    made->receiver_bell_ = std::move(*receiver_bell);
    if (senders == ring_senders::many) {
        auto turn_bell = make_bell();
        if (!turn_bell) return unexpected(std::move(turn_bell.error()));
        made->turn_bell_ = std::move(*turn_bell);
    }
    if (auto error = made->map(capacity, seats)) return unexpected(std::move(*error));
    made->layout_ = ::new (made->mapped_) ring_layout();
    for (std::size_t i = 0; i < seats; ++i)
        ::new (made->mapped_ + sizeof(ring_layout) + i * sizeof(ring_seat)) ring_seat(0);
    made->layout_->facts = {magic, version, element_bytes, capacity, seats};
    return made;
}

expected<std::shared_ptr<ring_map>, shared_error> ring_map::attach(int first, std::uint32_t element_bytes) {
    io::unique_fd memory(first);
    io::unique_fd sender_bell(first + 1);
    io::unique_fd receiver_bell(first + 2);
    io::unique_fd turn_bell;
    const auto size = sealed_memory::size_of(memory.get());
    if (!size) return unexpected(shared_error(size.error()));
    // Read once, since others may write it.
    ring_facts there{};
    if (*size < sizeof there || ::pread(memory.get(), &there, sizeof there, 0) != static_cast<ssize_t>(sizeof there))
        there = {};
    if (there.magic == magic && there.seats != 0) turn_bell = io::unique_fd(first + 3);
    const std::size_t header_bytes = header_bytes_for(there.seats == most_senders ? most_senders : 0);
    if (*size <= header_bytes)
        return unexpected(shared_error(
            kind::wrong_size, 0,
            fmt::format("the memory of descriptor {} has {} bytes: too few for a ring", memory.get(), *size)));
    const std::size_t capacity = *size - header_bytes;
    if (!std::has_single_bit(capacity) || sealed_memory::in_pages(capacity) != capacity)
        return unexpected(
            shared_error(kind::wrong_size, 0,
                         fmt::format("the memory of descriptor {} has {} bytes, as no ring has", memory.get(), *size)));
    for (const io::unique_fd* bell : {&sender_bell, &receiver_bell})
        if (auto error = check_bell(bell->get())) return unexpected(std::move(*error));
    if (turn_bell)
        if (auto error = check_bell(turn_bell.get())) return unexpected(std::move(*error));
    // A descriptor that was passed on at a start is not meant for the next program.
    ::fcntl(memory.get(), F_SETFD, FD_CLOEXEC);

    if (there.magic != magic || there.version != version || there.capacity != capacity ||
        (there.seats != 0 && there.seats != most_senders))
        return unexpected(shared_error(
            kind::wrong_kind, 0,
            fmt::format("the memory of descriptor {} is no ring, or one of another version", memory.get())));
    if (there.element_bytes != element_bytes)
        return unexpected(
            shared_error(kind::wrong_kind, 0,
                         fmt::format("the ring of descriptor {} has messages of {} bytes, not {} (0: of any size)",
                                     memory.get(), there.element_bytes, element_bytes)));
    const std::shared_ptr<ring_map> made(new ring_map());
    made->memory_ = std::move(memory);
    made->sender_bell_ = std::move(sender_bell);
    made->receiver_bell_ = std::move(receiver_bell);
    made->turn_bell_ = std::move(turn_bell);
    if (auto error = made->map(capacity, there.seats)) return unexpected(std::move(*error));
    return made;
}

std::vector<passed_descriptor> ring_map::passed(int first) const {
    std::vector<passed_descriptor> all;
    for (const io::unique_fd* each : {&memory_, &sender_bell_, &receiver_bell_, &turn_bell_})
        if (*each) all.emplace_back(each->get(), first + static_cast<int>(all.size()));
    return all;
}

// --- The seats of senders ---

namespace {

ring_seat* sit_down(std::span<ring_seat> seats, process_identity here) noexcept {
    for (ring_seat& each : seats) {
        std::uint64_t expected = here.word() | only_expected;
        if (each.compare_exchange_strong(expected, here.word())) return &each;
    }
    // The seat of a dead one first, so that nobody is told of a death that has been made good. Then one where nobody was: who has
    // left may be expected later, and is recognised.
    for (int choice = 0; choice < 3; ++choice)
        for (ring_seat& each : seats) {
            std::uint64_t seat = each.load();
            const bool fits = choice == 0   ? !is_free(seat) && sitting_on(seat) != here && !sitting_on(seat).alive()
                              : choice == 1 ? seat == 0
                                            : is_free(seat);
            if (fits && each.compare_exchange_strong(seat, here.word())) return &each;
        }
    return nullptr;
}

void no_longer_expected(std::span<ring_seat> seats, process_identity who) noexcept {
    for (ring_seat& each : seats) {
        std::uint64_t expected = who.word() | only_expected;
        each.compare_exchange_strong(expected, 0);
    }
}

// None when all are taken.
ring_seat* take_seat(std::span<ring_seat> seats, process_identity here) noexcept {
    ring_seat* const seat = sit_down(seats, here);
    // It may have been expected meanwhile: either it is seen here, or this one there.
    if (seat != nullptr) no_longer_expected(seats, here);
    return seat;
}

void expect_on_a_seat(std::span<ring_seat> seats, pid_t pid) noexcept {
    const process_identity who = process_identity::of(pid);
    const auto has_come = [&] {
        return std::any_of(seats.begin(), seats.end(), [&](const ring_seat& each) {
            const std::uint64_t seat = each.load();
            // By its id alone when it has ended and left no more.
            return (seat & only_expected) == 0 && sitting_on(seat).pid() == pid &&
                   (who == process_identity() || sitting_on(seat) == who);
        });
    };
    if (has_come()) return;
    for (ring_seat& each : seats) {
        std::uint64_t nobody = 0;
        if (each.compare_exchange_strong(nobody, who == process_identity() ? ended_before : who.word() | only_expected))
            break;
    }
    if (has_come()) no_longer_expected(seats, who);
}

}  // namespace

// --- ring_side ---

ring_side::ring_side(std::shared_ptr<ring_map> map, role which, ring_seat* seat) noexcept
    : map_(std::move(map)),
      role_(which),
      mine_(which == role::sender ? map_->layout().tail : map_->layout().head),
      theirs_(which == role::sender ? map_->layout().head : map_->layout().tail),
      bytes_(map_->bytes()),
      capacity_(map_->capacity()),
      turn_(seat == nullptr ? nullptr : &map_->layout().turn),
      me_(process_identity::self().word()),
      seat_(seat),
      from_many_(which == role::receiver && !map_->seats().empty()),
      owner_(::getpid()),
      patience_(most_patience) {}

// The seat that was taken, of a sender among many.
expected<ring_seat*, shared_error> ring_side::take_place(ring_map& map, role which) {
    ring_layout& layout = map.layout();
    const process_identity here = process_identity::self();
    if (here == process_identity())
        return unexpected(shared_error(kind::refused, 0, "a ring needs /proc, to name its processes"));
    if (which == role::sender && !map.seats().empty()) {
        ring_seat* const seat = take_seat(map.seats(), here);
        if (seat == nullptr)
            return unexpected(shared_error(kind::taken, 0, fmt::format("this ring has {} senders", most_senders)));
        return seat;
    }
    auto& place = which == role::sender ? layout.sender : layout.receiver;
    std::uint64_t holder = place.load(env::relaxed);
    do {
        if (process_identity::from(holder).alive())
            return unexpected(
                shared_error(kind::taken, 0,
                             fmt::format("process {} is the {} of this ring", process_identity::from(holder).pid(),
                                         which == role::sender ? "sender" : "receiver")));
        // acq_rel: release pairs with the acquire in peer(); acquire orders what follows behind what the dead one did.
    } while (!place.compare_exchange_weak(holder, here.word(), env::acq_rel, env::relaxed));
    return nullptr;
}

expected<std::unique_ptr<ring_side>, shared_error> ring_side::take(std::shared_ptr<ring_map> map, role which) {
    const auto seat = take_place(*map, which);
    if (!seat) return unexpected(shared_error(seat.error()));
    std::unique_ptr<ring_side> made(new ring_side(std::move(map), which, *seat));
    if (*seat != nullptr) return made;  // all else under its turn

    made->position_ = made->mine_.look().position;
    made->base_ = made->position_ - (which == role::sender ? made->capacity_ : 0);
    made->seen_ = made->base_;
    made->look();
    const auto bell = [&made] { made->ring_their_bell(); };
    made->mine_.nudge(bell);  // who sleeps there may now watch this process
    return made;
}

void ring_side::look() noexcept {
    const ring_index::sight now = theirs_.look();
    ended_ = now.ended;
    if (now.position - base_ > capacity_) [[unlikely]]
        (void)damage();
    else if (!damaged_) seen_ = now.position;
}

void ring_side::ring_their_bell() const noexcept {
    ring_bell(role_ == role::sender ? map_->receiver_bell() : map_->sender_bell());
}

ring_side::~ring_side() {
    if (seat_ == nullptr) close();
    if (seat_ == nullptr || ::getpid() != owner_) return;
    let_go();
    // It leaves; with the last one the ring ends. Sequentially consistent: of two that leave, one sees both gone.
    seat_->store(me_ | has_left);
    const auto seats = map_->seats();
    if (std::all_of(seats.begin(), seats.end(), [](const ring_seat& each) { return is_free(each.load()); })) close();
    else mine_.nudge([this] { ring_their_bell(); });  // the receiver might be watching this process
}

void ring_side::close() noexcept {
    if (::getpid() != owner_) return;  // a copy, in a fork: the end is the parent's
    // The tail first: what a receiver hears of the end is that nothing follows. Both, so that who waits here wakes up too.
    ring_layout& layout = map_->layout();
    layout.tail.end([this] { ring_bell(map_->receiver_bell()); });
    layout.head.end([this] { ring_bell(map_->sender_bell()); });
    if (!map_->seats().empty()) layout.turn.call([this] { ring_bell(map_->turn_bell()); });
}

process_identity ring_side::peer() const noexcept {
    const auto& place = role_ == role::sender ? map_->layout().receiver : map_->layout().sender;
    const std::uint64_t there = place.load(env::acquire);  // acquire pairs with the release in take()
    if (there == 0 && expects_) return expected_;
    return process_identity::from(there);
}

void ring_side::expect(pid_t pid) noexcept {
    if (from_many_) return expect_on_a_seat(map_->seats(), pid);
    expected_ = process_identity::of(pid);
    expects_ = true;
}

bool ring_side::peer_gone() noexcept {
    if (from_many_) return why_nobody_sends() == ring_error::peer_died;
    const process_identity now = peer();
    if (now == process_identity()) return expects_;  // it had ended before it could be expected
    return !watch(now);
}

// Of a receiver from many: nothing while somebody lives who sends, or nobody has come yet.
std::optional<ring_error> ring_side::why_nobody_sends() noexcept {
    const auto seats = map_->seats();
    // One that lives is enough: the one that was seen alive last, first.
    bool has_come = false;
    for (const ring_seat& each : seats) {
        const std::uint64_t seat = each.load();
        has_come = has_come || seat != 0;
        if (!is_free(seat) && sitting_on(seat) == watched_ && watch(watched_)) return {};
    }
    if (!has_come) return {};
    bool has_died = false;
    for (const ring_seat& each : seats) {
        const std::uint64_t seat = each.load();
        if (is_free(seat)) continue;
        if (watch(sitting_on(seat))) return {};
        has_died = true;
    }
    if (has_died) return ring_error::peer_died;
    close();  // as the last one would have done, had it not been killed in the middle of leaving
    return ring_error::closed;
}

// Whether it lives.
bool ring_side::watch(process_identity now) noexcept {
    if (now != watched_) {
        if (pidfd_in_events_) ::epoll_ctl(events_.get(), EPOLL_CTL_DEL, pidfd_.get(), nullptr);
        pidfd_in_events_ = false;
        bool ended = false;
        pidfd_ = now.open(ended);
        if (!pidfd_ && !ended) return now.alive();  // no descriptor is left: asked again each time
        watched_ = now;
        watched_ended_ = ended;
    }
    if (!watched_ended_ && pidfd_) watched_ended_ = has_ended(pidfd_.get());
    return !watched_ended_;
}

// After another look: nothing when it is there, why it never comes, or `otherwise`.
std::optional<ring_error> ring_side::end_of_wait(std::uint64_t bytes, ring_error otherwise) noexcept {
    if (has_now(bytes)) return {};
    const ring_error why = why_not();
    return is_worth_waiting(why) ? otherwise : why;
}

// As spsc_core::comes_soon: looks become rarer, and the next time is shorter when this was in vain.
bool ring_side::comes_soon(std::uint64_t needed) noexcept {
    int spent = 0;
    for (int pauses = least_patience; spent < patience_; pauses *= 2) {
        for (int i = 0; i < pauses; ++i) env::pause();
        spent += pauses;
        if (static_cast<std::int64_t>(theirs_.position_hint() - needed) >= 0) {
            patience_ = std::min(2 * patience_, most_patience);
            return true;
        }
    }
    patience_ = std::max(patience_ / 2, least_patience);
    return false;
}

task<std::optional<ring_error>> ring_side::wait_for_window(std::uint64_t bytes, time_limit limit) {
    const int bell = role_ == role::sender ? map_->sender_bell() : map_->receiver_bell();
    if (!events_) {
        io::unique_fd events(::epoll_create1(EPOLL_CLOEXEC));
        epoll_event what{};
        what.events = EPOLLIN;
        if (!events || ::epoll_ctl(events.get(), EPOLL_CTL_ADD, bell, &what) != 0)
            throw std::system_error(errno, std::generic_category(), "waiting for a shared ring");
        events_ = std::move(events);
    }
    io::descriptor ready(events_.get());  // of this wait: the end may outlive the executor
    const time_point deadline = limit.from(co_await this_task::now());
    for (;;) {
        const std::uint64_t needed = base_ + bytes;
        (void)comes_soon(needed);
        if (has_now(bytes)) co_return std::nullopt;
        if (!is_worth_waiting(why_not())) co_return why_not();
        const process_identity other = peer();
        time_point until = deadline;
        if (from_many_) {
            if (const auto why = why_nobody_sends()) co_return end_of_wait(bytes, *why);
            // Any of them may die before it calls.
            until = std::min(deadline, co_await this_task::now() + look_for_death_every);
        } else if (peer_gone()) {
            co_return end_of_wait(bytes, ring_error::peer_died);  // what it did before it died is seen now
        }
        if (pidfd_ && !pidfd_in_events_ && !from_many_) {
            epoll_event what{};
            what.events = EPOLLIN;
            if (::epoll_ctl(events_.get(), EPOLL_CTL_ADD, pidfd_.get(), &what) != 0)
                throw std::system_error(errno, std::generic_category(), "watching the process of a shared ring");
            pidfd_in_events_ = true;
        }
        std::uint32_t ticket = 0;
        if (!theirs_.announce(needed, ring_sleep::at_bell, ticket)) continue;
        if (peer() != other) continue;  // somebody has taken the place, and has not found us asleep
        const auto how = co_await ready.readable(until);
        silence_bell(bell);
        if (how == context::wake::cancelled) co_return ring_error::cancelled;
        if (how == context::wake::timed_out && until == deadline) co_return end_of_wait(bytes, ring_error::timed_out);
    }
}

std::optional<ring_error> ring_side::blocking_wait(std::uint64_t bytes, time_limit limit, const char* name) noexcept {
    if (turn_ == nullptr && comes_soon(base_ + bytes) && has_now(bytes)) return {};
    const thread_line none(name);  // a bug on a thread that runs tasks
    const time_point deadline = limit.from(env::now());
    if (turn_ == nullptr) return blocking_wait_for_window(bytes, deadline);
    if (const auto why = blocking_wait_for_turn(deadline)) return why;
    const auto why = blocking_wait_for_window(bytes, deadline);
    if (why) let_go();
    return why;
}

std::optional<ring_error> ring_side::blocking_wait_for_window(std::uint64_t bytes, time_point deadline) noexcept {
    const std::uint64_t needed = base_ + bytes;
    for (;; (void)comes_soon(needed)) {
        if (has_now(bytes)) return {};
        if (!is_worth_waiting(why_not())) return why_not();
        const process_identity other = peer();
        if (from_many_) {
            if (const auto why = why_nobody_sends()) return end_of_wait(bytes, *why);
        } else if (peer_gone()) {
            return end_of_wait(bytes, ring_error::peer_died);
        }
        const time_point now = env::now();
        if (now >= deadline) return ring_error::timed_out;
        std::uint32_t ticket = 0;
        if (!theirs_.announce(needed, ring_sleep::in_futex, ticket)) continue;
        if (peer() != other) continue;
        (void)theirs_.sleep(ticket, std::min(deadline, now + look_for_death_every));
    }
}

// --- The turn of a sender among many ---

// The turn, if it is free, or of a dead one, or becomes free soon.
bool ring_side::take_turn() noexcept {
    const auto taken = [this] {
        for (int spent = 0; spent < patience_for_a_turn; ++spent) {
            if (turn_->owner() == 0 && turn_->take(me_)) return true;
            env::pause();
        }
        const std::uint64_t holder = turn_->owner();
        if (holder == 0) return turn_->take(me_);
        if (holder == me_ || process_identity::from(holder).alive()) return false;
        if (!turn_->inherit(holder, me_)) return false;
        mine_.call_again([this] { ring_their_bell(); });
        return true;
    };
    if (!taken()) return false;
    has_turn_ = true;
    position_ = mine_.look().position;
    base_ = position_ - capacity_;
    // The head goes only on, so that what was seen of it in an earlier turn may do.
    seen_ = seen_in_turn_ - base_ <= capacity_ ? seen_in_turn_ : base_;
    return true;
}

void ring_side::let_go() noexcept {
    if (has_turn_ && ::getpid() == owner_) give_turn();
}

void ring_side::give_turn() noexcept {
    has_turn_ = false;
    seen_in_turn_ = seen_;
    seen_ = base_;
    turn_->give([this] { ring_bell(map_->turn_bell()); });
}

bool ring_side::has_in_turn(std::uint64_t least, std::uint64_t most) noexcept {
    if (!has_turn_ && !take_turn()) {
        ended_ = theirs_.look().ended;
        return false;
    }
    if (has_now(most) || has_now(least)) return true;
    give_turn();
    return false;
}

std::optional<ring_error> ring_side::blocking_wait_for_turn(time_point deadline) noexcept {
    if (take_turn()) return {};
    turn_->begin(waits::in_futex);
    std::optional<ring_error> why;
    for (;;) {
        const std::uint32_t ticket = turn_->ticket();
        if (take_turn()) break;
        const time_point now = env::now();
        if (theirs_.look().ended) why = ring_error::closed;
        else if (now >= deadline) why = ring_error::timed_out;
        if (why) break;
        turn_->sleep(ticket, std::min(deadline, now + look_for_death_every));
    }
    turn_->end(waits::in_futex);
    return why;
}

task<std::optional<ring_error>> ring_side::wait_for_turn(time_point deadline) {
    if (take_turn()) co_return std::nullopt;
    if (!turn_events_) {
        io::unique_fd events(::epoll_create1(EPOLL_CLOEXEC));
        epoll_event what{};
        what.events = EPOLLIN;
        if (!events || ::epoll_ctl(events.get(), EPOLL_CTL_ADD, map_->turn_bell(), &what) != 0)
            throw std::system_error(errno, std::generic_category(), "waiting for the turn in a shared ring");
        turn_events_ = std::move(events);
    }
    struct counted {
        explicit counted(const ring_side& of) noexcept : here(of) { here.turn_->begin(waits::at_bell); }
        counted(const counted&) = delete;
        counted& operator=(const counted&) = delete;
        ~counted() {
            here.turn_->end(waits::at_bell);
            // The bell may have rung for another, too: who leaves without the turn rings it again.
            if (!here.has_turn_) here.turn_->call([this] { ring_bell(here.map_->turn_bell()); });
        }
        const ring_side& here;
    };
    const counted waiting(*this);
    io::descriptor rung(turn_events_.get());
    for (;;) {
        if (take_turn()) co_return std::nullopt;
        if (theirs_.look().ended) co_return ring_error::closed;
        const time_point now = co_await this_task::now();
        if (now >= deadline) co_return ring_error::timed_out;
        const auto ended = co_await rung.readable(std::min(deadline, now + look_for_death_every));
        silence_bell(map_->turn_bell());
        if (ended == context::wake::cancelled) co_return ring_error::cancelled;
    }
}

task<std::optional<ring_error>> ring_side::wait_in_turn(std::uint64_t bytes, time_limit limit) {
    const time_point deadline = limit.from(co_await this_task::now());
    if (const auto why = co_await wait_for_turn(deadline)) co_return why;
    struct turn {
        ~turn() {
            if (!kept) of.let_go();
        }
        ring_side& of;
        bool kept = false;
    } held{*this};
    const auto why = co_await wait_for_window(bytes, deadline);
    held.kept = !why;
    co_return why;
}

}  // namespace detail
}  // namespace leat
