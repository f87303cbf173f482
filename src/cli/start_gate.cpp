#include <cli/start_gate.hpp>

#include <algorithm>
#include <cli/each_items.hpp>

#include <leat/task/this_task.hpp>

namespace leat::cli {

task<std::shared_ptr<start_gate::place>> start_gate::enter() {
    if (rules_.settle > duration::zero()) co_await sleep_until(next_start_);
    for (;;) {
        if (taken() < places() && has_room()) break;
        (void)co_await left_.wait_for(rules_.look_again);
    }
    next_start_ = env::now() + rules_.settle;
    unsigned slot = 0;
    {
        const std::scoped_lock held(lock_);
        const auto free = std::find(slots_.begin(), slots_.end(), false);
        slot = static_cast<unsigned>(free - slots_.begin()) + 1;
        if (free == slots_.end()) slots_.push_back(true);
        else *free = true;
        ++taken_;
    }
    auto fresh = std::make_shared<place>(shared_from_this(), slot);
    runs(*fresh);
    co_return fresh;
}

task<> start_gate::crowded_out(place& job) {
    do co_await sleep_for(rules_.look_again);
    while (!is_youngest_of_several(job) || !is_crowded());
}

task<> start_gate::room_again(place& job) {
    rests(job);
    for (;;) {
        bool is_alone = false;
        {
            const std::scoped_lock held(lock_);
            is_alone = running_jobs_.empty();
        }
        if (is_alone || has_room()) break;
        co_await sleep_for(rules_.look_again);
    }
    runs(job);
}

void start_gate::leave(place& gone) noexcept {
    rests(gone);
    {
        const std::scoped_lock held(lock_);
        slots_[gone.slot_ - 1] = false;
        --taken_;
    }
    left_.set();
}

void start_gate::runs(place& job) {
    const std::scoped_lock held(lock_);
    job.started_as_ = ++last_started_;
    running_jobs_.insert(job.started_as_);
}

void start_gate::rests(place& job) noexcept {
    const std::scoped_lock held(lock_);
    running_jobs_.erase(std::exchange(job.started_as_, 0));
}

unsigned start_gate::places() {
    const std::scoped_lock held(asking_);
    return std::max(rules_.places(), 1U);
}

bool start_gate::has_room() {
    const std::scoped_lock held(asking_);
    return !rules_.has_room || rules_.has_room();
}

bool start_gate::is_crowded() {
    const std::scoped_lock held(asking_);
    return rules_.is_crowded();
}

std::size_t start_gate::taken() const {
    const std::scoped_lock held(lock_);
    return taken_;
}

bool start_gate::is_youngest_of_several(const place& job) const {
    const std::scoped_lock held(lock_);
    return running_jobs_.size() > 1 && *running_jobs_.rbegin() == job.started_as_;
}

namespace {

class gated_output final : public source_output {
public:
    gated_output(source_output& out, start_gate& gate) noexcept : out_(out), gate_(gate) {}
    task<> emit(payload value) override {
        value.as<each_item>().place = co_await gate_.enter();
        co_await out_.emit(std::move(value));
    }
    task<> emit(payload value, listener& told) override {
        value.as<each_item>().place = co_await gate_.enter();
        co_await out_.emit(std::move(value), told);
    }

private:
    source_output& out_;
    start_gate& gate_;
};

class gated_source final : public source {
public:
    gated_source(std::shared_ptr<source> from, std::shared_ptr<start_gate> gate) noexcept
        : from_(std::move(from)), gate_(std::move(gate)) {}
    task<> run(source_output& out) override {
        gated_output through(out, *gate_);
        co_await from_->run(through);
    }
    [[nodiscard]] std::optional<std::uint64_t> total() const noexcept override { return from_->total(); }

private:
    std::shared_ptr<source> from_;
    std::shared_ptr<start_gate> gate_;
};

}  // namespace

std::shared_ptr<source> gated(std::shared_ptr<source> from, std::shared_ptr<start_gate> gate) {
    return std::make_shared<gated_source>(std::move(from), std::move(gate));
}

}  // namespace leat::cli
