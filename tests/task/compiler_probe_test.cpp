// One probe for each coroutine bug of GCC 12 (and one of Clang) that the library dodges: the dodge, shown to work, beside
// the form that must not be written. A compiler on which a probe fails cannot build leat.
#include <core.hpp>
#include <functional>
#include <memory>

#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>

namespace {

using leat::task;
using leat_test::counted;
using leat_test::giving;
using leat_test::on_one_thread;

task<int> calls(std::function<int()> function) { co_return function(); }

// Not: co_await calls([held] { … }). GCC 12 destroys a lambda, or an aggregate, made inside the expression twice.
TEST(compiler_probe, a_lambda_is_named_before_it_goes_into_an_await) {
    int alive = 0;
    on_one_thread([&]() -> task<> {
        counted held(alive);
        std::function<int()> named = [held] { return 3; };
        task<int> call = calls(std::move(named));
        const int value = co_await call;
        EXPECT_EQ(value, 3);
    });
    EXPECT_EQ(alive, 0);
}

struct options_with_constructor {
    std::shared_ptr<int> shared;
    int number = 0;
    options_with_constructor() = default;
    explicit options_with_constructor(std::shared_ptr<int> with) : shared(std::move(with)) {}
};
task<long> uses(options_with_constructor options) { co_return options.shared.use_count(); }

// Not an aggregate: co_await uses({.shared = s}) would destroy the temporary twice, and free what it shares.
TEST(compiler_probe, option_types_have_constructors) {
    auto shared = std::make_shared<int>(1);
    on_one_thread([&]() -> task<> {
        const long inside = co_await uses(options_with_constructor(shared));
        EXPECT_GE(inside, 2);
    });
    EXPECT_EQ(shared.use_count(), 1);
}

// Not: co_await text_size(std::string(n, 'x') + "y") inside a larger expression: named first.
task<std::size_t> text_size(std::string text) { co_return text.size(); }
TEST(compiler_probe, a_string_argument_is_named_first) {
    on_one_thread([]() -> task<> {
        std::string text(100, 'x');
        task<std::size_t> sizing = text_size(std::move(text));
        const std::size_t size = co_await sizing;
        EXPECT_EQ(size, 100U);
    });
}

// Not: int v = flag ? co_await a() : co_await b(); both arms' temporaries are mixed up.
TEST(compiler_probe, a_choice_between_awaits_is_an_if) {
    on_one_thread([]() -> task<> {
        for (const bool first : {true, false}) {
            int value = 0;
            if (first) value = co_await giving(1);
            else value = co_await giving(2);
            EXPECT_EQ(value, first ? 1 : 2);
        }
    });
}

// Not: while (!co_await counts_down(left)) {} with an empty body; GCC 12 leaves out the end of the coroutine.
task<bool> counts_down(int& left) { co_return --left == 0; }
task<> until_zero(int& left) {
    for (;;) {
        const bool done = co_await counts_down(left);
        if (done) co_return;
    }
}
TEST(compiler_probe, a_loop_that_awaits_its_condition_names_the_result) {
    int left = 5;
    on_one_thread([&]() -> task<> { co_await until_zero(left); });
    EXPECT_EQ(left, 0);
}

task<std::pair<int, std::unique_ptr<int>>> pair_of(int value) {
    co_return std::pair<int, std::unique_ptr<int>>(value, std::make_unique<int>(value));
}

// Not: auto [a, b] = co_await pair_of(1); the bound object may be a temporary that is gone.
TEST(compiler_probe, a_structured_binding_binds_a_named_value) {
    on_one_thread([]() -> task<> {
        auto both = co_await pair_of(4);
        co_await leat::this_task::yield();
        const auto& [number, pointer] = both;
        EXPECT_EQ(number, *pointer);
    });
}

// Not: a frame destroyed inside its own await_suspend. A spawned task frees itself when its end is reached by transfer,
// suspended for good, from a continuation that is not part of the frame.
TEST(compiler_probe, a_frame_is_freed_from_outside_itself) {
    int alive = 0;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        for (int i = 0; i < 100; ++i) work.spawn([](counted) -> task<> { co_return; }, counted(alive));
        co_await work.join();
        EXPECT_EQ(alive, 0);
    });
}

// Not: a lambda coroutine that is called where it is made and outlives the full expression; its captures die with it.
// A scope keeps the function as long as the task.
TEST(compiler_probe, captures_live_as_long_as_a_spawned_lambda) {
    int seen = 0;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        {
            auto text = std::make_shared<std::string>("captured");
            work.spawn([text, &seen]() -> task<> {
                co_await leat::this_task::yield();
                seen = static_cast<int>(text->size());
            });
        }
        co_await work.join();
    });
    EXPECT_EQ(seen, 8);
}

// Clang up to 16, and any compiler that inlines: the address of a thread-local is not kept over a suspension.
TEST(compiler_probe, the_current_context_is_read_anew_after_a_suspension) {
    leat_test::on_threads(4, []() -> task<> {
        leat::context& mine = co_await leat::this_task::line();
        for (int i = 0; i < 1000; ++i) {
            co_await leat::this_task::yield();
            EXPECT_EQ(leat::context::current(), &mine);
        }
    });
}

}  // namespace
