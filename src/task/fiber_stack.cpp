#include <leat/task/fiber_stack.hpp>

#include <cstdint>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

#include <leat/base/env.hpp>

// Present in programs that run under a sanitizer. NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
[[gnu::weak]] void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, std::size_t size);
[[gnu::weak]] void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, std::size_t* size);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* from, std::size_t size);
[[gnu::weak]] void* __tsan_get_current_fiber();
[[gnu::weak]] void __tsan_switch_to_fiber(void* fiber, unsigned flags);
[[gnu::weak]] void* __tsan_create_fiber(unsigned flags);
[[gnu::weak]] void __tsan_destroy_fiber(void* fiber);
// NOLINTEND(bugprone-reserved-identifier)
// <cxxabi.h> declares it as a function without side conditions, whose result a compiler may keep over a switch.
leat::detail::exception_state* leat_exception_globals() noexcept __asm__("__cxa_get_globals");
}

namespace leat::detail {

namespace {

constexpr std::size_t guard_bytes = std::size_t{64} * 1024;
constexpr std::size_t smallest_bytes = std::size_t{16} * 1024;
constexpr unsigned most_kept = 64;

std::size_t to_pages(std::size_t bytes) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
    return (bytes + page - 1) / page * page;
}

// A kept stack: linked in its own topmost bytes, which have been in use anyway.
struct kept_stack {
    kept_stack* next;
};
kept_stack* link_in(void* bottom, std::size_t size) noexcept {
    return reinterpret_cast<kept_stack*>(static_cast<char*>(bottom) + size) - 1;
}

class stack_cache {
public:
    void* take(std::size_t size) noexcept {
        if (size != size_of_kept) return nullptr;
        env::lock_guard held(lock_);
        if (newest_ == nullptr) return nullptr;
        kept_stack* const taken = newest_;
        newest_ = taken->next;
        --count_;
        return reinterpret_cast<char*>(taken + 1) - size;
    }
    // False when it is to be given back to the system.
    [[nodiscard]] bool keep(void* bottom, std::size_t size) noexcept {
        if (size != size_of_kept) return false;
        env::lock_guard held(lock_);
        if (count_ == most_kept) return false;
        kept_stack* const link = link_in(bottom, size);
        link->next = newest_;
        newest_ = link;
        ++count_;
        return true;
    }

private:
    static constexpr std::size_t size_of_kept = fiber_options{}.stack_bytes;
    env::mutex lock_;
    kept_stack* newest_ = nullptr;
    unsigned count_ = 0;
};
stack_cache kept;

}  // namespace

fiber_stack::fiber_stack(fiber_options options)
    : size_(to_pages(options.stack_bytes < smallest_bytes ? smallest_bytes : options.stack_bytes)),
      sanitizer_(nullptr) {
    bottom_ = kept.take(size_);
    if (bottom_ == nullptr) {
        void* const all = ::mmap(nullptr, guard_bytes + size_, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (all == MAP_FAILED) throw std::bad_alloc();
        if (::mprotect(all, guard_bytes, PROT_NONE) != 0) {
            ::munmap(all, guard_bytes + size_);
            throw std::bad_alloc();
        }
        bottom_ = static_cast<char*>(all) + guard_bytes;
    }
    if (__tsan_create_fiber != nullptr) sanitizer_ = __tsan_create_fiber(0);
}

fiber_stack::~fiber_stack() {
    if (bottom_ == nullptr) return;
    if (__tsan_destroy_fiber != nullptr) __tsan_destroy_fiber(sanitizer_);
    // The frames that were left for good have not taken their red zones with them.
    if (__asan_unpoison_memory_region != nullptr) __asan_unpoison_memory_region(bottom_, size_);
    if (!kept.keep(bottom_, size_)) ::munmap(static_cast<char*>(bottom_) - guard_bytes, guard_bytes + size_);
}

stack_point point_of_entry(const fiber_stack& stack, std::size_t reserved, void (*entry)(arrival)) noexcept {
    char* const top = static_cast<char*>(stack.bottom()) + stack.size() - reserved;
    stack_point begin;
    begin.at = boost::context::detail::make_fcontext(top, stack.size() - reserved, entry);
    if (__sanitizer_start_switch_fiber == nullptr && __tsan_switch_to_fiber == nullptr) return begin;
    begin.bottom = stack.bottom();
    begin.size = stack.size();
    begin.sanitizer = stack.sanitizer();
    return begin;
}

namespace {

arrival annotate(arrival came, void* fake_stack) noexcept {
    stack_point* const sender = static_cast<parcel*>(came.data)->sender;
    if (sender != nullptr && __sanitizer_finish_switch_fiber != nullptr)
        __sanitizer_finish_switch_fiber(fake_stack, &sender->bottom, &sender->size);
    return came;
}

}  // namespace

arrival arrived(arrival first) noexcept { return annotate(first, nullptr); }

[[gnu::no_sanitize_address]] arrival annotated_jump(const stack_point& to, parcel& sends, bool for_good) noexcept {
    stack_point self;  // read by the other side while this one is suspended
    sends.sender = &self;
    self.bottom = &self;  // ThreadSanitizer needs no bounds; AddressSanitizer tells the other side
    void* fake_stack = nullptr;
    if (__tsan_switch_to_fiber != nullptr) self.sanitizer = __tsan_get_current_fiber();
    if (__sanitizer_start_switch_fiber != nullptr)
        __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack, to.bottom, to.size);
    const auto at = to.at;
    if (__tsan_switch_to_fiber != nullptr) __tsan_switch_to_fiber(to.sanitizer, 0);
    return annotate(boost::context::detail::jump_fcontext(at, &sends), fake_stack);
}

void jump_for_good(const stack_point& to, parcel& sends) noexcept {
    if (to.bottom != nullptr) annotated_jump(to, sends, true);
    else boost::context::detail::jump_fcontext(to.at, &sends);
    __builtin_unreachable();
}

[[gnu::noinline]] exception_state& thread_exceptions() noexcept {
    // Kept, since asking costs some nanoseconds where the runtime is a shared library.
    static thread_local exception_state* mine = nullptr;
    if (mine == nullptr) mine = leat_exception_globals();
    return *mine;
}

}  // namespace leat::detail
