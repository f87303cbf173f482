// The laws of the engine over flows drawn at random: any chain of stages, with any policies, failures, drains and stops.
// Whatever is drawn, the report adds up, and each item has met exactly the fate that the report counts.
#include <leat/flow/flow.hpp>
#include <leat/leat.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <set>
#include <soak.hpp>

#include <gtest/gtest.h>

namespace {

using namespace std::chrono_literals;
using leat::fate;
using leat::flow_end;
using leat::on_error;
using leat::report;
using leat::task;

constexpr int item_count = 300;

// What the number of an item, the stage and the seed say, each time the same.
unsigned draw(unsigned seed, unsigned stage, int item) {
    unsigned mixed = seed * 2654435761U ^ (stage + 1) * 40503U ^ static_cast<unsigned>(item) * 2246822519U;
    mixed ^= mixed >> 15U;
    mixed *= 2246822519U;
    return mixed ^ mixed >> 13U;
}

// Emits the numbers and is told what became of each.
class counting_source : public leat::source, public leat::source_output::listener {
public:
    task<> run(leat::source_output& out) override {
        for (int i = 0; i < item_count; ++i) {
            co_await out.emit(leat::payload(i), *this);
            ++given;
        }
    }
    void settled(std::uint64_t sequence, fate how) noexcept override {
        ++told.at(sequence);
        ++fates.at(static_cast<std::size_t>(how));
    }
    std::atomic<int> given{0};
    std::array<std::atomic<int>, item_count + 1> told{};
    std::array<std::atomic<std::uint64_t>, 5> fates{};
};

struct drawn_flow {
    std::string text;
    leat::flow_graph graph;
    bool ordered = true;      // all of it keeps the order of the input
    bool multiplies = false;  // an item may reach the sink more than once
};

// A worker that takes some turns, fails now and then (for good, or until it is tried again), and sometimes sleeps.
task<int> toil(unsigned seed, unsigned stage, unsigned failing_percent, int value) {
    const unsigned drawn = draw(seed, stage, value);
    for (unsigned i = drawn % 5; i > 0; --i) co_await leat::this_task::yield();
    if (drawn % 16 == 1) co_await leat::sleep_for(50us);
    if (drawn / 16 % 100 < failing_percent) throw std::runtime_error("drawn to fail");
    co_return value;
}

drawn_flow flow_of(unsigned seed, std::shared_ptr<counting_source> source, std::vector<int>& stored) {
    leat_test::dice random(seed);
    drawn_flow flow;
    auto chain = leat::from_source<int>("numbers", std::move(source));
    const auto with_policies = [&](auto stage, unsigned failing_percent) {
        stage.policy.jobs = 1 + random(6);
        if (random(3) == 0) {
            stage.policy.own_buffer = true;
            stage.policy.buffer_items = 1 + random(8);
        }
        if (random(4) == 0) {
            stage.policy.ordered = leat::order::none;
            flow.ordered &= stage.policy.jobs == 1;
        }
        if (random(3) == 0) {
            stage.policy.retry.max = random(3);
            stage.policy.retry.first_delay = 10us;
        }
        if (random(4) == 0) stage.policy.timeout = 10s;
        constexpr std::array kinds = {on_error::skip, on_error::dead_letter, on_error::keep_going, on_error::fail};
        // A flow that fails ends early: seldom.
        stage.policy.error = kinds.at(failing_percent == 0 || random(16) == 0 ? 3 : random(3));
        flow.text += "; " + stage.name + ", jobs " + std::to_string(stage.policy.jobs) + ", buffer " +
                     std::to_string(stage.policy.buffer_items) + (stage.policy.ordered ? ", unordered" : "") +
                     ", failing " + std::to_string(failing_percent) + " %, on error " +
                     std::to_string(static_cast<int>(stage.policy.error)) + ", retries " +
                     std::to_string(stage.policy.retry.max) + (stage.policy.timeout > 0s ? ", timeout" : "");
        return stage;
    };
    const unsigned stages = 1 + random(5);
    for (unsigned at = 0; at < stages; ++at) {
        const unsigned failing = random(2) == 0 ? 0 : random(20);
        const unsigned kind = random(4);
        const std::string name = (kind == 0 ? "filter " : kind == 1 ? "flat_map " : "map ") + std::to_string(at);
        switch (kind) {
            case 0:
                chain = std::move(chain) |
                        with_policies(leat::filter(name, [=](int v) { return draw(seed, at, v) % 3 != 0; }), 0);
                break;
            case 1:
                flow.multiplies = true;
                chain = std::move(chain) |
                        with_policies(
                            leat::flat_map(name, [=](int v) { return std::vector<int>(draw(seed, at, v) % 3, v); }), 0);
                break;
            default:
                chain = std::move(chain) |
                        with_policies(leat::map(name, [=](int v) { return toil(seed, at, failing, v); }), failing);
        }
    }
    flow.graph = std::move(chain) | leat::for_each("store", [&](int v) { stored.push_back(v); });
    return flow;
}

void one_run(unsigned seed) {
    leat_test::dice random(seed ^ 0x9e3779b9U);
    auto source = std::make_shared<counting_source>();
    std::vector<int> stored;
    drawn_flow flow = flow_of(seed, source, stored);
    leat::flow_control control;
    leat::flow_options options;
    options.control = &control;
    std::atomic<std::uint64_t> letters = 0;
    options.dead_letters = [&](const leat::dead_letter&) { ++letters; };
    options.window = random(3) == 0 ? 1 + random(4) : 0;
    enum { to_the_end, drained, stopped } const how = random(4) == 0 ? drained : random(6) == 0 ? stopped : to_the_end;
    const auto pause = std::chrono::microseconds(random(2000));

    SCOPED_TRACE("window " + std::to_string(options.window) + ", end " + std::to_string(how) + flow.text);

    report done;
    const auto all = [&](leat::scope& work) -> task<> {
        const auto interrupt = [&]() -> task<> {
            co_await leat::sleep_for(pause);
            if (how == drained) control.drain();
            else control.stop();
        };
        if (how != to_the_end) work.spawn(interrupt);
        done = co_await leat::run_flow(std::move(flow.graph), options);
    };
    leat::run(leat::run_options(1 + random(4)), [&] { return leat::with_scope(all); });

    ASSERT_TRUE(done.adds_up()) << done.to_text();
    EXPECT_EQ(done.in, static_cast<std::uint64_t>(source->given.load()));
    const auto fates = [&](fate what) { return source->fates.at(static_cast<std::size_t>(what)).load(); };
    EXPECT_EQ(done.out, fates(fate::committed));
    EXPECT_EQ(done.skipped, fates(fate::skipped));
    EXPECT_EQ(done.failed, fates(fate::failed));
    EXPECT_EQ(done.dead, fates(fate::dead));
    EXPECT_EQ(done.unfinished, fates(fate::abandoned));
    for (int i = 0; i < source->given; ++i) EXPECT_EQ(source->told.at(static_cast<std::size_t>(i)), 1) << i;
    if (!flow.multiplies) {
        EXPECT_EQ(letters, done.dead);
        EXPECT_EQ(std::set<int>(stored.begin(), stored.end()).size(), stored.size()) << "nothing twice";
        EXPECT_EQ(stored.size(), done.out);
    }
    if (flow.ordered) {
        EXPECT_TRUE(std::is_sorted(stored.begin(), stored.end()));
    }
    if (how != stopped && done.end != flow_end::failed) {
        EXPECT_EQ(done.unfinished, 0U) << "a drain lets what is inside come out";
    }
    if (how == to_the_end && done.end == flow_end::complete) {
        EXPECT_EQ(done.in, static_cast<std::uint64_t>(item_count));
    }
}

TEST(engine_soak, any_flow_settles_each_item_once_and_adds_up) {
    for (leat_test::soak rounds(60); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        one_run(rounds.seed());
    }
}

}  // namespace
