// coordinator_body: one run of a flow on the cluster, as its segments share it: the names and streams in the engine, the lease,
// the counts. The first segment that enters begins the run, the last that leaves ends it.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <cluster/manifest.hpp>
#include <leat/cluster/cluster_flow.hpp>
#include <leat/cluster/lease.hpp>
#include <leat/task/scope.hpp>

namespace leat::cluster {

class coordinator_body final : public coordinator {
public:
    coordinator_body(std::shared_ptr<broker> engine, manifest plan, placement_options options);
    ~coordinator_body() override;

    [[nodiscard]] cluster_report report() const override;
    [[nodiscard]] std::string failure() const override;
    [[nodiscard]] std::vector<std::string> segments() const override;

    // Before enter(), as a C++ flow begins.
    std::size_t add(manifest_segment segment);
    // How the engine is reached, where that is not known before the flow starts.
    void opens_by(std::function<task<std::shared_ptr<broker>>()> open) { open_ = std::move(open); }

    // By each segment's start(), one after the other, on the line that lives until close(). Throws cluster_refused.
    task<> enter();
    // By each close(); `settled`: all that the segment sent was answered. Ends within some seconds, also without an engine.
    task<> leave(bool settled);

    [[nodiscard]] broker& engine() noexcept { return *engine_; }
    [[nodiscard]] const manifest& plan() const noexcept { return plan_; }
    [[nodiscard]] const placement_options& options() const noexcept { return options_; }
    [[nodiscard]] std::size_t largest_message() const noexcept { return largest_message_; }
    // The flow cannot go on; the first reason counts.
    void fail(const std::string& why) noexcept;
    // Set with that.
    [[nodiscard]] event& failed() noexcept { return failed_; }
    void log(const std::string& line) const {
        if (options_.log) options_.log(line);
    }

    struct counts {
        std::atomic<std::uint64_t> items{0}, answered{0}, parcels{0}, bytes{0}, result_parcels{0}, result_bytes{0},
            redelivered{0}, late{0}, resent{0}, poison{0}, malformed{0};
        void clear() noexcept {
            for (std::atomic<std::uint64_t>* each : {&items, &answered, &parcels, &bytes, &result_parcels,
                                                     &result_bytes, &redelivered, &late, &resent, &poison, &malformed})
                each->store(0);
        }
    };
    counts counted;

private:
    void begin_anew();
    task<> begin();
    task<> take_lease();
    task<> keep_lease();
    task<> make_streams();
    task<> remove_run(manifest what);
    task<> remove_older();
    task<> end();
    task<std::string> look_for_rest();
    task<> look_around();
    template <class T, class Make>
    task<T> must(Make make, std::string what);

    std::shared_ptr<broker> engine_;
    std::function<task<std::shared_ptr<broker>>()> open_;
    manifest plan_;
    placement_options options_;
    std::size_t largest_message_ = 0;
    unsigned inside_ = 0;
    bool begun_ = false;
    std::unique_ptr<lease> lease_;  // null: not taken
    event failed_;
    bool settled_ = true;
    std::unique_ptr<scope> tasks_;
    mutable std::mutex lock_;
    std::string failure_;       // under lock_
    broker_limits limits_;      // under lock_
    std::string unsettled_;     // under lock_
    bool read_at_end_ = false;  // under lock_
};

}  // namespace leat::cluster
