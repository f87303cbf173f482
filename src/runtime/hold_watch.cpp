#include <leat/runtime/hold_watch.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <string_view>

#include <leat/base/log.hpp>
#include <leat/runtime/deadlock.hpp>

namespace leat {

namespace {
constexpr int looks_in_limit = 4;
}

void now_running::show(work_item& item) noexcept {
    const context* const line = context::of(item);
    name_.store(line != nullptr ? line->name() : nullptr, env::relaxed);
    spawned_at_.store(line != nullptr ? line->spawned_at() : std::source_location(), env::relaxed);
    const std::uint32_t step = step_.load(env::relaxed);
    if (step % 2 == 1) {
        step_.store(step + 2, env::release);  // pairs with look(): the name is this item's, or a later one's
        return;
    }
    step_.store(step + 1, env::seq_cst);  // invariant 2
    watch_->wake();
}

void now_running::show_rest() noexcept {
    const std::uint32_t step = step_.load(env::relaxed);
    if (step % 2 == 1) step_.store(step + 1, env::release);
}

hold_watch::hold_watch(const std::vector<now_running*>& workers, duration limit) : limit_(limit) {
    workers_.reserve(workers.size());
    for (now_running* const each : workers) workers_.push_back({.worker = each});
    if (!thread_.start("leat-watch", [](void* self) { static_cast<hold_watch*>(self)->work(); }, this)) {
        log(log_level::warning,
            "leat: the system refuses a thread to watch the workers: tasks that hold one are not reported");
        return;
    }
    for (now_running* const each : workers) each->watch_ = this;
}

hold_watch::~hold_watch() {
    if (!thread_.joinable()) return;
    state_.store(ends, env::release);
    env::futex_wake(state_, 1);
    thread_.join();
    for (const watched& each : workers_) each.worker->watch_ = nullptr;
}

void hold_watch::work() noexcept {
    const detail::bystander wakes_nobody;  // where all tasks wait it has nothing to report
    for (;;) {
        const time_point now = env::now();
        if (look(now)) sleep();
        else (void)env::futex_wait_until(state_, looks, now + limit_ / looks_in_limit);
        if (state_.load(env::acquire) == ends) return;
    }
}

// False when a worker runs something, or has since the last look.
bool hold_watch::look(time_point now) noexcept {
    bool all_rest = true;
    for (watched& each : workers_) {
        const std::uint32_t step = each.worker->step_.load(env::acquire);
        if (step != each.step) {
            // A name that belongs to a later step does no harm: that step is there by the next look.
            each = {.worker = each.worker,
                    .step = step,
                    .since = now,
                    .name = each.worker->name_.load(env::relaxed),
                    .spawned_at = each.worker->spawned_at_.load(env::relaxed)};
            all_rest = false;
        } else if (step % 2 == 1) {
            all_rest = false;
            if (each.reported || now - each.since < limit_) continue;
            each.reported = true;
            report(static_cast<std::size_t>(&each - workers_.data()), each, now - each.since);
        }
    }
    return all_rest;
}

bool hold_watch::all_rest_still() const noexcept {
    return std::all_of(workers_.begin(), workers_.end(),
                       [](const watched& each) { return each.worker->step_.load(env::seq_cst) == each.step; });
}

void hold_watch::sleep() noexcept {
    std::uint32_t expected = looks;
    if (!state_.compare_exchange_strong(expected, sleeps, env::seq_cst, env::relaxed)) return;  // ends
    expected = sleeps;
    if (!all_rest_still()) {
        state_.compare_exchange_strong(expected, looks, env::relaxed, env::relaxed);
        return;
    }
    while (state_.load(env::acquire) == sleeps) env::futex_wait(state_, sleeps);
}

void hold_watch::wake() noexcept {
    std::uint32_t expected = sleeps;
    if (state_.load(env::seq_cst) != sleeps) return;  // invariant 2
    if (state_.compare_exchange_strong(expected, looks, env::acq_rel, env::relaxed)) env::futex_wake(state_, 1);
}

void hold_watch::report(std::size_t number, const watched& held, duration already) const noexcept {
    const std::source_location& at = held.spawned_at;
    fmt::memory_buffer text;
    const auto out = std::back_inserter(text);
    fmt::format_to(out, "leat: worker {} of {} has been held for {:.3f} s by ", number, workers_.size(),
                   std::chrono::duration<double>(already).count());
    if (held.name == nullptr) fmt::format_to(out, "what is no task");
    else fmt::format_to(out, "the task \"{}\"", held.name);
    if (at.line() != 0) fmt::format_to(out, ", spawned at {}:{} in {}", at.file_name(), at.line(), at.function_name());
    log(log_level::warning, std::string_view(text.data(), text.size()));
}

}  // namespace leat
