// The core as a stranger uses it: a producer, a channel, a consumer, and the sum that comes through. Exits 0 when it is right.
#include <functional>
#include <utility>

#include <leat/leat.hpp>

namespace {

leat::task<> produce(leat::sender<int> out) {
    for (int i = 1; i <= 1000; ++i)
        if (auto sent = co_await out.send(i); !sent) co_return;
}

leat::task<> consume(leat::receiver<int> in, int& sum) {
    while (auto item = co_await in.recv()) sum += *item;
}

leat::task<int> program() {
    auto [out, in] = leat::channel<int>(8);
    int sum = 0;
    leat::scope work;
    work.spawn(produce, std::move(out));
    work.spawn(consume, std::move(in), std::ref(sum));
    co_await work.join();
    co_return sum == 500'500 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
