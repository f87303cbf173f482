// Flows over a real server, with workers and a coordinator that are processes of their own, and all of them killed: nothing is
// lost, and each item is in the sink once. `./dev soak` kills as often as is promised; the other tests a tenth of that.
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <random>
#include <ranges>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sqlite3.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <leat/cluster/cluster_stage.hpp>
#include <leat/cluster/nats_broker.hpp>
#include <leat/flow/sqlite_sink.hpp>
#include <leat/runtime/run.hpp>

#include <nats_server.hpp>
#include <soak.hpp>
#include <tcp_proxy.hpp>

namespace leat::cluster {

// Slow enough that there is something to be killed in.
task<std::int64_t> times_three(std::int64_t from) {
    co_await sleep_for(std::chrono::milliseconds(2));
    co_return 3 * from;
}

namespace {

using namespace std::chrono_literals;

// --- What the processes do: this program again, with one test ---

constexpr const char* engine_variable = "LEAT_TEST_ENGINE";
constexpr const char* folder_variable = "LEAT_TEST_FOLDER";
constexpr const char* items_variable = "LEAT_TEST_ITEMS";

placement_options kill_options() {
    placement_options options;
    options.flow = "kill";
    options.ack_wait = 2s;
    options.parcel_items = 64;
    options.most_deliveries = 100;  // nobody here is guilty of his death
    return options;
}

task<report> coordinate(std::string url, std::string folder, std::int64_t items, cluster_report* counted) {
    at place(std::move(url), kill_options());
    auto stage = map<times_three>("triple").on(place);
    sqlite_sink_options into(folder + "/sink.db");
    into.tables = {{"numbers", {{"number", sqlite_type::integer}, {"triple", sqlite_type::integer}}, {}}};
    into.longest = 20ms;
    const auto row = [](std::int64_t value) { return sqlite_row(std::to_string(value / 3), {value / 3, value}); };
    auto sink = to_sqlite("store", into, row);
    pipeline<std::int64_t> source = from(std::views::iota(std::int64_t{0}, items));
    flow_graph graph = std::move(source) | std::move(stage) | std::move(sink);
    const std::unique_ptr<journal> kept = open_journal(folder + "/state");
    flow_options options;
    options.journal = kept.get();
    const auto last = kept->last_run();
    options.journal_mode = last && !last->is_complete() ? journal_mode::resume : journal_mode::fresh;
    report done = co_await run_flow(std::move(graph), options);
    *counted = place.run()->report();
    co_return done;
}

// Disabled: not tests, but the bodies of the processes that the tests below start and kill.
TEST(cluster_process, DISABLED_works) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const std::string url = std::getenv(engine_variable);
    leat::run(run_options(1), [&] { return serve_until_stopped(url, worker_options()); });
}

TEST(cluster_process, DISABLED_coordinates) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const std::string url = std::getenv(engine_variable);
    const std::string folder = std::getenv(folder_variable);
    const std::int64_t items = std::atoll(std::getenv(items_variable));
    cluster_report counted;
    const report done = leat::run(run_options(1), [&] { return coordinate(url, folder, items, &counted); });
    std::ofstream(folder + "/report.txt") << counted.to_text() << done.to_text();
    ASSERT_EQ(done.end, flow_end::complete) << done.error;
    ASSERT_TRUE(done.adds_up());
    ASSERT_EQ(counted.items, counted.answered);
}

// --- Processes ---

class process {
public:
    explicit process(const char* test) : test_(test) { start(); }
    process(const process&) = delete;
    process& operator=(const process&) = delete;
    ~process() { kill(); }
    void start() {
        pid_ = ::fork();
        if (pid_ != 0) return;
        const std::string filter = std::string("--gtest_filter=cluster_process.DISABLED_") + test_;
        ::execl("/proc/self/exe", "worker", filter.c_str(), "--gtest_also_run_disabled_tests", "--gtest_brief=1",
                nullptr);
        ::_exit(127);
    }
    void kill() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = 0;
    }
    // The exit status, once it has ended; nothing as long as it runs.
    std::optional<int> ended() {
        int status = 0;
        if (::waitpid(pid_, &status, WNOHANG) != pid_) return {};
        pid_ = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

private:
    const char* test_;
    pid_t pid_ = 0;
};

struct contents {
    std::int64_t rows = 0;
    std::int64_t different = 0;
    std::int64_t wrong = 0;
};
contents contents_of(const std::string& folder) {
    sqlite3* db = nullptr;
    contents all;
    if (::sqlite3_open((folder + "/sink.db").c_str(), &db) == SQLITE_OK) {
        sqlite3_stmt* ask = nullptr;
        ::sqlite3_prepare_v2(db, "select count(*), count(distinct number), sum(triple <> 3 * number) from numbers", -1,
                             &ask, nullptr);
        if (ask != nullptr && ::sqlite3_step(ask) == SQLITE_ROW) {
            all.rows = ::sqlite3_column_int64(ask, 0);
            all.different = ::sqlite3_column_int64(ask, 1);
            all.wrong = ::sqlite3_column_int64(ask, 2);
        }
        ::sqlite3_finalize(ask);
    }
    ::sqlite3_close(db);
    return all;
}

struct kills {
    int items = 10'000;
    int of_workers = 0;
    int of_server = 0;
    int of_coordinator = 0;
    int partitions = 0;  // between one of the workers and the server; of one way, or both
    unsigned seed = 1;
};

void run_and_kill(const kills& how) {
    leat_test::nats_server server;
    const leat_test::own_folder folder;
    ::setenv(engine_variable, server.url().c_str(), 1);
    ::setenv(folder_variable, folder.path().c_str(), 1);
    ::setenv(items_variable, std::to_string(how.items).c_str(), 1);
    std::vector<std::unique_ptr<process>> workers;
    for (int i = 0; i < 2; ++i) workers.push_back(std::make_unique<process>("works"));
    leat_test::tcp_proxy between(server.port());
    ::setenv(engine_variable, between.url().c_str(), 1);
    process behind_the_proxy("works");
    ::setenv(engine_variable, server.url().c_str(), 1);
    process coordinator("coordinates");
    std::minstd_rand random(how.seed);
    kills left = how;
    std::optional<int> status;
    int lives = 1;
    while (!(status = coordinator.ended()) || (*status != 0 && lives < 100)) {
        if (status) {  // it gave up: the lease was lost while the server was away
            coordinator.start();
            ++lives;
            continue;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(50 + random() % 150));
        if (left.of_workers > 0) {
            process& one = *workers[random() % workers.size()];
            one.kill();
            one.start();
            --left.of_workers;
        }
        if (left.partitions > 0 && random() % 3 == 0) {
            const auto which = random() % 3;
            if (which == 0) between.hold();
            else if (which == 1) between.hold_to_client();
            else between.hold_to_server();
            std::this_thread::sleep_for(std::chrono::milliseconds(random() % 4000));
            between.release();
            --left.partitions;
        }
        if (left.of_server > 0 && random() % 4 == 0) {
            server.kill();
            std::this_thread::sleep_for(std::chrono::milliseconds(random() % 500));
            server.start();
            --left.of_server;
        }
        if (left.of_coordinator > 0 && random() % 8 == 0) {
            coordinator.kill();
            coordinator.start();
            --left.of_coordinator;
            ++lives;
        }
    }
    EXPECT_EQ(status, 0);
    const contents found = contents_of(folder.path());
    EXPECT_EQ(found.rows, how.items);
    EXPECT_EQ(found.different, how.items);
    EXPECT_EQ(found.wrong, 0);
    std::ifstream text(folder.path() / "report.txt");
    const std::string report((std::istreambuf_iterator<char>(text)), std::istreambuf_iterator<char>());
    std::cout << report << "left: " << left.of_workers << " kills of workers, " << left.of_server << " of the server, "
              << left.of_coordinator << " of the coordinator, " << left.partitions << " partitions\n";
}

TEST(cluster_kill, nobody_is_killed) {
    LEAT_NEEDS_NATS_SERVER();
    run_and_kill({});
}
TEST(cluster_kill, workers_are_killed) {
    LEAT_NEEDS_NATS_SERVER();
    run_and_kill({.of_workers = 20});
}
TEST(cluster_kill, the_server_is_killed) {
    LEAT_NEEDS_NATS_SERVER();
    run_and_kill({.of_server = 2});
}
TEST(cluster_kill, the_coordinator_is_killed) {
    LEAT_NEEDS_NATS_SERVER();
    run_and_kill({.of_coordinator = 2});
}

TEST(cluster_kill, a_worker_is_cut_off) {
    LEAT_NEEDS_NATS_SERVER();
    run_and_kill({.partitions = 3});
}

// The numbers that are promised; no rounds among the other tests.
TEST(cluster_kill_soak, everybody_is_killed_and_cut_off_all_the_time) {
    LEAT_NEEDS_NATS_SERVER();
    for (leat_test::soak rounds(0); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        run_and_kill({.items = 100'000,
                      .of_workers = 200,
                      .of_server = 20,
                      .of_coordinator = 20,
                      .partitions = 30,
                      .seed = rounds.seed()});
    }
}

// --- Three servers ---

enum class loss : unsigned char { killed, paused };

// A flow that goes on until each loss has come and passed, of the server that leads all three, or of that of the items' stream.
void run_on_three(const std::vector<loss>& losses, unsigned seed) {
    leat_test::nats_trio servers;
    ::setenv(engine_variable, servers.url().c_str(), 1);
    process first("works");
    process second("works");
    placement_options options = kill_options();
    options.replicas = 3;
    const at place(servers.url(), options);
    std::vector<std::int64_t> out;
    std::atomic<std::size_t> taken{0};
    std::atomic<bool> is_over{false};
    std::atomic<bool> has_ended{false};  // the flow, early or not
    const auto program = [&]() -> task<> {
        auto stage = map<times_three>("triple").on(place);
        auto keep = [&](std::int64_t value) {
            out.push_back(value / 3);
            ++taken;
        };
        constexpr std::int64_t least = 2000;
        const auto goes_on = [&is_over](std::int64_t number) { return number < least || !is_over; };
        pipeline<std::int64_t> source = from(std::views::iota(std::int64_t{0}) | std::views::take_while(goes_on));
        flow_graph graph = std::move(source) | std::move(stage) | for_each("keep", keep).rate(2000);
        const report done = co_await run_flow(std::move(graph));
        EXPECT_EQ(done.end, flow_end::complete) << done.error;
        EXPECT_TRUE(done.adds_up());
        std::cout << place.run()->report().to_text();
    };
    std::thread breaker([&] {
        std::minstd_rand random(seed);
        for (std::size_t i = 0; i < losses.size(); ++i) {
            const std::size_t before = taken;
            // It moves, also after the loss before this one.
            for (int round = 0; round < 1200 && taken < before + 1000 && !has_ended; ++round)
                std::this_thread::sleep_for(50ms);
            EXPECT_GE(taken, before + 1000) << "after " << i << " losses";
            if (has_ended || taken == 0) break;
            const cluster_report now = place.run()->report();
            const std::size_t leader =
                i % 2 == 0 ? servers.leader() : servers.leader_of(fmt::format("df-{}-{}-0", now.flow, now.run));
            const std::chrono::milliseconds away(500 + random() % 6000);
            if (losses[i] == loss::killed) servers[leader].kill();
            else servers[leader].pause();
            std::this_thread::sleep_for(away);
            if (losses[i] == loss::killed) servers[leader].start();
            else servers[leader].resume();
        }
        is_over = true;
    });
    leat::run(run_options(1), program);
    has_ended = true;
    breaker.join();
    const auto all = static_cast<std::int64_t>(out.size());
    std::vector<std::int64_t> wanted(out.size());
    std::iota(wanted.begin(), wanted.end(), std::int64_t{0});
    EXPECT_GE(all, 2000);
    EXPECT_EQ(out, wanted);
}

TEST(cluster_kill, the_leader_of_three_servers_is_killed) {
    LEAT_NEEDS_NATS_SERVER();
    run_on_three({loss::killed}, 1);
}
TEST(cluster_kill, the_leader_of_three_servers_is_paused) {
    LEAT_NEEDS_NATS_SERVER();
    run_on_three({loss::paused}, 2);
}
TEST(cluster_kill_soak, the_leaders_of_three_servers_are_killed_and_paused_ten_times) {
    LEAT_NEEDS_NATS_SERVER();
    using enum loss;
    for (leat_test::soak rounds(0); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        run_on_three({killed, paused, paused, killed, killed, paused, killed, paused, paused, killed}, rounds.seed());
    }
}

}  // namespace
}  // namespace leat::cluster
