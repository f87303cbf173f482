#include <leat/io/readable.hpp>

#include <leat/task/outcome.hpp>

namespace leat::io {

task<bool> readable_until(int fd, time_point deadline) {
    descriptor watched(fd);
    const auto how = co_await watched.readable(deadline);
    if (how == context::wake::cancelled) leat::detail::throw_cancelled();
    co_return how == context::wake::ready;
}

task<> readable(int fd) { co_await readable_until(fd, time_point::max()); }

}  // namespace leat::io
