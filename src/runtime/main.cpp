#include <leat/runtime/main.hpp>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <leat/base/exception_text.hpp>
#include <leat/base/log.hpp>
#include <leat/task/cancelled.hpp>

namespace leat::detail {

namespace {

// What the handler may touch; only one main_frame lives at a time.
env::atomic<int> received_signal{0};  // 0: none; else the first that came
int bell = -1;                        // an eventfd: a signal, or the end of main, rings it

void print_line(std::string_view text) noexcept {
    fmt::memory_buffer line;
    fmt::format_to(std::back_inserter(line), "{}\n", text);
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

void print_log(void*, log_level level, std::string_view message) noexcept {
    if (level >= log_level::warning) print_line(message);
}

void ring() noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(bell, &one, sizeof one);
}

void on_signal(int number) noexcept {
    const int saved = errno;
    int none = 0;
    if (!received_signal.compare_exchange_strong(none, number)) ::_exit(128 + number);
    ring();
    errno = saved;
}

}  // namespace

// The watcher alone takes the two signals: it sits in a call that they interrupt, whatever the other threads wait in, and
// they cut no call of the program short.
struct main_frame::state {
    stop_source stop;
    env::thread watcher;
    env::atomic<bool> ending{false};  // true: the next ring is the last
    sigset_t before_mask{};
    struct sigaction before_int{};
    struct sigaction before_term{};

    static void watch(void* raw) {
        const bystander wakes_nobody;  // a signal asks tasks to stop, which ends no wait for another task
        auto& self = *static_cast<state*>(raw);
        const sigset_t ours = watched();
        ::sigprocmask(SIG_UNBLOCK, &ours, nullptr);  // this thread's mask, on Linux
        while (!self.ending.load()) {
            std::uint64_t rings = 0;
            while (::read(bell, &rings, sizeof rings) < 0 && errno == EINTR) {
            }
            if (received_signal.load() != 0) self.stop.request_stop();
        }
    }
    static sigset_t watched() noexcept {
        sigset_t both;
        sigemptyset(&both);
        sigaddset(&both, SIGINT);
        sigaddset(&both, SIGTERM);
        return both;
    }
};

main_frame::main_frame() : state_(std::make_unique<state>()) {
    set_log_hook(&print_log, nullptr);
    bell = ::eventfd(0, EFD_CLOEXEC);
    if (bell < 0 || !state_->watcher.start("leat-signals", &state::watch, state_.get())) {
        log(log_level::warning, "leat: signals cannot be watched: Ctrl-C ends the program at once");
        return;
    }
    struct sigaction action{};
    action.sa_handler = &on_signal;
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGINT, &action, &state_->before_int);
    ::sigaction(SIGTERM, &action, &state_->before_term);
    const sigset_t ours = state::watched();
    ::sigprocmask(SIG_BLOCK, &ours, &state_->before_mask);
}

main_frame::~main_frame() {
    if (state_->watcher.joinable()) {
        ::sigaction(SIGINT, &state_->before_int, nullptr);
        ::sigaction(SIGTERM, &state_->before_term, nullptr);
        state_->ending.store(true);
        ring();
        state_->watcher.join();
        ::sigprocmask(SIG_SETMASK, &state_->before_mask, nullptr);
    }
    ::close(bell);
    set_log_hook(nullptr, nullptr);
}

stop_source& main_frame::stop() noexcept { return state_->stop; }

int main_frame::ended(int code) noexcept {
    const int signal = received_signal.load();
    return signal != 0 ? 128 + signal : code;
}

int main_frame::failed() noexcept {
    try {
        throw;
    } catch (const cancelled&) {
        return ended(1);
    } catch (const deadlocked&) {
        return ended(3);  // it is in the log
    } catch (...) {
        print_line("error: " + current_exception_text());
    }
    return 1;
}

}  // namespace leat::detail

namespace leat {

std::optional<int> worker_main() {
    if (std::getenv(detail::worker_variable) == nullptr) return {};
    if (detail::worker_body != nullptr) return detail::worker_body();
    detail::print_line(std::string("error: ") + detail::worker_variable +
                       " is set, and this program has no functions for a worker");
    return 2;
}

}  // namespace leat
