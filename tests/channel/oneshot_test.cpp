// oneshot: what is its own; what it has in common with the other channels is in tests/conformance.
#include <leat/channel/oneshot.hpp>

#include <core.hpp>

namespace {

using leat::recv_error;
using leat::task;
using leat_test::counted;
using leat_test::on_one_thread;
using leat_test::token;

TEST(oneshot, a_value_that_is_there_is_received_once) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::oneshot<token>();
        EXPECT_EQ(in.try_recv().error(), recv_error::empty);
        EXPECT_FALSE(out.abandoned());
        EXPECT_TRUE(std::move(out).send(token(5)));
        const auto value = co_await in.recv();
        EXPECT_EQ(value->number(), 5);
        const auto again = co_await in.recv();
        EXPECT_EQ(again.error(), recv_error::closed);
        EXPECT_EQ(in.try_recv().error(), recv_error::closed);
    });
}

TEST(oneshot, a_receiver_that_has_gone_gives_the_value_back) {
    auto [out, in] = leat::oneshot<token>();
    in.reset();
    EXPECT_TRUE(out.abandoned());
    const auto sent = std::move(out).send(token(6));
    EXPECT_EQ(sent.error().why, leat::send_error<token>::reason::aborted);
    EXPECT_EQ(sent.error().value.number(), 6);
}

TEST(oneshot, a_value_that_nobody_took_is_destroyed_with_the_receiver) {
    int alive = 0;
    auto [out, in] = leat::oneshot<counted>();
    EXPECT_TRUE(std::move(out).send(counted(alive)));
    EXPECT_EQ(alive, 1);
    in.reset();
    EXPECT_EQ(alive, 0);
}

TEST(oneshot_death, sent_to_twice) {
    auto [out, in] = leat::oneshot<int>();
    EXPECT_TRUE(std::move(out).send(1));
    EXPECT_DEATH((void)std::move(out).send(2), "bug: a oneshot was sent to twice");  // NOLINT(bugprone-use-after-move)
}

}  // namespace
