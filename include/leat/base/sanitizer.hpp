// Which sanitizers a translation unit is built with; GCC and Clang say it in different ways.
//
// Constants of each translation unit, since one program may hold several kinds: what depends on them in a header has them in
// its name (see task.hpp). Where the preprocessor must know, ask it: there is no macro here.
#pragma once

namespace leat::sanitizer {

#if defined(__has_feature)
constexpr bool address = __has_feature(address_sanitizer);
constexpr bool thread = __has_feature(thread_sanitizer);
constexpr bool memory = __has_feature(memory_sanitizer);
#else
#    if defined(__SANITIZE_ADDRESS__)
constexpr bool address = true;
#    else
constexpr bool address = false;
#    endif
#    if defined(__SANITIZE_THREAD__)
constexpr bool thread = true;
#    else
constexpr bool thread = false;
#    endif
constexpr bool memory = false;  // Clang alone has it
#endif

constexpr bool any = address || thread || memory;

}  // namespace leat::sanitizer
