// What every kind of channel promises of itself, asked of each on each executor: no value lost or repeated, the order of
// each sender kept, an end that is told once all is out, and waits that can be stopped without loss.
//
// A kind joins with a few lines: how its ends are made, and which laws it does not claim.
#include <leat/channel/channel.hpp>

#include <core.hpp>
#include <string>
#include <vector>

#include <leat/channel/select.hpp>
#include <leat/runtime/event_loop.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/runtime/thread_pool.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::task;
using leat_test::token;
using namespace std::chrono_literals;

// --- The kinds ---

// A kind has: make<T>(), which gives ends with out.send(T), in.recv(), and try_ forms of both; and says of itself:
//   many_senders, many_receivers   ends can be copied and used from several tasks at once
//   loses                          sends may drop values (counted)
//   room                           how many it holds while nobody receives
struct lossless {
    static constexpr bool many_senders = true, many_receivers = true, loses = false;
};
template <std::size_t Capacity>
struct bounded : lossless {
    static constexpr std::size_t room = Capacity;
    template <class T>
    static auto make() {
        return leat::channel<T>(Capacity);
    }
};
std::size_t one_byte(const token&) { return 1; }
struct in_bytes : lossless {
    static constexpr std::size_t room = 4;
    template <class T>
    static auto make() {
        return leat::byte_channel<T>(4, one_byte);
    }
};
struct latest : lossless {
    static constexpr bool loses = true;
    static constexpr std::size_t room = 2;
    template <class T>
    static auto make() {
        return leat::channel<T>(2, leat::overflow::drop_oldest);
    }
};

// --- Where they run ---

struct on_loop {
    leat::event_loop where;
};
template <unsigned Threads>
struct on_pool {
    leat::thread_pool where{Threads};
};
template <leat::sim::schedule Order>
struct in_simulation {
    leat::sim::simulation where{leat::sim::options{.seed = 7, .order = Order}};
};

template <class Kind, class Host>
struct at {
    using kind = Kind;
    using host = Host;
};
template <class... Kind>
struct on_all_hosts {
    template <class Host>
    using on = testing::Types<at<Kind, Host>...>;
};
template <class... Types>
struct joined;
template <class... A>
struct joined<testing::Types<A...>> {
    using type = testing::Types<A...>;
};
template <class... A, class... B, class... Rest>
struct joined<testing::Types<A...>, testing::Types<B...>, Rest...> : joined<testing::Types<A..., B...>, Rest...> {};

using kinds = on_all_hosts<bounded<0>, bounded<1>, bounded<5>, in_bytes, latest>;
using places = joined<kinds::on<on_loop>, kinds::on<on_pool<1>>, kinds::on<on_pool<3>>,
                      kinds::on<in_simulation<leat::sim::schedule::uniform>>,
                      kinds::on<in_simulation<leat::sim::schedule::pct>>>::type;

template <class Where>
class channel_conformance : public testing::Test {
protected:
    using the_kind = typename Where::kind;
    template <class Program>
    decltype(auto) run(Program program) {
        return host_.where.run(program());
    }

private:
    typename Where::host host_;
};
TYPED_TEST_SUITE(channel_conformance, places);

template <class Sender>
task<> sends(Sender out, int first, int count) {
    for (int i = first; i < first + count; ++i) {
        auto sent = co_await out.send(token(i));
        EXPECT_TRUE(sent);
    }
}
template <class Receiver>
task<> receives(Receiver in, std::vector<int>& got) {
    for (;;) {
        const auto item = co_await in.recv();
        if (!item) {
            EXPECT_EQ(item.error(), leat::recv_error::closed);
            co_return;
        }
        got.push_back(item->number());
    }
}

TYPED_TEST(channel_conformance, one_sender_and_one_receiver_exchange_everything_in_order) {
    using kind = typename TestFixture::the_kind;
    this->run([]() -> task<> {
        auto ends = kind::template make<token>();
        std::vector<int> got;
        leat::scope work;
        work.spawn(sends<decltype(ends.out)>, std::move(ends.out), 0, 300);
        work.spawn(receives<decltype(ends.in)>, std::move(ends.in), std::ref(got));
        co_await work.join();
        EXPECT_FALSE(got.empty());
        if constexpr (!kind::loses) {
            EXPECT_EQ(got.size(), 300U);
        }
        for (std::size_t i = 1; i < got.size(); ++i) EXPECT_LT(got[i - 1], got[i]);
    });
}

TYPED_TEST(channel_conformance, many_ends_lose_nothing_and_keep_the_order_of_each_sender) {
    using kind = typename TestFixture::the_kind;
    if constexpr (kind::many_senders && kind::many_receivers) {
        this->run([]() -> task<> {
            auto ends = kind::template make<token>();
            std::vector<std::vector<int>> got(3);
            leat::scope work;
            for (int i = 0; i < 3; ++i) work.spawn(sends<decltype(ends.out)>, ends.out, i * 1000, 100);
            for (auto& each : got) work.spawn(receives<decltype(ends.in)>, ends.in, std::ref(each));
            ends.out.reset();
            ends.in.reset();
            co_await work.join();
            std::vector<int> times(3000);
            for (const auto& each : got) {
                std::vector<int> last(3, -1);
                for (const int number : each) {
                    ++times[static_cast<std::size_t>(number)];
                    int& before = last[static_cast<std::size_t>(number / 1000)];
                    EXPECT_LT(before, number);
                    before = number;
                }
            }
            for (std::size_t number = 0; number < times.size(); ++number) {
                EXPECT_LE(times[number], 1);
                EXPECT_TRUE(kind::loses || times[number] == (number % 1000 < 100 ? 1 : 0)) << number;
            }
        });
    }
}

TYPED_TEST(channel_conformance, holds_as_many_as_it_has_room_for) {
    using kind = typename TestFixture::the_kind;
    this->run([]() -> task<> {
        auto ends = kind::template make<token>();
        for (std::size_t i = 0; i < kind::room; ++i) {
            EXPECT_TRUE(ends.out.try_send(token(static_cast<int>(i))));
        }
        const auto more = ends.out.try_send(token(99));
        EXPECT_EQ(more.has_value(), kind::loses);
        if (!more) {
            EXPECT_EQ(more.error().value.number(), 99);
        }
        std::size_t inside = 0;
        while (ends.in.try_recv()) ++inside;
        EXPECT_EQ(inside, kind::room);
        EXPECT_EQ(ends.in.try_recv().error(), leat::recv_error::empty);
        co_return;
    });
}

TYPED_TEST(channel_conformance, a_sender_whose_receiver_goes_has_its_value_back) {
    using kind = typename TestFixture::the_kind;
    this->run([]() -> task<> {
        auto ends = kind::template make<token>();
        leat::scope work;
        const auto until_it_fails = [](decltype(ends.out) out) -> task<> {
            for (int i = 0; i < 1000; ++i) {
                auto sent = co_await out.send(token(i));
                if (sent) {
                    co_await leat::this_task::yield();
                    continue;
                }
                EXPECT_EQ(sent.error().why, leat::send_failure::aborted);
                EXPECT_EQ(sent.error().value.number(), i);
                co_return;
            }
        };
        work.spawn(until_it_fails, std::move(ends.out));
        co_await leat::this_task::yield();
        ends.in.reset();
        co_await work.join();
    });
}

TYPED_TEST(channel_conformance, waits_that_run_out_of_time_lose_nothing) {
    using kind = typename TestFixture::the_kind;
    this->run([]() -> task<> {
        auto ends = kind::template make<token>();
        std::vector<int> got;
        leat::scope work;
        const auto receives_in_time = [](decltype(ends.in) in, std::vector<int>& all) -> task<> {
            for (int turn = 0;; ++turn) {
                auto receiving = in.recv();
                task<leat::expected<token, leat::recv_error>> limited =
                    leat::timeout(std::move(receiving), (turn % 4) * 5us);
                try {
                    const auto item = co_await limited;
                    if (!item) co_return;
                    all.push_back(item->number());
                } catch (const leat::timed_out&) {
                }
            }
        };
        const auto sends_in_time = [](decltype(ends.out) out) -> task<> {
            token next(0);
            for (int turn = 0; next.number() < 100; ++turn) {
                const int number = next.number();
                auto sending = out.send(std::move(next));
                const auto limit = (turn % 3) * 5us;
                auto limited = leat::timeout(std::move(sending), limit);
                auto sent = co_await limited;
                if (sent) next = token(number + 1);
                else next = std::move(sent.error().value);
                EXPECT_EQ(next.number(), sent ? number + 1 : number);
                if (turn % 16 == 0) co_await leat::sleep_for(2us);
            }
        };
        work.spawn(sends_in_time, std::move(ends.out));
        work.spawn(receives_in_time, std::move(ends.in), std::ref(got));
        co_await work.join();
        if constexpr (!kind::loses) {
            EXPECT_EQ(got.size(), 100U);
        }
        for (std::size_t i = 1; i < got.size(); ++i) EXPECT_LT(got[i - 1], got[i]);
    });
}

}  // namespace
