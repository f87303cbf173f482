#include <leat/runtime/timer_queue.hpp>

namespace leat {

bool timer_queue::start(timer& which) noexcept {
    env::lock_guard held(lock_);
    heap_.push_back(&which);  // noexcept: a wait that cannot be timed cannot be begun either
    which.position = static_cast<std::uint32_t>(heap_.size());
    sift_up(heap_.size() - 1);
    publish();
    return which.position == 1;
}

void timer_queue::cancel(timer& which) noexcept {
    env::lock_guard held(lock_);
    if (which.position == 0) return;
    remove(which.position - 1);
    publish();
}

bool timer_queue::fire(time_point now) noexcept {
    if (next() > now) return false;
    env::lock_guard held(lock_);
    bool any = false;
    while (!heap_.empty() && heap_.front()->due <= now) {
        timer& due = *heap_.front();
        remove(0);
        due.fire(due);
        any = true;
    }
    publish();
    return any;
}

void timer_queue::publish() noexcept {
    const time_point earliest = heap_.empty() ? time_point::max() : heap_.front()->due;
    next_.store(earliest.time_since_epoch().count(), env::seq_cst);
}

void timer_queue::place(std::size_t at, timer* which) noexcept {
    heap_[at] = which;
    which->position = static_cast<std::uint32_t>(at + 1);
}

void timer_queue::sift_up(std::size_t at) noexcept {
    timer* const moving = heap_[at];
    for (; at > 0 && moving->due < heap_[(at - 1) / 2]->due; at = (at - 1) / 2) place(at, heap_[(at - 1) / 2]);
    place(at, moving);
}

void timer_queue::sift_down(std::size_t at) noexcept {
    timer* const moving = heap_[at];
    for (std::size_t child = 2 * at + 1; child < heap_.size(); child = 2 * at + 1) {
        if (child + 1 < heap_.size() && heap_[child + 1]->due < heap_[child]->due) ++child;
        if (heap_[child]->due >= moving->due) break;
        place(at, heap_[child]);
        at = child;
    }
    place(at, moving);
}

void timer_queue::remove(std::size_t at) noexcept {
    heap_[at]->position = 0;
    timer* const last = heap_.back();
    heap_.pop_back();
    if (at == heap_.size()) return;
    place(at, last);
    sift_up(at);
    sift_down(last->position - 1);
}

}  // namespace leat
