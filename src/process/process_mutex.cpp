#include <leat/process/process_mutex.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <new>
#include <unistd.h>

#include <leat/base/bug.hpp>
#include <leat/io/descriptor.hpp>
#include <leat/process/process_identity.hpp>
#include <leat/task/outcome.hpp>
#include <leat/task/this_task.hpp>

#include "bell.hpp"

namespace leat {

namespace {

constexpr std::uint64_t magic = 0x6b63'6f6c'7461'656cU;  // "leatlock"
constexpr auto look_for_death_every = std::chrono::milliseconds(50);

using waits = detail::process_lock_word::waits;
using kind = shared_error::kind;

// In shared memory.
struct lock_layout {
    std::uint64_t magic;
    detail::process_lock_word word;
};

}  // namespace

struct process_mutex::state {
    state(shared_memory memory_, io::unique_fd bell_) noexcept : memory(std::move(memory_)), bell(std::move(bell_)) {}
    [[nodiscard]] lock_layout& layout() const noexcept {
        return *std::launder(reinterpret_cast<lock_layout*>(memory.bytes().data()));
    }
    [[nodiscard]] detail::process_lock_word& word() const noexcept { return layout().word; }

    enum class taken : unsigned char { no, yes, from_the_dead };
    taken take() const noexcept {
        const std::uint64_t me = process_identity::self().word();  // asked anew: this may be a fork
        if (word().take(me)) return taken::yes;
        const std::uint64_t holder = word().owner();
        if (holder == 0 || holder == me || process_identity::from(holder).alive()) return taken::no;
        return word().inherit(holder, me) ? taken::from_the_dead : taken::no;
    }

    shared_memory memory;
    io::unique_fd bell;
    leat::mutex within;  // whose owner may compete with other processes; the only one here that waits at the word
};

// --- Making one ---

process_mutex::process_mutex(std::unique_ptr<state> made) noexcept : state_(std::move(made)) {}
process_mutex::process_mutex(process_mutex&& other) noexcept = default;
process_mutex& process_mutex::operator=(process_mutex&& other) noexcept = default;
process_mutex::~process_mutex() = default;

expected<process_mutex, shared_error> process_mutex::create() {
    if (process_identity::self() == process_identity())
        return unexpected(shared_error(kind::refused, 0, "a process_mutex needs /proc, to name its owner"));
    auto memory = shared_memory::create(sizeof(lock_layout));
    if (!memory) return unexpected(std::move(memory.error()));
    auto bell = make_bell();
    if (!bell) return unexpected(std::move(bell.error()));
    auto* const layout = ::new (memory->bytes().data()) lock_layout();
    layout->magic = magic;
    return process_mutex(std::make_unique<state>(std::move(*memory), std::move(*bell)));
}

expected<process_mutex, shared_error> process_mutex::attach(int first) {
    io::unique_fd bell(first + 1);
    auto memory = shared_memory::attach(io::unique_fd(first), sizeof(lock_layout));
    if (!memory) return unexpected(std::move(memory.error()));
    if (auto error = check_bell(bell.get())) return unexpected(std::move(*error));
    ::fcntl(memory->fd(), F_SETFD, FD_CLOEXEC);
    auto made = std::make_unique<state>(std::move(*memory), std::move(bell));
    if (made->layout().magic != magic)
        return unexpected(
            shared_error(kind::wrong_kind, 0, fmt::format("the memory of descriptor {} is no lock", first)));
    return process_mutex(std::move(made));
}

std::vector<passed_descriptor> process_mutex::passed(int first) const {
    return {{state_->memory.fd(), first}, {state_->bell.get(), first + 1}};
}

// --- Using it ---

void process_mutex::guard::unlock() noexcept {
    state* const of = of_.release();
    if (of == nullptr) return;
    if (of->word().owner() == process_identity::self().word()) of->word().give([of] { ring_bell(of->bell.get()); });
    within_.unlock();
}

std::optional<process_mutex::guard> process_mutex::try_lock() noexcept {
    auto within = state_->within.try_lock();
    if (!within) return {};
    const auto how = state_->take();
    if (how == state::taken::no) return {};
    return guard(*state_, std::move(*within), how == state::taken::from_the_dead);
}

task<std::optional<process_mutex::guard>> process_mutex::lock_for(time_limit limit) {
    state& here = *state_;
    const time_point deadline = limit.from(co_await this_task::now());
    auto within = co_await here.within.lock_until(deadline);
    if (!within) co_return std::nullopt;
    if (const auto how = here.take(); how != state::taken::no)
        co_return guard(here, std::move(*within), how == state::taken::from_the_dead);

    struct counted {
        explicit counted(state& where) noexcept : here(where) { here.word().begin(waits::at_bell); }
        counted(const counted&) = delete;
        counted& operator=(const counted&) = delete;
        ~counted() {
            here.word().end(waits::at_bell);
            // The bell may have rung for another, too: who leaves without the lock rings it again.
            if (!served) here.word().call([this] { ring_bell(here.bell.get()); });
        }
        state& here;
        bool served = false;
    };
    counted waiting(here);
    io::descriptor rung(here.bell.get());
    for (;;) {
        if (const auto how = here.take(); how != state::taken::no) {
            waiting.served = true;
            co_return guard(here, std::move(*within), how == state::taken::from_the_dead);
        }
        const time_point now = co_await this_task::now();
        if (now >= deadline) co_return std::nullopt;
        const auto ended = co_await rung.readable(std::min(deadline, now + look_for_death_every));
        silence_bell(here.bell.get());
        if (ended == context::wake::cancelled) detail::throw_cancelled();
    }
}

task<process_mutex::guard> process_mutex::lock() {
    auto held = co_await lock_for(time_limit::never());
    co_return std::move(*held);
}

std::optional<process_mutex::guard> process_mutex::blocking_lock_for(time_limit limit) noexcept {
    state& here = *state_;
    const time_point deadline = limit.from(env::now());
    auto within = here.within.blocking_lock_for(deadline);
    if (!within) return {};
    auto how = here.take();
    if (how == state::taken::no) {
        here.word().begin(waits::in_futex);
        for (;;) {
            const std::uint32_t ticket = here.word().ticket();
            how = here.take();
            const time_point now = env::now();
            if (how != state::taken::no || now >= deadline) break;
            here.word().sleep(ticket, std::min(deadline, now + look_for_death_every));
        }
        here.word().end(waits::in_futex);
        if (how == state::taken::no) return {};
    }
    return guard(here, std::move(*within), how == state::taken::from_the_dead);
}

process_mutex::guard process_mutex::blocking_lock() noexcept {
    auto held = blocking_lock_for(time_limit::never());
    return std::move(*held);
}

}  // namespace leat
