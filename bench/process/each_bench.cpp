// Question: what does leat add to each command it runs, two at a time, over a bare posix_spawn, and how do xargs and GNU
// parallel compare?
//
// The commands are true and sh -c :, which do nothing: the cost is that of starting and reaping a process, and of the tool.
// xargs and the bare loop capture nothing, keep no order, and report nothing; leat and parallel do. The checksum is the number
// of items when all commands succeeded.
// Not measured: commands that write much, many jobs, persistent workers (lines_bench). leat's start is included, as the peers'
// is. Where the commands take all CPUs, who takes less of them is faster: on many CPUs the ratios are others.
#include <string>
#include <vector>

#include <support/bench.hpp>
#include <support/programs.hpp>

namespace {

using words = std::vector<std::string>;

std::uint64_t bare_loop(const words& command, std::uint64_t count) {
    std::uint64_t good = 0;
    std::uint64_t running = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        if (running == 2) good += bench::reap(), --running;
        words with_item = command;
        with_item.push_back(std::to_string(i));
        if (bench::start(with_item, "/dev/null") != 0) ++running;
    }
    for (; running != 0; --running) good += bench::reap();
    return good;
}

words joined(words first, const words& rest) {
    first.insert(first.end(), rest.begin(), rest.end());
    return first;
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "each");
    const std::string leat = bench::beside("leat");
    const std::string program = bench::in_path("true");
    const std::string shell = bench::in_path("sh");
    if (::access(leat.c_str(), X_OK) != 0 || program.empty() || shell.empty()) {
        bench.fail("needs the command leat beside this program, and true and sh in PATH");
        return bench.exit_code();
    }
    const auto per_item = [](std::uint64_t count, auto work) {
        return [count, work] {
            std::uint64_t good = 0;
            const double time = bench::nanoseconds_of([&] { good = work(); });
            return bench::sample{time / 1000 / static_cast<double>(count), good};
        };
    };
    const auto tool = [&](std::uint64_t count, const bench::item_file& items, const words& command) {
        return per_item(count, [count, &items, command] {
            return bench::start(command, items.path()) != 0 && bench::reap() == 1 ? count : 0;
        });
    };

    const std::uint64_t many = bench.size(10'000, 50);
    const bench::item_file many_items(many);
    const std::uint64_t few = bench.size(200, 20);  // for a peer that is slow
    const bench::item_file few_items(few);
    const std::string xargs = bench::in_path("xargs");
    const std::string parallel = bench::in_path("parallel");
    constexpr unsigned rounds = 5;

    const auto measure = [&](const std::string& name, const words& command) {
        const words each = joined({leat, "each", "-j", "2", "--"}, command);
        const bench::side ours = tool(many, many_items, each);
        bench.compare(name.c_str(), "posix_spawn in a loop", "us/item", ours,
                      per_item(many, [&] { return bare_loop(command, many); }), rounds);
        if (xargs.empty()) bench.skip(name.c_str(), "xargs", "not installed");
        else
            bench.compare(name.c_str(), "xargs -P 2 -n 1", "us/item", ours,
                          tool(many, many_items, joined({xargs, "-P", "2", "-n", "1"}, command)), rounds);
        const std::string less = name + ", fewer items";
        if (parallel.empty()) bench.skip(less.c_str(), "GNU parallel", "not installed");
        else
            bench.compare(
                less.c_str(), "GNU parallel", "us/item", tool(few, few_items, each),
                tool(few, few_items, joined(joined({parallel, "--will-cite", "-j", "2", "-q"}, command), {"{}"})),
                rounds);
    };
    measure("true", {program});
    measure("sh -c :", {shell, "-c", ":"});
    return bench.exit_code();
}
