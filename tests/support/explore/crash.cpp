#include "crash.hpp"

#include <array>
#include <cstdio>
#include <explore/hooks.hpp>
#include <unistd.h>
#include <utility>

#if defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define LEAT_EXPLORE_ASAN 1
#    endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#    define LEAT_EXPLORE_ASAN 1
#endif
#if defined(LEAT_EXPLORE_ASAN)
#    include <sanitizer/common_interface_defs.h>
#endif

namespace leat::explore::detail {

namespace {

#if defined(LEAT_EXPLORE_ASAN)
constexpr std::array signals{SIGABRT};  // the others are the sanitizer's, which tells when it ends the program
#else
constexpr std::array signals{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
#endif
std::function<std::string()> to_print;
std::array<char, 65536> signal_stack;

void print() {
    if (!std::exchange(running, false) || !to_print) return;
    const std::string text = to_print();
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

// The program ends after this: that printing allocates does no harm that was not done before.
void on_signal(int number) {
    print();
    ::raise(number);  // SA_RESETHAND has put the default back
}

}  // namespace

crash_reporter::crash_reporter(std::function<std::string()> describe) {
    to_print = std::move(describe);
    stack_t stack{};
    stack.ss_sp = signal_stack.data();
    stack.ss_size = signal_stack.size();
    struct sigaction action{};
    action.sa_handler = &on_signal;
    action.sa_flags = static_cast<int>(SA_ONSTACK | SA_RESETHAND | SA_NODEFER);
#if defined(LEAT_EXPLORE_ASAN)
    __sanitizer_set_death_callback(&print);
#else
    ::sigaltstack(&stack, nullptr);
#endif
    for (const int number : signals) ::sigaction(number, &action, &before_.emplace_back());
}

crash_reporter::~crash_reporter() {
    for (std::size_t i = 0; i < before_.size(); ++i) ::sigaction(signals[i], &before_[i], nullptr);
    to_print = nullptr;
}

}  // namespace leat::explore::detail
