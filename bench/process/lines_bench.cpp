// Question: what do a million lines through persistent workers cost, in order, beside the same worker behind a plain pipe, GNU
// parallel --pipe and xargs?
//
// The worker answers a line with the same line, at once: this program itself, as one in C would, and one in Python. Between
// plain pipes it is fed by cat and read by cat. leat keeps an account of each line, gives a worker a window of them, and
// replaces one that dies; the pipe and parallel, which hands out pieces of a file, do not. xargs has no such workers: it starts
// printf for each thousand lines. The checksum is made of the output's bytes, so also of its order, but for xargs, which
// keeps none: there it is their sum.
// Not measured: workers that take long for a line, where leat's share is nothing; long lines; what a death costs. Where there
// are two CPUs, two workers and leat share them.
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include <support/bench.hpp>
#include <support/programs.hpp>

namespace {

using words = std::vector<std::string>;

// Answers each line when it has it.
int be_the_worker() {
    char* line = nullptr;
    std::size_t room = 0;
    for (ssize_t length = 0; (length = ::getline(&line, &room, stdin)) > 0;) {
        std::fwrite(line, 1, static_cast<std::size_t>(length), stdout);
        std::fflush(stdout);
    }
    std::free(line);
    return 0;
}

constexpr const char* python_worker =
    "import sys\n"
    "for line in sys.stdin:\n"
    "    sys.stdout.write(line)\n"
    "    sys.stdout.flush()\n";

enum class order : unsigned char { kept, lost };

std::uint64_t checksum_of(const std::string& path, order kept) {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> piece(1U << 20U);
    std::uint64_t hash = 14695981039346656037U;  // FNV-1a
    std::uint64_t sum = 0;
    while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())), file.gcount() > 0)
        for (std::streamsize i = 0; i < file.gcount(); ++i) {
            const auto byte = static_cast<unsigned char>(piece[static_cast<std::size_t>(i)]);
            hash = (hash ^ byte) * 1099511628211U;
            sum += byte;
        }
    return kept == order::kept ? hash : sum;
}

words joined(words first, const words& rest) {
    first.insert(first.end(), rest.begin(), rest.end());
    return first;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "--worker") == 0) return be_the_worker();
    bench::session bench(argc, argv, "lines");
    const std::string leat = bench::beside("leat");
    const std::string shell = bench::in_path("sh");
    if (::access(leat.c_str(), X_OK) != 0 || shell.empty()) {
        bench.fail("needs the command leat beside this program, and sh in PATH");
        return bench.exit_code();
    }
    const std::uint64_t count = bench.size(1'000'000, 2000);
    const bench::item_file items(count);
    const bench::scratch_file output("answers");
    const auto tool = [&](const words& command, order kept) -> bench::side {
        return [&items, &output, count, command, kept] {
            bool good = false;
            const double time = bench::nanoseconds_of(
                [&] { good = bench::start(command, items.path(), output.path()) != 0 && bench::reap() == 1; });
            return bench::sample{time / static_cast<double>(count), good ? checksum_of(output.path(), kept) : 0};
        };
    };
    const auto each = [&](const char* jobs, const words& worker, order kept) {
        return tool(joined({leat, "each", "--persistent", "-k", "-j", jobs, "--"}, worker), kept);
    };
    constexpr unsigned rounds = 7;

    const words own = {bench::beside("bench_lines"), "--worker"};
    const std::string python = bench::in_path("python3");
    const auto measure = [&](const std::string& name, const words& worker) {
        // The worker's words reach the shell as its arguments.
        const words piped = joined({shell, "-c", "cat | \"$@\" | cat", "sh"}, worker);
        bench.compare((name + ", one worker").c_str(), "the worker in a plain pipe", "ns/line",
                      each("1", worker, order::kept), tool(piped, order::kept), rounds);
        bench.compare((name + ", two workers").c_str(), "the worker in a plain pipe", "ns/line",
                      each("2", worker, order::kept), tool(piped, order::kept), rounds);
        const std::string parallel = bench::in_path("parallel");
        if (parallel.empty()) return bench.skip((name + ", two workers").c_str(), "GNU parallel", "not installed");
        bench.compare(
            (name + ", two workers").c_str(), "GNU parallel --pipe", "ns/line", each("2", worker, order::kept),
            tool(joined({parallel, "--will-cite", "--pipe", "-k", "-j", "2", "-q"}, worker), order::kept), rounds);
    };
    measure("C", own);
    if (python.empty()) bench.skip("Python", "the worker in a plain pipe", "no python3");
    else measure("Python", {python, "-c", python_worker});

    const std::string xargs = bench::in_path("xargs");
    const std::string printf = bench::in_path("printf");
    if (xargs.empty() || printf.empty()) bench.skip("C, two workers", "xargs", "no xargs or no printf");
    else
        bench.compare("C, two workers", "xargs -P 2 -n 1000 printf", "ns/line", each("2", own, order::lost),
                      tool({xargs, "-P", "2", "-n", "1000", printf, "%s\\n"}, order::lost), rounds);
    return bench.exit_code();
}
