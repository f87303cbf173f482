// The kinds of broker that broker_*_test.cpp ask for what broker.hpp promises. A new one is a line in broker_kinds(): how to run
// a program of tasks beside a server of it, and how to connect to that.
#pragma once

#include <atomic>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <unistd.h>

#include <leat/cluster/memory_broker.hpp>
#include <leat/cluster/nats_broker.hpp>
#include <leat/runtime/run.hpp>
#include <leat/runtime/sim.hpp>
#include <nats_server.hpp>

namespace leat_test {

// What a test is given: a server, and how long a time is there.
struct broker_bench {
    // A connection of its own, as another process would have.
    std::function<leat::task<std::unique_ptr<leat::cluster::broker>>()> connect;
    // Times of tests are multiples of this: long against what a call takes.
    leat::duration beat = std::chrono::seconds(1);

    // A name that no other test has, of a stream, a bucket or the first token of a subject.
    static std::string name(const std::string& what) {
        static std::atomic<int> count = 0;
        return what + "-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
    }
};

using broker_program = std::function<leat::task<>(broker_bench&)>;

struct broker_kind {
    const char* name;
    // Runs the program to its end, with a server of this kind; throws what it throws.
    void (*run)(const broker_program& program);
};

namespace detail {

inline leat::task<std::unique_ptr<leat::cluster::broker>> connect_to(leat::cluster::memory_engine& engine) {
    co_return engine.connect();
}

inline broker_bench bench_of(leat::cluster::memory_engine& engine) {
    broker_bench made;
    made.connect = [&engine] { return connect_to(engine); };
    return made;
}

inline void run_simulated(const broker_program& program) {
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        leat::cluster::memory_engine engine;
        broker_bench at = bench_of(engine);
        const leat::sim::result end = leat::sim::run({.seed = seed}, program, at);
        if (!end.ok()) throw std::runtime_error(end.report());
    }
}

inline void run_on_threads(const broker_program& program) {
    leat::cluster::memory_engine engine;
    broker_bench at = bench_of(engine);
    at.beat = std::chrono::milliseconds(300);
    leat::run(leat::run_options(2), program, at);
}

inline leat::task<std::unique_ptr<leat::cluster::broker>> connect_to_server(std::string url) {
    leat::cluster::nats_options options(std::move(url));
    options.patience = std::chrono::seconds(60);  // the machine may be busy
    auto made = co_await leat::cluster::connect(std::move(options));
    if (!made) throw std::runtime_error(made.error().text);
    co_return std::move(*made);
}

inline void run_on_nats_of(nats_age age, const broker_program& program) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server({.age = age});
    broker_bench at;
    at.connect = [url = server.url()] { return connect_to_server(url); };
    at.beat = std::chrono::milliseconds(400);
    leat::run(leat::run_options(2), program, at);
}
inline void run_on_nats(const broker_program& program) { run_on_nats_of(nats_age::current, program); }
inline void run_on_old_nats(const broker_program& program) { run_on_nats_of(nats_age::old, program); }

}  // namespace detail

inline std::vector<broker_kind> broker_kinds() {
    return {{"memory_simulated", &detail::run_simulated},
            {"memory_on_threads", &detail::run_on_threads},
            {"nats", &detail::run_on_nats},
            {"old_nats", &detail::run_on_old_nats}};
}

}  // namespace leat_test
