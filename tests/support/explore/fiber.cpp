#include "fiber.hpp"

#include <boost/context/preallocated.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstring>
#include <cxxabi.h>
#include <utility>

#if defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define LEAT_EXPLORE_ASAN 1
#    endif
#    if __has_feature(thread_sanitizer)
#        define LEAT_EXPLORE_TSAN 1
#    endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#    define LEAT_EXPLORE_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#    define LEAT_EXPLORE_TSAN 1
#endif

#if defined(LEAT_EXPLORE_ASAN)
#    include <sanitizer/common_interface_defs.h>
#    include <sanitizer/lsan_interface.h>
// Locals that live in a fake stack are out of the leak checker's sight, and the fibers of a failed schedule are left alive
// with what their locals own.
extern "C" const char* __asan_default_options() { return "detect_stack_use_after_return=0"; }
#endif
#if defined(LEAT_EXPLORE_TSAN)
#    include <sanitizer/tsan_interface.h>
#endif

namespace leat::explore::detail {

namespace {
fiber* switched_from = nullptr;  // set by each jump for the one that arrives
}  // namespace

fiber::fiber() noexcept {
#if defined(LEAT_EXPLORE_TSAN)
    tsan_ = __tsan_get_current_fiber();
#endif
}

fiber::fiber(job body, void* argument) : body_(body), argument_(argument) {
    boost::context::protected_fixedsize_stack allocator(stack_bytes);
    const boost::context::stack_context stack = allocator.allocate();
    bottom_ = static_cast<const char*>(stack.sp) - stack.size;
    size_ = stack.size;
#if defined(LEAT_EXPLORE_ASAN)
    __lsan_register_root_region(bottom_, size_);
#endif
#if defined(LEAT_EXPLORE_TSAN)
    tsan_ = __tsan_create_fiber(0);
#endif
    handle_ = boost::context::fiber(std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack),
                                    allocator, [this](boost::context::fiber&& came_from) {
                                        loop(std::move(came_from));
                                        return boost::context::fiber();
                                    });
}

void fiber::loop(boost::context::fiber&& came_from) noexcept {
    arrived(std::move(came_from));
    for (;;) body_(argument_);
}

void fiber::arrived(boost::context::fiber&& came_from) noexcept {
    fiber& from = *switched_from;
    from.handle_ = std::move(came_from);
#if defined(LEAT_EXPLORE_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack_, &from.bottom_, &from.size_);
#endif
    void* const globals = abi::__cxa_get_globals();
    std::memcpy(from.exceptions_, globals, sizeof exceptions_);
    std::memcpy(globals, exceptions_, sizeof exceptions_);
}

void fiber::jump(fiber& from, fiber& to) noexcept {
    switched_from = &from;
#if defined(LEAT_EXPLORE_ASAN)
    __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.size_);
#endif
#if defined(LEAT_EXPLORE_TSAN)
    __tsan_switch_to_fiber(to.tsan_, 0);
#endif
    from.arrived(std::move(to.handle_).resume());
}

}  // namespace leat::explore::detail
