#include <leat/cluster/lease.hpp>

#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <soak.hpp>
#include <stdexcept>

#include <leat/cluster/memory_broker.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/this_task.hpp>
#include <leat/task/timeout.hpp>

namespace {

using namespace std::chrono_literals;
using namespace leat::cluster;  // NOLINT(google-build-using-namespace): what is tested here
using leat::task;

void expect(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}
template <class T>
T need(broker_result<T> result) {
    if (!result) throw std::runtime_error("failed: " + result.error().text);
    return std::move(*result);
}

lease_options options_of(const char* owner) {
    lease_options options;
    options.bucket = "flow";
    options.key = "coordinator";
    options.owner = owner;
    return options;
}

task<> make_bucket(broker& link) {
    auto made = co_await link.make_bucket("flow", 0s, 1);
    (void)need(std::move(made));
}

void simulate(task<> (*program)(memory_engine&)) {
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        memory_engine engine;
        const leat::sim::result end = leat::sim::run({.seed = seed}, program, engine);
        ASSERT_TRUE(end.ok()) << end.report();
    }
}

task<std::uint64_t> taken(lease& which) {
    auto epoch = co_await which.take();
    co_return need(std::move(epoch));
}

task<> forever() { co_await leat::sleep_for(leat::duration::max()); }

TEST(lease, the_first_holder_has_it_at_once_and_the_key_says_who) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_bucket(*link);
        const auto none = co_await lease::look(*link, "flow", "coordinator");
        expect(!none && none.error().problem == broker_problem::not_found, "somebody holds it");
        lease mine(*link, options_of("one"));
        const std::uint64_t epoch = co_await taken(mine);
        const leat::time_point now = co_await leat::this_task::now();
        expect(epoch == 1 && mine.epoch() == 1, "the first epoch");
        expect(mine.is_held_at(now) && !mine.lost().is_set(), "it is not held");
        expect(!mine.is_held_at(now + 10s), "it is held for ever");
        auto looked = co_await lease::look(*link, "flow", "coordinator");
        const lease_record seen = need(std::move(looked));
        expect(seen.owner == "one" && seen.epoch == 1, "the key says another");
    });
}

TEST(lease, one_that_was_released_goes_to_the_next_at_once_with_a_greater_epoch) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_bucket(*link);
        lease mine(*link, options_of("one"));
        (void)co_await taken(mine);
        auto given = co_await mine.release();
        (void)need(std::move(given));
        const leat::time_point now = co_await leat::this_task::now();
        expect(!mine.is_held_at(now), "it is held on");
        lease next(*link, options_of("two"));
        const std::uint64_t epoch = co_await taken(next);
        const leat::time_point later = co_await leat::this_task::now();
        expect(epoch == 2, "the epoch has not grown");
        expect(later - now < 1s, "it waited");
        given = co_await mine.release();  // which is nothing now
        auto looked = co_await lease::look(*link, "flow", "coordinator");
        expect(need(std::move(looked)).owner == "two", "it was taken away");
    });
}

TEST(lease, one_whose_holder_is_gone_is_taken_over_when_it_has_not_changed_for_its_time) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_bucket(*link);
        lease mine(*link, options_of("one"));
        (void)co_await taken(mine);
        const leat::time_point from = co_await leat::this_task::now();
        co_await leat::sleep_for(9s);
        lease next(*link, options_of("two"));
        const std::uint64_t epoch = co_await taken(next);
        const leat::time_point now = co_await leat::this_task::now();
        expect(epoch == 2, "the epoch has not grown");
        // Who waits cannot know how long ago it was written.
        expect(now - from >= 19s && now - from < 21s, "too early or too late");
        expect(!mine.is_held_at(now), "both hold it");
        expect(next.seen().owner == "one", "it does not tell who had it");
    });
}

task<> keep_until(lease& which, leat::time_point end) {
    auto all = which.hold(forever());
    try {
        co_await leat::timeout(std::move(all), end - co_await leat::this_task::now());
    } catch (const leat::timed_out&) {
        co_return;
    }
}

TEST(lease, one_that_is_renewed_stays_with_its_holder) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        const auto other = engine.connect();
        co_await make_bucket(*link);
        lease mine(*link, options_of("one"));
        (void)co_await taken(mine);
        leat::scope together(co_await leat::this_task::line());
        const leat::time_point end = co_await leat::this_task::now() + 1h;
        together.spawn(keep_until, std::ref(mine), end);
        lease next(*other, options_of("two"));
        (void)co_await taken(next);
        const leat::time_point now = co_await leat::this_task::now();
        expect(now >= end && now < end + 20s, "it was taken away, or not taken over");
        co_await together.join();
    });
}

task<std::string> why_lost(lease& which) {
    std::string why;
    try {
        co_await which.hold(forever());
    } catch (const leat::cluster::lease_lost& lost) {
        why = lost.what();
    }
    co_return why;
}

TEST(lease, who_cannot_renew_it_has_lost_it_before_another_may_take_it) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_bucket(*link);
        lease mine(*link, options_of("one"));
        (void)co_await taken(mine);
        const leat::time_point from = co_await leat::this_task::now();
        link->cut();
        const std::string why = co_await why_lost(mine);
        const leat::time_point now = co_await leat::this_task::now();
        expect(why.find("coordinator") != std::string::npos, "it does not say what");
        expect(now - from > 7s && now - from < 9s, "too early or too late");
        expect(mine.lost().is_set() && !mine.is_held_at(now), "it is held on");
        // It can be taken again, in another epoch.
        link->heal();
        const std::uint64_t epoch = co_await taken(mine);
        expect(epoch == 2, "the epoch has not grown");
        expect(!mine.lost().is_set(), "it counts as lost");
    });
}

TEST(lease, one_that_another_has_taken_is_lost_and_says_to_whom) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_bucket(*link);
        lease mine(*link, options_of("one"));
        (void)co_await taken(mine);
        auto put = co_await link->put("flow", "coordinator", "7 abc an operator");
        (void)need(std::move(put));
        const std::string why = co_await why_lost(mine);
        expect(why.find("an operator") != std::string::npos, "it does not say to whom");
    });
}

TEST(lease, a_renewal_whose_answer_was_lost_counts_when_the_key_says_so) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_bucket(*link);
        lease mine(*link, options_of("one"));
        (void)co_await taken(mine);
        memory_faults faults;
        faults.lost_answers = 1000;
        faults.most = 1;
        engine.set_faults(faults);
        const leat::time_point end = co_await leat::this_task::now() + 1min;
        co_await keep_until(mine, end);
        expect(mine.is_held_at(end) && mine.epoch() == 1, "it was lost");
        expect(engine.counts().faults == 1, "nothing happened");
    });
}

TEST(lease, a_key_that_is_no_lease_is_malformed) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_bucket(*link);
        auto put = co_await link->put("flow", "coordinator", "something else");
        (void)need(std::move(put));
        lease mine(*link, options_of("one"));
        const auto epoch = co_await mine.take();
        expect(!epoch && epoch.error().problem == broker_problem::malformed, "it was taken");
    });
}

TEST(lease, without_a_bucket_it_is_not_found) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        lease mine(*link, options_of("one"));
        const auto epoch = co_await mine.take();
        expect(!epoch && epoch.error().problem == broker_problem::not_found, "it was taken");
    });
}

task<int> seventeen() { co_return 17; }

TEST(lease, what_is_held_by_it_gives_its_value) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_bucket(*link);
        lease mine(*link, options_of("one"));
        (void)co_await taken(mine);
        const int value = co_await mine.hold(seventeen());
        expect(value == 17, "another value");
    });
}

task<> breaking() {
    co_await leat::sleep_for(5s);
    throw std::runtime_error("broken");
}

TEST(lease, an_error_of_what_is_held_by_it_is_thrown_on) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_bucket(*link);
        lease mine(*link, options_of("one"));
        (void)co_await taken(mine);
        std::string why;
        try {
            co_await mine.hold(breaking());
        } catch (const std::runtime_error& error) {
            why = error.what();
        }
        expect(why == "broken", "it is lost");
    });
}

// --- Many who want it, and a network that fails ---

struct contest {
    memory_engine engine;
    std::vector<std::unique_ptr<lease>> leases;
    std::map<std::uint64_t, int> holders;  // by epoch
    std::map<std::uint64_t, std::uint64_t> effects;
    std::uint64_t newest = 0;  // the fence
    std::uint64_t refused = 0;
    bool is_over = false;

    // Never two who both believe.
    void look(leat::time_point now) const {
        int believers = 0;
        for (const auto& each : leases) believers += each->is_held_at(now) ? 1 : 0;
        expect(believers <= 1, "two believe that they hold it");
    }
};

task<> act(contest& in, int number) {
    lease& mine = *in.leases[static_cast<std::size_t>(number)];
    const std::uint64_t epoch = mine.epoch();
    const auto holder = in.holders.emplace(epoch, number).first;
    expect(holder->second == number, "an epoch has two holders");
    const unsigned steps = leat::sim::draw(40);
    for (unsigned step = 0; step < steps; ++step) {
        // Now and then it stands still, for longer than the lease lasts.
        co_await leat::sleep_for(leat::sim::chance(5) ? 1s * leat::sim::draw(30) : 100ms * leat::sim::draw(20));
        const leat::time_point now = co_await leat::this_task::now();
        in.look(now);
        if (epoch >= in.newest) {
            in.newest = epoch;
            ++in.effects[epoch];
        } else {
            ++in.refused;
        }
        if (mine.is_held_at(now)) expect(in.newest == epoch, "the holder is fenced off");
    }
}

task<> contend(contest& in, int number, memory_broker& link) {
    lease& mine = *in.leases[static_cast<std::size_t>(number)];
    while (!in.is_over) {
        auto epoch = co_await mine.take();
        (void)need(std::move(epoch));
        in.look(co_await leat::this_task::now());
        bool was_lost = false;
        try {
            auto body = act(in, number);
            // One that nothing stops, too.
            if (leat::sim::chance(50)) co_await mine.hold(std::move(body));
            else co_await mine.hold(leat::shield(std::move(body)));
        } catch (const leat::cluster::lease_lost&) {
            was_lost = true;
        }
        in.look(co_await leat::this_task::now());
        if (!was_lost && leat::sim::chance(70)) (void)co_await mine.release();
        if (leat::sim::chance(10)) link.cut(static_cast<cut_way>(leat::sim::draw(3)));
        co_await leat::sleep_for(1s * leat::sim::draw(5));
    }
}

task<> watch(contest& in, std::vector<std::unique_ptr<memory_broker>>& links) {
    for (int turn = 0; turn < 6000; ++turn) {
        co_await leat::sleep_for(50ms);
        in.look(co_await leat::this_task::now());
        if (leat::sim::draw(40) == 0)
            for (auto& each : links) each->heal();
    }
    in.is_over = true;
    for (auto& each : links) each->heal();
    in.engine.set_faults({});
}

task<> compete(contest& in) {
    const auto first = in.engine.connect();
    co_await make_bucket(*first);
    memory_faults faults;
    faults.seed = leat::sim::draw(1000000);
    faults.refused_calls = faults.lost_calls = faults.late_calls = faults.lost_answers = 30;
    faults.cuts = 10;
    faults.restarts = 3;
    faults.longest_cut = 15s;
    faults.longest_delay = leat::sim::chance(50) ? 200ms : 4s;
    in.engine.set_faults(faults);
    std::vector<std::unique_ptr<memory_broker>> links;
    const std::string name = "contender";
    for (int number = 0; number < 3; ++number) {
        links.push_back(in.engine.connect());
        in.leases.push_back(std::make_unique<lease>(*links.back(), options_of(name.c_str())));
    }
    leat::scope together(co_await leat::this_task::line());
    for (int number = 0; number < 3; ++number)
        together.spawn(contend, std::ref(in), number, std::ref(*links[static_cast<std::size_t>(number)]));
    together.spawn(watch, std::ref(in), std::ref(links));
    co_await together.join();
    in.leases.clear();
}

TEST(lease, never_do_two_believe_that_they_hold_it_soak) {
    std::uint64_t epochs = 0;
    std::uint64_t refused = 0;
    for (leat_test::soak rounds(300); rounds.go_on();) {
        contest in;
        leat::sim::options how;
        how.seed = rounds.seed();
        how.max_steps = 10'000'000;
        how.lateness = rounds.seed() % 3 == 0 ? 2s : 0s;
        const leat::sim::result end = leat::sim::run(how, compete, in);
        ASSERT_TRUE(end.ok()) << end.report() << "\n" << rounds.text();
        epochs += in.holders.size();
        refused += in.refused;
    }
    EXPECT_GT(epochs, 0U);
    testing::Test::RecordProperty("refused", static_cast<int>(refused));  // what the fence had to do
}

}  // namespace
