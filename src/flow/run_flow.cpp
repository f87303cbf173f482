#include <leat/flow/run_flow.hpp>

#include <leat/task/this_task.hpp>

#include "engine.hpp"
#include "journal_run.hpp"

namespace leat {

made stage_worker::transform(item&, bool) { bug("transform() of a stage that is not direct"); }
task<> stage_worker::process(item& in, emitter& out) {
    switch (transform(in, out.may_consume())) {
        case made::one: {
            out.use_port(in.port);
            co_await out.emit(std::move(in.value));
            break;
        }
        case made::none:
        case made::held:
            break;
        case made::committed:
            in.ack.commit();
            break;
    }
}
task<> stage_worker::prepare(std::span<item>, bool) { co_return; }
task<> stage_worker::finish(emitter&) { co_return; }
task<> stage_worker::due(emitter&) { co_return; }
task<> stage_worker::close() { co_return; }
void stage::adopt(stage_policy&) {}
std::shared_ptr<stage> stage::joined_with(const stage_policy&, const stage_node&) { return nullptr; }
void stage::use_state(const std::string&, const std::string&) {}
void stage::use_journal(sink_journal&) {}
bool source::pull(std::vector<item>&, std::size_t) { bug("pull() of a source that is not direct"); }
task<> source_output::emit_many(std::vector<item>& items, listener& told) {
    for (item& each : items) co_await emit(std::move(each.value), told);
    items.clear();
}
task<> source_output::flush() {
    std::vector<item> all = std::exchange(kept_, {});
    for (item& each : all) co_await emit(std::move(each.value));
}
task<> stage::start(unsigned) { co_return; }
task<> stage::close() { co_return; }
task<> source_output::refuse(payload, const std::string& why, on_error, listener*) {
    throw permanent_error(why);
    co_return;
}

flow_control::flow_control() : state_(std::make_shared<state>()) {}
flow_control::~flow_control() = default;
void flow_control::drain() noexcept { state_->drain.request_stop(); }
void flow_control::stop() noexcept {
    state_->drain.request_stop();
    state_->stop.request_stop();
}

flow_control::progress flow_control::snapshot() const {
    const std::scoped_lock held(state_->lock);
    return state_->engine != nullptr ? state_->engine->snapshot() : state_->last;
}

task<report> run_flow(flow_graph graph, flow_options options) {
    if (options.journal != nullptr) co_return co_await run_with_journal(std::move(graph), std::move(options));
    context& line = co_await this_task::line();
    const auto engine = std::make_unique<flow_engine>(std::move(graph), options, line.where());
    co_await engine->run();
    report done = engine->take_report();
    if (line.stop_requested()) throw cancelled{};
    co_return done;
}

}  // namespace leat
