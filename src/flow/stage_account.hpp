// stage_account: the counts and times of one stage while it runs. Written by its workers, read by reports and progress.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <deque>

#include <leat/flow/report.hpp>

namespace leat {

// How long things took, in buckets of an eighth of a power of two: a percentile is off by at most 12 %.
class latency_histogram {
public:
    void add(std::uint64_t ns, std::uint32_t times = 1) noexcept {
        counts_[bucket(ns)].fetch_add(times, std::memory_order_relaxed);
    }
    // The time below which `share` of the entries lie, in nanoseconds; 0 when there are none.
    [[nodiscard]] double percentile(double share) const noexcept {
        std::uint64_t all = 0;
        for (const auto& each : counts_) all += each.load(std::memory_order_relaxed);
        if (all == 0) return 0;
        auto left = static_cast<std::uint64_t>(share * static_cast<double>(all - 1)) + 1;
        for (std::size_t at = 0; at < counts_.size(); ++at) {
            const std::uint64_t here = counts_[at].load(std::memory_order_relaxed);
            if (here >= left) return middle(at);
            left -= here;
        }
        return middle(counts_.size() - 1);
    }

private:
    static constexpr unsigned eighths = 8;
    static std::size_t bucket(std::uint64_t ns) noexcept {
        if (ns < eighths) return ns;
        const auto power = static_cast<unsigned>(std::bit_width(ns)) - 1;  // at least 3
        return eighths * (power - 2) + ((ns >> (power - 3)) & (eighths - 1));
    }
    static double middle(std::size_t at) noexcept {
        if (at < eighths) return static_cast<double>(at);
        const std::size_t power = at / eighths + 2;
        const double width = static_cast<double>(std::uint64_t{1} << (power - 3));
        return (static_cast<double>(eighths + at % eighths) + 0.5) * width;
    }
    // relaxed throughout: counts for reports order nothing.
    std::array<std::atomic<std::uint32_t>, eighths * 62> counts_{};
};

// relaxed throughout, for the same reason.
class tally {
public:
    void add(std::uint64_t n = 1) noexcept { value_.fetch_add(n, std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

// A tally that one writes at a time: no locked instruction, and no cache line that several write.
class own_tally {
public:
    void add(std::uint64_t n = 1) noexcept { value_.store(get() + n, std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

// Of one worker in one stage. The times are parts of the worker's life, without a gap.
struct alignas(64) stage_counts {
    own_tally in, out, skipped, retried, dead, failed;
    own_tally busy_ns;     // in the stage, on a CPU
    own_tally io_ns;       // in the stage, waiting for something
    own_tally core_ns;     // ready, without a CPU
    own_tally starved_ns;  // waiting for input
    own_tally blocked_ns;  // waiting for what follows, for its turn, or since its policy says so
};

struct stage_account {
    std::deque<stage_counts> of;  // the workers
    tally dropped;                // by who found no room in front of the stage; of the skipped
    tally spilled;                // that found none either, and were put aside
    tally lent_ns;                // by workers that waited for input to those that held more than one item
    latency_histogram latency;

    [[nodiscard]] std::uint64_t sum(own_tally stage_counts::* which) const noexcept {
        std::uint64_t all = 0;
        for (const stage_counts& each : of) all += (each.*which).get();
        return all;
    }
    [[nodiscard]] stage_report report(const std::string& name, unsigned jobs, unsigned workers) const {
        const auto seconds = [this](own_tally stage_counts::* which) { return static_cast<double>(sum(which)) * 1e-9; };
        stage_report r;
        r.name = name;
        r.in = sum(&stage_counts::in);
        r.out = sum(&stage_counts::out);
        r.skipped = sum(&stage_counts::skipped) + dropped.get();
        r.retried = sum(&stage_counts::retried);
        r.dead = sum(&stage_counts::dead);
        r.failed = sum(&stage_counts::failed);
        r.spilled = spilled.get();
        r.jobs = jobs;
        r.workers = workers;
        r.busy_s = seconds(&stage_counts::busy_ns);
        r.io_s = seconds(&stage_counts::io_ns);
        r.core_s = seconds(&stage_counts::core_ns);
        r.starved_s = std::max(0.0, seconds(&stage_counts::starved_ns) - static_cast<double>(lent_ns.get()) * 1e-9);
        r.blocked_s = seconds(&stage_counts::blocked_ns);
        r.p50_ms = latency.percentile(0.50) * 1e-6;
        r.p99_ms = latency.percentile(0.99) * 1e-6;
        return r;
    }
};

}  // namespace leat
