// Question: what does select cost over what a plain receive costs: over 2 arms and over 64, when an arm is ready, and when
// each item must be waited for?
//
// The peers are plain receives of the same items from the same channels, by who knows where the next one is: the least that
// a select can cost; and Go's select statement over as many channels, on one processor.
// Not measured: selects against each other from several threads, timers, sends.
#include <support/tasks.hpp>

namespace {

std::uint64_t mix(std::uint64_t sum, int item) { return sum * 31 + static_cast<std::uint64_t>(item); }

struct many {
    explicit many(std::size_t count, std::size_t capacity) {
        for (std::size_t i = 0; i < count; ++i) {
            ends.push_back(leat::channel<int>(capacity));
            arms.push_back(leat::on_recv(ends.back().in));
        }
    }
    std::vector<leat::channel_ends<int>> ends;
    std::vector<leat::recv_arm<int>> arms;
};

// Where the next item is: anywhere, and the same for both sides.
std::size_t place_of(int item, std::size_t count) { return bench::spin(static_cast<std::uint64_t>(item), 1) % count; }

// --- Ready: the item is there ---

leat::task<> two_by_select(many& all, int count, std::uint64_t& sum) {
    for (int i = 0; i < count; ++i) {
        for (auto& each : all.ends) (void)each.out.try_send(i);
        for (int both = 0; both < 2; ++both) {
            auto won = co_await leat::select(leat::on_recv(all.ends[0].in), leat::on_recv(all.ends[1].in));
            sum = mix(sum, won.index() == 0 ? *won.get<0>() : *won.get<1>());
        }
    }
}
leat::task<> two_by_receives(many& all, int count, std::uint64_t& sum) {
    for (int i = 0; i < count; ++i) {
        for (auto& each : all.ends) (void)each.out.try_send(i);
        for (auto& each : all.ends) {
            auto item = co_await each.in.recv();
            sum = mix(sum, *item);
        }
    }
}

leat::task<> one_of_many_by_select(many& all, int count, std::uint64_t& sum) {
    for (int i = 0; i < count; ++i) {
        (void)all.ends[place_of(i, all.ends.size())].out.try_send(i);
        auto won = co_await leat::select(all.arms);
        sum = mix(sum, *won.get());
    }
}
leat::task<> one_of_many_by_receives(many& all, int count, std::uint64_t& sum) {
    for (int i = 0; i < count; ++i) {
        auto& here = all.ends[place_of(i, all.ends.size())];
        (void)here.out.try_send(i);
        auto item = co_await here.in.recv();
        sum = mix(sum, *item);
    }
}

// --- Waiting: each item comes when its receiver has gone to sleep ---

leat::task<> sends_when_awaited(many& all, int count) {
    for (int i = 0; i < count; ++i) {
        auto sent = co_await all.ends[place_of(i, all.ends.size())].out.send(i);
        if (!sent) co_return;
    }
}
leat::task<> waits_by_select(many& all, int count, std::uint64_t& sum) {
    leat::scope work;
    work.spawn(sends_when_awaited, std::ref(all), count);
    for (int i = 0; i < count; ++i) {
        auto won = co_await leat::select(all.arms);
        sum = mix(sum, *won.get());
    }
    co_await work.join();
}
leat::task<> waits_by_receives(many& all, int count, std::uint64_t& sum) {
    leat::scope work;
    work.spawn(sends_when_awaited, std::ref(all), count);
    for (int i = 0; i < count; ++i) {
        auto item = co_await all.ends[place_of(i, all.ends.size())].in.recv();
        sum = mix(sum, *item);
    }
    co_await work.join();
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "select");
    const auto where = leat::make_runtime(leat::run_options(1));
    const std::uint64_t count = bench.size(300'000, 2'000);
    const auto compare = [&](const char* name, const char* in_go, auto selects, auto receives, std::size_t channels,
                             std::size_t capacity, std::uint64_t turns, std::uint64_t items_a_turn = 1) {
        const auto side = [&](auto body) -> bench::side {
            return bench::per_unit(turns * items_a_turn, [&, body, turns, channels, capacity] {
                std::uint64_t sum = 0;
                many all(channels, capacity);
                where->run(body(all, static_cast<int>(turns), sum));
                return sum;
            });
        };
        bench.compare(name, "plain receives", "ns/item", side(selects), side(receives));
        bench.compare_go(name, in_go, "ns/item", side(selects), turns, 1, static_cast<double>(turns * items_a_turn));
    };
    compare("2 arms, both ready", "select both", two_by_select, two_by_receives, 2, 1, count, 2);
    compare("2 arms, one ready", "select 2", one_of_many_by_select, one_of_many_by_receives, 2, 1, count);
    compare("64 arms, one ready", "select 64", one_of_many_by_select, one_of_many_by_receives, 64, 1, count / 10);
    compare("2 arms, waiting", "select 2 waiting", waits_by_select, waits_by_receives, 2, 0, count);
    compare("64 arms, waiting", "select 64 waiting", waits_by_select, waits_by_receives, 64, 0, count / 10);
    return bench.exit_code();
}
