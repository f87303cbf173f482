#include <leat/task/frame_cache.hpp>

namespace leat::detail {

frame_cache::~frame_cache() {
    for (block*& first : free_)
        while (block* const gone = first) {
            first = gone->next;
            ::operator delete(gone);
        }
}

}  // namespace leat::detail
