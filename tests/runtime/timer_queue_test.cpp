// timer_queue: against a model, with random starts, cancels and times, near and as far as the clock reaches.
#include <leat/runtime/timer_queue.hpp>

#include <algorithm>
#include <bit>
#include <core.hpp>
#include <memory>
#include <random>
#include <vector>

namespace {

using leat::time_point;
using namespace std::chrono_literals;

struct recorded : leat::timer {
    explicit recorded(std::vector<recorded*>& list) noexcept
        : timer([](timer& self) noexcept {
              auto& mine = static_cast<recorded&>(self);
              mine.fired->push_back(&mine);
          }),
          fired(&list) {}
    std::vector<recorded*>* fired;
};

TEST(timer_queue, fires_what_is_due_in_order_and_never_what_was_cancelled) {
    std::mt19937 random(7);
    std::vector<recorded*> fired;
    std::vector<std::unique_ptr<recorded>> timers;
    std::vector<recorded*> waiting;
    leat::timer_queue queue;
    time_point now{};
    for (int step = 0; step < 20'000; ++step) {
        const auto choice = random() % 10;
        if (choice < 5) {
            timers.push_back(std::make_unique<recorded>(fired));
            recorded& fresh = *timers.back();
            fresh.due = now + (random() % 1000) * 1us;
            const auto before = queue.next();
            const bool earliest = queue.start(fresh);
            EXPECT_EQ(earliest, fresh.due < before);
            waiting.push_back(&fresh);
        } else if (choice < 8 && !waiting.empty()) {
            const std::size_t which = random() % waiting.size();
            queue.cancel(*waiting[which]);
            waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(which));
        } else {
            now += (random() % 200) * 1us;
            fired.clear();
            const bool any = queue.fire(now);
            EXPECT_EQ(any, !fired.empty());
            EXPECT_TRUE(std::is_sorted(fired.begin(), fired.end(),
                                       [](const recorded* a, const recorded* b) { return a->due < b->due; }));
            std::vector<recorded*> expected;
            std::copy_if(waiting.begin(), waiting.end(), std::back_inserter(expected),
                         [now](const recorded* each) { return each->due <= now; });
            std::erase_if(waiting, [now](const recorded* each) { return each->due <= now; });
            std::sort(expected.begin(), expected.end());
            std::sort(fired.begin(), fired.end());
            EXPECT_EQ(fired, expected);
        }
        const auto first = std::min_element(waiting.begin(), waiting.end(),
                                            [](const recorded* a, const recorded* b) { return a->due < b->due; });
        EXPECT_EQ(queue.next(), first == waiting.end() ? time_point::max() : (*first)->due);
        EXPECT_EQ(queue.empty(), waiting.empty());
    }
}

TEST(timer_queue, cancelling_what_was_never_set_or_has_fired_is_harmless) {
    std::vector<recorded*> fired;
    recorded one(fired);
    leat::timer_queue queue;
    queue.cancel(one);
    one.due = time_point{} + 1us;
    EXPECT_TRUE(queue.start(one));
    EXPECT_TRUE(queue.fire(one.due));
    queue.cancel(one);
    EXPECT_EQ(fired.size(), 1U);
    EXPECT_TRUE(queue.empty());
}

// A queue beside a list that is searched from end to end.
class modelled {
public:
    explicit modelled(time_point start) : now_(start) {}

    // Returns the timer's number.
    std::size_t start(leat::duration after) {
        timers_.push_back(std::make_unique<recorded>(fired_));
        recorded& fresh = *timers_.back();
        fresh.due = after > time_point::max() - now_ ? time_point::max() : now_ + after;
        const time_point before = earliest();
        const time_point known = queue_.next();
        EXPECT_LE(known, before);
        // Who sleeps until `known` is woken if, and only if, that is too late now.
        EXPECT_EQ(queue_.start(fresh), fresh.due < known);
        waiting_.push_back(&fresh);
        return timers_.size() - 1;
    }
    void cancel_one_of_those_that_wait(std::size_t random) {
        if (waiting_.empty()) return;
        const auto which = waiting_.begin() + static_cast<std::ptrdiff_t>(random % waiting_.size());
        queue_.cancel(**which);
        waiting_.erase(which);
    }
    void cancel_all() {
        for (recorded* const each : waiting_) queue_.cancel(*each);
        waiting_.clear();
        EXPECT_TRUE(queue_.empty());
    }
    void advance_to(time_point later) {
        now_ = later;
        fired_.clear();
        const bool any = queue_.fire(now_);
        EXPECT_EQ(any, !fired_.empty());
        const auto by_due = [](const recorded* a, const recorded* b) { return a->due < b->due; };
        EXPECT_TRUE(std::is_sorted(fired_.begin(), fired_.end(), by_due));
        std::vector<recorded*> expected;
        std::erase_if(waiting_, [&](recorded* each) {
            if (each->due > now_ || each->due == time_point::max()) return false;
            expected.push_back(each);
            return true;
        });
        std::sort(expected.begin(), expected.end());
        std::sort(fired_.begin(), fired_.end());
        ASSERT_EQ(fired_, expected);
        EXPECT_LE(queue_.next(), earliest());
        EXPECT_EQ(queue_.empty(), earliest() == time_point::max());
    }
    void advance(leat::duration time) { advance_to(time > time_point::max() - now_ ? time_point::max() : now_ + time); }
    // As an idle runtime does. Returns how often it woke.
    int sleep_until_all_have_fired() {
        int woken = 0;
        for (; !queue_.empty(); ++woken) {
            const time_point until = queue_.next();
            EXPECT_GE(until, now_) << "this would be a busy loop";
            advance_to(std::max(until, now_));
        }
        EXPECT_EQ(earliest(), time_point::max());
        return woken;
    }
    [[nodiscard]] time_point next() { return queue_.next(); }
    [[nodiscard]] time_point now() const { return now_; }
    [[nodiscard]] time_point earliest() const {
        time_point first = time_point::max();
        for (const recorded* each : waiting_) first = std::min(first, each->due);
        return first;
    }

private:
    time_point now_;
    leat::timer_queue queue_;
    std::vector<recorded*> fired_;
    std::vector<std::unique_ptr<recorded>> timers_;
    std::vector<recorded*> waiting_;
};

// A time of any size, from a tick to more than the clock has left.
leat::duration any_size(std::mt19937_64& random) {
    const auto bits = random() % 63;
    return leat::duration(static_cast<leat::duration::rep>(random() & ((std::uint64_t{2} << bits) - 1)) &
                          leat::duration::max().count());
}

TEST(timer_queue, agrees_with_a_list_for_times_of_every_size) {
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        std::mt19937_64 random(seed);
        modelled timers(time_point(any_size(random) / 2));
        for (int step = 0; step < 300 && !HasFailure(); ++step) {
            const auto choice = random() % 16;
            if (choice < 8) timers.start(any_size(random));
            else if (choice < 12) timers.cancel_one_of_those_that_wait(random());
            else if (choice < 14) timers.advance(leat::duration(random() % 100'000'000));
            else if (choice < 15)
                timers.advance_to(std::max(timers.now(), timers.next() - leat::duration(random() % 3)));
            else timers.advance(any_size(random) / 64);
        }
        ASSERT_FALSE(HasFailure()) << "seed " << seed;
        timers.cancel_all();
    }
}

TEST(timer_queue, fires_at_the_tick_at_every_border_between_two_wheels) {
    for (int bit = 0; bit < 62; ++bit) {
        for (const int off : {-1, 0, 1}) {
            const leat::duration until((leat::duration::rep{1} << bit) + off);
            for (const auto start : {0LL, 1LL, 63LL, 64LL, (1LL << 30) - 1, (1LL << 30)}) {
                modelled timers{time_point(leat::duration(start))};
                timers.advance(0ns);
                timers.start(until);
                timers.start(until + 1ns);
                const time_point due = timers.now() + until;
                EXPECT_EQ(timers.next(), due);
                timers.advance_to(std::max(timers.now(), due - 1ns));
                timers.advance_to(due);
                timers.advance_to(due + 1ns);
                EXPECT_EQ(timers.next(), time_point::max());
            }
        }
    }
}

TEST(timer_queue, an_idle_sleeper_wakes_once_a_timer_and_not_in_between) {
    modelled timers{time_point(1h)};
    for (int i = 1; i <= 20; ++i) timers.start(i * i * 1h);
    EXPECT_EQ(timers.sleep_until_all_have_fired(), 20);
}

TEST(timer_queue, wakes_in_vain_a_few_times_at_most_where_thousands_are_close_together) {
    modelled timers{time_point(1h)};
    for (int i = 0; i < 5'000; ++i) timers.start(10h + i * 1ns);
    const time_point first = timers.earliest();
    int in_vain = 0;
    for (; timers.next() < first; ++in_vain) timers.advance_to(timers.next());
    EXPECT_LE(in_vain, 10);  // once a wheel
    timers.advance(20h);
}

TEST(timer_queue, many_at_one_time_fire_together) {
    modelled timers{time_point(1h)};
    for (int i = 0; i < 1'000; ++i) timers.start(5s);
    EXPECT_EQ(timers.next(), timers.earliest());
    timers.advance(5s);
    EXPECT_EQ(timers.next(), time_point::max());
}

TEST(timer_queue, what_is_due_at_the_end_of_the_clock_never_fires) {
    std::vector<recorded*> fired;
    recorded never(fired);
    recorded nearly(fired);
    leat::timer_queue queue;
    never.due = time_point::max();
    nearly.due = time_point::max() - 1ns;
    EXPECT_FALSE(queue.start(never));
    EXPECT_TRUE(queue.empty());
    EXPECT_TRUE(queue.start(nearly));
    EXPECT_EQ(queue.next(), nearly.due);
    EXPECT_TRUE(queue.fire(time_point::max()));
    EXPECT_EQ(fired, std::vector<recorded*>{&nearly});
    queue.cancel(never);
}

TEST(timer_queue, what_is_overdue_or_before_the_clock_fires_at_once) {
    std::vector<recorded*> fired;
    recorded before(fired);
    recorded overdue(fired);
    leat::timer_queue queue;
    EXPECT_FALSE(queue.fire(time_point(1h)));
    before.due = time_point::min();
    overdue.due = time_point(1s);
    EXPECT_TRUE(queue.start(overdue));
    EXPECT_TRUE(queue.start(before));
    EXPECT_EQ(queue.next(), before.due);
    EXPECT_TRUE(queue.fire(time_point(1h)));
    EXPECT_EQ(fired.size(), 2U);
    EXPECT_TRUE(queue.empty());
}

TEST(timer_queue, is_cancelled_where_it_was_set) {
    std::vector<recorded*> fired;
    recorded one(fired);
    leat::timer_queue first;
    leat::timer_queue second;
    leat::timer_queue::cancel_at_home(one);
    one.due = time_point(1h);
    EXPECT_TRUE(first.start(one));
    leat::timer_queue::cancel_at_home(one);
    EXPECT_TRUE(first.empty());
    EXPECT_TRUE(second.start(one));
    leat::timer_queue::cancel_at_home(one);
    EXPECT_TRUE(second.empty());
}

}  // namespace
