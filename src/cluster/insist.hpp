// insist: a call of the engine, again and again while what it fails of may pass.
#pragma once

#include <algorithm>

#include <leat/cluster/broker.hpp>
#include <leat/task/this_task.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cluster {

// Growing pauses, each drawn between a half and the whole, so that many who wait for one thing do not come back together.
class pauses {
public:
    explicit pauses(duration first = std::chrono::milliseconds(10), duration longest = std::chrono::seconds(1)) noexcept
        : next_(first), longest_(longest) {}
    duration next(std::uint64_t random) noexcept {
        const duration whole = next_;
        next_ = std::min(next_ * 2, longest_);
        return whole / 2 +
               duration(static_cast<duration::rep>(random % static_cast<std::uint64_t>(whole.count() / 2 + 1)));
    }

private:
    duration next_;
    duration longest_;
};

// For a loop that asks an engine again which is away: who waits goes on within a second of its return.
class back_off {
public:
    // Waits, longer each time. Throws cancelled when stopped.
    task<> wait() {
        context& line = co_await this_task::line();
        const duration length = between_.next(line.where().random());
        co_await sleep_for(length);
    }
    void reset() noexcept { between_ = first(); }

private:
    static pauses first() noexcept { return pauses(std::chrono::milliseconds(20), std::chrono::milliseconds(500)); }
    pauses between_ = first();
};

// call() gives a task of a broker_result: each time the same question, with the same id where it has one. Gives up at an error
// that does not pass.
template <class Call>
auto insist(Call call) -> decltype(call()) {
    back_off pause;
    for (;;) {
        auto made = co_await call();
        if (made || !made.error().is_passing()) co_return made;
        co_await pause.wait();
    }
}

// Likewise, and when it has failed for so long: then what it gives is the last error.
template <class Call>
auto insist(duration patience, Call call) -> decltype(call()) {
    context& line = co_await this_task::line();
    const time_point start = line.where().now();
    pauses between;
    for (;;) {
        auto made = co_await call();
        if (made || !made.error().is_passing() || line.where().now() - start >= patience) co_return made;
        const duration pause = between.next(line.where().random());
        co_await sleep_for(pause);
    }
}

// Acknowledges what may as well be done twice, and does not wait for long: a server that was killed may have forgotten that it
// delivered the message, and then answers to nothing that is said about it, but delivers it again.
inline task<> acknowledge(broker& where, delivery what) {
    constexpr auto most = std::chrono::seconds(2);
    (void)co_await timeout(where.ack(std::move(what)), most).as_outcome();
}

}  // namespace leat::cluster
