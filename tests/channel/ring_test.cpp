// ring: the buffer of channels.
#include <leat/channel/ring.hpp>

#include <core.hpp>
#include <deque>
#include <random>

namespace {

TEST(ring, behaves_as_a_queue_while_it_grows_and_wraps) {
    std::mt19937 random(1);
    leat::ring<leat_test::token> ring;
    std::deque<int> model;
    for (int i = 0; i < 20'000; ++i) {
        if (random() % 100 < (i % 2000 < 1000 ? 60U : 40U)) {
            ring.make_room();
            ring.push(leat_test::token(i));
            model.push_back(i);
        } else if (!model.empty()) {
            EXPECT_EQ(ring.pop().number(), model.front());
            model.pop_front();
        }
        ASSERT_EQ(ring.size(), model.size());
        ASSERT_EQ(ring.empty(), model.empty());
    }
}

TEST(ring, destroys_what_is_inside) {
    int alive = 0;
    {
        leat::ring<leat_test::counted> ring;
        for (int i = 0; i < 20; ++i) {
            ring.make_room();
            ring.push(leat_test::counted(alive));
        }
        for (int i = 0; i < 5; ++i) (void)ring.pop();
        EXPECT_EQ(alive, 15);
        leat::ring<leat_test::counted> other;
        other.swap(ring);
        EXPECT_TRUE(ring.empty());
    }
    EXPECT_EQ(alive, 0);
}

}  // namespace
