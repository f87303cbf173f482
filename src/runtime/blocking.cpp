#include <leat/runtime/blocking.hpp>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include <leat/runtime/inbox.hpp>

namespace leat {

namespace {
constexpr auto idle_time = std::chrono::seconds(5);
}

struct blocking_pool::state {
    executor* in_place = nullptr;  // runs the calls itself: there are no threads
    unsigned most = 0;

    struct member {
        explicit member(state& owner) noexcept : pool(owner) {}
        state& pool;
        env::thread thread;
        work_item* next = nullptr;            // what to run when it is woken; null: end
        env::atomic<std::uint32_t> woken{0};  // 0: sleeps, or runs; 1: was given `next`. Relaxed: the lock orders them
    };

    void work(member& self) noexcept;
    // What `self` is to run; null when it is to end. Sleeps.
    work_item* wait(member& self) noexcept;
    void wake(member& idler, work_item* item) noexcept {
        idler.next = item;
        idler.woken.store(1, env::relaxed);
        env::futex_wake(idler.woken, 1);
    }
    // False when there is no thread at all and none can be had.
    bool start_one(work_item& first) noexcept;

    env::mutex lock;  // guards all below
    inbox queue;      // only while all threads the limit allows are busy
    std::vector<member*> idle;
    std::vector<member*> ended;  // to be joined, and used again
    std::vector<std::unique_ptr<member>> members;
    bool ending = false;
};

blocking_pool::blocking_pool(executor& where, unsigned most_threads) : state_(std::make_unique<state>()) {
    if (where.blocks_in_place()) state_->in_place = &where;
    state_->most = most_threads;
    state_->members.reserve(most_threads);
    state_->idle.reserve(most_threads);
    state_->ended.reserve(most_threads);
}

blocking_pool::~blocking_pool() = default;

void blocking_pool::stop() noexcept {
    {
        env::lock_guard held(state_->lock);
        state_->ending = true;
        for (state::member* const each : std::exchange(state_->idle, {})) state_->wake(*each, nullptr);
    }
    for (auto& each : state_->members)
        if (each->thread.joinable()) each->thread.join();
}

void blocking_pool::post(work_item& item) noexcept {
    state& pool = *state_;
    if (pool.in_place != nullptr) return pool.in_place->post(item);
    {
        env::lock_guard held(pool.lock);
        if (!pool.idle.empty()) {
            state::member& idler = *pool.idle.back();
            pool.idle.pop_back();
            return pool.wake(idler, &item);
        }
        if (pool.members.size() - pool.ended.size() >= pool.most) return pool.queue.push(item);
        if (pool.start_one(item)) return;
    }
    item.run(item);  // the system has no thread for us: this one has to do
}

bool blocking_pool::state::start_one(work_item& first) noexcept {
    if (ended.empty()) {
        members.push_back(std::make_unique<member>(*this));
        ended.push_back(members.back().get());
    }
    member& fresh = *ended.back();
    if (fresh.thread.joinable()) fresh.thread.join();  // it has let go of the lock: this takes a moment at most
    fresh.next = &first;
    const auto body = [](void* raw) { static_cast<member*>(raw)->pool.work(*static_cast<member*>(raw)); };
    if (fresh.thread.start("leat-blocking", body, &fresh)) {
        ended.pop_back();
        return true;
    }
    if (members.size() == ended.size()) return false;
    queue.push(first);  // the threads there are will come to it
    return true;
}

void blocking_pool::state::work(member& self) noexcept {
    for (work_item* item = self.next; item != nullptr; item = wait(self)) item->run(*item);
}

work_item* blocking_pool::state::wait(member& self) noexcept {
    {
        env::lock_guard held(lock);
        if (work_item* const item = queue.pop()) return item;
        if (ending) return nullptr;
        self.woken.store(0, env::relaxed);
        idle.push_back(&self);
    }
    const time_point until = env::now() + idle_time;
    bool in_time = true;
    while (in_time && self.woken.load(env::relaxed) == 0) in_time = env::futex_wait_until(self.woken, 0, until);
    env::lock_guard held(lock);
    if (self.woken.load(env::relaxed) == 1 && (self.next != nullptr || ending)) return self.next;
    idle.erase(std::find(idle.begin(), idle.end(), &self));
    ended.push_back(&self);
    return nullptr;
}

}  // namespace leat
