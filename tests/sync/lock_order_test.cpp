// What is logged of locks that are taken in different orders, and that nothing is where the order is one. In builds with
// LEAT_LOCK_ORDER, as the presets debug and asan are; skipped in others, where the check costs nothing.
#include <core.hpp>
#include <gmock/gmock.h>
#include <memory>
#include <mutex>
#include <optional>
#include <soak.hpp>
#include <sstream>
#include <thread>
#include <vector>

#include <leat/base/log.hpp>
#include <leat/leat.hpp>
#include <leat/runtime/sim.hpp>

namespace {

using leat::task;
using leat_test::on_one_thread;
using leat_test::on_threads;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

#if defined(LEAT_LOCK_ORDER)
constexpr bool is_built = true;
#else
constexpr bool is_built = false;
static_assert(sizeof(leat::mutex::guard) == sizeof(void*), "the check costs nothing where it is not built");
#endif

// Hears what is logged about lock order while a test runs.
class lock_order : public testing::Test {
protected:
    void SetUp() override {
        if (!is_built) GTEST_SKIP() << "built without LEAT_LOCK_ORDER";
        leat::set_log_hook(
            [](void* self, leat::log_level level, std::string_view text) noexcept {
                if (text.starts_with("lock order: ")) static_cast<lock_order*>(self)->hear(level, text);
            },
            this);
    }
    void TearDown() override { leat::set_log_hook(nullptr, nullptr); }
    std::vector<std::string> heard() {
        const std::lock_guard held(lock_);
        return std::exchange(heard_, {});
    }

private:
    void hear(leat::log_level level, std::string_view text) {
        const std::lock_guard held(lock_);
        EXPECT_EQ(level, leat::log_level::warning);
        heard_.emplace_back(text);
    }
    std::mutex lock_;
    std::vector<std::string> heard_;
};

template <class Lock>
class lock_order_of : public lock_order {};
using kinds_of_lock = testing::Types<leat::mutex, leat::recursive_mutex, leat::shared_mutex>;
TYPED_TEST_SUITE(lock_order_of, kinds_of_lock);

std::string here(unsigned line) { return "lock_order_test.cpp:" + std::to_string(line); }
std::string address(const void* lock) {
    std::ostringstream text;
    text << lock;
    return text.str();
}

// Both at once, in the order in which they are named.
template <class First, class Second>
task<> both(First& first, Second& second) {
    const auto one = co_await first.lock();
    const auto two = co_await second.lock();
}
struct lines {
    unsigned first, second;
};
template <class Lock>
task<> forth(Lock& left, Lock& right, lines& at) {
    at = {__LINE__ + 1, __LINE__ + 2};
    const auto one = co_await left.lock();
    const auto two = co_await right.lock();
}
template <class Lock>
task<> back(Lock& left, Lock& right, lines& at) {
    at = {__LINE__ + 1, __LINE__ + 2};
    const auto two = co_await right.lock();
    const auto one = co_await left.lock();
}

TYPED_TEST(lock_order_of, two_orders_one_after_the_other_are_reported_with_tasks_and_all_four_places) {
    TypeParam left, right;
    lines there{}, again{};
    unsigned spawned = 0;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        spawned = __LINE__ + 1;
        work.spawn(leat::task_name("goes forth"), forth<TypeParam>, std::ref(left), std::ref(right), std::ref(there));
        co_await work.join();
    });
    EXPECT_THAT(this->heard(), IsEmpty());
    on_one_thread([&]() -> task<> {
        leat::scope work;
        work.spawn(leat::task_name("goes back"), back<TypeParam>, std::ref(left), std::ref(right), std::ref(again));
        co_await work.join();
    });
    const std::vector<std::string> said = this->heard();
    ASSERT_THAT(said, SizeIs(1));
    const std::size_t earlier = said[0].find("; earlier ");
    ASSERT_NE(earlier, std::string::npos) << said[0];
    EXPECT_THAT(said[0].substr(0, earlier), AllOf(HasSubstr("\"goes back\""), HasSubstr(here(again.first)),
                                                  HasSubstr(here(again.second)), HasSubstr(address(&left))));
    EXPECT_THAT(said[0].substr(earlier),
                AllOf(HasSubstr("\"goes forth\" (spawned at "), HasSubstr(here(spawned)), HasSubstr(here(there.first)),
                      HasSubstr(here(there.second)), HasSubstr(address(&right))));
}

TYPED_TEST(lock_order_of, a_pair_is_reported_once) {
    TypeParam left, right;
    on_one_thread([&]() -> task<> {
        for (int round = 0; round < 3; ++round) {
            co_await both(left, right);
            co_await both(right, left);
        }
    });
    EXPECT_THAT(this->heard(), SizeIs(1));
}

TYPED_TEST(lock_order_of, plain_threads_count_as_lines) {
    TypeParam left, right;
    on_one_thread([&]() -> task<> { co_await both(left, right); });
    std::thread([&] {
        const auto two = right.blocking_lock();
        const auto one = left.blocking_lock();
    }).join();
    EXPECT_THAT(this->heard(), ElementsAre(HasSubstr("a plain thread asked for")));
}

TYPED_TEST(lock_order_of, an_attempt_and_a_limited_wait_hold_but_ask_for_nothing) {
    TypeParam left, right, other;
    on_one_thread([&]() -> task<> {
        co_await both(left, right);
        {
            const auto two = co_await right.lock();
            const auto tried = left.try_lock();
        }
        {
            const auto two = co_await right.lock();
            const auto limited = co_await left.lock_for(1h);
        }
    });
    EXPECT_THAT(this->heard(), IsEmpty());
    on_one_thread([&]() -> task<> {
        const auto two = right.try_lock();
        const auto one = co_await left.lock();
    });
    EXPECT_THAT(this->heard(), SizeIs(1));
    on_one_thread([&]() -> task<> {
        co_await both(left, other);
        const auto three = co_await other.lock_for(1h);
        const auto one = co_await left.lock();
    });
    EXPECT_THAT(this->heard(), SizeIs(1));
}

TYPED_TEST(lock_order_of, a_lock_at_the_same_address_begins_anew) {
    TypeParam right;
    std::optional<TypeParam> left(std::in_place);
    on_one_thread([&]() -> task<> { co_await both(*left, right); });
    const void* const at = &*left;
    left.reset();
    left.emplace();
    ASSERT_EQ(&*left, at);
    on_one_thread([&]() -> task<> { co_await both(right, *left); });
    EXPECT_THAT(this->heard(), IsEmpty());
    on_one_thread([&]() -> task<> { co_await both(*left, right); });
    EXPECT_THAT(this->heard(), SizeIs(1));
}

TEST_F(lock_order, three_in_a_ring_are_reported_with_every_edge) {
    leat::mutex a, b, c;
    const auto pair = [](leat::mutex& first, leat::mutex& second) -> task<> { return both(first, second); };
    on_one_thread([&]() -> task<> {
        leat::scope work;
        work.spawn(leat::task_name("one"), pair, std::ref(a), std::ref(b));
        co_await work.join();
    });
    on_one_thread([&]() -> task<> {
        leat::scope work;
        work.spawn(leat::task_name("two"), pair, std::ref(b), std::ref(c));
        co_await work.join();
    });
    EXPECT_THAT(heard(), IsEmpty());
    on_one_thread([&]() -> task<> {
        leat::scope work;
        work.spawn(leat::task_name("three"), pair, std::ref(c), std::ref(a));
        co_await work.join();
    });
    EXPECT_THAT(heard(), ElementsAre(AllOf(HasSubstr("lock order: \"three\""), HasSubstr("; earlier \"one\""),
                                           HasSubstr(", and \"two\""))));
}

TEST_F(lock_order, locks_of_different_kinds_are_one_order) {
    leat::mutex plain;
    leat::shared_mutex shared;
    on_one_thread([&]() -> task<> {
        {
            const auto one = co_await plain.lock();
            const auto two = co_await shared.lock_shared();
        }
        const auto two = co_await shared.lock_shared();
        const auto one = co_await plain.lock();
    });
    EXPECT_THAT(heard(), ElementsAre(AllOf(HasSubstr("a mutex 0x"), HasSubstr("a shared mutex 0x"))));
}

TEST_F(lock_order, an_owner_that_locks_again_asks_for_nothing) {
    leat::recursive_mutex again;
    leat::mutex other;
    on_one_thread([&]() -> task<> {
        const auto outer = co_await again.lock();
        const auto inner = co_await other.lock();
        const auto nested = co_await again.lock();
    });
    EXPECT_THAT(heard(), IsEmpty());
}

TEST_F(lock_order, waiting_for_a_condition_asks_for_its_lock_again) {
    leat::mutex outer, inner;
    leat::condition_variable changed;
    unsigned line = 0;
    on_one_thread([&]() -> task<> {
        line = __LINE__ + 1;
        auto held = co_await outer.lock();
        const auto kept = co_await inner.lock();
        const auto never = [] { return false; };
        EXPECT_FALSE(co_await changed.wait_for(held, 1ms, never));
    });
    EXPECT_THAT(heard(), ElementsAre(HasSubstr(here(line) + " while it held")));
}

// `locker` locks `first`, puts the guard away and locks `second`; then it takes the guard back or leaves it to the caller.
template <class Lock>
task<> puts_away(Lock& first, Lock& second, std::optional<typename Lock::guard>& away, bool takes_it_back) {
    auto mine = co_await first.lock();
    away.emplace(std::move(mine));
    const auto other = co_await second.lock();
    if (takes_it_back) away.reset();
}

TEST_F(lock_order, a_guard_that_was_handed_over_is_not_held_by_who_locked) {
    for (const bool takes_it_back : {false, true}) {
        leat::mutex first, second;
        std::optional<leat::mutex::guard> away;
        on_one_thread([&]() -> task<> {
            leat::scope work;
            work.spawn(leat::task_name("locker"), puts_away<leat::mutex>, std::ref(first), std::ref(second),
                       std::ref(away), takes_it_back);
            co_await work.join();
            away.reset();  // by another line, unless it was taken back
            co_await both(second, first);
        });
        EXPECT_THAT(heard(), SizeIs(takes_it_back ? 1 : 0));
    }
}

TEST_F(lock_order, what_was_asked_for_with_a_moved_guard_is_forgotten_with_its_lock) {
    leat::mutex first;
    std::optional<leat::mutex> second(std::in_place);
    std::optional<leat::mutex::guard> away;
    on_one_thread([&]() -> task<> {
        co_await puts_away(first, *second, away, false);
        second.reset();
        second.emplace();
        away.reset();
        co_await both(*second, first);
    });
    EXPECT_THAT(heard(), IsEmpty());
}

TEST_F(lock_order, of_two_shares_the_one_that_is_unlocked_ends) {
    leat::shared_mutex first;
    leat::mutex second;
    std::optional<leat::shared_mutex::shared_guard> away;
    on_one_thread([&]() -> task<> {
        const auto gives = [&]() -> task<> { away.emplace(co_await first.lock_shared()); };
        leat::scope work;
        work.spawn(gives);
        co_await work.join();
        {
            const auto mine = co_await first.lock_shared();
            away.reset();  // the other's, and not mine
            const auto two = co_await second.lock();
        }
        co_await both(second, first);
    });
    EXPECT_THAT(heard(), SizeIs(1));
}

// --- Properties ---

constexpr unsigned how_many = 6;

// Takes some of the locks, always in the order of their places, each in one way or another.
task<> takes_some(std::vector<leat::mutex>& locks, unsigned seed) {
    leat_test::dice draw(seed);
    for (int round = 0; round < 20; ++round) {
        std::vector<leat::mutex::guard> held;
        held.reserve(how_many);
        for (leat::mutex& each : locks) {
            if (draw(2) == 0) continue;
            if (draw(4) == 0) {
                if (auto got = co_await each.lock_for(1h)) held.push_back(std::move(*got));
            } else {
                held.push_back(co_await each.lock());
            }
            if (draw(3) == 0) co_await leat::this_task::yield();
            if (draw(5) == 0) held.erase(held.begin() + draw(static_cast<unsigned>(held.size())));
        }
        if (auto got = locks[draw(how_many)].try_lock()) held.push_back(std::move(*got));
    }
}
// The same with guards that stay where they were made.
task<> nests(std::vector<leat::mutex>& locks, unsigned place, unsigned seed) {
    if (place >= how_many) co_return;
    leat_test::dice draw(seed);
    const auto held = co_await locks[place].lock();
    if (draw(3) == 0) co_await leat::this_task::yield();
    co_await nests(locks, place + 1 + draw(3), seed + 1);
}

TEST_F(lock_order, soak_one_order_is_never_reported) {
    for (leat_test::soak rounds(20); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        std::vector<leat::mutex> locks(how_many);
        const auto program = [&locks, seed = rounds.seed()]() -> task<> {
            leat::scope work;
            for (unsigned i = 0; i < 4; ++i) {
                work.spawn(takes_some, std::ref(locks), seed * 8 + i);
                work.spawn(nests, std::ref(locks), i % 3, seed * 8 + i);
            }
            co_await work.join();
        };
        on_threads(3, program);
        leat::sim::options options;
        options.seed = rounds.seed();
        EXPECT_TRUE(leat::sim::run(options, program).ok());
        EXPECT_THAT(heard(), IsEmpty());
    }
}

// Any orders, one after the other, beside a plain model: a report for each edge that closes a circle, and no other.
TEST_F(lock_order, soak_a_report_for_each_edge_that_closes_a_circle) {
    for (leat_test::soak rounds(50); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice draw(rounds.seed());
        std::vector<std::unique_ptr<leat::mutex>> locks(how_many);
        for (auto& each : locks) each = std::make_unique<leat::mutex>();
        bool edge[how_many][how_many] = {}, reported[how_many][how_many] = {};
        for (int step = 0; step < 60; ++step) {
            const unsigned from = draw(how_many), to = draw(how_many);
            if (from == to) {  // another lock there
                locks[to] = std::make_unique<leat::mutex>();
                for (unsigned i = 0; i < how_many; ++i)
                    edge[i][to] = edge[to][i] = reported[i][to] = reported[to][i] = false;
                continue;
            }
            bool leads[how_many][how_many];
            std::copy(&edge[0][0], &edge[0][0] + how_many * how_many, &leads[0][0]);
            for (unsigned by = 0; by < how_many; ++by)
                for (unsigned i = 0; i < how_many; ++i)
                    for (unsigned j = 0; j < how_many; ++j) leads[i][j] = leads[i][j] || (leads[i][by] && leads[by][j]);
            const bool expected = !edge[from][to] && leads[to][from] && !reported[to][from];
            edge[from][to] = true;
            reported[from][to] = reported[from][to] || expected;
            {
                const auto one = locks[from]->blocking_lock();
                const auto two = locks[to]->blocking_lock();
            }
            ASSERT_THAT(heard(), SizeIs(expected ? 1 : 0)) << "step " << step << ": " << from << " -> " << to;
        }
    }
}

}  // namespace
