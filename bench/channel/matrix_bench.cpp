// Question: how does the cost of an item change with the number of producers and consumers, with the capacity, with the size
// of the items and when they go in batches?
//
// A table for one thread and one for a runtime of two workers, of channel<T> and, between one and one, of spsc_channel<T>;
// each row has as many columns as there are capacities and sizes. No peers: the other cells are what a cell is read against.
// --only names what to measure: --only "two workers" --only 2x2, --only "capacity 16,", --only spsc. A cell's name is that of
// its row and its column: "channel 4x1 in batches, two workers, capacity 1024, 64 bytes".
// Not measured: two threads whatever the scheduler thinks of it (channel_bench.cpp), byte bounds, ends that come and go.
#include <string>

#include <channel/traffic.hpp>
#include <fmt/format.h>
#include <support/tasks.hpp>

namespace {

using namespace bench;

constexpr std::array<std::size_t, 3> capacities{1, 16, 1024};
constexpr std::size_t batch = 64;

struct row {
    const char* kind;
    unsigned producers;
    unsigned consumers;
    std::size_t batch;

    [[nodiscard]] std::string name() const {
        return fmt::format("{} {}x{}{}", kind, producers, consumers, batch == 1 ? "" : " in batches");
    }
};

class table {
public:
    table(session& bench, leat::runtime& where, const char* place) : bench_(bench), where_(where), place_(place) {}

    template <template <class> class Kind>
    void measure(const row& of) {
        std::string line;
        bool any = false;
        const auto cells = [&]<std::size_t Bytes>(std::integral_constant<std::size_t, Bytes> /*size*/) {
            for (const std::size_t capacity : capacities) {
                const std::string name =
                    fmt::format("{}, {}, capacity {}, {} bytes", of.name(), place_, capacity, Bytes);
                if (bench_.wanted(name)) {
                    const double figure = cell<Kind<parcel<Bytes>>>(name, of, capacity);
                    line += fmt::format("{:>8.{}f}", figure, figure < 100 ? 1 : 0);
                    any = true;
                } else {
                    line += fmt::format("{:>8}", "");
                }
            }
        };
        cells(std::integral_constant<std::size_t, 8>());
        cells(std::integral_constant<std::size_t, 64>());
        cells(std::integral_constant<std::size_t, 1024>());
        if (any) put(of.name(), line);
    }

private:
    template <class Kind>
    double cell(const std::string& name, const row& of, std::size_t capacity) {
        // Each single item of a capacity of 1 may cost a change of tasks, or of threads.
        traffic all{capacity == 1 && of.batch == 1 ? bench_.size(40'960, 256) : bench_.size(409'600, 256), capacity};
        all.producers = of.producers;
        all.consumers = of.consumers;
        return bench_.measure(name.c_str(), "ns/item", per_unit(all.count, [&] {
                                  std::uint64_t sum = 0;
                                  where_.run(pass<Kind>(all, of.batch, sum));
                                  return sum;
                              }));
    }
    void put(const std::string& name, const std::string& line) {
        if (!begun_) {
            const std::string places = fmt::format("{:>8}{:>8}{:>8}", capacities[0], capacities[1], capacities[2]);
            fmt::print("\n{}, ns/item\n{:<24}{:>24}{:>24}{:>24}\n{:<24}{}{}{}\n", place_, "items of", "8 bytes",
                       "64 bytes", "1024 bytes", "capacity", places, places, places);
            begun_ = true;
        }
        fmt::print("{:<24}{}\n", name, line);
    }

    session& bench_;
    leat::runtime& where_;
    const char* place_;
    bool begun_ = false;
};

template <class T>
using shared = shared_kind<T>;
template <class T>
using spsc = spsc_kind<T>;

}  // namespace

int main(int argc, char** argv) {
    session bench(argc, argv, "matrix");
    const auto one = leat::make_runtime(leat::run_options(1));
    const auto two = leat::make_runtime(leat::run_options(2));
    for (const bool alone : {true, false}) {
        table here(bench, alone ? *one : *two, alone ? "one thread" : "two workers");
        for (const std::size_t at_once : {std::size_t{1}, batch}) {
            here.measure<spsc>({"spsc", 1, 1, at_once});
            for (const auto& [producers, consumers] : {std::pair{1U, 1U}, {2U, 2U}, {4U, 4U}, {1U, 4U}, {4U, 1U}})
                here.measure<shared>({"channel", producers, consumers, at_once});
        }
    }
    return bench.exit_code();
}
