// coordination: what makes a process the coordinator of a flow, kept in the engine and so by no machine: the flow's lease, held by
// one at a time, and by its epoch the flow's journal. So a coordinator that was killed is followed by any other, which goes on
// with what is on record.
//
//   auto mine = co_await coordination::begin(engine, "licences", {.owner = "host7, process 4711"});
//   placement.held = &mine->held();                       // for place_on_cluster() and cluster::at
//   options.journal = &mine->kept();
//   options.journal_mode = leat::journal_mode::resume;
//   leat::report done = co_await mine->hold(leat::run_flow(std::move(graph), options));
//   co_await mine->end();
//
// Names in the engine: the bucket leat-runs has the key lease.FLOW; the stream df-FLOW-journal the journal, with the subject
// df.FLOW.journal.
#pragma once

#include <memory>
#include <string>

#include <leat/cluster/broker.hpp>
#include <leat/cluster/lease.hpp>
#include <leat/flow/journal.hpp>

namespace leat::cluster {

struct coordination_options {
    std::string owner;      // told to who asks for the flow meanwhile; empty: host and process id
    unsigned replicas = 1;  // 0: as those of the journal that is there; where there is none, that is refused
};

class coordination {
public:
    // Waits for the lease of a coordinator that died, some ten seconds, or thirty with replicas. Throws cluster_refused when one lives, and says who, or
    // when the engine does not let us; what open_broker_journal throws. What passes is waited for. The engine outlives it.
    static task<std::unique_ptr<coordination>> begin(std::shared_ptr<broker> engine, std::string flow,
                                                     coordination_options options);
    coordination(std::shared_ptr<broker> engine, lease_options options, unsigned replicas);
    coordination(const coordination&) = delete;
    coordination& operator=(const coordination&) = delete;

    [[nodiscard]] lease& held() noexcept { return lease_; }
    [[nodiscard]] journal& kept() noexcept { return *journal_; }
    [[nodiscard]] unsigned replicas() const noexcept { return replicas_; }
    // Runs `body` as the coordinator: as lease::hold.
    template <class T>
    task<T> hold(task<T> body) {
        return lease_.hold(std::move(body));
    }
    // Gives the lease up, so that the next need not wait for it.
    task<> end();

private:
    std::shared_ptr<broker> engine_;
    lease lease_;
    std::unique_ptr<journal> journal_;
    unsigned replicas_;
};

}  // namespace leat::cluster
