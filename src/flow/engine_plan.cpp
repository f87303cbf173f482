// From the description of a flow to what runs: how many workers a stage has, which stages are fused, where order is kept.
#include <algorithm>
#include <set>
#include <stdexcept>

#include <fmt/format.h>

#include <leat/base/machine.hpp>

#include "engine_parts.hpp"

namespace leat {

void flow_engine::resolve() {
    if (graph_.sources.empty()) throw std::invalid_argument("the flow has no source");
    for (const source_node& each : graph_.sources) {
        if (!each.what) throw std::invalid_argument("the source '" + each.name + "' has no implementation");
        each.what->begin();
    }
    if (graph_.stages.empty()) throw std::invalid_argument("the flow has no sink");
    for (const source_node& each : graph_.sources)
        if (each.what->has_dead_letters() && !options_.dead_letters)
            throw std::invalid_argument("the source '" + each.name +
                                        "' sends what is bad to the dead letters, but the flow has no place for them");
    for (std::size_t at = 0; at < graph_.stages.size(); ++at) {
        const stage_node& each = graph_.stages[at];
        if (!each.what) throw std::invalid_argument("stage '" + each.name + "' has no implementation");
        if (!each.from.empty()) continue;
        graph_.stages[at].from.push_back({at == 0, at == 0 ? 0 : at - 1, 0});
    }
    join_neighbours();
    const unsigned cpus = effective_machine().worker_count;
    const bool sinks_said =
        std::any_of(graph_.stages.begin(), graph_.stages.end(), [](const stage_node& each) { return each.is_sink; });
    for (std::size_t at = 0; at < graph_.stages.size(); ++at) {
        stage_node& each = graph_.stages[at];
        each.what->adopt(each.policy);
        stage_policy& policy = each.policy;
        const unsigned most = each.what->most_jobs();
        unsigned jobs = policy.jobs;
        if (jobs == stage_policy::automatic)
            jobs = std::min(each.what->automatic_jobs() != 0 ? each.what->automatic_jobs() : cpus, most);
        if (jobs > most || jobs > stage_policy::most_jobs)
            throw std::invalid_argument(fmt::format("stage '{}' was given {} jobs: it can have at most {}", each.name,
                                                    jobs, std::min(most, stage_policy::most_jobs)));
        // A job that has several items is a process, which is started for the whole run; and keys keep their worker: there a
        // range stands for the number of CPUs within it.
        if (policy.least_jobs != 0 &&
            (each.what->items_per_job() != 1 || policy.ordered.value_or(graph_.ordered) == order::key)) {
            jobs = std::clamp(cpus, policy.least_jobs, jobs);
            policy.least_jobs = 0;
        }
        if (policy.error == on_error::dead_letter && !options_.dead_letters)
            throw std::invalid_argument("stage '" + each.name +
                                        "' sends what fails to the dead letters, but the flow has no place for them");
        for (const flow_input& input : each.from) check_input(each, input);
        node& made = nodes_.emplace_back(std::move(each));
        made.jobs = jobs;
        const stage_policy& set = made.description.policy;
        made.may_consume = set.retry.max == 0 && set.error != on_error::dead_letter;
        made.is_sink = made.description.is_sink || (!sinks_said && at + 1 == graph_.stages.size());
        if (set.rate > 0) made.rate.emplace(set.rate, std::max(1.0, set.rate / 100));
        if (!set.pool.empty()) made.pool = find_pool(set.pool);
        made.direct = made.description.what->is_direct() && set.timeout.count() == 0 && !made.rate && !made.pool;
    }
}

// Stages that are one to those who do their work.
void flow_engine::join_neighbours() {
    std::vector<stage_node>& all = graph_.stages;
    for (std::size_t at = 1; at < all.size(); ++at) {
        const stage_node& mine = all[at];
        if (mine.from.size() != 1 || mine.from.front().is_source || mine.from.front().index >= at || mine.is_sink)
            continue;
        const std::size_t before = mine.from.front().index;
        const auto takes = [before](const stage_node& one) {
            return std::any_of(one.from.begin(), one.from.end(),
                               [before](const flow_input& in) { return !in.is_source && in.index == before; });
        };
        if (std::count_if(all.begin(), all.end(), takes) != 1) continue;
        stage_node& front = all[before];
        if (!needs_no_hop(front.policy, mine.policy)) continue;
        std::shared_ptr<stage> both = front.what->joined_with(front.policy, mine);
        if (!both) continue;
        front.what = std::move(both);
        // Dead letters are replayed into the stage of their name.
        if (front.policy.error != on_error::dead_letter) front.name += '+' + mine.name;
        all.erase(all.begin() + static_cast<std::ptrdiff_t>(at));
        for (stage_node& each : all)
            for (flow_input& in : each.from)
                if (!in.is_source && in.index >= at) in.index = in.index == at ? before : in.index - 1;
        --at;
    }
}

// That it names what lies in front of the stage, which is the next of nodes_.
void flow_engine::check_input(const stage_node& of, const flow_input& input) const {
    if (input.is_source) {
        if (input.index < graph_.sources.size() && input.port == 0) return;
        throw std::invalid_argument(fmt::format("stage '{}' takes from a source that is not there", of.name));
    }
    if (input.index >= nodes_.size()) {
        if (input.index >= graph_.stages.size())
            throw std::invalid_argument(fmt::format("stage '{}' takes from a stage that is not there", of.name));
        throw std::invalid_argument(
            fmt::format("stage '{}' takes from '{}', which does not come before it: a flow has no cycles", of.name,
                        graph_.stages[input.index].name));
    }
    const stage_node& from = nodes_[input.index].description;
    if (from.is_sink)
        throw std::invalid_argument(
            fmt::format("stage '{}' takes from the sink '{}', which gives nothing", of.name, from.name));
    if (input.port >= from.what->ports())
        throw std::invalid_argument(fmt::format("stage '{}' takes from port {} of '{}', which has {}", of.name,
                                                input.port, from.name, from.what->ports()));
}

std::shared_ptr<semaphore> flow_engine::find_pool(const std::string& name) const {
    for (const auto& [called, places] : options_.pools)
        if (called == name) return places;
    throw std::invalid_argument("the flow has no concurrency pool '" + name + "'");
}

// Whether the stage goes into the segment of the one that it takes from.
bool flow_engine::fuses(std::size_t at, const std::vector<segment*>& of_stage) const {
    const node& mine = nodes_[at];
    const std::vector<flow_input>& from = mine.description.from;
    if (from.size() != 1 || from.front().is_source || mine.description.policy.own_buffer) return false;
    // One that is serial by its policy is so that it runs beside its neighbours.
    if (mine.workers() == 1 && mine.description.policy.jobs != stage_policy::automatic) return false;
    const std::size_t before = from.front().index;
    const auto others = [&](const node& each) {
        return &each != &mine && std::any_of(each.description.from.begin(), each.description.from.end(),
                                             [&](const flow_input& in) { return !in.is_source && in.index == before; });
    };
    const node& front = nodes_[before];
    return mine.description.what->most_jobs() > 1 && front.description.what->most_jobs() > 1 &&
           front.description.what->ports() == 1 && mine.workers() == of_stage[before]->workers &&
           order_of(mine) == order_of(front) &&
           mine.description.policy.least_jobs == front.description.policy.least_jobs &&
           of_stage[before]->stages.back() == &front && std::none_of(nodes_.begin(), nodes_.end(), others);
}

order flow_engine::order_of(const node& of) const { return of.description.policy.ordered.value_or(graph_.ordered); }

void flow_engine::cut() {
    std::vector<segment*> of_stage;
    for (std::size_t at = 0; at < nodes_.size(); ++at) {
        node& each = nodes_[at];
        if (fuses(at, of_stage)) {
            of_stage.push_back(of_stage[each.description.from.front().index]);
        } else {
            segment& fresh = segments_.emplace_back();
            of_stage.push_back(&fresh);
            const stage_policy& policy = each.description.policy;
            fresh.workers = each.workers();
            fresh.least = policy.least_jobs != 0 ? std::min(policy.least_jobs, fresh.workers) : fresh.workers;
            fresh.wanted = fresh.least;
            for (unsigned i = 0; i < fresh.workers && fresh.least < fresh.workers; ++i)
                fresh.may_work.emplace_back(i < fresh.least);
            fresh.full = policy.full;
            if (policy.full == when_full::spill) {
                if (policy.spilled_as == nullptr)
                    throw std::invalid_argument(fmt::format(
                        "stage '{}' is to spill, and does not say how its items become bytes", each.description.name));
                fresh.side = std::make_unique<side_way>(policy);
            }
            const std::size_t items = policy.buffer_items != 0
                                          ? policy.buffer_items
                                          : std::max<std::size_t>(64, std::size_t{2} * fresh.workers);
            fresh.most_at_once = std::min(items, leat::most_at_once);
            // A queue for each worker where equal keys go to the same one.
            const std::size_t lanes = order_of(each) == order::key ? fresh.workers : 1;
            fresh.queue_items = std::max<std::size_t>(1, items / lanes);
            fresh.queue_bytes = policy.buffer_bytes / lanes + 1;
            fresh.most_held_bytes = policy.buffer_bytes;
            for (std::size_t i = 0; i < lanes; ++i) {
                auto [out, in] = channel<item>(channel_bounds(fresh.queue_items, fresh.queue_bytes), &weight_of_item);
                fresh.lanes.push_back({std::move(out), std::move(in)});
            }
        }
        each.account.of.resize(each.workers());
        of_stage.back()->stages.push_back(&each);
        of_stage.back()->has_deadlines |= each.description.what->has_deadlines();
    }
    connect(of_stage);
    put_in_order();
    spare_queues();
    share_bytes();
}

void flow_engine::share_bytes() noexcept {
    if (options_.most_bytes == 0) return;
    double all = 0;
    for (const segment& each : segments_) {
        if (each.pulls == nullptr && !each.is_led)
            all += static_cast<double>(each.queue_bytes) * static_cast<double>(each.lanes.size());
        if (each.gate) all += static_cast<double>(each.most_held_bytes);
    }
    const double share = static_cast<double>(options_.most_bytes) / all;
    if (share >= 1) return;
    const auto part = [share](std::size_t& of) {
        of = std::max<std::size_t>(1, static_cast<std::size_t>(share * static_cast<double>(of)));
    };
    for (segment& each : segments_) {
        part(each.queue_bytes);
        part(each.most_held_bytes);
        for (lane_ends& lane : each.lanes) lane.out->set_bounds(channel_bounds(each.queue_items, each.queue_bytes));
    }
}

// Which queues are not needed: see invariant 4 of the engine.
void flow_engine::spare_queues() {
    const auto may_go_without = [](const outlet& from) {
        if (!from.is_simple()) return false;
        const segment& to = *from.ports.front().front().to;
        return to.feeders == 1 && to.lanes.size() == 1 && !to.has_deadlines && to.full == when_full::wait &&
               !to.stages.front()->description.policy.own_buffer;
    };
    for (feed& each : feeds_) {
        if (!each.from->what->is_direct() || !may_go_without(each.out)) continue;
        segment& to = *each.out.ports.front().front().to;
        if (to.workers == 1) continue;  // the source works beside it
        each.is_pulled = true;
        to.pulls = &each;
    }
    for (segment& each : segments_) {
        const node& only = *each.stages.front();
        each.prepares = each.stages.size() == 1 && each.lanes.size() == 1 &&
                        only.description.what->items_at_once() != 0 && only.description.policy.timeout.count() == 0 &&
                        !only.rate && !only.pool;
        if (!each.prepares) continue;
        each.taking.emplace(each.workers);
        each.room.release(each.workers);
    }
    for (segment& each : segments_)
        each.all_direct =
            std::all_of(each.stages.begin(), each.stages.end(), [](const node* stage) { return stage->direct; });
    for (segment& each : segments_) {
        if (!each.gate || !may_go_without(each.out)) continue;
        segment& to = *each.out.ports.front().front().to;
        to.is_led = to.workers == 1 && to.all_direct;
    }
}

void flow_engine::connect(const std::vector<segment*>& of_stage) {
    for (source_node& each : graph_.sources) {
        feed& fresh = feeds_.emplace_back();
        fresh.from = &each;
        fresh.number = static_cast<unsigned>(feeds_.size() - 1);
        fresh.next = std::uint64_t{fresh.number} << source_output::bits_of_items;
        fresh.out.ports.resize(1);
    }
    for (std::size_t at = 0; at < nodes_.size(); ++at) {
        const node& each = nodes_[at];
        segment& mine = *of_stage[at];
        if (!each.is_sink && mine.stages.back() == &each) mine.out.ports.resize(each.description.what->ports());
        if (mine.stages.front() != &each) continue;
        for (const flow_input& input : each.description.from) {
            outlet& from = input.is_source ? feeds_[input.index].out : of_stage[input.index]->out;
            from.ports[input.port].push_back({&mine});
            mine.feeders.fetch_add(1);
        }
    }
    for (const feed& each : feeds_)
        if (each.out.ports.front().empty())
            throw std::invalid_argument("nobody takes what the source '" + each.from->name + "' gives");
    for (const segment& each : segments_)
        for (std::size_t port = 0; port < each.out.ports.size(); ++port)
            if (each.out.ports[port].empty())
                throw std::invalid_argument(
                    fmt::format("nobody takes what '{}' gives{}", each.stages.back()->description.name,
                                each.out.ports.size() == 1 ? "" : fmt::format(" at its port {}", port)));
}

void flow_engine::put_in_order() {
    // Whether one worker at a time sends: the outlets of which that is so.
    std::set<const segment*> several;  // segments that more than one sends into at a time
    const auto feeds_into = [&](const outlet& from, bool in_turn) {
        for (const auto& port : from.ports)
            for (const target& each : port)
                if (!in_turn || each.to->feeders > 1 || each.to->full != when_full::wait) several.insert(each.to);
    };
    for (const feed& each : feeds_) feeds_into(each.out, true);
    for (segment& each : segments_) {  // those in front come first
        each.numbers_on_receipt = several.contains(&each);
        const bool by_input = std::any_of(each.stages.begin(), each.stages.end(),
                                          [this](const node* stage) { return order_of(*stage) == order::input; });
        // The order of what ends here is of no use to anybody: a sink that keeps it is serial.
        if (by_input && each.workers > 1 && !each.out.ports.empty()) {
            std::size_t window = options_.window;
            for (const node* stage : each.stages) window = std::max(window, stage->description.policy.window);
            if (window == 0) window = std::max<std::size_t>(64, std::size_t{4} * each.workers);
            window = std::max<std::size_t>(window, each.workers);
            each.gate = std::make_unique<order_gate>(window);
            if (each.numbers_on_receipt) each.taking.emplace(each.workers);
            each.most_at_once = std::min(each.most_at_once, window / each.workers);
        }
        feeds_into(each.out, each.workers == 1 || each.gate != nullptr);
    }
}

}  // namespace leat
