#include <leat/runtime/sim.hpp>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <utility>

#include <leat/base/bug.hpp>
#include <leat/base/exception_text.hpp>

namespace leat::sim {

namespace {

// Who spins until a timer fires must not spin for ever: from so many steps at one instant on, each takes some time.
constexpr std::uint64_t steps_without_time = 1000;
constexpr duration time_of_a_step = std::chrono::microseconds(1);
// What a run that failed may take to end, beside as many steps again as it took before.
constexpr std::uint64_t steps_to_end = 10'000;
// A timer set for later than this never fires: time_point::max() is how one waits for ever.
constexpr time_point last_time = time_point::max() - duration(1);

// splitmix64: Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014.
constexpr std::uint64_t golden_gamma = 0x9e3779b97f4a7c15;
constexpr std::uint64_t mixed(std::uint64_t value) noexcept {
    value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27U)) * 0x94d049bb133111eb;
    return value ^ (value >> 31U);
}

const char* text_of(ending how) noexcept {
    switch (how) {
        case ending::finished:
            return "finished";
        case ending::failed:
            return "failed";
        case ending::cancelled:
            return "ended cancelled, though nobody had asked it to stop";
        case ending::deadlock:
            return "deadlock: nothing is ready and no timer is set, but the program has not ended";
        case ending::too_many_steps:
            return "the program has not ended within max_steps";
        case ending::too_late:
            return "the program has not ended within max_time";
    }
    return "";
}

// Runs that did not end when they were stopped. Kept reachable: whatever still refers to them finds them silent.
void keep_for_ever(std::unique_ptr<simulation> abandoned) {
    static env::mutex lock;
    static auto& all = *new std::vector<std::unique_ptr<simulation>>;
    env::lock_guard held(lock);
    all.push_back(std::move(abandoned));
}

// Under which its simulation knows a timer that is set.
std::uint32_t number_of(const timer& which) noexcept {
    return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(which.home));
}

simulation* active() noexcept { return static_cast<simulation*>(env::this_thread(env::slot::simulation)); }

}  // namespace

std::string result::report() const {
    std::string text = fmt::format("seed {}: {}", seed, text_of(how));
    if (error) text += ": " + leat::text_of(error);
    text += fmt::format(" (steps: {}, virtual time: {:.12g} s; replay it with LEAT_SIM_SEED={})", steps,
                        std::chrono::duration<double>(time).count(), seed);
    return waiting.empty() ? text : text + '\n' + waiting;
}

bool chance(unsigned percent) noexcept { return active() != nullptr && active()->draw(100) < percent; }
std::uint32_t draw(std::uint32_t below) noexcept { return active() == nullptr ? 0 : active()->draw(below); }

simulation::simulation(options how)
    : options_(std::move(how)), generator_(options_.seed), home_(&env::this_thread(env::slot::worker)) {
    result_.seed = options_.seed;
    uses_priorities_ = options_.order == schedule::pct || (options_.order == schedule::drawn && draw(2) == 0);
    if (!uses_priorities_) return;
    // How long the run will be is not known, and must not be learnt from others: a seed is replayed alone.
    const std::uint32_t horizon = std::uint32_t{16} << draw(12);
    for (unsigned i = 0; i < options_.pct_changes; ++i) changes_.push_back(draw(horizon));
    std::sort(changes_.rbegin(), changes_.rend());
}

simulation::~simulation() { drop_attachments(); }

std::uint64_t simulation::random() noexcept { return mixed(generator_ += golden_gamma); }

std::uint32_t simulation::draw(std::uint32_t below) noexcept {
    return static_cast<std::uint32_t>(((random() >> 32U) * below) >> 32U);
}

void simulation::require_home() const noexcept {
    if (&env::this_thread(env::slot::worker) != home_)
        bug("a simulation was used by another thread than its own: no seed decides when that happens");
}

void simulation::use(poller&) noexcept {
    bug("a simulation has no I/O, since no seed decides what the world outside does: hand the code under test a "
        "channel or "
        "a function instead");
}

void simulation::post(work_item& item) noexcept {
    if (abandoned_) return;
    require_home();
    context* const line = context::of(item);
    // A line that posts itself, and neither yields nor comes from another executor, has only run out of stack, which depends
    // on the compiler: it goes on within this step.
    if (line != nullptr && line == context::current() && line->waits_for() == nullptr)
        return continued_.push_back(line);
    ready(item);
}

void simulation::post_last(work_item& item) noexcept {
    if (abandoned_) return;
    require_home();
    ready(item);
    // With the old one a line that spins would keep all below it from running.
    if (uses_priorities_) draw_priority(item);
}

void simulation::ready(work_item& item) {
    if (item.label == 0 || item.label > lines_) {  // or labelled by another simulation
        item.label = ++lines_;
        if (uses_priorities_) {
            priorities_.push_back(0);
            draw_priority(item);
        }
    }
    if (!running_) main_ = context::of(item);
    ready_.push_back(&item);
}

void simulation::draw_priority(const work_item& item) {
    priorities_[item.label - 1] = random() | (std::uint64_t{1} << 63U);  // above all that have fallen behind
}

void simulation::start(timer& timer) noexcept {
    require_home();
    // A number in the place of an address. NOLINTNEXTLINE(performance-no-int-to-ptr)
    timer.home = reinterpret_cast<void*>(std::uintptr_t{++timers_});
    timer.link = &timer.next;  // it is set; it is in no list
    if (timer.due <= now_) due_.push_back(&timer);
    else sleeping_.emplace(std::pair(timer.due, number_of(timer)), &timer);
}

void simulation::cancel(timer& timer) noexcept {
    require_home();
    if (timer.link == nullptr) return;
    if (sleeping_.erase(std::pair(timer.due, number_of(timer))) == 0)
        due_.erase(std::find(due_.begin(), due_.end(), &timer));
    timer.link = nullptr;
}

void simulation::collect_due() {
    while (!sleeping_.empty() && sleeping_.begin()->first.first <= now_) {
        due_.push_back(sleeping_.begin()->second);
        sleeping_.erase(sleeping_.begin());
    }
}

// To the next timer, and `at_most` beyond it. False when there is none.
bool simulation::pass_time(duration at_most) {
    if (sleeping_.empty() || sleeping_.begin()->first.first > latest_) return false;
    now_ = std::max(now_, sleeping_.begin()->first.first);
    if (at_most > duration::zero())
        now_ += duration(static_cast<duration::rep>(random() % (static_cast<std::uint64_t>(at_most.count()) + 1)));
    steps_at_instant_ = 0;
    collect_due();
    return true;
}

void simulation::note_step(const char* what, std::uint32_t line, std::uint32_t number) {
    ++steps_;
    trace_ = mixed(trace_ + golden_gamma + number);
    trace_ = mixed(trace_ + golden_gamma + static_cast<std::uint64_t>(now_.time_since_epoch().count()));
    if (options_.on_step) options_.on_step({steps_, now_.time_since_epoch(), what, line});
}

void simulation::fire(std::size_t place) {
    timer& which = *std::exchange(due_[place], due_.back());
    due_.pop_back();
    note_step("(timer)", 0, ~number_of(which));
    which.link = nullptr;
    which.fire(which);
}

void simulation::run_item(work_item& item) {
    const context* const line = context::of(item);
    note_step(line == nullptr ? "(call)" : line->name(), item.label, item.label);
    item.run(item);
    while (!continued_.empty()) {
        work_item* const next = continued_.front();
        continued_.erase(continued_.begin());
        next->run(*next);
    }
}

std::size_t simulation::highest() const noexcept {
    const auto priority = [this](const work_item* item) { return priorities_[item->label - 1]; };
    return static_cast<std::size_t>(
        std::max_element(ready_.begin(), ready_.end(),
                         [&](const work_item* a, const work_item* b) { return priority(a) < priority(b); }) -
        ready_.begin());
}

std::size_t simulation::pick() {
    if (!uses_priorities_) return draw(static_cast<std::uint32_t>(ready_.size()));
    // A line may spin until one that has fallen behind does something.
    if (steps_at_instant_ % steps_without_time == 0)
        for (const work_item* const each : ready_) draw_priority(*each);
    if (!changes_.empty() && steps_ >= changes_.back()) {
        changes_.pop_back();
        priorities_[ready_[highest()]->label - 1] = changes_.size();
    }
    return highest();
}

bool simulation::take_step() {
    const std::size_t count = due_.size() + ready_.size();
    if (count == 0) return false;
    if (options_.stall_percent != 0 && draw(100) < options_.stall_percent && pass_time(options_.lateness)) return true;
    if (++steps_at_instant_ > steps_without_time) {
        now_ += time_of_a_step;
        collect_due();
    }
    // A timer that is due fires sooner or later than what is ready runs, as on a machine.
    if (!due_.empty() && draw(static_cast<std::uint32_t>(count)) < due_.size()) {
        fire(draw(static_cast<std::uint32_t>(due_.size())));
        return true;
    }
    const std::size_t place = pick();
    work_item& item = *std::exchange(ready_[place], ready_.back());
    ready_.pop_back();
    run_item(item);
    return true;
}

bool simulation::run_to_end(done_flag& done) {
    void*& worker = env::this_thread(env::slot::worker);
    require_home();
    worker = &seat_;
    const leat::detail::frame_cache::here frames_here(frames_);
    void* const outer = std::exchange(env::this_thread(env::slot::simulation), this);
    running_ = true;
    std::uint64_t most_steps = steps_ + options_.max_steps;
    latest_ = now_ + std::min(options_.max_time, last_time - now_);
    result_ = result{};
    result_.seed = options_.seed;
    while (done.load(env::acquire) == 0) {
        if (steps_ < most_steps && (take_step() || pass_time(options_.lateness))) continue;
        if (!result_.ok()) {
            abandoned_ = true;
            break;
        }
        const bool timed = !sleeping_.empty() && sleeping_.begin()->first.first <= last_time;
        note_end(steps_ >= most_steps ? ending::too_many_steps : timed ? ending::too_late : ending::deadlock);
        most_steps = 2 * steps_ + steps_to_end;
        latest_ = last_time;
        main_->request_stop();
    }
    if (result_.ok()) note_end(ending::finished);
    running_ = false;
    env::this_thread(env::slot::simulation) = outer;
    worker = nullptr;
    return !abandoned_;
}

void simulation::fail(std::exception_ptr error) noexcept {
    result_.how = ending::failed;
    result_.error = std::move(error);
}

void simulation::note_end(ending how) {
    result_.how = how;
    result_.steps = steps_;
    result_.time = now_.time_since_epoch();
    result_.trace = trace_;
    if (how != ending::finished)
        result_.waiting = leat::detail::report_lines(*main_, leat::detail::holders::told, ready_);
}

void simulation::run_until(done_flag& done) {
    if (!run_to_end(done)) bug(result_.report());
    if (!result_.ok()) throw failure(std::move(result_));
}

void simulation::signal(done_flag& done) noexcept { done.store(1, env::release); }

namespace detail {

trial::trial(const options& how)
    : owned_(std::make_unique<simulation>(how)),
      where_(owned_.get()),
      outer_(std::exchange(env::this_thread(env::slot::simulation), where_)) {}

trial::~trial() { env::this_thread(env::slot::simulation) = outer_; }

void trial::abandon() noexcept { keep_for_ever(std::move(owned_)); }

explored search(const exploration& how, const std::function<result(const options&)>& one) {
    options each = how.run;
    std::uint64_t first = how.first;
    std::uint64_t seeds = how.seeds;
    if (const char* const text = std::getenv("LEAT_SIM_SEED")) {
        const char* const end = text + std::strlen(text);
        if (const auto [rest, error] = std::from_chars(text, end, first); error != std::errc() || rest != end)
            throw std::invalid_argument(fmt::format("LEAT_SIM_SEED is no seed: '{}'", text));
        seeds = 1;
    }
    explored all;
    std::vector<std::uint64_t> traces;
    for (; all.seeds < seeds; ++all.seeds) {
        each.seed = first + all.seeds;
        result ended = one(each);
        all.steps += ended.steps;
        traces.push_back(ended.trace);
        if (ended.ok()) continue;
        all.failed = std::move(ended);
        ++all.seeds;
        break;
    }
    std::sort(traces.begin(), traces.end());
    all.schedules = static_cast<std::uint64_t>(std::unique(traces.begin(), traces.end()) - traces.begin());
    return all;
}

}  // namespace detail
}  // namespace leat::sim
