// What every benchmark shares: its flags, two sides measured in turn, and the record of each measurement.
//
//   int main(int argc, char** argv) {
//       bench::session bench(argc, argv, "channel");
//       bench.compare("threads", "mutex + condition_variable", "ns/item", ours, theirs);
//       return bench.exit_code();
//   }
//
// Invariants:
//  1. The sides run in turn, so that what disturbs the machine disturbs both; the first round warms up and is dropped.
//  2. Both sides of a measurement do the same work: their checksums are equal in every round, or the program exits 1.
//  3. What --only leaves out is neither run nor recorded.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

namespace bench {

// One run of one side.
struct sample {
    double value;            // in the measurement's unit
    std::uint64_t checksum;  // of what the run has computed
};
using side = std::function<sample()>;

class session {
public:
    // Reads the flags --tiny, --json FILE, --rounds N and --only TEXT, and prints what the machine is. Ends the program with
    // a message and exit code 2 for what it does not understand.
    session(int argc, char** argv, const char* name);

    [[nodiscard]] bool tiny() const noexcept { return tiny_; }
    // The size of a run: `full`, or `tiny` under --tiny, where nothing is learned but that it works.
    [[nodiscard]] std::uint64_t size(std::uint64_t full, std::uint64_t tiny) const noexcept {
        return tiny_ ? tiny : full;
    }

    // How many rounds a benchmark that runs them itself should make, at most so many.
    [[nodiscard]] unsigned rounds(unsigned most) const noexcept { return rounds_ < most ? rounds_ : most; }

    // Whether a measurement of that name is to be made: its name has every TEXT of --only in it. compare() and measure() ask
    // themselves; a benchmark does where it would prepare much, or lay a table out.
    [[nodiscard]] bool wanted(const std::string& name);

    // Measures ours beside the peer; smaller values are better. Prints a line, and appends the record to --json's file:
    // name, peer, medians `ours` and `theirs`, unit, ratio (theirs / ours: above 1 ours is better), spread (the
    // interquartile range of the rounds' own ratios, over the ratio), checksum.
    // Fewer rounds than the session's can be asked for where a peer is slow.
    void compare(const char* name, const char* peer, const char* unit, const side& ours, const side& theirs,
                 unsigned most_rounds = 100);
    // The same against bench/support/peers.go: its `work` with `count` on so many `processors`, whose figure is divided by
    // `units`. Skipped, and said so, where there is no Go.
    void compare_go(const char* name, const char* work, const char* unit, const side& ours, std::uint64_t count,
                    unsigned processors, double units, unsigned most_rounds = 100);
    // The same for a single pair of figures that was measured elsewhere.
    void record(const char* name, const char* peer, const char* unit, sample ours, sample theirs);
    // The same, and prints nothing: for one who lays out a table and has asked wanted().
    void note(const char* name, const char* peer, const char* unit, sample ours, sample theirs);
    // Measures one side alone, of which a table is made: prints nothing, gives the median of the rounds, and appends a record
    // without peer, `theirs` and `ratio`; its spread is the interquartile range of the values, over the median. Figures of one
    // table are for each other alone. 0 when it is not wanted.
    double measure(const char* name, const char* unit, const side& ours, unsigned most_rounds = 100);
    // Says on the screen that a peer was left out, and why.
    void skip(const char* name, const char* peer, const char* why);
    // Says what went wrong; the exit code will be 1.
    void fail(const std::string& what);

    // Of the program. Says so when --only left nothing over.
    [[nodiscard]] int exit_code() const;

private:
    void put(const char* name, const char* peer, const char* unit, sample ours, sample theirs, double spread);
    void append(const char* name, const char* peer, const char* unit, sample ours, sample theirs, double spread);
    void append(const std::string& record);
    bool same_work(const char* name, const char* peer, sample ours, sample theirs);

    std::string name_;
    std::string json_;               // empty: no records
    std::vector<std::string> only_;  // of --only
    bool any_wanted_ = false;
    unsigned rounds_ = 9;
    bool tiny_ = false;
    bool failed_ = false;
};

// The time that `work` takes, in nanoseconds.
template <class Work>
double nanoseconds_of(Work&& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

// The side that is work(count), or work(): its time over `count`, in nanoseconds, and the checksum that it gives.
template <class Work>
side per_unit(std::uint64_t count, Work work) {
    return [count, work] {
        std::uint64_t sum = 0;
        const double time = nanoseconds_of([&] {
            if constexpr (std::is_invocable_v<const Work&, std::uint64_t>) sum = work(count);
            else sum = work();
        });
        return sample{time / static_cast<double>(count), sum};
    };
}

// Bytes of this process in memory.
[[nodiscard]] std::uint64_t resident_bytes();

// Busy work of a fixed number of steps, each some 2 ns on a machine of the 2020s, with a result that depends on all of
// them. Not calibrated: the same input gives the same checksum on every machine.
inline std::uint64_t spin(std::uint64_t seed, unsigned steps) noexcept {
    for (unsigned i = 0; i < steps; ++i) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        seed ^= seed >> 29U;
    }
    return seed;
}

}  // namespace bench
