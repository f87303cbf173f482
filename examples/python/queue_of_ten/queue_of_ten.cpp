// A producer, and a consumer that is slower, with a queue of ten between them: the producer waits when it is full.
//
// Python: threading with queue.Queue(maxsize=10) and a sentinel at the end. Here the end is that the last sender has gone.
#include <leat/leat.hpp>

#include <cstdio>

using namespace std::chrono_literals;

leat::task<> produce(leat::sender<int> out) {
    for (int i = 1; i <= 100; ++i)
        if (auto sent = co_await out.send(i); !sent) co_return;  // nobody receives any more
}

leat::task<> consume(leat::receiver<int> in) {
    int items = 0;
    long sum = 0;
    std::size_t deepest = 0;
    while (auto item = co_await in.recv()) {
        deepest = std::max(deepest, in.counts().depth);
        sum += *item;
        if (++items % 10 == 0) co_await leat::sleep_for(1ms);
    }
    std::printf("%d items, sum %ld, never more than ten in the queue: %s\n", items, sum, deepest <= 10 ? "yes" : "no");
}

leat::task<> program() {
    auto [out, in] = leat::channel<int>(10);
    leat::scope work;
    work.spawn(produce, std::move(out));
    work.spawn(consume, std::move(in));
    co_await work.join();
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
