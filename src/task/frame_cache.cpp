#include <leat/task/frame_cache.hpp>

#include <new>

namespace leat::detail {

namespace {

#if defined(LEAT_EXPLORE) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool keeps = false;
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
constexpr bool keeps = false;
#    else
constexpr bool keeps = true;
#    endif
#else
constexpr bool keeps = true;
#endif

constexpr std::size_t class_of(std::size_t size) noexcept { return (size - 1) / frame_cache::granule; }
constexpr std::size_t bytes_of(std::size_t which) noexcept { return (which + 1) * frame_cache::granule; }

frame_cache* cache_here(std::size_t which) noexcept {
    if (!keeps || which >= frame_cache::classes) return nullptr;
    return static_cast<frame_cache*>(env::this_thread(env::quick_slot::frames));
}

}  // namespace

frame_cache::~frame_cache() {
    for (block*& first : free_)
        while (block* const gone = first) {
            first = gone->next;
            ::operator delete(gone);
        }
}

bool frame_cache::keeps_any() noexcept { return keeps; }

void* allocate_frame(std::size_t size) {
    const std::size_t which = class_of(size);
    if (frame_cache* const cache = cache_here(which)) {
        frame_cache::block*& first = cache->free_[which];
        if (frame_cache::block* const found = first) {
            first = found->next;
            cache->kept_ -= bytes_of(which);
            return found;
        }
    }
    // Whole classes, since another thread may keep it.
    return ::operator new(which < frame_cache::classes ? bytes_of(which) : size);
}

void free_frame(void* frame, std::size_t size) noexcept {
    const std::size_t which = class_of(size);
    if (frame_cache* const cache = cache_here(which)) {
        if (cache->kept_ < frame_cache::most_kept) {
            cache->free_[which] = new (frame) frame_cache::block{cache->free_[which]};
            cache->kept_ += bytes_of(which);
            return;
        }
    }
    ::operator delete(frame);
}

}  // namespace leat::detail
