#include <leat/channel/channel_end.hpp>

namespace leat::detail {

bool wait_in(waiter_queue& queue, wait_node& node, std::coroutine_handle<> at, const char* what) noexcept {
    node.waited = true;
    if (!node.line->begin_wait(at, what)) return false;
    node.wait_as(*node.line);
    queue.push_back(node);
    return true;
}

void claim_all(waiter_queue& queue, resume_list& woken) noexcept {
    while (waiter* const each = queue.claim_first()) woken.add(*each);
}

}  // namespace leat::detail
