// worker_process: a benchmark's own program again, as a worker of a cluster.
#pragma once

#include <csignal>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace bench {

class worker_process {
public:
    explicit worker_process(const std::string& url) {
        const char* const arguments[] = {"bench", "worker", "--engine", url.c_str(), nullptr};
        if (::posix_spawn(&pid_, "/proc/self/exe", nullptr, nullptr, const_cast<char**>(arguments), environ) != 0)
            throw std::runtime_error("no worker");
    }
    worker_process(const worker_process&) = delete;
    ~worker_process() {
        ::kill(pid_, SIGTERM);
        int status = 0;
        ::waitpid(pid_, &status, 0);
    }

private:
    pid_t pid_ = 0;
};

}  // namespace bench
