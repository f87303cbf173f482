// A counter that many tasks add to, on all threads: nothing is lost, since each addition holds the lock, also while it waits.
//
// Python: threading.Lock and asyncio.Lock are one thing here, held over an await and on several threads at once.
#include <leat/leat.hpp>

#include <cstdio>

struct counter {
    leat::mutex lock;
    long value = 0;
};

leat::task<> add(counter& to, int times) {
    for (int i = 0; i < times; ++i) {
        leat::mutex::guard held = co_await to.lock.lock();
        const long before = to.value;
        if (i % 100 == 0) co_await leat::this_task::yield();  // others run, and wait for the lock
        to.value = before + 1;
    }  // unlocks
}

leat::task<> program() {
    counter shared;
    leat::scope work;
    for (int i = 0; i < 10; ++i) work.spawn(add, std::ref(shared), 1000);
    co_await work.join();
    std::printf("counted %ld\n", shared.value);
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
