// The workers are this test program, started again: see main at the end.
#include <leat/process/process_pool.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <leat/runtime/main.hpp>
#include <leat/runtime/run.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/this_task.hpp>
#include <leat/task/timeout.hpp>

namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

// --- What runs in workers ---

int squared(int x) { return x * x; }
double divided(int x, double by) { return x / by; }
int own_pid() { return ::getpid(); }
std::string doubled(const std::string& text) { return text + text; }
leat::task<std::string> doubled_later(std::string text) {
    co_await leat::sleep_for(1ms);
    co_return text + text;
}
void nothing_at_all(int) {}
bool is_even(int x) { return x % 2 == 0; }
int no_sevens(int x) {
    if (x == 7) throw std::out_of_range("seven");
    return x;
}
int talking(int x) {
    std::cerr << "item " << x << '\n';
    return x;
}
int talks_and_throws(int x) {
    std::fprintf(stderr, "about to fail at %d\n", x);
    if (x == 3) throw std::runtime_error("three");
    return x;
}
int dies_at_five(int x) {
    if (x == 5) {
        std::fprintf(stderr, "five is too much\n");
        ::raise(SIGKILL);
    }
    return x;
}
// Dies once for each folder.
std::string dies_the_first_time(const std::string& folder) {
    if (::access((folder + "/again").c_str(), F_OK) == 0) return "alive";
    std::ofstream(folder + "/again") << "1";
    ::raise(SIGSEGV);
    return "never";
}
int takes_ms(int ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    return ms;
}
int exits(int code) { std::_Exit(code); }
std::vector<std::string> open_descriptors() {
    std::vector<std::string> all;
    for (int fd = 0; fd < 1000; ++fd) {
        std::array<char, 256> target{};
        const std::string link = "/proc/self/fd/" + std::to_string(fd);
        if (::readlink(link.c_str(), target.data(), target.size() - 1) > 0) all.emplace_back(target.data());
    }
    return all;
}
std::string environment(const std::string& name) {
    const char* const value = std::getenv(name.c_str());
    return value == nullptr ? "(unset)" : value;
}
int open_handle_count() { return static_cast<int>(open_descriptors().size()); }
std::string a_megabyte(int) { return std::string(std::size_t{1} << 20U, 'x'); }
std::size_t size_of(const std::string& text) { return text.size(); }
std::string same(const std::string& text) { return text; }

struct model {
    explicit model(int f) : factor(f) {}
    model(const model&) = delete;
    model& operator=(const model&) = delete;
    int factor;
    int calls = 0;
};
model load_model(int factor) { return model(factor); }
std::pair<int, int> scaled(model& state, int x) { return {state.factor * x, ++state.calls}; }
int initialised = 0;
void initialise(int to) { initialised = to; }
int initialised_to(int) { return initialised; }
void fails_to_start(const std::string& why) { throw std::runtime_error(why); }

std::vector<char> hoard;
std::size_t grows(int megabytes) {
    hoard.resize(hoard.size() + (static_cast<std::size_t>(megabytes) << 20U), 'x');
    return static_cast<std::size_t>(::getpid());
}

// --- Here ---

std::vector<int> up_to(int count) {
    std::vector<int> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
}

template <class Body>
void with_pool(leat::pool_options options, Body body) {
    std::vector<int> pids;
    leat::run(leat::run_options(2), [&]() -> leat::task<> {
        const auto all = [&](leat::process_pool& pool) -> leat::task<> {
            co_await body(pool);
            pids = pool.pids();
        };
        co_await leat::with_process_pool(options, all);
    });
    for (const int pid : pids) EXPECT_NE(::kill(pid, 0), 0) << "worker " << pid << " is left";
}
leat::pool_options two() { return leat::pool_options(2); }

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        return e.what();
    }
}

TEST(process_pool, map_gives_the_values_in_the_order_of_the_items) {
    with_pool(two(), [](leat::process_pool& pool) -> leat::task<> {
        const auto items = up_to(10'000);
        for (const std::size_t chunk : {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{20'000}}) {
            const auto values = co_await pool.map<squared>(items, chunk);
            EXPECT_EQ(values.size(), items.size());
            for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], squared(static_cast<int>(i)));
        }
        EXPECT_EQ(pool.counts().started, 2U);
        EXPECT_EQ(pool.counts().done, 40'000U);
    });
}

TEST(process_pool, calls_run_in_other_processes_that_are_kept) {
    with_pool(leat::pool_options(1), [](leat::process_pool& pool) -> leat::task<> {
        const int first = co_await pool.apply<own_pid>();
        EXPECT_NE(first, ::getpid());
        EXPECT_EQ(co_await pool.apply<own_pid>(), first);
        EXPECT_THAT(pool.pids(), ElementsAre(first));
    });
}

TEST(process_pool, arguments_are_converted_to_what_the_function_takes) {
    with_pool(two(), [](leat::process_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await pool.apply<doubled>("ab"), "abab");
        EXPECT_EQ((co_await pool.apply<divided>(7, 2)), 3.5);
        EXPECT_EQ(co_await pool.apply<doubled_later>("xy"), "xyxy");
        co_await pool.apply<nothing_at_all>(1);
    });
}

TEST(process_pool, apply_async_runs_while_the_caller_goes_on) {
    with_pool(two(), [](leat::process_pool& pool) -> leat::task<> {
        auto a = pool.apply_async<takes_ms>(20);
        auto b = pool.apply_async<squared>(4);
        EXPECT_EQ(co_await std::move(b), 16);
        EXPECT_EQ(co_await std::move(a), 20);
        (void)pool.apply_async<squared>(5);  // dropped: done all the same
    });
}

TEST(process_pool, functions_of_strings_several_arguments_bool_and_void_are_mapped) {
    with_pool(two(), [](leat::process_pool& pool) -> leat::task<> {
        std::vector<std::string> words;
        for (int i = 0; i < 3000; ++i) words.push_back("word " + std::to_string(i));
        const auto twice = co_await pool.map<doubled>(words);
        for (std::size_t i = 0; i < words.size(); ++i) EXPECT_EQ(twice[i], words[i] + words[i]);
        const auto later = co_await pool.map<doubled_later>(std::span(words).first(20));
        EXPECT_EQ(later[19], twice[19]);
        std::vector<std::tuple<int, double>> pairs;
        for (int i = 0; i < 1000; ++i) pairs.emplace_back(i, 4.0);
        const auto quarters = co_await pool.starmap<divided>(pairs);
        EXPECT_EQ(quarters[10], 2.5);
        const auto items = up_to(1000);
        const std::vector<bool> even = co_await pool.map<is_even>(items);
        EXPECT_TRUE(even[10]);
        EXPECT_FALSE(even[11]);
        co_await pool.map<nothing_at_all>(items);
        EXPECT_TRUE((co_await pool.map<squared>(std::span<const int>())).empty());
    });
}

TEST(process_pool, imap_gives_values_in_order_and_imap_unordered_gives_all) {
    with_pool(two(), [](leat::process_pool& pool) -> leat::task<> {
        auto in_order = pool.imap<squared>(up_to(5000), 3, 100);
        int at = 0;
        while (auto value = co_await in_order.next()) {
            EXPECT_EQ(*value, squared(at));
            ++at;
        }
        EXPECT_EQ(at, 5000);
        auto as_they_come = pool.imap_unordered<takes_ms>(std::vector<int>{30, 0, 1, 2, 3, 4}, 1);
        std::vector<int> seen;
        while (auto value = co_await as_they_come.next()) seen.push_back(*value);
        EXPECT_EQ(seen.size(), 6U);
        EXPECT_NE(seen.front(), 30);
        EXPECT_EQ(std::multiset<int>(seen.begin(), seen.end()), (std::multiset<int>{0, 1, 2, 3, 4, 30}));
    });
}

TEST(process_pool, an_imap_that_is_dropped_half_way_leaves_the_pool_in_order) {
    with_pool(two(), [](leat::process_pool& pool) -> leat::task<> {
        {
            auto values = pool.imap<takes_ms>(std::vector<int>(100, 1));
            (void)co_await values.next();
        }
        EXPECT_EQ(co_await pool.apply<squared>(3), 9);
    });
}

TEST(process_pool, an_exception_comes_back_with_its_type_and_text) {
    with_pool(two(), [](leat::process_pool& pool) -> leat::task<> {
        const auto items = up_to(100);
        try {
            (void)co_await pool.map<no_sevens>(items);
            ADD_FAILURE() << "nothing was thrown";
        } catch (const leat::remote_error& error) {
            EXPECT_EQ(error.type(), "std::out_of_range");
            EXPECT_EQ(error.text(), "seven");
        }
        const auto outcomes = co_await pool.try_map<no_sevens>(items);
        for (std::size_t i = 0; i < outcomes.size(); ++i) {
            if (i != 7) {
                EXPECT_TRUE(outcomes[i].is_value());
            }
        }
        EXPECT_TRUE(outcomes[7].is_error());
        auto values = pool.imap<no_sevens>(items);
        for (int i = 0; i < 7; ++i) EXPECT_EQ(co_await values.next(), i);
        bool thrown = false;
        try {
            (void)co_await values.next();
        } catch (const leat::remote_error&) {
            thrown = true;
        }
        EXPECT_TRUE(thrown);
        EXPECT_EQ(pool.counts().died, 0U);
    });
}

TEST(process_pool, standard_error_is_kept_for_each_item) {
    std::multiset<std::string> heard;
    auto options = two();
    options.on_err = [&](std::string_view text) { heard.emplace(text); };
    with_pool(options, [](leat::process_pool& pool) -> leat::task<> {
        const auto items = up_to(3);
        (void)co_await pool.map<talking>(items);
        try {
            (void)co_await pool.apply<talks_and_throws>(3);
        } catch (const leat::remote_error& error) {
            EXPECT_EQ(error.err(), "about to fail at 3\n");
        }
    });
    EXPECT_EQ(heard, (std::multiset<std::string>{"item 0\n", "item 1\n", "item 2\n", "about to fail at 3\n"}));
}

TEST(process_pool, a_worker_that_dies_costs_one_item_which_is_tried_again_and_then_told) {
    with_pool(two(), [](leat::process_pool& pool) -> leat::task<> {
        for (const std::size_t chunk : {1, 10}) {
            const auto before = pool.counts();
            const auto items = up_to(100);
            const auto outcomes = co_await pool.try_map<dies_at_five>(items, chunk);
            for (std::size_t i = 0; i < outcomes.size(); ++i) {
                if (i != 5) {
                    EXPECT_TRUE(outcomes[i].is_value());
                }
            }
            EXPECT_TRUE(outcomes[5].is_error());
            const std::string text = text_of(outcomes[5].error());
            EXPECT_THAT(text, HasSubstr("killed by signal 9"));
            EXPECT_THAT(text, HasSubstr("dies_at_five"));
            EXPECT_THAT(text, HasSubstr("2 times"));
            EXPECT_THAT(text, HasSubstr("five is too much"));
            EXPECT_EQ(pool.counts().died - before.died, 2U);
            EXPECT_EQ(pool.counts().retried - before.retried, 1U);
            EXPECT_EQ(pool.counts().failed - before.failed, 1U);
        }
    });
}

TEST(process_pool, an_item_whose_worker_died_is_done_by_another) {
    char folder[] = "/tmp/leat-test-pool-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    with_pool(two(), [&](leat::process_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await pool.apply<dies_the_first_time>(std::string(folder)), "alive");
        EXPECT_EQ(pool.counts().retried, 1U);
    });
    (void)std::remove((std::string(folder) + "/again").c_str());
    (void)::rmdir(folder);
}

TEST(process_pool, an_item_over_its_time_is_killed_and_told) {
    auto options = two();
    options.timeout = 200ms;
    options.tries = 1;
    with_pool(options, [](leat::process_pool& pool) -> leat::task<> {
        const std::vector<int> items{1, 60'000, 2};
        const auto outcomes = co_await pool.try_map<takes_ms>(items);
        EXPECT_TRUE(outcomes[0].is_value());
        EXPECT_TRUE(outcomes[2].is_value());
        EXPECT_TRUE(outcomes[1].is_error());
        try {
            std::rethrow_exception(outcomes[1].error());
        } catch (const leat::worker_failed& failed) {
            EXPECT_EQ(failed.why(), leat::worker_failed::reason::timed_out);
            EXPECT_THAT(failed.what(), HasSubstr("200 ms"));
        }
    });
}

TEST(process_pool, a_call_that_is_stopped_kills_its_worker_and_no_other_call) {
    with_pool(two(), [](leat::process_pool& pool) -> leat::task<> {
        const int bystander = co_await pool.apply<own_pid>();
        auto slow = leat::timeout(pool.apply<takes_ms>(60'000), 100ms);
        bool over = false;
        try {
            (void)co_await std::move(slow);
        } catch (...) {
            over = true;
        }
        EXPECT_TRUE(over);
        EXPECT_NE(bystander, 0);
        EXPECT_EQ(co_await pool.apply<squared>(6), 36);
        const auto items = up_to(1000);
        EXPECT_EQ((co_await pool.map<squared>(items)).size(), 1000U);
    });
}

TEST(process_pool, a_pool_whose_task_is_stopped_kills_its_workers) {
    leat::stop_source stop;
    leat::run_options options(2);
    options.stop = &stop;
    int pid = 0;
    EXPECT_THROW(leat::run(options,
                           [&]() -> leat::task<> {
                               leat::process_pool pool(1);
                               pid = co_await pool.apply<own_pid>();
                               auto endless = pool.apply_async<takes_ms>(60'000);
                               stop.request_stop();
                               bool stopped = false;
                               try {
                                   co_await leat::sleep_for(60s);
                               } catch (const leat::cancelled&) {
                                   stopped = true;
                               }
                               EXPECT_TRUE(stopped);
                               co_await pool.close();
                               EXPECT_TRUE(endless.done());
                               leat::detail::throw_cancelled();
                           }),
                 leat::cancelled);
    EXPECT_NE(::kill(pid, 0), 0);
}

TEST(process_pool, workers_are_killed_in_a_loop_and_nothing_is_lost_or_doubled) {
    auto options = two();
    options.tries = 100;  // the kills mean nobody
    with_pool(options, [](leat::process_pool& pool) -> leat::task<> {
        std::atomic<bool> over{false};
        // A kill only once something was done since the last one: where a start takes long, they would leave no time for anything.
        std::thread killer([&] {
            std::uint64_t done = 0;
            for (unsigned round = 0; !over; ++round) {
                std::this_thread::sleep_for(7ms);
                const auto pids = pool.pids();
                const std::uint64_t now = pool.counts().done;
                if (pids.empty() || now == done) continue;
                done = now;
                ::kill(pids[round % pids.size()], SIGKILL);
            }
        });
        std::exception_ptr error;
        try {
            for (int round = 0; round < 4; ++round) {
                const auto items = up_to(20'000);
                const auto outcomes = co_await pool.try_map<squared>(items, round);
                for (std::size_t i = 0; i < items.size(); ++i) {
                    if (!outcomes[i].is_value()) {
                        ADD_FAILURE() << "item " << i << ": " << text_of(outcomes[i].error());
                        break;
                    }
                }
            }
            std::vector<int> slow(60, 3);
            auto values = pool.imap<takes_ms>(slow);
            std::size_t count = 0;
            while (co_await values.next()) ++count;
            EXPECT_EQ(count, slow.size());
        } catch (...) {
            error = std::current_exception();
        }
        over = true;
        killer.join();
        if (error) std::rethrow_exception(error);
        EXPECT_GT(pool.counts().died, 3U);
    });
}

TEST(process_pool, a_worker_has_the_state_that_was_made_when_it_started) {
    auto options = leat::pool_options(1);
    options.at_start<initialise>(42).at_start<load_model>(3);
    with_pool(options, [](leat::process_pool& pool) -> leat::task<> {
        EXPECT_EQ(co_await pool.apply<scaled>(5), (std::pair<int, int>(15, 1)));
        EXPECT_EQ(co_await pool.apply<scaled>(6), (std::pair<int, int>(18, 2)));
        EXPECT_EQ(co_await pool.apply<initialised_to>(0), 42);
    });
}

TEST(process_pool, a_function_whose_state_nothing_made_fails_with_a_sentence) {
    with_pool(two(), [](leat::process_pool& pool) -> leat::task<> {
        std::string what;
        try {
            (void)co_await pool.apply<scaled>(5);
        } catch (const leat::remote_error& error) {
            what = error.what();
        }
        EXPECT_THAT(what, HasSubstr("at_start()"));
    });
}

TEST(process_pool, a_start_that_throws_fails_all_calls_with_its_text) {
    auto options = two();
    options.at_start<fails_to_start>("no licence");
    with_pool(options, [](leat::process_pool& pool) -> leat::task<> {
        for (int i = 0; i < 2; ++i) {
            std::string what;
            try {
                (void)co_await pool.apply<squared>(5);
            } catch (const leat::remote_error& error) {
                what = error.text();
            }
            EXPECT_EQ(what, "no licence");
        }
    });
}

TEST(process_pool, workers_that_end_at_once_again_and_again_end_the_pool) {
    auto options = leat::pool_options(1);
    options.fruitless_starts = 3;
    options.at_start<exits>(9);
    with_pool(options, [](leat::process_pool& pool) -> leat::task<> {
        std::string what;
        try {
            (void)co_await pool.apply<squared>(5);
        } catch (const leat::worker_failed& failed) {
            what = failed.what();
            EXPECT_EQ(failed.why(), leat::worker_failed::reason::not_started);
        }
        EXPECT_THAT(what, HasSubstr("3 times"));
        EXPECT_THAT(what, HasSubstr("exited with 9"));
    });
}

TEST(process_pool, a_worker_is_replaced_after_so_many_items) {
    auto options = leat::pool_options(1);
    options.recycle_items = 10;
    with_pool(options, [](leat::process_pool& pool) -> leat::task<> {
        std::set<int> pids;
        for (int i = 0; i < 30; ++i) pids.insert(co_await pool.apply<own_pid>());
        EXPECT_EQ(pids.size(), 3U);
        const auto items = up_to(35);
        EXPECT_EQ((co_await pool.map<squared>(items)).size(), 35U);
        EXPECT_EQ(pool.counts().died, 0U);
        EXPECT_GE(pool.counts().recycled, 5U);
    });
}

TEST(process_pool, a_worker_that_has_become_too_large_is_replaced) {
    auto options = leat::pool_options(1);
    options.recycle_bytes = std::uint64_t{256} << 20U;
    with_pool(options, [](leat::process_pool& pool) -> leat::task<> {
        std::set<std::size_t> pids;
        for (int i = 0; i < 3; ++i) {
            pids.insert(co_await pool.apply<grows>(300));
            co_await leat::sleep_for(20ms);
        }
        EXPECT_EQ(pids.size(), 3U);
    });
}

TEST(process_pool, messages_larger_than_the_rings_go_in_pieces) {
    auto options = two();
    options.ring_bytes = 16384;
    with_pool(options, [](leat::process_pool& pool) -> leat::task<> {
        const auto large = co_await pool.map<a_megabyte>(std::vector<int>(6, 0));
        for (const auto& each : large) EXPECT_EQ(each.size(), std::size_t{1} << 20U);
        const auto sizes = co_await pool.map<size_of>(large, 2);
        for (const auto size : sizes) EXPECT_EQ(size, std::size_t{1} << 20U);
        const auto again = co_await pool.map<same>(large, 1);
        EXPECT_EQ(again, large);
    });
}

TEST(process_pool, workers_have_no_descriptor_of_this_process_but_the_pools) {
    const int mine = ::open("/etc/passwd", O_RDONLY);  // without close-on-exec
    with_pool(leat::pool_options(1), [](leat::process_pool& pool) -> leat::task<> {
        for (const auto& each : co_await pool.apply<open_descriptors>()) EXPECT_NE(each, "/etc/passwd");
        EXPECT_EQ(co_await pool.apply<environment>(leat::detail::worker_variable), "(unset)");
    });
    ::close(mine);
}

TEST(process_pool, a_pool_leaves_no_process_and_no_descriptor_behind) {
    with_pool(two(), [](leat::process_pool& pool) -> leat::task<> { co_await pool.map<nothing_at_all>(up_to(10)); });
    const int before = open_handle_count();
    for (int i = 0; i < 3; ++i)
        with_pool(two(), [](leat::process_pool& pool) -> leat::task<> {
            (void)co_await pool.try_map<dies_at_five>(up_to(10));
        });
    EXPECT_EQ(open_handle_count(), before);
}

TEST(process_pool, many_calls_at_once_each_get_their_own_value) {
    with_pool(two(), [](leat::process_pool& pool) -> leat::task<> {
        leat::scope work;
        for (int i = 0; i < 200; ++i)
            work.spawn(
                [](leat::process_pool* in, int x) -> leat::task<> { EXPECT_EQ(co_await in->apply<squared>(x), x * x); },
                &pool, i);
        co_await work.join();
    });
}

TEST(process_pool, a_closed_pool_refuses_calls) {
    leat::run(leat::run_options(1), []() -> leat::task<> {
        leat::process_pool pool(1);
        EXPECT_EQ(co_await pool.apply<squared>(2), 4);
        co_await pool.close();
        co_await pool.close();
        bool refused = false;
        try {
            (void)co_await pool.apply<squared>(2);
        } catch (const leat::worker_failed& failed) {
            refused = failed.why() == leat::worker_failed::reason::closed;
        }
        EXPECT_TRUE(refused);
    });
}

leat::task<int> sum_of_squares(leat::process_pool& pool, const std::vector<int>& items) {
    const auto squares = co_await pool.map<squared>(items);
    co_return std::accumulate(squares.begin(), squares.end(), 0);
}
leat::task<> endless(leat::process_pool& pool, int* pid) {
    *pid = co_await pool.apply<own_pid>();
    (void)co_await pool.apply<takes_ms>(60'000);
}

TEST(process_pool, with_process_pool_closes_the_pool_after_a_value_an_error_and_a_stop) {
    leat::run(leat::run_options(2), []() -> leat::task<> {
        const std::vector<int> items{1, 2, 3};
        EXPECT_EQ(co_await leat::with_process_pool(two(), sum_of_squares, items), 14);
        int pid = 0;
        auto late = leat::timeout(leat::with_process_pool(two(), endless, &pid), 300ms);
        bool ended = false;
        try {
            co_await std::move(late);
        } catch (...) {
            ended = true;
        }
        EXPECT_TRUE(ended);
        EXPECT_TRUE(pid == 0 || ::kill(pid, 0) != 0);
    });
}

TEST(process_pool, options_that_cannot_be_meant_so_are_refused) {
    leat::run(leat::run_options(1), []() -> leat::task<> {
        leat::pool_options options(1);
        options.tries = 0;
        EXPECT_THROW(leat::process_pool{options}, std::invalid_argument);
        options.tries = 1;
        options.ring_bytes = 10;
        EXPECT_THROW(leat::process_pool{options}, std::invalid_argument);
        co_return;
    });
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto code = leat::worker_main()) return *code;
    testing::InitGoogleMock(&argc, argv);
    return RUN_ALL_TESTS();
}
