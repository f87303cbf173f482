// local_queue: its owner and its thieves at work on real threads; the explorer has every schedule of a few steps.
#include <leat/runtime/local_queue.hpp>

#include <core.hpp>
#include <memory>
#include <thread>
#include <vector>

namespace {

struct counted_item : leat::work_item {
    counted_item() noexcept : work_item(nullptr) {}
    leat::env::atomic<int> taken{0};
};
void take(leat::work_item* item) { static_cast<counted_item*>(item)->taken.fetch_add(1); }

TEST(local_queue, is_first_in_first_out_and_bounded) {
    std::vector<counted_item> items(300);
    leat::local_queue queue;
    std::size_t pushed = 0;
    while (pushed < items.size() && queue.push(items[pushed])) ++pushed;
    EXPECT_EQ(pushed, 256U);
    for (std::size_t i = 0; i < pushed; ++i) EXPECT_EQ(queue.pop(), &items[i]);
    EXPECT_EQ(queue.pop(), nullptr);
    EXPECT_TRUE(queue.empty());
}

TEST(local_queue, a_thief_takes_the_older_half) {
    std::vector<counted_item> items(5);
    leat::local_queue victim;
    leat::local_queue thief;
    for (auto& each : items) ASSERT_TRUE(victim.push(each));
    EXPECT_EQ(thief.steal_from(victim), &items[2]);  // the last of the half is to be run at once
    EXPECT_EQ(thief.pop(), &items[0]);
    EXPECT_EQ(thief.pop(), &items[1]);
    EXPECT_EQ(thief.pop(), nullptr);
    EXPECT_EQ(victim.pop(), &items[3]);
    EXPECT_EQ(thief.steal_from(victim), &items[4]);
    EXPECT_EQ(thief.steal_from(victim), nullptr);
}

TEST(local_queue, every_item_is_taken_once_by_the_owner_or_one_of_three_thieves) {
    constexpr std::size_t count = 100'000;
    std::vector<counted_item> items(count);
    leat::local_queue queue;
    leat::env::atomic<bool> done{false};
    std::vector<std::thread> thieves;
    for (int i = 0; i < 3; ++i)
        thieves.emplace_back([&] {
            leat::local_queue mine;
            for (;;) {
                const bool last_look = done.load();
                leat::work_item* item = mine.steal_from(queue);
                if (item == nullptr && last_look) return;
                for (; item != nullptr; item = mine.pop()) take(item);
            }
        });
    for (std::size_t i = 0; i < count;) {
        if (queue.push(items[i])) ++i;
        else if (leat::work_item* const own = queue.pop()) take(own);
        if (i % 3 == 0)
            if (leat::work_item* const own = queue.pop()) take(own);
    }
    while (leat::work_item* const own = queue.pop()) take(own);
    done.store(true);
    for (auto& each : thieves) each.join();
    for (auto& each : items) EXPECT_EQ(each.taken.load(), 1);
}

}  // namespace
