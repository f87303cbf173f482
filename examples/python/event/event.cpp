// Three tasks wait for a signal that another one gives.
//
// Python: asyncio.Event and threading.Event.
#include <leat/leat.hpp>

#include <atomic>
#include <cstdio>

leat::task<> runner(leat::event& start, std::atomic<int>& started) {
    co_await start.wait();
    ++started;
}

leat::task<> program() {
    leat::event start;
    std::atomic<int> started{0};
    leat::scope race;
    for (int i = 0; i < 3; ++i) race.spawn(runner, std::ref(start), std::ref(started));
    co_await leat::this_task::yield();
    std::printf("before the signal: %d\n", started.load());
    start.set();
    co_await race.join();
    std::printf("after it: %d\n", started.load());
    co_await start.wait();  // set: does not wait
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
