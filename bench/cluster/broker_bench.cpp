// Question: what does nats_broker cost over the client library that it rests on?
//
// Peer: the least that a program can write with cnats alone, in the same run against the same server (one, on file, loopback):
// js_PublishMsgAsync without a bound and one wait at the end; natsSubscription_Fetch and natsMsg_Ack, which nobody confirms;
// natsMsg_AckSync, one behind the other. Ours: 512 tasks that publish one message behind the other, each waiting for its
// receipt; fetch() with all acks of a batch confirmed; ack() one behind the other. So ours does more: every call has its answer.
// "hop": from the call of publish until a fetch that waits on another connection has the message, the median; the peer with
// SetSendAsap, without which cnats writes a millisecond later.
// Each sample has a stream of its own. All share the processors with the server: compare within one run.
// Not measured: more than one client, TLS, replicas; a busy server.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <nats/nats.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <leat/cluster/nats_broker.hpp>
#include <leat/runtime/run.hpp>
#include <leat/sync/event.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/when_all.hpp>
#include <nats_server.hpp>
#include <support/bench.hpp>

namespace {

using namespace std::chrono_literals;
using namespace leat::cluster;  // NOLINT(google-build-using-namespace): what is measured here
using leat::task;

constexpr unsigned senders = 512;
constexpr std::size_t batch = 100;

template <class T>
T need(broker_result<T> result) {
    if (!result) throw std::runtime_error(result.error().text);
    return std::move(*result);
}
void need(natsStatus status) {
    if (status != NATS_OK) throw std::runtime_error(nats_GetLastError(nullptr));
}

std::string fresh_stream() {
    static int count = 0;
    return "S" + std::to_string(++count);
}

task<> make_stream(broker& link, std::string name) {
    stream_config stream;
    stream.name = name;
    stream.subjects = {name};
    auto made = co_await link.make_stream(stream);
    (void)need(std::move(made));
    consumer_config consumer;
    consumer.stream = name;
    consumer.name = "c";
    consumer.most_unacked = 10'000;
    auto made_too = co_await link.make_consumer(consumer);
    (void)need(std::move(made_too));
}

task<std::uint64_t> send_some(broker& link, std::string stream, std::uint64_t first, std::uint64_t count,
                              std::size_t size) {
    std::uint64_t sum = 0;
    for (std::uint64_t number = first; number < first + count; ++number) {
        message what;
        what.subject = stream;
        what.id = std::to_string(number);
        what.payload.assign(size, 'x');
        auto stored = co_await link.publish(std::move(what));
        sum += need(std::move(stored)).sequence;
    }
    co_return sum;
}

task<std::uint64_t> send_all(broker& link, std::string stream, std::uint64_t count, std::size_t size) {
    std::vector<task<std::uint64_t>> all;
    const std::uint64_t each = (count + senders - 1) / senders;
    for (std::uint64_t from = 0; from < count; from += each)
        all.push_back(send_some(link, stream, from, std::min(each, count - from), size));
    const auto sums = co_await leat::when_all(std::move(all));
    std::uint64_t sum = 0;
    for (const std::uint64_t part : sums) sum += part;
    co_return sum;
}

task<std::uint64_t> ack_one(broker& link, delivery what) {
    const std::uint64_t size = what.what.payload.size();
    auto done = co_await link.ack(std::move(what));
    (void)need(std::move(done));
    co_return size;
}

task<std::uint64_t> take_all(broker& link, std::string stream, std::uint64_t count, bool one_by_one) {
    std::uint64_t sum = 0;
    for (std::uint64_t taken = 0; taken < count;) {
        auto got = co_await link.fetch(stream, "c", batch, 5s);
        auto came = need(std::move(got));
        taken += came.size();
        if (one_by_one) {
            for (delivery& each : came) sum += co_await ack_one(link, std::move(each));
            continue;
        }
        std::vector<task<std::uint64_t>> acks;
        for (delivery& each : came) acks.push_back(ack_one(link, std::move(each)));
        const auto done = co_await leat::when_all(std::move(acks));
        for (const std::uint64_t each : done) sum += each;
    }
    co_return sum;
}

task<double> hop(broker& from, broker& to, std::string stream, unsigned rounds) {
    std::vector<double> times;
    for (unsigned round = 0; round < rounds; ++round) {
        leat::scope together(co_await leat::this_task::line());
        std::chrono::steady_clock::time_point arrived;
        const auto wait = [](broker& at, std::string name, std::chrono::steady_clock::time_point& when) -> task<> {
            auto got = co_await at.fetch(name, "c", 1, 5s);
            when = std::chrono::steady_clock::now();
            auto came = need(std::move(got));
            auto done = co_await at.ack(std::move(came.at(0)));
            (void)need(std::move(done));
        };
        together.spawn(wait, std::ref(to), stream, std::ref(arrived));
        co_await leat::sleep_for(3ms);  // the server knows of the fetch
        message what;
        what.subject = stream;
        const auto start = std::chrono::steady_clock::now();
        auto stored = co_await from.publish(std::move(what));
        (void)need(std::move(stored));
        co_await together.join();
        times.push_back(std::chrono::duration<double, std::micro>(arrived - start).count());
    }
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    co_return times[times.size() / 2];
}

// The peer: one connection, or two, of cnats.
class plain_client {
public:
    plain_client(const std::string& url, bool at_once) {
        natsOptions* options = nullptr;
        need(natsOptions_Create(&options));
        need(natsOptions_SetURL(options, url.c_str()));
        if (at_once) need(natsOptions_SetSendAsap(options, true));
        need(natsConnection_Connect(&connection, options));
        natsOptions_Destroy(options);
        need(natsConnection_JetStream(&js, connection, nullptr));
    }
    plain_client(const plain_client&) = delete;
    ~plain_client() {
        jsCtx_Destroy(js);
        natsConnection_Destroy(connection);
    }

    std::uint64_t send_all(const std::string& stream, std::uint64_t count, std::size_t size) const {
        const std::string payload(size, 'x');
        for (std::uint64_t number = 0; number < count; ++number) {
            natsMsg* what = nullptr;
            need(natsMsg_Create(&what, stream.c_str(), nullptr, payload.data(), static_cast<int>(payload.size())));
            jsPubOptions options;
            jsPubOptions_Init(&options);
            const std::string id = std::to_string(number);
            options.MsgId = id.c_str();
            need(js_PublishMsgAsync(js, &what, &options));
        }
        jsPubOptions wait;
        jsPubOptions_Init(&wait);
        wait.MaxWait = 60'000;
        need(js_PublishAsyncComplete(js, &wait));
        return count * (count + 1) / 2;  // it does not see the sequences
    }

    natsSubscription* pull(const std::string& stream) const {
        natsSubscription* from = nullptr;
        jsSubOptions options;
        jsSubOptions_Init(&options);
        options.Stream = stream.c_str();
        options.Consumer = "c";
        need(js_PullSubscribe(&from, js, stream.c_str(), "c", nullptr, &options, nullptr));
        return from;
    }

    std::uint64_t take_all(const std::string& stream, std::uint64_t count, bool confirmed) const {
        natsSubscription* const from = pull(stream);
        std::uint64_t sum = 0;
        for (std::uint64_t taken = 0; taken < count;) {
            natsMsgList list{};
            need(natsSubscription_Fetch(&list, from, batch, 5000, nullptr));
            taken += static_cast<std::uint64_t>(list.Count);
            for (int i = 0; i < list.Count; ++i) {
                sum += static_cast<std::uint64_t>(natsMsg_GetDataLength(list.Msgs[i]));
                need(confirmed ? natsMsg_AckSync(list.Msgs[i], nullptr, nullptr) : natsMsg_Ack(list.Msgs[i], nullptr));
            }
            natsMsgList_Destroy(&list);
        }
        need(natsConnection_Flush(connection));
        natsSubscription_Destroy(from);
        return sum;
    }

    natsConnection* connection = nullptr;
    jsCtx* js = nullptr;
};

double plain_hop(const plain_client& from, const plain_client& to, const std::string& stream, unsigned rounds) {
    natsSubscription* const pull = to.pull(stream);
    std::vector<double> times;
    for (unsigned round = 0; round < rounds; ++round) {
        std::chrono::steady_clock::time_point arrived;
        std::thread waits([&] {
            natsMsgList list{};
            if (natsSubscription_Fetch(&list, pull, 1, 5000, nullptr) != NATS_OK) std::abort();
            arrived = std::chrono::steady_clock::now();
            (void)natsMsg_AckSync(list.Msgs[0], nullptr, nullptr);
            natsMsgList_Destroy(&list);
        });
        std::this_thread::sleep_for(3ms);
        const auto start = std::chrono::steady_clock::now();
        need(js_Publish(nullptr, from.js, stream.c_str(), nullptr, 0, nullptr, nullptr));
        waits.join();
        times.push_back(std::chrono::duration<double, std::micro>(arrived - start).count());
    }
    natsSubscription_Destroy(pull);
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    return times[times.size() / 2];
}

task<std::unique_ptr<broker>> connected(std::string url) {
    auto made = co_await connect(nats_options(std::move(url)));
    co_return need(std::move(made));
}

void measure(bench::session& bench) {
    const leat_test::nats_server server;
    const auto where = leat::make_runtime(leat::run_options());
    const auto link = where->run(connected(server.url()));
    const auto other = where->run(connected(server.url()));
    const plain_client plain(server.url(), false);
    const plain_client quick(server.url(), true);
    const plain_client quick_too(server.url(), true);
    const auto fresh = [&] {
        std::string name = fresh_stream();
        where->run(make_stream(*link, name));
        return name;
    };
    const auto drop = [&](const std::string& name) { (void)where->run(link->remove_stream(name)); };

    const std::uint64_t count = bench.size(50'000, 600);
    const auto sample_of = [&](std::uint64_t of, const auto& prepare, const auto& work) {
        return bench::side([&, of, prepare, work] {
            const std::string name = fresh();
            prepare(name);
            std::uint64_t sum = 0;
            const double time = bench::nanoseconds_of([&] { sum = work(name); });
            drop(name);
            return bench::sample{time / static_cast<double>(of) / 1000, sum};
        });
    };
    const auto nothing = [](const std::string&) {};
    for (const std::size_t size : {std::size_t{16}, std::size_t{1024}}) {
        const std::string name = "publish with id, " + std::to_string(size) + " B";
        bench.compare(
            name.c_str(), "cnats", "us/message",
            sample_of(count, nothing,
                      [&, size](const std::string& to) { return where->run(send_all(*link, to, count, size)); }),
            sample_of(count, nothing, [&, size](const std::string& to) { return plain.send_all(to, count, size); }), 5);
    }
    const auto fill = [&](std::uint64_t many) {
        return [&, many](const std::string& to) { (void)where->run(send_all(*link, to, many, 16)); };
    };
    bench.compare(
        "fetch 100 and acknowledge, 16 B", "cnats, unconfirmed", "us/message",
        sample_of(count, fill(count),
                  [&](const std::string& of) { return where->run(take_all(*link, of, count, false)); }),
        sample_of(count, fill(count), [&](const std::string& of) { return plain.take_all(of, count, false); }), 5);
    const std::uint64_t few = bench.size(10'000, 200);
    bench.compare(
        "fetch 100 and acknowledge one by one", "cnats, confirmed", "us/message",
        sample_of(few, fill(few), [&](const std::string& of) { return where->run(take_all(*link, of, few, true)); }),
        sample_of(few, fill(few), [&](const std::string& of) { return quick.take_all(of, few, true); }), 5);
    const auto rounds = static_cast<unsigned>(bench.size(300, 5));
    bench.compare(
        "hop, median", "cnats, SetSendAsap", "us",
        [&] {
            const std::string name = fresh();
            const double time = where->run(hop(*link, *other, name, rounds));
            drop(name);
            return bench::sample{time, 0};
        },
        [&] {
            const std::string name = fresh();
            const double time = plain_hop(quick, quick_too, name, rounds);
            drop(name);
            return bench::sample{time, 0};
        },
        5);
    where->run(link->close());
    where->run(other->close());
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "broker");
    if (!leat_test::has_nats_server()) {
        bench.skip("all", "cnats", "LEAT_NATS_SERVER=none: no nats-server here");
        return 0;
    }
    measure(bench);
    return bench.exit_code();
}
