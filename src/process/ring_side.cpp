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
constexpr std::uint32_t version = 1;

// In pauses, as spsc_core: at most about half of what it costs to sleep and be woken.
constexpr int least_patience = 16;
constexpr int most_patience = 512;

// A thread that sleeps in a futex looks this often whether the other process lives: a futex cannot be waited for together with
// a process.
constexpr auto look_for_death_every = std::chrono::milliseconds(50);

using kind = shared_error::kind;

}  // namespace

// --- ring_map ---

std::optional<shared_error> ring_map::map(std::size_t capacity) {
    capacity_ = capacity;
    header_bytes_ = sealed_memory::in_pages(sizeof(ring_layout));
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
    return {};
}

ring_map::~ring_map() {
    if (mapped_ != nullptr) ::munmap(mapped_, header_bytes_ + 2 * capacity_);
}

expected<std::shared_ptr<ring_map>, shared_error> ring_map::create(std::size_t bytes, std::uint32_t element_bytes) {
    const std::size_t pages = sealed_memory::in_pages(std::max<std::size_t>(bytes, 1));
    if (bytes == 0 || pages == 0)
        return unexpected(shared_error(kind::bad_size, 0, fmt::format("there is no ring of {} bytes", bytes)));
    const std::shared_ptr<ring_map> made(new ring_map());
    const std::size_t capacity = std::bit_ceil(pages);
    auto memory = sealed_memory::create(sealed_memory::in_pages(sizeof(ring_layout)) + capacity);
    if (!memory) return unexpected(std::move(memory.error()));
    auto sender_bell = make_bell();
    if (!sender_bell) return unexpected(std::move(sender_bell.error()));
    auto receiver_bell = make_bell();
    if (!receiver_bell) return unexpected(std::move(receiver_bell.error()));
    made->memory_ = std::move(*memory);
    made->sender_bell_ = std::move(*sender_bell);
    made->receiver_bell_ = std::move(*receiver_bell);
    if (auto error = made->map(capacity)) return unexpected(std::move(*error));
    made->layout_ = ::new (made->mapped_) ring_layout();
    made->layout_->magic = magic;
    made->layout_->version = version;
    made->layout_->element_bytes = element_bytes;
    made->layout_->capacity = capacity;
    return made;
}

expected<std::shared_ptr<ring_map>, shared_error> ring_map::attach(io::unique_fd memory, io::unique_fd sender_bell,
                                                                   io::unique_fd receiver_bell,
                                                                   std::uint32_t element_bytes) {
    const auto size = sealed_memory::size_of(memory.get());
    if (!size) return unexpected(shared_error(size.error()));
    const std::size_t header_bytes = sealed_memory::in_pages(sizeof(ring_layout));
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
    // A descriptor that was passed on at a start is not meant for the next program.
    ::fcntl(memory.get(), F_SETFD, FD_CLOEXEC);

    const std::shared_ptr<ring_map> made(new ring_map());
    made->memory_ = std::move(memory);
    made->sender_bell_ = std::move(sender_bell);
    made->receiver_bell_ = std::move(receiver_bell);
    if (auto error = made->map(capacity)) return unexpected(std::move(*error));
    made->layout_ = std::launder(reinterpret_cast<ring_layout*>(made->mapped_));
    const ring_layout& there = *made->layout_;
    if (there.magic != magic || there.version != version || there.capacity != capacity)
        return unexpected(shared_error(
            kind::wrong_kind, 0,
            fmt::format("the memory of descriptor {} is no ring, or one of another version", made->memory_.get())));
    if (there.element_bytes != element_bytes)
        return unexpected(
            shared_error(kind::wrong_kind, 0,
                         fmt::format("the ring of descriptor {} has messages of {} bytes, not {} (0: of any size)",
                                     made->memory_.get(), there.element_bytes, element_bytes)));
    return made;
}

std::vector<passed_descriptor> ring_map::passed(int first) const {
    std::vector<passed_descriptor> all;
    for (const io::unique_fd* each : {&memory_, &sender_bell_, &receiver_bell_})
        all.emplace_back(each->get(), first + static_cast<int>(all.size()));
    return all;
}

// --- ring_side ---

ring_side::ring_side(std::shared_ptr<ring_map> map, role which) noexcept
    : map_(std::move(map)),
      role_(which),
      mine_(which == role::sender ? map_->layout().tail : map_->layout().head),
      theirs_(which == role::sender ? map_->layout().head : map_->layout().tail),
      bytes_(map_->bytes()),
      capacity_(map_->capacity()),
      owner_(::getpid()),
      patience_(most_patience) {}

expected<std::unique_ptr<ring_side>, shared_error> ring_side::take(std::shared_ptr<ring_map> map, role which) {
    ring_layout& layout = map->layout();
    auto& place = which == role::sender ? layout.sender : layout.receiver;
    const process_identity here = process_identity::self();
    if (here == process_identity())
        return unexpected(shared_error(kind::refused, 0, "a ring needs /proc, to name its processes"));
    std::uint64_t holder = place.load(env::relaxed);
    do {
        if (process_identity::from(holder).alive())
            return unexpected(
                shared_error(kind::taken, 0,
                             fmt::format("process {} is the {} of this ring", process_identity::from(holder).pid(),
                                         which == role::sender ? "sender" : "receiver")));
        // acq_rel: release pairs with the acquire in peer(); acquire orders what follows behind what the dead one did.
    } while (!place.compare_exchange_weak(holder, here.word(), env::acq_rel, env::relaxed));

    std::unique_ptr<ring_side> made(new ring_side(std::move(map), which));
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

void ring_side::close() noexcept {
    if (::getpid() != owner_) return;  // a copy, in a fork: the end is the parent's
    // The tail first: what a receiver hears of the end is that nothing follows. Both, so that who waits here wakes up too.
    ring_layout& layout = map_->layout();
    layout.tail.end([this] { ring_bell(map_->receiver_bell()); });
    layout.head.end([this] { ring_bell(map_->sender_bell()); });
}

process_identity ring_side::peer() const noexcept {
    const auto& place = role_ == role::sender ? map_->layout().receiver : map_->layout().sender;
    const std::uint64_t there = place.load(env::acquire);  // acquire pairs with the release in take()
    if (there == 0 && expects_) return expected_;
    return process_identity::from(there);
}

bool ring_side::peer_gone() noexcept {
    const process_identity now = peer();
    if (now == process_identity()) return expects_;  // it had ended before it could be expected
    if (now != watched_) {
        if (pidfd_in_events_) ::epoll_ctl(events_.get(), EPOLL_CTL_DEL, pidfd_.get(), nullptr);
        pidfd_in_events_ = false;
        bool ended = false;
        pidfd_ = now.open(ended);
        if (!pidfd_ && !ended) return !now.alive();  // no descriptor is left: asked again each time
        watched_ = now;
        watched_ended_ = ended;
    }
    if (!watched_ended_ && pidfd_) watched_ended_ = has_ended(pidfd_.get());
    return watched_ended_;
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

task<std::optional<ring_error>> ring_side::wait(std::uint64_t bytes, time_limit limit) {
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
        if (peer_gone()) co_return end_of_wait(bytes, ring_error::peer_died);  // what it did before it died is seen now
        if (pidfd_ && !pidfd_in_events_) {
            epoll_event what{};
            what.events = EPOLLIN;
            if (::epoll_ctl(events_.get(), EPOLL_CTL_ADD, pidfd_.get(), &what) != 0)
                throw std::system_error(errno, std::generic_category(), "watching the process of a shared ring");
            pidfd_in_events_ = true;
        }
        std::uint32_t ticket = 0;
        if (!theirs_.announce(needed, ring_sleep::at_bell, ticket)) continue;
        if (peer() != other) continue;  // somebody has taken the place, and has not found us asleep
        const auto how = co_await ready.readable(deadline);
        silence_bell(bell);
        if (how == context::wake::cancelled) co_return ring_error::cancelled;
        if (how == context::wake::timed_out) co_return end_of_wait(bytes, ring_error::timed_out);
    }
}

std::optional<ring_error> ring_side::blocking_wait(std::uint64_t bytes, time_limit limit, const char* name) noexcept {
    const std::uint64_t needed = base_ + bytes;
    if (comes_soon(needed) && has_now(bytes)) return {};
    const thread_line none(name);  // a bug on a thread that runs tasks
    const time_point deadline = limit.from(env::now());
    for (;; (void)comes_soon(needed)) {
        if (has_now(bytes)) return {};
        if (!is_worth_waiting(why_not())) return why_not();
        const process_identity other = peer();
        if (peer_gone()) return end_of_wait(bytes, ring_error::peer_died);
        const time_point now = env::now();
        if (now >= deadline) return ring_error::timed_out;
        std::uint32_t ticket = 0;
        if (!theirs_.announce(needed, ring_sleep::in_futex, ticket)) continue;
        if (peer() != other) continue;
        (void)theirs_.sleep(ticket, std::min(deadline, now + look_for_death_every));
    }
}

}  // namespace detail
}  // namespace leat
