// The engine's threads and the scheduler.
#include "engine.hpp"

#include <exception>
#include <fmt/format.h>

namespace leat::explore::detail {

namespace {

// When all that are left pause: how many rounds before the next timed wait expires.
constexpr unsigned rounds_before_timeout = 64;

// One fiber for each thread number. Never destroyed: they may be in the middle of a failed schedule.
std::array<fiber*, max_threads>& fibers() {
    static auto& all = *new std::array<fiber*, max_threads>{};
    return all;
}

// What failed schedules left behind, reachable so that no leak is reported.
struct left_behind {
    std::vector<fiber*> fibers;
    std::vector<std::unique_ptr<callable>> bodies;
};
left_behind& graveyard() {
    static auto& all = *new left_behind;
    return all;
}

}  // namespace

bool engine::execute(callable& scenario) {
    active_ = this;
    memory_.begin_schedule();
    scenario_ = &scenario;
    count_ = 0;
    preemptions_ = 0;
    timeouts_left_ = how_.timeouts;
    spurious_left_ = how_.spurious;
    stale_left_ = how_.stale;
    asleep_ = 0;
    redundant_ = false;
    steps_ = 0;
    changes_ = 1;
    idle_rounds_ = 0;
    now_ = time_point{} + std::chrono::hours(1);
    entropy_ = how_.seed;
    trace_.clear();
    texts_.clear();
    failure_.clear();

    thread_state outside;
    outside.on = &driver_;
    current_ = &outside;
    running = true;
    start("main", nullptr, nullptr, nullptr, place::current());
    running = false;
    if (!failure_.empty()) {
        abandon();
    } else {
        search_.end();
        if (search_.diverged())
            failure_ = "the scenario does not repeat itself: given the same choices, it came to fewer of them";
    }
    current_ = nullptr;
    return failure_.empty();
}

unsigned engine::start(const char* name, void (*function)(void*), void* argument, std::unique_ptr<callable> body,
                       const place& where) {
    if (count_ == max_threads) fail(fmt::format("more than {} threads", max_threads), where);
    const unsigned number = count_++;
    fiber*& on = fibers()[number];
    if (on == nullptr) on = new fiber(&run_thread, reinterpret_cast<void*>(static_cast<std::uintptr_t>(number)));

    thread_state& fresh = threads_[number];
    fresh.number = number;
    fresh.name = name != nullptr ? name : fmt::format("thread {}", number);
    fresh.status = thread_state::state::ready;
    fresh.on = on;
    fresh.starter = current_;
    fresh.joined_by_all = body != nullptr;
    fresh.body = std::move(body);
    fresh.function = function;
    fresh.argument = argument;
    fresh.slots = {};
    fresh.next = {};
    if (number == 0) {
        fresh.clock = {};
    } else {
        fresh.clock = current_->clock;
        current_->tick();
        record(operation::start, where).new_value = number;
    }
    fresh.clock.at[number] = 1;
    switch_to(fresh);
    return number;
}

void engine::run_thread(void* number) {
    engine& self = active();
    self.run_body(self.threads_[reinterpret_cast<std::uintptr_t>(number)]);
    self.finish();
}

void engine::run_body(thread_state& thread) {
    try {
        if (thread.number == 0) (*scenario_)();
        else if (thread.body) (*thread.body)();
        else thread.function(thread.argument);
        if (thread.number == 0) {
            join(-1, place::current());
            for (unsigned i = 1; i < count_; ++i)
                if (threads_[i].status != thread_state::state::finished) join(static_cast<int>(i), place::current());
            for (unsigned i = 1; i < count_; ++i) threads_[i].body.reset();
        }
    } catch (const std::exception& error) {
        fail(fmt::format("an exception left {}: {}", thread.name, error.what()), thread.next.where);
    } catch (...) {
        fail(fmt::format("an exception left {}", thread.name), thread.next.where);
    }
}

// Returns when the fiber is used for the next thread.
void engine::finish() {
    thread_state& ended = *current_;
    ended.status = thread_state::state::finished;
    changed();
    if (ended.number != 0) record(operation::finish, ended.next.where).plain = true;
    if (ended.starter != nullptr && ended.number != 0) switch_to(*std::exchange(ended.starter, nullptr));
    else reschedule();
}

void engine::switch_to(thread_state& next) noexcept {
    thread_state& from = *current_;
    current_ = &next;
    fiber::jump(*from.on, *next.on);
}

void engine::take_turn(const step& next) {
    thread_state& self = *current_;
    self.next = next;
    // The main thread's starter is the driver, which waits for the end.
    if (self.starter != nullptr && self.number != 0) switch_to(*std::exchange(self.starter, nullptr));
    else reschedule();
}

bool engine::can_go_on(const thread_state& thread) const noexcept {
    if (thread.status != thread_state::state::ready) return false;
    switch (thread.next.op) {
        case operation::lock:
            return thread.next.object->owner < 0 || !thread.next.object->alive;
        case operation::pass:
            return thread.next.object->count != 0 || !thread.next.object->alive;
        case operation::pause:
            return thread.paused_at_change != changes_;
        case operation::join:
            if (thread.next.target >= 0)
                return threads_[static_cast<unsigned>(thread.next.target)].status == thread_state::state::finished;
            for (unsigned i = 1; i < count_; ++i)
                if (threads_[i].joined_by_all && threads_[i].status != thread_state::state::finished) return false;
            return true;
        default:
            return true;
    }
}

void engine::list_alternatives() {
    alternatives_count_ = 0;
    const auto add = [this](thread_state& thread, way how) { alternatives_[alternatives_count_++] = {&thread, how}; };
    // The running thread comes first: the first alternative never costs a preemption that can be avoided.
    if (can_go_on(*current_)) add(*current_, way::go_on);
    for (unsigned i = 0; i < count_; ++i)
        if (&threads_[i] != current_ && can_go_on(threads_[i])) add(threads_[i], way::go_on);
    for (unsigned i = 0; i < count_; ++i) {
        thread_state& thread = threads_[i];
        if (thread.status != thread_state::state::sleeping) continue;
        if (thread.timed && (timeouts_left_ > 0 || thread.deadline <= now_)) add(thread, way::time_out);
        if (spurious_left_ > 0 && alternatives_count_ < max_alternatives) add(thread, way::wake_up);
    }
}

// Nobody can go on as things are. False when that will stay so.
bool engine::add_when_idle() {
    thread_state* pausing = nullptr;
    thread_state* timed = nullptr;
    for (unsigned i = 0; i < count_; ++i) {
        thread_state& each = threads_[i];
        if (each.status == thread_state::state::ready && each.next.op == operation::pause &&
            (pausing == nullptr || each.paused_at_step < pausing->paused_at_step))
            pausing = &each;
        if (each.status == thread_state::state::sleeping && each.timed &&
            (timed == nullptr || each.deadline < timed->deadline))
            timed = &each;
    }
    if (pausing != nullptr && (timed == nullptr || idle_rounds_ < rounds_before_timeout)) {
        ++idle_rounds_;
        now_ += std::chrono::microseconds(1);
        alternatives_[0] = {pausing, way::go_on};
    } else if (timed != nullptr) {
        alternatives_[0] = {timed, way::time_out};
    } else {
        return false;
    }
    alternatives_count_ = 1;
    return true;
}

// Lets the next thread go on; returns when it is again, or still, the turn of the one that called.
void engine::reschedule() {
    if (++steps_ > how_.max_steps)
        fail(fmt::format("no end after {} steps: a livelock, or a loop without env::pause", how_.max_steps),
             current_->next.where);
    list_alternatives();
    const bool self_first =
        alternatives_count_ != 0 && alternatives_[0].who == current_ && alternatives_[0].how == way::go_on;
    if (alternatives_count_ == 0 && !add_when_idle()) {
        for (unsigned i = 0; i < count_; ++i)
            if (threads_[i].status != thread_state::state::finished) fail_deadlock();
        switch_to(*std::exchange(threads_[0].starter, nullptr));  // the end
        return;
    }
    const unsigned chosen = decide(self_first);
    thread_state& next = *alternatives_[chosen].who;
    if (self_first && chosen != 0) ++preemptions_;
    if (alternatives_[chosen].how != way::go_on) {
        next.status = thread_state::state::ready;
        next.next.op = operation::futex_return;
        if (alternatives_[chosen].how == way::time_out) {
            next.woken_by = wake_reason::timed_out;
            if (next.deadline > now_ && alternatives_count_ > 1) --timeouts_left_;
            now_ = std::max(now_, next.deadline);
        } else {
            next.woken_by = wake_reason::spurious;
            --spurious_left_;
        }
    }
    if (&next != current_) switch_to(next);
}

unsigned engine::decide(bool self_first) {
    const unsigned count = alternatives_count_;
    if (redundant_) return count > 1 ? search_.follow() : 0;
    const bool spent = self_first && how_.preemption_bound >= 0 && preemptions_ >= how_.preemption_bound;
    std::uint32_t skip = 0;
    if (how_.reduce) {
        for (unsigned i = 0; i < count; ++i)
            if ((asleep_ & alternatives_[i].bit()) != 0) skip |= 1U << i;
        if (skip == (1U << count) - 1) {
            redundant_ = true;
            return count > 1 ? search_.follow() : 0;
        }
    }
    unsigned chosen = 0;
    if (search_.has_priorities()) {
        std::array<unsigned, max_alternatives> threads{};
        std::uint32_t seldom = 0;
        for (unsigned i = 0; i < count; ++i) {
            threads[i] = alternatives_[i].who->number;
            if (alternatives_[i].how != way::go_on) seldom |= 1U << i;
        }
        chosen = search_.prefer(current_->number, threads.data(), count, seldom);
    } else if (count > 1) {
        std::uint32_t signature = count;
        for (unsigned i = 0; i < count; ++i)
            signature = signature * 31 + alternatives_[i].bit() +
                        (static_cast<std::uint32_t>(alternatives_[i].who->next.op) << 24U);
        chosen = search_.choose(count, spent ? 1 : count, skip, signature);
        if (search_.diverged())
            fail("the scenario does not repeat itself: given the same choices, it came to other alternatives",
                 current_->next.where);
    }
    if (how_.reduce) sleep_set_after(chosen);
    return chosen;
}

// The alternatives before the chosen one have been explored from here: until something happens that they depend on, to
// take one of them leads to a schedule that was seen.
void engine::sleep_set_after(unsigned chosen) {
    for (unsigned i = 0; i < chosen; ++i) asleep_ |= alternatives_[i].bit();
    asleep_ &= ~alternatives_[chosen].bit();
    for (unsigned i = 0; i < count_; ++i)
        for (const way how : {way::go_on, way::time_out, way::wake_up}) {
            const alternative other{&threads_[i], how};
            if ((asleep_ & other.bit()) != 0 && dependent(other, alternatives_[chosen])) asleep_ &= ~other.bit();
        }
}

bool engine::dependent(const alternative& a, const alternative& b) const noexcept {
    if (a.how == way::time_out || b.how == way::time_out) return true;  // moves the clock
    const step& x = a.who->next;
    const step& y = b.who->next;
    if (x.op == operation::pause || y.op == operation::pause) return true;  // waits for anything to change
    if (x.object == nullptr || x.object != y.object) return false;
    // Where loads may be stale, what one has seen bounds what the other may see.
    return how_.stale != 0 || x.op != operation::load || y.op != operation::load;
}

void engine::fail(std::string what, const place& where) {
    failure_ = fmt::format("{} ({}:{})", what, where.file_name(), where.line());
    running = false;
    fiber::jump(*current_->on, driver_);
    std::terminate();  // nobody comes back
}

void engine::abandon() {
    for (unsigned i = 0; i < count_; ++i) {
        if (threads_[i].body) graveyard().bodies.push_back(std::move(threads_[i].body));
        // The one that failed may have been about to leave its fiber.
        if (threads_[i].status != thread_state::state::finished || &threads_[i] == current_)
            graveyard().fibers.push_back(std::exchange(fibers()[i], nullptr));
    }
}

}  // namespace leat::explore::detail
