// pipe_reader, pipe_writer, readable: pipes, files, and descriptors that others share.
#include <leat/io/pipe.hpp>

#include <child_output.hpp>
#include <csignal>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <thread>

#include <leat/io/readable.hpp>
#include <leat/runtime/run.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>

namespace {

using leat::io::pipe_reader;
using leat::io::pipe_writer;
using leat::io::unique_fd;
using leat_test::pipe_pair;

leat::task<std::string> read_all(pipe_reader& from, std::size_t piece) {
    std::string text;
    std::string buffer(piece, '\0');
    const std::span<char> into(buffer);
    for (;;) {
        auto got = co_await from.read_some(into);
        if (!got) throw std::system_error(got.error());
        if (*got == 0) co_return text;
        text.append(buffer, 0, *got);
    }
}

leat::task<std::error_code> write_and_close(pipe_writer to, std::string text) {
    auto done = co_await to.write_all(text);
    to.close();
    co_return done ? std::error_code() : done.error();
}

std::string numbers(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += std::to_string(i) + "\n";
    return text;
}

// A copy of an end that is blocking, as standard streams are.
unique_fd shared(int fd) { return unique_fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

TEST(pipe, more_than_it_holds_goes_through_in_order) {
    const std::string text = numbers(200'000);
    for (const unsigned threads : {1U, 2U}) {
        const auto copy = [&]() -> leat::task<std::string> {
            auto pipe = leat::io::make_incoming_pipe();
            ::fcntl(pipe->writer.get(), F_SETFL, O_NONBLOCK);
            auto [error, got] = co_await leat::when_all(write_and_close(pipe_writer(std::move(pipe->writer)), text),
                                                        read_all(pipe->reader, 5000));
            EXPECT_FALSE(error) << error.message();
            co_return got;
        };
        EXPECT_EQ(leat::run(leat::run_options(threads), copy), text);
    }
}

TEST(pipe, a_blocking_end_is_read_and_written_without_changing_its_mode) {
    const std::string text = numbers(30'000);
    pipe_pair pipe;
    const auto copy = [&]() -> leat::task<std::string> {
        pipe_reader reader(shared(pipe.reader()));
        pipe_writer writer(shared(pipe.writer()));
        pipe.close_writer();
        auto [error, got] = co_await leat::when_all(write_and_close(std::move(writer), text), read_all(reader, 70'000));
        EXPECT_FALSE(error) << error.message();
        EXPECT_EQ(::fcntl(pipe.reader(), F_GETFL) & O_NONBLOCK, 0);
        co_return got;
    };
    EXPECT_EQ(leat::run(copy), text);
}

TEST(pipe, a_regular_file_is_read_to_its_end) {
    const auto read_file = []() -> leat::task<std::string> {
        pipe_reader reader(unique_fd(::open(LEAT_SOURCE_DIR "/CMakeLists.txt", O_RDONLY | O_CLOEXEC | O_NONBLOCK)));
        co_return co_await read_all(reader, 100);
    };
    const std::string text = leat::run(read_file);
    std::ifstream file(LEAT_SOURCE_DIR "/CMakeLists.txt");
    EXPECT_EQ(text, std::string(std::istreambuf_iterator<char>(file), {}));
}

TEST(pipe, a_stop_ends_a_read_that_waits_on_either_kind) {
    for (const bool blocking : {false, true}) {
        pipe_pair pipe;
        if (!blocking) ::fcntl(pipe.reader(), F_SETFL, O_NONBLOCK);
        const auto body = [&]() -> leat::task<> {
            pipe_reader reader(shared(pipe.reader()));
            EXPECT_THROW(co_await leat::timeout(read_all(reader, 10), std::chrono::milliseconds(5)), leat::timed_out);
        };
        leat::run(body);
    }
}

TEST(pipe, a_stop_ends_a_write_that_nobody_reads_on_either_kind) {
    for (const bool blocking : {false, true}) {
        pipe_pair pipe;
        if (!blocking) ::fcntl(pipe.writer(), F_SETFL, O_NONBLOCK);
        const auto body = [&]() -> leat::task<> {
            auto flood = write_and_close(pipe_writer(shared(pipe.writer())), std::string(1'000'000, 'x'));
            EXPECT_THROW(co_await leat::timeout(std::move(flood), std::chrono::milliseconds(5)), leat::timed_out);
        };
        leat::run(body);
    }
}

TEST(pipe, a_reader_that_has_gone_is_an_error_and_no_signal) {
    ASSERT_EQ(::signal(SIGPIPE, SIG_DFL), SIG_DFL);
    for (const bool blocking : {false, true}) {
        pipe_pair pipe;
        if (!blocking) ::fcntl(pipe.writer(), F_SETFL, O_NONBLOCK);
        pipe.close_reader();
        const auto body = [&] { return write_and_close(pipe_writer(shared(pipe.writer())), "text"); };
        EXPECT_EQ(leat::run(body), std::errc::broken_pipe);
    }
    sigset_t pending;
    ::sigpending(&pending);
    EXPECT_FALSE(::sigismember(&pending, SIGPIPE));
}

TEST(pipe, a_read_that_always_has_something_lets_other_tasks_run) {
    const auto body = []() -> leat::task<int> {
        const auto zeros = [](leat::scope& work, int& turns) -> leat::task<> {
            const auto read_for_ever = []() -> leat::task<> {
                pipe_pair pipe;
                ::fcntl(pipe.reader(), F_SETFL, O_NONBLOCK);
                pipe_reader reader(shared(pipe.reader()));
                char byte = 0;
                for (;;) {
                    [[maybe_unused]] const auto put = ::write(pipe.writer(), "x", 1);
                    auto got = co_await reader.read_some(std::span<char>(&byte, 1));
                    if (!got) co_return;
                    if (auto token = co_await leat::this_task::stop_token(); token.stop_requested()) co_return;
                }
            };
            work.spawn(read_for_ever);
            for (; turns < 10; ++turns) co_await leat::this_task::yield();
            work.stop();
        };
        int turns = 0;
        co_await leat::with_scope(zeros, std::ref(turns));
        co_return turns;
    };
    EXPECT_EQ(leat::run(leat::run_options(1), body), 10);
}

TEST(pipe, no_descriptor_is_an_error_value) {
    const auto body = []() -> leat::task<> {
        pipe_reader reader{unique_fd()};
        char byte = 0;
        auto got = co_await reader.read_some(std::span<char>(&byte, 1));
        EXPECT_FALSE(got.has_value());
    };
    leat::run(body);
}

TEST(readable, an_eventfd_wakes_the_task) {
    const unique_fd bell(::eventfd(0, EFD_CLOEXEC));
    const auto wait = [&]() -> leat::task<bool> {
        EXPECT_FALSE(co_await leat::io::readable_until(bell.get(), leat::env::now() + std::chrono::milliseconds(2)));
        std::thread ringer([&] { ::eventfd_write(bell.get(), 1); });
        co_await leat::io::readable(bell.get());
        ringer.join();
        co_return true;
    };
    EXPECT_TRUE(leat::run(wait));
}

TEST(readable, a_descriptor_that_is_not_open_is_an_error) {
    const auto wait = []() -> leat::task<> { co_await leat::io::readable(9999); };
    EXPECT_THROW(leat::run(wait), std::system_error);
}

TEST(readable, a_stop_throws_cancelled) {
    const unique_fd bell(::eventfd(0, EFD_CLOEXEC));
    const auto wait = [&]() -> leat::task<> {
        EXPECT_THROW(co_await leat::timeout(leat::io::readable(bell.get()), std::chrono::milliseconds(2)),
                     leat::timed_out);
    };
    leat::run(wait);
}

}  // namespace
