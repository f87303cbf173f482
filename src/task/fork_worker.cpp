#include <leat/task/fork_worker.hpp>

#include <algorithm>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include <leat/base/bug.hpp>
#include <leat/task/outcome.hpp>

namespace leat::detail {

// --- Failures ---

void fork_frame::fail(unsigned char how, std::exception_ptr why) noexcept {
    unsigned char before = none;
    // relaxed: whoever reads the failure runs the frame after the child of this thread has arrived.
    if (!failure_.compare_exchange_strong(before, being_set, env::relaxed, env::relaxed)) return;
    if (how == error) std::construct_at(&error_, std::move(why));
    failure_.store(how, env::relaxed);
}

void fork_frame::fail_with_current() noexcept {
    if (current_exception_is_cancelled()) fail(cancelled, nullptr);
    else fail(error, std::current_exception());
}

void fork_frame::drop_failure() noexcept {
    if (failure_.exchange(none, env::relaxed) == error) std::destroy_at(&error_);
}

void fork_frame::rethrow_failure() {
    if (failure_.load(env::relaxed) != error) {
        drop_failure();
        throw_cancelled();
    }
    std::exception_ptr why = std::move(error_);
    drop_failure();
    std::rethrow_exception(std::move(why));
}

void fork_frame::end_of_call() {
    callee_lingers = false;
    struct ending {
        fork_frame& child;
        ~ending() { child.handle().destroy(); }
    } const end{*callee};
    if (callee->failed()) callee->rethrow_failure();
}

// --- Stacks ---

namespace {

constexpr std::size_t first_segment_bytes = 16 * 1024;
constexpr unsigned most_spares = 8;

// A piece of a stack; its frames follow it.
struct alignas(16) segment {
    segment* below;
    char* end;
    char* top;  // while another segment, or another stack, is in use
    char* begin() noexcept { return reinterpret_cast<char*>(this + 1); }
    [[nodiscard]] std::size_t size() noexcept { return static_cast<std::size_t>(end - begin()); }
};

segment* new_segment(segment* below, std::size_t bytes) {
    auto* const fresh = static_cast<segment*>(::operator new(sizeof(segment) + bytes));
    *fresh = segment{below, nullptr, nullptr};
    fresh->top = fresh->begin();
    fresh->end = fresh->begin() + bytes;
    return fresh;
}

}  // namespace

struct fork_stack {
    segment* current;
    segment* above = nullptr;  // empty, kept so that a frame at the border does not allocate each time
    fork_root* root = nullptr;
    fork_stack* next = nullptr;  // in a worker's list of spare ones

    fork_stack() : current(new_segment(nullptr, first_segment_bytes)) {}
    fork_stack(const fork_stack&) = delete;
    fork_stack& operator=(const fork_stack&) = delete;
    ~fork_stack() {
        ::operator delete(above);
        while (current != nullptr) ::operator delete(std::exchange(current, current->below));
    }
};

void fork_worker::use_segment() noexcept {
    segment* const now = stack_->current;
    top_ = now->top;
    limit_ = now->end;
    bottom_ = now->begin();
    first_ = now->below == nullptr ? nullptr : bottom_;
}

void fork_worker::leave_stack() noexcept {
    stack_->current->top = top_;
    stack_ = nullptr;
    top_ = limit_ = first_ = bottom_ = nullptr;
}

void fork_worker::take_stack(fork_stack* stack) noexcept {
    if (stack_ != nullptr) {
        fork_stack* const own = stack_;
        leave_stack();
        keep_spare(own);
    }
    stack_ = stack;
    use_segment();
}

void fork_worker::keep_spare(fork_stack* stack) noexcept {
    if (spares_ == most_spares) {
        delete stack;
        return;
    }
    ::operator delete(std::exchange(stack->above, nullptr));
    stack->next = std::exchange(spare_, stack);
    ++spares_;
}

void fork_worker::get_stack() {
    if (spare_ != nullptr) {
        stack_ = spare_;
        spare_ = spare_->next;
        --spares_;
    } else {
        stack_ = new fork_stack;
    }
    use_segment();
}

void* fork_worker::take_from_new_segment(std::size_t bytes) {
    if (stack_ == nullptr) {
        get_stack();
        stack_->root = root_;
    }
    if (bytes > static_cast<std::size_t>(limit_ - top_)) {
        segment*& above = stack_->above;
        if (above == nullptr || above->size() < bytes) {
            segment* const wider = new_segment(stack_->current, std::max(2 * stack_->current->size(), bytes));
            ::operator delete(above);
            above = wider;
        }
        stack_->current->top = top_;
        stack_->current = std::exchange(above, nullptr);
        use_segment();
    }
    return std::exchange(top_, top_ + bytes);
}

void fork_worker::drop_segment() noexcept {
    segment* const empty = std::exchange(stack_->current, stack_->current->below);
    empty->top = empty->begin();
    ::operator delete(std::exchange(stack_->above, empty));
    use_segment();
}

// --- Running ---

namespace {
const env::atomic<std::uint64_t> nobody_sleeps{0};
}

fork_worker::fork_worker() noexcept : bell_{&nobody_sleeps, nullptr, nullptr} {}

fork_worker::~fork_worker() {
    delete stack_;
    while (spare_ != nullptr) delete std::exchange(spare_, spare_->next);
}

bool fork_worker::run(fork_frame& first) noexcept {
    void*& fork = env::this_thread(env::quick_slot::fork);  // this function stays on one thread
    void*& current = env::this_thread(env::slot::context);
    if (fork != nullptr) bug("a tree of forks was started inside another, by something that is not awaited");
    fork = this;
    void* const before = std::exchange(current, nullptr);  // frames have no line of their own
    busy_.store(true, env::relaxed);
    root_ended_ = false;
    next_ = first.handle();
    for (;;) {
        if (next_) {
            nested_ = 0;
            std::exchange(next_, nullptr).resume();
        } else if (ended_ != nullptr) {
            next_ = finish(*std::exchange(ended_, nullptr));
        } else if (fork_frame* const mine = deque_.pop()) {
            // The frame above it has stepped aside: its continuation goes on as a thief's would.
            mark_stolen(*mine);
            next_ = mine->handle();
        } else {
            break;
        }
    }
    busy_.store(false, env::relaxed);
    current = before;
    fork = nullptr;
    return root_ended_;
}

void fork_worker::use_root(fork_root& root) noexcept {
    root_ = &root;
    line_ = root.line;
    if (stack_ != nullptr) stack_->root = &root;
    if (line_->stop_requested()) alert();  // it may have been alerted to that while it had another root
}

void fork_worker::attend() {
    deque_.make_ready();
    if (bell_.owner == nullptr) alert();  // nobody knows this worker: it looks each time
    if (line_->stop_requested()) {
        alert();
        throw_cancelled();
    }
    // seq_cst: after the end of the alert (invariant 5).
    if (bell_.idle->load(env::seq_cst) - 1 < 0xffffffffU) bell_.ring(bell_.owner);
}

void fork_worker::mark_stolen(fork_frame& frame) noexcept { ++frame.stolen.write(); }

context& fork_worker::line_of(const fork_frame& stolen) noexcept { return *stolen.home->root->line; }

void fork_worker::run_stolen(fork_frame& frame) noexcept {
    fork_root& root = *frame.home->root;
    use_root(root);
    mark_stolen(frame);
    if (run(frame)) root.line->post_at(root.awaiting, false);
}

bool fork_worker::run_root(fork_frame& frame, fork_root& root) {
    if (frame.at_end) bug("a fork_task was awaited twice");
    executor& where = root.line->where();
    std::optional<fork_worker> alone;
    fork_worker* self = where.fork_worker_here();
    if (self == nullptr) self = &alone.emplace();
    if (self->stack_ == nullptr) self->get_stack();
    self->use_root(root);
    frame.home = self->stack_;
    frame.parent = nullptr;
    frame.kind = fork_kind::root;
    return self->run(frame);
}

void fork_worker::run_again(fork_frame& frame, context& line) noexcept {
    std::optional<fork_worker> alone;
    fork_worker* self = line.where().fork_worker_here();
    if (self == nullptr) self = &alone.emplace();
    fork_root& root = *frame.home->root;
    self->use_root(root);
    if (frame.stolen.read() == 0) self->take_stack(frame.home);
    if (self->run(frame)) root.line->post_at(root.awaiting, false);
}

void fork_worker::step_aside(fork_frame& frame) noexcept {
    if (stack_ == frame.home) leave_stack();  // else it was stolen since its last join, and this stack is empty
}

// --- Joins ---

// True when all have arrived: then the frame is the caller's. Else it may be gone on return.
bool fork_worker::all_arrived(fork_frame& frame) noexcept {
    const std::int32_t due = frame.stolen.read();
    // acq_rel: sees what the children wrote; lets the last of them see the frame as it is now.
    return frame.arrived.fetch_add(due, env::acq_rel) + due == 0;
}

bool fork_worker::arrive(fork_frame& parent) noexcept {
    if (stack_ == parent.home) leave_stack();  // invariant 2; before the decrement, which lets another take it
    // acq_rel: the last one sees what all others wrote, and the parent as it waits.
    return parent.arrived.fetch_sub(1, env::acq_rel) == 1;
}

void fork_worker::go_home(fork_frame& frame) noexcept {
    if (stack_ != frame.home) take_stack(frame.home);
    frame.stolen.write() = 0;
}

std::coroutine_handle<> fork_worker::join(fork_frame& frame) noexcept {
    if (!all_arrived(frame)) return std::noop_coroutine();
    go_home(frame);
    return frame.handle();
}

std::coroutine_handle<> fork_worker::after_orphan(fork_frame& parent) noexcept {
    if (!arrive(parent)) return std::noop_coroutine();
    go_home(parent);
    return parent.at_end ? end(parent) : parent.handle();
}

// The frame's body is at an end, and it is suspended there. What to go on with, or null.
std::coroutine_handle<> fork_worker::finish(fork_frame& frame) noexcept {
    if (frame.stolen.read() != 0) {
        frame.at_end = true;
        if (!all_arrived(frame)) return nullptr;
        go_home(frame);
    }
    if (frame.kind == fork_kind::root) {
        frame.at_end = true;
        root_ended_ = true;
        return nullptr;
    }
    fork_frame& parent = *frame.parent;
    if (frame.kind == fork_kind::called) {
        parent.callee_lingers = true;
        return parent.handle();
    }
    if (frame.failed()) {
        const unsigned char how = frame.failure_.load(env::relaxed);
        parent.fail(how, how == fork_frame::error ? frame.error_ : nullptr);
    }
    frame.handle().destroy();
    return after_child(parent);
}

}  // namespace leat::detail
