#include <leat/process/process_event.hpp>

#include <fmt/format.h>
#include <new>

#include <leat/process/process_event_word.hpp>

#include "process_room.hpp"

namespace leat {

namespace {

constexpr std::uint64_t magic = 0x746e'7665'7461'656cU;  // "leatevnt"

using detail::process_event_word;
using kind = shared_error::kind;

// In shared memory.
struct event_layout {
    std::uint64_t magic;
    alignas(64) process_event_word word;
};

}  // namespace

struct process_event::state {
    explicit state(room_parts parts) noexcept : memory(std::move(parts.memory)), room(std::move(parts.bell)) {}
    [[nodiscard]] event_layout& layout() const noexcept {
        return *std::launder(reinterpret_cast<event_layout*>(memory.bytes().data()));
    }
    [[nodiscard]] process_event_word& word() const noexcept { return layout().word; }

    shared_memory memory;
    process_room room;
};

process_event::process_event(std::unique_ptr<state> made) noexcept : state_(std::move(made)) {}
process_event::process_event(process_event&& other) noexcept = default;
process_event& process_event::operator=(process_event&& other) noexcept = default;
process_event::~process_event() = default;

expected<process_event, shared_error> process_event::create() {
    auto parts = room_parts::make(sizeof(event_layout));
    if (!parts) return unexpected(std::move(parts.error()));
    auto* const layout = ::new (parts->memory.bytes().data()) event_layout();
    layout->magic = magic;
    return process_event(std::make_unique<state>(std::move(*parts)));
}

expected<process_event, shared_error> process_event::attach(int first) {
    auto parts = room_parts::attach(first, sizeof(event_layout));
    if (!parts) return unexpected(std::move(parts.error()));
    auto made = std::make_unique<state>(std::move(*parts));
    if (made->layout().magic != magic)
        return unexpected(
            shared_error(kind::wrong_kind, 0, fmt::format("the memory of descriptor {} is no event", first)));
    return process_event(std::move(made));
}

std::vector<passed_descriptor> process_event::passed(int first) const {
    return {{state_->memory.fd(), first}, {state_->room.bell(), first + 1}};
}

void process_event::set() noexcept {
    state_->word().set([this] { ring_bell(state_->room.bell()); });
}

void process_event::reset() noexcept { state_->word().reset(); }

bool process_event::is_set() const noexcept { return (state_->word().now() & process_event_word::bit_set) != 0; }

task<bool> process_event::wait_for(time_limit limit) {
    state& here = *state_;
    const std::uint64_t begun = here.word().now();
    if (here.word().has_come(begun)) co_return true;
    const time_point deadline = limit.from(co_await this_task::now());
    const auto within = co_await here.room.within.lock_until(deadline);
    if (!within) co_return here.word().has_come(begun);
    const auto ready = [&here, begun](bool) noexcept { return here.word().has_come(begun); };
    const bool has_come = co_await here.room.wait(here.word(), deadline, ready);
    co_return has_come;
}

task<> process_event::wait() { (void)co_await wait_for(time_limit::never()); }

bool process_event::blocking_wait_for(time_limit limit) noexcept {
    state& here = *state_;
    const std::uint64_t begun = here.word().now();
    if (here.word().has_come(begun)) return true;
    const time_point deadline = limit.from(env::now());
    const auto within = here.room.within.blocking_lock_for(deadline);
    if (!within) return here.word().has_come(begun);
    const auto ready = [&here, begun](bool) noexcept { return here.word().has_come(begun); };
    return here.room.blocking_wait(here.word(), deadline, "blocking_wait", ready);
}

void process_event::blocking_wait() noexcept { (void)blocking_wait_for(time_limit::never()); }

}  // namespace leat
