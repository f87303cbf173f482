#include <leat/task/executor.hpp>

#include <leat/base/bug.hpp>

namespace leat {

struct executor::entry {
    const void* key;
    std::unique_ptr<attachment> value;
    entry* next;
};

void executor::post_all(item_list& items, std::uint32_t) noexcept {
    while (work_item* const each = items.pop()) post(*each);
}

executor::~executor() {
    if (attachments_ != nullptr) bug("an executor ended without dropping its attachments");
}

void executor::use(poller&) noexcept { bug("this executor has no I/O: use a thread_pool or an event_loop"); }

attachment* executor::find_attachment(const void* key) noexcept {
    env::lock_guard held(lock_);
    for (entry* each = attachments_; each != nullptr; each = each->next)
        if (each->key == key) return each->value.get();
    return nullptr;
}

attachment* executor::add_attachment(const void* key, std::unique_ptr<attachment> (*make)(executor&)) {
    // Made outside the lock, since the constructor may attach others; the loser of a race is thrown away.
    auto fresh = std::make_unique<entry>(entry{key, make(*this), nullptr});
    attachment* winner = nullptr;
    {
        env::lock_guard held(lock_);
        for (entry* each = attachments_; each != nullptr && winner == nullptr; each = each->next)
            if (each->key == key) winner = each->value.get();
        if (winner == nullptr) {
            winner = fresh->value.get();
            fresh->next = attachments_;
            attachments_ = fresh.release();
        }
    }
    if (fresh) fresh->value->stop();
    return winner;
}

void executor::drop_attachments() noexcept {
    for (;;) {
        std::unique_ptr<entry> newest;
        {
            env::lock_guard held(lock_);
            newest.reset(attachments_);
            if (newest) attachments_ = newest->next;
        }
        if (!newest) return;
        newest->value->stop();
    }
}

}  // namespace leat
