// A task waits for a value that somebody else sets: another task, then a plain thread, then nobody.
//
// Python: asyncio's loop.create_future() with set_result() by another task; concurrent.futures.Future between threads.
#include <leat/leat.hpp>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>

using namespace std::chrono_literals;

leat::task<> set_later(leat::promise<std::string> result) {
    co_await leat::sleep_for(5ms);
    result.set_value("a value from a task");
}

leat::task<> give_up(leat::promise<std::string> result) {
    (void)result;  // destroyed unset
    co_return;
}

leat::task<> program() {
    leat::scope work;

    leat::promise<std::string> first;
    leat::future<std::string> from_task = first.get_future();
    work.spawn(set_later, std::move(first));
    const std::string text = co_await std::move(from_task);  // takes it; without move it would stay for others
    std::printf("%s\n", text.c_str());

    leat::promise<int> second;
    leat::future<int> from_thread = second.get_future();
    std::thread other([result = std::move(second)]() mutable {
        result.set_exception(std::make_exception_ptr(std::runtime_error("an error from a thread")));
    });
    try {
        co_await from_thread;
    } catch (const std::runtime_error& error) {
        std::printf("%s\n", error.what());
    }
    other.join();

    leat::promise<std::string> third;
    leat::future<std::string> from_nobody = third.get_future();
    work.spawn(give_up, std::move(third));
    try {
        co_await from_nobody;
    } catch (const leat::broken_promise& error) {
        std::printf("%s\n", error.what());
    }
    co_await work.join();
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
