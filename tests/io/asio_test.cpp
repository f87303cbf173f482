// Asio operations awaited through the completion token.
#include <leat/io/asio.hpp>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <gtest/gtest.h>

#include <leat/runtime/run.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using leat::io::await;

leat::task<std::size_t> echo(tcp::acceptor& door) {
    tcp::socket peer = co_await door.async_accept(await);
    std::size_t total = 0;
    try {
        for (std::string data(1000, '\0');;) {
            const std::size_t got = co_await peer.async_read_some(asio::buffer(data), await);
            total += co_await asio::async_write(peer, asio::buffer(data, got), await);
        }
    } catch (const boost::system::system_error& error) {
        EXPECT_EQ(error.code(), asio::error::eof);
    }
    co_return total;
}

leat::task<std::string> ask(tcp::endpoint where, std::string text) {
    tcp::socket socket(co_await leat::io::asio_context());
    co_await socket.async_connect(where, await);
    std::string answer(text.size(), '\0');
    co_await asio::async_write(socket, asio::buffer(text), await);
    co_await asio::async_read(socket, asio::buffer(answer), await);
    co_return answer;
}

TEST(asio, sockets_are_read_and_written_by_tasks) {
    for (const unsigned threads : {1U, 3U}) {
        const auto body = []() -> leat::task<> {
            asio::io_context& context = co_await leat::io::asio_context();
            tcp::acceptor door(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
            const std::string text(200'000, 'y');
            auto [echoed, answer] = co_await leat::when_all(echo(door), ask(door.local_endpoint(), text));
            EXPECT_EQ(echoed, text.size());
            EXPECT_EQ(answer, text);
        };
        leat::run(leat::run_options(threads), body);
    }
}

TEST(asio, an_error_is_thrown) {
    const auto body = []() -> leat::task<> {
        asio::io_context& context = co_await leat::io::asio_context();
        tcp::socket socket(context);
        char byte = 0;
        EXPECT_THROW(co_await socket.async_read_some(asio::buffer(&byte, 1), await), boost::system::system_error);
    };
    leat::run(body);
}

TEST(asio, a_stop_cancels_the_operation) {
    for (const unsigned threads : {1U, 3U}) {
        const auto body = []() -> leat::task<> {
            const auto wait = []() -> leat::task<> {
                asio::io_context& context = co_await leat::io::asio_context();
                asio::steady_timer timer(context, std::chrono::hours(1));
                co_await timer.async_wait(await);
            };
            EXPECT_THROW(co_await leat::timeout(wait(), std::chrono::milliseconds(2)), leat::timed_out);
        };
        leat::run(leat::run_options(threads), body);
    }
}

TEST(asio, an_operation_cancelled_by_its_object_is_an_error_and_no_stop) {
    const auto body = []() -> leat::task<> {
        asio::io_context& context = co_await leat::io::asio_context();
        asio::steady_timer timer(context, std::chrono::hours(1));
        const auto wait = [](asio::steady_timer& on) -> leat::task<> { co_await on.async_wait(await); };
        const auto cancel = [](asio::steady_timer& on) -> leat::task<> {
            on.cancel();
            co_return;
        };
        EXPECT_THROW(co_await leat::when_all(wait(timer), cancel(timer)), boost::system::system_error);
    };
    leat::run(leat::run_options(1), body);
}

TEST(asio, handlers_without_an_error_and_with_several_values_work) {
    const auto body = []() -> leat::task<> {
        asio::io_context& context = co_await leat::io::asio_context();
        co_await asio::post(context, await);
        const auto start = [&](auto handler) { asio::post(context, [handler]() mutable { handler(1, 2.5); }); };
        leat::io::await_t token;
        auto pair = asio::async_initiate<leat::io::await_t, void(int, double)>(start, token);
        const auto [whole, part] = co_await std::move(pair);
        EXPECT_EQ(whole, 1);
        EXPECT_EQ(part, 2.5);
    };
    leat::run(body);
}

}  // namespace
