// frame_cache: the memory of frames and of spawned tasks, kept by the thread that freed it last for the next one of about
// its size. Each worker of a runtime has one; threads without one, and sizes above the largest class, use the heap.
//
// Blocks are cut from slabs of the process (frame_slabs), without a head of their own: a million frames are as large as they
// look. A cache takes several at once, and gives several back where it keeps more than its bound. So it needs no lock, and one
// that gets more than it hands out (the consumer of what a neighbour makes) stays within that bound.
// Under a sanitizer and in the explorer's build every block goes to the heap, where a use after its end is seen.
// What is taken for each await is inlined: frames have constant sizes, so that little is left of it.
#pragma once

#include <cstddef>
#include <new>

#include <leat/base/env.hpp>
#include <leat/base/sanitizer.hpp>

namespace leat::detail {

// Blocks of all threads. A slab has blocks of one class and goes back to the heap when all of them are free.
class frame_slabs {
public:
    struct block {
        block* next;
    };
    // Takes `count` blocks of `bytes`, a multiple of 16 below 4 KiB, in a list. Throws std::bad_alloc. Any thread.
    [[nodiscard]] static block* take(std::size_t bytes, std::size_t count);
    // Gives back a list of such. Any thread.
    static void give(block* all) noexcept;
};

class frame_cache {
public:
    static constexpr std::size_t granule = 16;   // what frames are aligned to
    static constexpr std::size_t classes = 129;  // the largest: 2 KiB
    static constexpr std::size_t bytes_of(std::size_t which) noexcept { return which * granule; }
    static constexpr std::size_t class_of(std::size_t size) noexcept { return (size + granule - 1) / granule; }
    static constexpr std::size_t most_kept = std::size_t{1} << 20U;  // bytes, of all classes together

    frame_cache() noexcept = default;
    frame_cache(const frame_cache&) = delete;
    frame_cache& operator=(const frame_cache&) = delete;
    // Gives what it keeps back.
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

    using block = frame_slabs::block;
    // How many blocks go to and from the slabs at once: a page of them.
    static constexpr std::size_t at_once(std::size_t which) noexcept {
        return bytes_of(which) >= 4096 / 2 ? 1 : 4096 / bytes_of(which);
    }
    // The ways past the lists here; `mine` may be null.
    [[nodiscard]] static void* take_from_slabs(frame_cache* mine, std::size_t size);
    static void give_to_slabs(frame_cache* mine, void* frame, std::size_t which) noexcept;

    // Where a block of that class may lie; null where there is no place for it.
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
    return frame_cache::take_from_slabs(frame_cache::of_class(which), size);
}

// `size` as it was asked for. Any thread.
inline void free_frame(void* frame, std::size_t size) noexcept {
    const std::size_t which = frame_cache::class_of(size);
    frame_cache* const cache = frame_cache::of_class(which);
    if (cache == nullptr || cache->kept_ >= frame_cache::most_kept) [[unlikely]]
        return frame_cache::give_to_slabs(cache, frame, which);
    cache->free_[which] = new (frame) frame_cache::block{cache->free_[which]};
    cache->kept_ += frame_cache::bytes_of(which);
}

}  // namespace leat::detail
