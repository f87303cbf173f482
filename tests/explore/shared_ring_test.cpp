// All schedules of the two indices of a ring in shared memory: sends and receives that wait in a futex or for a bell, close, the
// arrival of a process, and announcements that were given up. The two processes are two threads here. What the ends do about
// their windows and waits is as in src/process/ring_side.cpp, on slots that the explorer watches.
#include <gtest/gtest.h>

#include <array>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/process/ring_core.hpp>
#include <memory>
#include <vector>

namespace {

namespace explore = leat::explore;
namespace env = leat::env;
using explore::all_schedules;
using explore::expect_right;
using leat::detail::ring_index;
using leat::detail::ring_sleep;
using move_result = ring_index::move_result;

const explore::options stale_loads{.preemption_bound = 2, .stale = 1};

// What an eventfd is: a number, and who waits until it is not 0.
class bell {
public:
    void ring() noexcept {
        rung_.fetch_add(1);
        env::futex_wake(rung_, 1);
    }
    void wait() noexcept {
        while (rung_.load() == 0) env::futex_wait(rung_, 0);
        rung_.store(0);
    }

private:
    env::atomic<std::uint32_t> rung_{0};
};

struct setting {
    std::uint64_t capacity;
    ring_sleep how;
};

struct ring {
    explicit ring(setting of) : capacity(of.capacity), how(of.how) {}
    const std::uint64_t capacity;
    const ring_sleep how;
    ring_index tail;
    ring_index head;
    bell of_sender;
    bell of_receiver;
    std::array<env::shared<int>, 4> slots;
};

class side {
public:
    side(ring& of, bool sends)
        : all_(of),
          sends_(sends),
          mine_(sends ? of.tail : of.head),
          theirs_(sends ? of.head : of.tail),
          base_(sends ? std::uint64_t{0} - of.capacity : 0) {}

    auto their_bell() {
        return [this] { (sends_ ? all_.of_receiver : all_.of_sender).ring(); };
    }

    // False when the ring has ended.
    bool send(int value) {
        if (!wait(1)) return false;
        place().write() = value;
        return pass_on();
    }
    // 0 when the ring has ended, and is empty.
    int receive() {
        if (!wait(1)) return 0;
        const int value = place().read();
        explore::check(pass_on(), "a receiver gives back what it has read");
        return value;
    }
    // Announces a wait and does not sleep, as one that was cancelled.
    void give_up_a_wait() {
        std::uint32_t ticket = 0;
        (void)theirs_.announce(base_ + 1, all_.how, ticket);
    }
    void close() {
        all_.tail.end([this] { all_.of_receiver.ring(); });
        all_.head.end([this] { all_.of_sender.ring(); });
    }
    void arrive() { mine_.nudge(their_bell()); }
    // Sleeps until `holds()`, or there is a message.
    template <class Condition>
    void wait_until(Condition holds) {
        while (!holds()) {
            std::uint32_t ticket = 0;
            if (!theirs_.announce(base_ + 1, all_.how, ticket)) return;
            if (holds()) return;
            sleep(ticket);
        }
    }

private:
    env::shared<int>& place() { return all_.slots.at(position_ % all_.capacity); }
    bool pass_on() {
        const auto how = sends_ ? mine_.move(position_, position_ + 1, their_bell())
                                : mine_.move_to_the_end(position_, position_ + 1, their_bell());
        explore::check(how != move_result::damaged, "nobody damages it");
        if (how != move_result::moved) return false;
        ++position_;
        ++base_;
        return true;
    }
    bool has(std::uint64_t count) {
        if (seen_ - base_ < count) {
            const ring_index::sight now = theirs_.look();
            seen_ = now.position;
            ended_ = now.ended;
            explore::check(seen_ - base_ <= all_.capacity, "the window is not larger than the ring");
        }
        return seen_ - base_ >= count;
    }
    void sleep(std::uint32_t ticket) {
        if (all_.how == ring_sleep::at_bell) (sends_ ? all_.of_sender : all_.of_receiver).wait();
        else (void)theirs_.sleep(ticket, leat::time_point::max());
    }
    bool wait(std::uint64_t count) {
        for (;;) {
            if (has(count)) return true;
            if (ended_) return false;
            std::uint32_t ticket = 0;
            if (theirs_.announce(base_ + count, all_.how, ticket)) sleep(ticket);
        }
    }

    ring& all_;
    const bool sends_;
    ring_index& mine_;
    ring_index& theirs_;
    std::uint64_t position_ = 0;
    std::uint64_t base_;
    std::uint64_t seen_ = 0;
    bool ended_ = false;
};

struct scene : ring {
    explicit scene(setting of) : ring(of), sender(*this, true), receiver(*this, false) {}
    side sender;
    side receiver;
};

class shared_ring : public testing::TestWithParam<setting> {};

TEST_P(shared_ring, everything_sent_is_received_in_order_and_then_the_receiver_ends) {
    for (const explore::options& how : {explore::options{.preemption_bound = 3}, stale_loads})
        expect_right(explore::run(how, [of = GetParam()] {
            auto all = std::make_shared<scene>(of);
            explore::thread("sender", [all] {
                for (int value = 1; value <= 3; ++value)
                    explore::check(all->sender.send(value), "nobody has closed it");
                all->sender.close();
            });
            explore::thread("receiver", [all] {
                std::vector<int> got;
                while (const int value = all->receiver.receive()) got.push_back(value);
                explore::check(got == std::vector{1, 2, 3}, "in order, none lost, none twice");
            });
            explore::join_all();
        }));
}

TEST_P(shared_ring, one_message_meets_its_receiver_in_every_schedule) {
    expect_right(explore::run({.spurious = 1, .reduce = true}, [of = GetParam()] {
        auto all = std::make_shared<scene>(of);
        explore::thread("sender", [all] { explore::check(all->sender.send(7), "nobody has closed it"); });
        explore::thread("receiver", [all] { explore::check(all->receiver.receive() == 7, "it comes"); });
        explore::join_all();
    }));
}

TEST_P(shared_ring, a_closed_ring_wakes_its_sender_and_each_message_is_received_or_refused) {
    for (const explore::options& how : {explore::options{.preemption_bound = 3}, stale_loads})
        expect_right(explore::run(how, [of = GetParam()] {
            auto all = std::make_shared<scene>(of);
            auto sent = std::make_shared<int>(0);
            explore::thread("sender", [all, sent] {
                while (*sent < 3 && all->sender.send(*sent + 1)) ++*sent;
            });
            explore::thread("receiver", [all] { all->receiver.close(); });
            explore::join_all();
            int received = 0;
            while (const int value = all->receiver.receive()) explore::check(value == ++received, "in order");
            explore::check(received == *sent, "what was sent is inside, what was refused is not");
        }));
}

TEST_P(shared_ring, a_close_by_another_thread_of_the_own_side_ends_a_wait) {
    expect_right(explore::run(all_schedules, [of = GetParam()] {
        auto all = std::make_shared<scene>(of);
        explore::thread("receiver", [all] { explore::check(all->receiver.receive() == 0, "nothing was sent"); });
        explore::thread("closer", [all] { all->receiver.close(); });
        explore::join_all();
    }));
}

TEST_P(shared_ring, an_announcement_that_was_given_up_does_no_harm) {
    for (const explore::options& how : {explore::options{.preemption_bound = 3}, stale_loads})
        expect_right(explore::run(how, [of = GetParam()] {
            auto all = std::make_shared<scene>(of);
            explore::thread("sender", [all] {
                for (int value = 1; value <= 2; ++value)
                    explore::check(all->sender.send(value), "nobody has closed it");
            });
            explore::thread("receiver", [all] {
                all->receiver.give_up_a_wait();
                explore::check(all->receiver.receive() == 1, "the first");
                all->receiver.give_up_a_wait();
                explore::check(all->receiver.receive() == 2, "the second");
            });
            explore::join_all();
        }));
}

TEST_P(shared_ring, who_sleeps_learns_of_a_process_that_comes) {
    for (const explore::options& how : {all_schedules, stale_loads})
        expect_right(explore::run(how, [of = GetParam()] {
            struct with_place : scene {
                using scene::scene;
                env::atomic<int> place{0};
                env::shared<int> of_the_new_one{0};
            };
            auto all = std::make_shared<with_place>(of);
            explore::thread("sender", [all] {
                all->of_the_new_one.write() = 5;
                all->place.store(1, env::release);
                all->sender.arrive();
            });
            explore::thread("receiver", [all] {
                all->receiver.wait_until([all] { return all->place.load(env::acquire) != 0; });
                explore::check(all->of_the_new_one.read() == 5, "it came whole");
            });
            explore::join_all();
        }));
}

TEST_P(shared_ring, an_index_that_another_has_moved_is_damage) {
    ring_index index;
    const auto no_bell = [] {};
    EXPECT_EQ(index.move(0, 1, no_bell), move_result::moved);
    EXPECT_EQ(index.move(0, 1, no_bell), move_result::damaged);
    index.end(no_bell);
    EXPECT_EQ(index.move(1, 2, no_bell), move_result::ended);
    EXPECT_EQ(index.look().position, 1U);
    EXPECT_EQ(index.move_to_the_end(1, 2, no_bell), move_result::moved);
    EXPECT_TRUE(index.look().ended);
    EXPECT_EQ(index.look().position, 2U);
}

INSTANTIATE_TEST_SUITE_P(each, shared_ring,
                         testing::Values(setting{1, ring_sleep::in_futex}, setting{2, ring_sleep::in_futex},
                                         setting{1, ring_sleep::at_bell}, setting{2, ring_sleep::at_bell}),
                         [](const auto& of) {
                             return (of.param.how == ring_sleep::in_futex ? std::string("futex_")
                                                                          : std::string("bell_")) +
                                    std::to_string(of.param.capacity);
                         });

}  // namespace
