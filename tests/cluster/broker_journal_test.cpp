// The journal in a broker: what is on record after crashes, faults and with two coordinators at once; and runs of flows that are
// killed and gone on with by another coordinator.
#include <leat/cluster/broker_journal.hpp>

#include <gmock/gmock.h>
#include <map>
#include <set>
#include <soak.hpp>

#include <leat/cluster/lease.hpp>
#include <leat/cluster/memory_broker.hpp>
#include <leat/flow/flow.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/this_task.hpp>
#include <leat/task/timeout.hpp>

namespace {

using namespace std::chrono_literals;
using namespace leat::cluster;  // NOLINT(google-build-using-namespace): what is tested here
using leat::journal_batch;
using leat::journal_mode;
using leat::task;
using testing::HasSubstr;

void expect(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

broker_journal_options options_of(const lease* held = nullptr) {
    broker_journal_options options;
    options.stream = "journal";
    options.held = held;
    return options;
}

task<std::unique_ptr<leat::journal>> opened(memory_engine& engine, const lease* held = nullptr) {
    std::shared_ptr<broker> link = engine.connect();
    broker_journal_options options = options_of(held);
    return open_broker_journal(std::move(link), std::move(options));
}

void simulate(task<> (*program)(memory_engine&)) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        memory_engine engine;
        const leat::sim::result end = leat::sim::run({.seed = seed}, program, engine);
        ASSERT_TRUE(end.ok()) << end.report();
    }
}

journal_batch::settled settled(std::string item, leat::fate how = leat::fate::committed) {
    journal_batch::settled one;
    one.item = std::move(item);
    one.entry.how = how;
    one.entry.content = 7;
    return one;
}

leat::kept_letter letter(std::string item, std::string bytes) {
    leat::kept_letter one;
    one.item = std::move(item);
    one.stage = "stage";
    one.attempts = 3;
    one.error = "broken";
    one.has_value = true;
    one.value = leat::record(std::move(bytes), "key");
    one.value.set_attribute("a", "b");
    return one;
}

std::vector<leat::kept_letter> letters_of(leat::journal& of) {
    std::vector<leat::kept_letter> all;
    of.for_each_letter(0, [&](leat::kept_letter&& each) {
        all.push_back(std::move(each));
        return true;
    });
    return all;
}

TEST(broker_journal, what_was_written_is_found_by_the_next_who_opens_it) {
    simulate([](memory_engine& engine) -> task<> {
        {
            const auto first = co_await opened(engine);
            expect(!first->last_run(), "there was a run");
            const std::uint64_t number = co_await first->async_begin(journal_mode::fresh, "the flow");
            expect(number == 1, "the first run");
            journal_batch batch;
            batch.items = {settled("a"), settled("b", leat::fate::failed), settled("c", leat::fate::dead)};
            batch.sinks = {{"file", 100}};
            batch.letters = {letter("c", std::string("\0zero", 5))};
            co_await first->async_write(batch);
            expect(!first->find("a"), "an item of this run is none of those before");
            co_await first->async_end("interrupted");
        }
        const auto second = co_await opened(engine);
        const auto last = second->last_run();
        expect(last && last->number == 1 && last->base == 1 && last->flow == "the flow", "the run is not there");
        expect(last->end == "interrupted" && last->done == 2, "how it ended");
        const std::uint64_t number = co_await second->async_begin(journal_mode::resume, "the flow");
        expect(number == 2, "the second run");
        const auto a = second->find("a");
        expect(a && a->how == leat::fate::committed && a->run == 1 && a->content == 7, "a");
        const auto b = second->find("b");
        expect(b && b->how == leat::fate::failed, "b");
        expect(!second->find("x"), "what is not there");
        expect(second->sink_length("file") == 100U && !second->sink_length("other"), "the sink");
        const auto letters = letters_of(*second);
        expect(letters.size() == 1 && letters[0].item == "c" && letters[0].attempts == 3 && letters[0].has_value &&
                   letters[0].value.bytes == std::string("\0zero", 5) && letters[0].value.attribute("a") == "b",
               "the letter");
        // An item that is done again loses its letters.
        journal_batch batch;
        batch.items = {settled("c")};
        co_await second->async_write(batch);
        expect(letters_of(*second).empty(), "the letter stayed");
    });
}

TEST(broker_journal, a_fresh_run_knows_nothing_of_those_before) {
    simulate([](memory_engine& engine) -> task<> {
        {
            const auto first = co_await opened(engine);
            (void)co_await first->async_begin(journal_mode::fresh, "flow");
            journal_batch batch;
            batch.items = {settled("a")};
            batch.sinks = {{"file", 100}};
            co_await first->async_write(batch);
        }
        {
            const auto second = co_await opened(engine);
            (void)co_await second->async_begin(journal_mode::fresh, "flow");
            expect(!second->find("a") && !second->sink_length("file"), "it knows");
        }
        const auto third = co_await opened(engine);
        const auto last = third->last_run();
        expect(last && last->number == 2 && last->base == 2 && last->end.empty() && last->done == 0, "the last run");
    });
}

TEST(broker_journal, letters_that_are_replayed_change_what_is_on_record) {
    simulate([](memory_engine& engine) -> task<> {
        {
            const auto first = co_await opened(engine);
            (void)co_await first->async_begin(journal_mode::fresh, "flow");
            journal_batch batch;
            batch.items = {settled("a", leat::fate::dead), settled("b", leat::fate::dead)};
            batch.letters = {letter("a", "1"), letter("a", "2"), letter("b", "3")};
            co_await first->async_write(batch);
            co_await first->async_end("complete");
        }
        {
            const auto second = co_await opened(engine);
            (void)co_await second->async_begin(journal_mode::replay, "flow");
            const auto letters = letters_of(*second);
            expect(letters.size() == 3, "three letters");
            journal_batch batch;
            batch.items = {settled(std::to_string(letters[0].id)),
                           settled(std::to_string(letters[1].id), leat::fate::failed),
                           settled(std::to_string(letters[2].id))};
            batch.items[1].entry.error = "still";
            co_await second->async_write(batch);
            const auto left = letters_of(*second);
            expect(left.size() == 1 && left[0].item == "a" && left[0].attempts == 4 && left[0].error == "still",
                   "one is left");
        }
        const auto third = co_await opened(engine);
        const auto last = third->last_run();
        expect(last && last->number == 1 && last->end == "complete", "replays are no runs of items");
        (void)co_await third->async_begin(journal_mode::resume, "flow");
        const auto a = third->find("a");
        const auto b = third->find("b");
        expect(a && a->how == leat::fate::dead, "a has a letter still");
        expect(b && b->how == leat::fate::committed, "b has none");
        expect(letters_of(*third).size() == 1, "the letters");
    });
}

TEST(broker_journal, what_is_larger_than_a_message_is_on_record_whole) {
    memory_options small;
    small.largest_payload = 4096;
    memory_engine engine(small);
    const auto program = [&]() -> task<> {
        {
            const auto first = co_await opened(engine);
            (void)co_await first->async_begin(journal_mode::fresh, "flow");
            journal_batch batch;
            for (int number = 0; number < 500; ++number) batch.items.push_back(settled(std::to_string(number)));
            batch.letters = {letter("7", std::string(20000, 'x'))};
            co_await first->async_write(batch);
        }
        const auto second = co_await opened(engine);
        expect(second->last_run()->done == 500, "not all are on record");
        expect(letters_of(*second).at(0).value.bytes.size() == 20000, "the letter");
    };
    const leat::sim::result end = leat::sim::run({.seed = 1}, program);
    EXPECT_TRUE(end.ok()) << end.report();
    EXPECT_GT(engine.counts().published, 10U);
}

task<std::string> refusal(leat::journal& of) {
    journal_batch batch;
    batch.items = {settled("late")};
    std::string why;
    try {
        co_await of.async_write(batch);
    } catch (const leat::journal_refused& no) {
        why = no.what();
    }
    co_return why;
}

TEST(broker_journal, a_coordinator_that_has_lost_its_lease_cannot_write) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        (void)co_await link->make_bucket("flow", 0s, 1);
        lease_options how;
        how.bucket = "flow";
        lease old(*link, how);
        (void)co_await old.take();
        const auto first = co_await opened(engine, &old);
        (void)co_await first->async_begin(journal_mode::fresh, "flow");
        co_await leat::sleep_for(10s);
        const std::string own = co_await refusal(*first);
        expect(own.find("lease") != std::string::npos, "it wrote without a lease");
    });
}

TEST(broker_journal, one_that_another_has_opened_is_closed_to_the_first_and_what_it_wrote_does_not_count) {
    simulate([](memory_engine& engine) -> task<> {
        const auto first = co_await opened(engine);
        (void)co_await first->async_begin(journal_mode::fresh, "flow");
        const auto second = co_await opened(engine);
        const std::string why = co_await refusal(*first);
        expect(why.find("another") != std::string::npos, "it could write");
        (void)co_await second->async_begin(journal_mode::resume, "flow");
        expect(!second->find("late"), "it counts for the second");
        const auto third = co_await opened(engine);
        (void)co_await third->async_begin(journal_mode::resume, "flow");
        expect(!third->find("late"), "it counts for the third");
    });
}

TEST(broker_journal, the_stream_is_written_anew_when_most_of_it_is_past) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        std::uint64_t most = 0;
        for (int run = 0; run < 12; ++run) {
            const auto kept = co_await opened(engine);
            (void)co_await kept->async_begin(run % 4 == 0 ? journal_mode::fresh : journal_mode::resume, "flow");
            expect(run % 4 == 0 || kept->find("item 0"), "it was forgotten");
            for (int turn = 0; turn < 10; ++turn) {
                journal_batch batch;  // the same items fail in each run
                for (int number = 0; number < 50; ++number)
                    batch.items.push_back(settled("item " + std::to_string(number), leat::fate::failed));
                co_await kept->async_write(batch);
            }
            co_await kept->async_end("failed");
            const auto state = co_await link->stream("journal");
            most = std::max(most, state->bytes);
        }
        expect(most < 200'000, "it grows");
        const auto state = co_await link->stream("journal");
        expect(state->first_sequence > 20, "nothing was purged");
    });
}

TEST(broker_journal, a_message_of_somebody_else_is_told_of) {
    simulate([](memory_engine& engine) -> task<> {
        {
            const auto kept = co_await opened(engine);
        }
        const auto link = engine.connect();
        message other;
        other.subject = "journal";
        (void)co_await link->publish(std::move(other));
        std::string why;
        try {
            const auto kept = co_await opened(engine);
        } catch (const std::runtime_error& error) {
            why = error.what();
        }
        expect(why.find("none of a journal") != std::string::npos, "it was taken");
    });
}

// --- Several writers, and an engine that fails ---

struct script {
    memory_engine engine;
    std::map<std::string, std::vector<std::string>> writes;  // the items of each
    std::set<std::string> confirmed;
    std::set<std::string> refused;
    unsigned ambiguous = 0;  // refused, and on record: the next had it before we knew, and has purged what would tell
    unsigned writers = 0;
    explicit script(memory_options how) : engine(how) {}
};

journal_batch drawn_batch(script& in, const std::string& name) {
    journal_batch batch;
    const unsigned count = 1 + leat::sim::draw(6);
    for (unsigned number = 0; number < count; ++number) {
        batch.items.push_back(settled(name + "/" + std::to_string(number)));
        batch.items.back().entry.error = std::string(leat::sim::draw(3) == 0 ? 2000 : 10, 'x');  // several messages
        batch.items.back().entry.stage = "s";
        in.writes[name].push_back(batch.items.back().item);
    }
    // What comes again in each run: so that there is something past.
    for (unsigned number = 0; number < 3; ++number) {
        batch.items.push_back(settled("again " + std::to_string(number), leat::fate::failed));
        batch.items.back().entry.error = std::string(3000, 'y');
        batch.items.back().entry.stage = "s";
    }
    return batch;
}

// One who has the journal until another has, or what fails is too much.
task<> write_some(script& in, std::uint64_t number) {
    const std::set<std::string> before = in.confirmed;
    const auto kept = co_await opened(in.engine);
    (void)co_await kept->async_begin(journal_mode::resume, "flow");
    for (const std::string& each : before)
        for (const std::string& item : in.writes.at(each))
            expect(kept->find(item).has_value(), "a write was forgotten");
    for (unsigned turn = 0; turn < 6; ++turn) {
        const std::string name = std::to_string(number) + ":" + std::to_string(turn);
        const journal_batch batch = drawn_batch(in, name);
        bool is_refused = false;
        try {
            co_await kept->async_write(batch);
        } catch (const leat::journal_refused&) {
            is_refused = true;
        }
        if (is_refused) {
            in.refused.insert(name);
            co_return;
        }
        in.confirmed.insert(name);
        co_await leat::sleep_for(10ms * leat::sim::draw(300));
    }
}

task<> write_on(script& in) {
    while (in.writers < 14) {
        try {
            co_await write_some(in, ++in.writers);
        } catch (const leat::journal_refused&) {  // before its first write
            continue;
        }
        co_await leat::sleep_for(10ms * leat::sim::draw(300));
    }
}

task<> play(script& in) {
    memory_faults faults;
    faults.seed = leat::sim::draw(1'000'000);
    faults.refused_calls = faults.lost_calls = faults.lost_answers = 15;
    faults.late_calls = 40;
    faults.longest_delay = 50ms;
    faults.latest_call = 3s;
    faults.most = 200;
    in.engine.set_faults(faults);
    leat::scope together(co_await leat::this_task::line());
    const unsigned candidates = 1 + leat::sim::draw(3);
    for (unsigned number = 0; number < candidates; ++number) together.spawn(write_on, std::ref(in));
    co_await together.join();
    in.engine.set_faults({});
    const auto kept = co_await opened(in.engine);
    (void)co_await kept->async_begin(journal_mode::resume, "flow");
    for (const auto& [name, items] : in.writes) {
        std::size_t found = 0;
        for (const std::string& each : items) found += kept->find(each) ? 1 : 0;
        expect(found == 0 || found == items.size(), "a part of a write is on record");
        if (in.confirmed.contains(name)) expect(found != 0, "a write is not on record");
        if (in.refused.contains(name) && found != 0) ++in.ambiguous;
    }
}

TEST(broker_journal, what_was_confirmed_is_on_record_and_what_was_refused_is_not_soak) {
    std::size_t confirmed = 0;
    std::size_t refused = 0;
    std::size_t ambiguous = 0;
    for (leat_test::soak rounds(150); rounds.go_on();) {
        memory_options how;
        how.largest_payload = 8192;
        how.answer_wait = 500ms;
        script in(how);
        const leat::sim::result end = leat::sim::run({.seed = rounds.seed(), .max_steps = 10'000'000}, play, in);
        ASSERT_TRUE(end.ok()) << end.report() << "\n" << rounds.text();
        confirmed += in.confirmed.size();
        refused += in.refused.size();
        ambiguous += in.ambiguous;
    }
    EXPECT_GT(confirmed, 10U);
    EXPECT_LT(ambiguous, 5 + refused / 50);
}

// --- Runs that are killed, and gone on with by others ---

// What is outside of the coordinators. The sink is a file, which is written to by whoever believes that he may.
struct world {
    memory_engine engine;
    std::string file;
    std::uint64_t fence = 0;  // of the file: the epoch that wrote to it last
    unsigned items = 0;
    unsigned runs = 0;
    unsigned lives = 0;
    unsigned kills = 0;
    bool is_complete = false;
};

struct killed : std::runtime_error {
    killed() : std::runtime_error("killed") {}
};

// A process: what it does ends when it is killed, at once.
struct process {
    bool is_dead = false;
    std::uint64_t epoch = 0;
};

class file_sink final : public leat::stage {
public:
    file_sink(world& in, process& of) : in_(in), of_(of) {}
    void use_journal(leat::sink_journal& kept) override { kept_ = &kept; }
    task<> start(unsigned) override {
        if (of_.is_dead || of_.epoch < in_.fence) throw killed();
        in_.fence = of_.epoch;
        in_.file.resize(kept_->mode() == journal_mode::fresh ? 0 : kept_->length().value_or(0));
        co_return;
    }
    task<std::unique_ptr<leat::stage_worker>> open() override { co_return std::make_unique<worker>(*this); }
    unsigned most_jobs() const noexcept override { return 1; }

private:
    class worker final : public leat::stage_worker {
    public:
        explicit worker(file_sink& owner) : owner_(owner) {}
        task<> process(leat::item& in, leat::emitter&) override {
            if (owner_.of_.is_dead || owner_.of_.epoch < owner_.in_.fence) throw killed();
            owner_.in_.file += in.value.as<std::string>() + "\n";
            leat::sink_journal::piece one{std::move(in.ack), owner_.in_.file.size()};
            owner_.kept_->wrote({&one, 1});
            co_return;
        }
        task<> finish(leat::emitter&) override { co_await owner_.kept_->flush(); }

    private:
        file_sink& owner_;
    };
    world& in_;
    struct process& of_;
    leat::sink_journal* kept_ = nullptr;
};

leat::flow_graph graph_of(world& in, process& of) {
    std::vector<std::string> names;
    for (unsigned number = 0; number < in.items; ++number) names.push_back(std::to_string(number));
    auto work = [](std::string name) -> task<std::string> {
        co_await leat::sleep_for(1ms * leat::sim::draw(400));
        if (name.ends_with('7')) throw leat::permanent_error("seven");
        co_return name;
    };
    auto worked = leat::from(names) | leat::map("work", work).concurrency(4).on_error(leat::on_error::dead_letter);
    leat::flow_graph whole = std::move(worked.graph());
    leat::stage_node sink;
    sink.name = "file";
    sink.what = std::make_shared<file_sink>(in, of);
    whole.stages.push_back(std::move(sink));
    return whole;
}

task<> coordinate(world& in, process& of, std::shared_ptr<broker> link, const lease& held) {
    broker_journal_options how = options_of(&held);
    const auto kept = co_await open_broker_journal(std::move(link), std::move(how));
    leat::flow_options options;
    options.journal = kept.get();
    options.journal_mode = in.runs++ == 0 ? journal_mode::fresh : journal_mode::resume;
    leat::flow_graph graph = graph_of(in, of);
    auto running = leat::run_flow(std::move(graph), options);
    const leat::report done = co_await std::move(running);
    expect(done.adds_up(), "the account does not add up");
    if (done.end == leat::flow_end::complete && !of.is_dead) in.is_complete = true;
}

// One life of a coordinator.
task<> live(world& in, process& of, memory_broker& link, std::shared_ptr<broker> same) {
    lease_options how;
    how.bucket = "flow";
    lease mine(link, how);
    auto epoch = co_await mine.take();
    if (!epoch) throw std::runtime_error(epoch.error().text);
    of.epoch = *epoch;
    auto body = coordinate(in, of, std::move(same), mine);
    co_await mine.hold(std::move(body));
    (void)co_await mine.release();
}

task<> one_coordinator(world& in, bool is_killed) {
    process of;
    std::shared_ptr<memory_broker> link = in.engine.connect();
    auto life = live(in, of, *link, link);
    try {
        if (is_killed) co_await leat::timeout(std::move(life), 1ms * leat::sim::draw(10'000));
        else co_await std::move(life);
    } catch (const leat::timed_out&) {
        ++in.kills;
    } catch (const lease_lost&) {
        ++in.kills;
    } catch (const killed&) {
        ++in.kills;
    } catch (const leat::journal_refused&) {
        ++in.kills;
    } catch (const std::runtime_error&) {  // the broker was away for too long
        ++in.kills;
    }
    of.is_dead = true;
    link->drop();
}

// As a process is killed: its connection is gone, then everything else.
task<> kill_later(process& of, memory_broker& link) {
    co_await leat::sleep_for(1ms * leat::sim::draw(8'000));
    of.is_dead = true;
    link.drop();
}

task<> one_killed_coordinator(world& in) {
    process of;
    std::shared_ptr<memory_broker> link = in.engine.connect();
    leat::scope beside(co_await leat::this_task::line());
    beside.spawn(kill_later, std::ref(of), std::ref(*link));
    try {
        co_await live(in, of, *link, link);
    } catch (const std::exception&) {
        ++in.kills;
    }
    of.is_dead = true;
    beside.stop();
    co_await beside.join();
}

task<> live_again_and_again(world& in) {
    while (!in.is_complete) {
        if (++in.lives == 12) in.engine.set_faults({});
        expect(in.lives < 40, "it never ends");
        if (in.lives < 12 && leat::sim::chance(60)) co_await one_killed_coordinator(in);
        else co_await one_coordinator(in, in.lives < 12 && leat::sim::chance(50));
    }
}

task<> to_the_end(world& in) {
    in.items = 5 + leat::sim::draw(40);
    const auto link = in.engine.connect();
    (void)co_await link->make_bucket("flow", 0s, 1);
    memory_faults faults;
    faults.seed = leat::sim::draw(1'000'000);
    faults.refused_calls = faults.lost_calls = faults.lost_answers = faults.late_calls = 20;
    faults.cuts = faults.restarts = 4;
    faults.longest_delay = 100ms;
    if (leat::sim::chance(70)) in.engine.set_faults(faults);
    leat::scope together(co_await leat::this_task::line());
    const unsigned candidates = 1 + leat::sim::draw(3);  // of whom the lease lets one in
    for (unsigned number = 0; number < candidates; ++number) together.spawn(live_again_and_again, std::ref(in));
    co_await together.join();
    std::string expected;
    for (unsigned number = 0; number < in.items; ++number)
        if (number % 10 != 7) expected += std::to_string(number) + "\n";
    expect(in.file == expected, ("the file is not what an undisturbed run writes:\n" + in.file).c_str());
    in.engine.set_faults({});
    const auto kept = co_await opened(in.engine);
    const auto last = kept->last_run();
    expect(last && last->done == in.items, "what is on record is not all");
    std::multiset<std::string> dead;
    kept->for_each_letter(0, [&](leat::kept_letter&& each) {
        dead.insert(each.item);
        return true;
    });
    expect(dead.size() == (in.items + 2) / 10, "not the dead letters of an undisturbed run");
}

TEST(broker_journal, flows_whose_coordinators_are_killed_and_followed_by_others_end_as_if_nothing_had_happened_soak) {
    unsigned kills = 0;
    unsigned runs = 0;
    for (leat_test::soak rounds(300); rounds.go_on();) {
        world in;
        const leat::sim::result end = leat::sim::run({.seed = rounds.seed(), .max_steps = 10'000'000}, to_the_end, in);
        ASSERT_TRUE(end.ok()) << end.report() << "\n" << rounds.text();
        kills += in.kills;
        runs += in.runs;
    }
    EXPECT_GT(kills, 0U);
    EXPECT_GT(runs, 0U);
}

}  // namespace
