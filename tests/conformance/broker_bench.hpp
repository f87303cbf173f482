// What the tests of a broker stand on: a stream with a consumer, on a connection of the kind of broker that is asked
// (broker_kinds.hpp).
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <leat/cluster/broker.hpp>

#include "broker_kinds.hpp"

namespace leat_test {

using namespace leat::cluster;  // NOLINT(google-build-using-namespace): what is tested here
using leat::task;

// The value, or an error that ends the test.
template <class T>
T need(broker_result<T> result) {
    if (!result) throw std::runtime_error("failed: " + result.error().text);
    return std::move(*result);
}

template <class T>
broker_error expect_problem(broker_problem problem, const broker_result<T>& result) {
    if (result) {
        ADD_FAILURE() << "it succeeded";
        return {};
    }
    EXPECT_EQ(static_cast<int>(result.error().problem), static_cast<int>(problem)) << result.error().text;
    EXPECT_FALSE(result.error().text.empty());
    return result.error();
}

inline message note(std::string subject, std::string payload, std::string id = {}) {
    message one;
    one.subject = std::move(subject);
    one.payload = std::move(payload);
    one.id = std::move(id);
    return one;
}

// A connection, a stream with the subjects NAME.> and a consumer of all of it.
struct bench_stream {
    std::unique_ptr<broker> link;
    stream_config config;
    consumer_config consumer;
    leat::duration beat{};

    [[nodiscard]] std::string subject(const std::string& last) const { return config.name + "." + last; }
    task<receipt> publish(std::string payload, std::string id = {}) {
        message one = note(subject("a"), std::move(payload), std::move(id));
        auto stored = co_await link->publish(std::move(one));
        co_return need(std::move(stored));
    }
    // What is there within two beats.
    task<std::vector<delivery>> fetch(std::size_t most, unsigned beats = 2) {
        auto taken = co_await link->fetch(config.name, consumer.name, most, beat * beats);
        co_return need(std::move(taken));
    }
    // One; an error when there is none within many beats.
    task<delivery> fetch_one() {
        auto taken = co_await fetch(1, 40);
        if (taken.empty()) throw std::runtime_error("nothing came");
        co_return std::move(taken.front());
    }
    task<stream_state> state() {
        auto found = co_await link->stream(config.name);
        co_return need(std::move(found));
    }
    task<consumer_state> consumed() {
        auto found = co_await link->consumer(config.name, consumer.name);
        co_return need(std::move(found));
    }
    task<> acknowledge(delivery what) {
        auto confirmed = co_await link->ack(std::move(what));
        (void)need(std::move(confirmed));
    }
};

using shaper = void (*)(stream_config&, consumer_config&, leat::duration beat);

inline task<bench_stream> make_bench(broker_bench& at, shaper shape = nullptr) {
    bench_stream made;
    made.beat = at.beat;
    made.link = co_await at.connect();
    made.config.name = broker_bench::name("stream");
    made.config.subjects = {made.config.name + ".>"};
    made.consumer.stream = made.config.name;
    made.consumer.name = "workers";
    if (shape != nullptr) shape(made.config, made.consumer, at.beat);
    auto stream = co_await made.link->make_stream(made.config);
    (void)need(std::move(stream));
    auto consumer = co_await made.link->make_consumer(made.consumer);
    (void)need(std::move(consumer));
    co_return made;
}

inline task<std::string> make_test_bucket(broker& link, leat::duration age = leat::duration::zero()) {
    std::string name = broker_bench::name("bucket");
    auto made = co_await link.make_bucket(name, age, 1);
    (void)need(std::move(made));
    co_return name;
}

inline std::vector<std::string> payloads(const std::vector<delivery>& of) {
    std::vector<std::string> all;
    all.reserve(of.size());
    for (const delivery& each : of) all.push_back(each.what.payload);
    return all;
}

class broker_conformance : public testing::TestWithParam<broker_kind> {
protected:
    static void check(task<> (*program)(broker_bench&)) { GetParam().run(program); }
};

}  // namespace leat_test
