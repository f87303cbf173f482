// Jobs, the shared cache and shared keys on real servers, which are killed meanwhile.
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <thread>

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <leat/cluster/cluster_client.hpp>
#include <leat/cluster/cluster_graph.hpp>
#include <leat/cluster/job_worker.hpp>
#include <leat/cluster/nats_broker.hpp>
#include <leat/cluster/shared_cache.hpp>
#include <leat/cluster/shared_seen.hpp>
#include <leat/flow/graph.hpp>
#include <leat/runtime/blocking.hpp>
#include <leat/runtime/run.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/this_task.hpp>
#include <nats_server.hpp>

namespace {

using leat::task;
using leat::cluster::broker;
using leat::cluster::client_options;
using leat::cluster::cluster_client;
using leat_test::nats_server;
using namespace std::chrono_literals;

int doubled(int x) { return 2 * x; }
task<int> in_a_moment(int x) {
    co_await leat::sleep_for(1ms);
    co_return 3 * x;
}
std::string letters(std::size_t size) { return std::string(size, 'x'); }
std::size_t length(const std::string& text) { return text.size(); }

task<std::unique_ptr<broker>> connected(std::string url) {
    leat::cluster::nats_options options(std::move(url));
    options.patience = 120s;  // the machine may be busy
    auto made = co_await leat::cluster::connect(std::move(options));
    if (!made) throw std::runtime_error(made.error().text);
    co_return std::move(*made);
}

task<> serve(std::string url, leat::event* drain, leat::cluster::job_worker_report* told) {
    const std::unique_ptr<broker> link = co_await connected(url);
    leat::outcome<leat::cluster::job_worker_report> end =
        co_await leat::cluster::serve_jobs(*link, {}, drain).as_outcome();
    co_await link->close();
    *told = std::move(end).get();
}

// body(client) with two workers.
template <class Body>
void with_cluster(const std::string& url, Body body, client_options options = {}) {
    const auto program = [&]() -> task<> {
        leat::event drain;
        leat::cluster::job_worker_report one;
        leat::cluster::job_worker_report two;
        leat::scope workers;
        workers.spawn(&serve, url, &drain, &one);
        workers.spawn(&serve, url, &drain, &two);
        const std::unique_ptr<broker> link = co_await connected(url);
        leat::outcome<void> end = co_await leat::cluster::with_cluster_client(*link, options, body).as_outcome();
        // What was the client's is gone.
        const auto streams = co_await link->streams("lj_leat_r_");
        EXPECT_TRUE(streams && streams->empty());
        co_await link->close();
        drain.set();
        co_await workers.join();
        std::move(end).get();
        EXPECT_GT(one.jobs, 0U);
        EXPECT_GT(two.jobs, 0U);
    };
    leat::run(leat::run_options(2), program);
}

std::vector<int> up_to(int count) {
    std::vector<int> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
}

TEST(cluster_work, jobs_and_large_results_on_a_real_server) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    with_cluster(server.url(), [](cluster_client& cluster) -> task<> {
        const std::vector<int> items = up_to(20'000);
        const std::vector<int> values = co_await cluster.map<doubled>(items);
        for (int i = 0; i < 20'000; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], 2 * i);
        const std::string text = co_await cluster.submit<letters>(std::size_t{3'000'000});
        EXPECT_EQ(text.size(), 3'000'000U);
        const std::size_t size = co_await cluster.submit<length>(text);
        EXPECT_EQ(size, 3'000'000U);
        leat::graph work;
        auto first = work.add("letters", leat::cluster::remote<letters>(cluster, std::size_t{600'000}));
        auto second = work.add("length", leat::cluster::remote<length>(cluster), first);
        const leat::graph_report told = co_await work.run();
        EXPECT_TRUE(told.ok()) << told.to_text();
        const std::size_t fed = co_await second.get().get();
        EXPECT_EQ(fed, 600'000U);
    });
}

TEST(cluster_work, each_job_has_one_answer_though_the_server_is_killed) {
    LEAT_NEEDS_NATS_SERVER();
    nats_server server;
    client_options options;
    options.ack_wait = 5s;
    with_cluster(
        server.url(),
        [&server](cluster_client& cluster) -> task<> {
            const auto kill = [](nats_server* which, std::atomic<bool>* stop) -> task<> {
                while (!*stop) {
                    co_await leat::sleep_for(700ms);
                    const auto once = [which] {
                        which->kill();
                        which->start();
                    };
                    co_await leat::blocking(once);
                }
            };
            std::atomic<bool> stop = false;
            leat::scope beside;
            beside.spawn(kill, &server, &stop);
            for (int round = 0; round < 3; ++round) {
                const std::vector<int> items = up_to(3000);
                const std::vector<int> values = co_await cluster.map<in_a_moment>(items, 1000);
                for (int i = 0; i < 3000; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], 3 * i);
            }
            stop = true;
            co_await beside.join();
            EXPECT_EQ(cluster.counts().answered, 9000U);
        },
        options);
}

TEST(cluster_work, a_shared_cache_and_shared_keys_on_a_real_server) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    const auto program = [&]() -> task<> {
        const std::unique_ptr<broker> one = co_await connected(server.url());
        const std::unique_ptr<broker> two = co_await connected(server.url());
        {
            leat::cluster::shared_cache<int, std::string> here(*one);
            leat::cluster::shared_cache<int, std::string> there(*two);
            co_await here.open();
            co_await there.open();
            std::atomic<int> times = 0;
            const auto ask = [&times](leat::cluster::shared_cache<int, std::string>* of, int key) -> task<> {
                const auto compute = [&times](const int& what) -> task<std::string> {
                    ++times;
                    co_await leat::sleep_for(20ms);
                    co_return std::string(static_cast<std::size_t>(what) * 100'000, 'x');
                };
                const std::string found = co_await of->get(key, compute);
                if (found.size() != static_cast<std::size_t>(key) * 100'000) throw std::runtime_error("another value");
            };
            leat::scope work;
            for (int i = 0; i < 100; ++i) work.spawn(ask, i % 2 == 0 ? &here : &there, i / 2 % 10);
            co_await work.join();
            EXPECT_EQ(here.counts().computed + there.counts().computed, static_cast<std::uint64_t>(times));
            EXPECT_TRUE(times == 10 || here.counts().broken + there.counts().broken != 0) << times;
        }
        {
            leat::cluster::shared_seen_options how;
            how.items = 10'000;
            how.partitions = 4;
            leat::cluster::shared_seen here(*one, how);
            leat::cluster::shared_seen there(*two, how);
            co_await here.open();
            co_await there.open();
            const auto key = [](int number) { return leat::digest_of(std::to_string(number)); };
            for (int i = 0; i < 1000; ++i) (i % 2 == 0 ? here : there).note(key(i));
            co_await here.exchange();
            co_await there.exchange();
            co_await here.exchange();
            for (int i = 0; i < 1000; ++i) {
                const bool is_seen = co_await here.has(key(i), 10);
                EXPECT_TRUE(is_seen) << i;
                const bool is_new = co_await there.has(key(5000 + i));
                EXPECT_FALSE(is_new) << i;
            }
            EXPECT_EQ(here.counts().bytes_saved, 10'000U);
        }
        co_await one->close();
        co_await two->close();
    };
    leat::run(leat::run_options(2), program);
}

// --- Workers that are processes of their own: this program again, with one test ---

constexpr const char* engine_variable = "LEAT_TEST_ENGINE";

// Disabled: no test, but the body of the processes that tests start and kill.
TEST(cluster_work_process, DISABLED_works) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const auto program = [url = std::string(std::getenv(engine_variable))]() -> task<> {
        const std::unique_ptr<broker> link = co_await connected(url);
        leat::cluster::job_worker_options options;
        options.parallel = 4;
        options.deliveries = 100;  // nobody here is guilty of his death
        (void)co_await leat::cluster::serve_jobs(*link, options);
    };
    leat::run(leat::run_options(1), program);
}

class worker_process {
public:
    worker_process() { start(); }
    worker_process(const worker_process&) = delete;
    worker_process& operator=(const worker_process&) = delete;
    ~worker_process() { kill(); }
    void start() {
        pid_ = ::fork();
        if (pid_ != 0) return;
        ::execl("/proc/self/exe", "worker", "--gtest_filter=cluster_work_process.DISABLED_works",
                "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr);
        ::_exit(127);
    }
    void kill() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = 0;
    }

private:
    pid_t pid_ = 0;
};

TEST(cluster_work, soak_each_job_has_one_answer_though_workers_are_killed) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    ::setenv(engine_variable, server.url().c_str(), 1);
    const unsigned kills = std::getenv("LEAT_SOAK_SECONDS") != nullptr ? 200 : 20;
    std::vector<std::unique_ptr<worker_process>> workers;
    for (int i = 0; i < 3; ++i) workers.push_back(std::make_unique<worker_process>());
    std::atomic<unsigned> killed = 0;
    std::jthread killer([&] {
        for (unsigned i = 0; i < kills; ++i) {
            std::this_thread::sleep_for(100ms);
            workers[i % 3]->kill();
            workers[i % 3]->start();
            ++killed;
        }
    });
    const auto program = [&]() -> task<> {
        const std::unique_ptr<broker> link = co_await connected(server.url());
        client_options options;
        options.ack_wait = 2s;
        const auto body = [&](cluster_client& cluster) -> task<> {
            std::uint64_t jobs = 0;
            do {
                const std::vector<int> items = up_to(2000);
                const std::vector<int> values = co_await cluster.map<in_a_moment>(items);
                for (int i = 0; i < 2000; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], 3 * i);
                jobs += 2000;
            } while (killed < kills);
            EXPECT_EQ(cluster.counts().answered, jobs);
            std::printf("%llu jobs, %u workers killed, %llu answers came twice\n",
                        static_cast<unsigned long long>(jobs), killed.load(),
                        static_cast<unsigned long long>(cluster.counts().unexpected));
        };
        leat::outcome<void> end = co_await leat::cluster::with_cluster_client(*link, options, body).as_outcome();
        co_await link->close();
        std::move(end).get();
    };
    leat::run(leat::run_options(1), program);
    killer.join();
}

}  // namespace
