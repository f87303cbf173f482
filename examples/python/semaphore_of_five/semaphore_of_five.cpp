// Twenty visitors, of whom five are inside at once.
//
// Python: asyncio.Semaphore(5) and `async with`.
#include <leat/leat.hpp>

#include <algorithm>
#include <cstdio>

using namespace std::chrono_literals;

struct room {
    leat::semaphore seats{5};
    leat::mutex door;
    int inside = 0, most = 0, visits = 0;
};

leat::task<> visit(room& in) {
    const leat::semaphore::permit seat = co_await in.seats.acquire();
    {
        const leat::mutex::guard held = co_await in.door.lock();
        in.most = std::max(in.most, ++in.inside);
        ++in.visits;
    }
    co_await leat::sleep_for(5ms);
    const leat::mutex::guard held = co_await in.door.lock();
    --in.inside;
}  // gives the seat back

leat::task<> program() {
    room shared;
    leat::scope work;
    for (int i = 0; i < 20; ++i) work.spawn(visit, std::ref(shared));
    co_await work.join();
    std::printf("%d visits, never more than %d inside\n", shared.visits, shared.most);
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
