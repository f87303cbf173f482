// A consumer that waits until there is something, with a condition variable: what the queue of another program is made of.
//
// Python: asyncio.Condition and threading.Condition, `wait_for(predicate)`.
#include <leat/leat.hpp>

#include <cstdio>
#include <deque>

struct shelf {
    leat::mutex lock;
    leat::condition_variable changed;
    std::deque<int> books;
    bool closed = false;
};

leat::task<> bring(shelf& to) {
    for (int book = 1; book <= 3; ++book) {
        {
            leat::mutex::guard held = co_await to.lock.lock();
            to.books.push_back(book);
        }
        to.changed.notify_one();
        co_await leat::this_task::yield();
    }
    {
        leat::mutex::guard held = co_await to.lock.lock();
        to.closed = true;
    }
    to.changed.notify_all();
}

leat::task<> take(shelf& from) {
    for (;;) {
        leat::mutex::guard held = co_await from.lock.lock();
        const auto something = [&from] { return !from.books.empty() || from.closed; };
        co_await from.changed.wait(held, something);  // lets the lock go while it waits, and has it again afterwards
        if (from.books.empty()) break;
        std::printf("took book %d\n", from.books.front());
        from.books.pop_front();
    }
    std::printf("no more books\n");
}

leat::task<> program() {
    shelf shared;
    leat::scope work;
    work.spawn(take, std::ref(shared));
    work.spawn(bring, std::ref(shared));
    co_await work.join();
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
