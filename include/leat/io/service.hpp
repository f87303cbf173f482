// service: the I/O of one executor: an Asio context in which the executor's idle threads park. Found by those who start
// operations, through service::of(); everybody else uses pipes, descriptors and signals, or asio.hpp.
//
// Invariants:
//  1. One thread at a time runs handlers (the executor sees to that); operations are started from any thread.
//  2. An operation that was started has its handler called before the task that waits for it goes on, so nothing is pending
//     when the executor ends.
#pragma once

#include <memory>

#include <leat/runtime/inbox.hpp>
#include <leat/task/executor.hpp>

namespace boost::asio {
class io_context;
}

namespace leat::io {

class service final : public attachment, private poller {
public:
    // The service of `where`, made at the first call. Any thread. A bug for executors that have no I/O.
    static service& of(executor& where);

    // The Asio context, for what makes I/O objects on it. It is run by the executor and by nobody else.
    [[nodiscard]] boost::asio::io_context& context() noexcept;

    // Runs `item` soon on the thread that runs handlers, so never beside one. Any thread. Does not allocate.
    void run_beside_handlers(work_item& item) noexcept;

    explicit service(executor& where);  // for executor::attached()
    ~service() override;

private:
    void wait(time_point deadline) noexcept override;
    bool poll() noexcept override;
    void interrupt() noexcept override;
    bool has_nothing_pending() noexcept override;
    bool run_what_is_ready() noexcept;

    struct state;
    std::unique_ptr<state> state_;
    inbox beside_;
    env::atomic<bool> connected_{false};  // false; true once the executor was told to park here
};

}  // namespace leat::io
