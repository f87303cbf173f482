// process_pipe between tasks, threads and processes that live, close, and are killed.
#include <leat/process/process_pipe.hpp>

#include <core.hpp>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>
#include <map>
#include <soak.hpp>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <vector>

#include "forked_child.hpp"
#include "passing.hpp"

namespace {

using namespace std::chrono_literals;
using kind = leat::shared_error::kind;
using leat::pipe_error;
using leat::process_pipe;
using leat_test::forked_child;
using leat_test::give;
using leat_test::made;
using leat_test::on_one_thread;
using leat_test::on_threads;

struct question {
    int number;
    std::string text;
};
using answers = std::map<std::string, int>;
using near_end = process_pipe<question, answers>;
using far_end = process_pipe<answers, question>;

// A child at the other end; this process has the near one.
struct asked {
    template <class Body>
    explicit asked(Body body)
        : ends(made(near_end::create())), child([&] {
              ends.here.reset();
              return body(ends.there);
          }) {
        ends.there.reset();
    }
    leat::process_pipe_ends<question, answers> ends;
    forked_child child;
};

TEST(process_pipe, a_process_of_threads_and_one_of_tasks_ask_and_answer) {
    asked both([](far_end& pipe) {
        while (const auto got = pipe.blocking_recv()) {
            answers said;
            said[got->text] = got->number + 1;
            if (!pipe.blocking_send(said)) return 1;
        }
        return pipe.blocking_recv().error() == pipe_error::closed ? 0 : 2;
    });
    auto& pipe = both.ends.here;
    on_one_thread([&]() -> leat::task<> {
        for (int i = 0; i < 1000; ++i) {
            question ask{i, std::to_string(i)};
            EXPECT_TRUE(co_await pipe.send(std::move(ask)));
            const auto got = co_await pipe.recv();
            EXPECT_TRUE(got && got->at(std::to_string(i)) == i + 1);
        }
        pipe.close();
        EXPECT_EQ((co_await pipe.recv()).error(), pipe_error::closed) << "the child has ended";
    });
    EXPECT_EQ(both.child.wait(), 0);
}

TEST(process_pipe, messages_of_all_sizes_go_both_ways_at_once) {
    const std::vector<std::size_t> sizes = {0, 1, 100, 32 << 10, (32 << 10) + 1, 1 << 20, 5 << 20, 3};
    auto ends = made(process_pipe<std::string>::create());
    forked_child child([&] {
        ends.here.reset();
        while (auto got = ends.there.blocking_recv())
            if (!ends.there.blocking_send(std::move(*got))) return 1;
        return 0;
    });
    ends.there.reset();
    const auto send_all = [&]() -> leat::task<> {
        for (const std::size_t size : sizes) {
            std::string next(size, static_cast<char>(size % 100));
            EXPECT_TRUE(co_await ends.here.send(std::move(next)));
        }
        ends.here.close();
    };
    const auto receive_all = [&]() -> leat::task<> {
        for (const std::size_t size : sizes) {
            const auto got = co_await ends.here.recv();
            EXPECT_TRUE(got && *got == std::string(size, static_cast<char>(size % 100))) << size;
        }
        EXPECT_EQ((co_await ends.here.recv()).error(), pipe_error::closed);
    };
    on_threads(2, [&]() -> leat::task<> { co_await leat::when_all(send_all(), receive_all()); });
    EXPECT_EQ(child.wait(), 0);
}

TEST(process_pipe, it_is_bounded_and_a_wait_ends_in_time) {
    auto ends = made(process_pipe<std::string>::create());
    EXPECT_EQ(ends.here.try_recv().error(), pipe_error::empty);
    EXPECT_EQ(ends.here.blocking_recv_for(1ms).error(), pipe_error::timed_out);
    EXPECT_EQ(ends.here.try_send(std::string(1 << 20, 'x')).error().why, pipe_error::too_large);
    int sent = 0;
    while (ends.here.try_send(std::string(1000, 'x'))) ++sent;
    EXPECT_GT(sent, 10);
    EXPECT_LT(sent, 10'000);
    const auto late = ends.here.blocking_send_for("y", 1ms);
    EXPECT_EQ(late.error().why, pipe_error::timed_out);
    EXPECT_EQ(late.error().value, "y");
    on_one_thread([&]() -> leat::task<> {
        EXPECT_EQ((co_await ends.here.send_for("z", 1ms)).error().why, pipe_error::timed_out);
        for (int i = 0; i < sent; ++i) EXPECT_TRUE(co_await ends.there.recv());
        EXPECT_EQ((co_await ends.there.recv_for(1ms)).error(), pipe_error::timed_out);
        EXPECT_EQ((co_await ends.there.recv_for(0ms)).error(), pipe_error::timed_out);
    });
}

TEST(process_pipe, what_a_stopped_send_had_begun_was_never_there) {
    auto ends = made(process_pipe<std::string>::create());
    on_one_thread([&]() -> leat::task<> {
        std::string large(5 << 20, 'x');
        const auto stopped = co_await leat::timeout(ends.here.send(large), 5ms);
        EXPECT_EQ(stopped.error().why, pipe_error::cancelled);
        EXPECT_EQ(stopped.error().value.size(), large.size());
        const auto late = ends.here.try_send("no room");
        EXPECT_EQ(late.error().why, pipe_error::full);
        bool timed_out = false;
        try {
            (void)co_await leat::timeout(ends.there.recv(), 5ms);  // has read the beginning
        } catch (const leat::timed_out&) {
            timed_out = true;
        }
        EXPECT_TRUE(timed_out);
        EXPECT_TRUE(co_await ends.here.send("next"));
        EXPECT_EQ((co_await ends.there.recv()).value(), "next");
    });
}

TEST(process_pipe, a_recv_that_is_stopped_in_a_large_message_loses_nothing) {
    auto ends = made(process_pipe<std::string>::create());
    const std::string large(1 << 20, 'x');
    std::thread sender([&] { EXPECT_TRUE(ends.here.blocking_send(large)); });
    on_one_thread([&]() -> leat::task<> {
        for (;;) {
            try {
                const auto got = co_await leat::timeout(ends.there.recv(), 100us);
                EXPECT_TRUE(got && *got == large);
                co_return;
            } catch (const leat::timed_out&) {
            }
        }
    });
    sender.join();
}

TEST(process_pipe, many_tasks_share_an_end) {
    auto ends = made(process_pipe<std::string>::create());
    int got = 0;
    const auto send_some = [&]() -> leat::task<> {
        for (int i = 0; i < 50; ++i) {
            std::string next(static_cast<std::size_t>(i) * 4000, 'x');
            EXPECT_TRUE(co_await ends.here.send(std::move(next)));
        }
    };
    const auto receive_some = [&]() -> leat::task<> {
        while (const auto next = co_await ends.there.recv()) {
            EXPECT_EQ(next->size() % 4000, 0U);
            ++got;
        }
    };
    on_one_thread([&]() -> leat::task<> {
        leat::scope receivers;
        for (int i = 0; i < 100; ++i) receivers.spawn(receive_some);
        {
            leat::scope senders;
            for (int i = 0; i < 5; ++i) senders.spawn(send_some);
            co_await senders.join();
        }
        ends.here.close();
        co_await receivers.join();
    });
    EXPECT_EQ(got, 250);
}

TEST(process_pipe, the_death_of_the_other_process_is_told_after_what_it_had_sent) {
    for (const bool as_task : {false, true}) {
        asked both([](far_end& pipe) {
            (void)pipe.blocking_send({{"one", 1}});
            (void)pipe.blocking_send({{"two", 2}});
            ::usleep(10'000);
            ::kill(::getpid(), SIGKILL);
            return 0;
        });
        auto& pipe = both.ends.here;
        EXPECT_TRUE(pipe.blocking_send({1, "never read"}));
        const auto recv = [&] {
            if (!as_task) return pipe.blocking_recv();
            return on_one_thread(
                [&]() -> leat::task<leat::expected<answers, pipe_error>> { co_return co_await pipe.recv(); });
        };
        EXPECT_EQ(recv().value().at("one"), 1);
        both.child.wait();
        EXPECT_EQ(recv().value().at("two"), 2);
        EXPECT_EQ(recv().error(), pipe_error::closed);
        EXPECT_EQ(pipe.blocking_send({2, "x"}).error().why, pipe_error::closed);
        EXPECT_EQ(pipe.try_send({2, "x"}).error().value.text, "x");
    }
}

TEST(process_pipe, who_waits_for_room_is_told_of_the_death) {
    asked both([](far_end&) { return ::pause(); });
    auto& pipe = both.ends.here;
    while (pipe.try_send({1, std::string(1000, 'x')})) {
    }
    std::thread killer([&] {
        ::usleep(5'000);
        both.child.kill();
    });
    on_one_thread([&]() -> leat::task<> {
        question ask{2, "x"};
        EXPECT_EQ((co_await pipe.send(std::move(ask))).error().why, pipe_error::closed);
    });
    killer.join();
}

TEST(process_pipe, one_direction_closes_without_the_other) {
    auto ends = made(process_pipe<int>::create());
    EXPECT_TRUE(ends.here.try_send(1));
    ends.here.close();
    EXPECT_EQ(ends.here.try_send(2).error().why, pipe_error::closed);
    EXPECT_EQ(ends.there.blocking_recv().value(), 1);
    EXPECT_EQ(ends.there.blocking_recv().error(), pipe_error::closed);
    EXPECT_TRUE(ends.there.try_send(3));
    EXPECT_EQ(ends.here.blocking_recv().value(), 3);
}

TEST(process_pipe, is_attached_to_by_descriptor_and_an_attach_names_what_is_wrong) {
    auto ends = made(process_pipe<int>::create());
    auto same = made(process_pipe<int>::attach(give(ends.there.passed(710))));
    EXPECT_TRUE(same.try_send(1));
    EXPECT_EQ(ends.here.try_recv().value(), 1);
    auto other = made(process_pipe<std::string>::attach(give(ends.there.passed(711))));
    EXPECT_TRUE(other.try_send("text"));
    EXPECT_EQ(ends.here.try_recv().error(), pipe_error::malformed);

    EXPECT_EQ(process_pipe<int>::attach(800).error().what, kind::not_shared);
    EXPECT_EQ(process_pipe<int>::attach(::open("/dev/null", O_RDWR)).error().what, kind::not_shared);
    int stream[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
    EXPECT_EQ(process_pipe<int>::attach(stream[0]).error().what, kind::wrong_kind);
    ::close(stream[1]);
}

TEST(process_pipe, nonsense_from_the_other_side_is_an_error) {
    auto ends = made(process_pipe<question>::create());
    const int raw = ends.there.passed(3)[0].here;
    struct {
        std::uint64_t type, size, offset;
    } header{leat::codec_type_hash<question>(), 5, 0};
    const auto send = [&](std::size_t bytes) {
        std::string packet(sizeof header + bytes, 'x');
        std::memcpy(packet.data(), &header, sizeof header);
        ASSERT_EQ(::send(raw, packet.data(), packet.size(), MSG_DONTWAIT), static_cast<ssize_t>(packet.size()));
    };
    const auto error = [&] { return ends.here.try_recv().error(); };
    send(5);
    EXPECT_EQ(error(), pipe_error::malformed);
    send(6);
    EXPECT_EQ(error(), pipe_error::damaged) << "more than it says";
    send(0);
    EXPECT_EQ(error(), pipe_error::damaged) << "a packet with nothing in it";
    send(40'000);
    EXPECT_EQ(error(), pipe_error::damaged) << "larger than packets are";
    ASSERT_EQ(::send(raw, "short", 5, MSG_DONTWAIT), 5);
    EXPECT_EQ(error(), pipe_error::damaged);
    header.offset = 3;
    send(2);
    EXPECT_EQ(error(), pipe_error::damaged) << "the end of what has no beginning";
    header = {leat::codec_type_hash<question>(), UINT64_MAX, 0};
    send(100);
    EXPECT_EQ(error(), pipe_error::empty) << "more may come";
    header.offset = 50;
    send(100);
    EXPECT_EQ(error(), pipe_error::damaged) << "not where it was left";
    leat_test::dice random(1);
    for (int i = 0; i < 2000; ++i) {
        std::string packet(1 + random(200), '\0');
        for (char& each : packet) each = static_cast<char>(random(256));
        if (packet.size() >= sizeof header && random(2) == 0) {
            header = {leat::codec_type_hash<question>(), random(300), random(3) == 0 ? 0 : random(300)};
            std::memcpy(packet.data(), &header, sizeof header);
        }
        ASSERT_GT(::send(raw, packet.data(), packet.size(), MSG_DONTWAIT), 0);
        (void)ends.here.try_recv();
    }
    EXPECT_TRUE(ends.there.try_send({7, "sense"}));
    EXPECT_EQ(ends.here.try_recv().value().number, 7);
}

// The other process is killed at random moments in the middle of large messages: each is received whole or not at all.
TEST(process_pipe, a_death_at_any_moment_tears_no_message_soak) {
    for (leat_test::soak rounds(40); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        auto ends = made(process_pipe<std::vector<int>>::create());
        forked_child child([&] {
            ends.here.reset();
            for (int i = 0;; ++i)
                if (!ends.there.blocking_send(std::vector<int>(static_cast<std::size_t>(i) % 30'000, i))) return 1;
        });
        ends.there.reset();
        std::thread killer([&, after = random(3000)] {
            ::usleep(after);
            child.kill();
        });
        const auto right = [next = 0](const std::vector<int>& got) mutable {
            const int i = next++;
            return got == std::vector<int>(static_cast<std::size_t>(i) % 30'000, i);
        };
        if (rounds.seed() % 2 == 0) {
            auto check = right;
            while (const auto got = ends.here.blocking_recv()) EXPECT_TRUE(check(*got));
        } else {
            on_one_thread([&, check = right]() mutable -> leat::task<> {
                while (const auto got = co_await ends.here.recv()) EXPECT_TRUE(check(*got));
            });
        }
        killer.join();
        EXPECT_EQ(ends.here.blocking_recv().error(), pipe_error::closed);
    }
}

}  // namespace
