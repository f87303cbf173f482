// mortal_workers: workers of a simulated cluster that are killed, or asked to stop, and followed by others, all the time.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include <leat/cluster/cluster_flow.hpp>
#include <leat/cluster/cluster_worker.hpp>
#include <leat/cluster/memory_broker.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace leat_test {

namespace detail {

inline leat::task<> serve(std::shared_ptr<leat::cluster::memory_broker> link, std::string name) {
    leat::cluster::worker_options how;
    how.name = std::move(name);
    how.stall = std::chrono::seconds(60);
    leat::cluster::cluster_worker mine(std::move(link), how);
    try {
        co_await mine.run();
    } catch (const leat::cluster::cluster_refused&) {  // its connection was dropped
    }
}

// A worker's life: it is killed, or asked to stop.
inline leat::task<> live_and_end(leat::scope& one, std::shared_ptr<leat::cluster::memory_broker> link,
                                 std::string name) {
    one.spawn(&serve, link, name);
    co_await leat::sleep_for(std::chrono::milliseconds(200 + leat::sim::draw(8000)));
    if (leat::sim::chance(70)) link->drop();  // killed: it says nothing more
    one.stop();
}

}  // namespace detail

// One after the other until it is stopped; "w<number>-0", "w<number>-1", ….
inline leat::task<> mortal_workers(leat::cluster::memory_engine* engine, unsigned number) {
    for (unsigned life = 0;; ++life) {
        std::shared_ptr<leat::cluster::memory_broker> link = engine->connect();
        auto living =
            leat::with_scope(&detail::live_and_end, link, "w" + std::to_string(number) + "-" + std::to_string(life));
        co_await std::move(living);
        co_await leat::sleep_for(std::chrono::milliseconds(leat::sim::draw(500)));
    }
}

}  // namespace leat_test
