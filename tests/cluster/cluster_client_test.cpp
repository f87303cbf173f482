// Clients and workers of one cluster, on the engine in memory: in the simulator, where workers die as the test wants, and on
// threads.
#include <leat/cluster/cluster_client.hpp>

#include <atomic>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <leat/cluster/cluster_graph.hpp>
#include <leat/cluster/job_worker.hpp>
#include <leat/cluster/memory_broker.hpp>
#include <leat/flow/graph.hpp>
#include <leat/runtime/run.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/sync/task_handle.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/stop_when.hpp>
#include <leat/task/this_task.hpp>
#include <leat/task/timeout.hpp>

#include "../support/soak.hpp"

namespace {

using leat::task;
using leat::cluster::client_options;
using leat::cluster::cluster_client;
using leat::cluster::job_failed;
using leat::cluster::job_worker_options;
using leat::cluster::job_worker_report;
using leat::cluster::memory_engine;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// --- What runs on workers ---

std::map<int, int>* runs = nullptr;  // in simulations: how often each item was begun

int squared(int x) {
    if (runs != nullptr) ++(*runs)[x];
    return x * x;
}
std::string joined(const std::string& a, int b, const std::vector<int>& c) {
    return a + std::to_string(b) + "/" + std::to_string(c.size());
}
void nothing_at_all(int) {}
int no_sevens(int x) {
    if (x % 10 == 7) throw std::out_of_range("seven");
    return x;
}
task<int> later(int ms) {
    if (runs != nullptr) ++(*runs)[ms];
    co_await leat::sleep_for(1ms * ms);
    co_return ms;
}
std::string of_size(std::size_t size) { return std::string(size, 'x'); }
std::size_t size_of(const std::string& text) { return text.size(); }
std::string both(const std::string& a, const std::string& b) { return a + b; }

int deadly = -1;                          // the item that kills the worker which begins it
std::map<int, int> attempts;              // at what may be deadly
leat::auto_reset_event* dying = nullptr;  // set when a worker is to be killed
task<int> risky(int x) {
    ++attempts[x];
    if (x == deadly) {
        dying->set();
        co_await leat::sleep_for(1h);
    }
    co_return x;
}

// --- Here ---

std::vector<int> up_to(int count) {
    std::vector<int> all;
    for (int i = 0; i < count; ++i) all.push_back(i);
    return all;
}

struct setting {
    unsigned workers = 2;
    std::uint64_t seed = 1;
    leat::cluster::memory_options engine = {};
    client_options client = {};
    job_worker_options worker = {};
    job_worker_report told = {};  // of all workers together
    std::uint64_t faults = 0;     // that happened
};

task<> serve(memory_engine* engine, setting* with, leat::event* drain) {
    const auto link = engine->connect();
    const job_worker_report told = co_await leat::cluster::serve_jobs(*link, with->worker, drain);
    with->told.jobs += told.jobs;
    with->told.parcels += told.parcels;
    with->told.answers += told.answers;
    with->told.withdrawn += told.withdrawn;
    with->told.redelivered += told.redelivered;
}

// body(client) with workers beside it.
template <class Body>
task<> with_workers(memory_engine* engine, setting* with, Body body) {
    const auto link = engine->connect();
    leat::event drain;
    leat::scope workers;
    for (unsigned each = 0; each < with->workers; ++each) workers.spawn(&serve, engine, with, &drain);
    leat::outcome<void> end = co_await leat::cluster::with_cluster_client(*link, with->client, body).as_outcome();
    drain.set();
    co_await workers.join();
    std::move(end).get();
}

template <class Body>
leat::sim::result simulate(setting& with, Body body) {
    leat::sim::result told = leat::sim::run({.seed = with.seed}, [&]() -> task<> {
        memory_engine engine(with.engine);
        co_await with_workers(&engine, &with, body);
        // What a client has made for itself is gone with it.
        const auto link = engine.connect();
        if (with.engine.faults.seed != 1) co_return;
        const auto blobs = co_await link->keys("lj_leat_blobs", "");
        EXPECT_TRUE(!blobs || blobs->empty());
        const auto streams = co_await link->streams("lj_leat_r_");
        EXPECT_TRUE(streams && streams->empty());
    });
    EXPECT_TRUE(told.ok()) << told.report();
    return told;
}
template <class Body>
leat::sim::result simulate(Body body) {
    setting with;
    return simulate(with, body);
}

template <class Error, class T>
task<std::string> text_of(task<T> body) {
    leat::outcome<T> end = co_await std::move(body).as_outcome();
    try {
        (void)std::move(end).get();
    } catch (const Error& error) {
        co_return error.what();
    }
    co_return "(no such error)";
}
template <class T>
task<job_failed::reason> reason_of(task<T> body) {
    leat::outcome<T> end = co_await std::move(body).as_outcome();
    try {
        (void)std::move(end).get();
    } catch (const job_failed& error) {
        co_return error.why();
    }
    throw std::runtime_error("the job did not fail");
}

TEST(cluster_client, a_function_is_called_on_a_worker_and_its_value_comes_back) {
    simulate([](cluster_client& cluster) -> task<> {
        const int one = co_await cluster.submit<squared>(12);
        EXPECT_EQ(one, 144);
        const std::vector<int> numbers{1, 2, 3};
        const std::string text = co_await cluster.submit<joined>("text ", 5, numbers);
        EXPECT_EQ(text, "text 5/3");
        co_await cluster.submit<nothing_at_all>(1);
        const int waited = co_await cluster.submit<later>(20);
        EXPECT_EQ(waited, 20);
        EXPECT_EQ(cluster.counts().answered, 4U);
        EXPECT_EQ(cluster.counts().under_way, 0U);
    });
}

TEST(cluster_client, what_a_function_throws_comes_back_with_its_type_and_text) {
    simulate([](cluster_client& cluster) -> task<> {
        const std::string text = co_await text_of<leat::remote_error>(cluster.submit<no_sevens>(7));
        EXPECT_THAT(text, HasSubstr("std::out_of_range"));
        EXPECT_THAT(text, HasSubstr("seven"));
        const int next = co_await cluster.submit<no_sevens>(8);
        EXPECT_EQ(next, 8);
    });
}

TEST(cluster_client, map_gives_the_values_in_order_and_many_jobs_travel_in_one_message) {
    setting with;
    simulate(with, [](cluster_client& cluster) -> task<> {
        const std::vector<int> items = up_to(5000);
        const std::vector<int> values = co_await cluster.map<squared>(items);
        EXPECT_EQ(values.size(), 5000U);
        for (int i = 0; i < 5000; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], i * i);
        EXPECT_LT(cluster.counts().parcels, 1500U);
        const std::vector<int> none;
        const std::vector<int> nothing = co_await cluster.map<squared>(none);
        EXPECT_THAT(nothing, IsEmpty());
        co_await cluster.map<nothing_at_all>(items, 100);
    });
    EXPECT_EQ(with.told.jobs, 10'000U);
    EXPECT_LT(with.told.answers, 1500U);
}

TEST(cluster_client, the_first_failure_of_a_map_is_thrown) {
    simulate([](cluster_client& cluster) -> task<> {
        const std::vector<int> items = up_to(100);
        const std::string text = co_await text_of<leat::remote_error>(cluster.map<no_sevens>(items));
        EXPECT_THAT(text, HasSubstr("seven"));
        EXPECT_EQ(cluster.counts().under_way, 0U);
    });
}

TEST(cluster_client, long_jobs_go_one_by_one_and_are_shared_out) {
    setting with;
    with.workers = 4;
    with.worker.parallel = 1;
    const leat::sim::result told = simulate(with, [](cluster_client& cluster) -> task<> {
        const std::vector<int> items(40, 1000);
        (void)co_await cluster.map<later>(items);
        EXPECT_EQ(cluster.counts().parcels, 40U);
    });
    // Forty seconds of work by four: ten, and the time that it takes to start and to end.
    EXPECT_LT(told.time, 14s);
}

TEST(cluster_client, imap_keeps_the_order_and_its_bound_and_the_other_gives_values_as_they_come) {
    simulate([](cluster_client& cluster) -> task<> {
        const std::vector<int> items{300, 10, 200, 20, 100};
        auto ordered = cluster.imap<later>(items, 3);
        std::vector<int> all;
        for (;;) {
            const auto value = co_await ordered.next();
            if (!value) break;
            all.push_back(*value);
            EXPECT_LE(cluster.counts().under_way, 3U);
        }
        EXPECT_THAT(all, ElementsAre(300, 10, 200, 20, 100));
        auto as_done = cluster.imap_unordered<later>(items);
        all.clear();
        for (;;) {
            const auto value = co_await as_done.next();
            if (!value) break;
            all.push_back(*value);
        }
        EXPECT_THAT(all, testing::UnorderedElementsAre(300, 10, 200, 20, 100));
    });
}

TEST(cluster_client, a_sequence_that_is_dropped_withdraws_what_is_under_way) {
    setting with;
    with.worker.parallel = 1;
    const leat::sim::result told = simulate(with, [](cluster_client& cluster) -> task<> {
        {
            auto values = cluster.imap<later>(std::vector<int>(100, 3'600'000), 50);
            auto in_time = co_await leat::timeout(values.next(), 100ms).as_outcome();
            EXPECT_TRUE(in_time.is_error());
        }
        EXPECT_EQ(cluster.counts().withdrawn, 50U);
        EXPECT_EQ(cluster.counts().under_way, 0U);
    });
    EXPECT_LT(told.time, 1h);
}

TEST(cluster_client, stopping_who_waits_withdraws_the_job_and_stops_it_where_it_runs) {
    setting with;
    with.workers = 1;
    with.worker.parallel = 1;
    std::map<int, int> begun;
    runs = &begun;
    const leat::sim::result told = simulate(with, [](cluster_client& cluster) -> task<> {
        const std::string text = co_await text_of<leat::timed_out>(leat::timeout(cluster.submit<later>(3'600'000), 2s));
        EXPECT_THAT(text, testing::Not(HasSubstr("no such error")));
        const int after = co_await cluster.submit<later>(10);
        EXPECT_EQ(after, 10);
        EXPECT_EQ(cluster.counts().withdrawn, 1U);
    });
    runs = nullptr;
    EXPECT_EQ(begun[3'600'000], 1);
    EXPECT_EQ(with.told.withdrawn, 1U);
    EXPECT_LT(told.time, 1min);
}

TEST(cluster_client, what_is_above_the_bound_goes_by_reference_and_is_removed_when_it_was_used) {
    setting with;
    simulate(with, [](cluster_client& cluster) -> task<> {
        const std::string text = co_await cluster.submit<of_size>(std::size_t{700'000});
        EXPECT_EQ(text.size(), 700'000U);
        EXPECT_EQ(cluster.counts().by_reference, 1U);
        const std::size_t size = co_await cluster.submit<size_of>(text);
        EXPECT_EQ(size, 700'000U);
        EXPECT_EQ(cluster.counts().by_reference, 2U);
        // Each of them is small enough, but not both together in one message.
        const std::string half(400'000, 'y');
        const std::string twice = co_await cluster.submit<both>(half, half);
        EXPECT_EQ(twice.size(), 800'000U);
    });
}

TEST(cluster_client, results_feed_each_other_without_passing_through_the_client) {
    setting with;
    simulate(with, [](cluster_client& cluster) -> task<> {
        leat::graph work;
        auto first = work.add("first", leat::cluster::remote<of_size>(cluster, std::size_t{600'000}));
        auto second = work.add("second", leat::cluster::remote<of_size>(cluster, std::size_t{100}));
        auto together = work.add("together", leat::cluster::remote<both>(cluster), first, second);
        auto size = work.add("size", leat::cluster::remote<size_of>(cluster), together);
        const leat::graph_report told = co_await work.run(leat::graph_options(100));
        EXPECT_TRUE(told.ok()) << told.to_text();
        const std::size_t all = co_await size.get().get();
        EXPECT_EQ(all, 600'100U);
        EXPECT_TRUE(first.get().is_by_reference());
        EXPECT_FALSE(second.get().is_by_reference());
        EXPECT_EQ(cluster.blobs().counts().bytes_read, 0U);
        EXPECT_EQ(cluster.blobs().counts().bytes_written, 0U);
        const std::string text = co_await second.get().get();
        EXPECT_EQ(text.size(), 100U);
    });
}

TEST(cluster_client, a_node_that_fails_on_a_worker_cancels_what_depends_on_it) {
    simulate([](cluster_client& cluster) -> task<> {
        leat::graph work;
        auto bad = work.add("bad", leat::cluster::remote<no_sevens>(cluster, 17));
        auto after = work.add("after", leat::cluster::remote<squared>(cluster), bad);
        auto beside = work.add("beside", leat::cluster::remote<squared>(cluster, 3));
        const leat::graph_report told = co_await work.run();
        EXPECT_EQ(bad.end(), leat::graph_node_end::failed);
        EXPECT_EQ(after.end(), leat::graph_node_end::not_run);
        const int nine = co_await beside.get().get();
        EXPECT_EQ(nine, 9);
    });
}

// --- Workers that die ---

// Runs a worker, and kills it each time that `death` is set: what it held stays with the engine until its ack_wait is over.
task<> serve_and_die(memory_engine* engine, setting* with, leat::event* drain, leat::auto_reset_event* death) {
    while (!drain->is_set()) {
        const auto link = engine->connect();
        leat::stop_source killed;
        const auto watch = [](leat::auto_reset_event* of, leat::cluster::memory_broker* its,
                              leat::stop_source* source) -> task<> {
            co_await of->wait();
            its->drop();
            source->request_stop();
        };
        leat::scope beside;
        beside.spawn(watch, death, link.get(), &killed);
        auto ended = co_await leat::stop_when(leat::cluster::serve_jobs(*link, with->worker, drain), killed);
        beside.stop();
        (void)co_await beside.join_quietly();
        if (ended.is_error() && !killed.stop_requested()) std::rethrow_exception(ended.error());
    }
}

template <class Body>
void simulate_deaths(setting& with, Body body) {
    attempts.clear();
    const leat::sim::result told = leat::sim::run({.seed = with.seed}, [&]() -> task<> {
        memory_engine engine(with.engine);
        const auto link = engine.connect();
        leat::auto_reset_event death;
        dying = &death;
        leat::event drain;
        leat::scope workers;
        for (unsigned each = 0; each < with.workers; ++each)
            workers.spawn(&serve_and_die, &engine, &with, &drain, &death);
        leat::outcome<void> end = co_await leat::cluster::with_cluster_client(*link, with.client, body).as_outcome();
        drain.set();
        death.set();
        co_await workers.join();
        with.faults = engine.counts().faults;
        std::move(end).get();
    });
    dying = nullptr;
    deadly = -1;
    EXPECT_TRUE(told.ok()) << told.report();
}

TEST(cluster_client, the_jobs_of_a_worker_that_dies_are_done_by_others) {
    setting with;
    simulate_deaths(with, [](cluster_client& cluster) -> task<> {
        const std::vector<int> items(20, 2000);
        const auto kill = []() -> task<> {
            co_await leat::sleep_for(3s);
            dying->set();
        };
        leat::scope beside;
        beside.spawn(kill);
        const std::vector<int> values = co_await cluster.map<later>(items);
        EXPECT_EQ(values, items);
        co_await beside.join();
        EXPECT_EQ(cluster.counts().answered, 20U);
    });
}

TEST(cluster_client, of_a_parcel_that_workers_die_of_only_the_guilty_job_is_poison) {
    setting with;
    with.workers = 1;
    with.worker.deliveries = 3;
    simulate_deaths(with, [](cluster_client& cluster) -> task<> {
        // First it is learnt that such jobs are short, so that many travel together.
        const std::vector<int> before = up_to(200);
        (void)co_await cluster.map<risky>(before);
        attempts.clear();
        deadly = 1042;
        std::vector<leat::task_handle<int>> all;
        leat::scope work;
        for (int i = 1000; i < 1100; ++i) {
            const auto one = [](cluster_client* on, int item) -> task<int> {
                co_return co_await on->submit<risky>(item);
            };
            all.push_back(work.submit(one, &cluster, i));
        }
        int right = 0;
        for (int i = 1000; i < 1100; ++i) {
            leat::task_handle<int>& each = all[static_cast<std::size_t>(i - 1000)];
            if (i == deadly) {
                const auto join = [](leat::task_handle<int>* of) -> task<int> { co_return co_await of->join(); };
                const job_failed::reason why = co_await reason_of(join(&each));
                EXPECT_EQ(why, job_failed::reason::poison);
            } else {
                const int value = co_await each.join();
                right += value == i ? 1 : 0;
            }
        }
        co_await work.join();
        EXPECT_EQ(right, 99);
        EXPECT_GE(attempts[1042], 3);  // three times with others, then alone; or alone from the start
        EXPECT_LE(attempts[1042], 6);
    });
}

TEST(cluster_client, a_job_that_takes_too_long_is_stopped_and_says_so) {
    setting with;
    with.worker.timeout = 5s;
    simulate(with, [](cluster_client& cluster) -> task<> {
        const job_failed::reason why = co_await reason_of(cluster.submit<later>(60'000));
        EXPECT_EQ(why, job_failed::reason::timed_out);
        const int quick = co_await cluster.submit<later>(1000);
        EXPECT_EQ(quick, 1000);
    });
}

TEST(cluster_client, long_jobs_give_signs_of_life_and_are_begun_once) {
    setting with;
    with.client.ack_wait = 10s;
    std::map<int, int> begun;
    runs = &begun;
    simulate(with, [](cluster_client& cluster) -> task<> {
        const int value = co_await cluster.submit<later>(200'000);
        EXPECT_EQ(value, 200'000);
    });
    runs = nullptr;
    EXPECT_EQ(begun[200'000], 1);
}

// --- Versions, and the ends of things ---

TEST(cluster_client, a_worker_of_another_version_refuses_and_says_what_differs) {
    setting with;
    with.workers = 0;
    with.client.version = "2";
    simulate(with, [](cluster_client& cluster) -> task<> { co_return (void) cluster; });
    const leat::sim::result told = leat::sim::run({.seed = 1}, []() -> task<> {
        memory_engine engine;
        const auto link = engine.connect();
        client_options theirs;
        theirs.version = "2";
        const auto body = [](cluster_client&, leat::cluster::broker* on) -> task<> {
            job_worker_options options;
            options.version = "1";
            const std::string text =
                co_await text_of<leat::cluster::worker_refused>(leat::cluster::serve_jobs(*on, options));
            EXPECT_THAT(text, HasSubstr("this program's version is \"1\", theirs is \"2\""));
        };
        co_await leat::cluster::with_cluster_client(*link, theirs, body, link.get());
    });
    EXPECT_TRUE(told.ok()) << told.report();
}

TEST(cluster_client, the_difference_between_programs_names_functions_and_types) {
    leat::cluster::job_program here = leat::cluster::program_here("1");
    leat::cluster::job_program other = here;
    EXPECT_EQ(leat::cluster::difference(here, other), "");
    EXPECT_TRUE(here.functions.size() > 5);
    other.hash ^= 1U;
    EXPECT_THAT(leat::cluster::difference(here, other), HasSubstr("another version of leat"));
    const std::string name = other.functions.begin()->first;
    other.functions.begin()->second = "long (*)(long)";
    EXPECT_THAT(leat::cluster::difference(here, other), HasSubstr(name + " is "));
    other.functions.erase(name);
    EXPECT_THAT(leat::cluster::difference(here, other), HasSubstr("they do not have " + name));
    EXPECT_THAT(leat::cluster::difference(other, here), HasSubstr("this program does not have " + name));
}

TEST(cluster_client, a_worker_waits_for_the_first_client_and_ends_when_it_is_drained) {
    const leat::sim::result told = leat::sim::run({.seed = 1}, []() -> task<> {
        memory_engine engine;
        const auto link = engine.connect();
        leat::event drain;
        leat::scope work;
        const auto set_later = [](leat::event* which) -> task<> {
            co_await leat::sleep_for(10s);
            which->set();
        };
        work.spawn(set_later, &drain);
        const job_worker_report end = co_await leat::cluster::serve_jobs(*link, {}, &drain);
        EXPECT_EQ(end.parcels, 0U);
        co_await work.join();
    });
    EXPECT_TRUE(told.ok()) << told.report();
    EXPECT_LT(told.time, 12s);
}

TEST(cluster_client, a_worker_that_drains_ends_what_it_has_begun) {
    setting with;
    with.workers = 0;
    const leat::sim::result told = leat::sim::run({.seed = 1}, [&]() -> task<> {
        memory_engine engine;
        const auto body = [](cluster_client& cluster, memory_engine* on, setting* how) -> task<> {
            leat::event drain;
            leat::scope work;
            work.spawn(&serve, on, how, &drain);
            const auto set_later = [](leat::event* which) -> task<> {
                co_await leat::sleep_for(3s);
                which->set();
            };
            work.spawn(set_later, &drain);
            const int value = co_await cluster.submit<later>(5000);
            EXPECT_EQ(value, 5000);
            co_await work.join();
        };
        const auto link = engine.connect();
        co_await leat::cluster::with_cluster_client(*link, with.client, body, &engine, &with);
    });
    EXPECT_TRUE(told.ok()) << told.report();
}

TEST(cluster_client, closing_fails_what_is_under_way) {
    setting with;
    with.workers = 0;
    const leat::sim::result told = leat::sim::run({.seed = 1}, [&]() -> task<> {
        memory_engine engine;
        const auto link = engine.connect();
        cluster_client cluster(*link);
        co_await cluster.open();
        const auto one = [](cluster_client* on) -> task<> {
            const job_failed::reason why = co_await reason_of(on->submit<squared>(1));
            EXPECT_EQ(why, job_failed::reason::closed);
        };
        leat::scope work;
        work.spawn(one, &cluster);
        co_await leat::sleep_for(1s);
        co_await cluster.close();
        co_await cluster.close();
        co_await work.join();
    });
    EXPECT_TRUE(told.ok()) << told.report();
}

TEST(cluster_client, the_jobs_of_a_client_that_died_are_left_out) {
    std::map<int, int> begun;
    runs = &begun;
    setting with;
    const leat::sim::result told = leat::sim::run({.seed = 1}, [&]() -> task<> {
        memory_engine engine;
        {
            // Dies with a thousand jobs in the queue.
            const auto link = engine.connect();
            const auto body = [](cluster_client& cluster, leat::cluster::memory_broker* its) -> task<> {
                leat::scope work;
                const auto one = [](cluster_client* on, int item) -> task<> { (void)co_await on->submit<later>(item); };
                for (int i = 0; i < 50; ++i) work.spawn(one, &cluster, 100'000 + i);
                co_await leat::sleep_for(1s);
                its->drop();
                work.stop();
                (void)co_await work.join_quietly();
            };
            auto dead = co_await leat::cluster::with_cluster_client(*link, with.client, body, link.get()).as_outcome();
            EXPECT_FALSE(dead.is_cancelled());
        }
        co_await leat::sleep_for(11min);
        const auto body = [](cluster_client& cluster) -> task<> {
            const int value = co_await cluster.submit<later>(5);
            EXPECT_EQ(value, 5);
        };
        co_await with_workers(&engine, &with, body);
        const auto link = engine.connect();
        const auto streams = co_await link->streams("lj_leat_r_");
        EXPECT_TRUE(streams && streams->empty());  // the dead one's was swept
    });
    runs = nullptr;
    EXPECT_TRUE(told.ok()) << told.report();
    EXPECT_LE(begun.size(), 3U);  // the one, and what was begun before it was known
}

TEST(cluster_client, a_client_that_was_cut_off_for_too_long_says_so) {
    setting with;
    with.workers = 0;
    with.client.gone_after = 60s;
    const leat::sim::result told = leat::sim::run({.seed = 1}, [&]() -> task<> {
        memory_engine engine;
        const auto link = engine.connect();
        const auto body = [](cluster_client& cluster, leat::cluster::memory_broker* its) -> task<> {
            leat::scope work;
            const auto one = [](cluster_client* on) -> task<> {
                const job_failed::reason why = co_await reason_of(on->submit<squared>(1));
                EXPECT_EQ(why, job_failed::reason::gone);
            };
            work.spawn(one, &cluster);
            co_await leat::sleep_for(1s);
            its->cut();
            co_await leat::sleep_for(5min);
            its->heal();
            co_await work.join();
        };
        co_await leat::cluster::with_cluster_client(*link, with.client, body, link.get());
    });
    EXPECT_TRUE(told.ok()) << told.report();
}

TEST(cluster_client, options_that_cannot_be_meant_so_are_refused) {
    leat::run(leat::run_options(1), []() -> task<> {
        memory_engine engine;
        const auto link = engine.connect();
        client_options options;
        options.name = "a.b";
        EXPECT_THROW(cluster_client(*link, options), std::invalid_argument);
        options.name = "ab";
        options.most_jobs = 0;
        EXPECT_THROW(cluster_client(*link, options), std::invalid_argument);
        co_return;
    });
}

// --- Under seeds ---

TEST(cluster_client, soak_whatever_goes_wrong_each_job_has_one_answer_and_the_right_one) {
    std::uint64_t faults = 0;
    for (leat_test::soak rounds(100); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice draw(rounds.seed());
        setting with;
        with.seed = rounds.seed();
        with.workers = 1 + draw(3);
        with.engine.faults.seed = rounds.seed() + 1;
        with.engine.faults.refused_calls = draw(40);
        with.engine.faults.lost_calls = draw(30);
        with.engine.faults.late_calls = draw(30);
        with.engine.faults.lost_answers = draw(30);
        with.engine.faults.lost_deliveries = draw(30);
        with.engine.faults.early_redeliveries = draw(60);
        with.engine.faults.cuts = draw(4);
        with.engine.faults.restarts = draw(3);
        with.engine.faults.reorders = draw(2) == 0;
        with.engine.faults.longest_delay = 1ms * draw(20);
        with.engine.faults.most = 400;
        with.worker.deliveries = 1000;  // so that nothing here is poison
        with.worker.longest_pause = 1s;
        const unsigned deaths = draw(4);
        simulate_deaths(with, [&](cluster_client& cluster) -> task<> {
            const auto kill = [](unsigned times) -> task<> {
                for (unsigned i = 0; i < times; ++i) {
                    co_await leat::sleep_for(1ms * (1 + leat::sim::draw(20'000)));
                    dying->set();
                }
            };
            leat::scope beside;
            beside.spawn(kill, deaths);
            std::vector<int> items;
            for (int i = 0; i < 60; ++i) items.push_back(static_cast<int>(leat::sim::draw(500)));
            const std::vector<int> values = co_await cluster.map<later>(items, 20);
            if (values != items) throw std::runtime_error("not the values");
            auto more = cluster.imap<squared>(up_to(100), 30);
            int turn = 0;
            for (;;) {
                const auto value = co_await more.next();
                if (!value) break;
                if (*value != turn * turn) throw std::runtime_error("another value, or out of order");
                ++turn;
            }
            if (turn != 100) throw std::runtime_error("a job is lost");
            beside.stop();
            (void)co_await beside.join_quietly();
        });
        faults += with.faults;
    }
    EXPECT_GT(faults, 1000U);
}

TEST(cluster_client, the_same_seed_gives_the_same_run) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        const auto once = [seed] {
            setting with;
            with.seed = seed;
            return simulate(with,
                            [](cluster_client& cluster) -> task<> {
                                const std::vector<int> items = up_to(50);
                                (void)co_await cluster.map<later>(items);
                            })
                .trace;
        };
        EXPECT_EQ(once(), once());
    }
}

TEST(cluster_client, many_jobs_of_many_tasks_on_threads) {
    memory_engine engine;
    setting with;
    leat::run(leat::run_options(4), [&]() -> task<> {
        const auto body = [](cluster_client& cluster) -> task<> {
            const auto one = [](cluster_client* on, int first) -> task<> {
                std::vector<int> items;
                for (int i = 0; i < 1000; ++i) items.push_back(first + i % 100);
                const std::vector<int> values = co_await on->map<squared>(items);
                for (std::size_t i = 0; i < items.size(); ++i)
                    if (values[i] != items[i] * items[i]) throw std::runtime_error("another value");
                const std::string large = co_await on->submit<of_size>(std::size_t{600'000});
                if (large.size() != 600'000) throw std::runtime_error("another size");
            };
            leat::scope work;
            for (int i = 0; i < 10; ++i) work.spawn(one, &cluster, i * 100);
            co_await work.join();
            EXPECT_EQ(cluster.counts().answered, 10'010U);
        };
        co_await with_workers(&engine, &with, body);
    });
    EXPECT_GE(with.told.jobs, 10'010U);
}

}  // namespace
