// select: which arm it takes, what the others keep, and how it ends.
#include <leat/channel/select.hpp>

#include <algorithm>
#include <core.hpp>
#include <memory>
#include <stdexcept>
#include <thread>

#include <leat/runtime/sim.hpp>
#include <leat/sync/future.hpp>
#include <leat/sync/task_handle.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::after;
using leat::on_recv;
using leat::on_send;
using leat::recv_error;
using leat::select;
using leat::select_biased;
using leat::send_failure;
using leat::task;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::token;
using namespace std::chrono_literals;

static_assert(leat::selectable<leat::recv_arm<token>> && leat::selectable<leat::send_arm<token>> &&
              leat::selectable<leat::time_arm> && leat::selectable<leat::otherwise>);

task<> sends_soon(leat::sender<int> out, int value) {
    co_await leat::this_task::yield();
    EXPECT_TRUE(co_await out.send(value));
}

TEST(select, takes_the_arm_that_is_ready) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<int>(1);
        auto b = leat::channel<int>(1);
        EXPECT_TRUE(b.out.try_send(7));
        auto won = co_await select(on_recv(a.in), on_recv(b.in), after(1h));
        EXPECT_EQ(won.index(), 1U);
        EXPECT_EQ(*won.get<1>(), 7);
        EXPECT_FALSE(won.cancelled());
    });
}

TEST(select, waits_for_the_first_arm_that_becomes_ready) {
    for (const std::size_t capacity : {0U, 1U})
        on_one_thread([capacity]() -> task<> {
            auto a = leat::channel<int>(capacity);
            auto b = leat::channel<int>(capacity);
            leat::scope work;
            work.spawn(sends_soon, b.out, 7);
            auto won = co_await select(on_recv(a.in), on_recv(b.in), after(1h));
            EXPECT_EQ(won.index(), 1U);
            EXPECT_EQ(*won.get<1>(), 7);
            co_await work.join();
        });
}

TEST(select, a_send_that_loses_has_not_moved_its_value) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<int>(1);
        auto b = leat::channel<token>(0);
        EXPECT_TRUE(a.out.try_send(1));
        token mine(5);
        auto won = co_await select(on_recv(a.in), on_send(b.out, mine));
        EXPECT_EQ(won.index(), 0U);
        EXPECT_EQ(mine.number(), 5);
        auto late = co_await select(on_recv(a.in), on_send(b.out, mine), after(1ms));
        EXPECT_EQ(late.index(), 2U);
        EXPECT_EQ(mine.number(), 5);
        EXPECT_EQ(b.in.try_recv().error(), recv_error::empty);  // nobody waits any more
        leat::scope work;
        work.spawn(
            [](leat::receiver<token> in) -> task<> {
                const auto got = co_await in.recv();
                EXPECT_EQ(got->number(), 5);
            },
            b.in);
        auto sent = co_await select(on_recv(a.in), on_send(b.out, mine));
        EXPECT_EQ(sent.index(), 1U);
        EXPECT_TRUE(sent.get<1>());
        EXPECT_EQ(mine.number(), -1);
        co_await work.join();
    });
}

TEST(select, each_of_several_arms_that_are_ready_has_its_share) {
    on_one_thread([]() -> task<> {
        std::array ends{leat::channel<int>(1), leat::channel<int>(1), leat::channel<int>(1)};
        std::array<int, 3> count{};
        EXPECT_TRUE(ends[0].out.try_send(0));
        EXPECT_TRUE(ends[2].out.try_send(0));
        for (int i = 0; i < 400; ++i) {  // the one in the middle never is: its neighbours share evenly all the same
            auto won = co_await select(on_recv(ends[0].in), on_recv(ends[1].in), on_recv(ends[2].in));
            ++count[won.index()];
            EXPECT_TRUE(ends[won.index()].out.try_send(0));
        }
        EXPECT_EQ(count[1], 0);
        EXPECT_GT(count[0], 120);
        EXPECT_GT(count[2], 120);
    });
}

TEST(select, biased_takes_the_first_that_is_ready) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<int>(100);
        auto b = leat::channel<int>(100);
        for (int i = 0; i < 100; ++i) {
            EXPECT_TRUE(a.out.try_send(i));
            EXPECT_TRUE(b.out.try_send(i));
        }
        for (int i = 0; i < 100; ++i) {
            auto won = co_await select_biased(on_recv(b.in), on_recv(a.in));
            EXPECT_EQ(won.index(), 0U);
            EXPECT_EQ(*won.get<0>(), i);
        }
        auto won = co_await select_biased(on_recv(b.in), on_recv(a.in));
        EXPECT_EQ(won.index(), 1U);
        auto in_time = co_await select_biased(after(0ms), on_recv(a.in));
        EXPECT_EQ(in_time.index(), 0U);
    });
}

TEST(select, times_of_zero_or_less_only_look_and_one_beyond_the_clock_never_comes) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<int>(1);
        const leat::time_point past = (co_await leat::this_task::now()) - 1s;
        for (int i = 0; i < 20; ++i) {
            auto none = co_await select(on_recv(a.in), after(0ms));
            EXPECT_EQ(none.index(), 1U);
            auto less = co_await select(after(leat::duration::min()), on_recv(a.in));
            EXPECT_EQ(less.index(), 0U);
            EXPECT_TRUE(a.out.try_send(i));
            auto some = co_await select(leat::at(past), on_recv(a.in), after(-5ms));
            EXPECT_EQ(some.index(), 1U);
        }
        leat::scope work;
        work.spawn(sends_soon, a.out, 1);
        auto won = co_await select(after(std::chrono::hours::max()), leat::at(leat::time_point::max()), on_recv(a.in));
        EXPECT_EQ(won.index(), 2U);
        co_await work.join();
    });
}

TEST(select, otherwise_is_taken_when_nothing_is_ready) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<int>(1);
        auto none = co_await select_biased(leat::otherwise(), on_recv(a.in));
        EXPECT_EQ(none.index(), 0U);
        EXPECT_TRUE(a.out.try_send(1));
        auto some = co_await select_biased(leat::otherwise(), on_recv(a.in));
        EXPECT_EQ(some.index(), 1U);
    });
}

TEST(select, an_end_that_has_ended_is_ready_and_can_be_switched_off) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<int>(1);
        auto b = leat::channel<int>(1);
        a.out.close();
        EXPECT_TRUE(b.out.try_send(1));
        auto ended = co_await select_biased(on_recv(a.in), on_recv(b.in));
        EXPECT_EQ(ended.index(), 0U);
        EXPECT_EQ(ended.get<0>().error(), recv_error::closed);
        auto open = co_await select_biased(on_recv(a.in).only_if(false), on_recv(b.in));
        EXPECT_EQ(open.index(), 1U);
        int value = 3;
        b.in.abort();
        auto refused = co_await select(on_send(b.out, value));
        EXPECT_EQ(refused.get<0>().error(), send_failure::aborted);
    });
}

TEST(select, closes_and_aborts_that_come_later_end_the_arms) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<int>(1);
        auto b = leat::channel<token>(0);
        leat::scope work;
        work.spawn(
            [](leat::sender<int> out) -> task<> {
                co_await leat::this_task::yield();
                out.close();
            },
            a.out);
        token mine(4);
        auto closed = co_await select(on_recv(a.in), on_send(b.out, mine));
        EXPECT_EQ(closed.index(), 0U);
        EXPECT_EQ(closed.get<0>().error(), recv_error::closed);
        work.spawn(
            [](leat::receiver<token> in) -> task<> {
                co_await leat::this_task::yield();
                in.reset();
            },
            std::move(b.in));
        auto gone = co_await select(on_send(b.out, mine), after(1h));
        EXPECT_EQ(gone.index(), 0U);
        EXPECT_EQ(gone.get<0>().error(), send_failure::aborted);
        EXPECT_EQ(mine.number(), 4);
        co_await work.join();
    });
}

TEST(select, one_that_is_stopped_reports_it_and_takes_what_is_ready_even_then) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<int>(1);
        auto b = leat::channel<token>(0);
        leat::scope work;
        bool seen = false;
        work.spawn([&]() -> task<> {
            token mine(4);
            auto won = co_await select(on_recv(a.in), on_send(b.out, mine), after(1h));
            EXPECT_TRUE(won.cancelled());
            EXPECT_FALSE(won);
            EXPECT_EQ(won.index(), won.npos);
            EXPECT_EQ(mine.number(), 4);
            EXPECT_TRUE(a.out.try_send(9));
            auto ready = co_await select(on_recv(a.in), on_send(b.out, mine), after(1h));
            EXPECT_EQ(ready.index(), 0U);
            seen = true;
        });
        co_await giving(0, 3);
        work.stop();
        co_await work.join();
        EXPECT_TRUE(seen);
        EXPECT_TRUE(b.in.try_recv().error() == recv_error::empty);
    });
}

TEST(select, of_both_ends_of_one_channel_does_not_meet_itself) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<int>(0);
        int mine = 3;
        auto alone = co_await select(on_send(a.out, mine), on_recv(a.in), after(1ms));
        EXPECT_EQ(alone.index(), 2U);
        leat::scope work;
        work.spawn([&]() -> task<> {
            int other = 4;
            auto won = co_await select(on_send(a.out, other), on_recv(a.in));
            EXPECT_TRUE(won.index() == 0 || *won.get<1>() == 3);
        });
        auto won = co_await select(on_send(a.out, mine), on_recv(a.in));
        EXPECT_TRUE(won.index() == 0 || *won.get<1>() == 4);
        co_await work.join();
    });
}

TEST(select, over_a_range_takes_arms_that_the_caller_keeps) {
    on_one_thread([]() -> task<> {
        std::vector<leat::channel_ends<int>> ends;
        for (int i = 0; i < 64; ++i) ends.push_back(leat::channel<int>(1));
        std::vector<leat::recv_arm<int>> arms;
        for (const auto& each : ends) arms.push_back(on_recv(each.in));
        leat::scope work;
        for (const std::size_t place : {5U, 63U, 0U}) {
            EXPECT_TRUE(ends[place].out.try_send(static_cast<int>(place)));
            auto won = co_await select(arms);
            EXPECT_EQ(won.index(), place);
            EXPECT_EQ(*won.get(), static_cast<int>(place));
            work.spawn(sends_soon, ends[place].out, 100);
            auto later = co_await select_biased(arms);
            EXPECT_EQ(later.index(), place);
            EXPECT_EQ(*later.get(), 100);
            co_await work.join();
        }
        work.spawn([]() -> task<> {
            std::vector<leat::recv_arm<int>> nothing;
            auto won = co_await select(nothing);
            EXPECT_TRUE(won.cancelled());
        });
        co_await giving(0, 2);
        work.stop();
        co_await work.join();
    });
}

TEST(select, match_calls_the_function_of_the_arm) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<token>(1);
        EXPECT_TRUE(a.out.try_send(token(2)));
        int seen = 0;
        auto won = co_await select(on_recv(a.in), after(1h));
        won.match([&](leat::expected<token, recv_error> got) { seen = got->number(); }, [](std::monostate) { FAIL(); });
        EXPECT_EQ(seen, 2);
    });
}

TEST(select, reserves_room) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<int>(1);
        EXPECT_TRUE(a.out.try_send(1));
        auto none = co_await select(leat::on_reserve(a.out), after(1ms));
        EXPECT_EQ(none.index(), 1U);
        leat::scope work;
        work.spawn(
            [](leat::receiver<int> in) -> task<> {
                co_await leat::this_task::yield();
                EXPECT_TRUE(in.try_recv());
            },
            a.in);
        auto some = co_await select(leat::on_reserve(a.out), after(1h));
        EXPECT_EQ(some.index(), 0U);
        EXPECT_TRUE(some.get<0>()->send(2));
        EXPECT_EQ(*a.in.try_recv(), 2);
        co_await work.join();
    });
}

TEST(select, can_be_awaited_by_plain_threads) {
    auto a = leat::channel<int>(0);
    auto b = leat::channel<int>(0);
    std::thread other([&] {
        for (int i = 0; i < 1000; ++i) {
            int value = i;
            auto won = leat::block_on(select(on_send(a.out, value), on_send(b.out, value)));
            EXPECT_LT(won.index(), 2U);
        }
    });
    for (int i = 0; i < 1000; ++i) {
        auto won = leat::block_on(select(on_recv(b.in), on_recv(a.in)));
        EXPECT_EQ(won.index() == 0 ? *won.get<0>() : *won.get<1>(), i);
    }
    other.join();
    auto late = leat::block_on(select(on_recv(a.in), after(2ms), after(1ms)));
    EXPECT_EQ(late.index(), 2U);
}

TEST(select, inside_a_timeout_is_stopped_by_it) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<int>(0);
        auto operation = select(on_recv(a.in));
        auto won = co_await leat::timeout(std::move(operation), 1ms);
        EXPECT_TRUE(won.cancelled());
    });
}

// A primitive of another layer, as an arm in a line.
class flag {
public:
    [[nodiscard]] bool is_set() const noexcept { return set_.load(); }
    void set() {
        leat::resume_list woken;
        {
            leat::env::lock_guard held(lock_);
            set_.store(true);
            while (leat::waiter* const each = waiting_.claim_first()) woken.add(*each);
        }
        woken.resume_all();
    }
    bool watch(leat::waiter& self) noexcept {
        leat::env::lock_guard held(lock_);
        if (set_.load()) return false;
        waiting_.push_back(self);
        return true;
    }
    void unwatch(leat::waiter& self) noexcept {
        leat::env::lock_guard held(lock_);
        waiting_.remove(self);
    }

private:
    leat::env::mutex lock_;
    leat::env::atomic<bool> set_{false};
    leat::waiter_queue waiting_;
};
using flag_arm = leat::watch_arm<flag, &flag::is_set>;

TEST(select, takes_an_event_that_is_set_and_leaves_it_set) {
    on_one_thread([]() -> task<> {
        leat::event ready;
        auto a = leat::channel<int>(0);
        auto none = co_await select(on_recv(a.in), leat::on_event(ready), after(1ms));
        EXPECT_EQ(none.index(), 2U);
        leat::scope work;
        work.spawn([&]() -> task<> {
            co_await leat::this_task::yield();
            ready.set();
        });
        auto later = co_await select(on_recv(a.in), leat::on_event(ready));
        EXPECT_EQ(later.index(), 1U);
        EXPECT_TRUE(ready.is_set());
        co_await work.join();
    });
}

TEST(select, waits_for_the_end_of_a_task_and_leaves_its_value_in_the_handle) {
    on_one_thread([]() -> task<> {
        leat::event ready;
        auto a = leat::channel<int>(0);
        leat::scope work;
        leat::task_handle<token> handle = work.submit([&]() -> task<token> {
            co_await ready.wait();
            co_return token(7);
        });
        auto none = co_await select(on_recv(a.in), leat::on_done(handle), after(1ms));
        EXPECT_EQ(none.index(), 2U);
        work.spawn([&]() -> task<> {
            co_await leat::this_task::yield();
            ready.set();
        });
        auto later = co_await select(on_recv(a.in), leat::on_done(handle));
        EXPECT_EQ(later.index(), 1U);
        auto off = co_await select(leat::on_done(handle).only_if(false), after(1ms));
        EXPECT_EQ(off.index(), 1U);
        auto again = co_await select(on_recv(a.in), leat::on_done(handle));
        EXPECT_EQ(again.index(), 1U);
        const token value = co_await std::move(handle).join();
        EXPECT_EQ(value.number(), 7);
        co_await work.join();
    });
}

TEST(select, a_task_that_fails_is_done_and_its_error_stays_the_handles) {
    on_one_thread([]() -> task<> {
        auto a = leat::channel<int>(0);
        leat::scope work;
        const leat::task_handle<> handle = work.submit([]() -> task<> {
            co_await leat::this_task::yield();
            throw std::runtime_error("no");
        });
        auto won = co_await select(on_recv(a.in), leat::on_done(handle));
        EXPECT_EQ(won.index(), 1U);
        EXPECT_TRUE((co_await handle.as_outcome()).is_error());
        co_await work.join();  // throws nothing: the error was taken
    });
}

TEST(select, takes_the_end_of_a_task_or_what_a_channel_gives_whichever_comes_and_a_future_too) {
    leat::sim::explore({.seeds = 500}, []() -> task<> {
        auto a = leat::channel<int>(0);
        leat::promise<int> answer;
        const leat::future<int> asked = answer.get_future();
        leat::scope work;
        const leat::task_handle<> handle = work.submit([&]() -> task<> { EXPECT_TRUE(co_await a.out.send(1)); });
        work.spawn(
            [](leat::promise<int> to) -> task<> {
                to.set_value(5);
                co_return;
            },
            std::move(answer));
        bool received = false;
        bool sender_done = false;
        bool answered = false;
        while (!received || !sender_done || !answered) {
            auto won = co_await select(on_recv(a.in).only_if(!received), leat::on_done(handle).only_if(!sender_done),
                                       leat::on_done(asked).only_if(!answered));
            received |= won.index() == 0;
            sender_done |= won.index() == 1;
            answered |= won.index() == 2;
            EXPECT_TRUE(received || !sender_done);  // a rendezvous: the send ends when the item is there
        }
        EXPECT_EQ(co_await asked, 5);
        co_await work.join();
    });
}

TEST(select, takes_arms_of_other_primitives) {
    on_one_thread([]() -> task<> {
        flag here;
        auto a = leat::channel<int>(0);
        auto none = co_await select(on_recv(a.in), flag_arm(here), after(1ms));
        EXPECT_EQ(none.index(), 2U);
        leat::scope work;
        work.spawn([&]() -> task<> {
            co_await leat::this_task::yield();
            here.set();
        });
        auto later = co_await select(on_recv(a.in), flag_arm(here), after(1h));
        EXPECT_EQ(later.index(), 1U);
        auto now = co_await select(on_recv(a.in), flag_arm(here));
        EXPECT_EQ(now.index(), 1U);
        auto off = co_await select(on_recv(a.in), flag_arm(here).only_if(false), after(1ms));
        EXPECT_EQ(off.index(), 2U);
        co_await work.join();
    });
}

// --- Everything at once ---

struct tally {
    leat::env::atomic<int> sent{0};
    leat::env::atomic<int> received{0};
    std::array<leat::env::atomic<int>, 4000> seen{};
};

// Sends its numbers and receives those of others, over both channels, in orders that differ from task to task.
task<> trades(std::array<leat::channel_ends<token>, 2>& at, tally& book, int first, int count, unsigned which) {
    auto& mine = at[which % 2];
    auto& other = at[(which / 2) % 2];
    int next = first;
    for (token offered(next); next < first + count;) {
        const auto took = [&](auto&& got) {
            if (!got) return;
            book.received.fetch_add(1);
            book.seen[static_cast<std::size_t>(got->number())].fetch_add(1);
        };
        auto won = co_await select(on_send(mine.out, offered), on_recv(other.in), on_send(other.out, offered),
                                   on_recv(mine.in), after(std::chrono::microseconds(50)));
        if (won.cancelled()) co_return;
        if (won.index() == 1) took(won.get<1>());
        if (won.index() == 3) took(won.get<3>());
        if (won.index() == 0 || won.index() == 2) {
            EXPECT_EQ(offered.number(), -1);
            book.sent.fetch_add(1);
            offered = token(++next);
        } else {
            EXPECT_EQ(offered.number(), next);
        }
    }
}

// Takes what the traders leave, until it is stopped.
task<> drains(std::array<leat::channel_ends<token>, 2>& at, tally& book) {
    for (;;) {
        auto won = co_await select(on_recv(at[0].in), on_recv(at[1].in));
        if (won.cancelled()) co_return;
        auto& got = won.index() == 0 ? won.get<0>() : won.get<1>();
        book.received.fetch_add(1);
        book.seen[static_cast<std::size_t>(got->number())].fetch_add(1);
    }
}

task<> trade_all(leat::scope& work, std::array<leat::channel_ends<token>, 2>& at, tally& book, bool stops) {
    for (unsigned i = 0; i < 4; ++i)
        work.spawn(trades, std::ref(at), std::ref(book), static_cast<int>(i) * 1000, 100, i);
    if (!stops) co_return;
    co_await leat::sleep_for(300us);
    work.stop();
}

task<> market(std::size_t capacity, tally& book, bool stops) {
    std::array<leat::channel_ends<token>, 2> at{leat::channel<token>(capacity), leat::channel<token>(capacity)};
    const auto body = [&](leat::scope& helpers) -> task<> {
        helpers.spawn(drains, std::ref(at), std::ref(book));
        const auto all = [&](leat::scope& work) -> task<> { return trade_all(work, at, book, stops); };
        co_await leat::with_scope(all);
        while (at[0].in.counts().depth + at[1].in.counts().depth > 0) co_await leat::sleep_for(1us);
        helpers.stop();
    };
    co_await leat::with_scope(body);
}

void check(const tally& book, bool stopped) {
    EXPECT_EQ(book.sent.load(), book.received.load());
    EXPECT_TRUE(stopped || book.sent.load() == 400);
    for (const auto& each : book.seen) EXPECT_LE(each.load(), 1);
}

TEST(select, many_that_send_and_receive_everywhere_lose_nothing_on_threads) {
    for (const std::size_t capacity : {0U, 1U, 3U})
        for (const unsigned threads : {1U, 4U})
            for (const bool stops : {false, true}) {
                tally book;
                leat_test::on_threads(threads, market, capacity, book, stops);
                check(book, stops);
            }
}

TEST(select, many_that_send_and_receive_everywhere_lose_nothing_in_orders_drawn_from_seeds) {
    for (unsigned seed = 1; seed <= 40; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        tally book;
        const bool stops = seed % 2 == 0;
        const leat::sim::result ended =
            leat::sim::run({.seed = seed, .stall_percent = seed % 5}, market, seed % 3, book, stops);
        EXPECT_TRUE(ended.ok()) << ended.report();
        check(book, stops);
    }
}

// --- Stopped at each moment ---

constexpr int ways = 9;

// Does one thing with `mine` or with what it receives, and is stopped some time.
task<> does_one_thing(int way, leat::channel_ends<token>& to, leat::channel_ends<token>& from, token& mine,
                      std::vector<int>& got) {
    const auto keep = [&](auto&& sent) {
        if (!sent) mine = std::move(sent.error().value);
    };
    const auto take = [&](auto&& item) {
        if (item) got.push_back(item->number());
    };
    if (way == 0) keep(co_await to.out.send(std::move(mine)));
    if (way == 1) keep(co_await to.out.send_for(std::move(mine), 1h));
    if (way == 2) (void)co_await to.out.send_many(std::span<token>(&mine, 1));
    if (way == 3) {
        auto permit = co_await to.out.reserve();
        EXPECT_TRUE(permit || permit.error() == send_failure::cancelled);
        if (permit) keep(permit->send(std::move(mine)));
    }
    if (way == 4) take(co_await from.in.recv());
    if (way == 5) take(co_await from.in.recv_for(1h));
    if (way == 6) {
        std::vector<token> batch;
        (void)co_await from.in.recv_many(batch, 3);
        for (const token& each : batch) got.push_back(each.number());
    }
    if (way >= 7) {
        auto operation = way == 7 ? select_biased(on_send(to.out, mine), on_recv(from.in), after(1h))
                                  : select(on_send(to.out, mine), on_recv(from.in), after(1h));
        auto what = co_await std::move(operation);
        if (what.index() == 1) take(what.get<1>());
    }
}

task<> stopped_somewhere(int way, std::size_t capacity, int turns) {
    auto to = leat::channel<token>(capacity);
    auto from = leat::channel<token>(capacity);
    token mine(1);
    std::vector<int> got;
    EXPECT_EQ(to.out.try_send(token(0)).has_value(), capacity > 0);  // no room at first
    bool sent = false;
    const auto body = [&](leat::scope& others) -> task<> {
        others.spawn([&]() -> task<> {
            auto item = co_await to.in.recv_for(1us);
            while (item) {
                got.push_back(item->number());
                item = co_await to.in.recv_for(1us);
            }
        });
        others.spawn([&]() -> task<> {
            token other(2);
            auto done = co_await from.out.send_for(std::move(other), 1us);
            sent = done.has_value();
        });
        const auto victim = [&](leat::scope& work) -> task<> {
            work.spawn(does_one_thing, way, std::ref(to), std::ref(from), std::ref(mine), std::ref(got));
            for (int i = 0; i < turns; ++i) co_await leat::this_task::yield();
            work.stop();
        };
        co_await leat::with_scope(victim);
    };
    co_await leat::with_scope(body);
    for (auto* const each : {&to, &from})
        for (auto item = each->in.try_recv(); item; item = each->in.try_recv()) got.push_back(item->number());
    EXPECT_EQ(std::count(got.begin(), got.end(), 1), mine.number() == 1 ? 0 : 1);
    EXPECT_EQ(std::count(got.begin(), got.end(), 2), sent ? 1 : 0);
    EXPECT_EQ(to.out.try_send(token(5)).has_value(), capacity > 0);  // nobody waits any more
    EXPECT_EQ(from.out.try_send(token(5)).has_value(), capacity > 0);
}

TEST(select, what_is_stopped_at_any_moment_has_happened_or_not) {
    for (int way = 0; way < ways; ++way)
        for (const std::size_t capacity : {0U, 1U})
            for (int turns = 0; turns < 8; ++turns)
                for (unsigned seed = 1; seed <= 12; ++seed) {
                    SCOPED_TRACE(testing::Message() << "way " << way << ", capacity " << capacity << ", turns " << turns
                                                    << ", seed " << seed);
                    const leat::sim::result ended =
                        leat::sim::run({.seed = seed}, stopped_somewhere, way, capacity, turns);
                    EXPECT_TRUE(ended.ok()) << ended.report();
                }
}

TEST(select_death, what_another_arm_would_have_given_is_read) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     auto a = leat::channel<int>(1);
                     auto won = co_await select(on_recv(a.in), after(0ms));
                     (void)won.get<0>();
                 }),
                 "bug: what another arm of a select would have given was read");
}

}  // namespace
