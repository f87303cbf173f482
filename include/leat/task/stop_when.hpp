// stop_when: an operation that can be stopped by a source of its own, beside the task that awaits it.
#pragma once

#include <leat/task/arm.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

namespace detail {

// Passes the request of one source on to another.
class stop_link : public stop_callback {
public:
    stop_link(stop_source& from, stop_source& to) noexcept
        : stop_callback([](stop_callback& self) noexcept { static_cast<stop_link&>(self).to_.request_stop(); }),
          to_(to) {
        attach(from);
    }
    ~stop_link() { detach(); }

private:
    stop_source& to_;
};

}  // namespace detail

// Runs `operation`; asking `also` to stop stops it, as does stopping the awaiting task. Gives how it ended; never throws.
// `also` must outlive the operation.
template <class T>
task<outcome<T>> stop_when(task<T> operation, stop_source& also) {
    context& line = co_await this_task::line();
    child_stop_source both(line.stop());
    detail::stop_link link(also, both);
    lone_arm<T> body(line, std::move(operation));
    body.start(both);
    co_await body.arrived("stop_when");
    co_return body.take();
}

}  // namespace leat
