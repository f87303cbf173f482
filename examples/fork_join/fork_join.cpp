// Divide and conquer: a merge sort that forks, and a range that is mapped and summed on all threads.
#include <leat/leat.hpp>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <ranges>
#include <span>
#include <vector>

leat::fork_task<> merge_sort(std::span<unsigned> numbers, std::span<unsigned> room) {
    if (numbers.size() < 64) {
        std::ranges::sort(numbers);
        co_return;
    }
    const std::size_t half = numbers.size() / 2;
    co_await leat::fork(merge_sort, numbers.first(half),
                        room.first(half));  // runs now; others may go on below meanwhile
    co_await leat::call(merge_sort, numbers.subspan(half), room.subspan(half));
    co_await leat::join();  // the forked half is sorted now
    std::ranges::merge(numbers.first(half), numbers.subspan(half), room.begin());
    std::ranges::copy(room, numbers.begin());
}

leat::task<> program() {
    std::vector<unsigned> numbers(100'000);
    unsigned seed = 1;
    for (unsigned& each : numbers) each = seed = seed * 1664525 + 1013904223;
    std::vector<unsigned> room(numbers.size());
    co_await merge_sort(numbers, room);
    std::printf("sorted: %s\n", std::ranges::is_sorted(numbers) ? "yes" : "no");

    auto collatz = [](long n) {
        long steps = 0;
        for (; n != 1; ++steps) n = n % 2 == 0 ? n / 2 : 3 * n + 1;
        return steps;
    };
    const std::vector<long> steps = co_await leat::parallel_map(std::views::iota(1L, 100'001L), collatz);
    const long all = co_await leat::parallel_reduce(steps, 0L, std::plus<>());
    std::printf("collatz steps to 100000: %ld\n", all);
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
