// timer_queue: against a model, with random starts, cancels and times.
#include <leat/runtime/timer_queue.hpp>

#include <algorithm>
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

}  // namespace
