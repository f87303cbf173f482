// cluster_graph: the nodes of a task graph (flow/graph.hpp) on a cluster, with results that feed each other there.
//
//   leat::graph work;
//   auto text = work.add("load", leat::cluster::remote<load>(cluster, path));        // string load(const string&)
//   auto words = work.add("count", leat::cluster::remote<count>(cluster), text);      // long count(const string&)
//   auto done = work.add("show", show, words);                                        // here: task<> show(const cluster_value<long>&)
//   leat::graph_report told = co_await work.run(leat::graph_options(1000));
//
// A node of remote<fn> gives a cluster_value of what fn gives: a small one travels back, and on with the jobs that need it; one
// above the bound of the blob_store (512 KiB) goes from the worker that made it to those that need it by way of the engine, and
// never through this process. The graph is the local one: what fails cancels what depends on it, and so on. Its limit is how
// many jobs are under way; raise it above the CPUs of this machine.
#pragma once

#include <type_traits>
#include <utility>

#include <leat/cluster/cluster_client.hpp>

namespace leat::cluster {

// What remote() gives: called with the arguments of Function from number Bound on, each a value or a cluster_value.
template <auto Function, std::size_t Bound>
class remote_call {
    using function = detail::job_function<Function>;

public:
    remote_call(cluster_client& where, detail::job_arguments bound) : where_(&where), bound_(std::move(bound)) {}

    template <class... Argument>
        requires(Bound + sizeof...(Argument) == function::arity && detail::are_arguments<Function, Bound, Argument...>)
    auto operator()(const Argument&... argument) const {
        detail::job_arguments all = bound_;
        detail::job_arguments more = cluster_client::pack<Function, Bound>(argument...);
        for (job_value& each : more.values) all.values.push_back(std::move(each));
        for (auto& each : more.kept) all.kept.push_back(std::move(each));
        return where_->template await_kept<Function>(std::move(all));
    }

private:
    cluster_client* where_;
    detail::job_arguments bound_;
};

// Function as a node of a graph: its first arguments are given here, the others are the results of the nodes it comes after.
// The client outlives the run.
template <auto Function, class... Bound>
remote_call<Function, sizeof...(Bound)> remote(cluster_client& where, const Bound&... bound) {
    return {where, cluster_client::pack<Function, 0>(bound...)};
}

}  // namespace leat::cluster
