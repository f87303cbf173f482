// Fork and join on one thread and on pools: values, errors from either side, cancellation, depth, and what a fork_task may
// await besides its children.
#include <atomic>
#include <core.hpp>
#include <memory>
#include <new>
#include <optional>
#include <vector>

#include <leat/channel/channel.hpp>
#include <leat/runtime/event_loop.hpp>
#include <leat/runtime/thread_pool.hpp>
#include <leat/task/fork.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>

namespace {

using leat::call;
using leat::fork;
using leat::fork_task;
using leat::join;
using leat::task;
using leat_test::giving;

// Each test runs on an event loop (0) and on pools of so many threads.
class forks : public testing::TestWithParam<unsigned> {
protected:
    template <class Program, class... Argument>
    static decltype(auto) run(Program&& program, Argument&&... arguments) {
        std::unique_ptr<leat::runtime> where;
        if (GetParam() == 0) where = std::make_unique<leat::event_loop>();
        else where = std::make_unique<leat::thread_pool>(GetParam());
        return where->run(std::forward<Program>(program)(std::forward<Argument>(arguments)...));
    }
};
INSTANTIATE_TEST_SUITE_P(on, forks, testing::Values(0U, 1U, 2U, 4U), [](const auto& threads) {
    return threads.param == 0 ? std::string("an_event_loop") : "a_pool_of_" + std::to_string(threads.param);
});

// Counts how many of it are alive, on whatever thread.
class counted {
public:
    explicit counted(std::atomic<int>& alive) noexcept : alive_(&alive) { ++*alive_; }
    counted(const counted& other) noexcept : alive_(other.alive_) { ++*alive_; }
    counted& operator=(const counted&) = delete;
    ~counted() { --*alive_; }

private:
    std::atomic<int>* alive_;
};

fork_task<long> fib(int n) {
    if (n < 2) co_return n;
    long left = 0;
    co_await fork(&left, fib, n - 1);
    const long right = co_await call(fib, n - 2);
    co_await join();
    co_return left + right;
}
task<long> run_fib(int n) { co_return co_await fib(n); }

constexpr int fib_size = 22;
constexpr long fib_value = 17711;

TEST_P(forks, the_children_s_values_are_there_after_the_join) { EXPECT_EQ(run(run_fib, fib_size), fib_value); }

TEST_P(forks, many_trees_at_once) {
    const auto program = []() -> task<> {
        leat::scope work;
        std::vector<long> values(200);
        for (long& value : values) work.spawn([&value]() -> task<> { value = co_await fib(12); });
        co_await work.join();
        for (const long value : values) EXPECT_EQ(value, 144);
    };
    run(program);
}

TEST_P(forks, one_tree_after_another_in_a_task) {
    const auto program = []() -> task<long> {
        long sum = 0;
        for (int i = 0; i < 2000; ++i) sum += co_await fib(5);
        co_return sum;
    };
    EXPECT_EQ(run(program), 10'000);
}

TEST_P(forks, in_arms_that_start_in_place) {
    const auto program = []() -> task<long> {
        auto all = co_await leat::when_all(run_fib(10), run_fib(11), run_fib(12));
        co_return std::get<0>(all) + std::get<1>(all) + std::get<2>(all);
    };
    EXPECT_EQ(run(program), 55 + 89 + 144);
}

// --- Kinds of values and parameters ---

fork_task<int&> larger(int& a, int& b) { co_return a < b ? b : a; }
fork_task<> pick(int (&numbers)[4], int** out) {
    int* left = nullptr;
    co_await fork(&left, larger, numbers[0], numbers[1]);
    int& right = co_await larger(numbers[2], numbers[3]);
    co_await join();
    int& best = co_await call(larger, *left, right);
    *out = &best;
}

TEST_P(forks, references_refer_to_the_caller_s_objects) {
    int numbers[4] = {3, 9, 4, 1};
    int* best = nullptr;
    const auto program = [&]() -> task<> { co_await pick(numbers, &best); };
    run(program);
    EXPECT_EQ(best, &numbers[1]);
}

fork_task<std::vector<int>> count_up(int from, int to, counted by_value) {
    if (to - from == 1) {
        std::vector<int> one(1, from);
        co_return one;
    }
    const int middle = from + (to - from) / 2;
    std::vector<int> left;
    co_await fork(&left, count_up, from, middle, by_value);
    const std::vector<int> right = co_await call(count_up, middle, to, by_value);
    co_await join();
    left.insert(left.end(), right.begin(), right.end());
    co_return left;
}

TEST_P(forks, values_and_parameters_with_destructors_are_destroyed_once) {
    std::atomic<int> alive = 0;
    std::vector<int> all;
    const auto program = [&]() -> task<> { all = co_await count_up(0, 1000, counted(alive)); };
    run(program);
    EXPECT_EQ(alive, 0);
    ASSERT_EQ(all.size(), 1000U);
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(all[static_cast<unsigned>(i)], i);
}

fork_task<std::unique_ptr<long>> boxed_sum(std::shared_ptr<const std::vector<long>> numbers, std::size_t from,
                                           std::size_t to) {
    if (to - from == 1) co_return std::make_unique<long>((*numbers)[from]);
    std::unique_ptr<long> left;
    std::unique_ptr<long> right;
    const std::size_t middle = from + (to - from) / 2;
    co_await fork(&left, boxed_sum, numbers, from, middle);
    co_await fork(&right, boxed_sum, numbers, middle, to);
    co_await join();
    co_return std::make_unique<long>(*left + *right);
}

TEST_P(forks, move_only_values) {
    auto numbers = std::make_shared<const std::vector<long>>(10'000, 3L);
    const auto program = [&]() -> task<long> { co_return *co_await boxed_sum(numbers, 0, numbers->size()); };
    EXPECT_EQ(run(program), 30'000);
    EXPECT_EQ(numbers.use_count(), 1);
}

// --- Depth ---

fork_task<long> chain(int depth) {
    if (depth == 0) co_return 0;
    long below = 0;
    co_await fork(&below, chain, depth - 1);
    co_await join();
    co_return below + 1;
}

TEST_P(forks, a_million_levels_deep) {
    constexpr int depth = 1'000'000;
    const auto program = []() -> task<long> { co_return co_await chain(depth); };
    EXPECT_EQ(run(program), depth);
}

fork_task<> many_children(std::vector<int>& slots) {
    const auto set = [](int& slot, int value) -> fork_task<> {
        slot = value;
        co_return;
    };
    for (int round = 1; round <= 3; ++round) {
        for (int& slot : slots) co_await fork(set, slot, round);
        co_await join();
        for (const int slot : slots)
            if (slot != round) throw std::logic_error("a child is missing after the join");
    }
}

TEST_P(forks, many_children_of_one_parent_in_rounds) {
    std::vector<int> slots(5000);
    const auto program = [&]() -> task<> { co_await many_children(slots); };
    run(program);
}

// --- Errors ---

fork_task<int> throws(const char* text) {
    if (text != nullptr) throw std::runtime_error(text);
    co_return 1;
}
fork_task<int> with_children(const char* forked, const char* called, const char* own, long* ended) {
    int a = 0;
    long work = 0;
    co_await fork(&work, fib, 10);
    co_await fork(&a, throws, forked);
    const int b = co_await call(throws, called);
    if (own != nullptr) throw std::runtime_error(own);
    co_await join();
    *ended = work;
    co_return a + b;
}
template <class Run>
std::string error_of(Run&& program) {
    try {
        program();
        return "(a value)";
    } catch (const std::runtime_error& error) {
        return error.what();
    } catch (const leat::cancelled&) {
        return "(cancelled)";
    }
}

TEST_P(forks, an_error_of_a_child_or_of_the_parent_reaches_the_task) {
    long ended = 0;
    const auto fails = [&](const char* forked, const char* called, const char* own) {
        return error_of([&] { run([&]() -> task<> { (void)co_await with_children(forked, called, own, &ended); }); });
    };
    EXPECT_EQ(fails(nullptr, nullptr, nullptr), "(a value)");
    EXPECT_EQ(ended, 55);
    EXPECT_EQ(fails("forked", nullptr, nullptr), "forked");
    EXPECT_EQ(fails(nullptr, "called", nullptr), "called");
    EXPECT_EQ(fails(nullptr, nullptr, "own"), "own");
}

fork_task<> survives(int* steps) {
    int value = 0;
    std::string text;
    co_await fork(&value, throws, "first");
    try {
        co_await join();
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    if (text != "first") throw std::logic_error("the join did not throw");
    ++*steps;
    try {
        (void)co_await throws("second");
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    if (text != "second") throw std::logic_error("the call did not throw");
    ++*steps;
    co_await fork(&value, throws, nullptr);
    co_await join();
    if (value == 1) ++*steps;
}

TEST_P(forks, a_parent_that_catches_goes_on_and_forks_again) {
    int steps = 0;
    const auto program = [&]() -> task<> { co_await survives(&steps); };
    run(program);
    EXPECT_EQ(steps, 3);
}

fork_task<long> fails_somewhere(int n, std::atomic<int>& left_to_go) {
    if (n < 2) co_return n;
    if (n == 7 && left_to_go-- == 0) throw std::runtime_error("deep inside");
    long left = 0;
    co_await fork(&left, fails_somewhere, n - 1, left_to_go);
    const long right = co_await fib(n - 2);
    co_await join();
    co_return left + right;
}

TEST_P(forks, an_error_comes_up_through_all_levels) {
    for (int round = 0; round < 50; ++round) {
        std::atomic<int> left_to_go = 0;
        EXPECT_EQ(error_of([&] { run([&]() -> task<> { (void)co_await fails_somewhere(18, left_to_go); }); }),
                  "deep inside");
    }
}

fork_task<> forks_and_throws(long* value) {
    co_await fork(value, fib, 12);
    throw std::runtime_error("parent");
}
fork_task<> forks_and_returns(long* value) { co_await fork(value, fib, 12); }

TEST_P(forks, who_ends_without_a_join_waits_for_its_children) {
    for (int round = 0; round < 50; ++round) {
        long value = 0;
        EXPECT_EQ(error_of([&] { run([&]() -> task<> { co_await forks_and_throws(&value); }); }), "parent");
        EXPECT_EQ(value, 144);
        value = 0;
        const auto program = [&]() -> task<> { co_await forks_and_returns(&value); };
        run(program);
        EXPECT_EQ(value, 144);
    }
}

struct throws_when_copied {
    throws_when_copied() = default;
    throws_when_copied(const throws_when_copied&) { throw std::runtime_error("copied"); }
};
fork_task<> takes_by_value(throws_when_copied) { co_return; }
fork_task<> hands_on(const throws_when_copied& it) {
    co_await fork(takes_by_value, it);
    co_await join();
}

TEST_P(forks, a_parameter_that_cannot_be_copied_fails_the_fork) {
    const throws_when_copied it;
    EXPECT_EQ(error_of([&] { run([&]() -> task<> { co_await hands_on(it); }); }), "copied");
}

TEST_P(forks, a_fork_task_that_is_dropped_never_runs) {
    std::atomic<int> alive = 0;
    const auto never = [](counted, bool* ran) -> fork_task<> {
        *ran = true;
        co_return;
    };
    bool ran = false;
    const auto inside = [&]() -> fork_task<> {
        (void)never(counted(alive), &ran);
        EXPECT_EQ(alive, 0);
        const counted named(alive);
        co_await fork(never, named, &ran);
        co_await join();
    };
    const auto program = [&]() -> task<> {
        (void)never(counted(alive), &ran);
        EXPECT_EQ(alive, 0);
        EXPECT_FALSE(ran);
        co_await inside();
    };
    run(program);
    EXPECT_TRUE(ran);
    EXPECT_EQ(alive, 0);
}

// --- Cancellation ---

fork_task<> for_ever(leat::stop_source& stop, int depth) {
    if (depth == 12) stop.request_stop();
    for (;;) {
        co_await fork(for_ever, stop, depth + 1);
        co_await join();
    }
}

TEST_P(forks, a_stop_request_ends_the_tree_at_its_forks) {
    const auto program = []() -> task<> {
        leat::context& line = co_await leat::this_task::line();
        co_await for_ever(line.stop(), 0);
    };
    EXPECT_THROW(run(program), leat::cancelled);
}

// --- Awaiting tasks ---

fork_task<long> with_tasks(int n) {
    if (n < 2) co_return co_await giving(n, n);
    long left = 0;
    co_await fork(&left, with_tasks, n - 1);
    const long right = co_await with_tasks(n - 2);
    task<int> nothing = giving(0);
    const long zero = co_await nothing;
    co_await join();
    co_return left + right + zero;
}

TEST_P(forks, a_fork_task_awaits_tasks_that_wait) {
    const auto program = []() -> task<long> { co_return co_await with_tasks(12); };
    EXPECT_EQ(run(program), 144);
}

task<> receive(leat::receiver<int> in, long& sum) {
    while (auto item = co_await in.recv()) sum += *item;
}
task<> send(leat::sender<int> out, int value) { (void)co_await out.send(value); }
fork_task<> sends(leat::sender<int>& out, int from, int to) {
    if (to - from == 1) {
        co_await send(out, from);
        co_return;
    }
    const int middle = from + (to - from) / 2;
    co_await fork(sends, out, from, middle);
    co_await fork(sends, out, middle, to);
    co_await join();
}

TEST_P(forks, leaves_that_send_into_a_channel) {
    long sum = 0;
    const auto program = [&]() -> task<> {
        auto [out, in] = leat::channel<int>(1);
        leat::scope work;
        work.spawn(receive, std::move(in), std::ref(sum));
        leat::sender<int> ours = std::move(out);
        co_await sends(ours, 0, 1000);
        ours.close();
        co_await work.join();
    };
    run(program);
    EXPECT_EQ(sum, 499'500);
}

fork_task<> waits_in_leaves(int depth) {
    if (depth == 0) {
        co_await leat_test::until_stopped();
        co_return;
    }
    co_await fork(waits_in_leaves, depth - 1);
    co_await fork(waits_in_leaves, depth - 1);
    co_await join();
}

TEST_P(forks, a_stop_request_ends_the_tasks_that_frames_wait_for) {
    const auto program = []() -> task<> {
        leat::context& line = co_await leat::this_task::line();
        leat::scope work;
        work.spawn([&line]() -> task<> {
            for (int turn = 0; turn < 100; ++turn) co_await leat::this_task::yield();
            line.request_stop();
        });
        leat::outcome<void> end = co_await [](int depth) -> task<> { co_await waits_in_leaves(depth); }(5).as_outcome();
        EXPECT_TRUE(end.is_cancelled());
        co_await work.join();
    };
    EXPECT_THROW(run(program), leat::cancelled);
}

fork_task<int> awaits_failing() { co_return co_await leat_test::failing("in a task", 2); }

TEST_P(forks, the_error_of_an_awaited_task_is_thrown_by_the_await) {
    EXPECT_EQ(error_of([&] { run([]() -> task<> { (void)co_await awaits_failing(); }); }), "in a task");
}

TEST(fork_death, awaited_twice) {
    EXPECT_DEATH(leat_test::on_one_thread([]() -> task<> {
                     fork_task<int> once = awaits_failing();
                     try {
                         (void)co_await std::move(once);
                     } catch (const std::runtime_error&) {
                     }
                     (void)co_await std::move(once);  // NOLINT(bugprone-use-after-move)
                 }),
                 "bug: a fork_task was awaited twice");
}

}  // namespace
