// The stand-ins of env.hpp that are no templates.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <functional>
#include <leat/base/bug.hpp>
#include <leat/base/env_place.hpp>

#include "engine.hpp"

namespace leat::env {

using explore::detail::cell;
using explore::detail::engine;
using explore::detail::memory;
using explore::detail::running;

namespace {

[[noreturn]] void would_wait(const char* what, const detail::place& where) {
    fmt::print(stderr, "leat::explore: {} outside a scenario would wait for ever ({}:{})\n", what, where.file_name(),
               where.line());
    std::abort();
}

cell& cell_of(const mutex* lock) { return engine::active().objects().find(lock, detail::object_kind::mutex); }

}  // namespace

void futex_wait(const atomic<std::uint32_t>& word, std::uint32_t expected, detail::place where) noexcept {
    if (running) engine::active().sleep(word, expected, nullptr, where);
    else if (word.peek() == expected) would_wait("a futex_wait", where);
}

bool futex_wait_until(const atomic<std::uint32_t>& word, std::uint32_t expected, time_point deadline,
                      detail::place where) noexcept {
    if (running) return engine::active().sleep(word, expected, &deadline, where);
    return word.peek() != expected;
}

void futex_wake(const atomic<std::uint32_t>& word, int count, detail::place where) noexcept {
    if (running) engine::active().wake(&word, count, where);
}

void mutex::lock(detail::place where) noexcept {
    if (running) {
        engine::active().lock(cell_of(this), where);
        return;
    }
    if (held_) would_wait("a lock of a mutex that is held", where);
    held_ = true;
}

bool mutex::try_lock(detail::place where) noexcept {
    if (running) return engine::active().try_lock(cell_of(this), where);
    return !std::exchange(held_, true);
}

void mutex::unlock(detail::place where) noexcept {
    if (running) engine::active().unlock(cell_of(this), where);
    else held_ = false;
}

bool thread::start(const char* name, void (*body)(void*), void* argument, detail::place where) noexcept {
    if (handle_ != 0) bug("a thread was started twice");
    if (!running) return false;
    handle_ = engine::active().start(name, body, argument, nullptr, where) + 1UL;
    return true;
}

thread::~thread() {
    if (handle_ != 0) bug("a thread was destroyed before it was joined");
}

void thread::join(detail::place where) noexcept {
    engine::active().join(static_cast<int>(handle_) - 1, where);
    handle_ = 0;
}

time_point now() noexcept { return running ? engine::active().now() : time_point{} + std::chrono::hours(1); }

std::uint64_t entropy() noexcept { return running ? engine::active().entropy() : 1; }

void pause(detail::place where) noexcept {
    if (running) engine::active().pause(where);
}

bool lies_before(const void* one, const void* other) noexcept {
    if (!running) return std::less<>()(one, other);
    memory& objects = engine::active().objects();
    return objects.number_at(one) < objects.number_at(other);
}

[[gnu::noinline]] void*& this_thread(slot which) noexcept {
    static std::array<void*, static_cast<unsigned>(slot::count)> outside{};
    asm volatile("");  // as on the real side
    return (running ? engine::active().self().slots : outside)[static_cast<unsigned>(which)];
}

}  // namespace leat::env
