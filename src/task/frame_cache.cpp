#include <leat/task/frame_cache.hpp>

#include <cstdint>
#include <cstdlib>
#include <utility>

#include <leat/base/over_fork.hpp>

namespace leat::detail {

using block = frame_slabs::block;

#if defined(LEAT_EXPLORE)

// There every block goes to the heap.
block* frame_slabs::take(std::size_t, std::size_t) { throw std::bad_alloc(); }
void frame_slabs::give(block*) noexcept {}

#else

namespace {

// What each slab begins with; its blocks follow. Slabs are aligned to their size, so that a block leads to its slab.
struct alignas(64) slab {
    // The heap's own head fits in what is left to the next slab: so they lie side by side.
    static constexpr std::size_t alignment = std::size_t{1} << 15U, size = alignment - 64;
    static slab& of(block* part) noexcept {
        // NOLINTNEXTLINE(performance-no-int-to-ptr): an address that was rounded down
        return *reinterpret_cast<slab*>(reinterpret_cast<std::uintptr_t>(part) & ~(alignment - 1));
    }
    explicit slab(std::size_t each) noexcept : bytes(each) {}
    [[nodiscard]] bool full() const noexcept { return free == nullptr && end + bytes > size; }

    block* take() noexcept {
        ++out;
        if (free != nullptr) return std::exchange(free, free->next);
        // Only what is taken is touched.
        return new (reinterpret_cast<char*>(this) + std::exchange(end, end + bytes)) block{nullptr};
    }

    const std::size_t bytes;         // of a block
    std::size_t end = sizeof(slab);  // of the blocks that have been out
    std::size_t out = 0;
    block* free = nullptr;
    slab* next = nullptr;
    slab** link = nullptr;  // what points to this among those with room; null: it has none
};

// All under `lock`.
struct {
    env::mutex lock;
    slab* with_room[frame_cache::classes] = {};

    slab*& first(std::size_t bytes) noexcept { return with_room[bytes / frame_cache::granule]; }
    void link(slab& one) noexcept {
        slab*& head = first(one.bytes);
        one.next = head;
        if (head != nullptr) head->link = &one.next;
        one.link = &head;
        head = &one;
    }
    void unlink(slab& one) noexcept {
        *one.link = one.next;
        if (one.next != nullptr) one.next->link = one.link;
        one.link = nullptr;
    }
} constinit slabs;

// When the library is loaded, before another thread can be inside: a fork beside the first use is held too.
[[maybe_unused]] const bool forks_safely = (env::hold_over_fork(slabs.lock), true);

}  // namespace

block* frame_slabs::take(std::size_t bytes, std::size_t count) {
    env::lock_guard held(slabs.lock);
    block* all = nullptr;
    for (block** end = &all; count > 0; --count) {
        slab* from = slabs.first(bytes);
        if (from == nullptr) {
            // Not operator new, which would round the size up to a multiple of the alignment.
            void* memory = nullptr;
            if (::posix_memalign(&memory, slab::alignment, slab::size) != 0) {
                if (all != nullptr) return all;
                throw std::bad_alloc();
            }
            from = new (memory) slab(bytes);
            slabs.link(*from);
        }
        *end = from->take();
        end = &(*end)->next;
        *end = nullptr;
        if (from->full()) slabs.unlink(*from);
    }
    return all;
}

void frame_slabs::give(block* all) noexcept {
    env::lock_guard held(slabs.lock);
    while (block* const each = all) {
        all = each->next;
        slab& home = slab::of(each);
        each->next = std::exchange(home.free, each);
        if (home.link == nullptr) slabs.link(home);
        if (--home.out != 0) continue;
        // The last with room stays: what is taken and given in turn finds it.
        if (home.next == nullptr && home.link == &slabs.first(home.bytes)) continue;
        slabs.unlink(home);
        std::free(&home);
    }
}

#endif

void* frame_cache::take_from_slabs(frame_cache* mine, std::size_t size) {
    if (!keeps_any() || class_of(size) >= classes) return ::operator new(size);
    const std::size_t which = class_of(size);
    if (mine == nullptr) return frame_slabs::take(bytes_of(which), 1);
    block* const first = frame_slabs::take(bytes_of(which), at_once(which));
    mine->free_[which] = first->next;
    for (const block* each = first->next; each != nullptr; each = each->next) mine->kept_ += bytes_of(which);
    return first;
}

void frame_cache::give_to_slabs(frame_cache* mine, void* frame, std::size_t which) noexcept {
    if (!keeps_any() || which >= classes) return ::operator delete(frame);
    block* all = new (frame) block{nullptr};
    if (mine != nullptr) {
        for (std::size_t more = at_once(which); more > 1; --more) {
            block* const each = mine->free_[which];
            if (each == nullptr) break;
            mine->free_[which] = each->next;
            mine->kept_ -= bytes_of(which);
            each->next = all;
            all = each;
        }
    }
    frame_slabs::give(all);
}

frame_cache::~frame_cache() {
    for (block*& first : free_)
        if (first != nullptr) frame_slabs::give(std::exchange(first, nullptr));
}

}  // namespace leat::detail
