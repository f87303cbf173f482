// Channels under scripts that RapidCheck draws, and makes smaller when one fails: several tasks that send and receive in all
// ways, are stopped, resize, close and abort, on the simulated runtime. The same script is always the same run.
//
// Each value is received once or comes back to its sender, or is dropped and counted as that; each receiver finds those of
// each sender in order; no more is inside than the bounds allow.
#include <leat/channel/channel.hpp>

#include <array>
#include <core.hpp>
#include <map>
#include <ostream>
#include <rapidcheck.h>
#include <set>
#include <soak.hpp>
#include <sstream>
#include <string>
#include <vector>

#include <leat/channel/priority_channel.hpp>
#include <leat/channel/select.hpp>
#include <leat/channel/spsc_channel.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::task;
using namespace std::chrono_literals;

// --- Scripts ---

// The simplest first: a script is made smaller towards them.
enum class sending { yields, sleeps, tries, sends, sends_in_time, sends_many, sends_for, selects, reserves, count };
enum class receiving { yields, sleeps, tries, receives, receives_in_time, receives_many, receives_for, selects, count };
enum class ruling { waits, resizes, stops_a_sender, stops_a_receiver, closes, aborts, count };

template <class What>
struct step {
    What what{};
    int size = 0;  // of a batch, a pause, a bound; or who
};
constexpr int sizes = 8;
constexpr int tasks = 3;  // of either side, at most

struct script {
    unsigned seed = 1;  // of the order
    int items = 0;
    int bytes = 1;
    leat::overflow policy = leat::overflow::wait;
    std::vector<std::vector<step<sending>>> senders;
    std::vector<std::vector<step<receiving>>> receivers;
    std::vector<step<ruling>> ruler;
};

template <class What>
std::ostream& operator<<(std::ostream& out, const step<What>& one) {
    static constexpr const char* of_sender[] = {"yield",     "sleep",    "try_send", "send",   "timeout(send)",
                                                "send_many", "send_for", "select",   "reserve"};
    static constexpr const char* of_receiver[] = {"yield",         "sleep",     "try_recv", "recv",
                                                  "timeout(recv)", "recv_many", "recv_for", "select"};
    static constexpr const char* of_ruler[] = {"wait", "set_bounds", "stop sender", "stop receiver", "close", "abort"};
    const auto at = static_cast<std::size_t>(one.what);
    if constexpr (std::is_same_v<What, sending>) out << of_sender[at];
    else if constexpr (std::is_same_v<What, receiving>) out << of_receiver[at];
    else out << of_ruler[at];
    return out << ' ' << one.size;
}
std::ostream& operator<<(std::ostream& out, const script& plan) {
    const auto print = [&out](const char* who, const auto& steps) {
        out << "\n  " << who << ":";
        for (const auto& each : steps) out << ' ' << each << ';';
    };
    out << "seed " << plan.seed << ", items " << plan.items << ", bytes " << plan.bytes << ", policy "
        << static_cast<int>(plan.policy);
    for (const auto& each : plan.senders) print("sender", each);
    for (const auto& each : plan.receivers) print("receiver", each);
    print("ruler", plan.ruler);
    return out;
}

template <class What>
rc::Gen<std::vector<step<What>>> steps() {
    const auto what = rc::gen::map(rc::gen::inRange(0, static_cast<int>(What::count)),
                                   [](int number) { return static_cast<What>(number); });
    return rc::gen::container<std::vector<step<What>>>(rc::gen::build<step<What>>(
        rc::gen::set(&step<What>::what, what), rc::gen::set(&step<What>::size, rc::gen::inRange(0, sizes))));
}
// What ends a run is rare among what the ruler does.
rc::Gen<std::vector<step<ruling>>> rules() {
    const auto what = rc::gen::map(rc::gen::inRange(0, 40), [](int number) {
        if (number < 16) return ruling::waits;
        return number < 36 ? ruling::resizes
                           : static_cast<ruling>(number - 36 + static_cast<int>(ruling::stops_a_sender));
    });
    return rc::gen::container<std::vector<step<ruling>>>(rc::gen::build<step<ruling>>(
        rc::gen::set(&step<ruling>::what, what), rc::gen::set(&step<ruling>::size, rc::gen::inRange(0, sizes))));
}
rc::Gen<script> scripts(int of_each_side, bool with_policies) {
    const auto side = static_cast<std::size_t>(of_each_side);
    const auto policy = rc::gen::map(rc::gen::inRange(0, with_policies ? 8 : 1), [](int number) {
        return number < 5 ? leat::overflow::wait : static_cast<leat::overflow>(number - 4);
    });
    return rc::gen::build<script>(
        rc::gen::set(&script::seed, rc::gen::inRange(1U, 100'000U)),
        rc::gen::set(&script::items, rc::gen::inRange(0, 5)), rc::gen::set(&script::bytes, rc::gen::inRange(1, 20)),
        rc::gen::set(&script::policy, policy),
        rc::gen::set(&script::senders,
                     rc::gen::container<std::vector<std::vector<step<sending>>>>(side, steps<sending>())),
        rc::gen::set(&script::receivers,
                     rc::gen::container<std::vector<std::vector<step<receiving>>>>(side, steps<receiving>())),
        rc::gen::set(&script::ruler, rules()));
}

// --- What is sent, and the books about it ---

constexpr int of_one = 1000;  // numbers of a sender: value n of sender s is s * of_one + n
constexpr int ranks = 3;

class parcel {
public:
    parcel(int number, int& alive) : number_(number), alive_(&alive) { ++*alive_; }
    parcel(parcel&& other) noexcept : number_(std::exchange(other.number_, -1)), alive_(other.alive_) { ++*alive_; }
    parcel& operator=(parcel&& other) noexcept {
        number_ = std::exchange(other.number_, -1);
        return *this;
    }
    ~parcel() { --*alive_; }
    [[nodiscard]] int number() const noexcept { return number_; }  // -1 when moved from
    [[nodiscard]] int rank() const noexcept { return number_ % ranks; }
    [[nodiscard]] static std::size_t weight(const parcel& one) { return static_cast<std::size_t>(one.number_ % 7) + 1; }

private:
    int number_;
    int* alive_;
};
struct by_rank {
    bool operator()(const parcel& a, const parcel& b) const noexcept { return a.rank() < b.rank(); }
};

struct books {
    std::set<int> accepted, returned, received;
    int alive = 0;
    std::string wrong;  // the first thing that is
    void check(bool right, const char* what, int number = -1) {
        if (!right && wrong.empty()) wrong = what + (number < 0 ? "" : ": " + std::to_string(number));
    }
    void accept(int number) { check(accepted.insert(number).second, "accepted twice", number); }
    // What should be `number` came back.
    void give_back(const parcel& value, int number) {
        check(value.number() == number, "another value came back", number);
        check(returned.insert(number).second, "came back twice", number);
    }
};

// --- The kinds ---

struct plain {
    static constexpr int of_each_side = tasks;
    static constexpr bool is_plain = true, has_batches = true, has_ranks = false;
    static auto make(const script& plan) {
        const leat::channel_bounds bounds(static_cast<std::size_t>(plan.items), static_cast<std::size_t>(plan.bytes));
        return leat::channel<parcel>(bounds, &parcel::weight, plan.policy);
    }
};
struct spsc {
    static constexpr int of_each_side = 1;
    static constexpr bool is_plain = false, has_batches = true, has_ranks = false;
    static auto make(const script& plan) {
        return leat::spsc_channel<parcel>(static_cast<std::size_t>(plan.items) + 1);
    }
};
struct priority {
    static constexpr int of_each_side = tasks;
    static constexpr bool is_plain = false, has_batches = false, has_ranks = true;
    static auto make(const script& plan) {
        return leat::priority_channel<parcel, by_rank>(static_cast<std::size_t>(plan.items) + 1);
    }
};

// --- The run ---

template <class Kind>
struct stage {
    stage(const script& what, books& notes) : plan(what), book(notes), ends(Kind::make(what)) {
        bounds = leat::channel_bounds(ends.in.counts().capacity);
        if (Kind::is_plain) bytes_ever = bounds.bytes = static_cast<std::size_t>(what.bytes);
    }
    // Not more inside than the bounds allow, or than there was when they were set; a heavy item passes alone. What a permit
    // that was held then weighs, nobody is told: it had room once.
    void look() {
        const leat::channel_counts now = ends.in.counts();
        const std::size_t held = now.depth + now.reserved;
        book.check(held <= std::max(bounds.items, held_before), "more items inside than the bound");
        const std::size_t bytes = now.reserved + reserved_before == 0 ? bounds.bytes : bytes_ever;
        book.check(now.bytes <= std::max(bytes, bytes_before) || held == 1, "more bytes inside than the bound");
        book.check(now.sent == now.received + now.depth + now.dropped, "the counts do not add up");
        held_before = held;
        bytes_before = now.bytes;
        reserved_before = now.reserved;
    }
    void set_bounds(std::size_t items, std::size_t bytes) {
        if constexpr (Kind::is_plain) {
            look();
            bounds = leat::channel_bounds(items, bytes);
            bytes_ever = std::max(bytes_ever, bytes);
            ends.in.set_bounds(bounds);
            look();
        }
    }

    const script& plan;
    books& book;
    decltype(Kind::make(std::declval<const script&>())) ends;
    leat::channel_bounds bounds;
    std::size_t held_before = 0, bytes_before = 0, reserved_before = 0;
    std::size_t bytes_ever = 0;  // the most that the bounds have allowed
    std::array<leat::scope, tasks> senders, receivers;
    int receivers_left = Kind::of_each_side;
    bool aborted = false;
};

auto as_time(int size) { return size * 2us; }

template <class Kind>
task<> plays_sender(stage<Kind>& all, int me) {
    books& book = all.book;
    auto& out = all.ends.out;
    int number = me * of_one;
    const auto note = [&book](const auto& sent, int of) {
        if (sent) book.accept(of);
        else book.give_back(sent.error().value, of);
    };
    for (const auto& [what, size] : all.plan.senders[static_cast<std::size_t>(me)]) {
        all.look();
        if (what == sending::yields) {
            co_await leat::this_task::yield();
            continue;
        }
        if (what == sending::sleeps) {
            co_await leat::sleep_for(as_time(size));
            continue;
        }
        if constexpr (Kind::has_batches) {
            if (what == sending::sends_many) {
                std::vector<parcel> batch;
                for (int i = 0; i <= size; ++i) batch.emplace_back(number + i, book.alive);
                const auto done = co_await out.send_many(batch);
                const int count = done ? size + 1 : static_cast<int>(done.error().sent);
                for (int i = 0; i < count; ++i) book.accept(number + i);
                for (int i = count; i <= size; ++i) book.give_back(batch[static_cast<std::size_t>(i)], number + i);
                number += size + 1;
                continue;
            }
        }
        const int mine = number++;
        parcel value(mine, book.alive);
        if (what == sending::tries) {
            note(out.try_send(std::move(value)), mine);
            continue;
        }
        if (what == sending::sends_in_time) {
            auto operation = out.send(std::move(value));
            auto limited = leat::timeout(std::move(operation), as_time(size));
            note(co_await limited, mine);
            continue;
        }
        if constexpr (Kind::is_plain) {
            if (what == sending::sends_for) {
                note(co_await out.send_for(std::move(value), as_time(size)), mine);
                continue;
            }
            if (what == sending::selects) {
                const auto won = co_await leat::select(leat::on_send(out, value), leat::after(as_time(size)));
                if (value.number() == -1) book.accept(mine);
                else book.give_back(value, mine);
                continue;
            }
            if (what == sending::reserves) {
                auto permit = co_await out.reserve(parcel::weight(value));
                all.look();
                if (permit && size % 2 == 0) note(permit->send(std::move(value)), mine);
                else book.give_back(value, mine);
                continue;
            }
        }
        note(co_await out.send(std::move(value)), mine);
    }
}

template <class Kind>
task<> receives_by(stage<Kind>& all, int me) {
    books& book = all.book;
    auto& in = all.ends.in;
    std::map<int, int> last;  // of each sender, and rank
    const auto take = [&book, &last](const parcel& value) {
        const int number = value.number();
        book.check(book.received.insert(number).second, "received twice", number);
        const int line = number / of_one * ranks + (Kind::has_ranks ? value.rank() : 0);
        const auto before = last.find(line);
        book.check(before == last.end() || before->second < number, "received out of order", number);
        last[line] = number;
    };
    // False when the channel has ended.
    const auto note = [&take](auto&& got) {
        if (got) take(*got);
        return got || got.error() == leat::recv_error::empty || got.error() == leat::recv_error::timed_out;
    };
    for (const auto& [what, size] : all.plan.receivers[static_cast<std::size_t>(me)]) {
        all.look();
        if (what == receiving::yields) {
            co_await leat::this_task::yield();
        } else if (what == receiving::sleeps) {
            co_await leat::sleep_for(as_time(size));
        } else if (what == receiving::tries) {
            if (!note(in.try_recv())) co_return;
        } else if (what == receiving::receives_in_time) {
            auto operation = in.recv();
            auto limited = leat::timeout(std::move(operation), as_time(size));
            try {
                if (!note(co_await limited)) co_return;
            } catch (const leat::timed_out&) {
            }
        } else if (what == receiving::receives_many && Kind::has_batches) {
            std::vector<parcel> batch;
            if constexpr (Kind::is_plain) {
                const auto count = co_await in.recv_many(batch, static_cast<std::size_t>(size) + 1);
                if (!count) co_return;
            } else if constexpr (Kind::has_batches) {
                for (int i = 0; i <= size; ++i) batch.emplace_back(-1, book.alive);
                const auto count = co_await in.recv_many(batch);
                if (!count) co_return;
                while (batch.size() > *count) batch.pop_back();
            }
            for (const parcel& each : batch) take(each);
        } else if (what == receiving::receives_for && Kind::is_plain) {
            if constexpr (Kind::is_plain) {
                if (!note(co_await in.recv_for(as_time(size)))) co_return;
            }
        } else if (what == receiving::selects && Kind::is_plain) {
            if constexpr (Kind::is_plain) {
                auto won = co_await leat::select(leat::after(as_time(size)), leat::on_recv(in));
                if (won.cancelled()) co_return;
                if (won.index() == 1 && !note(won.template get<1>())) co_return;
            }
        } else {
            if (!note(co_await in.recv())) co_return;
        }
    }
    for (;;) {  // what the script has left over
        all.look();
        if (!note(co_await in.recv())) co_return;
    }
}
// When the last one goes and was stopped, nobody is left to receive.
template <class Kind>
task<> plays_receiver(stage<Kind>& all, int me) {
    task<> body = receives_by<Kind>(all, me);
    const leat::outcome<void> end = co_await body.as_outcome();
    all.book.check(!end.is_error(), "a receiver has failed");
    if (--all.receivers_left == 0 && end.is_cancelled()) {
        all.aborted = true;
        all.ends.in.abort();
    }
}

template <class Kind>
task<> plays_ruler(stage<Kind>& all) {
    for (const auto& [what, size] : all.plan.ruler) {
        const auto number = static_cast<std::size_t>(size);
        const auto who = number % static_cast<std::size_t>(Kind::of_each_side);
        if (what == ruling::resizes) all.set_bounds(number % 5, number * 3 + 1);
        else if (what == ruling::stops_a_sender) all.senders[who].stop();
        else if (what == ruling::stops_a_receiver) all.receivers[who].stop();
        else if (what == ruling::closes) all.ends.out.close();
        else if (what == ruling::aborts) all.aborted = true, all.ends.out.abort();
        co_await leat::sleep_for(as_time(size + 1));
    }
    all.set_bounds(3, 20);  // lets in who waits to reserve
}

template <class Kind>
task<> plays(const script& plan, books& book) {
    stage<Kind> all(plan, book);
    leat::scope ruler;
    for (int i = 0; i < Kind::of_each_side; ++i) {
        const auto at = static_cast<std::size_t>(i);
        all.senders[at].spawn(&plays_sender<Kind>, std::ref(all), i);
        all.receivers[at].spawn(&plays_receiver<Kind>, std::ref(all), i);
    }
    ruler.spawn(&plays_ruler<Kind>, std::ref(all));
    for (auto& each : all.senders) {
        const std::exception_ptr error = co_await each.join_quietly();
        book.check(error == nullptr, "a sender has failed");
    }
    co_await ruler.join();
    all.ends.out.close();
    for (auto& each : all.receivers) co_await each.join();

    // An spsc_channel drops what an abort has left when its receiver looks.
    book.check(!all.ends.in.try_recv(), "something is left to receive");
    const leat::channel_counts end = all.ends.in.counts();
    book.check(end.depth + end.reserved + end.bytes == 0, "something is left inside");
    book.check(end.sent == book.accepted.size(), "accepted, and not counted so");
    book.check(end.received == book.received.size(), "received, and not counted so");
    book.check(end.sent == end.received + end.dropped, "lost");
    const bool drops = plan.policy == leat::overflow::drop_oldest || plan.policy == leat::overflow::drop_newest;
    book.check(all.aborted || drops || end.dropped == 0, "dropped without a reason");
    for (const int number : book.received) book.check(book.accepted.contains(number), "received, not accepted", number);
    for (const int number : book.returned) book.check(!book.accepted.contains(number), "accepted and back", number);
}

template <class Kind>
void holds_for(const script& plan) {
    books book;
    leat::sim::options how;
    how.seed = plan.seed;
    how.lateness = 10us;
    how.stall_percent = plan.seed % 8;
    const leat::sim::result ended = leat::sim::run(how, plays<Kind>, std::cref(plan), std::ref(book));
    if (!ended.ok()) RC_FAIL(ended.report());
    if (!book.wrong.empty()) RC_FAIL(book.wrong);
    RC_ASSERT(book.alive == 0);
}

// A hundred scripts a round, which grow longer.
template <class Kind>
void expect_of_all_scripts(bool with_policies) {
    for (leat_test::soak rounds(4); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        rc::detail::TestParams how;
        how.seed = rounds.seed();
        const auto property = [with_policies] { holds_for<Kind>(*scripts(Kind::of_each_side, with_policies)); };
        const auto result = rc::detail::checkTestable(property, rc::detail::TestMetadata(), how);
        if (result.template is<rc::detail::SuccessResult>()) continue;
        std::ostringstream text;
        rc::detail::printResultMessage(result, text);
        ADD_FAILURE() << text.str();
    }
}
TEST(random_script, soak_a_channel_loses_and_repeats_nothing_and_keeps_order_and_bounds) {
    expect_of_all_scripts<plain>(true);
}
TEST(random_script, soak_an_spsc_channel_loses_and_repeats_nothing_and_keeps_order_and_bounds) {
    expect_of_all_scripts<spsc>(false);
}
TEST(random_script, soak_a_priority_channel_loses_and_repeats_nothing_and_keeps_order_and_bounds) {
    expect_of_all_scripts<priority>(false);
}

}  // namespace
