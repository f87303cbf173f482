// frame_stub relies on how compilers lay out the head of a coroutine frame: a pointer to the function that resumes, then
// one to the function that destroys. Both Clang and GCC document it as their ABI; this is the probe.
#include <core.hpp>
#include <coroutine>
#include <cstring>

#include <leat/runtime/event_loop.hpp>
#include <leat/task/context.hpp>
#include <leat/task/run_in_fiber.hpp>

namespace {

struct counter_stub : leat::frame_stub {
    explicit counter_stub(int& calls) noexcept
        : frame_stub([](frame_stub* self) noexcept { ++*static_cast<counter_stub*>(self)->count; }), count(&calls) {}
    int* count;
};

TEST(frame_stub, resuming_its_handle_calls_the_function) {
    int calls = 0;
    counter_stub stub(calls);
    const std::coroutine_handle<> handle = stub.handle();
    EXPECT_FALSE(handle.done());
    handle.resume();
    handle();
    EXPECT_EQ(calls, 2);
}

// A coroutine that shows its own frame.
struct bare {
    struct promise_type {
        bare get_return_object() noexcept { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { std::abort(); }
    };
    std::coroutine_handle<promise_type> handle;
};

bare increments(int& count) {
    ++count;
    co_return;
}

TEST(frame_stub, the_head_of_a_real_frame_is_resume_then_destroy) {
    int count = 0;
    const bare real = increments(count);
    using function = void (*)(void*);
    function head[2] = {};
    std::memcpy(head, real.handle.address(), sizeof head);
    ASSERT_NE(head[0], nullptr);
    ASSERT_NE(head[1], nullptr);
    head[0](real.handle.address());
    EXPECT_EQ(count, 1);
    EXPECT_TRUE(real.handle.done());
    std::memcpy(head, real.handle.address(), sizeof head);
    EXPECT_EQ(head[0], nullptr);  // how done() knows
    head[1](real.handle.address());
}

struct goes_on_with {
    std::coroutine_handle<> next;
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<>) const noexcept { return next; }
    void await_resume() const noexcept {}
};

bare transfers_to(std::coroutine_handle<> next) {
    const goes_on_with there{next};
    co_await there;
}

TEST(frame_stub, is_the_target_of_a_symmetric_transfer) {
    int calls = 0;
    counter_stub stub(calls);
    const bare real = transfers_to(stub.handle());
    real.handle.resume();
    EXPECT_EQ(calls, 1);
    EXPECT_FALSE(real.handle.done());
    real.handle.destroy();
}

TEST(frame_stub, a_promise_lies_behind_the_head) {
    leat::event_loop where;
    leat::context line(where, "nobody");
    leat::detail::fiber_frame fabricated([](leat::frame_stub*) noexcept {}, line);
    EXPECT_EQ(&fabricated.handle().promise(), &fabricated.promise);
}

}  // namespace
