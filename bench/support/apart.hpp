// Runs a side of a benchmark in a process of its own, so that its memory and its CPU time are its own.
#pragma once

#include <exception>
#include <optional>
#include <type_traits>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

namespace bench {

template <class Result>
struct apart_result {
    Result value;
    double cpu_s = 0;
    double peak_mib = 0;
};

// What work() gives in a forked child; nothing when it failed. Call it before this process has any threads.
template <class Work>
auto run_apart(Work work) -> std::optional<apart_result<std::invoke_result_t<Work&>>> {
    using result = std::invoke_result_t<Work&>;
    static_assert(std::is_trivially_copyable_v<result>);
    int ends[2];
    if (::pipe(ends) != 0) return std::nullopt;
    const pid_t child = ::fork();
    if (child == 0) {
        int code = 1;
        try {
            const result made = work();
            if (::write(ends[1], &made, sizeof made) == static_cast<ssize_t>(sizeof made)) code = 0;
        } catch (const std::exception& error) {
            fmt::print(stderr, "{}\n", error.what());
        }
        ::_exit(code);
    }
    ::close(ends[1]);
    apart_result<result> got{};
    bool is_whole = child > 0 && ::read(ends[0], &got.value, sizeof(result)) == static_cast<ssize_t>(sizeof(result));
    ::close(ends[0]);
    int status = 0;
    rusage used{};
    if (child <= 0 || ::wait4(child, &status, 0, &used) != child || status != 0) is_whole = false;
    if (!is_whole) return std::nullopt;
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    got.cpu_s = seconds(used.ru_utime) + seconds(used.ru_stime);
    got.peak_mib = static_cast<double>(used.ru_maxrss) / 1024;
    return got;
}

}  // namespace bench
