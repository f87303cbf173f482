// The seam's real side. The explorer brings its own, so that build leaves this file empty.
#include <leat/base/env.hpp>

#if !defined(LEAT_EXPLORE)

#    include <cerrno>
#    include <climits>
#    include <linux/futex.h>
#    include <memory>
#    include <pthread.h>
#    include <random>
#    include <signal.h>
#    include <sys/syscall.h>
#    include <unistd.h>

#    include <leat/base/bug.hpp>
#    include <leat/base/over_fork.hpp>
#    include <leat/base/sanitizer.hpp>

namespace leat::env {

namespace {

// Spinning helps when the owner runs on another core and is about to leave; a hand-over through the kernel costs some
// tens of microseconds on a virtual machine.
constexpr int spins_before_sleep = 60;

long futex(const atomic<std::uint32_t>& word, int operation, std::uint32_t value, const timespec* timeout) noexcept {
    return ::syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, timeout, nullptr, FUTEX_BITSET_MATCH_ANY);
}

}  // namespace

void futex_wait(const atomic<std::uint32_t>& word, std::uint32_t expected) noexcept {
    if constexpr (sanitizer::thread) {
        // It keeps a signal from the program until the thread calls a function that it intercepts, which this system call is
        // not: the thread that takes the signals looks up now and then.
        (void)futex_wait_until(word, expected, now() + std::chrono::milliseconds(50));
        ::usleep(0);
    } else {
        futex(word, FUTEX_WAIT_BITSET, expected, nullptr);
    }
}

bool futex_wait_until(const atomic<std::uint32_t>& word, std::uint32_t expected, time_point deadline) noexcept {
    const auto since_boot = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.time_since_epoch()).count();
    if (since_boot <= 0) return false;
    const timespec until{static_cast<time_t>(since_boot / 1'000'000'000),
                         static_cast<long>(since_boot % 1'000'000'000)};
    return futex(word, FUTEX_WAIT_BITSET, expected, &until) == 0 || errno != ETIMEDOUT;
}

void futex_wake(const atomic<std::uint32_t>& word, int count) noexcept {
    futex(word, FUTEX_WAKE, static_cast<std::uint32_t>(count), nullptr);
}

namespace {
mutex* held_over_fork = nullptr;
}

void hold_over_fork(mutex& lock) noexcept {
    if (held_over_fork != nullptr) bug("hold_over_fork: there is a lock already");
    held_over_fork = &lock;
    const auto take = [] { held_over_fork->lock(); };
    const auto leave = [] { held_over_fork->unlock(); };
    // Where there is no memory for it a child may wait for a lock that nobody holds: no worse than without.
    (void)::pthread_atfork(take, leave, leave);
}

void mutex::lock_slow() noexcept {
    for (int spin = 0; spin < spins_before_sleep; ++spin) {
        pause();
        // relaxed: only a hint; try_lock() brings the acquire.
        if (state_.load(relaxed) == 0 && try_lock()) return;
    }
    // From here on the word is taken as 2, since it cannot be known whether others sleep.
    while (state_.exchange(2, acquire) != 0) futex_wait(state_, 2);
}

bool thread::start(const char* name, void (*body)(void*), void* argument) noexcept {
    if (handle_ != 0) bug("a thread was started twice");
    struct launch {
        void (*body)(void*);
        void* argument;
    };
    auto parcel = std::unique_ptr<launch>(new (std::nothrow) launch{body, argument});
    if (!parcel) return false;
    // Signals belong to the program's own threads: a library thread takes none.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t handle{};
    const int refused = pthread_create(
        &handle, nullptr,
        [](void* raw) -> void* {
            const auto mine = std::unique_ptr<launch>(static_cast<launch*>(raw));
            mine->body(mine->argument);
            return nullptr;
        },
        parcel.get());
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (refused != 0) return false;
    (void)parcel.release();
    handle_ = handle;
    char short_name[16] = {};
    for (int i = 0; i < 15 && name[i] != 0; ++i) short_name[i] = name[i];
    pthread_setname_np(handle, short_name);
    return true;
}

thread::~thread() {
    if (handle_ != 0) bug("a thread was destroyed before it was joined");
}

void thread::join() noexcept {
    pthread_join(handle_, nullptr);
    handle_ = 0;
}

time_point now() noexcept { return clock::now(); }

std::uint64_t entropy() noexcept {
    std::random_device device;
    return (static_cast<std::uint64_t>(device()) << 32U) | device();
}

[[gnu::noinline]] void*& this_thread(slot which) noexcept {
    static thread_local void* slots[static_cast<unsigned>(slot::count)] = {};
    asm volatile("");  // keeps a pure function from being called once for two threads
    return slots[static_cast<unsigned>(which)];
}

#    if defined(__x86_64__) && defined(__linux__)
namespace detail {
[[gnu::used]] constinit thread_local void* quick_slots[static_cast<unsigned>(quick_slot::count)] = {};
}
#    else
[[gnu::noinline]] void*& this_thread(quick_slot which) noexcept {
    static thread_local void* slots[static_cast<unsigned>(quick_slot::count)] = {};
    asm volatile("");  // see above
    return slots[static_cast<unsigned>(which)];
}
#    endif

}  // namespace leat::env

#endif
