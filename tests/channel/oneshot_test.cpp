// oneshot: one value, or the news that there will be none.
#include <leat/channel/oneshot.hpp>

#include <core.hpp>
#include <thread>

#include <leat/task/scope.hpp>

namespace {

using leat::recv_error;
using leat::task;
using leat_test::counted;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::token;

task<> receives(leat::oneshot_receiver<token> in, int* got) {
    const auto value = co_await in.recv();
    *got = value ? value->number() : -1;
}

TEST(oneshot, a_waiting_receiver_gets_the_value) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::oneshot<token>();
        leat::scope work;
        int got = 0;
        work.spawn(receives, std::move(in), &got);
        co_await giving(0, 2);
        EXPECT_TRUE(std::move(out).send(token(5)));
        co_await work.join();
        EXPECT_EQ(got, 5);
    });
}

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

TEST(oneshot, a_sender_that_goes_closes_it) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::oneshot<token>();
        leat::scope work;
        int got = 0;
        work.spawn(receives, std::move(in), &got);
        co_await giving(0, 2);
        out.reset();
        co_await work.join();
        EXPECT_EQ(got, -1);
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

TEST(oneshot, a_stopped_receiver_can_receive_later) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::oneshot<token>();
        leat::scope work;
        work.spawn(
            [](leat::oneshot_receiver<token>& mine) -> task<> {
                (void)co_await mine.recv();
                ADD_FAILURE() << "it was stopped";
            },
            std::ref(in));
        co_await giving(0, 2);
        work.stop();
        co_await work.join();
        EXPECT_TRUE(std::move(out).send(token(7)));
        const auto value = co_await in.recv();
        EXPECT_EQ(value->number(), 7);
    });
}

TEST(oneshot, a_plain_thread_waits_for_the_value) {
    auto [out, in] = leat::oneshot<token>();
    std::thread sender([mine = std::move(out)]() mutable { EXPECT_TRUE(std::move(mine).send(token(8))); });
    EXPECT_EQ(in.blocking_recv()->number(), 8);
    sender.join();
}

TEST(oneshot_death, sent_to_twice) {
    auto [out, in] = leat::oneshot<int>();
    EXPECT_TRUE(std::move(out).send(1));
    EXPECT_DEATH((void)std::move(out).send(2), "bug: a oneshot was sent to twice");  // NOLINT(bugprone-use-after-move)
}

}  // namespace
