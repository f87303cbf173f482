#include <leat/sync/wait.hpp>

namespace leat::detail {

arrivals::arrivals(std::vector<counted<completion>> of)
    : of_(std::move(of)), members_(std::make_unique<member[]>(of_.size())) {
    for (std::size_t place = 0; place < of_.size(); ++place) {
        member& mine = members_[place];
        mine.group = this;
        if (of_[place]->observe(mine)) continue;
        env::lock_guard held(lock_);  // those before it may come already
        append(mine);
    }
}

arrivals::~arrivals() {
    for (std::size_t place = 0; place < of_.size(); ++place) of_[place]->unobserve(members_[place]);
}

void arrivals::append(member& one) noexcept {
    (last_ == nullptr ? first_ : last_->following) = &one;
    last_ = &one;
}

void arrivals::arrived(completion::observer& self, resume_list& woken) noexcept {
    auto& mine = static_cast<member&>(self);
    env::lock_guard held(mine.group->lock_);
    mine.group->append(mine);
    if (waiter* const waits = mine.group->waiting_.claim_first()) woken.add(*waits);
}

bool arrivals::suspend(completion::lone_waiter& self, context& line, std::coroutine_handle<> at) noexcept {
    self.line = &line;
    {
        env::lock_guard held(lock_);
        if (first_ == nullptr && given_ < of_.size()) {
            self.waited = true;
            if (!line.begin_wait(at, "the first of several")) return false;
            self.wait_as(line);
            waiting_.push_back(self);
            return true;
        }
    }
    return line.yields_at(at);
}

std::size_t arrivals::take(completion::lone_waiter& self) {
    env::lock_guard held(lock_);
    if (self.waited && self.line->woken_by() != context::wake::ready) {
        waiting_.remove(self);
        throw_cancelled();
    }
    if (first_ == nullptr) return none;
    member& oldest = *first_;
    first_ = oldest.following;
    if (first_ == nullptr) last_ = nullptr;
    ++given_;
    return static_cast<std::size_t>(&oldest - members_.get());
}

task<waited> wait_for(std::vector<counted<completion>> all, until when) {
    arrivals come(all);
    for (std::size_t left = all.size(); left > 0; --left) {
        const std::size_t place = co_await come.next();
        if (when == until::first_completed) break;
        if (when == until::first_exception && all[place]->how() == completion::ending::error) break;
    }
    waited result;
    for (std::size_t place = 0; place < all.size(); ++place)
        (all[place]->is_complete() ? result.done : result.pending).push_back(place);
    co_return result;
}

}  // namespace leat::detail
