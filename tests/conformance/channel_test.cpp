// What every kind of channel promises of itself, asked of each in each place where tasks run: no value lost or repeated, the
// order of each sender kept, an end that is told once all is out, and waits that can be stopped without loss.
//
// Each suite asks for one promise, of the kinds that make it; channel_kinds.hpp says which do.
#include "channel_kinds.hpp"

#include <algorithm>
#include <thread>

#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::recv_error;
using leat::send_failure;
using leat::task;
using leat_test::giving;
using namespace std::chrono_literals;

template <class Kind>
using item_of = typename Kind::item;
template <class Kind>
using ends_of = decltype(Kind::template make<item_of<Kind>>());
template <class Kind>
using out_of = decltype(ends_of<Kind>::out);
template <class Kind>
using in_of = decltype(ends_of<Kind>::in);
template <class Kind>
ends_of<Kind> make() {
    return Kind::template make<item_of<Kind>>();
}
// What tells how many of it are there, for kinds that copy too.
using held = std::shared_ptr<leat_test::counted>;

// The laws are plain functions of the kind, so that each is compiled once for all places.
template <class Where>
class in_place : public testing::Test {
protected:
    using the_kind = typename Where::kind;
    void run(task<> program) { host_.where.run(std::move(program)); }

private:
    typename Where::host host_;
};

template <class Kind>
task<> sends(out_of<Kind> out, int first, int count) {
    for (int i = first; i < first + count; ++i) {
        auto sent = co_await out.send(item_of<Kind>(i));
        EXPECT_TRUE(sent);
    }
}
template <class Kind>
task<> receives(in_of<Kind> in, std::vector<int>& got) {
    for (;;) {
        const auto item = co_await in.recv();
        if (!item) {
            EXPECT_EQ(item.error(), recv_error::closed);
            co_return;
        }
        got.push_back(item->number());
    }
}
// Fills it as far as `room` goes, with 0, 1, 2…
template <class Kind>
void fill(ends_of<Kind>& ends) {
    for (std::size_t i = 0; i < Kind::room; ++i) EXPECT_TRUE(ends.out.try_send(item_of<Kind>(static_cast<int>(i))));
}

// --- Every kind ---

template <class Kind>
struct any : std::true_type {};
template <class Where>
class every_channel : public in_place<Where> {};
using every_one = leat_test::where_promised<any, leat_test::all_places>;
TYPED_TEST_SUITE(every_channel, every_one, leat_test::name_of_place);

template <class Kind>
task<> one_value(bool receiver_first) {
    auto ends = make<Kind>();
    std::vector<int> got;
    leat::scope work;
    if (receiver_first) work.spawn(&receives<Kind>, std::move(ends.in), std::ref(got));
    co_await giving(0, 3);
    work.spawn(&sends<Kind>, std::move(ends.out), 5, 1);
    co_await giving(0, 3);
    if (!receiver_first) work.spawn(&receives<Kind>, std::move(ends.in), std::ref(got));
    co_await work.join();
    EXPECT_EQ(got, std::vector<int>{5});
}
TYPED_TEST(every_channel, brings_a_value_to_its_receiver_whoever_comes_first_and_ends_behind_it) {
    for (const bool receiver_first : {true, false})
        this->run(one_value<typename TestFixture::the_kind>(receiver_first));
}

template <class Kind>
task<> end_without_a_value() {
    auto ends = make<Kind>();
    EXPECT_EQ(ends.in.try_recv().error(), recv_error::empty);
    leat::scope work;
    const auto waits = [](in_of<Kind>& in) -> task<> {
        for (int i = 0; i < 2; ++i) {
            const auto end = co_await in.recv();
            EXPECT_EQ(end.error(), recv_error::closed);
        }
    };
    work.spawn(waits, std::ref(ends.in));
    co_await giving(0, 3);
    ends.out.reset();
    co_await work.join();
    EXPECT_EQ(ends.in.try_recv().error(), recv_error::closed);
}
TYPED_TEST(every_channel, tells_a_receiver_again_and_again_that_the_last_sender_has_gone) {
    this->run(end_without_a_value<typename TestFixture::the_kind>());
}

template <class Kind>
task<> stopped_receiver() {
    auto ends = make<Kind>();
    leat::scope stopped;
    const auto waits = [](in_of<Kind>& in) -> task<> {
        (void)co_await in.recv();
        ADD_FAILURE() << "it was stopped";
    };
    stopped.spawn(waits, std::ref(ends.in));
    co_await giving(0, 3);
    stopped.stop();
    co_await stopped.join_quietly();
    leat::scope work;
    work.spawn(&sends<Kind>, std::move(ends.out), 7, 1);
    const auto got = co_await ends.in.recv();
    EXPECT_EQ(got->number(), 7);
    co_await work.join();
}
TYPED_TEST(every_channel, throws_in_a_receiver_that_is_stopped_and_loses_nothing) {
    this->run(stopped_receiver<typename TestFixture::the_kind>());
}

template <class Kind>
void leaves_nothing(bool receiver_first) {
    int alive = 0;
    {
        auto ends = Kind::template make<held>();
        for (int i = 0; i < (Kind::many_values ? 4 : 1); ++i)
            (void)ends.out.try_send(std::make_shared<leat_test::counted>(alive)).has_value();
        if (receiver_first) ends.in.reset();
        else ends.out.reset();
    }
    EXPECT_EQ(alive, 0);
}
TYPED_TEST(every_channel, destroys_what_nobody_has_received_with_its_ends) {
    for (const bool receiver_first : {true, false}) leaves_nothing<typename TestFixture::the_kind>(receiver_first);
}

// --- Kinds that give a value back when no receiver is left ---

template <class Kind>
struct gives_back : std::bool_constant<Kind::gives_back> {};
template <class Where>
class returning_channel : public in_place<Where> {};
using returning = leat_test::where_promised<gives_back, leat_test::all_places>;
TYPED_TEST_SUITE(returning_channel, returning, leat_test::name_of_place);

template <class Kind>
task<> send_to_nobody() {
    auto ends = make<Kind>();
    ends.in.reset();
    const auto sent = co_await ends.out.send(item_of<Kind>(6));
    EXPECT_EQ(sent.error().why, send_failure::aborted);
    EXPECT_EQ(sent.error().value.number(), 6);
}
TYPED_TEST(returning_channel, gives_a_sender_its_value_back_when_the_receiver_has_gone) {
    this->run(send_to_nobody<typename TestFixture::the_kind>());
}

// --- Kinds for many values ---

template <class Kind>
struct many_values : std::bool_constant<Kind::many_values> {};
template <class Where>
class stream_channel : public in_place<Where> {};
using streams = leat_test::where_promised<many_values, leat_test::all_places>;
TYPED_TEST_SUITE(stream_channel, streams, leat_test::name_of_place);

template <class Kind>
void expect_in_order(const std::vector<int>& got, int sent) {
    EXPECT_FALSE(got.empty());
    EXPECT_TRUE(!Kind::keeps_all || got.size() == static_cast<std::size_t>(sent));
    EXPECT_EQ(got.back(), sent - 1);
    for (std::size_t i = 1; i < got.size(); ++i) EXPECT_LT(got[i - 1], got[i]);
}

template <class Kind>
task<> one_to_one() {
    auto ends = make<Kind>();
    std::vector<int> got;
    leat::scope work;
    work.spawn(&sends<Kind>, std::move(ends.out), 0, 300);
    work.spawn(&receives<Kind>, std::move(ends.in), std::ref(got));
    co_await work.join();
    expect_in_order<Kind>(got, 300);
}
TYPED_TEST(stream_channel, brings_what_one_sends_to_one_receiver_in_order) {
    this->run(one_to_one<typename TestFixture::the_kind>());
}

template <class Kind>
task<> receives_in_time(in_of<Kind> in, std::vector<int>& got) {
    for (int turn = 0;; ++turn) {
        auto receiving = in.recv();
        auto limited = leat::timeout(std::move(receiving), (turn % 4) * 5us);
        try {
            const auto item = co_await limited;
            if (!item) co_return;
            got.push_back(item->number());
        } catch (const leat::timed_out&) {
        }
    }
}
template <class Kind>
task<> sends_in_time(out_of<Kind> out) {
    item_of<Kind> next(0);
    for (int turn = 0; next.number() < 100; ++turn) {
        const int number = next.number();
        auto sending = out.send(std::move(next));
        auto limited = leat::timeout(std::move(sending), (turn % 3) * 5us);
        auto sent = co_await limited;
        if (sent) {
            next = item_of<Kind>(number + 1);
        } else {
            EXPECT_EQ(sent.error().why, send_failure::cancelled);
            next = std::move(sent.error().value);
        }
        EXPECT_EQ(next.number(), sent ? number + 1 : number);
        if (turn % 16 == 0) co_await leat::sleep_for(2us);
    }
}
template <class Kind>
task<> out_of_time() {
    auto ends = make<Kind>();
    std::vector<int> got;
    leat::scope work;
    work.spawn(&sends_in_time<Kind>, std::move(ends.out));
    work.spawn(&receives_in_time<Kind>, std::move(ends.in), std::ref(got));
    co_await work.join();
    expect_in_order<Kind>(got, 100);
}
TYPED_TEST(stream_channel, loses_nothing_in_waits_that_run_out_of_time) {
    this->run(out_of_time<typename TestFixture::the_kind>());
}

// --- Kinds that several send to ---

template <class Kind>
struct many_senders : std::bool_constant<Kind::many_senders> {};
template <class Where>
class shared_sender : public in_place<Where> {};
using shared_senders = leat_test::where_promised<many_senders, leat_test::all_places>;
TYPED_TEST_SUITE(shared_sender, shared_senders, leat_test::name_of_place);

constexpr int senders = 3;
constexpr int from_each = 100;
// Number n of sender s is s * 1000 + n. Each receiver finds those of each sender in order.
void expect_order_of_each(const std::vector<int>& got) {
    std::vector<int> last(senders, -1);
    for (const int number : got) {
        int& before = last[static_cast<std::size_t>(number / 1000)];
        EXPECT_LT(before, number);
        before = number;
    }
}
std::vector<int> all_that_were_sent() {
    std::vector<int> all;
    for (int i = 0; i < senders * from_each; ++i) all.push_back(i / from_each * 1000 + i % from_each);
    return all;
}

template <class Kind>
task<> many_to_one() {
    auto ends = make<Kind>();
    std::vector<int> got;
    leat::scope work;
    for (int i = 0; i < senders; ++i) work.spawn(&sends<Kind>, ends.out, i * 1000, from_each);
    ends.out.reset();
    work.spawn(&receives<Kind>, std::move(ends.in), std::ref(got));
    co_await work.join();
    EXPECT_FALSE(got.empty());
    expect_order_of_each(got);
    std::sort(got.begin(), got.end());
    EXPECT_TRUE(!Kind::keeps_all || got == all_that_were_sent());
}
TYPED_TEST(shared_sender, keeps_the_order_of_each_and_ends_with_the_last) {
    this->run(many_to_one<typename TestFixture::the_kind>());
}

// --- Kinds whose receivers share the work ---

template <class Kind>
struct shares_work : std::bool_constant<Kind::shared_work> {};
template <class Where>
class work_channel : public in_place<Where> {};
using work_channels = leat_test::where_promised<shares_work, leat_test::all_places>;
TYPED_TEST_SUITE(work_channel, work_channels, leat_test::name_of_place);

template <class Kind>
task<> many_to_many() {
    auto ends = make<Kind>();
    std::vector<std::vector<int>> got(3);
    leat::scope work;
    for (int i = 0; i < senders; ++i) work.spawn(&sends<Kind>, ends.out, i * 1000, from_each);
    for (auto& each : got) work.spawn(&receives<Kind>, ends.in, std::ref(each));
    ends.out.reset();
    ends.in.reset();
    co_await work.join();
    std::vector<int> all;
    for (const auto& each : got) {
        expect_order_of_each(each);
        all.insert(all.end(), each.begin(), each.end());
    }
    std::sort(all.begin(), all.end());
    EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end());  // none twice
    EXPECT_TRUE(!Kind::keeps_all || all == all_that_were_sent());
}
TYPED_TEST(work_channel, gives_each_value_to_one_receiver_and_keeps_the_order_of_each_sender) {
    this->run(many_to_many<typename TestFixture::the_kind>());
}

// --- Kinds that copy to all receivers ---

template <class Kind>
struct copies : std::bool_constant<Kind::copies> {};
template <class Where>
class feed_channel : public in_place<Where> {};
using feeds = leat_test::where_promised<copies, leat_test::all_places>;
TYPED_TEST_SUITE(feed_channel, feeds, leat_test::name_of_place);

template <class Kind>
task<> one_to_all() {
    auto ends = make<Kind>();
    std::vector<std::vector<int>> got(3);
    leat::scope work;
    for (auto& each : got) work.spawn(&receives<Kind>, ends.in, std::ref(each));
    work.spawn(&sends<Kind>, std::move(ends.out), 0, 300);
    co_await work.join();
    for (const auto& each : got) expect_in_order<Kind>(each, 300);
}
TYPED_TEST(feed_channel, gives_every_receiver_values_in_order_and_the_last_one) {
    this->run(one_to_all<typename TestFixture::the_kind>());
}

// --- Kinds with room that is known ---

template <class Kind>
struct room_is_known : std::bool_constant<Kind::room_is_known> {};
template <class Where>
class queue_channel : public in_place<Where> {};
using queues = leat_test::where_promised<room_is_known, leat_test::all_places>;
TYPED_TEST_SUITE(queue_channel, queues, leat_test::name_of_place);

template <class Kind>
task<> room_and_counts() {
    auto ends = make<Kind>();
    fill<Kind>(ends);
    const auto more = ends.out.try_send(item_of<Kind>(99));
    EXPECT_EQ(more.has_value(), !Kind::keeps_all);
    if (!more) {
        EXPECT_EQ(more.error().why, send_failure::full);
        EXPECT_EQ(more.error().value.number(), 99);
    }
    EXPECT_EQ(ends.in.counts().depth, Kind::room);
    EXPECT_EQ(ends.in.counts().senders, 1U);
    std::size_t received = 0;
    while (ends.in.try_recv()) ++received;
    EXPECT_EQ(received, Kind::room);
    EXPECT_EQ(ends.in.try_recv().error(), recv_error::empty);
    const leat::channel_counts end = ends.out.counts();
    EXPECT_EQ(end.depth, 0U);
    EXPECT_EQ(end.received, received);
    EXPECT_EQ(end.sent, end.received + end.dropped);
    ends.in.reset();
    EXPECT_EQ(ends.out.counts().receivers, 0U);
    co_return;
}
TYPED_TEST(queue_channel, holds_as_many_as_it_has_room_for_and_counts_them) {
    this->run(room_and_counts<typename TestFixture::the_kind>());
}

// --- Kinds whose senders wait for room ---

template <class Kind>
struct waits_for_room : std::bool_constant<Kind::room_is_known && Kind::keeps_all> {};
template <class Where>
class bounded_channel : public in_place<Where> {};
using bounded_ones = leat_test::where_promised<waits_for_room, leat_test::all_places>;
TYPED_TEST_SUITE(bounded_channel, bounded_ones, leat_test::name_of_place);

template <class Kind>
task<> never_more_inside() {
    auto ends = make<Kind>();
    leat::env::atomic<std::size_t> sent{0};
    const auto counts = [](out_of<Kind> out, leat::env::atomic<std::size_t>& done) -> task<> {
        for (int i = 0; i < 30; ++i) {
            const auto one = co_await out.send(item_of<Kind>(i));
            if (!one) co_return;
            done.fetch_add(1);
        }
    };
    leat::scope work;
    work.spawn(counts, std::move(ends.out), std::ref(sent));
    for (std::size_t received = 0; received < 20; ++received) {
        co_await giving(0, 2);
        EXPECT_LE(sent.load(), received + Kind::room);
        EXPECT_LE(ends.in.counts().depth, Kind::room);
        const auto item = co_await ends.in.recv();
        EXPECT_EQ(item->number(), static_cast<int>(received));
    }
    ends.in.reset();
    co_await work.join();
    EXPECT_LE(sent.load(), 20 + Kind::room);
}
TYPED_TEST(bounded_channel, lets_no_more_in_than_it_has_room_for) {
    this->run(never_more_inside<typename TestFixture::the_kind>());
}

template <class Kind>
task<> fails_with(out_of<Kind>& out, send_failure why) {
    for (int i = 0; i < 2; ++i) {  // in its wait, and at once
        const auto sent = co_await out.send(item_of<Kind>(50 + i));
        EXPECT_EQ(sent.error().why, why);
        EXPECT_EQ(sent.error().value.number(), 50 + i);
    }
}
template <class Kind>
task<> stopped_sender() {
    auto ends = make<Kind>();
    fill<Kind>(ends);
    leat::scope work;
    work.spawn(&fails_with<Kind>, std::ref(ends.out), send_failure::cancelled);
    co_await giving(0, 3);
    work.stop();
    co_await work.join_quietly();
    for (std::size_t i = 0; i < Kind::room; ++i) EXPECT_EQ(ends.in.try_recv()->number(), static_cast<int>(i));
    EXPECT_EQ(ends.in.try_recv().error(), recv_error::empty);
}
TYPED_TEST(bounded_channel, gives_a_sender_that_is_stopped_its_value_back) {
    this->run(stopped_sender<typename TestFixture::the_kind>());
}

template <class Kind>
task<> gone_receiver() {
    auto ends = make<Kind>();
    fill<Kind>(ends);
    leat::scope work;
    work.spawn(&fails_with<Kind>, std::ref(ends.out), send_failure::aborted);
    co_await giving(0, 3);
    ends.in.reset();
    co_await work.join();
}
TYPED_TEST(bounded_channel, gives_a_sender_that_waits_its_value_back_when_the_receiver_goes) {
    this->run(gone_receiver<typename TestFixture::the_kind>());
}

template <class Kind>
task<> closed_while_full() {
    auto ends = make<Kind>();
    fill<Kind>(ends);
    leat::scope work;
    work.spawn(&fails_with<Kind>, std::ref(ends.out), send_failure::closed);
    co_await giving(0, 3);
    ends.in.close();
    co_await work.join();
    EXPECT_EQ(ends.out.try_send(item_of<Kind>(9)).error().why, send_failure::closed);
    std::vector<int> got;
    co_await receives<Kind>(std::move(ends.in), got);
    EXPECT_EQ(got.size(), Kind::room);
}
TYPED_TEST(bounded_channel, lets_out_what_is_inside_after_a_close_and_fails_senders_with_their_value) {
    this->run(closed_while_full<typename TestFixture::the_kind>());
}

// --- Kinds with close() and abort() ---

template <class Kind>
struct can_abort : std::bool_constant<Kind::can_abort> {};
template <class Where>
class abortable_channel : public in_place<Where> {};
using abortables = leat_test::where_promised<can_abort, leat_test::all_places>;
TYPED_TEST_SUITE(abortable_channel, abortables, leat_test::name_of_place);

template <class Kind>
task<> aborted_while_inside(bool by_receiver) {
    int alive = 0;
    auto ends = Kind::template make<held>();
    while (ends.in.counts().depth < Kind::room) (void)ends.out.try_send(std::make_shared<leat_test::counted>(alive));
    EXPECT_EQ(alive, static_cast<int>(Kind::room));
    if (by_receiver) ends.in.abort();
    else ends.out.abort();
    const auto sent = co_await ends.out.send(std::make_shared<leat_test::counted>(alive));
    EXPECT_EQ(sent.error().why, send_failure::aborted);
    EXPECT_NE(sent.error().value, nullptr);
    const auto got = co_await ends.in.recv();
    EXPECT_EQ(got.error(), recv_error::aborted);
    EXPECT_EQ(ends.in.try_recv().error(), recv_error::aborted);
    EXPECT_EQ(alive, 1);  // the one that came back
    const leat::channel_counts end = ends.in.counts();
    EXPECT_EQ(end.depth, 0U);
    EXPECT_EQ(end.received, 0U);
    EXPECT_EQ(end.sent, end.dropped);
    EXPECT_GE(end.dropped, Kind::room);
}
TYPED_TEST(abortable_channel, drops_what_is_inside) {
    for (const bool by_receiver : {true, false})
        this->run(aborted_while_inside<typename TestFixture::the_kind>(by_receiver));
}

template <class Kind>
task<> waits_for_the_end(in_of<Kind>& in, recv_error why) {
    const auto end = co_await in.recv();
    EXPECT_EQ(end.error(), why);
}
template <class Kind>
task<> ended_while_empty(bool by_abort) {
    auto ends = make<Kind>();
    leat::scope work;
    work.spawn(&waits_for_the_end<Kind>, std::ref(ends.in), by_abort ? recv_error::aborted : recv_error::closed);
    co_await giving(0, 3);
    if (by_abort) ends.out.abort();
    else ends.out.close();
    co_await work.join();
    EXPECT_EQ(ends.out.try_send(item_of<Kind>(1)).error().why, by_abort ? send_failure::aborted : send_failure::closed);
}
TYPED_TEST(abortable_channel, tells_a_receiver_that_waits_of_a_close_and_of_an_abort) {
    for (const bool by_abort : {true, false}) this->run(ended_while_empty<typename TestFixture::the_kind>(by_abort));
}

template <class Kind>
task<> aborted_while_full() {
    auto ends = make<Kind>();
    fill<Kind>(ends);
    leat::scope work;
    if (Kind::keeps_all) work.spawn(&fails_with<Kind>, std::ref(ends.out), send_failure::aborted);
    co_await giving(0, 3);
    ends.in.abort();
    co_await work.join();
}
TYPED_TEST(abortable_channel, gives_a_sender_that_waits_its_value_back_when_it_is_aborted) {
    this->run(aborted_while_full<typename TestFixture::the_kind>());
}

// --- Kinds with batches ---

template <class Kind>
struct has_batches : std::bool_constant<Kind::batches> {};
template <class Where>
class batch_channel : public in_place<Where> {};
using batch_channels = leat_test::where_promised<has_batches, leat_test::all_places>;
TYPED_TEST_SUITE(batch_channel, batch_channels, leat_test::name_of_place);

// Batches of 1, 2, 3… up to 12, also larger than the channel.
template <class Kind>
task<> sends_batches(out_of<Kind> out, int count) {
    for (int i = 0, size = 1; i < count; size = size % 12 + 1) {
        std::vector<item_of<Kind>> batch;
        for (int n = 0; n < size && i < count; ++n) batch.emplace_back(i++);
        const auto sent = co_await out.send_many(batch);
        EXPECT_TRUE(sent);
    }
}
template <class Kind>
task<> receives_batches(in_of<Kind> in, std::vector<int>& got) {
    for (std::size_t most = 1;; most = most % 5 + 1) {
        const auto batch = co_await Kind::recv_many(in, most);
        if (!batch) co_return;
        EXPECT_TRUE(!batch->empty() && batch->size() <= most);
        for (const auto& item : *batch) got.push_back(item.number());
    }
}
template <class Kind>
task<> whole_batches() {
    auto ends = make<Kind>();
    std::vector<int> got;
    leat::scope work;
    work.spawn(&sends_batches<Kind>, std::move(ends.out), 300);
    work.spawn(&receives_batches<Kind>, std::move(ends.in), std::ref(got));
    co_await work.join();
    expect_in_order<Kind>(got, 300);
}
TYPED_TEST(batch_channel, brings_batches_of_any_size_in_order) {
    this->run(whole_batches<typename TestFixture::the_kind>());
}

template <class Kind>
task<> is_cut_short(out_of<Kind> out, std::size_t& sent, bool& over) {
    std::vector<item_of<Kind>> batch;
    for (int i = 0; i < 40; ++i) batch.emplace_back(i);
    const auto done = co_await out.send_many(batch);
    sent = done ? batch.size() : done.error().sent;
    over = !done;
    for (std::size_t i = sent; i < batch.size(); ++i) EXPECT_EQ(batch[i].number(), static_cast<int>(i));
}
template <class Kind>
task<> cut_batch(bool by_stop) {
    auto ends = make<Kind>();
    std::size_t sent = 0;
    bool over = false;
    leat::scope work;
    work.spawn(&is_cut_short<Kind>, std::move(ends.out), std::ref(sent), std::ref(over));
    for (int i = 0; i < 5; ++i) {
        const auto item = co_await ends.in.recv();
        EXPECT_EQ(item->number(), i);
    }
    if (by_stop) work.stop();
    else ends.in.close();
    co_await work.join_quietly();
    EXPECT_TRUE(over);
    EXPECT_LE(sent, 5 + Kind::room);
    std::size_t received = 5;
    for (; const auto item = ends.in.try_recv(); ++received) EXPECT_EQ(item->number(), static_cast<int>(received));
    EXPECT_EQ(received, sent);
}
TYPED_TEST(batch_channel, tells_how_many_of_a_batch_that_is_cut_short_are_inside) {
    for (const bool by_stop : {true, false}) this->run(cut_batch<typename TestFixture::the_kind>(by_stop));
}

// --- Every kind, between a task and a plain thread ---

template <class Where>
class channel_of_threads : public in_place<Where> {};
using with_threads = leat_test::where_promised<any, leat_test::threaded_places>;
TYPED_TEST_SUITE(channel_of_threads, with_threads, leat_test::name_of_place);

template <class Kind>
constexpr int some = Kind::many_values ? 500 : 1;

TYPED_TEST(channel_of_threads, brings_what_a_thread_sends_to_a_task) {
    using kind = typename TestFixture::the_kind;
    auto ends = make<kind>();
    std::vector<int> got;
    std::thread sender([out = std::move(ends.out)]() mutable {
        for (int i = 0; i < some<kind>; ++i) EXPECT_TRUE(out.blocking_send(item_of<kind>(i)));
    });
    this->run(receives<kind>(std::move(ends.in), got));
    sender.join();
    expect_in_order<kind>(got, some<kind>);
}

TYPED_TEST(channel_of_threads, brings_what_a_task_sends_to_a_thread) {
    using kind = typename TestFixture::the_kind;
    auto ends = make<kind>();
    std::vector<int> got;
    std::thread receiver([&got, in = std::move(ends.in)]() mutable {
        while (const auto item = in.blocking_recv()) got.push_back(item->number());
    });
    this->run(sends<kind>(std::move(ends.out), 0, some<kind>));
    receiver.join();
    expect_in_order<kind>(got, some<kind>);
}

}  // namespace
