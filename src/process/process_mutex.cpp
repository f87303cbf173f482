#include <leat/process/process_mutex.hpp>

#include <fmt/format.h>
#include <new>
#include <unistd.h>

#include <leat/process/process_identity.hpp>

#include "process_room.hpp"

namespace leat {

namespace {

constexpr std::uint64_t magic = 0x6b63'6f6c'7461'656cU;  // "leatlock"

using kind = shared_error::kind;

// In shared memory.
struct lock_layout {
    std::uint64_t magic;
    detail::process_lock_word word;
};

}  // namespace

struct process_mutex::state {
    explicit state(room_parts parts) noexcept : memory(std::move(parts.memory)), room(std::move(parts.bell)) {}
    [[nodiscard]] lock_layout& layout() const noexcept {
        return *std::launder(reinterpret_cast<lock_layout*>(memory.bytes().data()));
    }
    [[nodiscard]] detail::process_lock_word& word() const noexcept { return layout().word; }

    enum class taken : unsigned char { no, yes, from_the_dead };
    taken take(bool look_for_the_dead) const noexcept {
        const std::uint64_t me = process_identity::self().word();  // asked anew: this may be a fork
        if (word().take(me)) return taken::yes;
        if (!look_for_the_dead) return taken::no;
        const std::uint64_t holder = word().owner();
        if (holder == 0 || holder == me || process_identity::from(holder).alive()) return taken::no;
        return word().inherit(holder, me) ? taken::from_the_dead : taken::no;
    }

    shared_memory memory;
    process_room room;  // who holds its `within` may compete with other processes
};

// --- Making one ---

process_mutex::process_mutex(std::unique_ptr<state> made) noexcept : state_(std::move(made)) {}
process_mutex::process_mutex(process_mutex&& other) noexcept = default;
process_mutex& process_mutex::operator=(process_mutex&& other) noexcept = default;
process_mutex::~process_mutex() = default;

expected<process_mutex, shared_error> process_mutex::create() {
    if (process_identity::self() == process_identity())
        return unexpected(shared_error(kind::refused, 0, "a process_mutex needs /proc, to name its owner"));
    auto parts = room_parts::make(sizeof(lock_layout));
    if (!parts) return unexpected(std::move(parts.error()));
    auto* const layout = ::new (parts->memory.bytes().data()) lock_layout();
    layout->magic = magic;
    return process_mutex(std::make_unique<state>(std::move(*parts)));
}

expected<process_mutex, shared_error> process_mutex::attach(int first) {
    auto parts = room_parts::attach(first, sizeof(lock_layout));
    if (!parts) return unexpected(std::move(parts.error()));
    auto made = std::make_unique<state>(std::move(*parts));
    if (made->layout().magic != magic)
        return unexpected(
            shared_error(kind::wrong_kind, 0, fmt::format("the memory of descriptor {} is no lock", first)));
    return process_mutex(std::move(made));
}

std::vector<passed_descriptor> process_mutex::passed(int first) const {
    return {{state_->memory.fd(), first}, {state_->room.bell(), first + 1}};
}

// --- Using it ---

void process_mutex::guard::unlock() noexcept {
    state* const of = of_.release();
    if (of == nullptr) return;
    if (of->word().owner() == process_identity::self().word()) of->word().give([of] { ring_bell(of->room.bell()); });
    within_.unlock();
}

std::optional<process_mutex::guard> process_mutex::try_lock() noexcept {
    auto within = state_->room.within.try_lock();
    if (!within) return {};
    const auto how = state_->take(true);
    if (how == state::taken::no) return {};
    return guard(*state_, std::move(*within), how == state::taken::from_the_dead);
}

task<std::optional<process_mutex::guard>> process_mutex::lock_for(time_limit limit) {
    state& here = *state_;
    const time_point deadline = limit.from(co_await this_task::now());
    auto within = co_await here.room.within.lock_until(deadline);
    if (!within) co_return std::nullopt;
    auto how = here.take(true);
    if (how == state::taken::no) {
        const auto ready = [&here, &how](bool look_for_the_dead) noexcept {
            how = here.take(look_for_the_dead);
            return how != state::taken::no;
        };
        const bool is_mine = co_await here.room.wait(here.word(), deadline, ready);
        if (!is_mine) co_return std::nullopt;
    }
    co_return guard(here, std::move(*within), how == state::taken::from_the_dead);
}

task<process_mutex::guard> process_mutex::lock() {
    auto held = co_await lock_for(time_limit::never());
    co_return std::move(*held);
}

std::optional<process_mutex::guard> process_mutex::blocking_lock_for(time_limit limit) noexcept {
    state& here = *state_;
    const time_point deadline = limit.from(env::now());
    auto within = here.room.within.blocking_lock_for(deadline);
    if (!within) return {};
    auto how = here.take(true);
    const auto ready = [&here, &how](bool look_for_the_dead) noexcept {
        how = here.take(look_for_the_dead);
        return how != state::taken::no;
    };
    if (how == state::taken::no && !here.room.blocking_wait(here.word(), deadline, "blocking_lock", ready)) return {};
    return guard(here, std::move(*within), how == state::taken::from_the_dead);
}

process_mutex::guard process_mutex::blocking_lock() noexcept {
    auto held = blocking_lock_for(time_limit::never());
    return std::move(*held);
}

}  // namespace leat
