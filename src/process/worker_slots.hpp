// worker_slots: who holds which item in a persistent_pool. Bookkeeping alone: no process, no waiting; under the pool's lock.
//
// Invariants:
//  1. An item is in one place: a queue, or one slot's `assigned` (not yet given to the pipe) or `sent`.
//  2. A slot holds at most `window` messages, or one item; one that is exclusive holds one item.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <leat/base/env.hpp>
#include <leat/process/persistent_pool.hpp>
#include <leat/sync/semaphore.hpp>

namespace leat {

// What a call is to throw. Plain data, so that each call makes an exception of its own.
struct worker_failure {
    worker_failed::reason why;
    std::string message;
    std::optional<exit_status> status;
    std::string err;
    worker_failure(worker_failed::reason reason, std::string text) : why(reason), message(std::move(text)) {}
    [[nodiscard]] worker_failed error() const { return {why, message, status, err}; }
    [[noreturn]] void raise() const { throw error(); }
};

// A call under way: of one message, or of many that go to one worker together. Shared by the call, which may leave early, and
// whoever holds the item.
struct pool_item {
    pool_item(std::string given, bool by_itself) noexcept : text(std::move(given)), alone(by_itself) {}
    pool_item(std::string messages, std::size_t how_many) noexcept
        : text(std::move(messages)), many(true), count(how_many) {}
    std::string text;  // the message, or, of many, what the worker is to read
    bool alone = false;
    const bool many = false;
    const std::size_t count = 1;  // of its messages
    std::size_t settled = 0;      // so many of them were answered or have failed, the first ones
    std::size_t begin = 0;        // where what its worker was sent begins in the text …
    std::size_t begin_count = 0;  // … with so many messages in front of it
    std::uint64_t offset = 0;     // and in what its worker was sent
    bool abandoned = false;       // the call has left; under the pool's lock
    // These are written before `done` is released. Of many, under the pool's lock: the answers with their marks, and what has
    // failed, of those settled that the call has not taken yet.
    std::string answer;
    std::vector<many_failure> failures;
    std::optional<worker_failure> error;
    semaphore done{0};

    [[nodiscard]] std::size_t left() const noexcept { return count - settled; }
};
using pool_item_ptr = std::shared_ptr<pool_item>;

// The place of one worker: with a process, or about to have one.
struct worker_slot {
    std::deque<pool_item_ptr> assigned;
    std::deque<pool_item_ptr> sent;
    bool live = false;       // its process runs
    bool resting = false;    // takes nothing: it is ending, or waits before it tries again
    bool exclusive = false;  // holds an item that is alone
    bool kept_free = false;  // for an item that is to be alone
    bool rung = false;       // the bell was released, and not yet heard
    int pid = 0;
    time_point oldest_since{};  // when sent.front() became the oldest
    semaphore bell{0};          // there may be something to do

    std::size_t messages = 0;  // not settled of what it holds

    [[nodiscard]] std::size_t load() const noexcept { return messages; }
};

class worker_slots {
public:
    worker_slots(unsigned count, unsigned window);

    // At the end of its queue, or at the front in the order given.
    void add(pool_item_ptr item);
    void put_back(std::deque<pool_item_ptr>& items);
    void set_window(unsigned window) noexcept { window_ = window; }
    // Takes an item that no slot holds out of its queue. False when it is in none.
    bool withdraw(const pool_item_ptr& item);
    // All that are in queues.
    std::deque<pool_item_ptr> take_queued();

    // Gives queued items to slots with room, the emptiest first, and rings those.
    void dispatch();
    // Tells the task of a slot that there may be something to do. It is posted, not resumed.
    static void ring(worker_slot& which) noexcept;
    void ring_all() noexcept;

    [[nodiscard]] bool nothing_queued() const noexcept { return queue_.empty() && alone_.empty(); }
    [[nodiscard]] std::vector<std::unique_ptr<worker_slot>>& all() noexcept { return slots_; }

private:
    worker_slot* emptiest(std::size_t room) noexcept;

    unsigned window_;
    std::vector<std::unique_ptr<worker_slot>> slots_;
    std::deque<pool_item_ptr> queue_;
    std::deque<pool_item_ptr> alone_;
};

}  // namespace leat
