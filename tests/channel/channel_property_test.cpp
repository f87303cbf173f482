// The promise of a channel under everything at once: several producers and consumers, random stops, resizes, closes and
// aborts. Each value is received exactly once or comes back to its sender, and what an abort drops is destroyed.
#include <leat/channel/channel.hpp>

#include <algorithm>
#include <array>
#include <core.hpp>
#include <random>
#include <soak.hpp>
#include <vector>

#include <leat/channel/select.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::task;
using namespace std::chrono_literals;

struct parcel {
    parcel(int id, leat::env::atomic<int>& count) : number(id), alive(&count) { alive->fetch_add(1); }
    parcel(parcel&& other) noexcept : number(other.number), alive(other.alive) { alive->fetch_add(1); }
    parcel& operator=(parcel&&) = delete;
    ~parcel() { alive->fetch_sub(1); }
    int number;
    leat::env::atomic<int>* alive;
};
std::size_t weight_of(const parcel& item) { return static_cast<std::size_t>(item.number % 7) + 1; }

constexpr int producers = 4;
constexpr int each = 400;

struct ledger {
    std::array<leat::env::atomic<int>, producers * each> received{};
    std::array<leat::env::atomic<int>, producers * each> returned{};
    leat::env::atomic<int> accepted{0};
    leat::env::atomic<int> alive{0};
};

std::size_t place(int number) { return static_cast<std::size_t>(number); }

task<> produces(leat::sender<parcel> out, ledger& book, int first, unsigned seed) {
    std::mt19937 random(seed);
    for (int number = first; number < first + each; ++number) {
        parcel item(number, book.alive);
        for (;;) {
            auto operation = out.send(std::move(item));
            task<leat::expected<void, leat::send_error<parcel>>> sending =
                random() % 4 == 0 ? leat::timeout(std::move(operation), (random() % 30) * 1us)
                                  : leat::detail::as_task(std::move(operation));
            auto sent = co_await sending;
            if (sent) {
                book.accepted.fetch_add(1);
                break;
            }
            EXPECT_EQ(sent.error().value.number, number);
            if (sent.error().why == leat::send_error<parcel>::reason::cancelled && random() % 2 == 0) {
                // Tries the same value again, as one that it was given anew.
                auto again = out.try_send(std::move(sent.error().value));
                if (again) {
                    book.accepted.fetch_add(1);
                    break;
                }
                book.returned[place(again.error().value.number)].fetch_add(1);
                break;
            }
            book.returned[place(sent.error().value.number)].fetch_add(1);
            break;
        }
        if (random() % 8 == 0) co_await leat::this_task::yield();
    }
}

task<> consumes(leat::receiver<parcel> in, ledger& book, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<int> last(producers, -1);
    for (;;) {
        try {
            auto operation = in.recv();
            task<leat::expected<parcel, leat::recv_error>> receiving =
                random() % 4 == 0 ? leat::timeout(std::move(operation), (random() % 30) * 1us)
                                  : leat::detail::as_task(std::move(operation));
            const auto item = co_await receiving;
            if (!item) co_return;
            book.received[place(item->number)].fetch_add(1);
            int& before = last[place(item->number / each)];
            EXPECT_LT(before, item->number);  // first in, first out for each producer
            before = item->number;
        } catch (const leat::timed_out&) {
        }
        if (random() % 16 == 0) co_await leat::this_task::yield();
    }
}

task<> resizes(leat::receiver<parcel> in, unsigned seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < 40; ++i) {
        in.set_bounds(leat::channel_bounds(random() % 5, 1 + random() % 20));
        co_await leat::sleep_for((random() % 50) * 1us);
    }
    in.set_bounds(leat::channel_bounds(3, 20));
}

enum class ending { by_senders, by_close, by_abort };

task<> one_run(unsigned seed, int consumers, ending how, ledger& book) {
    auto [out, in] = leat::channel<parcel>(leat::channel_bounds(3, 12), weight_of);
    leat::scope work;
    for (int i = 0; i < producers; ++i)
        work.spawn(produces, out, std::ref(book), i * each, seed * 100 + static_cast<unsigned>(i));
    for (int i = 0; i < consumers; ++i)
        work.spawn(consumes, in, std::ref(book), seed * 100 + 50 + static_cast<unsigned>(i));
    work.spawn(resizes, in, seed);
    if (how != ending::by_senders) {
        co_await leat::sleep_for(300us);
        if (how == ending::by_close) in.close();
        else in.abort();
    }
    out.reset();
    in.reset();
    co_await work.join();
}

void check(const ledger& book, bool may_drop) {
    int received = 0;
    int returned = 0;
    for (int number = 0; number < producers * each; ++number) {
        const int got = book.received[place(number)].load();
        const int back = book.returned[place(number)].load();
        EXPECT_LE(got + back, 1) << "value " << number;
        EXPECT_TRUE(may_drop || got + back == 1) << "value " << number;
        received += got;
        returned += back;
    }
    EXPECT_EQ(book.accepted.load() + returned, producers * each);
    EXPECT_LE(received, book.accepted.load());
    EXPECT_TRUE(may_drop || received == book.accepted.load());
    EXPECT_EQ(book.alive.load(), 0);
}

TEST(channel_property, every_value_is_received_once_or_returned) {
    for (unsigned seed = 1; seed <= 12; ++seed) {
        for (const unsigned threads : {1U, 4U}) {
            SCOPED_TRACE("seed " + std::to_string(seed) + ", threads " + std::to_string(threads));
            const ending how = seed % 3 == 0 ? ending::by_close : ending::by_senders;
            ledger book;
            leat_test::on_threads(threads, one_run, seed, seed % 2 == 0 ? 1 : 3, how, book);
            check(book, false);
        }
    }
}

TEST(channel_property, it_holds_in_orders_drawn_from_seeds) {
    for (unsigned seed = 1; seed <= 60; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const ending how = seed % 3 == 0 ? ending::by_abort : seed % 3 == 1 ? ending::by_close : ending::by_senders;
        ledger book;
        const leat::sim::options order{.seed = seed, .lateness = 10us, .stall_percent = seed % 8};
        const leat::sim::result ended = leat::sim::run(order, one_run, seed, 1 + static_cast<int>(seed % 4), how, book);
        EXPECT_TRUE(ended.ok()) << ended.report();
        check(book, how == ending::by_abort);
    }
}

TEST(channel_soak, every_value_is_received_once_or_returned_or_dropped_by_an_abort) {
    for (leat_test::soak rounds(4); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        const unsigned seed = rounds.seed();
        const ending how = seed % 4 == 0 ? ending::by_abort : seed % 4 == 1 ? ending::by_close : ending::by_senders;
        ledger book;
        leat_test::on_threads(1 + seed % 4, one_run, seed, 1 + static_cast<int>(seed % 5), how, book);
        check(book, how == ending::by_abort);
    }
}

TEST(channel_property, an_abort_drops_only_what_was_accepted_and_destroys_it) {
    for (unsigned seed = 1; seed <= 6; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        ledger book;
        leat_test::on_threads(4, one_run, seed, 2, ending::by_abort, book);
        check(book, true);
    }
}

// --- Every operation there is, mixed ---

// In runs that change no bounds they are looked at all the time.
struct watched {
    leat::channel_observer channel;
    bool fixed_bounds;
    void look() const {
        const leat::channel_counts now = channel.counts();
        if (fixed_bounds) {
            EXPECT_LE(now.depth + now.reserved, 3U);
            EXPECT_LE(now.bytes, 12U);
        }
        EXPECT_EQ(now.sent, now.received + now.depth + now.dropped);
    }
};

// Sends its numbers in all ways. What comes back is offered again, until the channel has ended or the task is stopped.
task<> produces_in_all_ways(leat::sender<parcel> out, ledger& book, const watched& bounds, int first, unsigned seed) {
    std::mt19937 random(seed);
    const leat::stop_token stop = co_await leat::this_task::stop_token();
    const auto back = [&](int number) { book.returned[place(number)].fetch_add(1); };
    for (int number = first; number < first + each;) {
        bounds.look();
        parcel item(number, book.alive);
        const auto limit = (random() % 20) * 1us;
        bool sent = false;
        bool over = false;
        if (const auto way = random() % 7; way == 0) {
            sent = out.try_send(std::move(item)).has_value();
        } else if (way == 1) {
            auto done = co_await out.send_for(std::move(item), limit);
            sent = done.has_value();
            if (!done) {
                EXPECT_EQ(done.error().value.number, number);
                over = done.error().why != leat::send_failure::timed_out;
            }
        } else if (way == 2) {
            auto permit = co_await out.reserve(7);
            over = !permit;
            if (permit && random() % 3 != 0) sent = permit->send(std::move(item)).has_value();
        } else if (way == 3) {
            auto won = co_await leat::select(leat::on_send(out, item), leat::after(limit));
            over = won.cancelled() || (won.index() == 0 && !won.get<0>());
            sent = won.index() == 0 && !over;
        } else if (way == 4) {
            auto won = co_await leat::select_biased(leat::on_reserve(out, 7), leat::after(limit));
            over = won.cancelled() || (won.index() == 0 && !won.get<0>());
            if (won.index() == 0 && !over) sent = won.get<0>()->send(std::move(item)).has_value();
        } else if (way == 5) {
            std::vector<parcel> batch;
            const int last = std::min(number + 1 + static_cast<int>(random() % 4), first + each);
            for (int next = number; next < last; ++next) batch.emplace_back(next, book.alive);
            const auto done = co_await out.send_many(batch);
            const int count = done ? last - number : static_cast<int>(done.error().sent);
            book.accepted.fetch_add(count);
            number += count;
            if (!done) break;
            continue;
        } else {
            auto done = co_await out.send(std::move(item));
            sent = done.has_value();
            over = !sent;
        }
        if (sent) {
            book.accepted.fetch_add(1);
            ++number;
        }
        if (over || (!sent && stop.stop_requested()) || out.counts().receivers == 0) {
            for (; number < first + each; ++number) back(number);
            co_return;
        }
        if (random() % 8 == 0) co_await leat::sleep_for(1us);
    }
    co_return;
}

task<> consumes_in_all_ways(leat::receiver<parcel> in, ledger& book, const watched& bounds, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<int> last(producers, -1);
    const auto take = [&](const parcel& item) {
        book.received[place(item.number)].fetch_add(1);
        int& before = last[place(item.number / each)];
        EXPECT_LT(before, item.number);  // first in, first out for each producer
        before = item.number;
    };
    for (;;) {
        bounds.look();
        leat::expected<parcel, leat::recv_error> got = leat::unexpected(leat::recv_error::empty);
        if (const auto way = random() % 5; way == 0) {
            got = in.try_recv();
        } else if (way == 1) {
            got = co_await in.recv_for((random() % 20) * 1us);
        } else if (way == 2) {
            auto won = co_await leat::select(leat::after((random() % 20) * 1us), leat::on_recv(in));
            if (won.index() == 1) got = std::move(won.get<1>());
        } else if (way == 3) {
            std::vector<parcel> batch;
            const auto count = co_await in.recv_many(batch, 1 + random() % 5);
            for (const parcel& item : batch) take(item);
            if (!count) co_return;
            EXPECT_EQ(*count, batch.size());
        } else {
            got = co_await in.recv();
        }
        if (got) take(*got);
        else if (got.error() == leat::recv_error::closed || got.error() == leat::recv_error::aborted) co_return;
        if (random() % 16 == 0) co_await leat::sleep_for(1us);
    }
}

task<> resizes_for_ever(leat::receiver<parcel> in, unsigned seed) {
    std::mt19937 random(seed);
    for (;;) {
        in.set_bounds(leat::channel_bounds(random() % 5, 1 + random() % 20));
        co_await leat::sleep_for((random() % 50) * 1us);
    }
}

task<> mixed_run(unsigned seed, int consumers, ledger& book, leat::overflow policy) {
    auto [out, in] = leat::channel<parcel>(leat::channel_bounds(3, 12), weight_of, policy);
    const bool resizes = seed % 3 == 0;
    const watched bounds{in.observe(), !resizes};
    const auto produce_all = [&](leat::scope& work) -> task<> {
        for (int i = 0; i < producers; ++i)
            work.spawn(produces_in_all_ways, out, std::ref(book), std::cref(bounds), i * each,
                       seed * 100 + static_cast<unsigned>(i));
        if (seed % 4 == 0) {
            co_await leat::sleep_for((seed % 50) * 10us);
            work.stop();
        }
    };
    const auto body = [&](leat::scope& work) -> task<> {
        for (int i = 0; i < consumers; ++i)
            work.spawn(consumes_in_all_ways, in, std::ref(book), std::cref(bounds),
                       seed * 100 + 50 + static_cast<unsigned>(i));
        const auto while_resized = [&](leat::scope& helper) -> task<> {
            if (resizes) helper.spawn(resizes_for_ever, in, seed);
            co_await leat::with_scope(produce_all);
            helper.stop();
        };
        co_await leat::with_scope(while_resized);
        in.set_bounds(leat::channel_bounds(3, 20));
        out.reset();
    };
    co_await leat::with_scope(body);
    const leat::channel_counts end = in.counts();
    EXPECT_EQ(end.depth + end.reserved + end.bytes, 0U);
    EXPECT_EQ(end.sent, static_cast<std::uint64_t>(book.accepted.load()));
    EXPECT_EQ(end.sent, end.received + end.dropped);
    EXPECT_TRUE(policy != leat::overflow::wait || end.dropped == 0);
}

// Without a policy that drops: each that was accepted was received. What a stopped batch did not send is not in the books.
void check_mixed(const ledger& book, leat::overflow policy) {
    int received = 0;
    for (int number = 0; number < producers * each; ++number) {
        const int got = book.received[place(number)].load();
        EXPECT_LE(got + book.returned[place(number)].load(), 1) << "value " << number;
        received += got;
    }
    EXPECT_LE(received, book.accepted.load());
    EXPECT_TRUE(policy != leat::overflow::wait || received == book.accepted.load());
    EXPECT_EQ(book.alive.load(), 0);
}

constexpr std::array policies{leat::overflow::wait, leat::overflow::drop_oldest, leat::overflow::drop_newest,
                              leat::overflow::fail};

TEST(channel_property, all_operations_mixed_lose_and_repeat_nothing_in_orders_drawn_from_seeds) {
    for (unsigned seed = 1; seed <= 80; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const leat::overflow policy = policies[seed % 8 < 5 ? 0 : seed % 8 - 4];
        ledger book;
        const leat::sim::options order{.seed = seed, .lateness = 10us, .stall_percent = seed % 8};
        const leat::sim::result ended =
            leat::sim::run(order, mixed_run, seed, 1 + static_cast<int>(seed % 4), book, policy);
        EXPECT_TRUE(ended.ok()) << ended.report();
        check_mixed(book, policy);
    }
}

TEST(channel_soak, all_operations_mixed_lose_and_repeat_nothing) {
    for (leat_test::soak rounds(8); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        const unsigned seed = rounds.seed();
        const leat::overflow policy = policies[seed % 8 < 5 ? 0 : seed % 8 - 4];
        ledger book;
        leat_test::on_threads(1 + seed % 4, mixed_run, seed, 1 + static_cast<int>(seed % 5), book, policy);
        check_mixed(book, policy);
    }
}

}  // namespace
