// Several tasks at once: all results in order, at most so many at a time; results as they come; and one that is stopped.
//
// Python: asyncio.gather, a semaphore around it, asyncio.as_completed, create_task() and cancel().
#include <leat/leat.hpp>

#include <cstdio>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;

// Takes `number` turns of the event loop.
leat::task<int> square_slowly(int number) {
    for (int turn = 0; turn < number; ++turn) co_await leat::this_task::yield();
    if (number == 13) throw std::runtime_error("13 is refused");
    co_return number* number;
}

leat::task<int> sleep_all_day() {
    co_await leat::sleep_for(24h);
    co_return 0;
}

leat::task<> program() {
    const std::vector<int> numbers{3, 1, 2};
    for (int square : co_await leat::gather(numbers, square_slowly, 2)) std::printf("%d ", square);
    std::printf("in order\n");

    leat::scope work;
    std::vector<leat::task_handle<int>> handles;
    for (int number : numbers) handles.push_back(work.submit(square_slowly, number));
    auto ended = leat::as_completed(handles);
    while (auto* handle = co_await ended.next()) {
        const int square = co_await handle->join();  // does not wait: it has ended
        std::printf("%d ", square);
    }
    std::printf("as they come\n");

    const std::vector<int> with_one_bad{1, 13};
    try {
        co_await leat::gather(with_one_bad, square_slowly, 2);
    } catch (const std::runtime_error& error) {
        std::printf("gather: %s\n", error.what());
    }
    auto ends = co_await leat::gather_outcomes(with_one_bad, square_slowly, 2);
    std::printf("gather_outcomes: %s, %s\n", ends[0].is_value() ? "a value" : "an error",
                ends[1].is_value() ? "a value" : "an error");

    const leat::task_handle<int> slow = work.submit(sleep_all_day);
    slow.stop();
    const leat::outcome<int> end = co_await slow.as_outcome();
    std::printf("stopped: %s\n", end.is_cancelled() ? "cancelled" : "something else");
    co_await work.join();
}

int main() { leat::run(leat::run_options(1), program); }  // on one thread, as asyncio does
