#include <leat/runtime/event_loop.hpp>

#include <utility>

#include <leat/base/bug.hpp>

namespace leat {

namespace {
constexpr int steps_between_polls = 64;  // a busy loop looks at events and timers this often
}

event_loop::event_loop(duration suspect_after, duration report_holds_after) : still_(suspect_after) {
    if (report_holds_after == duration::zero()) return;
    watch_ = std::make_unique<hold_watch>(std::vector{&seat_.running}, report_holds_after);
}

event_loop::~event_loop() {
    if (in_forked_child()) {
        if (watch_) watch_->forget();
        forget_attachments();
        return;
    }
    visitors_.wait();
    drop_attachments();
}

void event_loop::put(work_item& item, priority as) noexcept {
    if (env::this_thread(env::slot::worker) == &seat_) return ready_.push(item, as);
    const visitors::visit inside(visitors_);
    inbox_.push(item, as);
    sleep_.unpark();
}

void event_loop::post_all(item_list& items, std::uint32_t count) noexcept {
    if (env::this_thread(env::slot::worker) == &seat_) return ready_.append(items);
    const visitors::visit inside(visitors_);
    inbox_.push_all(items, count);
    sleep_.unpark();
}

void event_loop::start(timer& timer) noexcept {
    if (env::this_thread(env::slot::worker) == &seat_) return void(timers_.start(timer));
    const visitors::visit inside(visitors_);
    if (timers_.start(timer)) sleep_.unpark();
}

bool event_loop::step() noexcept {
    inbox_.move_to(ready_);
    work_item* const item = ready_.pop();
    if (item == nullptr) return false;
    seat_.running.begins(*item);
    item->run(*item);
    return true;
}

bool event_loop::poll() noexcept {
    void*& worker = env::this_thread(env::slot::worker);
    void* const before = std::exchange(worker, &seat_);
    const detail::frame_cache::here frames_here(frames_);
    void* const line = env::this_thread(env::slot::context);  // of another runtime's task, which may drive this loop
    bool any = timers_.fire(env::now());
    if (poller* const events = events_.load(env::acquire)) any |= events->poll();
    for (int i = 0; i < steps_between_polls && step(); ++i) any = true;
    seat_.running.rests();
    env::this_thread(env::slot::context) = line;
    worker = before;
    return any;
}

void event_loop::run_until(done_flag& done) {
    void*& worker = env::this_thread(env::slot::worker);
    worker = &seat_;
    const detail::frame_cache::here frames_here(frames_);
    while (done.load(env::acquire) == 0) {  // pairs with signal()
        timers_.fire(env::now());
        poller* const events = events_.load(env::acquire);  // pairs with use()
        if (events != nullptr) events->poll();
        int steps = 0;
        while (steps < steps_between_polls && done.load(env::acquire) == 0 && step()) ++steps;
        if (steps != 0) still_.moved();
        if (steps == steps_between_polls || done.load(env::acquire) != 0 || !inbox_.empty()) continue;
        seat_.running.rests();
        sleep(events);
    }
    seat_.running.rests();
    worker = nullptr;
}

void event_loop::sleep(poller* events) noexcept {
    if (sleep_.hears_soon()) return;
    time_point until = timers_.next();
    if (until == time_point::max()) {  // nothing comes by itself, but from outside
        const time_point now = env::now();
        if (still_.is_due(now)) {
            const bool alone = events == nullptr || events->has_nothing_pending();
            if (!ready_.empty() || !inbox_.empty() || (alone && look_for_deadlock(1))) return;
        }
        if (still_.tells_suspicion(now)) tell_suspicion(still_.age(now));
        until = still_.next_look(now);
    }
    if (events != nullptr) sleep_.park_in(*events, until);
    else sleep_.park(until);
}

void event_loop::signal(done_flag& done) noexcept {
    if (env::this_thread(env::slot::worker) == &seat_) return done.store(1, env::release);  // pairs with run_until()
    const visitors::visit inside(
        visitors_);  // a root that ended on another executor: the loop may end as soon as it knows
    done.store(1, env::release);
    sleep_.unpark();
}

}  // namespace leat
