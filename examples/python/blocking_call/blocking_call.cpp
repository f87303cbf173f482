// A call that blocks its thread is moved off the loop: ticks go on meanwhile, on the one thread that runs tasks.
//
// Python: asyncio.to_thread and loop.run_in_executor.
#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <thread>

using namespace std::chrono_literals;

int ask_a_slow_library(int question) {
    std::this_thread::sleep_for(50ms);  // stands for what cannot be awaited
    return question * 2;
}

leat::task<> tick(int& ticks) {
    leat::interval every(1ms);
    for (;;) {
        co_await every.next();
        ++ticks;
    }
}

leat::task<> program() {
    int ticks = 0;
    leat::scope background;
    background.spawn(tick, std::ref(ticks));
    const int answer = co_await leat::blocking(ask_a_slow_library, 21);
    background.stop();
    co_await background.join();
    std::printf("answer %d, and ticks meanwhile: %s\n", answer, ticks > 1 ? "yes" : "no");
}

int main() { leat::run(leat::run_options(1), program); }
