// Question: what does it cost to set a timer and to cancel it before it fires, as nearly every timeout does, and does that
// grow with the number of timers that are pending?
//
// Peer: boost::asio::steady_timer, a binary heap: expires_after and async_wait set it, cancel() cancels it, and poll() runs
// the handlers, since each cancelled wait owes one. Ours is the same from inside a task of the pool, through the executor.
// Not measured: timers that fire, several threads at once, a task's whole timeout() with its frame.
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <random>
#include <vector>

#include <leat/leat.hpp>
#include <support/bench.hpp>

namespace {

using namespace std::chrono_literals;

// The same times for both sides: so long that none fires.
std::vector<leat::duration> times(std::uint64_t count) {
    std::mt19937_64 random(1987);
    std::vector<leat::duration> all(count);
    for (auto& each : all) each = 10min + leat::duration(random() % 3'600'000'000'000);
    return all;
}

std::vector<std::uint32_t> order_of(std::uint64_t count, bool shuffled) {
    std::vector<std::uint32_t> all(count);
    for (std::uint32_t i = 0; i < count; ++i) all[i] = i;
    if (shuffled) std::shuffle(all.begin(), all.end(), std::mt19937_64(1));
    return all;
}

struct alarm final : leat::timer {
    alarm() noexcept : timer([](timer& self) noexcept { static_cast<alarm&>(self).rang = true; }) {}
    bool rang = false;
};

// So many timers that wait while others are set and cancelled. Each is in its own allocation, as in tasks' frames.
class ours {
public:
    ours(leat::runtime& where, std::uint64_t pending) : where_(where), pending_(pending) {
        const auto after = times(pending);
        where_.run([](ours& self, const std::vector<leat::duration>& until) -> leat::task<> {
            for (std::size_t i = 0; i < until.size(); ++i) {
                self.pending_[i] = std::make_unique<alarm>();
                self.set(*self.pending_[i], until[i]);
            }
            co_return;
        }(*this, after));
    }
    ours(const ours&) = delete;
    ours& operator=(const ours&) = delete;
    ~ours() {
        for (auto& each : pending_) where_.cancel(*each);
    }

    // Sets and cancels one at a time.
    std::uint64_t set_and_cancel(const std::vector<leat::duration>& until) {
        return where_.run([](ours& self, const std::vector<leat::duration>& after) -> leat::task<std::uint64_t> {
            std::uint64_t cancelled = 0;
            alarm one;
            for (const leat::duration each : after) {
                self.set(one, each);
                self.where_.cancel(one);
                cancelled += one.rang ? 0 : 1;
            }
            co_return cancelled;
        }(*this, until));
    }
    // Cancels each of those that wait, in the order given, and sets it anew.
    std::uint64_t reset(const std::vector<std::uint32_t>& order, const std::vector<leat::duration>& until) {
        return where_.run([](ours& self, const std::vector<std::uint32_t>& by,
                             const std::vector<leat::duration>& after) -> leat::task<std::uint64_t> {
            std::uint64_t cancelled = 0;
            for (const std::uint32_t each : by) {
                alarm& one = *self.pending_[each];
                self.where_.cancel(one);
                cancelled += one.rang ? 0 : 1;
                self.set(one, after[each]);
            }
            co_return cancelled;
        }(*this, order, until));
    }

private:
    void set(alarm& which, leat::duration after) {
        which.due = where_.now() + after;
        where_.start(which);
    }
    leat::runtime& where_;
    std::vector<std::unique_ptr<alarm>> pending_;
};

class theirs {
public:
    explicit theirs(std::uint64_t pending) {
        pending_.reserve(pending);
        for (const leat::duration each : times(pending)) {
            pending_.push_back(std::make_unique<boost::asio::steady_timer>(loop_));
            set(*pending_.back(), each);
        }
    }

    std::uint64_t set_and_cancel(const std::vector<leat::duration>& until) {
        cancelled_ = 0;
        boost::asio::steady_timer one(loop_);
        for (const leat::duration each : until) {
            set(one, each);
            one.cancel();
            loop_.poll();
        }
        return cancelled_;
    }
    std::uint64_t reset(const std::vector<std::uint32_t>& order, const std::vector<leat::duration>& until) {
        cancelled_ = 0;
        for (const std::uint32_t each : order) {
            set(*pending_[each], until[each]);  // which cancels the wait that is under way
            loop_.poll();
        }
        return cancelled_;
    }

private:
    void set(boost::asio::steady_timer& which, leat::duration after) {
        which.expires_after(after);
        which.async_wait([this](const boost::system::error_code& end) {
            cancelled_ += end == boost::asio::error::operation_aborted;
        });
    }
    boost::asio::io_context loop_{1};
    std::uint64_t cancelled_ = 0;
    std::vector<std::unique_ptr<boost::asio::steady_timer>> pending_;
};

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "timer");
    const auto pool = leat::make_runtime(leat::run_options(2));
    const std::uint64_t rounds = bench.size(1'000'000, 1'000);
    const auto until = times(rounds);
    for (const std::uint64_t pending : {std::uint64_t{10}, bench.size(1'000'000, 1'000)}) {
        const bool few = pending == 10;
        const auto mine = std::make_unique<ours>(*pool, pending);
        const auto peer = std::make_unique<theirs>(pending);
        bench.compare(few ? "set and cancel, 10 pending" : "set and cancel, a million pending", "asio steady_timer",
                      "ns/timer", bench::per_unit(rounds, [&] { return mine->set_and_cancel(until); }),
                      bench::per_unit(rounds, [&] { return peer->set_and_cancel(until); }));
        if (few) continue;
        const auto anew = times(pending);
        // In the order in which they were set, as timeouts of one length are, and in one that defeats the caches.
        for (const bool shuffled : {false, true}) {
            const auto order = order_of(pending, shuffled);
            bench.compare(
                shuffled ? "cancel any of a million and set it anew" : "cancel the oldest of a million and set it anew",
                "asio steady_timer", "ns/timer", bench::per_unit(pending, [&] { return mine->reset(order, anew); }),
                bench::per_unit(pending, [&] { return peer->reset(order, anew); }), 5);
        }
    }
    return bench.exit_code();
}
