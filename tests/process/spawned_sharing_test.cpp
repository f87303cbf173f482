// What processes share, passed on to a program that is started: by descriptor, through exec.
#include <algorithm>
#include <core.hpp>
#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>
#include <leat/process/process_event.hpp>
#include <leat/process/process_mutex.hpp>
#include <leat/process/process_pipe.hpp>
#include <leat/process/process_queue.hpp>
#include <leat/process/process_semaphore.hpp>
#include <leat/process/shared_array.hpp>
#include <leat/process/shared_slice.hpp>
#include <string>

#include "forked_child.hpp"

namespace {

using leat_test::made;
using leat_test::on_one_thread;

struct order {
    std::string text;
    leat::shared_slice<int> numbers;
};

// The program of the child below.
TEST(spawned_sharing_child, works) {
    if (std::getenv("LEAT_TEST_SHARING") == nullptr) GTEST_SKIP() << "it is started by the test of spawned processes";
    auto queue = made(leat::process_queue<std::string>::attach(3));
    auto pipe = made(leat::process_pipe<int, order>::attach(6));
    auto ready = made(leat::process_event::attach(7));
    auto slots = made(leat::process_semaphore::attach(9));
    auto lock = made(leat::process_mutex::attach(11));
    const auto counts = made(leat::shared_array<int>::attach(13));
    const auto memory = made(leat::shared_region::of(made(leat::shared_memory::attach(leat::io::unique_fd(14)))));
    on_one_thread([&]() -> leat::task<> {
        auto out = made(queue.sender());
        co_await ready.wait();
        {
            const auto permit = co_await slots.acquire(2);
            const auto held = co_await lock.lock();
            counts[1] += counts[0];
        }
        while (const auto got = co_await pipe.recv()) {
            int sum = 0;
            for (const int each : got->numbers.elements()) sum += each;
            EXPECT_TRUE(co_await pipe.send(sum));
            EXPECT_TRUE(co_await out.send(got->text));
        }
    });
}

TEST(spawned_sharing, a_program_attaches_to_everything_by_descriptor) {
    auto queue = made(leat::process_queue<std::string>::create(10, 4096));
    auto ends = made(leat::process_pipe<order, int>::create());
    auto ready = made(leat::process_event::create());
    auto slots = made(leat::process_semaphore::create(2));
    auto lock = made(leat::process_mutex::create());
    const auto counts = made(leat::shared_array<int>::create(2));
    const auto memory = made(leat::shared_region::of(made(leat::shared_memory::create(4096))));

    leat::spawn_options options({"/proc/self/exe", "--gtest_filter=spawned_sharing_child.works"});
    options.program = std::filesystem::read_symlink("/proc/self/exe");
    options.environment.emplace_back("LEAT_TEST_SHARING", "1");
    options.out = leat::child_stdio::null();
    for (const auto& some :
         {queue.passed(3), ends.there.passed(6), ready.passed(7), slots.passed(9), lock.passed(11), counts.passed(13)})
        options.pass.insert(options.pass.end(), some.begin(), some.end());
    options.pass.emplace_back(memory.fd(), 14);
    auto child = leat::spawn(options);
    ASSERT_TRUE(child) << child.error().message;
    ends.there.reset();
    ASSERT_TRUE(queue.expect_sender(child->pid()));
    auto in = made(queue.receiver());

    counts[0] = 5;
    ready.set();
    const auto slice = memory.slice<int>(0, 1000);
    std::ranges::fill(slice->elements(), 3);
    on_one_thread([&]() -> leat::task<> {
        for (const char* const text : {"one", "two"}) {
            order next{text, *slice};
            EXPECT_TRUE(co_await ends.here.send(std::move(next)));
            EXPECT_EQ((co_await ends.here.recv()).value(), 3000);
            EXPECT_EQ((co_await in.recv()).value(), text);
        }
        ends.here.close();
        EXPECT_EQ((co_await ends.here.recv()).error(), leat::pipe_error::closed);
        EXPECT_EQ((co_await in.recv()).error(), leat::queue_error::closed) << "it has left";
        const auto permit = co_await slots.acquire(2);
        EXPECT_FALSE(permit.holder_died());
        const auto held = co_await lock.lock();
        EXPECT_FALSE(held.owner_died());
    });
    EXPECT_EQ(counts[1], 5);
    EXPECT_EQ(child->wait().text(), "exited with 0");
}

}  // namespace
