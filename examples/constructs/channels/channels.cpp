// Channels and select. See docs/constructs.md.
#include "../show.hpp"

#include <array>
#include <atomic>
#include <functional>
#include <span>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

// --- The bounded channel ---

leat::task<> produce(leat::sender<int> out, int count) {
    for (int i = 1; i <= count; ++i)
        if (auto sent = co_await out.send(i); !sent) co_return;  // nobody receives any more; sent.error().value is i
}
leat::task<> consume(leat::receiver<int> in, std::atomic<int>& sum) {
    while (auto item = co_await in.recv()) sum += *item;  // ends when the last sender has gone
}

leat::task<std::string> bounded_queue() {
    auto [out, in] = leat::channel<int>(10);
    std::atomic<int> sum{0};
    leat::scope work;
    work.spawn(produce, std::move(out), 100);
    work.spawn(consume, std::move(in), std::ref(sum));
    co_await work.join();  // all that was sent has been used
    co_return text("sum ", sum.load());
}

leat::task<std::string> several_consumers() {
    auto [out, in] = leat::channel<int>(10);
    std::atomic<int> sum{0};
    leat::scope work;
    work.spawn(produce, std::move(out), 100);
    work.spawn(consume, in, std::ref(sum));
    work.spawn(consume, std::move(in), std::ref(sum));
    co_await work.join();
    co_return text("sum ", sum.load());
}

leat::task<std::string> rendezvous() {
    auto [out, in] = leat::channel<int>(0);  // each send waits for its receiver
    leat::scope work;
    work.spawn(produce, std::move(out), 3);
    int sum = 0;
    while (auto item = co_await in.recv()) sum += *item;
    co_await work.join();
    co_return text("sum ", sum);
}

leat::task<std::string> put_without_waiting() {
    auto [out, in] = leat::channel<int>(1);
    (void)out.try_send(1);
    const auto sent = out.try_send(2);
    co_return sent ? "sent" : text(sent.error().value, " is back, ", in.counts().depth, " inside");
}

leat::task<std::string> get_without_waiting() {
    auto [out, in] = leat::channel<int>(1);
    const auto item = in.try_recv();
    co_return !item && item.error() == leat::recv_error::empty ? "empty" : "something";
}

leat::task<std::string> get_in_time() {
    auto [out, in] = leat::channel<int>(1);
    const auto item = co_await in.recv_for(1ms);
    co_return !item && item.error() == leat::recv_error::timed_out ? "timed out" : "something";
}

leat::task<std::string> put_in_time() {
    auto [out, in] = leat::channel<int>(0);
    const auto sent = co_await out.send_for(7, 1ms);
    co_return sent ? "sent" : text(sent.error().value, " is back");
}

leat::task<std::string> how_many_are_inside() {
    auto [out, in] = leat::channel<int>(5);
    (void)out.try_send(1);
    co_return text(in.counts().depth, " of ", in.counts().capacity);
}

leat::task<std::string> no_more_in() {
    auto [out, in] = leat::channel<int>(5);
    (void)out.try_send(1);
    out.close();
    const bool refused = !co_await out.send(2);
    const auto last = co_await in.recv();  // what is inside still comes out
    const auto end = co_await in.recv();
    co_return text(refused ? "refused, " : "", *last, !end ? ", the end" : ", more");
}

leat::task<std::string> drop_what_is_inside() {
    auto [out, in] = leat::channel<int>(5);
    (void)out.try_send(1);
    in.abort();
    const auto item = co_await in.recv();
    co_return !item && item.error() == leat::recv_error::aborted ? "aborted" : "something";
}

leat::task<std::string> keep_the_newest() {
    auto [out, in] = leat::channel<int>(2, leat::overflow::drop_oldest);
    for (int i = 1; i <= 5; ++i) (void)co_await out.send(i);  // never waits
    const auto oldest = co_await in.recv();
    co_return text("oldest ", *oldest, ", dropped ", in.counts().dropped);
}

leat::task<std::string> bounded_in_bytes() {
    const auto size = [](const std::string& each) { return each.size(); };
    auto [out, in] = leat::byte_channel<std::string>(10, size);
    (void)out.try_send("1234567");
    const auto sent = out.try_send("1234");
    co_return text(sent ? "room" : "no room", " beside ", in.counts().bytes, " bytes");
}

leat::task<std::string> reserve_room() {
    auto [out, in] = leat::channel<int>(1);
    auto room = co_await out.reserve();
    const bool full = !out.try_send(1);
    (void)room->send(2);  // never waits
    const auto item = co_await in.recv();
    co_return text(full ? "reserved, " : "", *item);
}

leat::task<std::string> many_at_once() {
    auto [out, in] = leat::channel<int>(10);
    std::vector<int> values{1, 2, 3};
    (void)co_await out.send_many(std::span(values));
    std::vector<int> received;
    const auto count = co_await in.recv_many(received, 10);
    co_return text(*count, " received");
}

leat::task<std::string> channel_as_a_sequence() {
    auto [out, in] = leat::channel<int>(2);
    leat::scope work;
    work.spawn(produce, std::move(out), 4);
    auto all = in.stream();
    int sum = 0;
    while (auto item = co_await all.next()) sum += *item;
    co_await work.join();
    co_return text("sum ", sum);
}

leat::task<std::string> thread_sends_to_a_task() {
    auto [out, in] = leat::channel<int>(1);
    std::thread other([to = std::move(out)]() mutable {
        for (int i = 1; i <= 3; ++i) (void)to.blocking_send(i);
    });
    int sum = 0;
    while (auto item = co_await in.recv()) sum += *item;
    other.join();
    co_return text("sum ", sum);
}

// --- Its relatives ---

leat::task<std::string> highest_first() {
    auto [out, in] = leat::priority_channel<int>(8);
    for (int urgency : {1, 3, 2}) (void)out.try_send(urgency);
    const auto first = co_await in.recv();
    co_return text(*first);
}

leat::task<std::string> one_value_once() {
    auto [out, in] = leat::oneshot<int>();
    (void)std::move(out).send(42);
    const auto value = co_await in.recv();
    co_return text(*value);
}

leat::task<std::string> to_all_receivers() {
    auto [out, in] = leat::broadcast<int>(16);
    auto second = out.subscribe();
    (void)out.send(5);
    const auto here = co_await in.recv();
    const auto there = co_await second.recv();
    co_return text(*here, " and ", *there);
}

leat::task<std::string> slow_receiver_learns_what_it_missed() {
    auto [out, in] = leat::broadcast<int>(2);
    for (int i = 1; i <= 5; ++i) (void)out.send(i);
    const auto next = co_await in.recv();
    co_return !next ? text("missed ", next.error().missed) : "nothing missed";
}

leat::task<std::string> latest_value() {
    auto [out, in] = leat::watch<std::string>("off");
    out.send("starting");
    out.send("on");
    const auto news = co_await in.changed();
    co_return text(news ? "" : "no news, ", *in.borrow());
}

leat::task<> produce_alone(leat::spsc_sender<int> out) {
    for (int i = 1; i <= 100; ++i)
        if (auto sent = co_await out.send(i); !sent) co_return;
}
leat::task<std::string> one_to_one() {
    auto [out, in] = leat::spsc_channel<int>(16);
    leat::scope work;
    work.spawn(produce_alone, std::move(out));
    int sum = 0;
    while (auto item = co_await in.recv()) sum += *item;
    co_await work.join();
    co_return text("sum ", sum);
}

// --- Several at once ---

leat::task<std::string> whichever_comes_first() {
    auto numbers = leat::channel<int>(1);
    auto words = leat::channel<std::string>(1);
    (void)words.out.try_send("word");
    auto won = co_await leat::select(leat::on_recv(numbers.in), leat::on_recv(words.in));
    co_return won.index() == 1 ? *won.get<1>() : "a number";
}

leat::task<std::string> send_or_receive() {
    auto in = leat::channel<int>(1);
    auto out = leat::channel<int>(1);
    int value = 7;  // moved only when it is sent
    auto won = co_await leat::select(leat::on_recv(in.in), leat::on_send(out.out, value));
    co_return won.index() == 1 ? "sent" : "received";
}

leat::task<std::string> or_after_a_time() {
    auto [out, in] = leat::channel<int>(1);
    auto won = co_await leat::select(leat::on_recv(in), leat::after(1ms));
    co_return won.index() == 1 ? "time is over" : "received";
}

leat::task<std::string> or_nothing() {
    auto [out, in] = leat::channel<int>(1);
    auto won = co_await leat::select(leat::on_recv(in), leat::otherwise());
    co_return won.index() == 1 ? "nothing ready" : "received";
}

leat::task<std::string> first_in_the_order_given() {
    auto urgent = leat::channel<int>(1);
    auto usual = leat::channel<int>(1);
    (void)usual.out.try_send(2);
    (void)urgent.out.try_send(1);
    auto won = co_await leat::select_biased(leat::on_recv(urgent.in), leat::on_recv(usual.in));
    co_return won.index() == 0 ? "urgent" : "usual";
}

leat::task<std::string> arm_switched_off() {
    auto [out, in] = leat::channel<int>(1);
    out.close();
    const bool open = false;  // an end that has ended is always ready
    auto won = co_await leat::select(leat::on_recv(in).only_if(open), leat::after(1ms));
    co_return won.index() == 1 ? "time is over" : "the end";
}

leat::task<std::string> arms_in_a_vector() {
    std::array ends{leat::channel<int>(1), leat::channel<int>(1), leat::channel<int>(1)};
    std::vector<leat::recv_arm<int>> arms;
    for (const auto& each : ends) arms.push_back(leat::on_recv(each.in));
    (void)ends[2].out.try_send(7);
    auto won = co_await leat::select(arms);
    co_return text("number ", won.index(), ": ", *won.get());
}

leat::task<int> square(int number) { co_return number* number; }
leat::task<std::string> end_of_a_task_or_an_item() {
    auto [out, in] = leat::channel<int>(1);
    leat::scope work;
    const leat::task_handle<int> handle = work.submit(square, 3);
    auto won = co_await leat::select(leat::on_recv(in), leat::on_done(handle));
    const int value = co_await handle.join();  // does not wait
    co_await work.join();
    co_return won.index() == 1 ? text("task: ", value) : "received";
}

leat::task<std::string> signal_or_an_item() {
    auto [out, in] = leat::channel<int>(1);
    leat::event shutdown;
    shutdown.set();
    auto won = co_await leat::select(leat::on_recv(in), leat::on_event(shutdown));
    co_return won.index() == 1 ? "shut down" : "received";
}

constexpr example all[] = {
    {"bounded_queue", bounded_queue},
    {"several_consumers", several_consumers},
    {"rendezvous", rendezvous},
    {"put_without_waiting", put_without_waiting},
    {"get_without_waiting", get_without_waiting},
    {"get_in_time", get_in_time},
    {"put_in_time", put_in_time},
    {"how_many_are_inside", how_many_are_inside},
    {"no_more_in", no_more_in},
    {"drop_what_is_inside", drop_what_is_inside},
    {"keep_the_newest", keep_the_newest},
    {"bounded_in_bytes", bounded_in_bytes},
    {"reserve_room", reserve_room},
    {"many_at_once", many_at_once},
    {"channel_as_a_sequence", channel_as_a_sequence},
    {"thread_sends_to_a_task", thread_sends_to_a_task},
    {"highest_first", highest_first},
    {"one_value_once", one_value_once},
    {"to_all_receivers", to_all_receivers},
    {"slow_receiver_learns_what_it_missed", slow_receiver_learns_what_it_missed},
    {"latest_value", latest_value},
    {"one_to_one", one_to_one},
    {"whichever_comes_first", whichever_comes_first},
    {"send_or_receive", send_or_receive},
    {"or_after_a_time", or_after_a_time},
    {"or_nothing", or_nothing},
    {"first_in_the_order_given", first_in_the_order_given},
    {"arm_switched_off", arm_switched_off},
    {"arms_in_a_vector", arms_in_a_vector},
    {"end_of_a_task_or_an_item", end_of_a_task_or_an_item},
    {"signal_or_an_item", signal_or_an_item},
};

leat::task<> program() { return show(all); }

}  // namespace

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
