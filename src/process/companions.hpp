// companions: the tasks that feed and read one child while the line that started them waits for its end. Deaf to the stop
// requests that reach the line: a child is read as long as it runs, also while it is being ended.
//
// Invariant: join() is awaited before this is destroyed, on every path.
#pragma once

#include <array>
#include <optional>

#include <leat/task/arm.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

class companions : private timer {
public:
    explicit companions(context& line) noexcept : timer(&stop_them), line_(line) {}

    // Run `body` until it first waits, and then beside the line. At most four. Errors of a body are dropped.
    // One that reads the child: it may go on after the child's end, to read what is left.
    void add_reader(task<> body) { start(std::move(body), stop_readers_); }
    // One that has nothing to do once the child has ended.
    void add_helper(task<> body) { start(std::move(body), stop_helpers_); }

    // Waits for the end of all; helpers are stopped at once, readers that have not ended after `limit` then. Whether there
    // was such a reader.
    task<bool> join(duration limit) {
        executor& where = line_.where();
        stop_helpers_.request_stop();
        if (limit <= duration::zero()) {
            stop_them(*this);
        } else if (ends_.pending() != 0) {
            due = where.now() + limit;
            where.start(*this);
        }
        co_await all_arrived{ends_, "the end of a child's output"};
        where.cancel(*this);
        co_return stopped_.load(env::relaxed);  // relaxed: cancel() has synchronised with the firing
    }

private:
    struct one final : arm<void> {
        one(companions& owner, task<> body) noexcept
            : arm<void>(owner.line_, std::move(body), ends_with<&at_end>()), ends(owner.ends_) {}
        static void at_end(arm_base& self) noexcept { static_cast<one&>(self).ends.arrive(); }
        countdown& ends;
    };
    void start(task<> body, stop_source& stop) {
        one& fresh = arms_.at(count_).emplace(*this, std::move(body));
        ++count_;
        ends_.add();
        fresh.start(stop);
    }
    static void stop_them(timer& self) noexcept {
        auto& mine = static_cast<companions&>(self);
        mine.stopped_.store(true, env::relaxed);
        mine.stop_readers_.request_stop();
    }

    context& line_;
    countdown ends_{0};
    child_stop_source stop_helpers_;
    child_stop_source stop_readers_;
    env::atomic<bool> stopped_{false};  // false; true once readers were stopped
    std::array<std::optional<one>, 4> arms_;
    std::size_t count_ = 0;
};

}  // namespace leat
