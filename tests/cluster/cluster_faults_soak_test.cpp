// Flows on an engine on which everything goes wrong that may: drawn flows, faults, killed workers and coordinators, each from a
// seed. Whatever happens, each item has one effect, and the account adds up.
#include <algorithm>
#include <map>

#include <gmock/gmock.h>

#include <leat/base/sanitizer.hpp>
#include <leat/cluster/broker_journal.hpp>
#include <leat/cluster/cluster_stage.hpp>
#include <leat/cluster/memory_broker.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

#include <mortal_workers.hpp>
#include <soak.hpp>

namespace leat::cluster {

namespace soak_functions {

task<int> add_one(int from) {
    if (sim::chance(30)) co_await sleep_for(std::chrono::milliseconds(sim::draw(50)));
    co_return from + 1;
}
task<int> fails_now_and_then(int from) {
    if (sim::chance(5)) throw std::runtime_error("now and then");
    co_return from + 1;
}
int refuses_some(int from) {
    if (from % 13 == 5) throw permanent_error("one of some");
    return from + 1;
}

}  // namespace soak_functions

namespace {

using namespace std::chrono_literals;

memory_faults drawn_faults() {
    memory_faults faults;
    faults.seed = 1 + sim::draw(1'000'000);
    faults.most = 20 + sim::draw(300);
    const auto sometimes = [](unsigned most) { return sim::chance(50) ? sim::draw(most) : 0; };
    faults.refused_calls = sometimes(50);
    faults.lost_calls = sometimes(30);
    faults.late_calls = sometimes(30);
    faults.lost_answers = sometimes(30);
    faults.lost_deliveries = sometimes(30);
    faults.early_redeliveries = sometimes(100);
    faults.cuts = sometimes(5);
    faults.restarts = sometimes(3);
    faults.reorders = sim::chance(50);
    faults.longest_delay = std::chrono::milliseconds(sometimes(20));
    return faults;
}

struct world {
    memory_engine engine;
    int items = 0;
    bool has_journal = false;  // in the engine; the sink then knows what it has, as one that stores lineage ids does
    std::map<int, unsigned> effects;  // of each item, at the sink
    std::vector<int> order;
};

// One coordinator's life: true when the flow came to its end.
task<bool> coordinate(world* all, std::shared_ptr<memory_broker> link, std::vector<int> items, order how,
                      on_error failing) {
    placement_options options;
    options.ack_wait = 5s;
    options.lost_after = 8s;
    options.most_deliveries = 50;  // workers are killed here all the time, without being guilty
    options.window = 16 + sim::draw(200);
    options.flow = "soak";
    at place(link, options);
    auto first = map<soak_functions::add_one>("first").on(place).concurrency(3);
    auto second = map<soak_functions::fails_now_and_then>("second").on(place).concurrency(2).retry(30, 1ms);
    if (sim::chance(50)) second = std::move(second).buffer(64);  // else the first two are one hop
    auto third = map<soak_functions::refuses_some>("third").on(place).on_error(failing);
    auto keep = [all](int value) {
        unsigned& effects = all->effects[value - 3];
        if (all->has_journal && effects == 1) return;
        ++effects;
        all->order.push_back(value - 3);
    };
    pipeline<int> source = from(std::move(items));
    flow_graph graph =
        std::move(source) | std::move(first) | std::move(second) | std::move(third) | for_each("keep", keep);
    graph.ordered = how;
    flow_options run_as;
    std::unique_ptr<journal> kept;
    if (all->has_journal) {
        broker_journal_options about;
        about.stream = "journal";
        auto opening = open_broker_journal(link, about);
        auto opened = co_await opening.as_outcome();
        if (opened.is_error()) co_return false;  // the engine was away for too long
        kept = std::move(opened).get();
        run_as.journal = kept.get();
        run_as.journal_mode = kept->last_run() ? journal_mode::resume : journal_mode::fresh;
    }
    auto running = run_flow(std::move(graph), std::move(run_as));
    outcome<report> end = co_await running.as_outcome();
    if (end.is_error() && all->has_journal) co_return false;  // it could not be written
    const report done = std::move(end).get();
    const cluster_report counted = place.run()->report();
    if (done.end != flow_end::complete) {
        // The lease is lost where the engine was away for too long: the next coordinator goes on.
        if (all->has_journal) co_return false;
        if (place.run()->failure().empty()) throw std::runtime_error("the flow failed: " + done.error);
        co_return false;
    }
    if (!done.adds_up()) throw std::runtime_error("the report does not add up: " + done.to_json());
    if (counted.items != counted.answered)
        throw std::runtime_error("not all items were answered: " + counted.to_text());
    co_return true;
}

task<> live(world* all, std::shared_ptr<memory_broker> link, std::vector<int> items, order how, on_error failing,
            bool* ended, event* over) {
    auto coordinating = coordinate(all, std::move(link), std::move(items), how, failing);
    outcome<bool> end = co_await coordinating.as_outcome();
    over->set();
    if (end.is_cancelled()) throw cancelled{};
    *ended = std::move(end).get();
}

task<> play_among(scope& around, world* all) {
    all->items = 50 + static_cast<int>(sim::draw(400));
    all->engine.set_faults(drawn_faults());
    const order how = sim::chance(50) ? order::input : order::none;
    const on_error failing = sim::chance(50) ? on_error::skip : on_error::keep_going;
    const bool kills_coordinators = sim::chance(40);
    all->has_journal = sim::chance(30);
    const unsigned count = 1 + sim::draw(3);
    for (unsigned i = 0; i < count; ++i) around.spawn(&leat_test::mortal_workers, &all->engine, i);
    for (unsigned life = 0;; ++life) {
        // What has had its effect is on record: the journal of this test.
        std::vector<int> left;
        for (int i = 0; i < all->items; ++i)
            if (all->has_journal || !all->effects.contains(i)) left.push_back(i);
        const std::size_t before = all->order.size();
        std::shared_ptr<memory_broker> link = all->engine.connect();
        bool ended = false;
        event over;
        const bool kills = kills_coordinators && life < 5;
        const auto body = [&](scope& one) -> task<> {
            one.spawn(&live, all, link, left, how, failing, &ended, &over);
            if (!kills) co_return;
            auto waiting = over.wait_for(std::chrono::milliseconds(500 + sim::draw(20'000)));
            const bool is_over = co_await std::move(waiting);
            if (is_over) co_return;
            link->drop();
            one.stop();
        };
        auto living = with_scope(body);
        co_await std::move(living);
        if (how == order::input && !all->has_journal &&
            !std::is_sorted(all->order.begin() + static_cast<std::ptrdiff_t>(before), all->order.end()))
            throw std::runtime_error("the order was lost");
        if (ended) break;
        if (life > 200) throw std::runtime_error("it does not come to an end");
    }
    around.stop();
    for (int i = 0; i < all->items; ++i) {
        const unsigned expected = (i + 2) % 13 == 5 ? 0 : 1;
        const auto found = all->effects.find(i);
        const unsigned is = found == all->effects.end() ? 0 : found->second;
        if (is != expected)
            throw std::runtime_error("item " + std::to_string(i) + " has had " + std::to_string(is) + " effects");
    }
}

task<> play(world* all) {
    auto playing = with_scope(&play_among, all);
    co_await std::move(playing);
}

// Of four parts, so that each fits the guard against hangs on a machine that is busy.
void play_part(unsigned part) {
    for (leat_test::soak rounds(sanitizer::any ? 25 : 125); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        sim::options how;
        how.seed = 4 * std::uint64_t{rounds.seed()} + part;
        how.max_steps = 20'000'000;
        how.max_time = 24h;
        const auto all = std::make_unique<world>();
        const auto program = [&all] { return play(all.get()); };
        const sim::result end = sim::run(how, program);
        ASSERT_TRUE(end.ok()) << end.report();
    }
}

TEST(cluster_soak, each_item_has_one_effect_whatever_fails) { play_part(0); }
TEST(cluster_soak, each_item_has_one_effect_whatever_fails_2) { play_part(1); }
TEST(cluster_soak, each_item_has_one_effect_whatever_fails_3) { play_part(2); }
TEST(cluster_soak, each_item_has_one_effect_whatever_fails_4) { play_part(3); }

}  // namespace
}  // namespace leat::cluster
