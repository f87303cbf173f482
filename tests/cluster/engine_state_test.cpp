// What a coordinator keeps in the engine, on a real one: the lease and the journal, with a server that is killed.
#include <gmock/gmock.h>
#include <nats_server.hpp>

#include <leat/cluster/coordination.hpp>
#include <leat/cluster/nats_broker.hpp>
#include <leat/runtime/blocking.hpp>
#include <leat/runtime/run.hpp>
#include <leat/task/scope.hpp>

namespace leat::cluster {
namespace {

using namespace std::chrono_literals;
using leat_test::nats_server;

task<std::shared_ptr<broker>> connected(const nats_server& server) {
    nats_options options(server.url());
    options.patience = 120s;  // the machine may be busy
    auto connecting = connect(std::move(options));
    auto made = co_await std::move(connecting);
    if (!made) throw std::runtime_error(made.error().text);
    co_return std::move(*made);
}

journal_batch batch_of(int from, int count) {
    journal_batch batch;
    for (int number = from; number < from + count; ++number) {
        batch.items.emplace_back();
        batch.items.back().item = "item " + std::to_string(number);
        batch.items.back().entry.how = fate::committed;
    }
    batch.sinks = {{"file", static_cast<std::uint64_t>(from + count)}};
    return batch;
}

void kill_and_start(nats_server& server) {
    server.kill();
    server.start();
}

// Two hundred changes; the server is killed among them, by what happens then.
task<> write_all(journal& kept, nats_server& server) {
    (void)co_await kept.async_begin(journal_mode::fresh, "flow");
    for (int turn = 0; turn < 200; ++turn) {
        if (turn % 50 == 25) {
            const auto again = [&server] { kill_and_start(server); };
            co_await blocking(again);
        }
        const journal_batch batch = batch_of(turn * 10, 10);
        co_await kept.async_write(batch);
    }
}

// Which of so many items are on record.
int found_in(journal& kept, int items) {
    int found = 0;
    for (int number = 0; number < items; ++number) found += kept.find("item " + std::to_string(number)) ? 1 : 0;
    return found;
}

task<> write_and_follow(nats_server& server) {
    coordination_options how;
    how.owner = "the first";
    {
        const auto link = co_await connected(server);
        auto beginning = coordination::begin(link, "state", how);
        const auto mine = co_await std::move(beginning);
        EXPECT_EQ(mine->held().epoch(), 1U);
        auto writing = write_all(mine->kept(), server);
        co_await mine->hold(std::move(writing));
        co_await link->close();  // it does not give the lease up
    }
    const auto link = co_await connected(server);
    how.owner = "the second";
    auto beginning = coordination::begin(link, "state", how);
    const auto mine = co_await std::move(beginning);
    EXPECT_EQ(mine->held().epoch(), 2U);
    const auto last = mine->kept().last_run();
    EXPECT_TRUE(last.has_value());
    EXPECT_EQ(last ? last->done : 0, 2000U);
    (void)co_await mine->kept().async_begin(journal_mode::resume, "flow");
    EXPECT_EQ(found_in(mine->kept(), 2000), 2000);
    EXPECT_EQ(mine->kept().sink_length("file"), 2000U);
    co_await mine->end();
    co_await link->close();
}

TEST(engine_state, what_was_confirmed_is_there_for_the_next_coordinator_though_the_server_was_killed) {
    LEAT_NEEDS_NATS_SERVER();
    leat_test::server_options options;
    options.sync_always = true;
    nats_server server(options);
    leat::run(leat::run_options(2), write_and_follow, std::ref(server));
}

task<> lose_to_another(nats_server& server, std::string& why) {
    const auto link = co_await connected(server);
    const auto other = co_await connected(server);
    coordination_options how;
    how.owner = "the first";
    auto beginning = coordination::begin(link, "state", how);
    const auto first = co_await std::move(beginning);
    (void)co_await first->kept().async_begin(journal_mode::fresh, "flow");
    const journal_batch batch = batch_of(0, 10);
    co_await first->kept().async_write(batch);
    // It stands still, for longer than the lease lasts; another takes it over.
    how.owner = "the second";
    auto taking_over = coordination::begin(other, "state", how);
    const auto second = co_await std::move(taking_over);
    EXPECT_EQ(second->held().epoch(), 2U);
    const time_point now = co_await this_task::now();
    EXPECT_FALSE(first->held().is_held_at(now));
    const journal_batch late = batch_of(10, 10);
    try {
        co_await first->kept().async_write(late);
    } catch (const journal_refused& no) {
        why = no.what();
    }
    (void)co_await second->kept().async_begin(journal_mode::resume, "flow");
    EXPECT_EQ(found_in(second->kept(), 20), 10);
    co_await second->end();
    co_await other->close();
    co_await link->close();
}

TEST(engine_state, a_coordinator_that_stood_still_for_too_long_has_lost_to_another_and_cannot_write) {
    LEAT_NEEDS_NATS_SERVER();
    nats_server server;
    std::string why;
    leat::run(leat::run_options(2), lose_to_another, std::ref(server), std::ref(why));
    EXPECT_THAT(why, testing::HasSubstr("lease"));
}

}  // namespace
}  // namespace leat::cluster
