// lease: one holder at a time over a key of a bucket: the coordinator of a flow, say. The key has the owner and an epoch, which
// grows with each holder, so that who keeps something by it refuses writes of an epoch that is over (a fence).
//
//   lease mine(link, {.bucket = "flow-licences", .key = "coordinator", .owner = "host7, process 4711"});
//   co_await mine.take();                         // waits while another holds it
//   co_await mine.hold(coordinate(mine.epoch())); // renews it meanwhile; stops that and throws lease_lost when it is lost
//   co_await mine.release();                      // the next need not wait until it is over
//
// No clocks are compared. Who waits takes the lease over when it has seen no change of the key for `lasts`, by its own clock,
// and by an update of the revision that it saw. Who holds it believes so until `lasts` less a margin, counted from when the
// last renewal that took effect was sent: earlier than anybody can have begun to count. The margin (a fifth) is for clocks
// that run at different rates, and for the time that stopping takes; what takes longer is what the epoch is for.
//
// Invariants:
//  1. Of an epoch there is one holder: it comes into the key by one update of a revision, and only grows.
//  2. A renewal without an answer may have happened: that it did counts only when the key says so, and then from when the
//     first such was sent.
#pragma once

#include <stdexcept>
#include <utility>

#include <leat/cluster/broker.hpp>
#include <leat/sync/event.hpp>
#include <leat/task/when_any.hpp>

namespace leat::cluster {

struct lease_options {
    std::string bucket;  // one whose keys have no age
    std::string key = "lease";
    std::string owner;  // for people
    std::chrono::nanoseconds lasts = std::chrono::seconds(10);
    std::chrono::nanoseconds renewed_every = std::chrono::seconds(3);
};

// What the key says: who held it last.
struct lease_record {
    std::uint64_t epoch = 0;
    std::string owner;   // empty: it was released
    std::string holder;  // tells two of the same owner apart
    std::uint64_t revision = 0;
};

class lease_lost : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

class lease {
public:
    // The connection outlives it.
    lease(broker& link, lease_options options);
    lease(const lease&) = delete;
    lease& operator=(const lease&) = delete;

    // Waits until it is held; gives the epoch. What passes (broker_error::is_passing) is waited for, other errors are given.
    // Throws cancelled when stopped: it may be held then until it is over. Not while it is held; again after it was lost.
    task<broker_result<std::uint64_t>> take();
    // Renews it until it is lost, and says why. By one task, after take(). Throws cancelled when stopped; then it is still held,
    // until its time is over.
    task<broker_error> keep();
    // Runs `body` beside keep(): gives its value; when the lease is lost first, stops it, waits for it, and throws lease_lost.
    template <class T>
    task<T> hold(task<T> body) {
        auto first = co_await when_any(with_value(std::move(body)), keep_or_throw());
        if constexpr (!std::is_void_v<T>) co_return std::get<0>(std::move(first));
    }
    // Gives it up, so that the next need not wait. It counts as lost from here on, whether the server hears of it or not.
    // Nothing where it is not held.
    task<broker_result<done>> release();

    // Whether it is held, by the clock of who asks: also true when keep() comes late to see that it is not. Any thread.
    [[nodiscard]] bool is_held_at(time_point now) const noexcept {
        return now.time_since_epoch().count() < believed_.load(env::acquire);
    }
    [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_; }
    // Set when keep() has found it lost, until it is taken again.
    [[nodiscard]] event& lost() noexcept { return lost_; }
    // Who held it when take() looked last; for those who tell why they wait. By the task that runs take().
    [[nodiscard]] const lease_record& seen() const noexcept { return seen_; }

    // What the key says; not_found: nobody ever held it.
    static task<broker_result<lease_record>> look(broker& link, std::string bucket, std::string key);

private:
    // Tasks that give something, since when_any tells nothing of the errors of others.
    template <class T>
    static task<leat::detail::value_or_unit<T>> with_value(task<T> body) {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(body);
            co_return std::monostate();
        } else {
            co_return co_await std::move(body);
        }
    }
    task<std::monostate> keep_or_throw();
    task<broker_result<entry>> get_in_time(time_point until);
    task<broker_result<std::uint64_t>> update_in_time(std::string value, std::uint64_t revision, time_point until);
    task<std::optional<broker_error>> adopt();
    [[nodiscard]] bool is_mine(const lease_record& what) const;
    void believe(time_point sent) noexcept;
    [[nodiscard]] time_point believed() const noexcept { return time_point(duration(believed_.load(env::acquire))); }

    broker& link_;
    lease_options options_;
    std::string holder_;  // drawn at the first take()
    lease_record seen_;
    std::uint64_t epoch_ = 0;
    std::uint64_t revision_ = 0;
    std::optional<time_point> unanswered_;  // when the first renewal of this revision was sent that had no answer
    // Until when it counts as held, of the clock's ticks; min(): not at all. release pairs with the acquire of readers.
    env::atomic<duration::rep> believed_;
    event lost_;
};

}  // namespace leat::cluster
