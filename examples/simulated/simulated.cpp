// A test of one's own coroutine: orders drawn from seeds, time that is virtual, and a failure that can be replayed.
#include <leat/leat.hpp>
#include <leat/runtime/sim.hpp>

#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;

// What is tested: a cache before a slow server, which should be asked once for each key.
struct cache {
    std::map<std::string, int> known;
    leat::mutex lock;
    int loads = 0;
};

leat::task<int> load(cache& of) {
    ++of.loads;
    co_await leat::sleep_for(10min);
    co_return 42;
}

leat::task<int> look_up_carelessly(cache& in, std::string key) {
    if (!in.known.contains(key)) {
        const int value = co_await load(in);  // another may ask meanwhile
        in.known.emplace(key, value);
    }
    co_return in.known.at(key);
}

leat::task<int> look_up(cache& in, std::string key) {
    auto held = co_await in.lock.lock();
    co_return co_await look_up_carelessly(in, key);
}

// The test: two readers, either of which may be late.
template <class LookUp>
leat::task<> two_readers(LookUp ask) {
    cache shared;
    const auto reader = [&]() -> leat::task<> {
        if (leat::sim::chance(30)) co_await leat::sleep_for(1h);
        const int value = co_await ask(shared, "answer");
        if (value != 42) throw std::runtime_error("a wrong value");
    };
    leat::scope work;
    work.spawn(leat::task_name("first"), reader);
    work.spawn(leat::task_name("second"), reader);
    co_await work.join();
    if (shared.loads != 1) throw std::runtime_error("the server was asked twice");
}

int main() {
    try {
        leat::sim::explore({.seeds = 1000}, [] { return two_readers(look_up_carelessly); });
    } catch (const leat::sim::failure& found) {
        // found.what() says all of it, and that LEAT_SIM_SEED=… replays it alone.
        const leat::sim::result again =
            leat::sim::run({.seed = found.of().seed}, two_readers<decltype(&look_up)>, look_up_carelessly);
        std::printf("carelessly: found, and %s when run again\n",
                    again.trace == found.of().trace ? "the same" : "something else");
    }
    const leat::sim::explored all = leat::sim::explore({.seeds = 1000}, [] { return two_readers(look_up); });
    std::printf("with the lock: right under %d seeds\n", static_cast<int>(all.seeds));
}
