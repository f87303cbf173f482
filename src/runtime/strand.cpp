#include <leat/runtime/strand.hpp>

#include <utility>

#include <leat/base/bug.hpp>
#include <leat/runtime/runtime.hpp>

namespace leat {

namespace {
constexpr int items_in_a_row = 64;
}

struct strand::core : work_item {
    explicit core(executor& where) noexcept : work_item(&run_some), below(where) {}
    static void run_some(work_item& self) noexcept;
    // Whether there is an item to run in `ready`. If not the core is somebody else's from here on, or gone.
    bool has_ready() noexcept;

    executor& below;
    work_item* ready = nullptr;
    env::mutex lock;
    work_item* first = nullptr;  // under lock, as all that follows
    work_item* last = nullptr;   // while there is a first
    bool scheduled = false;
    bool orphaned = false;  // the strand is gone
};

bool strand::core::has_ready() noexcept {
    if (ready != nullptr) return true;
    bool last_of_all = false;
    {
        env::lock_guard held(lock);
        ready = std::exchange(first, nullptr);
        if (ready != nullptr) return true;
        scheduled = false;
        last_of_all = orphaned;
    }
    if (last_of_all) delete this;
    return false;
}

void strand::core::run_some(work_item& self) noexcept {
    auto& mine = static_cast<core&>(self);
    // None on an executor that is no runtime of ours.
    auto* const seat = static_cast<runtime::seat*>(env::this_thread(env::slot::worker));
    for (int ran = 0; ran < items_in_a_row; ++ran) {
        if (!mine.has_ready()) return;
        work_item* const item = std::exchange(mine.ready, mine.ready->next);
        if (seat != nullptr) seat->running.begins(*item);
        item->run(*item);
    }
    mine.below.post_last(mine);
}

strand::strand(executor& below) : below_(below), core_(new core(below)) {}

strand::~strand() {
    bool last_of_all = false;
    {
        env::lock_guard held(core_->lock);
        if (core_->first != nullptr) bug("a strand was destroyed while tasks were on it");
        core_->orphaned = true;
        last_of_all = !core_->scheduled;
    }
    if (last_of_all) delete core_;
}

void strand::post(work_item& item) noexcept {
    {
        env::lock_guard held(core_->lock);
        item.next = nullptr;
        if (core_->first == nullptr) core_->first = &item;
        else core_->last->next = &item;
        core_->last = &item;
        if (std::exchange(core_->scheduled, true)) return;
    }
    below_.post(*core_);
}

}  // namespace leat
