// persistent_pool with real programs: answers, windows, deaths, hangs, floods.
#include <leat/process/persistent_pool.hpp>

#include <algorithm>
#include <child_output.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <mutex>
#include <set>
#include <soak.hpp>
#include <sstream>

#include <leat/runtime/run.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using namespace std::chrono_literals;
using leat::persistent_options;
using leat::persistent_pool;
using leat::worker_failed;
using leat_test::eventually;
using leat_test::runs;
using reason = worker_failed::reason;
using testing::HasSubstr;

persistent_options python(const std::string& text) {
    return persistent_options({"python3", "-I", "-S", "-u", "-c", text});
}
// Answers each line with itself behind "=", and obeys some.
persistent_options obedient() {
    return python(R"(
import os, sys, time
for line in sys.stdin:
    line = line.rstrip("\n")
    if line == "die": print("I died", file=sys.stderr); sys.exit(7)
    if line == "kill": os.kill(os.getpid(), 9)
    if line == "hang": time.sleep(1000)
    if line == "flood":
        while True: sys.stdout.write("x" * 65536)
    if line == "twice": print("=once")
    if line == "close": os.close(1); time.sleep(1000)
    print("=" + line)
)");
}

// How a call ended: its answer, or the reason in brackets.
leat::task<std::string> told(persistent_pool& pool, std::string line, bool alone = false) {
    static const std::map<reason, std::string> names = {
        {reason::died, "[died]"},           {reason::timed_out, "[timed out]"},     {reason::too_long, "[too long]"},
        {reason::no_answer, "[no answer]"}, {reason::not_started, "[not started]"}, {reason::bad_item, "[bad item]"},
        {reason::closed, "[closed]"}};
    try {
        co_return co_await pool.call(std::move(line), alone);
    } catch (const worker_failed& failed) {
        co_return names.at(failed.why());
    }
}

// Runs body(pool), closes the pool on every path, and checks that no worker is left.
template <class Body>
void with_pool(persistent_options options, Body body, unsigned threads = 2) {
    const auto all = [&]() -> leat::task<> {
        persistent_pool pool(std::move(options));
        const auto close = [&] { return pool.close(); };
        auto work = leat::finally(body(pool), close);
        co_await std::move(work);
        EXPECT_TRUE(pool.pids().empty());
    };
    leat::run(leat::run_options(threads), all);
}

struct results {
    std::mutex lock;
    std::map<std::string, std::vector<std::string>> by_line;
};

// Calls with each line, `at_once` at a time; a failed one is tried again, alone, up to `retries` times.
leat::task<> call_all(persistent_pool& pool, int first, int step, int end, int retries, results& into) {
    for (int i = first; i < end; i += step) {
        const std::string line = std::to_string(i);
        std::string answer;
        for (int attempt = 0; attempt <= retries; ++attempt) {
            answer = co_await told(pool, line, attempt > 0);
            if (!answer.starts_with('[')) break;
        }
        const std::lock_guard held(into.lock);
        into.by_line[line].push_back(answer);
    }
}

leat::task<> spawn_callers(leat::scope& work, persistent_pool& pool, int callers, int lines, int retries,
                           results& into) {
    for (int i = 0; i < callers; ++i) work.spawn(call_all, std::ref(pool), i, callers, lines, retries, std::ref(into));
    co_return;
}

leat::task<> call_many(persistent_pool& pool, int callers, int lines, int retries, results& into) {
    return leat::with_scope(spawn_callers, std::ref(pool), callers, lines, retries, std::ref(into));
}

TEST(persistent_pool, answers_each_line) {
    with_pool(obedient(), [](persistent_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await told(pool, "one"), "=one");
        EXPECT_EQ(co_await told(pool, ""), "=");
        EXPECT_EQ(co_await told(pool, "a b;c $(touch pwned) 'q' \""), "=a b;c $(touch pwned) 'q' \"");
        EXPECT_EQ(pool.counts().started, 1);
        EXPECT_EQ(pool.counts().answered, 3);
    });
}

// Answers each item with itself behind "=", and obeys some.
persistent_options framed() {
    auto options = python(R"(
import sys
def take(count):
    got = sys.stdin.buffer.read(count)
    if len(got) < count: sys.exit(0)
    return got
def put(answer): sys.stdout.buffer.write(answer); sys.stdout.buffer.flush()
while True:
    item = take(int.from_bytes(take(4), "big"))
    if item == b"huge": put((2**32 - 1).to_bytes(4, "big"))
    if item == b"part": put((5).to_bytes(4, "big") + b"par"); sys.exit(3)
    answer = b"=" + item
    for byte in len(answer).to_bytes(4, "big"): put(bytes([byte]))
    put(answer)
)");
    options.protocol = leat::worker_protocol::frame;
    return options;
}

TEST(persistent_pool, an_item_in_a_frame_may_be_of_any_bytes_and_any_length) {
    with_pool(framed(), [](persistent_pool& pool) -> leat::task<> {
        const std::string any("two\nlines\0and a \xff", 17);
        EXPECT_EQ(co_await told(pool, any), "=" + any);
        EXPECT_EQ(co_await told(pool, ""), "=");
        const std::string large(1'000'000, '\n');
        EXPECT_EQ(co_await told(pool, large), "=" + large);
        EXPECT_EQ(pool.counts().started, 1);
    });
}

TEST(persistent_pool, a_frame_that_announces_too_much_or_ends_early_costs_its_item) {
    with_pool(framed(), [](persistent_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await told(pool, "huge"), "[too long]");
        EXPECT_EQ(co_await told(pool, "part"), "[died]");
        EXPECT_EQ(co_await told(pool, "next"), "=next");
    });
}

TEST(persistent_pool, a_nul_byte_ends_items_of_several_lines) {
    auto options = persistent_options({"sed", "-z", "-u", "s/^/=/"});
    options.protocol = leat::worker_protocol::nul;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await told(pool, "two\nlines"), "=two\nlines");
        EXPECT_EQ(co_await told(pool, ""), "=");
        EXPECT_EQ(co_await told(pool, std::string("a\0b", 3)), "[bad item]");
        EXPECT_EQ(pool.counts().started, 1);
    });
}

TEST(persistent_pool, many_callers_get_their_own_answers_for_any_window_and_thread_count) {
    for (const unsigned threads : {1U, 2U}) {
        for (const unsigned window : {1U, 8U}) {
            auto options = persistent_options({"sed", "-u", "s/^/=/"});
            options.workers = 3;
            options.window = window;
            with_pool(
                std::move(options),
                [](persistent_pool& pool) -> leat::task<> {
                    results got;
                    co_await call_many(pool, 50, 5000, 0, got);
                    EXPECT_EQ(got.by_line.size(), 5000);
                    for (const auto& [line, answers] : got.by_line) EXPECT_EQ(answers, std::vector{"=" + line});
                    EXPECT_LE(pool.counts().started, 3);
                    EXPECT_EQ(pool.counts().replaced, 0);
                },
                threads);
        }
    }
}

TEST(persistent_pool, items_are_spread_over_the_workers) {
    auto options = python("import os, sys, time\nfor line in sys.stdin: time.sleep(0.02); print(os.getpid())");
    options.workers = 4;
    options.window = 4;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        results got;
        co_await call_many(pool, 4, 16, 0, got);
        std::set<std::string> pids;
        for (const auto& [line, answers] : got.by_line) pids.insert(answers.at(0));
        EXPECT_EQ(pids.size(), 4);
    });
}

TEST(persistent_pool, a_death_fails_the_item_with_status_and_standard_error_and_the_next_is_answered) {
    with_pool(obedient(), [](persistent_pool& pool) -> leat::task<> {
        try {
            std::string line("die");
            co_await pool.call(std::move(line));
            ADD_FAILURE() << "it was answered";
        } catch (const worker_failed& failed) {
            EXPECT_EQ(failed.why(), reason::died);
            EXPECT_TRUE(failed.retryable());
            EXPECT_EQ(failed.status()->code(), 7);
            EXPECT_EQ(failed.err(), "I died\n");
            EXPECT_THAT(failed.what(), HasSubstr("exited with 7"));
        }
        EXPECT_EQ(co_await told(pool, "kill"), "[died]");
        EXPECT_EQ(co_await told(pool, "next"), "=next");
        EXPECT_EQ(pool.counts().started, 3);
        EXPECT_EQ(pool.counts().replaced, 2);
        EXPECT_EQ(pool.counts().failed, 2);
    });
}

TEST(persistent_pool, a_death_costs_one_item_of_the_window) {
    auto options = obedient();
    options.window = 8;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        auto burst = [](leat::scope& work, persistent_pool& on, results& into) -> leat::task<> {
            for (const char* line : {"a", "b", "kill", "c", "d", "e"}) {
                const auto one = [](persistent_pool& to, std::string text, results& all) -> leat::task<> {
                    std::string copy = text;
                    std::string answer = co_await told(to, std::move(copy));
                    const std::lock_guard held(all.lock);
                    all.by_line[text].push_back(answer);
                };
                work.spawn(one, std::ref(on), std::string(line), std::ref(into));
            }
            co_return;
        };
        results got;
        co_await leat::with_scope(burst, std::ref(pool), std::ref(got));
        for (const auto& [line, answers] : got.by_line) {
            const std::string expected = line == "kill" ? "[died]" : "=" + line;
            EXPECT_EQ(answers, std::vector{expected});
        }
        EXPECT_EQ(pool.counts().failed, 1);
    });
}

TEST(persistent_pool, a_hang_ends_at_the_timeout) {
    auto options = obedient();
    options.timeout = 2s;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await told(pool, "fine"), "=fine");
        EXPECT_EQ(co_await told(pool, "hang"), "[timed out]");
        EXPECT_EQ(co_await told(pool, "next"), "=next");
    });
}

TEST(persistent_pool, a_worker_that_never_reads_times_out_too) {
    auto options = persistent_options({"sleep", "1000"});
    options.timeout = 50ms;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await told(pool, "one"), "[timed out]");
        EXPECT_EQ(co_await told(pool, "two"), "[timed out]");
    });
}

TEST(persistent_pool, an_answer_without_end_is_cut_off) {
    auto options = obedient();
    options.max_answer_bytes = 1'000'000;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await told(pool, "flood"), "[too long]");
        EXPECT_EQ(co_await told(pool, std::string(500'000, 'y')), "=" + std::string(500'000, 'y'));
        EXPECT_EQ(co_await told(pool, std::string(1'500'000, 'y')), "[too long]");
    });
}

TEST(persistent_pool, an_answer_out_of_turn_replaces_the_worker) {
    with_pool(obedient(), [](persistent_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await told(pool, "twice"), "=once");
        while (pool.counts().replaced == 0) co_await leat::sleep_for(1ms);
        EXPECT_EQ(co_await told(pool, "next"), "=next");
        EXPECT_EQ(pool.counts().started, 2);
    });
}

TEST(persistent_pool, a_worker_that_closes_its_output_and_runs_on_is_killed) {
    with_pool(obedient(), [](persistent_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await told(pool, "close"), "[no answer]");
        EXPECT_EQ(co_await told(pool, "next"), "=next");
    });
}

TEST(persistent_pool, a_worker_that_ends_after_some_items_is_followed_by_another) {
    auto options = persistent_options({"sh", "-c", "read a; echo =$a; read a; echo =$a"});
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        results got;
        co_await call_many(pool, 4, 20, 0, got);
        EXPECT_EQ(got.by_line.size(), 20);
        for (const auto& [line, answers] : got.by_line) EXPECT_EQ(answers, std::vector{"=" + line});
        EXPECT_GE(pool.counts().started, 10);
    });
}

TEST(persistent_pool, a_grandchild_that_holds_the_output_does_not_hang_the_item) {
    auto options = persistent_options({"sh", "-c", "sleep 1000 & read a; exit 3"});
    with_pool(std::move(options),
              [](persistent_pool& pool) -> leat::task<> { EXPECT_EQ(co_await told(pool, "one"), "[died]"); });
}

TEST(persistent_pool, an_item_that_is_no_line_is_refused) {
    with_pool(obedient(), [](persistent_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await told(pool, "two\nlines"), "[bad item]");
        EXPECT_EQ(co_await told(pool, "one line"), "=one line");
    });
}

TEST(persistent_pool, a_command_that_cannot_be_started_fails_every_call) {
    auto options = persistent_options({"leat-no-such-command"});
    options.workers = 3;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        results got;
        co_await call_many(pool, 5, 20, 0, got);
        EXPECT_EQ(got.by_line.size(), 20);
        for (const auto& [line, answers] : got.by_line) EXPECT_EQ(answers, std::vector<std::string>{"[not started]"});
        EXPECT_EQ(pool.counts().started, 0);
    });
}

TEST(persistent_pool, a_command_that_never_reads_a_line_is_given_up) {
    auto options = python("import sys; sys.exit('no such module')");
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        try {
            std::string line("one");
            co_await pool.call(std::move(line));
            ADD_FAILURE() << "it was answered";
        } catch (const worker_failed& failed) {
            EXPECT_EQ(failed.why(), reason::not_started);
            EXPECT_FALSE(failed.retryable());
            EXPECT_THAT(failed.what(), HasSubstr("5 times in a row"));
            EXPECT_THAT(failed.what(), HasSubstr("no such module"));
        }
        EXPECT_EQ(pool.counts().started, 5);
        EXPECT_EQ(co_await told(pool, "two"), "[not started]");
    });
}

TEST(persistent_pool, poison_items_do_not_end_the_pool) {
    auto options = obedient();
    options.workers = 2;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        for (int i = 0; i < 12; ++i) EXPECT_EQ(co_await told(pool, "die", i % 2 == 0), "[died]");
        EXPECT_EQ(co_await told(pool, "next"), "=next");
    });
}

// All that becomes of many, in one.
leat::task<persistent_pool::many_answers> all_of(persistent_pool& pool, std::string lines, std::size_t count) {
    persistent_pool::many_answers all;
    const auto take = [&all](persistent_pool::many_answers some) -> leat::task<> {
        for (auto& each : some.failures) {
            each.at += all.text.size();
            all.failures.push_back(std::move(each));
        }
        all.count += some.count;
        all.text += some.text;
        co_return;
    };
    co_await pool.call_many(std::move(lines), count, take, 1ms);
    co_return all;
}

TEST(persistent_pool, many_items_of_one_call_are_answered_together) {
    with_pool(obedient(), [](persistent_pool& pool) -> leat::task<> {
        const auto all = co_await all_of(pool, "a\nb\n\nc\n", 4);
        EXPECT_EQ(all.text, "=a\n=b\n=\n=c\n");
        EXPECT_TRUE(all.failures.empty());
        const auto none = co_await all_of(pool, "", 0);
        EXPECT_EQ(none.count, 0);
        EXPECT_EQ(pool.counts().answered, 4);
    });
}

TEST(persistent_pool, of_many_items_those_before_a_slow_one_are_not_kept_waiting) {
    auto options = obedient();
    options.timeout = 2s;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        std::vector<std::string> pieces;
        const auto take = [&pieces](persistent_pool::many_answers some) -> leat::task<> {
            pieces.push_back(some.text + std::to_string(some.failures.size()));
            co_return;
        };
        co_await pool.call_many("a\nb\nhang\nc\n", 4, take, 1ms);
        std::string all;
        for (const std::string& each : pieces) all += each;
        EXPECT_TRUE(pieces.front().starts_with("=a\n")) << pieces.front();
        EXPECT_TRUE(pieces.size() > 1);
        EXPECT_THAT(all, HasSubstr("=c\n"));
        EXPECT_EQ(pool.counts().failed, 1);
    });
}

TEST(persistent_pool, of_many_items_those_that_cost_a_worker_its_life_fail_and_the_others_are_answered) {
    with_pool(obedient(), [](persistent_pool& pool) -> leat::task<> {
        const auto all = co_await all_of(pool, "1\ndie\n2\nkill\n3\ndie\n", 6);
        EXPECT_EQ(all.text, "=1\n=2\n=3\n");
        EXPECT_EQ(all.failures.size(), 3);
        if (all.failures.size() != 3) co_return;
        EXPECT_EQ(all.failures[0].item, "die");
        EXPECT_EQ(all.failures[0].at, 3);
        EXPECT_EQ(all.failures[0].error.why(), reason::died);
        EXPECT_THAT(all.failures[0].error.err(), HasSubstr("I died"));
        EXPECT_EQ(all.failures[1].item, "kill");
        EXPECT_EQ(all.failures[1].at, 6);
        EXPECT_EQ(all.failures[2].at, 9);
        EXPECT_EQ(pool.counts().answered, 3);
        EXPECT_EQ(pool.counts().failed, 3);
        EXPECT_EQ(co_await told(pool, "one more"), "=one more");
        EXPECT_EQ(pool.counts().started, 4);
    });
}

TEST(persistent_pool, many_items_are_more_than_the_window_only_for_a_worker_that_holds_nothing) {
    auto options = obedient();
    options.window = 2;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        const auto all = co_await all_of(pool, "a\nb\nc\n", 3);
        EXPECT_EQ(all.text, "=a\n=b\n=c\n");
        pool.set_window(5);
        const auto more = co_await all_of(pool, "d\ne\nf\n", 3);
        EXPECT_EQ(more.text, "=d\n=e\n=f\n");
        EXPECT_EQ(pool.counts().started, 1);
    });
}

TEST(persistent_pool, many_items_of_a_command_that_does_not_work_all_fail) {
    with_pool(python("import sys; sys.exit(3)"), [](persistent_pool& pool) -> leat::task<> {
        const auto all = co_await all_of(pool, "a\nb\n", 2);
        EXPECT_EQ(all.text, "");
        EXPECT_EQ(all.failures.size(), 2);
        for (const auto& each : all.failures) EXPECT_EQ(each.error.why(), reason::not_started);
        EXPECT_EQ(pool.counts().failed, 2);
        bool refused = false;
        try {
            (void)co_await all_of(pool, "c\n", 1);
        } catch (const worker_failed& failed) {
            refused = failed.why() == reason::not_started;
        }
        EXPECT_TRUE(refused);
    });
}

TEST(persistent_pool, many_items_may_be_of_several_lines_behind_nul_bytes) {
    auto options = persistent_options({"sed", "-z", "-u", "s/^/=/"});
    options.protocol = leat::worker_protocol::nul;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        const auto all = co_await all_of(pool, std::string("a\nb\0c\0", 6), 2);
        EXPECT_EQ(all.text, std::string("=a\nb\0=c\0", 8));
    });
}

TEST(persistent_pool, an_item_that_is_alone_has_its_worker_to_itself) {
    auto options = python(R"(
import os, select, sys
while True:
    line = sys.stdin.buffer.raw.readline().decode().rstrip("\n")
    if not line: break
    if line.startswith("alone"):
        more = select.select([0], [], [], 0.05)[0]
        print("crowded" if more else "to itself")
    else: print("=" + line)
)");
    options.workers = 2;
    options.window = 8;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        const auto mixed = [](leat::scope& work, persistent_pool& on) -> leat::task<> {
            for (int i = 0; i < 200; ++i) {
                const auto one = [](persistent_pool& to, int number) -> leat::task<> {
                    const bool alone = number % 40 == 20;
                    std::string line = (alone ? "alone " : "") + std::to_string(number);
                    const std::string expected = alone ? "to itself" : "=" + line;
                    EXPECT_EQ(co_await told(to, std::move(line), alone), expected);
                };
                work.spawn(one, std::ref(on), i);
            }
            co_return;
        };
        co_await leat::with_scope(mixed, std::ref(pool));
    });
}

TEST(persistent_pool, a_call_that_is_stopped_leaves_the_others_their_answers) {
    auto options = python("import sys, time\nfor line in sys.stdin: time.sleep(0.1); print('=' + line, end='')");
    options.window = 4;
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        auto slow = leat::timeout(told(pool, "left"), 30ms);
        EXPECT_THROW(co_await std::move(slow), leat::timed_out);
        EXPECT_EQ(co_await told(pool, "stayed"), "=stayed");
    });
}

TEST(persistent_pool, after_close_calls_are_refused_and_a_second_close_does_nothing) {
    with_pool(obedient(), [](persistent_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await told(pool, "one"), "=one");
        co_await pool.close();
        EXPECT_TRUE(pool.pids().empty());
        EXPECT_EQ(co_await told(pool, "two"), "[closed]");
    });
}

TEST(persistent_pool, close_ends_workers_that_do_not_want_to_end) {
    auto options = persistent_options({"sh", "-c", "trap '' TERM; while :; do read a && echo =$a; sleep 0.01; done"});
    options.grace = 50ms;
    with_pool(std::move(options),
              [](persistent_pool& pool) -> leat::task<> { EXPECT_EQ(co_await told(pool, "one"), "=one"); });
}

TEST(persistent_pool, a_stop_ends_workers_and_calls) {
    std::vector<int> workers;
    const auto body = [&]() -> leat::task<> {
        auto options = obedient();
        options.workers = 2;
        persistent_pool pool(std::move(options));
        const auto hang = [&]() -> leat::task<std::string> {
            EXPECT_EQ(co_await told(pool, "one"), "=one");
            workers = pool.pids();
            co_return co_await told(pool, "hang");
        };
        const auto close = [&] { return pool.close(); };
        auto work = leat::finally(hang(), close);
        co_await std::move(work);
        ADD_FAILURE() << "the call went on";
    };
    const auto stop_it = [&](leat::scope& work) -> leat::task<> {
        work.spawn(body);
        while (workers.empty()) co_await leat::sleep_for(5ms);
        work.stop();
    };
    const auto whole = [&] { return leat::with_scope(stop_it); };
    leat::run(leat::run_options(1), whole);
    ASSERT_EQ(workers.size(), 1);
    EXPECT_FALSE(runs(workers[0]));
}

TEST(persistent_pool, a_pool_that_was_never_called_needs_no_close) {
    const auto body = []() -> leat::task<bool> {
        const persistent_pool pool(obedient());
        co_return pool.pids().empty();
    };
    EXPECT_TRUE(leat::run(body));
}

TEST(persistent_pool, options_that_mean_nothing_are_refused) {
    const auto body = []() -> leat::task<> {
        auto none = persistent_options();
        EXPECT_THROW(persistent_pool{none}, std::invalid_argument);
        auto workers = obedient();
        workers.workers = 0;
        EXPECT_THROW(persistent_pool{workers}, std::invalid_argument);
        auto window = obedient();
        window.window = 0;
        EXPECT_THROW(persistent_pool{window}, std::invalid_argument);
        co_return;
    };
    leat::run(body);
}

// Kills a worker each time that some more items are done, until it is stopped.
leat::task<> murder(persistent_pool& pool, int& killed) {
    for (unsigned turn = 0; killed < 20; ++turn) {
        while (pool.counts().answered < 140 * (turn + 1)) co_await leat::sleep_for(1ms);
        const auto pids = pool.pids();
        if (!pids.empty()) ::kill(pids[turn % pids.size()], SIGKILL);
        ++killed;
    }
}

// Calls with the lines of [first, end), in blocks; those of a block that fail are tried again, alone.
leat::task<> call_in_blocks(persistent_pool& pool, int first, int end, unsigned seed, results& into) {
    leat_test::dice random(seed);
    while (first < end) {
        const int last = std::min(end, first + 1 + static_cast<int>(random(20)));
        std::string lines;
        for (int i = first; i < last; ++i) lines += std::to_string(i) + "\n";
        auto all = co_await all_of(pool, lines, static_cast<std::size_t>(last - first));
        for (; !all.failures.empty(); all.failures.pop_back()) {
            std::string answer = "[";
            while (answer.starts_with('[')) answer = co_await told(pool, all.failures.back().item, true);
            all.text.insert(all.failures.back().at, answer + "\n");
        }
        const std::lock_guard held(into.lock);
        std::istringstream answers(all.text);
        for (std::string answer; std::getline(answers, answer); ++first)
            into.by_line[std::to_string(first)].push_back(answer);
        EXPECT_EQ(first, last) << "an answer an item";
        first = last;
    }
}

class killed_workers : public testing::TestWithParam<unsigned> {};

TEST_P(killed_workers, lose_no_item_and_answer_none_twice) {
    auto options = python("import sys, time\nfor line in sys.stdin: time.sleep(0.001); print('=' + line, end='')");
    options.workers = 3;
    options.window = GetParam();
    with_pool(std::move(options), [](persistent_pool& pool) -> leat::task<> {
        const auto body = [](leat::scope& work, persistent_pool& on, results& into, int& dead) -> leat::task<> {
            work.spawn(murder, std::ref(on), std::ref(dead));
            co_await call_many(on, 30, 3000, 100, into);
            work.stop();
        };
        results got;
        int killed = 0;
        co_await leat::with_scope(body, std::ref(pool), std::ref(got), std::ref(killed));
        EXPECT_EQ(killed, 20);
        EXPECT_EQ(got.by_line.size(), 3000);
        for (const auto& [line, answers] : got.by_line) EXPECT_EQ(answers, std::vector{"=" + line});
        EXPECT_EQ(pool.counts().answered, 3000);
        EXPECT_LE(pool.counts().failed, 20);
        EXPECT_GE(pool.counts().replaced, 1);
    });
}

// Kills workers at moments drawn from `seed`, until it is stopped; after some answers each time, since workers that all die
// before they read a line are a program that does not work, which the pool gives up.
leat::task<> murder_at_random(persistent_pool& pool, unsigned seed) {
    leat_test::dice random(seed);
    for (;;) {
        const auto enough = pool.counts().answered + random(40);
        while (pool.counts().answered < enough) co_await leat::sleep_for(300us);
        co_await leat::sleep_for(std::chrono::microseconds(random(1000)));
        const auto pids = pool.pids();
        if (!pids.empty()) ::kill(pids[random(static_cast<unsigned>(pids.size()))], SIGKILL);
    }
}

TEST(persistent_pool_soak, workers_killed_at_any_moment_lose_no_item_and_answer_none_twice) {
    for (leat_test::soak rounds(2); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        auto options = python("import sys, time\nfor line in sys.stdin: time.sleep(0.0005); print('=' + line, end='')");
        options.workers = 1 + random(4);
        options.window = 1 + random(16);
        const int callers = 1 + static_cast<int>(random(40));
        const unsigned seed = rounds.seed();
        const auto body = [=](persistent_pool& pool) -> leat::task<> {
            const auto attacked = [=](leat::scope& work, persistent_pool& on, results& into) -> leat::task<> {
                work.spawn(murder_at_random, std::ref(on), seed);
                co_await call_many(on, callers, 300, 1000, into);
                work.stop();
            };
            results got;
            co_await leat::with_scope(attacked, std::ref(pool), std::ref(got));
            EXPECT_EQ(got.by_line.size(), 300);
            for (const auto& [line, answers] : got.by_line) EXPECT_EQ(answers, std::vector{"=" + line});
        };
        with_pool(std::move(options), body, 1 + random(3));
    }
}

TEST(persistent_pool_soak, workers_killed_amid_blocks_lose_no_item_and_answer_none_twice) {
    for (leat_test::soak rounds(2); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        auto options = python("import sys, time\nfor line in sys.stdin: time.sleep(0.0003); print('=' + line, end='')");
        options.workers = 1 + random(3);
        options.window = 1 + random(50);
        const int callers = 1 + static_cast<int>(random(8));
        const unsigned seed = rounds.seed();
        const auto body = [=](persistent_pool& pool) -> leat::task<> {
            const auto callers_of = [=](leat::scope& work, persistent_pool& on, results& into) -> leat::task<> {
                for (int i = 0; i < callers; ++i)
                    work.spawn(call_in_blocks, std::ref(on), 100 * i, 100 * (i + 1), seed + i, std::ref(into));
                co_return;
            };
            const auto attacked = [=](leat::scope& work, persistent_pool& on, results& into) -> leat::task<> {
                work.spawn(murder_at_random, std::ref(on), seed);
                co_await leat::with_scope(callers_of, std::ref(on), std::ref(into));
                work.stop();
            };
            results got;
            co_await leat::with_scope(attacked, std::ref(pool), std::ref(got));
            EXPECT_EQ(got.by_line.size(), static_cast<std::size_t>(100 * callers));
            for (const auto& [line, answers] : got.by_line) EXPECT_EQ(answers, std::vector{"=" + line});
        };
        with_pool(std::move(options), body, 1 + random(3));
    }
}

INSTANTIATE_TEST_SUITE_P(persistent_pool, killed_workers, testing::Values(1U, 8U),
                         [](const auto& which) { return "window_" + std::to_string(which.param); });

}  // namespace
