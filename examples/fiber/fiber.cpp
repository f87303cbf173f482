// Plain functions that wait: a parser that asks for its input a line at a time, from deep inside its recursion.
#include <leat/leat.hpp>

#include <cstdio>
#include <string>

// sum := number | "(" sum* ")", a word a line. No coroutine, and no state machine either.
int parse(leat::receiver<std::string>& in, const std::string& word) {
    if (word != "(") return std::stoi(word);
    int sum = 0;
    for (auto next = leat::await(in.recv()); next && *next != ")"; next = leat::await(in.recv()))
        sum += parse(in, *next);
    return sum;
}

void parse_all(leat::receiver<std::string> in) {
    while (auto word = leat::await(in.recv())) std::printf("%d\n", parse(in, *word));
}

leat::task<> program() {
    auto [out, in] = leat::channel<std::string>(2);
    leat::scope work;
    work.spawn(leat::in_fiber(parse_all), std::move(in));
    for (const char* word : {"7", "(", "1", "(", "2", "3", ")", "4", ")", "5"})
        if (auto sent = co_await out.send(word); !sent) break;
    out.close();
    co_await work.join();

    // Below that: two stacks that hand values to each other, without any runtime.
    leat::fiber<int(int)> doubles([](auto& self, int value) {
        for (;;) value = self.suspend(2 * value);
        return 0;
    });
    std::printf("%d\n", doubles.resume(21));
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
