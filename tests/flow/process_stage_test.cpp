// Stages whose function runs in processes of its own: this program again, as its workers.
#include <leat/flow/process_stage.hpp>

#include <csignal>
#include <gmock/gmock.h>
#include <set>
#include <thread>
#include <unistd.h>

#include <leat/flow/batch.hpp>
#include <leat/runtime/main.hpp>
#include <leat/runtime/run.hpp>

namespace work {

struct answer {
    int number;
    int pid;
};
answer square(int number) { return {number * number, ::getpid()}; }
std::string shout(const std::string& text) { return text + "!"; }
int strict(int number) {
    if (number == 3) throw std::out_of_range("three is too much");
    if (number == 5) throw leat::permanent_error("five never works");
    return number;
}
int fragile(int number) {
    if (number == 7) ::raise(SIGKILL);
    return number;
}
int slow(int number) {
    if (number == 2) std::this_thread::sleep_for(std::chrono::hours(1));
    return number;
}
struct counter {
    int begun;
};
counter begin_with(int number) { return {number}; }
int count(counter& state, int number) { return state.begun + number; }
leat::task<int> later(int number) {
    co_await leat::sleep_for(std::chrono::milliseconds(1));
    co_return number + 1;
}

}  // namespace work

namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

struct ended {
    leat::report done;
    std::vector<int> out;
};
template <class Stage>
ended run_through(std::vector<int> items, Stage stage, leat::flow_observer* observer = nullptr) {
    ended all;
    auto flow = leat::from(std::move(items)) | std::move(stage) |
                leat::for_each("keep", [&](int one) { all.out.push_back(one); });
    leat::flow_options options;
    options.observer = observer;
    all.done = leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow), options); });
    EXPECT_TRUE(all.done.adds_up());
    return all;
}
std::vector<int> numbers(int count) {
    std::vector<int> all;
    for (int i = 0; i < count; ++i) all.push_back(i);
    return all;
}
struct telling final : leat::flow_observer {
    void item_failed(std::string_view, leat::on_error, std::string_view name, unsigned attempts,
                     std::string_view error) override {
        const std::scoped_lock held(lock);
        told.push_back(std::string(name) + " after " + std::to_string(attempts) + ": " + std::string(error));
    }
    std::mutex lock;
    std::vector<std::string> told;
};

TEST(process_stage, gives_what_the_function_gives_in_the_order_of_the_input_from_other_processes) {
    std::vector<int> squares;
    std::set<int> pids;
    auto flow = leat::from(numbers(5000)) | leat::map<work::square>("square").on(leat::processes(2)) |
                leat::for_each("keep", [&](const work::answer& one) {
                    squares.push_back(one.number);
                    pids.insert(one.pid);
                });
    const leat::report done = leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow)); });
    ASSERT_EQ(done.end, leat::flow_end::complete) << done.error;
    ASSERT_THAT(squares, SizeIs(5000));
    for (int i = 0; i < 5000; ++i) ASSERT_EQ(squares[static_cast<std::size_t>(i)], i * i);
    EXPECT_FALSE(pids.contains(::getpid()));
    EXPECT_LE(pids.size(), 2U);
    EXPECT_EQ(done.stages.front().jobs, 2U);
}

TEST(process_stage, runs_in_threads_where_nothing_else_is_said) {
    std::vector<std::string> all;
    auto flow = leat::from(std::vector<std::string>{"a", "b"}) | leat::map<work::shout>("shout").concurrency(2) |
                leat::for_each("keep", [&](std::string one) { all.push_back(std::move(one)); });
    (void)leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow)); });
    EXPECT_THAT(all, ElementsAre("a!", "b!"));
    EXPECT_THROW((void)(leat::from(numbers(1)) | leat::map<work::count>("count")), std::invalid_argument) << "a state";
}

TEST(process_stage, takes_texts_and_functions_that_return_tasks_and_a_state) {
    std::vector<std::string> all;
    auto flow = leat::from(std::vector<std::string>{"a", std::string(100'000, 'b')}) |
                leat::map<work::shout>("shout").on(leat::processes(1)) |
                leat::for_each("keep", [&](std::string one) { all.push_back(std::move(one)); });
    (void)leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow)); });
    EXPECT_THAT(all, ElementsAre("a!", std::string(100'000, 'b') + "!"));
    EXPECT_THAT(run_through({1, 2}, leat::map<work::later>("later").on(leat::processes(1))).out, ElementsAre(2, 3));
    EXPECT_THAT(
        run_through({1, 2}, leat::map<work::count>("count").on(leat::processes(1).at_start<work::begin_with>(40))).out,
        ElementsAre(41, 42));
}

TEST(process_stage, an_exception_keeps_its_type_and_text_and_is_tried_again_unless_it_is_permanent) {
    telling seen;
    const ended all = run_through(
        numbers(7),
        leat::map<work::strict>("strict").on(leat::processes(1)).retry(2, 1ms).on_error(leat::on_error::skip), &seen);
    EXPECT_THAT(all.out, ElementsAre(0, 1, 2, 4, 6));
    EXPECT_EQ(all.done.skipped, 2U);
    EXPECT_THAT(seen.told,
                testing::UnorderedElementsAre(testing::AllOf(HasSubstr("3 after 3: "), HasSubstr("std::out_of_range"),
                                                             HasSubstr("three is too much")),
                                              "5 after 1: five never works"));
}

TEST(process_stage, a_worker_that_dies_costs_one_attempt_of_one_item) {
    telling seen;
    const ended all = run_through(
        numbers(200),
        leat::map<work::fragile>("fragile").on(leat::processes(2)).retry(1, 1ms).on_error(leat::on_error::skip), &seen);
    EXPECT_THAT(all.out, SizeIs(199));
    EXPECT_TRUE(std::is_sorted(all.out.begin(), all.out.end()));
    EXPECT_EQ(all.done.skipped, 1U);
    EXPECT_THAT(seen.told, ElementsAre(testing::AllOf(HasSubstr("7 after 2: "), HasSubstr("SIGKILL"))));
    EXPECT_EQ(all.done.stages.front().retried, 1U);
}

TEST(process_stage, an_attempt_that_takes_too_long_is_killed_and_costs_no_other_item) {
    telling seen;
    const ended all = run_through(
        numbers(20),
        leat::map<work::slow>("slow").on(leat::processes(1)).timeout(300ms).on_error(leat::on_error::keep_going),
        &seen);
    EXPECT_THAT(all.out, SizeIs(19));
    EXPECT_EQ(all.done.failed, 1U);
    EXPECT_THAT(seen.told, SizeIs(1));
}

TEST(process_stage, ends_with_the_flow_when_that_is_stopped) {
    leat::flow_control control;
    leat::flow_options options;
    options.control = &control;
    auto flow = leat::from(std::vector<int>{1, 2, 3}) |
                leat::map<work::slow>("slow").on(leat::processes(1)).per_process(1) |
                leat::for_each("keep", [&](int) { control.stop(); });
    const leat::report done = leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow), options); });
    EXPECT_EQ(done.end, leat::flow_end::interrupted);
    EXPECT_TRUE(done.adds_up());
}

TEST(process_stage, takes_batches) {
    std::size_t all = 0;
    const auto flow = [&] {
        return leat::from(std::vector<std::string>(100, "x")) | leat::map<work::shout>("shout").on(leat::processes(1)) |
               leat::batch("tens", 10) |
               leat::for_each("keep", [&](const std::vector<std::string>& some) { all += some.size(); });
    };
    (void)leat::run(leat::run_options(2), [&] { return leat::run_flow(flow()); });
    EXPECT_EQ(all, 100U);
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto code = leat::worker_main()) return *code;
    testing::InitGoogleMock(&argc, argv);
    return RUN_ALL_TESTS();
}
