// The laws of the engine, through run_flow: the account adds up, order, policies, acks, bounds, ends.
#include <leat/flow/flow.hpp>
#include <leat/leat.hpp>
#include <leat/runtime/sim.hpp>

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <ranges>
#include <set>

#include <gtest/gtest.h>

namespace {

using namespace std::chrono_literals;
using leat::fate;
using leat::flow_end;
using leat::on_error;
using leat::report;
using leat::task;

// Every test runs on one thread and on several.
class engine : public testing::TestWithParam<unsigned> {
protected:
    report run(leat::flow_graph graph, const leat::flow_options& options = {}) const {
        report done = leat::run(leat::run_options(GetParam()), leat::run_flow, std::move(graph), options);
        EXPECT_TRUE(done.adds_up()) << done.to_text();
        return done;
    }
};
INSTANTIATE_TEST_SUITE_P(threads, engine, testing::Values(1U, 2U, 4U));

std::vector<int> numbers(int count) {
    std::vector<int> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
}

const leat::stage_report& stage_of(const report& done, const std::string& name) {
    const auto found =
        std::find_if(done.stages.begin(), done.stages.end(), [&](const auto& s) { return s.name == name; });
    EXPECT_NE(found, done.stages.end()) << name;
    return *found;
}

// Makes items finish out of order without sleeping: a number of yields that depends on the item.
task<int> dawdle(int value) {
    for (int i = 0; i < (value * 7919) % 13; ++i) co_await leat::this_task::yield();
    co_return value;
}

TEST_P(engine, every_item_of_a_linear_flow_comes_out_once_and_in_order) {
    std::vector<int> got;
    const report done = run(leat::from(numbers(5000)) | leat::map("slow", dawdle).concurrency(8) |
                            leat::map("more", [](int v) { return v + 1; }).concurrency(3) |
                            leat::for_each("store", [&](int v) { got.push_back(v - 1); }));
    EXPECT_EQ(got, numbers(5000));
    EXPECT_EQ(done.end, flow_end::complete);
    EXPECT_EQ(done.in, 5000U);
    EXPECT_EQ(done.out, 5000U);
    for (const auto& each : done.stages) {
        EXPECT_EQ(each.in, 5000U) << each.name;
        EXPECT_EQ(each.out, 5000U) << each.name;
    }
}

TEST_P(engine, order_none_gives_every_item_once) {
    std::vector<int> got;
    auto graph = leat::from(numbers(5000)) | leat::map("slow", dawdle).concurrency(8).order(leat::order::none) |
                 leat::for_each("store", [&](int v) { got.push_back(v); });
    run(std::move(graph));
    std::sort(got.begin(), got.end());
    EXPECT_EQ(got, numbers(5000));
}

TEST_P(engine, a_range_in_front_of_a_parallel_stage_is_asked_for_an_item_when_a_worker_wants_one) {
    constexpr std::size_t window = 8;
    std::atomic<int> made = 0;
    std::atomic<int> stored = 0;
    int most = 0;
    leat::flow_options options;
    options.window = window;
    auto numbered = std::views::iota(0, 3000) | std::views::transform([&](int value) {
                        most = std::max(most, ++made - stored);
                        return value;
                    });
    std::vector<int> got;
    const report done = run(leat::from(numbered) | leat::map("slow", dawdle).concurrency(4) |
                                leat::for_each("store",
                                               [&](int value) {
                                                   got.push_back(value);
                                                   ++stored;
                                               }),
                            options);
    EXPECT_EQ(got, numbers(3000));
    EXPECT_EQ(done.in, 3000U);
    // Those within the window, and what each worker has just taken and may not begin.
    EXPECT_LE(most, static_cast<int>(window + 4 * window / 4));
}

TEST_P(engine, a_range_that_throws_fails_the_flow) {
    auto torn = std::views::iota(0, 100) | std::views::transform([](int value) {
                    if (value == 50) throw std::runtime_error("a torn page");
                    return value;
                });
    const report done =
        run(leat::from(torn) | leat::map("more", dawdle).concurrency(3) | leat::for_each("store", [](int) {}));
    EXPECT_EQ(done.end, flow_end::failed);
    EXPECT_EQ(done.error, "source: a torn page");
}

TEST_P(engine, serial_stages_behind_an_ordered_one_see_one_item_at_a_time_in_order) {
    std::vector<int> seen;
    std::atomic<int> inside = 0;
    std::vector<int> got;
    const auto alone = [&](int value) {
        EXPECT_EQ(++inside, 1);
        seen.push_back(value);
        --inside;
        return value;
    };
    const report done = run(leat::from(numbers(4000)) | leat::map("slow", dawdle).concurrency(4) |
                            leat::map("alone", alone).concurrency(1) | leat::map("again", dawdle).concurrency(3) |
                            leat::for_each("store", [&](int value) { got.push_back(value); }));
    EXPECT_EQ(seen, numbers(4000));
    EXPECT_EQ(got, numbers(4000));
    EXPECT_EQ(stage_of(done, "alone").out, 4000U);
}

TEST_P(engine, an_error_in_a_stage_that_others_lead_fails_the_flow) {
    for (const int bad : {0, 1, 500, 1999}) {
        const report done = run(leat::from(numbers(2000)) | leat::map("slow", dawdle).concurrency(4) |
                                leat::for_each("store", [&](int value) {
                                    if (value == bad) throw std::runtime_error("no room");
                                }));
        EXPECT_EQ(done.end, flow_end::failed);
        EXPECT_NE(done.error.find("no room"), std::string::npos) << done.error;
        EXPECT_EQ(done.failed, 1U);
        EXPECT_EQ(done.out, static_cast<std::uint64_t>(bad));
    }
}

TEST_P(engine, items_left_out_release_their_place_in_the_order) {
    std::vector<int> got;
    const report done =
        run(leat::from(numbers(3000)) | leat::map("slow", dawdle).concurrency(6) |
            leat::filter("even", [](const int& v) { return v % 2 == 0; }).concurrency(6) |
            leat::flat_map("thrice", [](int v) { return std::vector<int>(static_cast<std::size_t>(v % 3), v); })
                .concurrency(6) |
            leat::for_each("store", [&](int v) { got.push_back(v); }));
    EXPECT_TRUE(std::is_sorted(got.begin(), got.end()));
    EXPECT_EQ(stage_of(done, "even").skipped, 1500U);
    EXPECT_EQ(done.out, 1000U);      // even and not divisible by 3
    EXPECT_EQ(done.skipped, 2000U);  // odd, or without a copy
    EXPECT_EQ(stage_of(done, "store").in, got.size());
}

TEST_P(engine, one_item_may_become_more_than_the_engine_holds_back_and_keeps_its_place) {
    std::vector<int> got;
    run(leat::from(numbers(20)) |
        leat::flat_map("many", [](int v) { return std::vector<int>(v % 5 == 4 ? 1000U : 1U, v); }).concurrency(4) |
        leat::for_each("store", [&](int v) { got.push_back(v); }));
    EXPECT_EQ(got.size(), 4U * 1000U + 16U);
    EXPECT_TRUE(std::is_sorted(got.begin(), got.end()));
}

TEST_P(engine, a_retry_repeats_the_attempt_and_drops_what_it_had_put_out) {
    std::mutex lock;
    std::map<int, int> tries;
    std::vector<int> got;
    const auto flaky = [&](const int& v) -> task<std::vector<int>> {
        int attempt = 0;
        {
            const std::scoped_lock held(lock);
            attempt = ++tries[v];
        }
        if (v % 3 == 0 && attempt < 3) throw std::runtime_error("not yet");
        co_return std::vector<int>{v};
    };
    const report done = run(leat::from(numbers(30)) | leat::flat_map("flaky", flaky).concurrency(4).retry(2, 1us) |
                            leat::for_each("store", [&](int v) { got.push_back(v); }));
    EXPECT_EQ(got, numbers(30));
    EXPECT_EQ(stage_of(done, "flaky").retried, 20U);
    EXPECT_EQ(done.out, 30U);
}

TEST_P(engine, a_permanent_error_is_not_retried) {
    std::atomic<int> calls{0};
    const report done = run(leat::from(numbers(1)) |
                            leat::map("never",
                                      [&](const int& v) -> int {
                                          ++calls;
                                          if (v == 0) throw leat::permanent_error("no");
                                          return v;
                                      })
                                .retry(5, 1us)
                                .on_error(on_error::keep_going) |
                            leat::for_each("store", [](int) {}));
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(done.failed, 1U);
}

struct heard {
    on_error done;
    std::string name, error;
    unsigned attempts;
};
class listening : public leat::flow_observer {
public:
    void item_failed(std::string_view, on_error done, std::string_view name, unsigned attempts,
                     std::string_view error) override {
        const std::scoped_lock held(lock_);
        all.push_back({done, std::string(name), std::string(error), attempts});
    }
    std::vector<heard> all;

private:
    std::mutex lock_;
};

int only_odd(const int& v) {
    if (v % 2 == 0) throw std::runtime_error("even");
    return v;
}

TEST_P(engine, on_error_skip_and_keep_going_count_the_item_and_go_on) {
    for (const auto& [policy, skipped, failed] :
         {std::tuple{on_error::skip, 50U, 0U}, std::tuple{on_error::keep_going, 0U, 50U}}) {
        listening ears;
        leat::flow_options options;
        options.observer = &ears;
        std::vector<int> got;
        const report done = run(leat::from(numbers(100)) | leat::map("odd", only_odd).retry(1, 1us).on_error(policy) |
                                    leat::for_each("store", [&](int v) { got.push_back(v); }),
                                options);
        EXPECT_EQ(done.end, flow_end::complete);
        EXPECT_EQ(done.out, 50U);
        EXPECT_EQ(done.skipped, skipped);
        EXPECT_EQ(done.failed, failed);
        ASSERT_EQ(ears.all.size(), 50U);
        EXPECT_EQ(ears.all.front().error, "even");
        EXPECT_EQ(ears.all.front().attempts, 2U);
        EXPECT_EQ(ears.all.front().done, policy);
    }
}

TEST_P(engine, a_dead_letter_holds_payload_error_stage_and_attempts) {
    std::vector<std::tuple<int, std::string, unsigned, std::string>> letters;
    leat::flow_options options;
    options.dead_letters = [&](const leat::dead_letter& dead) {
        letters.emplace_back(dead.what.value.as<int>(), dead.stage, dead.attempts, dead.error);
    };
    const report done =
        run(leat::from(numbers(10)) |
                leat::map("odd", only_odd).concurrency(3).retry(2, 1us).on_error(on_error::dead_letter) |
                leat::for_each("store", [](int) {}),
            options);
    EXPECT_EQ(done.dead, 5U);
    EXPECT_EQ(done.out, 5U);
    std::sort(letters.begin(), letters.end());
    ASSERT_EQ(letters.size(), 5U);
    EXPECT_EQ(letters[1], std::tuple(2, std::string("odd"), 3U, std::string("even")));
}

TEST_P(engine, a_dead_letter_that_cannot_be_kept_fails_the_flow) {
    leat::flow_options options;
    options.dead_letters = [](const leat::dead_letter&) { throw std::runtime_error("no room for dead letters"); };
    const report done = run(leat::from(numbers(10)) | leat::map("odd", only_odd).on_error(on_error::dead_letter) |
                                leat::for_each("store", [](int) {}),
                            options);
    EXPECT_EQ(done.end, flow_end::failed);
    EXPECT_NE(done.error.find("no room for dead letters"), std::string::npos) << done.error;
    EXPECT_EQ(done.dead, 0U);
    EXPECT_GE(done.failed, 1U);
}

TEST_P(engine, dead_letters_without_a_place_are_refused_before_anything_runs) {
    auto graph = leat::from(numbers(1)) | leat::map("odd", only_odd).on_error(on_error::dead_letter) |
                 leat::for_each("store", [](int) {});
    EXPECT_THROW(leat::run(leat::run_options(GetParam()), leat::run_flow, std::move(graph), leat::flow_options{}),
                 std::invalid_argument);
}

TEST_P(engine, on_error_fail_stops_the_flow_and_names_what_was_unfinished) {
    const report done = run(leat::from(std::views::iota(0, 1'000'000)) |
                            leat::map("breaks",
                                      [](const int& v) {
                                          if (v == 500) throw std::runtime_error("broken");
                                          return v;
                                      })
                                .concurrency(2) |
                            leat::for_each("store", [](int) {}));
    EXPECT_EQ(done.end, flow_end::failed);
    EXPECT_EQ(done.error, "breaks: 500: broken");
    EXPECT_EQ(done.failed, 1U);
    EXPECT_LT(done.in, 100'000U);
    EXPECT_EQ(done.unfinished_names.size(), std::min<std::size_t>(200, done.unfinished));
}

TEST_P(engine, an_attempt_that_takes_too_long_is_stopped) {
    listening ears;
    leat::flow_options options;
    options.observer = &ears;
    const auto forever = [](const int& v) -> task<int> {
        if (v == 1) co_await leat::sleep_for(1h);
        co_return v;
    };
    const report done =
        run(leat::from(numbers(3)) | leat::map("slow", forever).timeout(20ms).on_error(on_error::keep_going) |
                leat::for_each("store", [](int) {}),
            options);
    EXPECT_EQ(done.failed, 1U);
    EXPECT_EQ(done.out, 2U);
    ASSERT_EQ(ears.all.size(), 1U);
    EXPECT_EQ(ears.all[0].error, "timed out after 0.02 s");
}

TEST_P(engine, a_function_that_consumes_its_item_cannot_be_retried_and_says_so) {
    listening ears;
    leat::flow_options options;
    options.observer = &ears;
    std::vector<std::unique_ptr<int>> items;
    items.push_back(std::make_unique<int>(1));
    auto graph =
        leat::from(std::vector<int>{1}) | leat::map("box", [](int v) { return std::make_unique<int>(v); }) |
        leat::map("consume", [](std::unique_ptr<int> v) { return v; }).retry(3, 1us).on_error(on_error::keep_going) |
        leat::for_each("store", [](const std::unique_ptr<int>&) {});
    const report done = run(std::move(graph), options);
    EXPECT_EQ(done.failed, 1U);
    ASSERT_EQ(ears.all.size(), 1U);
    EXPECT_NE(ears.all[0].error.find("consumes its item"), std::string::npos);
}

TEST_P(engine, move_only_and_large_items_pass) {
    struct large {
        std::array<int, 100> values{};
    };
    int sum = 0;
    run(leat::from(numbers(100)) | leat::map("box", [](int v) { return std::make_unique<int>(v); }).concurrency(2) |
        leat::map("grow",
                  [](std::unique_ptr<int> v) {
                      large l;
                      l.values[99] = *v;
                      return l;
                  }) |
        leat::for_each("store", [&](const large& l) { sum += l.values[99]; }));
    EXPECT_EQ(sum, 4950);
}

// --- Ends ---

TEST_P(engine, a_drain_finishes_what_is_in_flight_and_gives_no_more) {
    leat::flow_control control;
    leat::flow_options options;
    options.control = &control;
    std::atomic<int> stored{0};
    const report done = run(leat::from(std::views::iota(0, 1 << 30)) | leat::map("slow", dawdle).concurrency(4) |
                                leat::for_each("store",
                                               [&](int) {
                                                   if (++stored == 1000) control.drain();
                                               }),
                            options);
    EXPECT_EQ(done.end, flow_end::interrupted);
    EXPECT_EQ(done.unfinished, 0U);
    EXPECT_EQ(done.out, done.in);
    EXPECT_EQ(done.out, static_cast<std::uint64_t>(stored.load()));
    EXPECT_GE(done.in, 1000U);
}

TEST_P(engine, a_stop_ends_at_once_and_counts_the_rest_as_unfinished) {
    leat::flow_control control;
    leat::flow_options options;
    options.control = &control;
    std::atomic<int> begun{0};
    const auto hangs = [&](int v) -> task<int> {
        if (++begun == 4) control.stop();
        co_await leat::sleep_for(1h);
        co_return v;
    };
    const report done =
        run(leat::from(numbers(1000)) | leat::map("hangs", hangs).concurrency(4) | leat::for_each("store", [](int) {}),
            options);
    EXPECT_EQ(done.end, flow_end::interrupted);
    EXPECT_EQ(done.out, 0U);
    EXPECT_GE(done.unfinished, 4U);
    EXPECT_FALSE(done.unfinished_names.empty());
    EXPECT_EQ(control.snapshot().counts.unfinished, done.unfinished);
}

TEST_P(engine, stopping_the_awaiting_task_ends_the_flow_and_throws_cancelled) {
    std::atomic<bool> begun{false};
    const auto program = [&]() -> task<bool> {
        const auto flow = [&]() -> task<> {
            auto graph = leat::from(numbers(10)) |
                         leat::map("hangs",
                                   [&](int v) -> task<int> {
                                       begun = true;
                                       co_await leat::sleep_for(1h);
                                       co_return v;
                                   }) |
                         leat::for_each("store", [](int) {});
            co_await leat::run_flow(std::move(graph));
        };
        bool was_stopped = false;
        try {
            co_await leat::timeout(flow(), 50ms);
        } catch (const leat::timed_out&) {
            was_stopped = true;
        }
        co_return was_stopped;
    };
    EXPECT_TRUE(leat::run(leat::run_options(GetParam()), program));
    EXPECT_TRUE(begun);
}

class breaking_source : public leat::source {
    task<> run(leat::source_output& out) override {
        for (int i = 0; i < 5; ++i) co_await out.emit(leat::payload(i));
        throw std::runtime_error("the disk has gone");
    }
};

TEST_P(engine, a_source_that_throws_fails_the_flow) {
    auto start = leat::from_source<int>("numbers", std::make_shared<breaking_source>());
    const report done = run(std::move(start) | leat::for_each("store", [](int) {}));
    EXPECT_EQ(done.end, flow_end::failed);
    EXPECT_EQ(done.error, "numbers: the disk has gone");
}

// --- Items that stand for several ---

struct bundle {
    [[nodiscard]] std::uint64_t items() const noexcept { return count; }
    std::uint64_t count = 0;
};
class bundle_source : public leat::source {
    task<> run(leat::source_output& out) override {
        for (std::uint64_t i = 1; i <= 100; ++i) co_await out.emit(leat::payload(bundle{i}));
    }
};
// Of each bundle one item fails.
class bundle_stage : public leat::stage {
    task<std::unique_ptr<leat::stage_worker>> open() override { co_return std::make_unique<worker>(); }
    class worker : public leat::stage_worker {
        task<> process(leat::item& in, leat::emitter& out) override {
            out.count_retried(1);
            out.count_failed(1);
            return out.emit(std::move(in.value));
        }
    };
};

TEST_P(engine, an_item_that_stands_for_several_is_counted_as_so_many) {
    auto start = leat::from_source<bundle>("bundles", std::make_shared<bundle_source>());
    const report done = run(std::move(start) | leat::through<bundle>("open", std::make_shared<bundle_stage>()) |
                            leat::for_each("store", [](const bundle&) {}));
    EXPECT_EQ(done.end, flow_end::complete);
    EXPECT_EQ(done.in, 5050U);
    EXPECT_EQ(done.failed, 100U);
    EXPECT_EQ(done.out, 4950U);
    EXPECT_EQ(done.stages[0].in, 5050U);
    EXPECT_EQ(done.stages[0].out, 5050U);
    EXPECT_EQ(done.stages[0].failed, 100U);
    EXPECT_EQ(done.stages[0].retried, 100U);
    EXPECT_EQ(done.stages[1].in, 5050U);
}

// --- What stages and sources are told ---

struct witness {
    std::atomic<int> started{0}, opened{0}, finished{0}, closed{0}, stage_closed{0};
    std::atomic<bool> fail_start{false}, fail_open{false}, fail_finish{false};
};
class watched_stage : public leat::stage {
public:
    explicit watched_stage(witness& w) : w_(w) {}
    task<> start(unsigned jobs) override {
        w_.started += static_cast<int>(jobs);
        if (w_.fail_start) throw std::runtime_error("cannot start");
        co_return;
    }
    task<std::unique_ptr<leat::stage_worker>> open() override {
        if (++w_.opened == 2 && w_.fail_open) throw std::runtime_error("cannot open");
        co_return std::make_unique<worker>(w_);
    }
    task<> close() override {
        ++w_.stage_closed;
        co_return;
    }
    unsigned items_per_job() const noexcept override { return 2; }

private:
    class worker : public leat::stage_worker {
    public:
        explicit worker(witness& w) : w_(w) {}
        task<> process(leat::item& in, leat::emitter& out) override { return out.emit(std::move(in.value)); }
        task<> finish(leat::emitter&) override {
            ++w_.finished;
            if (w_.fail_finish) throw std::runtime_error("cannot finish");
            co_return;
        }
        task<> close() override {
            ++w_.closed;
            co_return;
        }
        witness& w_;
    };
    witness& w_;
};

leat::flow_graph watched_flow(witness& w) {
    return leat::from(numbers(100)) | leat::through<int>("watched", std::make_shared<watched_stage>(w)).concurrency(3) |
           leat::for_each("store", [](int) {});
}

TEST_P(engine, a_stage_is_started_opened_finished_and_closed) {
    witness w;
    const report done = run(watched_flow(w));
    EXPECT_EQ(done.out, 100U);
    EXPECT_EQ(w.started, 3);
    EXPECT_EQ(w.opened, 6);
    EXPECT_EQ(w.finished, 6);
    EXPECT_EQ(w.closed, 6);
    EXPECT_EQ(w.stage_closed, 1);
}

TEST_P(engine, a_stage_that_cannot_start_or_open_fails_the_flow_and_is_closed) {
    {
        witness w;
        w.fail_start = true;
        const report done = run(watched_flow(w));
        EXPECT_EQ(done.end, flow_end::failed);
        EXPECT_EQ(done.error, "watched: cannot start");
        EXPECT_EQ(done.in, 0U);
        EXPECT_EQ(w.opened, 0);
        EXPECT_EQ(w.stage_closed, 1);
    }
    witness w;
    w.fail_open = true;
    const report done = run(watched_flow(w));
    EXPECT_EQ(done.error, "watched: cannot open");
    EXPECT_EQ(w.finished, 0);
    EXPECT_EQ(w.stage_closed, 1);
}

TEST_P(engine, a_finish_that_throws_fails_the_flow) {
    witness w;
    w.fail_finish = true;
    const report done = run(watched_flow(w));
    EXPECT_EQ(done.end, flow_end::failed);
    EXPECT_EQ(done.error, "watched: cannot finish");
    EXPECT_EQ(w.closed, 6);
}

// --- Batches ---

// Counts what it holds, and makes of each batch what process() gives one by one.
class batched_stage : public leat::stage {
public:
    explicit batched_stage(unsigned places) : places_(places) {}
    task<std::unique_ptr<leat::stage_worker>> open() override { co_return std::make_unique<worker>(*this); }
    unsigned most_jobs() const noexcept override { return 1; }
    unsigned items_per_job() const noexcept override { return places_; }
    std::size_t items_at_once() const noexcept override { return 16; }
    std::atomic<unsigned> holds{0}, held_most{0}, largest{0}, batches{0};

private:
    class worker : public leat::stage_worker {
    public:
        explicit worker(batched_stage& of) : of_(of) {}
        task<> prepare(std::span<leat::item> batch, bool) override {
            const auto count = static_cast<unsigned>(batch.size());
            raise(of_.held_most, of_.holds += count);
            raise(of_.largest, count);
            ++of_.batches;
            for (leat::item& each : batch) made_.push_back(each.value.as<int>() * 2);
            co_await dawdle(made_.front());
            if (made_.front() > 8000) throw std::runtime_error("cannot prepare");
            of_.holds -= count;
        }
        task<> process(leat::item& in, leat::emitter& out) override {
            const int prepared = made_.front();
            made_.pop_front();
            EXPECT_EQ(prepared, in.value.as<int>() * 2);
            if (prepared % 14 == 0) throw std::invalid_argument("a seven");
            co_await out.emit(leat::payload(prepared));
        }

    private:
        static void raise(std::atomic<unsigned>& to, unsigned value) {
            unsigned now = to;
            while (now < value && !to.compare_exchange_weak(now, value)) {
            }
        }
        batched_stage& of_;
        std::deque<int> made_;
    };
    const unsigned places_;
};

TEST_P(engine, a_stage_that_asks_for_batches_gets_them_and_holds_no_more_items_than_it_may) {
    for (const leat::order ordered : {leat::order::input, leat::order::none}) {
        const auto what = std::make_shared<batched_stage>(40);
        std::vector<int> got;
        const report done = run(leat::from(numbers(4000)) |
                                leat::through<int>("batched", what).order(ordered).on_error(on_error::skip) |
                                leat::for_each("store", [&](int v) { got.push_back(v / 2); }));
        EXPECT_EQ(done.end, flow_end::complete) << done.error;
        EXPECT_EQ(done.skipped, 572U);
        std::vector<int> wanted = numbers(4000);
        std::erase_if(wanted, [](int v) { return v % 7 == 0; });
        if (ordered == leat::order::none) std::sort(got.begin(), got.end());
        EXPECT_EQ(got, wanted);
        EXPECT_LE(what->held_most, 40U);
        EXPECT_EQ(what->largest, 16U);
        EXPECT_LT(what->batches, 2000U);
        const leat::stage_report& stage = stage_of(done, "batched");
        EXPECT_EQ(stage.in, 4000U);
        EXPECT_GE(stage.starved_s, 0.0);
    }
}

TEST_P(engine, what_prepare_throws_fails_the_flow) {
    const report done =
        run(leat::from(numbers(5000)) |
            leat::through<int>("batched", std::make_shared<batched_stage>(40)).on_error(on_error::skip) |
            leat::for_each("store", [](int) {}));
    EXPECT_EQ(done.end, flow_end::failed);
    EXPECT_EQ(done.error, "batched: cannot prepare");
}

class replaying_source : public leat::source, public leat::source_output::listener {
public:
    task<> run(leat::source_output& out) override {
        for (int i = 0; i < 200; ++i) co_await out.emit(leat::payload(i), *this);
    }
    void settled(std::uint64_t sequence, fate how) noexcept override {
        const std::scoped_lock held(lock_);
        told.emplace_back(sequence, how);
    }
    std::vector<std::pair<std::uint64_t, fate>> told;

private:
    std::mutex lock_;
};

TEST_P(engine, a_source_that_can_replay_learns_the_fate_of_each_item_once) {
    auto source = std::make_shared<replaying_source>();
    auto start = leat::from_source<int>("numbers", source);
    leat::flow_options options;
    options.dead_letters = [](const leat::dead_letter&) {};
    run(std::move(start) | leat::filter("no fives", [](const int& v) { return v % 5 != 0; }).concurrency(2) |
            leat::map("odd", only_odd).concurrency(2).on_error(on_error::dead_letter) |
            leat::flat_map("twice", [](int v) { return std::vector<int>{v, v}; }).concurrency(2) |
            leat::for_each("store",
                           [](int v) {
                               if (v == 7) throw std::runtime_error("seven");
                           })
                .on_error(on_error::keep_going),
        options);
    ASSERT_EQ(source->told.size(), 200U);
    std::sort(source->told.begin(), source->told.end());
    for (std::uint64_t i = 0; i < 200; ++i) {
        const fate expected = i % 5 == 0   ? fate::skipped
                              : i % 2 == 0 ? fate::dead
                              : i == 7     ? fate::failed
                                           : fate::committed;
        EXPECT_EQ(source->told[i], std::pair(i, expected));
    }
}

TEST_P(engine, what_waits_in_a_flow_weighs_no_more_than_its_budget) {
    // The first item is slow, so that what comes behind it waits for its turn; the sink is slow, so that queues fill.
    std::atomic<std::size_t> alive = 0;
    std::size_t most = 0;
    struct heavy {
        heavy(std::atomic<std::size_t>& of, std::size_t bytes) : alive(&of), content(bytes, 'x') { of += bytes; }
        heavy(heavy&& other) noexcept : alive(std::exchange(other.alive, nullptr)), content(std::move(other.content)) {}
        heavy& operator=(heavy&&) = delete;
        ~heavy() {
            if (alive != nullptr) *alive -= content.size();
        }
        [[nodiscard]] std::size_t weight() const { return content.size(); }
        std::atomic<std::size_t>* alive;
        std::string content;
    };
    constexpr std::size_t each = 10'000;
    constexpr std::size_t budget = 20 * each;
    leat::flow_options options;
    options.most_bytes = budget;
    const report done = run(leat::from(std::views::iota(0, 2000)) |
                                leat::map("make",
                                          [&](int number) -> task<heavy> {
                                              for (int i = 0; i < (number % 50 == 0 ? 200 : 1); ++i)
                                                  co_await leat::this_task::yield();
                                              co_return heavy(alive, each);
                                          })
                                    .concurrency(8) |
                                leat::for_each("slow",
                                               [&](const heavy&) -> task<> {
                                                   most = std::max(most, alive.load());
                                                   co_await leat::this_task::yield();
                                               })
                                    .buffer(1000),
                            options);
    EXPECT_EQ(done.out, 2000U);
    // Beside what waits: one that each worker has in its hands, and the batch that the sink took.
    EXPECT_LE(most, budget + (8 + 64) * each);
    EXPECT_GE(most, budget / 4);
}

// --- The account of time ---

double parts(const leat::stage_report& of) { return of.busy_s + of.io_s + of.core_s + of.starved_s + of.blocked_s; }

TEST(engine_account, the_time_of_each_worker_falls_into_five_parts_without_a_gap) {
    // In virtual time nothing takes any but what waits for it.
    report done;
    const auto program = [&done]() -> task<> {
        auto graph = leat::from(std::views::iota(0, 100)) |
                     leat::map("fetch",
                               [](int value) -> task<int> {
                                   co_await leat::sleep_for(10ms);
                                   co_return value;
                               })
                         .concurrency(2) |
                     leat::for_each("store", [](int) -> task<> { co_await leat::sleep_for(8ms); }).buffer(4);
        done = co_await leat::run_flow(std::move(graph));
    };
    (void)leat::sim::run({.seed = 7}, program);
    const auto& fetch = stage_of(done, "fetch");
    const auto& store = stage_of(done, "store");
    EXPECT_NEAR(fetch.io_s, 1.0, 1e-6);
    EXPECT_NEAR(store.io_s, 0.8, 1e-6);
    EXPECT_NEAR(fetch.busy_s + store.busy_s, 0, 1e-6);
    EXPECT_NEAR(parts(store), done.seconds, 1e-6);
    EXPECT_NEAR(store.starved_s, done.seconds - 0.8, 1e-6);
    EXPECT_GT(fetch.blocked_s, 0.1);  // the sink is the slower one
    EXPECT_LE(parts(fetch), 2 * done.seconds + 1e-6);
    EXPECT_GE(parts(fetch), 2 * done.seconds - 0.1);  // its workers end a little before the sink
}

TEST(engine_account, a_delay_before_a_retry_counts_as_blocked_and_so_does_a_rate) {
    report done;
    const auto program = [&done]() -> task<> {
        std::set<int> failed;
        auto graph = leat::from(std::views::iota(0, 10)) |
                     leat::map("flaky",
                               [&failed](int value) -> task<int> {
                                   co_await leat::sleep_for(1ms);
                                   if (failed.insert(value).second) throw std::runtime_error("not yet");
                                   co_return value;
                               })
                         .concurrency(1)
                         .retry(2, 100ms) |
                     leat::for_each("slow", [](int) -> task<> { co_return; }).rate(20);
        done = co_await leat::run_flow(std::move(graph));
    };
    (void)leat::sim::run({.seed = 7}, program);
    EXPECT_NEAR(stage_of(done, "flaky").io_s, 0.020, 1e-6);
    EXPECT_NEAR(stage_of(done, "flaky").blocked_s, 1.0, 0.21);  // with the jitter of the delays
    EXPECT_NEAR(parts(stage_of(done, "slow")), done.seconds, 1e-6);
    EXPECT_EQ(done.out, 10U);
}

TEST_P(engine, time_on_a_cpu_is_told_from_time_that_waits) {
    const auto spin = [](int value) {
        const auto end = std::chrono::steady_clock::now() + 200us;
        while (std::chrono::steady_clock::now() < end) {
        }
        return value;
    };
    const report done = run(leat::from(numbers(200)) | leat::map("spins", spin).concurrency(2) |
                            leat::map("sleeps",
                                      [](int value) -> task<int> {
                                          co_await leat::sleep_for(1ms);
                                          co_return value;
                                      })
                                .concurrency(8) |
                            leat::for_each("store", [](int) {}));
    const auto& spins = stage_of(done, "spins");
    const auto& sleeps = stage_of(done, "sleeps");
    EXPECT_GE(spins.busy_s + spins.core_s, 0.8 * 200 * 200e-6);  // a busy machine takes the CPU away now and then
    EXPECT_LE(spins.io_s, 0.5 * (spins.busy_s + spins.core_s));
    EXPECT_GE(sleeps.io_s, 200 * 1e-3);
    EXPECT_LE(sleeps.busy_s, 0.5 * sleeps.io_s);
    for (const auto& each : done.stages) EXPECT_LE(parts(each), each.workers * done.seconds * 1.001) << each.name;
}

// --- Bounds ---

struct counted {
    explicit counted(std::atomic<int>& of) : alive(&of), most(nullptr) { alive->fetch_add(1); }
    counted(counted&& other) noexcept : alive(std::exchange(other.alive, nullptr)), most(nullptr) {}
    counted& operator=(counted&&) = delete;
    ~counted() {
        if (alive != nullptr) alive->fetch_sub(1);
    }
    std::atomic<int>* alive;
    void* most;
};

TEST_P(engine, a_slow_consumer_slows_the_producer) {
    std::atomic<int> alive{0};
    int most = 0;
    auto graph = leat::from(std::views::iota(0, 20'000)) |
                 leat::map("make", [&](int) { return counted(alive); }).concurrency(2).buffer(10) |
                 leat::for_each("slow", [&](const counted&) -> task<> {
                     most = std::max(most, alive.load());
                     co_await leat::this_task::yield();
                 }).buffer(10);
    const report done = run(std::move(graph));
    EXPECT_EQ(done.out, 20'000U);
    EXPECT_EQ(alive, 0);
    EXPECT_GE(most, 5);
    EXPECT_LE(most, 10 + 64 + 10 + 4);  // the queue, the window of the order, what the sink took, what is being made
}

TEST_P(engine, the_window_bounds_how_far_ordered_output_lags) {
    leat::flow_options options;
    options.window = 16;
    std::atomic<int> stored{0};
    std::atomic<int> furthest{0};
    const auto slow_first = [&](int v) -> task<int> {
        if (v == 0)
            for (int i = 0; i < 20'000; ++i) co_await leat::this_task::yield();
        int seen = furthest;
        while (seen < v - stored && !furthest.compare_exchange_weak(seen, v - stored)) {
        }
        co_return v;
    };
    run(leat::from(numbers(1000)) | leat::map("slow first", slow_first).concurrency(8) |
            leat::for_each("store", [&](int) { ++stored; }),
        options);
    EXPECT_LE(furthest, 16 + 64 + 64 + 1);  // the window, the sink's queue, what the sink took
}

TEST_P(engine, an_ordered_stage_behind_an_unordered_one_waits_for_nothing_that_cannot_reach_it) {
    leat::flow_options options;
    options.window = 1;
    const auto pass = [](int v) { return v; };
    std::vector<int> got;
    run(leat::from(numbers(30000)) | leat::map("unordered", pass).concurrency(8).order(leat::order::none) |
            leat::map("ordered", pass).concurrency(4).buffer(1) |
            leat::for_each("store", [&](int v) { got.push_back(v); }),
        options);
    EXPECT_EQ(got.size(), 30000U);
}

TEST(report, says_what_happened_in_text_and_in_json) {
    report done;
    done.flow = "demo";
    done.in = 1'234'567;
    done.out = 1'234'566;
    done.failed = 1;
    done.seconds = 2;
    leat::stage_report stage;
    stage.name = "only";
    stage.busy_s = 1;
    stage.starved_s = 3;
    done.stages.push_back(stage);
    EXPECT_NE(done.to_text().find("1,234,567 in = 1,234,566 out + 0 skipped + 0 dead + 1 failed + 0 unfinished"),
              std::string::npos)
        << done.to_text();
    EXPECT_NE(done.to_text().find("25%"), std::string::npos);
    EXPECT_NE(done.to_json().find("\"stages\":[{\"name\":\"only\""), std::string::npos) << done.to_json();
    done.unfinished_names = {"caf\xc3\xa9", "\xff\xc3(\xe2\x82"};
    EXPECT_NE(done.to_json().find("[\"caf\xc3\xa9\",\"\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\"]"),
              std::string::npos)
        << "a name that is not UTF-8 must not make the report something that is no JSON: " << done.to_json();
    done.failed = 2;
    EXPECT_FALSE(done.adds_up());
}

}  // namespace
