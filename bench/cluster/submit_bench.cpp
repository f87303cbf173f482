// Question: what does a call on the cluster cost, of many at once and of one alone, and what is brought by many jobs in one message?
//
// The function gives the square of a number. "map": a client with all jobs at hand, two workers that are processes of their own.
// Peers: the bare engine, one message of 16 bytes a job there and none back, published with an id, fetched a hundred at a time and
// acknowledged, by nats_broker alone; and a process_pool of two, which has no network, no store and no second machine.
// "one by one": the next call begins when the value of the one before is there, the median. "value of 8 MiB": made by a worker, and
// read by the client, through the store; the peer are the same bytes put and got as chunks, one behind the other.
// Client, workers and server share the processors: compare within one run. Not measured: several machines, replicas, long jobs.
#include <algorithm>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <leat/cluster/cluster_client.hpp>
#include <leat/cluster/cluster_worker.hpp>
#include <leat/cluster/nats_broker.hpp>
#include <leat/process/process_pool.hpp>
#include <leat/runtime/main.hpp>
#include <leat/runtime/run.hpp>
#include <leat/task/scope.hpp>
#include <nats_server.hpp>
#include <support/bench.hpp>

#include "worker_process.hpp"

std::uint32_t squared(std::uint32_t x) { return x * x; }
std::string letters(std::size_t size) { return std::string(size, 'x'); }

namespace {

using namespace std::chrono_literals;
using namespace leat::cluster;  // NOLINT(google-build-using-namespace): what is measured here
using bench::worker_process;
using leat::task;
using clock_type = std::chrono::steady_clock;

template <class T>
T need(broker_result<T> result) {
    if (!result) throw std::runtime_error(result.error().text);
    return std::move(*result);
}
double us_since(clock_type::time_point start) {
    return std::chrono::duration<double, std::micro>(clock_type::now() - start).count();
}

task<std::unique_ptr<broker>> connected(std::string url) {
    auto made = co_await connect(nats_options(std::move(url)));
    co_return need(std::move(made));
}

std::vector<std::uint32_t> numbers(std::uint64_t count) {
    std::vector<std::uint32_t> all(count);
    std::iota(all.begin(), all.end(), 0U);
    return all;
}

// body(client) on a connection of its own; what it gives.
template <class Body>
bench::sample on_cluster(const std::string& url, Body body) {
    const auto program = [&]() -> task<bench::sample> {
        const std::unique_ptr<broker> link = co_await connected(url);
        auto working = with_cluster_client(*link, client_options(), body);
        leat::outcome<bench::sample> end = co_await std::move(working).as_outcome();
        co_await link->close();
        co_return std::move(end).get();
    };
    return leat::run(leat::run_options(1), program);
}

task<bench::sample> map_all(cluster_client& cluster, std::uint64_t count) {
    const auto items = numbers(count);
    (void)co_await cluster.map<squared>(std::span(items).first(100));  // the workers have come
    const auto start = clock_type::now();
    const auto values = co_await cluster.map<squared>(items);
    const double time = us_since(start);
    co_return bench::sample{time / static_cast<double>(count),
                            std::accumulate(values.begin(), values.end(), std::uint64_t{0})};
}
task<bench::sample> one_by_one(cluster_client& cluster, std::uint64_t count) {
    (void)co_await cluster.submit<squared>(1U);
    std::vector<double> times;
    std::uint64_t sum = 0;
    for (std::uint32_t each = 0; each < count; ++each) {
        const auto start = clock_type::now();
        sum += co_await cluster.submit<squared>(each);
        times.push_back(us_since(start));
    }
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
    co_return bench::sample{times[times.size() / 2], sum};
}
task<bench::sample> large_value(cluster_client& cluster, std::size_t size) {
    (void)co_await cluster.submit<letters>(std::size_t{1});
    const auto start = clock_type::now();
    const std::string text = co_await cluster.submit<letters>(size);
    co_return bench::sample{us_since(start), text.size()};
}

task<bench::sample> pool_map(std::uint64_t count) {
    leat::process_pool pool(2);
    const auto items = numbers(count);
    (void)co_await pool.map<squared>(std::span(items).first(8), 1);
    const auto start = clock_type::now();
    const auto values = co_await pool.map<squared>(items);
    const double time = us_since(start);
    co_await pool.close();
    co_return bench::sample{time / static_cast<double>(count),
                            std::accumulate(values.begin(), values.end(), std::uint64_t{0})};
}
task<bench::sample> pool_one_by_one(std::uint64_t count) {
    leat::process_pool pool(2);
    (void)co_await pool.apply<squared>(1U);
    std::vector<double> times;
    std::uint64_t sum = 0;
    for (std::uint32_t each = 0; each < count; ++each) {
        const auto start = clock_type::now();
        sum += co_await pool.apply<squared>(each);
        times.push_back(us_since(start));
    }
    co_await pool.close();
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
    co_return bench::sample{times[times.size() / 2], sum};
}

// One message a job: what the engine alone can do.
task<> publish_some(broker* link, std::string subject, std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t number = first; number < first + count; ++number) {
        message what;
        what.subject = subject;
        what.id = std::to_string(number);
        what.payload.assign(16, 'x');
        auto stored = co_await link->publish(std::move(what));
        (void)need(std::move(stored));
    }
}
task<> confirm(broker* link, delivery what) {
    auto done = co_await link->ack(std::move(what));
    (void)need(std::move(done));
}
task<bench::sample> bare_engine(std::string url, std::uint64_t count) {
    const std::unique_ptr<broker> from = co_await connected(url);
    const std::unique_ptr<broker> to = co_await connected(url);
    static int round = 0;
    const std::string name = "bare" + std::to_string(++round);
    stream_config stream;
    stream.name = name;
    stream.subjects = {name};
    auto made = co_await from->make_stream(stream);
    (void)need(std::move(made));
    consumer_config consumer;
    consumer.stream = name;
    consumer.name = "c";
    consumer.most_unacked = 10'000;
    auto made_too = co_await from->make_consumer(consumer);
    (void)need(std::move(made_too));
    const auto start = clock_type::now();
    leat::scope work;
    constexpr std::uint64_t senders = 100;
    for (std::uint64_t i = 0; i < senders; ++i)
        work.spawn(publish_some, from.get(), name, i * (count / senders), count / senders);
    std::uint64_t taken = 0;
    while (taken < count / senders * senders) {
        auto came = co_await to->fetch(name, "c", 100, 1s);
        for (delivery& each : need(std::move(came))) {
            ++taken;
            work.spawn(confirm, to.get(), std::move(each));
        }
    }
    co_await work.join();
    const double time = us_since(start);
    auto gone = co_await from->remove_stream(name);
    (void)need(std::move(gone));
    co_await from->close();
    co_await to->close();
    std::uint64_t sum = 0;
    for (const std::uint32_t each : numbers(count)) sum += squared(each);
    co_return bench::sample{time / static_cast<double>(count), sum};
}
task<bench::sample> bare_chunks(std::string url, std::size_t size) {
    const std::unique_ptr<broker> link = co_await connected(url);
    auto made = co_await link->make_bucket("bare_chunks", 0s, 1);
    (void)need(std::move(made));
    constexpr std::size_t chunk = std::size_t{128} << 10U;
    const auto start = clock_type::now();
    const std::string bytes(chunk, 'x');
    std::uint64_t sum = 0;
    for (std::size_t at = 0; at < size; at += chunk) {
        auto put = co_await link->put("bare_chunks", std::to_string(at), bytes);
        (void)need(std::move(put));
    }
    for (std::size_t at = 0; at < size; at += chunk) {
        auto got = co_await link->get("bare_chunks", std::to_string(at));
        sum += need(std::move(got)).value.size();
    }
    const double time = us_since(start);
    co_await link->close();
    co_return bench::sample{time, sum};
}

void measure(bench::session& bench) {
    const leat_test::nats_server server;
    const std::string url = server.url();
    const worker_process one(url);
    const worker_process two(url);
    const std::uint64_t many = bench.size(100'000, 1000);
    const std::uint64_t few = bench.size(1000, 20);
    const std::size_t large = bench.size(std::size_t{8} << 20U, std::size_t{1} << 20U);
    const auto alone = leat::run_options(1);
    const auto map = [&] {
        return on_cluster(url, [many](cluster_client& cluster) { return map_all(cluster, many); });
    };
    const auto calls = [&] {
        return on_cluster(url, [few](cluster_client& cluster) { return one_by_one(cluster, few); });
    };
    bench.compare(
        "map of a trivial function, two workers", "nats_broker alone, one message a job", "us/job", map,
        [&] { return leat::run(alone, bare_engine, url, many); }, 5);
    bench.compare(
        "map of a trivial function, two workers", "process_pool of two", "us/job", map,
        [&] { return leat::run(alone, pool_map, many); }, 5);
    bench.compare(
        "calls one by one, median", "process_pool of two", "us", calls,
        [&] { return leat::run(alone, pool_one_by_one, few); }, 5);
    bench.compare(
        "value of 8 MiB, made there and read here", "chunks put and got, one behind the other", "us",
        [&] { return on_cluster(url, [large](cluster_client& cluster) { return large_value(cluster, large); }); },
        [&] { return leat::run(alone, bare_chunks, url, large); }, 5);
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto code = worker_main(argc, argv)) return *code;
    if (const auto code = leat::worker_main()) return *code;
    bench::session bench(argc, argv, "submit");
    if (!leat_test::has_nats_server()) {
        bench.skip("all", "nats_broker alone", "LEAT_NATS_SERVER=none: no nats-server here");
        return 0;
    }
    measure(bench);
    return bench.exit_code();
}
