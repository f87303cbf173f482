// crash_reporter: while it lives, a crash of the program (a signal, or an error that the address sanitizer found) first
// prints what `describe` gives: which schedule of which threads led there. Used by run().
#pragma once

#include <csignal>
#include <functional>
#include <string>
#include <vector>

namespace leat::explore::detail {

class crash_reporter {
public:
    explicit crash_reporter(std::function<std::string()> describe);
    crash_reporter(const crash_reporter&) = delete;
    crash_reporter& operator=(const crash_reporter&) = delete;
    ~crash_reporter();

private:
    std::vector<struct sigaction> before_;
};

}  // namespace leat::explore::detail
