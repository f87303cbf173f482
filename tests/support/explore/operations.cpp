// What the steps of a thread do: the engine's side of each operation, and the hooks of the stand-ins that lead there.
#include <algorithm>
#include <explore/hooks.hpp>
#include <fmt/format.h>
#include <iterator>
#include <utility>

#include "engine.hpp"

namespace leat::explore::detail {

namespace {

constexpr unsigned most_choices = 4;  // how far back a stale load looks

bool acquires(std::memory_order order) noexcept {
    return order == std::memory_order_acquire || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst || order == std::memory_order_consume;
}
bool releases(std::memory_order order) noexcept {
    return order == std::memory_order_release || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst;
}

}  // namespace

// --- Order ---

std::string engine::who(int thread) const {
    return thread < 0 ? "what ran before the scenario" : threads_[static_cast<unsigned>(thread)].name;
}

std::string engine::race(const cell& object, const char* doing, const place& where, int other,
                         const access& before) const {
    return fmt::format("data race on {}: {} {} at {}:{}, {} {} at {}:{}, and nothing orders the two", object.name(),
                       current_->name, doing, where.file_name(), where.line(), who(other),
                       before.wrote ? "wrote" : "used it", before.where.file_name(), before.where.line());
}

void engine::check_alive(const cell& object, const place& where) {
    if (object.alive) return;
    fail(fmt::format("{} uses {} after its end: {} destroyed it about {}:{}", current_->name, object.name(),
                     who(object.writer), object.written.where.file_name(), object.written.where.line()),
         where);
}

void engine::check_written(const cell& object, const char* doing, const place& where) {
    if (object.writer < 0 || object.written.epoch <= current_->clock.at[static_cast<unsigned>(object.writer)]) return;
    fail(race(object, doing, where, object.writer, object.written), where);
}

void engine::check_untouched(const cell& object, const char* doing, const place& where) {
    for (unsigned i = 0; i < count_; ++i)
        if (object.touched[i].epoch > current_->clock.at[i])
            fail(race(object, doing, where, static_cast<int>(i), object.touched[i]), where);
}

// --- Threads and time ---

void engine::join(int target, const place& where) {
    step next;
    next.op = operation::join;
    next.target = target;
    next.where = where;
    take_turn(next);
    for (unsigned i = 1; i < count_; ++i)
        if (target < 0 ? threads_[i].joined_by_all : static_cast<int>(i) == target)
            current_->clock.join(threads_[i].clock);
    record(operation::join, where).new_value = static_cast<std::uint64_t>(static_cast<std::int64_t>(target));
}

void engine::pause(const place& where) {
    current_->paused_at_change = changes_;
    current_->paused_at_step = steps_;
    step next;
    next.op = operation::pause;
    next.where = where;
    take_turn(next);
    record(operation::pause, where);
}

unsigned engine::choose(unsigned count, const place& where, bool seldom) {
    unsigned chosen = 0;
    if (count > 1)
        chosen = redundant_ ? search_.follow()
                 : seldom   ? search_.choose_seldom(count)
                            : search_.choose(count, count, 0, count);
    if (search_.diverged()) fail("the scenario does not repeat itself: another choose() than before", where);
    event& line = record(operation::choose, where);
    line.plain = true;
    line.old_value = count;
    line.new_value = chosen;
    return chosen;
}

bool engine::spend_spurious(const place& where) {
    if (spurious_left_ == 0 || choose(2, where) == 0) return false;
    --spurious_left_;
    return true;
}

std::uint64_t engine::entropy() noexcept {
    std::uint64_t z = entropy_ += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
}

void engine::log(std::string_view text) {
    event& line = record(operation::note, current_->next.where);
    line.plain = true;
    line.text = texts_.emplace_back(text).c_str();
}

// --- Values ---

namespace {

bool is_seq_cst(std::memory_order order) noexcept { return order == std::memory_order_seq_cst; }

void mark_seen(stored& value, const thread_state& by, std::memory_order order) noexcept {
    if (value.seen_at[by.number] == 0) value.seen_at[by.number] = by.now();
    value.seq_cst = value.seq_cst || is_seq_cst(order);
}

}  // namespace

void engine::remember_first(cell& atomic, std::uint64_t value) {
    if (how_.stale == 0 || !atomic.history.empty()) return;
    stored& first = atomic.history.emplace_back();
    first.value = value;
    first.writer = atomic.writer;
    first.written = atomic.written.epoch;
}

void engine::remember(cell& atomic, std::uint64_t value) {
    if (atomic.history.empty()) return;
    stored& next = atomic.history.emplace_back();
    next.value = value;
    next.published = atomic.published;
    next.writer = static_cast<int>(current_->number);
    // As for all accesses: the time before the release of this very store has moved it on.
    next.written = current_->now() - (releases(current_->next.order) ? 1 : 0);
    next.seq_cst = is_seq_cst(current_->next.order);
}

void engine::see_newest(cell& atomic, std::memory_order order) noexcept {
    if (!atomic.history.empty()) mark_seen(atomic.history.back(), *current_, order);
}

const stored* engine::see(cell& atomic, std::memory_order order, const place& where) {
    if (atomic.history.empty()) return nullptr;
    auto oldest = std::prev(atomic.history.end());  // that may be seen
    while (oldest != atomic.history.begin() && !oldest->known_at(current_->clock) &&
           !(is_seq_cst(order) && oldest->seq_cst))
        --oldest;
    const auto choices = static_cast<unsigned>(atomic.history.end() - oldest);
    const unsigned back = stale_left_ == 0 ? 0 : choose(std::min(choices, most_choices), where, true);
    stored& seen = *(atomic.history.rbegin() + back);
    mark_seen(seen, *current_, order);
    if (back == 0) return nullptr;
    --stale_left_;
    return &seen;
}

// --- Locks ---

void engine::lock(cell& mutex, const place& where) {
    take_turn({operation::lock, &mutex, std::memory_order_acquire, -1, where});
    check_alive(mutex, where);
    check_written(mutex, "locks it", where);
    mutex.owner = static_cast<int>(current_->number);
    acquire(mutex);
    touch(mutex, false, where);
    record(operation::lock, where).object = &mutex;
}

bool engine::try_lock(cell& mutex, const place& where) {
    saw_try_lock_ = true;
    take_turn({operation::try_lock, &mutex, std::memory_order_acquire, -1, where});
    check_alive(mutex, where);
    check_written(mutex, "tries to lock it", where);
    event& line = record(operation::try_lock, where);
    line.object = &mutex;
    line.failed = mutex.owner >= 0;
    touch(mutex, false, where);
    if (mutex.owner >= 0) return false;
    mutex.owner = static_cast<int>(current_->number);
    acquire(mutex);
    return true;
}

// A step only where a try_lock could see the difference: for all others it goes with the step before.
void engine::unlock(cell& mutex, const place& where) {
    if (search_.unlock_is_step()) take_turn({operation::unlock, &mutex, std::memory_order_release, -1, where});
    check_alive(mutex, where);
    if (mutex.owner != static_cast<int>(current_->number))
        fail(fmt::format("{} unlocks {}, which it does not hold", current_->name, mutex.name()), where);
    touch(mutex, false, where);
    release(mutex);
    mutex.owner = -1;
    changed();
    event& line = record(operation::unlock, where);
    line.plain = !search_.unlock_is_step();
    line.object = &mutex;
}

// --- Gates ---

void engine::open(cell& gate, const place& where) {
    take_turn({operation::open, &gate, std::memory_order_release, -1, where});
    check_alive(gate, where);
    check_written(gate, "opens it", where);
    touch(gate, false, where);
    const vector_clock earlier = gate.published;
    release(gate);
    gate.published.join(earlier);
    ++gate.count;
    changed();
    record(operation::open, where).object = &gate;
}

void engine::pass(cell& gate, const place& where) {
    take_turn({operation::pass, &gate, std::memory_order_acquire, -1, where});
    check_alive(gate, where);
    touch(gate, false, where);
    acquire(gate);
    --gate.count;
    record(operation::pass, where).object = &gate;
}

// --- Futex ---

bool engine::sleep(const env::atomic<std::uint32_t>& word, std::uint32_t expected, const time_point* deadline,
                   const place& where) {
    cell& object = memory_.find(&word, object_kind::atomic);
    take_turn({operation::futex_wait, &object, std::memory_order_relaxed, -1, where});
    check_alive(object, where);
    touch(object, false, where);
    const bool sleeps = word.peek() == expected;
    event& line = record(operation::futex_wait, where);
    line.object = &object;
    line.old_value = word.peek();
    line.new_value = expected;
    line.failed = !sleeps;
    if (!sleeps) return true;
    if (deadline != nullptr && *deadline <= now_) return false;

    thread_state& self = *current_;
    self.status = thread_state::state::sleeping;
    self.asleep_since = steps_;
    self.timed = deadline != nullptr && *deadline != time_point::max();  // max: never
    if (self.timed) self.deadline = *deadline;
    self.woken_by = wake_reason::woken;
    reschedule();
    event& returned = record(operation::futex_return, where);
    returned.object = &object;
    returned.new_value = static_cast<std::uint64_t>(self.woken_by);
    return self.woken_by != wake_reason::timed_out;
}

// The word may be gone: only its address counts. Sleepers are woken first come, first served.
void engine::wake(const void* word, int count, const place& where) {
    cell& object = memory_.find(word, object_kind::atomic);
    take_turn({operation::futex_wake, &object, std::memory_order_relaxed, -1, where});
    std::uint64_t woken = 0;
    for (; count > 0; --count) {
        thread_state* first = nullptr;
        for (unsigned i = 0; i < count_; ++i) {
            thread_state& each = threads_[i];
            if (each.status == thread_state::state::sleeping && each.next.object->address == word &&
                (first == nullptr || each.asleep_since < first->asleep_since))
                first = &each;
        }
        if (first == nullptr) break;
        first->status = thread_state::state::ready;
        first->next.op = operation::futex_return;
        first->next.object = nullptr;
        ++woken;
    }
    event& line = record(operation::futex_wake, where);
    line.object = &object;
    line.new_value = woken;
}

// --- Hooks ---

void object_born(const void* object, object_kind kind, const place& where) noexcept {
    engine& engine = engine::active();
    cell& made = engine.objects().make(object, kind);
    made.writer = static_cast<int>(engine.self().number);
    made.written = {engine.self().now(), true, where};
    engine.touch(made, true, where);
}

void object_died(const void* object, object_kind kind) noexcept {
    engine& engine = engine::active();
    cell& ended = engine.objects().find(object, kind);
    const place where = engine.self().next.where;  // the destructor does not tell its place; this is the last step's
    engine.check_alive(ended, where);
    if (ended.owner >= 0) engine.fail(ended.name() + " is destroyed while a thread holds it", where);
    engine.check_untouched(ended, "destroys it about", where);
    ended.alive = false;
    ended.writer = static_cast<int>(engine.self().number);
    ended.written = {engine.self().now(), true, where};
}

void before(operation op, const void* object, const std::uint64_t* value, std::memory_order order,
            const place& where) noexcept {
    engine& engine = engine::active();
    cell& target = engine.objects().find(object, object_kind::atomic);
    engine.take_turn({op, &target, order, -1, where});
    engine.check_alive(target, where);
    engine.check_written(target, "uses it", where);
    engine.touch(target, false, where);
    // Nothing was stored since the schedule began, or there is a history: `value` is still what it was at the call.
    if (value != nullptr) engine.remember_first(target, *value);
}

namespace {

event& record_atomic(engine& engine, std::uint64_t old_value, std::uint64_t new_value) {
    const step& now = engine.self().next;
    event& line = engine.record(now.op, now.where);
    line.object = now.object;
    line.order = now.order;
    line.old_value = old_value;
    line.new_value = new_value;
    return line;
}

}  // namespace

std::uint64_t load_value(std::uint64_t newest) noexcept {
    engine& engine = engine::active();
    const step& now = engine.self().next;
    const stored* const older = engine.see(*now.object, now.order, now.where);
    if (acquires(now.order)) {
        if (older != nullptr) engine.self().clock.join(older->published);
        else engine.acquire(*now.object);
    }
    const std::uint64_t seen = older != nullptr ? older->value : newest;
    record_atomic(engine, seen, newest).failed = older != nullptr;
    return seen;
}

void after_store(std::uint64_t value, bool changed) noexcept {
    engine& engine = engine::active();
    const step& now = engine.self().next;
    if (releases(now.order)) engine.release(*now.object);
    else now.object->published = {};
    engine.remember(*now.object, value);
    if (changed) engine.changed();
    record_atomic(engine, value, value);
}

void after_update(std::uint64_t old_value, std::uint64_t new_value, bool changed) noexcept {
    engine& engine = engine::active();
    const step& now = engine.self().next;
    const vector_clock sequence = now.object->published;
    if (acquires(now.order)) engine.acquire(*now.object);
    if (releases(now.order)) {
        engine.release(*now.object);
        now.object->published.join(sequence);
    }
    engine.remember(*now.object, new_value);
    if (changed) engine.changed();
    record_atomic(engine, old_value, new_value);
}

void after_failed_exchange(std::uint64_t value, std::memory_order order) noexcept {
    engine& engine = engine::active();
    engine.see_newest(*engine.self().next.object, order);
    if (acquires(order)) engine.acquire(*engine.self().next.object);
    event& line = record_atomic(engine, value, value);
    line.order = order;
    line.failed = true;
}

bool fails_spuriously() noexcept {
    engine& engine = engine::active();
    return engine.spend_spurious(engine.self().next.where);
}

void plain_access(operation read_or_write, const void* object, const place& where) noexcept {
    engine& engine = engine::active();
    cell& target = engine.objects().find(object, object_kind::shared);
    const bool writes = read_or_write == operation::write;
    engine.check_alive(target, where);
    if (writes) engine.check_untouched(target, "writes it", where);
    else engine.check_written(target, "reads it", where);
    if (writes) {
        target.writer = static_cast<int>(engine.self().number);
        target.written = {engine.self().now(), true, where};
    }
    engine.touch(target, writes, where);
    event& line = engine.record(read_or_write, where);
    line.plain = true;
    line.object = &target;
}

}  // namespace leat::explore::detail
