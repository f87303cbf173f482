// Two producers and a consumer, joined by a bounded channel.
#include <leat/leat.hpp>

#include <cstdio>

leat::task<> produce(leat::sender<int> out, int from) {
    for (int i = from; i < from + 1000; ++i)
        if (auto sent = co_await out.send(i); !sent) co_return;  // every consumer has gone; sent.error().value is i
}

leat::task<> consume(leat::receiver<int> in) {
    long sum = 0;
    while (auto item = co_await in.recv()) sum += *item;  // ends when the last sender has gone
    std::printf("sum %ld\n", sum);
}

leat::task<> program() {
    auto [out, in] = leat::channel<int>(64);
    leat::scope work;
    work.spawn(produce, out, 0);  // function and arguments are copied into the task
    work.spawn(produce, std::move(out), 1000);
    work.spawn(consume, std::move(in));
    co_await work.join();  // the first error stops the siblings and is rethrown here
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
