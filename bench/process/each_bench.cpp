// Question: what does leat add to each command it runs, two at a time, over a bare posix_spawn, and how do xargs and GNU
// parallel compare?
//
// The command is true: the cost is that of starting and reaping a process, and of the tool. xargs and the bare loop capture
// nothing, keep no order, and report nothing; leat and parallel do. The checksum is the number of items when all commands
// succeeded.
// Not measured: commands that write much, many jobs, persistent workers. leat's start is included, as the peers' is.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <support/bench.hpp>

extern char** environ;

namespace {

namespace fs = std::filesystem;

std::string in_path(const std::string& program) {
    std::string path = std::getenv("PATH") == nullptr ? "/usr/bin:/bin" : std::getenv("PATH");
    for (std::size_t from = 0; from <= path.size();) {
        const std::size_t end = std::min(path.find(':', from), path.size());
        const std::string file = path.substr(from, end - from) + "/" + program;
        if (::access(file.c_str(), X_OK) == 0) return file;
        from = end + 1;
    }
    return {};
}

// A file of items, one a line, gone with the object.
class item_file {
public:
    explicit item_file(std::uint64_t count)
        : path_((fs::temp_directory_path() / fmt::format("leat_each_bench.{}.{}", ::getpid(), count)).string()) {
        std::ofstream file(path_);
        for (std::uint64_t i = 0; i < count; ++i) file << i << '\n';
    }
    ~item_file() { fs::remove(path_); }
    item_file(const item_file&) = delete;
    const std::string& path() const noexcept { return path_; }

private:
    std::string path_;
};

// Starts words[0], a path, with standard input from `input`; 0 when that fails.
pid_t start(const std::vector<std::string>& words, const std::string& input) {
    std::vector<char*> arguments;
    for (const std::string& each : words) arguments.push_back(const_cast<char*>(each.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, input.c_str(), O_RDONLY, 0);
    pid_t child = 0;
    if (::posix_spawn(&child, words[0].c_str(), &actions, nullptr, arguments.data(), environ) != 0) child = 0;
    ::posix_spawn_file_actions_destroy(&actions);
    return child;
}

// 1 when the next child to end has succeeded, else 0.
std::uint64_t reap() {
    int status = 0;
    if (::waitpid(-1, &status, 0) < 0) return 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 0;
}

std::uint64_t bare_loop(const std::string& program, std::uint64_t count) {
    std::uint64_t good = 0;
    std::uint64_t running = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        if (running == 2) good += reap(), --running;
        if (start({program, std::to_string(i)}, "/dev/null") != 0) ++running;
    }
    for (; running != 0; --running) good += reap();
    return good;
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "each");
    const std::string leat = (fs::read_symlink("/proc/self/exe").parent_path() / "leat").string();
    const std::string program = in_path("true");
    if (::access(leat.c_str(), X_OK) != 0 || program.empty()) {
        bench.fail("needs the command leat beside this program, and true in PATH");
        return bench.exit_code();
    }
    const auto per_item = [](std::uint64_t count, auto work) {
        return [count, work] {
            std::uint64_t good = 0;
            const double time = bench::nanoseconds_of([&] { good = work(); });
            return bench::sample{time / 1000 / static_cast<double>(count), good};
        };
    };
    const auto tool = [&](std::uint64_t count, const item_file& items, std::vector<std::string> words) {
        return per_item(count, [count, &items, words = std::move(words)] {
            return start(words, items.path()) != 0 && reap() == 1 ? count : 0;
        });
    };
    const std::vector<std::string> each = {leat, "each", "-j", "2", "--", program};

    const std::uint64_t many = bench.size(2000, 50);
    const item_file many_items(many);
    const bench::side ours = tool(many, many_items, each);
    bench.compare("true", "posix_spawn in a loop", "us/item", ours,
                  per_item(many, [&] { return bare_loop(program, many); }), 5);
    const std::string xargs = in_path("xargs");
    if (xargs.empty()) bench.skip("true", "xargs", "not installed");
    else
        bench.compare("true", "xargs -P 2 -n 1", "us/item", ours,
                      tool(many, many_items, {xargs, "-P", "2", "-n", "1", program}), 5);

    const std::uint64_t few = bench.size(200, 20);  // a peer that is slow
    const item_file few_items(few);
    const std::string parallel = in_path("parallel");
    if (parallel.empty()) bench.skip("true, fewer items", "GNU parallel", "not installed");
    else
        bench.compare("true, fewer items", "GNU parallel", "us/item", tool(few, few_items, each),
                      tool(few, few_items, {parallel, "--will-cite", "-j", "2", program, "{}"}), 5);
    return bench.exit_code();
}
