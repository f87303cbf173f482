#include <leat/runtime/thread_pool.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <system_error>

#include <leat/base/bug.hpp>
#include <leat/base/machine.hpp>
#include <leat/runtime/local_queue.hpp>
#include <leat/runtime/parker.hpp>
#include <leat/task/fork_worker.hpp>

namespace leat {

namespace {

constexpr std::uint64_t one_asleep = 1, one_searching = std::uint64_t{1} << 32U;
constexpr std::uint64_t asleep(std::uint64_t idle) { return idle & 0xffffffffU; }
constexpr std::uint64_t searching(std::uint64_t idle) { return idle >> 32U; }

constexpr unsigned lifo_in_a_row = 16;  // then the queue has its turn, so that two tasks cannot starve the rest
constexpr unsigned looks_outside = 61;  // every so many items a worker looks at the inbox, timers and events
// So many items that are posted together go to the worker's own queue; more, which would not stay there, go past it.
constexpr std::uint32_t fit_the_queue = 64;
constexpr int search_rounds = 4;
// While others fork, who finds nothing looks again for about as long as it would take to wake it: some 50 microseconds.
// Seldom, since each look takes the cache line of a deque from its owner.
constexpr int fork_search_rounds = 40;
constexpr int pauses_between_looks = 32;
// Likewise of one whose last rest was shorter than that: it would have found what woke it. In the explorer's build there is no
// time to tell by.
#if defined(LEAT_EXPLORE)
constexpr duration short_rest{-1};
#else
constexpr duration short_rest = std::chrono::microseconds(50);
#endif

}  // namespace

struct thread_pool::worker : seat {
    explicit worker(thread_pool& owner) noexcept
        : seat(&owner),
          pool(owner),
          forks({&owner.idle_, [](void* self) noexcept { static_cast<thread_pool*>(self)->notify(); }, &owner}) {}
    thread_pool& pool;
    env::thread thread;
    local_queue queue;
    env::atomic<work_item*> lifo{nullptr};  // what was posted last by this worker; thieves may take it
    timer_queue timers;                     // set by this worker; fired by any, cancelled by any
    detail::frame_cache frames;
    detail::fork_worker forks;
    // What was stolen from another's forks, as an item to run.
    struct loot_item : work_item {
        explicit loot_item(worker& thief) noexcept
            : work_item([](work_item& item) noexcept {
                  auto& self = static_cast<loot_item&>(item);
                  self.owner.running.begins(detail::fork_worker::line_of(*self.frame));
                  self.owner.forks.run_stolen(*self.frame);
              }),
              owner(thief) {}
        worker& owner;
        detail::fork_frame* frame = nullptr;
    } loot{*this};
    parker sleep;
    unsigned turn = 0;
    unsigned lifo_run = 0;
    unsigned urgent_run = 0;
    bool is_searching = false;  // counted in idle_'s high half; written by a waker before it unparks
    bool rested_shortly = false;
    std::uint32_t random = 1;
};

thread_pool::thread_pool(unsigned threads, duration suspect_after, duration report_holds_after)
    : still_(suspect_after) {
    if (threads > max_threads)
        throw std::invalid_argument("a thread pool of " + std::to_string(threads) + " threads was asked for: at most " +
                                    std::to_string(max_threads));
    const unsigned count = threads != 0 ? threads : effective_machine().worker_count;
    workers_.reserve(count);
    sleepers_.reserve(count);
    for (unsigned i = 0; i < count; ++i) {
        workers_.push_back(std::make_unique<worker>(*this));
        workers_.back()->random = i * 2654435761U + 1;
    }
    if (report_holds_after != duration::zero()) {
        std::vector<now_running*> watched;
        watched.reserve(count);
        for (const auto& each : workers_) watched.push_back(&each->running);
        watch_ = std::make_unique<hold_watch>(watched, report_holds_after);
    }
    for (unsigned i = 0; i < count; ++i) {
        const std::string name = "leat-" + std::to_string(i);
        const auto body = [](void* self) { static_cast<worker*>(self)->pool.work(*static_cast<worker*>(self)); };
        if (workers_[i]->thread.start(name.c_str(), body, workers_[i].get())) continue;
        end_workers();
        throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again),
                                "starting worker thread " + std::to_string(i + 1) + " of " + std::to_string(count));
    }
}

thread_pool::~thread_pool() {
    if (in_forked_child()) {
        for (auto& each : workers_) each->thread.forget();
        if (watch_) watch_->forget();
        forget_attachments();
        return;
    }
    visitors_.wait();
    end_workers();
    drop_attachments();
}

void thread_pool::end_workers() noexcept {
    ending_.store(true, env::seq_cst);
    for (auto& each : workers_) each->sleep.unpark();
    for (auto& each : workers_)
        if (each->thread.joinable()) each->thread.join();
}

thread_pool::worker* thread_pool::here() const noexcept {
    auto* const mine = static_cast<seat*>(env::this_thread(env::slot::worker));
    return mine != nullptr && mine->of == this ? static_cast<worker*>(mine) : nullptr;
}

detail::fork_worker* thread_pool::fork_worker_here() noexcept {
    worker* const self = here();
    return self != nullptr ? &self->forks : nullptr;
}

void thread_pool::alert_fork_workers() noexcept {
    for (const auto& each : workers_) each->forks.alert();
}

void thread_pool::post(work_item& item) noexcept {
    worker* const self = here();
    if (self == nullptr) return post_from_outside(item, item.urgency);
    if (item.urgency == priority::high) {
        inbox_.push(item);
    } else if (work_item* const former = self->lifo.exchange(&item, env::seq_cst)) {
        self->queue.push(*former, inbox_);
    }
    notify();
}

void thread_pool::post_all(item_list& items, std::uint32_t count) noexcept {
    if (count <= fit_the_queue && here() != nullptr) return executor::post_all(items, count);
    const visitors::visit inside(visitors_);
    inbox_.push_all(items, count);
    notify();
}

void thread_pool::post_last(work_item& item) noexcept {
    worker* const self = here();
    if (self == nullptr) return post_from_outside(item, priority::normal);
    self->queue.push(item, inbox_);
    notify();
}

void thread_pool::post_from_outside(work_item& item, priority as) noexcept {
    const visitors::visit inside(visitors_);
    inbox_.push(item, as);
    notify();
}

void thread_pool::notify() noexcept {
    // Invariant 1: the push before this call was sequentially consistent.
    std::uint64_t idle = idle_.load(env::seq_cst);
    if (asleep(idle) == 0 || searching(idle) != 0) return;
    worker* woken = nullptr;
    {
        env::lock_guard held(sleepers_lock_);
        if (sleepers_.empty()) return;
        idle = idle_.load(env::seq_cst);
        if (searching(idle) != 0) return;
        woken = sleepers_.back();
        sleepers_.pop_back();
        woken->is_searching = true;
        idle_.fetch_add(one_searching - one_asleep, env::seq_cst);
    }
    woken->sleep.unpark();
}

void thread_pool::start(timer& timer) noexcept {
    if (worker* const self = here()) {
        if (self->timers.start(timer)) wake_driver();
        return;
    }
    const visitors::visit inside(visitors_);  // a timer that fires at once may end the runtime
    if (timers_.start(timer)) wake_driver();
}

void thread_pool::use(poller& events) noexcept {
    events_.store(&events, env::seq_cst);
    wake_driver();
}

// Whoever waits for events does so until a deadline, or without the poller, that is out of date: let it look again. When
// nobody waits there is nothing to do, since a worker looks at both before it sleeps.
void thread_pool::wake_driver() noexcept {
    if (worker* const driver = driver_.load(env::seq_cst)) driver->sleep.unpark();
}

bool thread_pool::anything_ready() const noexcept {
    if (!inbox_.empty()) return true;
    return std::any_of(workers_.begin(), workers_.end(), [](const auto& each) {
        return !each->queue.empty() || each->lifo.load(env::seq_cst) != nullptr || each->forks.has_work();
    });
}

// Of all workers, since one may be held by its task for long.
bool thread_pool::fire_timers() noexcept {
    const time_point now = env::now();
    bool any = timers_.fire(now);
    for (auto& each : workers_) any |= each->timers.fire(now);
    return any;
}

time_point thread_pool::next_timer() const noexcept {
    time_point earliest = timers_.not_before();
    for (auto& each : workers_) earliest = std::min(earliest, each->timers.not_before());
    return earliest;
}

bool thread_pool::forks_run(const worker& self) const noexcept {
    return std::any_of(workers_.begin(), workers_.end(),
                       [&](const auto& each) { return each.get() != &self && each->forks.busy(); });
}

bool thread_pool::poll_events() noexcept {
    bool any = fire_timers();
    poller* const events = events_.load(env::acquire);
    if (events == nullptr || !events_lock_.try_lock()) return any;
    any |= events->poll();
    events_lock_.unlock();
    return any;
}

work_item* thread_pool::next_item(worker& self) noexcept {
    if (++self.turn % looks_outside == 0) {
        poll_events();
        if (work_item* const item = inbox_.pop()) return item;
    }
    if (self.urgent_run < ready_queue::urgent_in_a_row) {
        if (work_item* const item = inbox_.pop_urgent()) {
            ++self.urgent_run;
            return item;
        }
    }
    self.urgent_run = 0;
    if (self.lifo_run < lifo_in_a_row) {
        // relaxed load: thieves only empty it, and the exchange decides.
        if (self.lifo.load(env::relaxed) != nullptr) {
            if (work_item* const item = self.lifo.exchange(nullptr, env::acq_rel)) {
                ++self.lifo_run;
                return item;
            }
        }
    }
    self.lifo_run = 0;
    if (work_item* const item = self.queue.pop()) return item;
    if (work_item* const item = self.lifo.exchange(nullptr, env::acq_rel)) return item;
    work_item* const item = self.queue.refill(inbox_, workers_.size());
    // Who was woken for these may have looked while they were in neither place.
    if (!self.queue.empty()) notify();
    return item;
}

work_item* thread_pool::steal(worker& self, bool also_lifo) noexcept {
    self.random = self.random * 1664525U + 1013904223U;
    const std::size_t count = workers_.size();
    const std::size_t first = self.random % count;
    for (std::size_t i = 0; i < count; ++i) {
        worker& victim = *workers_[(first + i) % count];
        if (&victim == &self) continue;
        if (work_item* const item = self.queue.steal_from(victim.queue)) return item;
        if (detail::fork_frame* const frame = victim.forks.steal()) {
            self.loot.frame = frame;
            return &self.loot;
        }
        // The slot last: its owner usually runs it in a moment, where it is still warm.
        if (also_lifo && victim.lifo.load(env::relaxed) != nullptr)
            if (work_item* const item = victim.lifo.exchange(nullptr, env::acq_rel)) return item;
    }
    return nullptr;
}

work_item* thread_pool::search(worker& self) noexcept {
    if (!self.is_searching) {
        // At most half of the workers search.
        if (2 * searching(idle_.load(env::relaxed)) >= workers_.size()) return nullptr;
        self.is_searching = true;
        idle_.fetch_add(one_searching, env::seq_cst);
    }
    work_item* found = nullptr;
    for (int round = 1; found == nullptr; ++round) {
        if (round > search_rounds) {
            if (round > fork_search_rounds || !(self.rested_shortly || forks_run(self))) break;
            for (int i = 0; i < pauses_between_looks; ++i) env::pause();
        }
        found = steal(self, round >= search_rounds);
        if (found == nullptr) found = self.queue.refill(inbox_, workers_.size());
        if (found == nullptr && round == 1 && poll_events()) found = next_item(self);
    }
    if (found != nullptr) {
        self.is_searching = false;
        // Invariant 2.
        if (searching(idle_.fetch_sub(one_searching, env::seq_cst)) == 1) notify();
    }
    return found;
}

void thread_pool::fall_asleep(worker& self) noexcept {
    self.running.rests();
    {
        env::lock_guard held(sleepers_lock_);
        sleepers_.push_back(&self);
        idle_.fetch_add(one_asleep - (self.is_searching ? one_searching : 0), env::seq_cst);
        self.is_searching = false;
    }
    for (const auto& each : workers_)
        if (!each->forks.alerted()) each->forks.alert();
    if (!anything_ready() && !ending_.load(env::seq_cst)) {
        const time_point since = env::now();
        worker* nobody = nullptr;
        if (driver_.compare_exchange_strong(nobody, &self, env::seq_cst, env::relaxed)) {
            // Read after driver_ is ours: who changes them later unparks us.
            poller* const events = events_.load(env::seq_cst);
            time_point deadline = next_timer();
            bool stays_awake = false;
            if (deadline == time_point::max()) {  // nothing comes by itself, but from outside
                stays_awake = look_for_what_hangs(events);
                deadline = still_.next_look(env::now());
            }
            if (stays_awake) {
                // What it has just posted itself nobody may have been woken for.
            } else if (events != nullptr) {
                env::lock_guard polling(events_lock_);
                self.sleep.park_in(*events, deadline);
            } else {
                self.sleep.park(deadline);
            }
            fire_timers();
            driver_.store(nullptr, env::seq_cst);
        } else {
            self.sleep.park();
        }
        self.rested_shortly = env::now() - since <= short_rest;
    }
    env::lock_guard held(sleepers_lock_);
    const auto place = std::find(sleepers_.begin(), sleepers_.end(), &self);
    if (place == sleepers_.end()) return;  // woken by notify(), which counted us as searching
    sleepers_.erase(place);
    self.is_searching = true;
    idle_.fetch_add(one_searching - one_asleep, env::seq_cst);
}

// By the driver, while it counts as asleep.
// True when there is something to run.
bool thread_pool::look_for_what_hangs(poller* events) noexcept {
    const time_point now = env::now();
    if (still_.is_due(now)) {
        // acquire, and first: what a thread has posted before it was counted is seen below.
        const unsigned own = size() + runs_.load(env::acquire);
        bool alone = true;
        if (events != nullptr) {
            env::lock_guard polling(events_lock_);
            alone = events->has_nothing_pending();
        }
        if (anything_ready()) return true;
        const bool all_asleep = idle_.load(env::seq_cst) == size() * one_asleep;
        if (alone && all_asleep && look_for_deadlock(own)) return true;
    }
    if (still_.tells_suspicion(now)) tell_suspicion(still_.age(now));
    return false;
}

void thread_pool::work(worker& self) noexcept {
    env::this_thread(env::slot::worker) = static_cast<seat*>(&self);
    const detail::frame_cache::here frames_here(self.frames);
    while (!ending_.load(env::acquire)) {
        work_item* item = next_item(self);
        if (item == nullptr) item = search(self);
        if (item == nullptr) {
            fall_asleep(self);
            continue;
        }
        if (self.is_searching) {
            self.is_searching = false;
            if (searching(idle_.fetch_sub(one_searching, env::seq_cst)) == 1) notify();
        }
        still_.moved();
        self.running.begins(*item);
        item->run(*item);
    }
    env::this_thread(env::slot::worker) = nullptr;
}

void thread_pool::run_until(done_flag& done) {
    runs_.fetch_add(1, env::release);  // after the post that began the run: see look_for_what_hangs()
    while (done.load(env::acquire) == 0) env::futex_wait(done, 0);  // pairs with signal()
    runs_.fetch_sub(1, env::relaxed);
}

void thread_pool::signal(done_flag& done) noexcept {
    done.store(1, env::release);
    env::futex_wake(done, 1);
}

}  // namespace leat
