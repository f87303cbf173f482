// For tests that start processes: a pipe, what comes out of it, and whether a process is still there.
#pragma once

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>

namespace leat_test {

// Both ends are close-on-exec.
class pipe_pair {
public:
    pipe_pair() {
        if (::pipe2(ends_.data(), O_CLOEXEC) != 0) std::abort();
    }
    pipe_pair(const pipe_pair&) = delete;
    pipe_pair& operator=(const pipe_pair&) = delete;
    ~pipe_pair() {
        close_reader();
        close_writer();
    }
    int reader() const { return ends_[0]; }
    int writer() const { return ends_[1]; }
    void close_reader() { close(ends_[0]); }
    void close_writer() { close(ends_[1]); }

    // All that comes until every writer has gone, our own included.
    std::string read_all() {
        close_writer();
        std::string text;
        char piece[4096];
        for (ssize_t got = 0; (got = ::read(reader(), piece, sizeof piece)) > 0;)
            text.append(piece, static_cast<std::size_t>(got));
        return text;
    }
    // Up to the next line feed, which is left out.
    std::string read_line() {
        std::string text;
        for (char next = 0; ::read(reader(), &next, 1) == 1 && next != '\n';) text += next;
        return text;
    }

private:
    static void close(int& end) {
        if (end >= 0) ::close(std::exchange(end, -1));
    }
    std::array<int, 2> ends_{-1, -1};
};

// Whether `pid` is a process that still runs: not gone, and not a zombie that its parent has not noticed.
inline bool runs(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string stat;
    std::getline(file, stat, '\0');
    const auto state = stat.rfind(") ");
    return state != std::string::npos && stat[state + 2] != 'Z' && stat[state + 2] != 'X';
}

// Waits until `holds()`, which something else is bringing about; false when it never comes.
template <class Condition>
bool eventually(Condition holds) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!holds()) {
        if (std::chrono::steady_clock::now() > give_up) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

}  // namespace leat_test
