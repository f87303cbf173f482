#include <leat/process/process_semaphore.hpp>

#include <fmt/format.h>
#include <new>

#include <leat/base/bug.hpp>
#include <leat/process/process_identity.hpp>
#include <leat/process/process_permits.hpp>

#include "process_room.hpp"

namespace leat {

namespace {

constexpr std::uint64_t magic = 0x616d'6573'7461'656cU;  // "leatsema"

using detail::process_permits;
using kind = shared_error::kind;

// In shared memory. The words of the permits follow.
struct semaphore_layout {
    std::uint64_t magic;
    std::uint64_t permits;
    alignas(64) process_permits all;
};
using word = env::atomic<std::uint64_t>;

constexpr std::size_t bytes_for(std::size_t permits) noexcept {
    return sizeof(semaphore_layout) + permits * sizeof(word);
}

// For giving back, which one thread of this process does at a time: each semaphore of it, since two may be of one memory.
constinit env::mutex giving;

bool is_alive(std::uint64_t owner) noexcept { return process_identity::from(owner).alive(); }

}  // namespace

struct process_semaphore::state {
    state(room_parts parts, std::size_t permits_) noexcept
        : memory(std::move(parts.memory)), permits(permits_), room(std::move(parts.bell)) {}
    [[nodiscard]] process_permits& all() const noexcept {
        return std::launder(reinterpret_cast<semaphore_layout*>(memory.bytes().data()))->all;
    }
    [[nodiscard]] process_permits::words words() const noexcept {
        return {std::launder(reinterpret_cast<word*>(memory.bytes().data() + sizeof(semaphore_layout))), permits};
    }

    // A request that ends with its scope: with permits, or without a trace.
    struct asking : process_permits::request {
        asking(state& of, std::size_t count) noexcept
            : request(of.all(), of.words(), process_identity::self().word(), count), here(of) {}
        asking(const asking&) = delete;
        asking& operator=(const asking&) = delete;
        [[nodiscard]] auto bell() const noexcept {
            return [this] { ring_bell(here.room.bell()); };
        }
        ~asking() {
            const env::lock_guard alone(giving);
            end(bell());
        }
        bool takes_now() noexcept {
            const env::lock_guard alone(giving);
            return at_once(is_alive, bell());
        }
        state& here;
    };

    shared_memory memory;
    const std::size_t permits;  // as it was when it was checked
    process_room room;          // who holds its `within` may compete with other processes
};

// --- Making one ---

process_semaphore::process_semaphore(std::unique_ptr<state> made) noexcept : state_(std::move(made)) {}
process_semaphore::process_semaphore(process_semaphore&& other) noexcept = default;
process_semaphore& process_semaphore::operator=(process_semaphore&& other) noexcept = default;
process_semaphore::~process_semaphore() = default;

expected<process_semaphore, shared_error> process_semaphore::create(std::size_t permits) {
    if (permits == 0 || permits > most_permits)
        return unexpected(shared_error(kind::bad_size, 0, fmt::format("there is no semaphore of {} permits", permits)));
    if (process_identity::self() == process_identity())
        return unexpected(shared_error(kind::refused, 0, "a process_semaphore needs /proc, to name who holds it"));
    auto parts = room_parts::make(bytes_for(permits));
    if (!parts) return unexpected(std::move(parts.error()));
    auto* const layout = ::new (parts->memory.bytes().data()) semaphore_layout();
    for (std::size_t i = 0; i < permits; ++i) ::new (parts->memory.bytes().data() + bytes_for(i)) word(0);
    layout->magic = magic;
    layout->permits = permits;
    return process_semaphore(std::make_unique<state>(std::move(*parts), permits));
}

expected<process_semaphore, shared_error> process_semaphore::attach(int first) {
    auto parts = room_parts::attach(first, sizeof(semaphore_layout));
    if (!parts) return unexpected(std::move(parts.error()));
    const auto* const there = std::launder(reinterpret_cast<const semaphore_layout*>(parts->memory.bytes().data()));
    const std::uint64_t permits = there->permits;
    if (there->magic != magic || permits == 0 || permits > most_permits ||
        bytes_for(permits) > parts->memory.bytes().size())
        return unexpected(
            shared_error(kind::wrong_kind, 0, fmt::format("the memory of descriptor {} is no semaphore", first)));
    return process_semaphore(std::make_unique<state>(std::move(*parts), permits));
}

std::vector<passed_descriptor> process_semaphore::passed(int first) const {
    return {{state_->memory.fd(), first}, {state_->room.bell(), first + 1}};
}

// --- Using it ---

void process_semaphore::check(std::size_t count) const noexcept {
    if (count == 0 || count > state_->permits)
        bug("a process_semaphore was asked for no permit, or for more than it has");
}

void process_semaphore::permit::release() noexcept {
    state* const of = of_.release();
    if (of == nullptr) return;
    const env::lock_guard alone(giving);
    of->all().give(of->words(), process_identity::self().word(), count_, [of] { ring_bell(of->room.bell()); });
}

std::optional<process_semaphore::permit> process_semaphore::try_acquire(std::size_t count) noexcept {
    check(count);
    const auto within = state_->room.within.try_lock();
    if (!within) return {};
    state::asking request(*state_, count);
    if (!request.takes_now()) return {};
    return permit(*state_, count, request.from_the_dead());
}

task<std::optional<process_semaphore::permit>> process_semaphore::acquire_for(time_limit limit, std::size_t count) {
    check(count);
    state& here = *state_;
    const time_point deadline = limit.from(co_await this_task::now());
    const auto within = co_await here.room.within.lock_until(deadline);
    if (!within) co_return std::nullopt;
    state::asking request(here, count);
    if (!request.takes_now()) {
        const auto ready = [&request](bool look_for_the_dead) noexcept {
            return request.in_turn(look_for_the_dead, is_alive);
        };
        const bool has_all = co_await here.room.wait(here.all(), deadline, ready);
        if (!has_all) co_return std::nullopt;
    }
    co_return permit(here, count, request.from_the_dead());
}

task<process_semaphore::permit> process_semaphore::acquire(std::size_t count) {
    auto held = co_await acquire_for(time_limit::never(), count);
    co_return std::move(*held);
}

std::optional<process_semaphore::permit> process_semaphore::blocking_acquire_for(time_limit limit,
                                                                                 std::size_t count) noexcept {
    check(count);
    state& here = *state_;
    const time_point deadline = limit.from(env::now());
    const auto within = here.room.within.blocking_lock_for(deadline);
    if (!within) return {};
    state::asking request(here, count);
    const auto ready = [&request](bool look_for_the_dead) noexcept {
        return request.in_turn(look_for_the_dead, is_alive);
    };
    if (!request.takes_now() && !here.room.blocking_wait(here.all(), deadline, "blocking_acquire", ready)) return {};
    return permit(here, count, request.from_the_dead());
}

process_semaphore::permit process_semaphore::blocking_acquire(std::size_t count) noexcept {
    auto held = blocking_acquire_for(time_limit::never(), count);
    return std::move(*held);
}

std::size_t process_semaphore::available() const noexcept {
    std::size_t count = 0;
    for (const word& each : state_->words())
        count += process_permits::is_free(each.load(env::relaxed)) ? 1 : 0;  // relaxed: a snapshot
    return count;
}

std::size_t process_semaphore::permits() const noexcept { return state_->permits; }

}  // namespace leat
