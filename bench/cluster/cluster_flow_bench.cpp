// Question: how many items go through a stage on the cluster, over the engine and back, and how long does one take?
//
// "16 B", "1 KiB": a source, one stage that gives its item back, a sink that counts; from the first item at the sink to the last.
// Workers are processes of their own. Peers: the bare engine, in messages of that size, one item each: published asynchronously with
// an id, fetched a hundred at a time and acknowledged, by nats_broker alone; the same flow on threads; and in processes. What the
// first of these shows above 1 is what it brings that many items travel in one message.
// "hop": from the source to the sink with nothing else under way, the median; the peer is the same flow on threads.
// Coordinator, workers and server share the processors: compare within one run. Not measured: several machines, replicas, TLS.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <leat/cluster/cluster_stage.hpp>
#include <leat/cluster/nats_broker.hpp>
#include <leat/runtime/main.hpp>
#include <leat/runtime/run.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/when_all.hpp>
#include <nats_server.hpp>
#include <support/bench.hpp>

#include "worker_process.hpp"

std::string same(const std::string& from) { return from; }
std::int64_t same_number(std::int64_t from) { return from; }

namespace {

using namespace std::chrono_literals;
using namespace leat::cluster;  // NOLINT(google-build-using-namespace): what is measured here
using bench::worker_process;
using leat::task;
using clock_type = std::chrono::steady_clock;

enum class where : std::uint8_t { threads, processes, cluster };

// Between the first item at the sink and the last, in nanoseconds an item.
struct meter {
    clock_type::time_point first, last;
    std::uint64_t count = 0;
    std::uint64_t sum = 0;
    void note(std::uint64_t value) {
        last = clock_type::now();
        if (count++ == 0) first = last;
        sum += value;
    }
    [[nodiscard]] double each_us() const {
        return std::chrono::duration<double, std::micro>(last - first).count() / static_cast<double>(count - 1);
    }
};

template <class Stage>
leat::flow_graph sized_flow(std::uint64_t count, std::size_t size, Stage stage, meter& of) {
    auto texts = std::views::iota(std::uint64_t{0}, count) |
                 std::views::transform([size](std::uint64_t) { return std::string(size, 'x'); });
    auto keep = [&of](const std::string& value) { of.note(value.size()); };
    leat::pipeline<std::string> source = leat::from(texts);
    return std::move(source) | std::move(stage) | leat::for_each("keep", keep);
}

bench::sample run_sized(const std::string& url, std::uint64_t count, std::size_t size, where place) {
    meter of;
    leat::flow_graph graph;
    if (place == where::cluster) {
        placement_options options;
        options.flow = "bench";
        options.window = 4096;
        at cluster(url, options);
        auto stage = leat::map<same>("same").on(cluster);
        graph = sized_flow(count, size, std::move(stage), of);
    } else if (place == where::processes) {
        auto stage = leat::map<same>("same").on(leat::processes(1));
        graph = sized_flow(count, size, std::move(stage), of);
    } else {
        auto stage = leat::map<same>("same");
        graph = sized_flow(count, size, std::move(stage), of);
    }
    const leat::report done = leat::run([&] { return leat::run_flow(std::move(graph)); });
    if (done.end != leat::flow_end::complete) throw std::runtime_error(done.error);
    return {of.each_us(), of.sum};
}

// --- The engine alone ---

template <class T>
T need(broker_result<T> result) {
    if (!result) throw std::runtime_error(result.error().text);
    return std::move(*result);
}

task<> publish_some(broker& link, std::string stream, std::uint64_t first, std::uint64_t count, std::size_t size) {
    for (std::uint64_t number = first; number < first + count; ++number) {
        message what;
        what.subject = stream;
        what.id = std::to_string(number);
        what.payload.assign(size, 'x');
        auto stored = co_await link.publish(std::move(what));
        (void)need(std::move(stored));
    }
}
task<> ack_one(broker& link, delivery what) {
    auto done = co_await link.ack(std::move(what));
    (void)need(std::move(done));
}
task<> take_all(broker& link, std::string stream, std::uint64_t count, meter* of) {
    for (std::uint64_t taken = 0; taken < count;) {
        auto got = co_await link.fetch(stream, "c", 100, 5s);
        auto came = need(std::move(got));
        taken += came.size();
        std::vector<task<>> acks;
        for (delivery& each : came) {
            of->note(each.what.payload.size());
            acks.push_back(ack_one(link, std::move(each)));
        }
        co_await leat::when_all(std::move(acks));
    }
}
task<> bare(std::string url, std::uint64_t count, std::size_t size, meter* of) {
    auto connecting = connect(nats_options(url));
    const auto link = need(co_await std::move(connecting));
    auto connecting_too = connect(nats_options(url));
    const auto other = need(co_await std::move(connecting_too));
    static int number = 0;
    stream_config stream;
    stream.name = "bare" + std::to_string(++number);
    stream.subjects = {stream.name};
    auto made = co_await link->make_stream(stream);
    (void)need(std::move(made));
    consumer_config consumer;
    consumer.stream = stream.name;
    consumer.name = "c";
    consumer.most_unacked = 10'000;
    auto made_too = co_await link->make_consumer(consumer);
    (void)need(std::move(made_too));
    constexpr std::uint64_t senders = 256;
    std::vector<task<>> all;
    const std::uint64_t each = (count + senders - 1) / senders;
    for (std::uint64_t from = 0; from < count; from += each)
        all.push_back(publish_some(*link, stream.name, from, std::min(each, count - from), size));
    all.push_back(take_all(*other, stream.name, count, of));
    co_await leat::when_all(std::move(all));
    auto removed = co_await link->remove_stream(stream.name);
    (void)need(std::move(removed));
    co_await link->close();
    co_await other->close();
}
// A fifth of the items, since each costs so much more here; the checksum is that of all.
bench::sample run_bare(const std::string& url, std::uint64_t count, std::size_t size) {
    constexpr std::uint64_t share = 5;
    meter of;
    leat::run([&] { return bare(url, count / share, size, &of); });
    return {of.each_us(), of.sum * share};
}

// --- One at a time ---

// Gives the next number when the one before has arrived.
class paced final : public leat::source {
public:
    paced(std::uint64_t count, std::vector<double>& times) : count_(count), times_(times) {}
    task<> run(leat::source_output& out) override {
        for (std::uint64_t i = 0; i < count_; ++i) {
            co_await leat::sleep_for(2ms);
            start_ = clock_type::now();
            leat::payload value(static_cast<std::int64_t>(i));
            co_await out.emit(std::move(value));
            co_await arrived_.wait();
        }
    }
    void note() {
        times_.push_back(std::chrono::duration<double, std::micro>(clock_type::now() - start_).count());
        arrived_.set();
    }

private:
    std::uint64_t count_;
    std::vector<double>& times_;
    clock_type::time_point start_;
    leat::auto_reset_event arrived_;
};

bench::sample run_hop(const std::string& url, std::uint64_t count, where place) {
    std::vector<double> times;
    const auto source = std::make_shared<paced>(count, times);
    auto keep = [&](std::int64_t) { source->note(); };
    leat::pipeline<std::int64_t> numbers = leat::from_source<std::int64_t>("paced", source);
    leat::flow_graph graph;
    if (place == where::cluster) {
        placement_options options;
        options.flow = "hop";
        at cluster(url, options);
        auto stage = leat::map<same_number>("same").on(cluster);
        graph = std::move(numbers) | std::move(stage) | leat::for_each("keep", keep);
    } else {
        auto stage = leat::map<same_number>("same");
        graph = std::move(numbers) | std::move(stage) | leat::for_each("keep", keep);
    }
    const leat::report done = leat::run([&] { return leat::run_flow(std::move(graph)); });
    if (done.end != leat::flow_end::complete) throw std::runtime_error(done.error);
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
    return {times[times.size() / 2], count};
}

void measure(bench::session& bench) {
    const leat_test::nats_server server;
    const std::string url = server.url();
    const worker_process worker(url);
    const auto of = [&](std::uint64_t count, std::size_t size, where place) {
        return bench::side([&url, count, size, place] { return run_sized(url, count, size, place); });
    };
    for (const std::size_t size : {std::size_t{16}, std::size_t{1024}}) {
        const std::string text = size == 16 ? "16 B" : "1 KiB";
        const std::uint64_t count = bench.size(size == 16 ? 1'000'000 : 200'000, 300);
        const std::string beside = text + " beside the bare engine";
        bench.compare(beside.c_str(), "nats_broker alone, one item a message", "us/item",
                      of(count, size, where::cluster),
                      bench::side([&url, count, size] { return run_bare(url, count, size); }), 3);
        const std::string threads = text + " beside threads";
        bench.compare(threads.c_str(), "the same flow on threads", "us/item", of(count, size, where::cluster),
                      of(count, size, where::threads), 3);
        const std::string processes = text + " beside processes";
        bench.compare(processes.c_str(), "the same flow, one process", "us/item", of(count, size, where::cluster),
                      of(count, size, where::processes), 3);
    }
    const std::uint64_t rounds = bench.size(300, 5);
    bench.compare(
        "hop, median", "the same flow on threads", "us", [&] { return run_hop(url, rounds, where::cluster); },
        [&] { return run_hop(url, rounds, where::threads); }, 3);
    const worker_process second(url);
    const std::uint64_t count = bench.size(1'000'000, 300);
    bench.compare("16 B, two workers", "nats_broker alone, one item a message", "us/item",
                  of(count, 16, where::cluster), bench::side([&url, count] { return run_bare(url, count, 16); }), 3);
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto code = worker_main(argc, argv)) return *code;
    if (const auto code = leat::worker_main()) return *code;
    bench::session bench(argc, argv, "cluster_flow");
    if (!leat_test::has_nats_server()) {
        bench.skip("all", "nats_broker alone", "LEAT_NATS_SERVER=none: no nats-server here");
        return 0;
    }
    measure(bench);
    return bench.exit_code();
}
