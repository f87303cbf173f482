// foreign_wait: the wait of a line for an operation that ends by a handler call of the I/O service. The base of the awaiters
// in descriptor.hpp and asio.hpp.
//
// Such an operation refers to memory of the awaiting frame, so the line cannot just walk away: when a stop or the deadline
// comes first, the operation is asked to end, on the thread that runs handlers, and the line goes on when it has.
//
// Invariants:
//  1. completed() and the cancelling both happen on the thread that runs handlers, one after the other.
//  2. The line goes on only when the operation has completed and no cancelling is queued or under way.
#pragma once

#include <leat/io/service.hpp>
#include <leat/task/context.hpp>

namespace leat::io {

class foreign_wait : private timer, private stop_callback, private work_item {
public:
    using cancel_function = void (*)(foreign_wait&) noexcept;

    // `cancel` asks the operation to end soon; it must not call the handler in place.
    explicit foreign_wait(cancel_function cancel) noexcept
        : timer(&at_deadline), stop_callback(&at_stop), work_item(&cancel_beside_handlers), cancel_(cancel) {}
    ~foreign_wait() = default;

    // --- For await_suspend, in this order ---

    // Begins the wait; the operation may then be started, and its handler called, at any time.
    void prepare(leat::context& line, service& by, std::coroutine_handle<> at, const char* what) noexcept;
    // The operation could not be started: undoes prepare().
    void abandon() noexcept;
    // The operation has been started: it is cancelled at `deadline`, and when the line is asked to stop unless it is `deaf`.
    // What await_suspend returns.
    [[nodiscard]] bool commit(time_point deadline = time_point::max(), bool deaf = false) noexcept;

    // --- For the handler ---

    // The last thing that the handler does: the awaiter may be gone when it returns.
    void completed() noexcept;

    // --- For await_resume ---

    // Ends the wait. What asked the operation to end, ready when nothing did; it may have succeeded all the same.
    leat::context::wake leave() noexcept;

private:
    // state_, bits: the handler was called; a stop has asked for cancelling; the deadline has.
    static constexpr unsigned bit_completed = 1, bit_stop = 2, bit_deadline = 4;

    static void at_deadline(timer& self) noexcept;
    static void at_stop(stop_callback& self) noexcept;
    static void cancel_beside_handlers(work_item& self) noexcept;
    void request_cancel(unsigned bit) noexcept;
    void finish() noexcept;

    cancel_function cancel_;
    leat::context* line_ = nullptr;
    service* service_ = nullptr;
    leat::context::ticket ticket_;
    env::atomic<unsigned> state_{0};
    bool cancelled_ = false;  // cancel_ was called, or is not needed any more; on the thread that runs handlers
};

}  // namespace leat::io
