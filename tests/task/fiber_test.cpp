// fiber: values both ways, switching among fibers, exceptions, unwinding, and stacks that are reused and guarded.
#include <leat/task/fiber.hpp>

#include <cfenv>
#include <core.hpp>
#include <memory>
#include <stack_gauge.hpp>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

using leat::fiber;
using leat_test::counted;
using leat_test::token;

TEST(fiber, gives_and_takes_a_value_at_each_switch) {
    fiber<int(int)> sums([](auto& self, int value) {
        int sum = 0;
        while (value != 0) value = self.suspend(sum += value);
        return -sum;
    });
    EXPECT_EQ(sums.resume(1), 1);
    EXPECT_EQ(sums.resume(5), 6);
    EXPECT_FALSE(sums.done());
    EXPECT_EQ(sums.resume(0), -6);
    EXPECT_TRUE(sums.done());
}

TEST(fiber, one_without_values_only_runs) {
    int steps = 0;
    fiber<void()> stepping([&](auto& self) {
        ++steps;
        self.suspend();
        ++steps;
    });
    EXPECT_EQ(steps, 0);
    stepping.resume();
    EXPECT_EQ(steps, 1);
    stepping.resume();
    EXPECT_EQ(steps, 2);
    EXPECT_TRUE(stepping.done());
}

TEST(fiber, moves_values_and_hands_references_over) {
    fiber<std::unique_ptr<int>(token)> moves([](auto& self, token first) {
        token second = self.suspend(std::make_unique<int>(first.number()));
        return std::make_unique<int>(second.number());
    });
    EXPECT_EQ(*moves.resume(token(1)), 1);
    EXPECT_EQ(*moves.resume(token(2)), 2);
    int number = 1;
    fiber<int&(int&)> refers([](auto& self, int& first) -> int& { return self.suspend(first); });
    EXPECT_EQ(&refers.resume(number), &number);
    EXPECT_EQ(&refers.resume(number), &number);
}

// Suspends from below any number of plain calls: what a coroutine cannot.
void walk(fiber<int()>::inside& self, int depth) {
    if (depth == 0) return;
    walk(self, depth - 1);
    self.suspend(depth);
    walk(self, depth - 1);
}

TEST(fiber, suspends_from_deep_inside_plain_calls) {
    fiber<int()> walks([](auto& self) {
        walk(self, 3);
        return 0;
    });
    std::vector<int> seen;
    for (int each = walks.resume(); each != 0; each = walks.resume()) seen.push_back(each);
    EXPECT_EQ(seen, (std::vector{1, 2, 1, 3, 1, 2, 1}));
}

TEST(fiber, switching_resumes_another_for_the_same_resumer) {
    std::vector<std::string> log;
    fiber<int(int)> second([&](auto& self, int value) {
        log.push_back("second has " + std::to_string(value));
        value = self.suspend(20);
        log.push_back("second has " + std::to_string(value));
        return 21;
    });
    fiber<int()> first([&](auto& self) {
        self.switch_to(second, 1);
        log.emplace_back("first goes on");
        self.switch_to(second, 2);
        return 10;
    });
    EXPECT_EQ(first.resume(), 20);  // given by the second
    EXPECT_EQ(first.resume(), 21);  // which has ended by it
    EXPECT_TRUE(second.done());
    EXPECT_EQ(first.resume(), 10);
    EXPECT_EQ(log, (std::vector<std::string>{"second has 1", "first goes on", "second has 2"}));
}

TEST(fiber, two_play_ping_pong_without_their_resumer) {
    constexpr int rounds = 100'000;
    int played = 0;
    std::unique_ptr<fiber<void()>> ping;
    std::unique_ptr<fiber<void()>> pong;
    ping = std::make_unique<fiber<void()>>([&](auto& self) {
        while (played < rounds) {
            ++played;
            self.switch_to(*pong);
        }
    });
    pong = std::make_unique<fiber<void()>>([&](auto& self) {
        for (;;) self.switch_to(*ping);
    });
    ping->resume();
    EXPECT_EQ(played, rounds);
    EXPECT_TRUE(ping->done());
    EXPECT_FALSE(pong->done());
}

TEST(fiber, fibers_resume_fibers) {
    const auto counts = [](auto& self) {
        for (int i = 1; i < 3; ++i) self.suspend(i);
        return 0;
    };
    fiber<int()> outer([&](auto& self) {
        fiber<int()> inner(counts);
        while (const int each = inner.resume()) self.suspend(each * 10);
        return 0;
    });
    EXPECT_EQ(outer.resume(), 10);
    EXPECT_EQ(outer.resume(), 20);
    EXPECT_EQ(outer.resume(), 0);
}

// --- Exceptions ---

TEST(fiber, an_error_comes_out_of_resume) {
    fiber<int()> broken([](auto& self) -> int {
        self.suspend(1);
        throw std::runtime_error("broken");
    });
    EXPECT_EQ(broken.resume(), 1);
    EXPECT_THROW(broken.resume(), std::runtime_error);
    EXPECT_TRUE(broken.done());
}

TEST(fiber, an_error_of_one_that_was_switched_to_comes_out_of_the_same_resume) {
    fiber<int()> broken([](auto&) -> int { throw std::runtime_error("broken"); });
    fiber<int()> first([&](auto& self) {
        self.switch_to(broken);
        return 7;
    });
    EXPECT_THROW(first.resume(), std::runtime_error);
    EXPECT_EQ(first.resume(), 7);
}

// Each handles an exception of its own while the others run, and finds it again.
TEST(fiber, suspends_inside_a_catch_block) {
    const auto handles = [](const char* text) {
        return [text](auto& self) {
            try {
                throw std::runtime_error(text);
            } catch (const std::runtime_error&) {
                self.suspend();
                try {
                    throw;
                } catch (const std::runtime_error& again) {
                    EXPECT_STREQ(again.what(), text);
                    self.suspend();
                }
            }
            EXPECT_EQ(std::current_exception(), nullptr);
        };
    };
    fiber<void()> one(handles("one"));
    fiber<void()> two(handles("two"));
    try {
        throw std::runtime_error("outside");
    } catch (const std::runtime_error& outside) {
        for (int turn = 0; turn < 3; ++turn) {
            one.resume();
            EXPECT_EQ(std::uncaught_exceptions(), 0);
            two.resume();
        }
        try {
            throw;
        } catch (const std::runtime_error& again) {
            EXPECT_EQ(&again, &outside);
        }
    }
    EXPECT_TRUE(one.done() && two.done());
    EXPECT_EQ(std::current_exception(), nullptr);
}

TEST(fiber, switches_inside_a_catch_block) {
    fiber<void()> other([](auto& self) {
        EXPECT_EQ(std::current_exception(), nullptr);
        self.suspend();
    });
    fiber<void()> handles([&](auto& self) {
        try {
            throw std::runtime_error("mine");
        } catch (const std::runtime_error&) {
            self.switch_to(other);
            EXPECT_NE(std::current_exception(), nullptr);
        }
    });
    handles.resume();
    EXPECT_EQ(std::current_exception(), nullptr);
    handles.resume();
    EXPECT_TRUE(handles.done());
}

// --- Dropping ---

TEST(fiber, dropping_a_suspended_one_unwinds_it) {
    int alive = 0;
    bool cancelled = false;
    {
        fiber<int()> dropped([&](auto& self) {
            const counted local(alive);
            try {
                self.suspend(1);
            } catch (const leat::cancelled&) {
                cancelled = true;
                EXPECT_THROW(self.suspend(2), leat::cancelled);  // it is not asked again
                throw;
            }
            return 0;
        });
        EXPECT_EQ(dropped.resume(), 1);
        EXPECT_EQ(alive, 1);
    }
    EXPECT_TRUE(cancelled);
    EXPECT_EQ(alive, 0);
}

TEST(fiber, dropping_unwinds_nested_ones_innermost_last) {
    std::vector<int> log;
    struct writes {
        std::vector<int>& to;
        int number;
        ~writes() { to.push_back(number); }
    };
    {
        fiber<void()> outer([&](auto& self) {
            const writes first{log, 1};
            fiber<void()> inner([&](auto& nested) {
                const writes second{log, 2};
                nested.suspend();
            });
            inner.resume();
            const writes third{log, 3};
            self.suspend();
        });
        outer.resume();
    }
    EXPECT_EQ(log, (std::vector{3, 2, 1}));
}

TEST(fiber, dropping_during_unwinding_and_handling_of_an_error) {
    int alive = 0;
    try {
        fiber<void()> dropped([&](auto& self) {
            const counted local(alive);
            self.suspend();
        });
        dropped.resume();
        throw std::runtime_error("passes by");
    } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "passes by");
    }
    EXPECT_EQ(alive, 0);
}

TEST(fiber, one_that_never_ran_destroys_its_function) {
    auto shared = std::make_shared<int>(1);
    {
        const fiber<void()> dropped([shared](auto&) {});
    }
    EXPECT_EQ(shared.use_count(), 1);
}

// --- Stacks and threads ---

TEST(fiber, recurses_deeply_within_its_stack) {
    fiber<int()> small([](auto&) { return leat_test::recurse(200); });
    EXPECT_EQ(small.resume(), 200);
    fiber<int()> large([](auto&) { return leat_test::recurse(50'000); }, leat::fiber_options(std::size_t{64} << 20U));
    EXPECT_EQ(large.resume(), 50'000);
}

TEST(fiber, a_stack_that_cannot_be_had_throws_bad_alloc) {
    const auto nothing = [](auto&) {};
    EXPECT_THROW((void)fiber<void()>(nothing, leat::fiber_options(SIZE_MAX)), std::bad_alloc);
    EXPECT_THROW((void)fiber<void()>(nothing, leat::fiber_options(std::size_t{1} << 50U)), std::bad_alloc);
}

TEST(fiber, goes_on_on_another_thread) {
    fiber<long()> tells([](auto& self) {
        try {
            throw std::runtime_error("carried along");
        } catch (const std::runtime_error& error) {
            self.suspend(leat_test::thread_number());
            EXPECT_STREQ(error.what(), "carried along");
        }
        return leat_test::thread_number();
    });
    EXPECT_EQ(tells.resume(), leat_test::thread_number());
    long other = 0;
    long expected = 0;
    std::thread thread([&] {
        expected = leat_test::thread_number();
        other = tells.resume();
    });
    thread.join();
    EXPECT_NE(other, leat_test::thread_number());
    EXPECT_EQ(other, expected);
}

TEST(fiber, the_rounding_mode_belongs_to_the_fiber) {
    fiber<int()> rounds([](auto& self) {
        std::fesetround(FE_UPWARD);
        self.suspend(std::fegetround());
        return std::fegetround();
    });
    EXPECT_EQ(rounds.resume(), FE_UPWARD);
    EXPECT_EQ(std::fegetround(), FE_TONEAREST);
    EXPECT_EQ(rounds.resume(), FE_UPWARD);
    EXPECT_EQ(std::fegetround(), FE_TONEAREST);
}

TEST(fiber_death, overflowing_the_stack_ends_the_program_at_the_guard) {
    fiber<int()> overflows([](auto&) { return leat_test::recurse(leat_test::deeper_than_any_stack); });
    EXPECT_DEATH(overflows.resume(), "");  // SIGSEGV, or a sanitizer's report of it
}

TEST(fiber_death, misuse_is_a_bug) {
    fiber<void()> ended([](auto&) {});
    ended.resume();
    EXPECT_DEATH(ended.resume(), "has ended was resumed");
    std::unique_ptr<fiber<void()>> self;
    self = std::make_unique<fiber<void()>>([&](auto&) { self->resume(); });
    EXPECT_DEATH(self->resume(), "runs was resumed");
    self = std::make_unique<fiber<void()>>([&](auto&) { self.reset(); });
    EXPECT_DEATH(self->resume(), "runs was dropped");
    fiber<void()> moved(std::move(ended));
    EXPECT_DEATH(ended.resume(), "moved from");  // NOLINT(bugprone-use-after-move)
}

}  // namespace
