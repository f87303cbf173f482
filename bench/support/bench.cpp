// The other half of bench.hpp: flags, medians, and how results look.
#include <support/bench.hpp>

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>
#include <leat/base/machine.hpp>

namespace bench {

namespace {

std::string processor() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("model name")) return line.substr(line.find(": ") + 2);
    return "unknown processor";
}

std::string compiler() {
#ifdef __clang__
    return fmt::format("Clang {}.{}", __clang_major__, __clang_minor__);
#else
    return fmt::format("GCC {}.{}", __GNUC__, __GNUC_MINOR__);
#endif
}

void print_machine() {
    const leat::machine here = leat::effective_machine();
    double load = 0;
    ::getloadavg(&load, 1);
    fmt::print("machine: {}, {:.2g} CPUs, {:.1f} GiB; load {:.1f}\nbuild: {}, {}\n", processor(), here.cpus,
               static_cast<double>(here.memory_bytes) / (1U << 30U), load, compiler(), LEAT_BENCH_BUILD);
}

// The value below which `part` of the values lie, interpolated.
double quantile(std::vector<double> values, double part) {
    std::sort(values.begin(), values.end());
    const double at = part * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(at);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

double median(const std::vector<double>& values) { return quantile(values, 0.5); }

double relative_iqr(const std::vector<double>& values) {
    return (quantile(values, 0.75) - quantile(values, 0.25)) / median(values);
}

}  // namespace

std::uint64_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    std::uint64_t pages = 0;
    file >> pages >> pages;
    return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

session::session(int argc, char** argv, const char* name) : name_(name) {
    const auto refuse = [&](const std::string& what) {
        fmt::print(stderr, "{}: {}\nusage: {} [--tiny] [--json FILE] [--rounds N] [--only TEXT]..\n", argv[0], what,
                   argv[0]);
        std::exit(2);
    };
    for (int at = 1; at < argc; ++at) {
        const std::string_view flag = argv[at];
        const char* const value = at + 1 < argc ? argv[at + 1] : nullptr;
        if (flag == "--tiny") {
            tiny_ = true;
            rounds_ = 1;
            continue;
        }
        if (flag != "--json" && flag != "--rounds" && flag != "--only") refuse(fmt::format("found '{}'", flag));
        if (value == nullptr) refuse(fmt::format("{} needs a value", flag));
        if (flag == "--json") {
            json_ = value;
        } else if (flag == "--only") {
            only_.emplace_back(value);
        } else {
            const auto [end, error] = std::from_chars(value, value + std::strlen(value), rounds_);
            if (error != std::errc() || *end != '\0' || rounds_ == 0 || rounds_ > 100)
                refuse(fmt::format("--rounds: found '{}', expected 1 to 100", value));
        }
        ++at;
    }
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // a line is seen when it is known, also in a file
    fmt::print("== {}\n", name_);
    print_machine();
}

bool session::wanted(const std::string& name) {
    const bool all =
        std::all_of(only_.begin(), only_.end(), [&](const std::string& each) { return name.find(each) != name.npos; });
    any_wanted_ |= all;
    return all;
}

int session::exit_code() const {
    if (!any_wanted_ && !only_.empty()) fmt::print("nothing here has '{}' in its name\n", fmt::join(only_, "' and '"));
    return failed_ ? 1 : 0;
}

double session::measure(const char* name, const char* unit, const side& ours, unsigned most_rounds) {
    if (!wanted(name)) return 0;
    if (!tiny_) ours();
    std::vector<double> values;
    sample last{};
    for (unsigned round = 0; round < std::min(rounds_, most_rounds); ++round) {
        last = ours();
        values.push_back(last.value);
    }
    append(fmt::format(R"({{"name":"{}/{}","ours":{:.6g},"unit":"{}","spread":{:.3g},"checksum":"{:016x}"}})", name_,
                       name, median(values), unit, relative_iqr(values), last.checksum));
    return median(values);
}

void session::compare(const char* name, const char* peer, const char* unit, const side& ours, const side& theirs,
                      unsigned most_rounds) {
    if (!wanted(name)) return;
    const unsigned rounds = std::min(rounds_, most_rounds);
    if (!tiny_) {
        ours();
        theirs();
    }
    std::vector<double> our_values;
    std::vector<double> their_values;
    std::vector<double> ratios;
    sample mine{};
    sample other{};
    for (unsigned round = 0; round < rounds; ++round) {
        // Who goes first changes: neither always inherits the other's warm or dirty caches.
        if (round % 2 == 0) mine = ours();
        other = theirs();
        if (round % 2 != 0) mine = ours();
        if (!same_work(name, peer, mine, other)) return;
        our_values.push_back(mine.value);
        their_values.push_back(other.value);
        ratios.push_back(other.value / mine.value);
    }
    mine.value = median(our_values);
    other.value = median(their_values);
    put(name, peer, unit, mine, other, relative_iqr(ratios));
}

void session::compare_go(const char* name, const char* work, const char* unit, const side& ours, std::uint64_t count,
                         unsigned processors, double units, unsigned most_rounds) {
    const std::string peer = fmt::format("Go, {}", work);
    const std::string program = LEAT_BENCH_GO;
    if (program.empty()) return skip(name, peer.c_str(), "no Go when this was built");
    const std::string line = fmt::format("{} '{}' {} {}", program, work, count, processors);
    compare(
        name, peer.c_str(), unit, ours,
        [&]() -> sample {
            std::FILE* const output = ::popen(line.c_str(), "r");  // NOLINT(cert-env33-c): words of ours alone
            double value = 0;
            std::uint64_t checksum = 0;
            const bool read = output != nullptr && std::fscanf(output, "%lf %" SCNu64, &value, &checksum) == 2;
            if (output == nullptr || ::pclose(output) != 0 || !read) fail(line + ": no result");
            return {value / units, checksum};
        },
        most_rounds);
}

void session::record(const char* name, const char* peer, const char* unit, sample ours, sample theirs) {
    if (wanted(name) && same_work(name, peer, ours, theirs)) put(name, peer, unit, ours, theirs, 0);
}

void session::note(const char* name, const char* peer, const char* unit, sample ours, sample theirs) {
    if (same_work(name, peer, ours, theirs)) append(name, peer, unit, ours, theirs, 0);
}

void session::skip(const char* name, const char* peer, const char* why) {
    if (wanted(name)) fmt::print("{:<28} {:<36} skipped: {}\n", name, peer, why);
}

void session::fail(const std::string& what) {
    failed_ = true;
    fmt::print(stderr, "{}: {}\n", name_, what);
}

bool session::same_work(const char* name, const char* peer, sample ours, sample theirs) {
    if (ours.checksum == theirs.checksum) return true;
    fail(fmt::format("{}: the sides did different work: checksum {:016x}, and {:016x} of {}", name, ours.checksum,
                     theirs.checksum, peer));
    return false;
}

void session::put(const char* name, const char* peer, const char* unit, sample ours, sample theirs, double spread) {
    const double ratio = theirs.value / ours.value;
    fmt::print("{:<28} {:<36} {:>9.4g} against {:>9.4g} {:<8}  ratio {:.3g} ±{:.0f} %\n", name, peer, ours.value,
               theirs.value, unit, ratio, 50 * spread);
    append(name, peer, unit, ours, theirs, spread);
}

void session::append(const char* name, const char* peer, const char* unit, sample ours, sample theirs, double spread) {
    append(fmt::format(
        R"({{"name":"{}/{}","peer":"{}","ours":{:.6g},"theirs":{:.6g},"unit":"{}","ratio":{:.4g},"spread":{:.3g},"checksum":"{:016x}"}})",
        name_, name, peer, ours.value, theirs.value, unit, theirs.value / ours.value, spread, ours.checksum));
}

void session::append(const std::string& record) {
    if (json_.empty()) return;
    std::ofstream file(json_, std::ios::app);
    file << record << '\n';
    if (!file.flush()) fail("cannot write to " + json_);
}

}  // namespace bench
