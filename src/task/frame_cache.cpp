#include <leat/task/frame_cache.hpp>

namespace leat::detail {

[[gnu::noinline]] void* allocate_frame_anywhere(std::size_t size) { return allocate_frame(size); }
[[gnu::noinline]] void free_frame_anywhere(void* frame, std::size_t size) noexcept { free_frame(frame, size); }

frame_cache::~frame_cache() {
    for (block*& first : free_)
        while (block* const gone = first) {
            first = gone->next;
            ::operator delete(gone);
        }
}

}  // namespace leat::detail
