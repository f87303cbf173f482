// A flow of functions: a source, three stages with their policies, a sink, and the account at the end.
#include <leat/flow/flow.hpp>
#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>

using namespace std::chrono_literals;

// A stage may be a plain function or a coroutine, and may fail.
leat::task<int> look_up(int number) {
    co_await leat::sleep_for(1ms);
    if (number % 10 == 7) throw leat::permanent_error("nobody has heard of it");
    co_return number* number;
}

leat::task<> program() {
    int last = 0;
    auto graph = leat::from(std::views::iota(0, 100)) |
                 leat::map("look up", look_up).concurrency(8).retry(3, 10ms).on_error(leat::on_error::skip) |
                 leat::filter("even", [](const int& square) { return square % 2 == 0; }) |
                 leat::for_each("keep", [&](int square) { last = square; });
    leat::report done = co_await leat::run_flow(std::move(graph));
    std::printf("%llu in = %llu out + %llu skipped; last %d\n", static_cast<unsigned long long>(done.in),
                static_cast<unsigned long long>(done.out), static_cast<unsigned long long>(done.skipped), last);
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
