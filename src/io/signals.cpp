// The handler writes the number of the signal into a pipe, which next() reads: all that a handler may do.
#include <leat/io/signals.hpp>

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdexcept>
#include <system_error>
#include <vector>

#include <leat/io/pipe.hpp>

namespace leat::io {

namespace {

constexpr int signal_count = 65;  // Linux: 1 to 64

// For each signal the descriptor that its handler writes to, plus one; 0: held by no object.
env::atomic<int> targets[signal_count] = {};

void on_signal(int number) noexcept {
    const int saved = errno;
    const int target = targets[number].load(env::relaxed) - 1;  // relaxed: a number, orders nothing
    const auto byte = static_cast<unsigned char>(number);
    if (target >= 0) {
        [[maybe_unused]] const auto written = ::write(target, &byte, 1);
    }
    errno = saved;
}

incoming_pipe checked_pipe() {
    auto made = make_incoming_pipe();
    if (!made) throw std::system_error(made.error(), "making a pipe for signals");
    return std::move(*made);
}

}  // namespace

struct signals::state {
    state() : pipe(checked_pipe()) {
        // A handler must not block: what does not fit is dropped.
        ::fcntl(pipe.writer.get(), F_SETFL, O_NONBLOCK);
    }
    ~state() {
        for (const auto& [number, before] : held) {
            ::sigaction(number, &before, nullptr);
            targets[number].store(0, env::relaxed);
        }
    }
    void hold(int number) {
        if (number < 1 || number >= signal_count)
            throw std::system_error(EINVAL, std::system_category(), fmt::format("signal {}", number));
        int nobody = 0;
        if (!targets[number].compare_exchange_strong(nobody, pipe.writer.get() + 1))
            throw std::invalid_argument(
                fmt::format("signal {} is already watched by another leat::io::signals", number));
        struct sigaction action{};
        action.sa_handler = &on_signal;
        action.sa_flags = SA_RESTART;
        struct sigaction before{};
        if (::sigaction(number, &action, &before) != 0) {
            const int error = errno;
            targets[number].store(0, env::relaxed);
            throw std::system_error(error, std::system_category(), fmt::format("signal {}", number));
        }
        held.push_back({number, before});
    }

    struct installed {
        int number;
        struct sigaction before;
    };
    incoming_pipe pipe;
    std::vector<installed> held;
};

signals::signals(std::initializer_list<int> numbers) : state_(std::make_unique<state>()) {
    state_->held.reserve(numbers.size());
    for (const int number : numbers) state_->hold(number);
}

signals::~signals() = default;

task<int> signals::next() {
    char byte = 0;
    const std::span<char> into(&byte, 1);
    auto got = co_await state_->pipe.reader.read_some(into);
    if (!got) throw std::system_error(got.error(), "reading signals");
    co_return static_cast<unsigned char>(byte);
}

}  // namespace leat::io
