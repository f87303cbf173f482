// cluster_stage: a stage whose function runs in the workers of a cluster. The same program is coordinator and worker:
//
//   thumbnail shrink(const image& from);                       // a named function
//
//   leat::cluster::at place("nats://127.0.0.1:4222");
//   leat::flow_graph work = leat::from(images)
//                         | leat::map<shrink>("shrink").on(place).timeout(20s).retry(2)
//                         | leat::for_each("keep", keep);
//   int main(int argc, char** argv) {                          // `program worker --engine nats://…` is a worker
//       if (const auto code = leat::cluster::worker_main(argc, argv)) return *code;
//       return leat::main(argc, argv, program);
//   }
//
// Stages one behind the other that are given the same place are one hop: their items go there once. buffer() of the second makes it
// two. In a report the hop has both names, with a + between them.
//
// What may run there is what may run in a process (process_stage.hpp), without a worker's state. Retries, the timeout and
// concurrency() are those of each worker; order, on_error, windows and the account are the coordinator's. An exception of the
// function comes as permanent_error, with its text, the stage and how often it was tried.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <leat/cluster/cluster_flow.hpp>
#include <leat/cluster/cluster_function.hpp>
#include <leat/cluster/cluster_worker.hpp>
#include <leat/flow/process_stage.hpp>

namespace leat::cluster {

class coordinator_body;

// The engine where stages run, one flow of it: those that are given the same one, or a copy, belong to one run.
class at {
public:
    // At that address (engine_url.hpp); connects when the flow starts.
    explicit at(std::string url, placement_options options = {});
    explicit at(const char* url, placement_options options = {}) : at(std::string(url), std::move(options)) {}
    explicit at(std::shared_ptr<broker> engine, placement_options options = {});
    // `open` gives the connection when the flow starts.
    explicit at(std::function<task<std::shared_ptr<broker>>()> open, placement_options options = {});

    // Null before a stage was put there. The report is whole when the flow has run.
    [[nodiscard]] std::shared_ptr<coordinator> run() const;

    // For operator|: a stage that sends its items to the workers' function of that name.
    struct function {
        std::string stage;
        std::string_view name;
        std::uint64_t type = 0;
        const item_codec* in = nullptr;
        const item_codec* out = nullptr;
        bool takes_as_given = false;  // of the type that the stage in front gives, without a conversion
    };
    [[nodiscard]] std::shared_ptr<stage> add(const function& what) const;

private:
    struct state;
    std::shared_ptr<state> state_;
};

template <auto Function>
struct cluster_map_stage : stage_settings<cluster_map_stage<Function>> {
    cluster_map_stage(std::string called, stage_policy set, at where)
        : stage_settings<cluster_map_stage>(std::move(called)), place(std::move(where)) {
        this->policy = std::move(set);
    }
    at place;
};

// map<fn>("x").on(at(…)).
template <auto Function>
cluster_map_stage<Function> on_place(named_map_stage<Function>&& stage, at where) {
    return {std::move(stage.name), std::move(stage.policy), std::move(where)};
}

template <class In, auto Function>
auto operator|(pipeline<In> before, cluster_map_stage<Function> stage) {
    using function = detail::cluster_function<Function>;
    static_assert(std::is_convertible_v<const In&, typename function::item_type>,
                  "leat: the function does not take the items of the stage before it");
    (void)function::entered();
    at::function what;
    what.stage = stage.name;
    what.name = function::name();
    what.type = function::type();
    what.in = detail::codec_from<In, typename function::item_type>();
    what.out = &codec_of<typename function::value>();
    what.takes_as_given = std::is_same_v<In, typename function::item_type>;
    own_stage<typename function::value> made =
        through<typename function::value>(std::move(stage.name), stage.place.add(what));
    made.policy = std::move(stage.policy);
    return std::move(before) | std::move(made);
}

}  // namespace leat::cluster
