// All schedules of senders that take turns at one index of a ring in shared memory (src/process/ring_side.cpp): the turn is a
// process_lock_word, the index that of ring_core.hpp. The processes are threads here; a death is the end of a thread that neither
// calls nor gives its turn back, and who waits for the turn is called once to look, as the 50 ms do.
#include <gtest/gtest.h>

#include <array>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/process/process_lock_word.hpp>
#include <leat/process/ring_core.hpp>
#include <memory>

namespace {

namespace explore = leat::explore;
namespace env = leat::env;
using explore::expect_right;
using leat::detail::process_lock_word;
using leat::detail::ring_index;
using leat::detail::ring_sleep;
using waits = process_lock_word::waits;

const explore::options many_schedules{.preemption_bound = 2};
const explore::options stale_loads{.preemption_bound = 2, .stale = 1};

// An eventfd: a number, and who waits until it is not 0.
struct bell {
    env::atomic<std::uint32_t> rung{0};
    void ring() noexcept {
        rung.fetch_add(1);
        env::futex_wake(rung, 1 << 20);
    }
    void wait() noexcept {
        while (rung.load() == 0) env::futex_wait(rung, 0);
        rung.store(0);
    }
};

struct scene {
    scene(std::uint64_t room, ring_sleep way) : capacity(room), how(way) {}
    const std::uint64_t capacity;
    const ring_sleep how;
    ring_index tail;
    ring_index head;
    process_lock_word turn;
    bell of_senders;
    bell of_receiver;
    env::atomic<std::uint64_t> dead{0};
    std::array<env::shared<int>, 4> slots;

    auto call_receiver() {
        return [this] { of_receiver.ring(); };
    }
    // The bell of the turn is left out: these senders are plain threads.
    static auto no_bell() {
        return [] {};
    }

    // --- Senders ---

    bool take_turn(std::uint64_t me) {
        if (turn.take(me)) return true;
        const std::uint64_t holder = turn.owner();
        if (holder == 0 || holder != dead.load()) return false;
        if (!turn.inherit(holder, me)) return false;
        tail.call_again(call_receiver());
        return true;
    }
    void wait_for_turn(std::uint64_t me) {
        if (take_turn(me)) return;
        turn.begin(waits::in_futex);
        for (;;) {
            const std::uint32_t ticket = turn.ticket();
            if (take_turn(me)) break;
            turn.sleep(ticket, leat::time_point::max());
        }
        turn.end(waits::in_futex);
    }
    // Where the next message goes, once there is room.
    std::uint64_t wait_for_room() {
        const std::uint64_t position = tail.look().position;
        for (;;) {
            const auto seen = head.look();
            explore::check(position - seen.position <= capacity, "the window is not larger than the ring");
            if (position - seen.position < capacity) return position;
            std::uint32_t ticket = 0;
            if (!head.announce(position - capacity + 1, how, ticket)) continue;
            if (how == ring_sleep::at_bell) of_senders.wait();
            else (void)head.sleep(ticket, leat::time_point::max());
        }
    }
    void send(std::uint64_t me, int value) {
        wait_for_turn(me);
        const std::uint64_t position = wait_for_room();
        slots.at(position % capacity).write() = value;
        explore::check(tail.move(position, position + 1, call_receiver()) == ring_index::move_result::moved,
                       "nobody moves it out of turn");
        turn.give(no_bell());
    }
    // In its turn: before it has moved the index, or after that, before it has called.
    void die(std::uint64_t me, bool has_sent, int value) {
        const std::uint64_t position = wait_for_room();
        slots.at(position % capacity).write() = value;
        if (has_sent) (void)tail.move(position, position + 1, no_bell());
        dead.store(me);
        turn.call(no_bell());  // for the look after 50 ms
    }

    // --- The receiver ---

    std::uint64_t received = 0;
    int receive() {
        for (;;) {
            if (tail.look().position != received) break;
            std::uint32_t ticket = 0;
            if (!tail.announce(received + 1, how, ticket)) continue;
            if (how == ring_sleep::at_bell) of_receiver.wait();
            else (void)tail.sleep(ticket, leat::time_point::max());
        }
        const int value = slots.at(received % capacity).read();
        explore::check(head.move_to_the_end(received, received + 1, [this] { of_senders.ring(); }) ==
                           ring_index::move_result::moved,
                       "nobody else moves it");
        ++received;
        return value;
    }
};

class shared_ring_of_many : public testing::TestWithParam<ring_sleep> {};

TEST_P(shared_ring_of_many, each_message_is_received_once_and_those_of_a_sender_in_order) {
    for (const std::uint64_t capacity : {1U, 2U})
        for (const explore::options& options : {many_schedules, stale_loads})
            expect_right(explore::run(options, [capacity, how = GetParam()] {
                auto all = std::make_shared<scene>(capacity, how);
                explore::thread("first", [all] {
                    all->send(1, 11);
                    all->send(1, 12);
                });
                explore::thread("second", [all] { all->send(2, 20); });
                explore::thread("receiver", [all] {
                    int next = 11;
                    bool second_came = false;
                    for (int i = 0; i < 3; ++i) {
                        const int value = all->receive();
                        if (value == 20) {
                            explore::check(!second_came, "once");
                            second_came = true;
                        } else {
                            explore::check(value == next++, "in order");
                        }
                    }
                });
                explore::join_all();
            }));
}

TEST_P(shared_ring_of_many, who_takes_over_from_a_dead_one_calls_for_it_and_what_was_not_sent_was_never_there) {
    for (const bool has_sent : {false, true}) {
        if (has_sent && GetParam() != ring_sleep::at_bell) continue;  // its call of the futex cannot be left out here
        for (const explore::options& options : {many_schedules, stale_loads})
            expect_right(explore::run(options, [has_sent, how = GetParam()] {
                auto all = std::make_shared<scene>(2, how);
                explore::check(all->take_turn(1), "it is free");  // so that somebody takes it over
                explore::thread("dies", [all, has_sent] { all->die(1, has_sent, 10); });
                explore::thread("lives", [all] { all->send(2, 20); });
                explore::thread("receiver", [all, has_sent] {
                    int sum = 0;
                    for (int i = 0; i < (has_sent ? 2 : 1); ++i) sum += all->receive();
                    explore::check(sum == (has_sent ? 30 : 20), "what was sent, and no more");
                });
                explore::join_all();
            }));
    }
}

INSTANTIATE_TEST_SUITE_P(each, shared_ring_of_many, testing::Values(ring_sleep::in_futex, ring_sleep::at_bell),
                         [](const auto& of) { return of.param == ring_sleep::in_futex ? "futex" : "bell"; });

}  // namespace
