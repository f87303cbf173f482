// frame_cache: the memory of frames and of spawned tasks, kept by the thread that freed it last for the next one of about
// its size. Each worker of a runtime has one; threads without one, and sizes above the largest class, use the heap.
//
// A block is an ordinary piece of the heap, rounded up to its class: who frees it on another thread keeps it there, or gives
// it to the heap. So a cache needs no lock, and one that gets more than it hands out (the consumer of what a neighbour makes)
// stays within its bound.
// Under a sanitizer and in the explorer's build every block goes to the heap, where a use after its end is seen.
// What is taken for each await is inlined: frames have constant sizes, so that little is left of it.
#pragma once

#include <cstddef>
#include <new>

#include <leat/base/env.hpp>
#include <leat/base/sanitizer.hpp>

namespace leat::detail {

class frame_cache {
public:
    static constexpr std::size_t granule = 16;
    static constexpr std::size_t classes = 128;  // the largest: 2 KiB
    // Classes end where those of the heap do: it gives multiples of 16 and keeps 8 bytes of each for itself.
    static constexpr std::size_t bytes_of(std::size_t which) noexcept { return which * granule + 8; }
    static constexpr std::size_t class_of(std::size_t size) noexcept { return (size + granule - 9) / granule; }
    static constexpr std::size_t most_kept = std::size_t{1} << 20U;  // bytes, of all classes together

    frame_cache() noexcept = default;
    frame_cache(const frame_cache&) = delete;
    frame_cache& operator=(const frame_cache&) = delete;
    // Gives what it keeps to the heap.
    ~frame_cache();

    // Bytes kept for later; always 0 where every block goes to the heap.
    [[nodiscard]] std::size_t kept() const noexcept { return kept_; }
    // False under a sanitizer and in the explorer's build.
    [[nodiscard]] static constexpr bool keeps_any() noexcept {
#if defined(LEAT_EXPLORE)
        return false;
#else
        return !sanitizer::any;
#endif
    }

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
    // Where a block of that class may lie; null where it goes to the heap.
    static frame_cache* of_class(std::size_t which) noexcept {
        if (!keeps_any() || which >= classes) return nullptr;
        return static_cast<frame_cache*>(env::this_thread(env::quick_slot::frames));
    }
    block* free_[classes] = {};  // a list each
    std::size_t kept_ = 0;       // bytes
};

// For operator new and delete of promises and of what is spawned. Throws std::bad_alloc.
[[nodiscard]] inline void* allocate_frame(std::size_t size) {
    const std::size_t which = frame_cache::class_of(size);
    if (frame_cache* const cache = frame_cache::of_class(which)) {
        frame_cache::block*& first = cache->free_[which];
        if (frame_cache::block* const found = first) [[likely]] {
            first = found->next;
            cache->kept_ -= frame_cache::bytes_of(which);
            return found;
        }
    }
    // Whole classes, since another thread may keep it.
    return ::operator new(which < frame_cache::classes ? frame_cache::bytes_of(which) : size);
}

// `size` as it was asked for. Any thread.
inline void free_frame(void* frame, std::size_t size) noexcept {
    const std::size_t which = frame_cache::class_of(size);
    frame_cache* const cache = frame_cache::of_class(which);
    if (cache == nullptr || cache->kept_ >= frame_cache::most_kept) return ::operator delete(frame);
    cache->free_[which] = new (frame) frame_cache::block{cache->free_[which]};
    cache->kept_ += frame_cache::bytes_of(which);
}

}  // namespace leat::detail
