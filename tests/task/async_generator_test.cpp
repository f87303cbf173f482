// async_generator: elements over waits, cancellation that loses none, errors, dropping, and a flat stack.
#include <leat/task/async_generator.hpp>

#include <core.hpp>
#include <memory>
#include <stack_gauge.hpp>
#include <vector>

#include <leat/channel/channel.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::async_generator;
using leat::task;
using leat_test::counted;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::token;
using leat_test::until_stopped;
using namespace std::chrono_literals;

async_generator<int> counting(int from, int below) {
    for (; from < below; ++from) co_yield int(from);
}

// All that is left.
template <class T>
task<std::vector<T>> all_of(async_generator<T>& from) {
    std::vector<T> all;
    while (auto each = co_await from.next()) all.push_back(std::move(*each));
    co_return all;
}

TEST(async_generator, gives_its_elements_in_order_and_stays_at_its_end) {
    on_one_thread([]() -> task<> {
        auto numbers = counting(1, 4);
        const auto rest = co_await all_of(numbers);
        EXPECT_EQ(rest, (std::vector{1, 2, 3}));
        auto after = co_await numbers.next();
        EXPECT_FALSE(after.has_value());
    });
}

async_generator<int> waits_between(std::vector<std::string>& log) {
    log.emplace_back("begun");
    co_yield co_await giving(1, 3);
    log.emplace_back("asked again");
    co_await leat::sleep_for(1ms);
    co_yield 2;
}

TEST(async_generator, runs_only_when_it_is_asked_and_may_wait_between_elements) {
    on_one_thread([]() -> task<> {
        std::vector<std::string> log;
        auto numbers = waits_between(log);
        EXPECT_TRUE(log.empty());
        auto first = co_await numbers.next();
        EXPECT_EQ(first, 1);
        EXPECT_EQ(log.size(), 1U);
        const auto rest = co_await all_of(numbers);
        EXPECT_EQ(rest, (std::vector{2}));
    });
}

TEST(async_generator, runs_on_the_workers_of_a_pool) {
    const int sum = leat_test::on_threads(3, []() -> task<int> {
        const auto each = []() -> async_generator<int> {
            for (int i = 0; i < 1000; ++i) {
                co_await leat::this_task::yield();
                co_yield i;
            }
        };
        auto numbers = each();
        int total = 0;
        while (auto number = co_await numbers.next()) total += *number;
        co_return total;
    });
    EXPECT_EQ(sum, 499'500);
}

async_generator<token> tokens() {
    co_yield token(1);
    token named(2);
    co_yield std::move(named);
    EXPECT_EQ(named.number(), -1);
}
async_generator<std::string> words() {
    const std::string kept = "kept";
    co_yield "converted";
    co_yield kept;
    co_yield kept;
}
async_generator<int&> references(std::vector<int>& to) {
    for (int& each : to) co_yield each;
}

TEST(async_generator, moves_values_copies_lvalues_and_points_to_references) {
    on_one_thread([]() -> task<> {
        auto moved = tokens();
        auto one = co_await moved.next();
        auto two = co_await moved.next();
        EXPECT_EQ(one->number(), 1);
        EXPECT_EQ(two->number(), 2);
        auto end = co_await moved.next();
        EXPECT_FALSE(end.has_value());
        auto copied = words();
        const auto rest = co_await all_of(copied);
        EXPECT_EQ(rest, (std::vector<std::string>{"converted", "kept", "kept"}));
        std::vector numbers{1, 2};
        auto refers = references(numbers);
        while (int* each = co_await refers.next()) *each *= 10;
        EXPECT_EQ(numbers, (std::vector{10, 20}));
    });
}

async_generator<int> throws_after_one() {
    co_yield 1;
    throw std::runtime_error("broken");
}

TEST(async_generator, an_error_comes_out_of_every_later_call) {
    on_one_thread([]() -> task<> {
        auto broken = throws_after_one();
        auto first = co_await broken.next();
        EXPECT_EQ(first, 1);
        for (int i = 0; i < 2; ++i) {
            bool threw = false;
            try {
                (void)co_await broken.next();
            } catch (const std::runtime_error& error) {
                threw = error.what() == std::string("broken");
            }
            EXPECT_TRUE(threw);
        }
    });
}

// --- Cancellation ---

async_generator<int> relays(leat::receiver<int> in) {
    while (auto value = co_await in.recv()) co_yield *value;
}

TEST(async_generator, a_stop_ends_the_body_at_its_wait_and_the_call_with_cancelled) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(4);
        auto numbers = relays(in);
        bool over = false;
        try {
            (void)co_await leat::timeout(numbers.next(), 1ms);
        } catch (const leat::timed_out&) {
            over = true;
        }
        EXPECT_TRUE(over);
        // What was not taken is still in the channel; the generator, ended by the stop, says so and does not just end.
        auto sent = co_await out.send(7);
        EXPECT_TRUE(sent.has_value());
        bool cancelled = false;
        try {
            (void)co_await numbers.next();
        } catch (const leat::cancelled&) {
            cancelled = true;
        }
        EXPECT_TRUE(cancelled);
        auto kept = in.try_recv();
        EXPECT_TRUE(kept.has_value());
    });
}

async_generator<int> survives(leat::receiver<int> in) {
    for (;;) {
        int value = -1;
        try {
            auto got = co_await leat::timeout(in.recv(), 1ms);
            if (!got) co_return;
            value = *got;
        } catch (const leat::timed_out&) {
        }
        co_yield int(value);
    }
}

TEST(async_generator, a_time_limit_inside_the_body_leaves_it_usable) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(4);
        auto numbers = survives(std::move(in));
        auto nothing = co_await numbers.next();
        EXPECT_EQ(nothing, -1);
        auto sent = co_await out.send(7);
        EXPECT_TRUE(sent.has_value());
        auto seven = co_await numbers.next();
        EXPECT_EQ(seven, 7);
        out.reset();
        auto end = co_await numbers.next();
        EXPECT_FALSE(end.has_value());
    });
}

TEST(async_generator, an_element_is_given_even_when_the_task_is_asked_to_stop) {
    on_one_thread([]() -> task<> {
        int seen = 0;
        const auto consume = [](int* count) -> task<> {
            auto numbers = counting(0, 10);
            while (auto each = co_await numbers.next()) {
                ++*count;
                auto& line = co_await leat::this_task::line();
                line.request_stop();
            }
        };
        leat::scope work;
        work.spawn(consume, &seen);
        co_await work.join();
        EXPECT_EQ(seen, 10);
    });
}

TEST(async_generator, a_stopped_pipeline_of_them_ends_and_destroys_everything) {
    on_one_thread([]() -> task<> {
        int alive = 0;
        bool cancelled = false;
        const auto inner = [](int& count) -> async_generator<int> {
            const counted local(count);
            co_yield 1;
            co_await until_stopped();
        };
        const auto outer = [&](int& count) -> async_generator<int> {
            const counted local(count);
            auto from = inner(count);
            while (auto each = co_await from.next()) co_yield *each + 1;
        };
        const auto consume = [&]() -> task<> {
            auto numbers = outer(alive);
            auto two = co_await numbers.next();
            EXPECT_EQ(two, 2);
            try {
                (void)co_await numbers.next();
            } catch (const leat::cancelled&) {
                cancelled = true;
            }
            EXPECT_EQ(alive, 0);
        };
        leat::scope work;
        work.spawn(consume);
        co_await leat::this_task::yield();
        co_await leat::this_task::yield();
        work.stop();
        co_await work.join();
        EXPECT_TRUE(cancelled);
    });
}

// --- Dropping ---

async_generator<int> holds(int& alive) {
    const counted local(alive);
    for (int i = 0;; ++i) co_yield i;
}

TEST(async_generator, dropping_a_suspended_one_destroys_what_it_holds) {
    on_one_thread([]() -> task<> {
        int alive = 0;
        {
            auto dropped = holds(alive);
            EXPECT_EQ(alive, 0);
            auto zero = co_await dropped.next();
            EXPECT_EQ(zero, 0);
            EXPECT_EQ(alive, 1);
        }
        EXPECT_EQ(alive, 0);
    });
}

async_generator<int> owns(std::shared_ptr<int> held) { co_yield *held; }

TEST(async_generator, one_that_never_ran_destroys_its_arguments) {
    auto shared = std::make_shared<int>(1);
    {
        const auto dropped = owns(shared);
    }
    EXPECT_EQ(shared.use_count(), 1);
}

async_generator<int> waits() {
    co_await until_stopped();
    co_yield 1;
}

TEST(async_generator_death, a_second_call_during_one_is_a_bug) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     auto shared = waits();
                     const auto ask = [&]() -> task<> { (void)co_await shared.next(); };
                     leat::scope work;
                     work.spawn(ask);
                     work.spawn(ask);
                     co_await work.join();
                 }),
                 "twice at a time");
}

TEST(async_generator_death, dropping_it_during_a_call_is_a_bug) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     auto dropped = std::make_unique<async_generator<int>>(waits());
                     const auto ask = [&]() -> task<> { (void)co_await dropped->next(); };
                     leat::scope work;
                     work.spawn(ask);
                     co_await leat::this_task::yield();
                     dropped.reset();
                     co_await work.join();
                 }),
                 "destroyed while its next element was awaited");
}

// --- The stack ---

async_generator<int> looks(leat_test::stack_gauge& gauge, int count) {
    for (int i = 0; i < count; ++i) {
        gauge.look();
        co_yield i;
    }
}

TEST(async_generator, ten_million_elements_leave_the_stack_flat) {
    leat_test::stack_gauge gauge;
    const std::int64_t sum = on_one_thread([&]() -> task<std::int64_t> {
        std::int64_t total = 0;
        auto numbers = looks(gauge, 10'000'000);
        while (auto each = co_await numbers.next()) {
            gauge.look();
            total += *each;
        }
        co_return total;
    });
    EXPECT_EQ(sum, 49'999'995'000'000);
    EXPECT_LT(gauge.span_bytes(), leat_test::flat_bytes);
}

}  // namespace
