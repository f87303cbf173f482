#include <cli/report_file.hpp>

#include <cerrno>
#include <cli/arguments.hpp>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <leat/io/unique_fd.hpp>

namespace leat::cli {

namespace {

constexpr std::size_t largest = std::size_t{64} << 20U;

std::string read_file(const std::string& path) {
    const auto refuse = [&path](const std::string& why) {
        throw usage_error(fmt::format("cannot read `{}`: {}", path, why));
    };
    const io::unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) refuse(std::strerror(errno));
    std::string all;
    for (std::size_t got = 0;;) {
        constexpr std::size_t piece = 65'536;
        all.resize(got + piece);
        const ssize_t more = ::read(file.get(), all.data() + got, piece);
        if (more < 0 && errno == EINTR) continue;
        if (more < 0) refuse(std::strerror(errno));
        got += static_cast<std::size_t>(more);
        if (got > largest) refuse("it is larger than 64 MiB: no report is");
        if (more == 0) {
            all.resize(got);
            return all;
        }
    }
}

}  // namespace

report read_report(const std::string& path) {
    auto read = report::from_json(read_file(path));
    if (!read) throw usage_error(fmt::format("`{}`: {}", path, read.error()));
    return std::move(*read);
}

plan_forecast read_plan(const std::string& path) {
    report read = read_report(path);
    if (!read.plan)
        throw usage_error(fmt::format("`{}` holds no plan: `leat plan FLOW.toml --report FILE` writes one", path));
    return std::move(*read.plan);
}

}  // namespace leat::cli
