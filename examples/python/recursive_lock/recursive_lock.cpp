// A lock that its owner may take again: a task and what it awaits are one owner, so a function that locks can be called by
// another one that has locked.
//
// Python: threading.RLock, whose owner is a thread; asyncio has none.
#include <leat/leat.hpp>

#include <cstdio>

struct account {
    leat::recursive_mutex lock;
    long balance = 0;
};

leat::task<> deposit(account& to, long amount) {
    auto held = co_await to.lock.lock();
    const long before = to.balance;
    co_await leat::this_task::yield();
    to.balance = before + amount;
}

leat::task<> deposit_twice(account& to, long amount) {
    auto held = co_await to.lock.lock();  // nobody comes in between the two
    co_await deposit(to, amount);         // which locks again
    co_await deposit(to, amount);
}

leat::task<> program() {
    account shared;
    leat::scope work;
    for (int i = 0; i < 100; ++i) work.spawn(deposit_twice, std::ref(shared), 5);
    co_await work.join();
    std::printf("balance %ld\n", shared.balance);
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
