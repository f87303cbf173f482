// frame_cache: the memory of coroutine frames and spawned tasks, kept by the thread that freed it last for the next one of
// about its size. Each worker of a runtime has one; threads without one, and sizes above the largest class, use the heap.
//
// A block is an ordinary piece of the heap, rounded up to its class: who frees it on another thread keeps it there, or gives
// it to the heap. So a cache needs no lock, and one that gets more than it hands out (the consumer of what a neighbour makes)
// stays within its bound.
// Under a sanitizer and in the explorer's build every block goes to the heap, where a use after its end is seen.
#pragma once

#include <cstddef>

#include <leat/base/env.hpp>

namespace leat::detail {

class frame_cache {
public:
    static constexpr std::size_t granule = 16;   // classes are its multiples, as they are the heap's
    static constexpr std::size_t classes = 128;  // the largest: 2 KiB
    static constexpr std::size_t most_kept = std::size_t{1} << 20U;  // bytes, of all classes together

    frame_cache() noexcept = default;
    frame_cache(const frame_cache&) = delete;
    frame_cache& operator=(const frame_cache&) = delete;
    // Gives what it keeps to the heap.
    ~frame_cache();

    // Bytes kept for later; always 0 where every block goes to the heap.
    [[nodiscard]] std::size_t kept() const noexcept { return kept_; }
    // False under a sanitizer and in the explorer's build.
    [[nodiscard]] static bool keeps_any() noexcept;

    // Makes this the calling thread's, until the end of the object; then the one before is again.
    class here {
    public:
        explicit here(frame_cache& mine) noexcept : before_(env::this_thread(env::quick_slot::frames)) {
            env::this_thread(env::quick_slot::frames) = &mine;
        }
        here(const here&) = delete;
        ~here() { env::this_thread(env::quick_slot::frames) = before_; }

    private:
        void* before_;
    };

private:
    friend void* allocate_frame(std::size_t size);
    friend void free_frame(void* frame, std::size_t size) noexcept;

    struct block {
        block* next;
    };
    block* free_[classes] = {};  // a list each
    std::size_t kept_ = 0;       // bytes
};

// For operator new and delete of promises and of what is spawned. Throws std::bad_alloc.
[[nodiscard]] void* allocate_frame(std::size_t size);
// `size` as it was asked for. Any thread.
void free_frame(void* frame, std::size_t size) noexcept;

}  // namespace leat::detail
