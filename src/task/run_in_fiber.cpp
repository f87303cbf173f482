#include <leat/task/run_in_fiber.hpp>

#include <leat/base/bug.hpp>

namespace leat::detail {

struct fiber_line::visit {
    fiber_line& fiber;
    visit* outer;          // on this thread: what led to a task that runs this fiber
    bool inside = false;   // the fiber's code runs; else the thread is in drive(), below which tasks may run
    bool resumed = false;  // it was resumed below this drive(), which goes on with it

    static visit* innermost() noexcept { return static_cast<visit*>(env::this_thread(env::slot::fiber)); }
};

fiber_line::fiber_line(context& line, fiber_options options, function body)
    : stack_(options), frame_(*this, line), body_(body), inside_(point_of_entry(stack_, 0, &enter)) {}

fiber_line& fiber_line::here() noexcept {
    visit* const at = visit::innermost();
    // Tasks run below drive(), and below a fiber that drives an event loop itself: neither is code of the fiber.
    if (at == nullptr || !at->inside || context::current() != at->fiber.frame_.promise.line)
        bug("leat::await was called outside a fiber: co_await in a task, or begin with leat::run_in_fiber");
    return at->fiber;
}

[[gnu::no_sanitize_address]] void fiber_line::enter(arrival came) noexcept {
    auto& self = *static_cast<fiber_line*>(static_cast<parcel*>(came.data)->to);
    settle(self.thread_, arrived(came));
    self.body_(self);
    self.ended_ = true;
    parcel sends(nullptr, nullptr, nullptr);
    jump_for_good(self.thread_, sends);
}

void fiber_line::leave() {
    parcel sends(nullptr, nullptr, nullptr);
    settle(thread_, jump(thread_, sends));
    if (refused_) std::rethrow_exception(std::exchange(refused_, nullptr));
}

bool fiber_line::drive() noexcept {
    context& line = *frame_.promise.line;
    visit now{*this, visit::innermost()};
    void*& innermost = env::this_thread(env::slot::fiber);  // the thread's own stack: it stays on its thread
    innermost = &now;
    for (;;) {
        if (!asks_) {
            parcel sends(this, nullptr, nullptr);
            exception_swap exceptions(exceptions_);
            now.inside = true;
            const arrival came = jump(inside_, sends);
            now.inside = false;
            exceptions.back(exceptions_);
            settle(inside_, came);
            if (ended_) {
                innermost = now.outer;
                return true;
            }
            asks_ = true;
        }
        const std::coroutine_handle<fiber_promise> at = frame_.handle();
        if (!line.nest()) {  // what it asks for may run more fibers on this stack: later, on a fresh one
            innermost = now.outer;
            line.post_at(at, false);
            return false;
        }
        asks_ = false;
        std::coroutine_handle<> next = at;
        try {
            next = await_suspend_(awaiter_, at);
        } catch (...) {
            refused_ = std::current_exception();
        }
        if (next == at) continue;  // need not wait
        // From here on the line may run, and end, elsewhere: `this` is gone unless it was resumed below.
        if (next != nullptr) {
            now.resumed = false;
            next.resume();
            if (now.resumed) continue;
        }
        innermost = now.outer;
        return false;
    }
}

void fiber_line::frame::resume(frame_stub* stub) noexcept {
    fiber_line& mine = static_cast<frame*>(static_cast<fiber_frame*>(stub))->self;
    visit* const at = visit::innermost();
    if (at != nullptr && !at->inside && &at->fiber == &mine) {
        at->resumed = true;
        return;
    }
    context& line = *mine.frame_.promise.line;
    const std::coroutine_handle<> parent = mine.parent_;
    if (mine.drive()) transfer<context::nested_bound>(line, parent).resume();
}

}  // namespace leat::detail
