// When jobs of `leat each` may begin: the gate by itself, and -j FILE, --load and --memfree.
#include <algorithm>
#include <cli/each_command.hpp>
#include <cli/each_items.hpp>
#include <cli/machine_meters.hpp>
#include <cli/start_gate.hpp>
#include <gmock/gmock.h>

#include <leat/flow/run_flow.hpp>
#include <leat/runtime/run.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/this_task.hpp>

#include "leat_process.hpp"

namespace {

using namespace std::chrono_literals;
using leat::task;
using leat::cli::gate_rules;
using leat::cli::start_gate;
using leat_test::eventually;
using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::run_leat;
using leat_test::scratch;
using testing::HasSubstr;
using place_ref = std::shared_ptr<start_gate::place>;

// What the rules of a test look at.
struct world {
    unsigned places = 2;
    bool has_room = true;
    bool is_crowded = false;
    std::shared_ptr<start_gate> gate;

    world() {
        gate_rules rules;
        rules.places = [this] { return places; };
        rules.has_room = [this] { return has_room; };
        rules.is_crowded = [this] { return is_crowded; };
        rules.look_again = 1ms;
        gate = std::make_shared<start_gate>(std::move(rules));
    }
    // Whether a job may begin now or soon; what it got.
    task<bool> enters(place_ref& got) {
        bool entered = false;
        const auto body = [&](leat::scope& beside) -> task<> {
            const auto entering = [&]() -> task<> {
                got = co_await gate->enter();
                entered = true;
            };
            beside.spawn(leat::task_name("entering"), entering);
            for (int each = 0; each < 20 && !entered; ++each) co_await leat::sleep_for(1ms);
            beside.stop();
        };
        co_await leat::with_scope(body);
        co_return entered;
    }
};

template <class Body>
void on_one_thread(Body body) {
    leat::run(leat::run_options(1), body);
}

TEST(start_gate, lets_in_as_many_as_there_are_places_and_numbers_them_from_the_lowest_free) {
    on_one_thread([]() -> task<> {
        world now;
        place_ref one, two, three, four;
        EXPECT_TRUE(co_await now.enters(one));
        EXPECT_TRUE(co_await now.enters(two));
        EXPECT_FALSE(co_await now.enters(three));
        EXPECT_EQ(one->slot(), 1U);
        EXPECT_EQ(two->slot(), 2U);
        one.reset();
        EXPECT_TRUE(co_await now.enters(three));
        EXPECT_EQ(three->slot(), 1U);
        now.places = 3;
        EXPECT_TRUE(co_await now.enters(four));
        EXPECT_EQ(four->slot(), 3U);
        now.places = 1;
        three.reset();
        two.reset();
        EXPECT_FALSE(co_await now.enters(two)) << "one runs still";
        four.reset();
        EXPECT_TRUE(co_await now.enters(two));
    });
}

TEST(start_gate, keeps_jobs_back_while_the_machine_has_no_room) {
    on_one_thread([]() -> task<> {
        world now;
        now.has_room = false;
        place_ref one;
        EXPECT_FALSE(co_await now.enters(one));
        now.has_room = true;
        EXPECT_TRUE(co_await now.enters(one));
    });
}

TEST(start_gate, the_youngest_of_several_is_crowded_out_and_begins_again_when_there_is_room) {
    on_one_thread([]() -> task<> {
        world now;
        place_ref old, young;
        EXPECT_TRUE(co_await now.enters(old));
        EXPECT_TRUE(co_await now.enters(young));
        now.is_crowded = true;
        now.has_room = false;
        const auto is_out = [&](place_ref& which) -> task<bool> {
            bool out = false;
            const auto body = [&](leat::scope& beside) -> task<> {
                const auto waiting = [&]() -> task<> {
                    co_await now.gate->crowded_out(*which);
                    out = true;
                };
                beside.spawn(leat::task_name("waiting"), waiting);
                for (int each = 0; each < 20 && !out; ++each) co_await leat::sleep_for(1ms);
                beside.stop();
            };
            co_await leat::with_scope(body);
            co_return out;
        };
        EXPECT_FALSE(co_await is_out(old));
        EXPECT_TRUE(co_await is_out(young));
        const auto body = [&](leat::scope& beside) -> task<> {
            bool again = false;
            const auto waiting = [&]() -> task<> {
                co_await now.gate->room_again(*young);
                again = true;
            };
            beside.spawn(leat::task_name("waiting"), waiting);
            for (int each = 0; each < 20; ++each) co_await leat::sleep_for(1ms);
            EXPECT_FALSE(again);
            EXPECT_FALSE(co_await is_out(old)) << "it is alone now";
            now.has_room = true;
            while (!again) co_await leat::sleep_for(1ms);
            EXPECT_TRUE(co_await is_out(young)) << "it is the youngest again";
        };
        co_await leat::with_scope(body);
    });
}

TEST(start_gate, what_is_alone_does_not_wait_for_room_again) {
    on_one_thread([]() -> task<> {
        world now;
        place_ref only;
        EXPECT_TRUE(co_await now.enters(only));
        now.has_room = false;
        co_await now.gate->room_again(*only);
    });
}

// Keeps what becomes of the items.
class collector final : public leat::stage {
public:
    explicit collector(std::vector<std::string>& into) : into_(into) {}
    [[nodiscard]] unsigned most_jobs() const noexcept override { return 1; }
    task<std::unique_ptr<leat::stage_worker>> open() override { co_return std::make_unique<worker>(into_); }

private:
    struct worker final : leat::stage_worker {
        explicit worker(std::vector<std::string>& to) : into(to) {}
        task<> process(leat::item& in, leat::emitter&) override {
            const auto& result = in.value.as<leat::cli::each_result>();
            into.push_back(result.out.text() + result.failure);
            in.ack.commit();
            co_return;
        }
        std::vector<std::string>& into;
    };
    std::vector<std::string>& into_;
};

// Two jobs, of which one is crowded out once: what comes of them. They end when their begins and ends by a signal, all in
// all, are so many.
std::vector<std::string> crowd_one_out(unsigned tries, unsigned until) {
    const scratch folder;
    std::vector<std::string> results;
    gate_rules rules;
    rules.places = [] { return 2U; };
    rules.is_crowded = [asked = false]() mutable { return !std::exchange(asked, true); };
    rules.look_again = 100ms;
    std::vector<leat::cli::value_source> items(1);
    items[0].list = {"1", "2"};
    leat::cli::job_rules jobs;
    jobs.tries = tries;
    leat::stage_policy policy;
    policy.jobs = 2;
    policy.retry.max = tries - 1;
    policy.error = leat::on_error::keep_going;
    leat::flow_graph graph;
    graph.sources.push_back(
        {"source", leat::cli::gated(leat::cli::items_of(std::move(items), {}), std::make_shared<start_gate>(rules))});
    leat::command_template command({"sh", "-c",
                                    "trap 'echo ended >> \"$1\"; exit 1' TERM; echo begun >> \"$1\"; "
                                    "while test $(wc -l < \"$1\") -lt $2; do sleep 0.02; done; echo $0",
                                    "{}", folder.file("events"), std::to_string(until)});
    graph.stages.push_back({"command", leat::cli::command_per_item(std::move(command), {}, jobs), policy});
    graph.stages.push_back({"end", std::make_shared<collector>(results), {}});
    leat::run([&]() -> task<> { (void)co_await leat::run_flow(std::move(graph)); });
    return results;
}

TEST(start_gate, a_job_that_is_crowded_out_is_ended_and_tried_again_as_often_as_retries_allow) {
    EXPECT_THAT(crowd_one_out(2, 4), testing::ElementsAre("1\n", "2\n"));
    EXPECT_THAT(crowd_one_out(1, 3), testing::ElementsAre("1\n", "ended to make room: too little memory was free"));
}

TEST(machine_meters, are_read_on_linux) {
    EXPECT_TRUE(leat::cli::runnable_tasks().has_value());
    EXPECT_GT(leat::cli::available_memory().value_or(0), 1U << 20U);
}

// A command that says that it runs, and runs until the file `go` is there.
std::vector<std::string> waiting_run(const scratch& place, std::vector<std::string> options) {
    std::vector<std::string> all{"each"};
    all.insert(all.end(), options.begin(), options.end());
    all.insert(all.end(),
               {"--", "sh", "-c", "echo x >> \"$1/begun\"; while ! test -e \"$1/go\"; do sleep 0.02; done; echo $0",
                "{%}", place.file(""), ":::"});
    for (int item = 0; item < 12; ++item) all.push_back(std::to_string(item));
    return all;
}
std::size_t begun(const scratch& place) { return place.read("begun").size() / 2; }

TEST(jobs_file, is_read_again_while_jobs_run) {
    const scratch place;
    const std::string jobs = place.write("jobs", "2\n");
    leat_process process(waiting_run(place, {"-j", jobs}));
    process.start();
    ASSERT_TRUE(eventually([&] { return begun(place) == 2; }));
    (void)place.write("jobs", "5");
    EXPECT_TRUE(eventually([&] { return begun(place) == 5; }));
    (void)place.write("jobs", "many");
    EXPECT_TRUE(eventually([&] { return process.err_so_far().find("going on with 5") != std::string::npos; }));
    EXPECT_EQ(begun(place), 5U);
    (void)place.write("go", "");
    const leat_end end = process.wait();
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(std::count(end.out.begin(), end.out.end(), '\n'), 12);
    EXPECT_EQ(end.out.find_first_not_of("12345\n"), std::string::npos) << "the numbers of the places: " << end.out;
}

TEST(jobs_file, that_says_nothing_good_at_first_or_is_for_persistent_workers_is_refused) {
    const scratch place;
    EXPECT_THAT(run_leat({"each", "-j", place.write("bad", "two"), "--", "echo", ":::", "a"}).err,
                HasSubstr("-j: found `two`"));
    EXPECT_THAT(run_leat({"each", "-j", place.write("empty", ""), "--", "echo", ":::", "a"}).err, HasSubstr("empty"));
    EXPECT_EQ(run_leat({"each", "-j", place.write("good", "+1"), "--persistent", "--", "cat", ":::", "a"}).code, 2);
    EXPECT_EQ(run_leat({"each", "-j", place.file("good"), "--", "echo", ":::", "a"}).out, "a\n");
}

TEST(jobs_file, is_not_what_a_number_means) {
    const scratch place;
    (void)place.write("2", "no number");
    leat_process process({"each", "-j", "2", "--", "echo", ":::", "a"});
    EXPECT_EQ(process.in_directory(place.file("")).start().wait().out, "a\n");
}

TEST(memfree, keeps_items_back_that_an_interrupt_leaves_out) {
    leat_process process({"each", "--memfree", "1000000G", "--report", "/dev/stdout", "--", "echo", ":::", "a", "b"});
    process.start();
    std::this_thread::sleep_for(300ms);  // it would have begun by then
    EXPECT_EQ(process.out_so_far(), "");
    process.kill(SIGINT);
    const leat_end end = process.wait();
    EXPECT_EQ(end.code, 130);
    EXPECT_THAT(end.out, HasSubstr("\"in\":0")) << "what was not begun is nobody's loss";
}

TEST(memfree, and_load_change_nothing_where_there_is_enough) {
    const leat_end end = run_leat({"each", "-k", "-j", "2", "--memfree", "1k", "--load", "1000000", "--joblog",
                                   "/dev/null", "--", "sh", "-c", "echo $0; exit $0", ":::", "0", "1", "0"});
    EXPECT_EQ(end.out, "0\n1\n0\n");
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(run_leat({"each", "--load", "x", "--", "echo", ":::", "a"}).code, 2);
    EXPECT_EQ(run_leat({"each", "--memfree", "x", "--", "echo", ":::", "a"}).code, 2);
}

}  // namespace
