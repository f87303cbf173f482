// All schedules of the word of a process_event: who waits in a futex and at a bell, and resets that follow at once.
#include <gtest/gtest.h>

#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/process/process_event_word.hpp>
#include <memory>

namespace {

namespace explore = leat::explore;
namespace env = leat::env;
using explore::expect_right;
using leat::detail::process_event_word;
using waits = process_event_word::waits;

struct scene {
    process_event_word word;
    env::shared<int> written{0};
    env::atomic<std::uint32_t> bell{0};
    env::atomic<std::uint32_t> waiting{0};

    void set() {
        word.set([this] {
            bell.fetch_add(1);
            env::futex_wake(bell, 1 << 20);
        });
    }
    void until_one_waits() {
        while (waiting.load() == 0) env::futex_wait(waiting, 0);
    }
    void wait(waits how) {
        const std::uint64_t begun = word.now();
        waiting.store(1);
        env::futex_wake(waiting, 1 << 20);
        if (word.has_come(begun)) return;
        word.begin(how);
        for (;;) {
            const std::uint32_t rung = bell.load();
            const std::uint32_t ticket = word.ticket();
            if (word.has_come(begun)) break;
            if (how == waits::in_futex) word.sleep(ticket, leat::time_point::max());
            else env::futex_wait(bell, rung);
        }
        word.end(how);
    }
};

class process_event : public testing::TestWithParam<waits> {};

TEST_P(process_event, all_who_wait_see_what_was_done_before_it_was_set) {
    for (const explore::options& how :
         {explore::options{.preemption_bound = 3}, explore::options{.preemption_bound = 2, .stale = 1}})
        expect_right(explore::run(how, [way = GetParam()] {
            auto all = std::make_shared<scene>();
            for (const waits each : {way, waits::in_futex})
                explore::thread("waits", [all, each] {
                    all->wait(each);
                    explore::check(all->written.read() == 1, "it is seen");
                });
            explore::thread("sets", [all] {
                all->written.write() = 1;
                all->set();
            });
            explore::join_all();
        }));
}

TEST_P(process_event, who_began_to_wait_goes_on_when_it_is_reset_at_once) {
    expect_right(explore::run({.preemption_bound = 3}, [way = GetParam()] {
        auto all = std::make_shared<scene>();
        explore::thread("waits", [all, way] { all->wait(way); });
        explore::thread("sets", [all] {
            all->until_one_waits();
            all->set();
            all->word.reset();
        });
        explore::join_all();
        explore::check((all->word.now() & process_event_word::bit_set) == 0, "it was reset");
    }));
}

TEST_P(process_event, of_two_who_set_it_none_is_lost_in_a_reset) {
    expect_right(explore::run({.preemption_bound = 2}, [way = GetParam()] {
        auto all = std::make_shared<scene>();
        explore::thread("waits", [all, way] { all->wait(way); });
        explore::thread("sets and resets", [all] {
            all->until_one_waits();
            all->set();
            all->word.reset();
        });
        explore::thread("sets", [all] {
            all->until_one_waits();
            all->set();
        });
        explore::join_all();
    }));
}

INSTANTIATE_TEST_SUITE_P(each, process_event, testing::Values(waits::in_futex, waits::at_bell),
                         [](const auto& of) { return of.param == waits::in_futex ? "futex" : "bell"; });

}  // namespace
