// Two coroutines and a queue on one thread: as an event loop runs them, in an order that is always the same.
//
// Python: asyncio.Queue between two tasks of an asyncio.TaskGroup; one thread is what asyncio has.
#include <leat/leat.hpp>

#include <cstdio>
#include <string>

leat::task<> ask(leat::sender<std::string> out) {
    for (const char* const question : {"who", "where", "when"}) {
        std::printf("ask %s\n", question);
        if (auto sent = co_await out.send(question); !sent) co_return;
    }
}

leat::task<> answer(leat::receiver<std::string> in) {
    while (auto question = co_await in.recv()) std::printf("answer %s\n", question->c_str());
}

leat::task<> program() {
    auto [out, in] = leat::channel<std::string>(0);  // a rendezvous: each question waits for who answers it
    leat::scope work;
    work.spawn(ask, std::move(out));
    work.spawn(answer, std::move(in));  // ends when `ask` has, and its sender with it
    co_await work.join();
}

int main() { leat::run(leat::run_options(1), program); }
