// The Asio context as the poller of an executor. An interrupt is io_context::stop(): it ends the run under way or else the
// next one, so there is no gap to fall into; whoever takes it back (restart) then looks at what was brought beside.
#include <leat/io/service.hpp>

#include <optional>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

namespace leat::io {

struct service::state {
    // 1: one thread at a time runs it. Its locks stay, since others start operations.
    boost::asio::io_context context{1};
    // Without work a run would return at once.
    std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work{
        context.get_executor()};
};

service::service(executor&) : state_(std::make_unique<state>()) {}

service::~service() = default;

service& service::of(executor& where) {
    auto& self = where.attached<service>();
    // Here and not in the constructor: of two that are made at once, one is thrown away.
    // acq_rel: nothing but the flag itself is handed over, whoever is first connects.
    if (!self.connected_.load(env::acquire) && !self.connected_.exchange(true, env::acq_rel)) where.host().use(self);
    return self;
}

boost::asio::io_context& service::context() noexcept { return state_->context; }

void service::run_beside_handlers(work_item& item) noexcept {
    beside_.push(item);
    interrupt();
}

void service::wait(time_point deadline) noexcept {
    if (deadline == time_point::max()) state_->context.run_one();
    else state_->context.run_one_until(deadline);
    run_what_is_ready();
}

bool service::poll() noexcept { return run_what_is_ready(); }

void service::interrupt() noexcept { state_->context.stop(); }

bool service::has_nothing_pending() noexcept {
    if (!beside_.empty()) return false;
    // Without our own work the context is out of work, and stops, when no operation is pending.
    state_->work.reset();
    (void)state_->context.poll();
    const bool out_of_work = state_->context.stopped();
    state_->work.emplace(state_->context.get_executor());
    if (out_of_work) state_->context.restart();
    return out_of_work && beside_.empty();
}

bool service::run_what_is_ready() noexcept {
    boost::asio::io_context& events = state_->context;
    // First this, then the inbox: what came with the interrupt that is taken back here is seen.
    if (events.stopped()) events.restart();
    bool any = false;
    while (work_item* const item = beside_.pop()) {
        item->run(*item);
        any = true;
    }
    return events.poll() != 0 || any;
}

}  // namespace leat::io
