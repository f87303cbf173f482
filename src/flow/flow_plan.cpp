#include <leat/flow/flow_plan.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fmt/format.h>
#include <stdexcept>

#include <leat/flow/explain.hpp>
#include <leat/task/this_task.hpp>

#include "figures.hpp"
#include "stage_account.hpp"

namespace leat {

namespace {

std::vector<stage_node*> sinks_of(flow_graph& graph) {
    std::vector<stage_node*> all;
    for (stage_node& each : graph.stages)
        if (each.is_sink) all.push_back(&each);
    if (all.empty()) all.push_back(&graph.stages.back());  // as the engine has it
    return all;
}

}  // namespace

// A source that ends after so many items, as one does that is asked to drain.
class flow_sample::limited_source final : public source {
public:
    limited_source(std::shared_ptr<source> inner, std::uint64_t most) : inner_(std::move(inner)), left_(most) {}

    task<> run(source_output& out) override {
        output limited(*this, out, co_await this_task::now());
        try {
            co_await inner_->run(limited);
        } catch (const cancelled&) {
            if (!cut_) throw;
        }
        limited.note(co_await this_task::now());
    }
    [[nodiscard]] std::optional<std::uint64_t> total() const noexcept override { return inner_->total(); }

    // After the run.
    [[nodiscard]] std::uint64_t items() const noexcept { return items_; }
    [[nodiscard]] double own_s() const noexcept { return own_s_; }  // outside of emit()
    [[nodiscard]] double bytes() const noexcept { return bytes_; }
    [[nodiscard]] bool was_cut() const noexcept { return cut_; }

private:
    class output final : public source_output {
    public:
        output(limited_source& owner, source_output& to, time_point now) : owner_(owner), to_(to), since_(now) {}
        task<> emit(payload value) override {
            take(value, co_await this_task::now());
            co_await to_.emit(std::move(value));
            since_ = co_await this_task::now();
        }
        task<> emit(payload value, listener& told) override {
            take(value, co_await this_task::now());
            co_await to_.emit(std::move(value), told);
            since_ = co_await this_task::now();
        }
        task<> refuse(payload value, const std::string& why, on_error how, listener* told) override {
            take(value, co_await this_task::now());
            co_await to_.refuse(std::move(value), why, how, told);
            since_ = co_await this_task::now();
        }
        void count_done(std::uint64_t items) noexcept override { to_.count_done(items); }
        void note(time_point now) { owner_.own_s_ += std::chrono::duration<double>(now - since_).count(); }

    private:
        void take(const payload& value, time_point now) {
            const std::uint64_t items = value.items();
            if (owner_.left_ == 0) owner_.cut_ = true;
            if (owner_.cut_) throw cancelled{};
            note(now);
            owner_.left_ -= std::min(owner_.left_, items);
            owner_.items_ += items;
            owner_.bytes_ += static_cast<double>(value.weight());
        }
        limited_source& owner_;
        source_output& to_;
        time_point since_;
    };

    std::shared_ptr<source> inner_;
    std::uint64_t left_;
    std::uint64_t items_ = 0;
    double own_s_ = 0;
    double bytes_ = 0;
    bool cut_ = false;
};

// A sink in the place of another. What it takes is not committed, so that nobody remembers it as done.
class flow_sample::empty_sink final : public stage {
public:
    explicit empty_sink(unsigned most) : most_(most) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(*this); }
    [[nodiscard]] unsigned most_jobs() const noexcept override { return most_; }

    [[nodiscard]] double item_bytes() const noexcept {
        return items_.get() > 0 ? static_cast<double>(bytes_.get()) / static_cast<double>(items_.get()) : 0;
    }

private:
    class worker final : public stage_worker {
    public:
        explicit worker(empty_sink& owner) : owner_(owner) {}
        task<> process(item& in, emitter&) override {
            owner_.items_.add(in.value.items());
            owner_.bytes_.add(in.value.weight());
            co_return;
        }

    private:
        empty_sink& owner_;
    };
    unsigned most_;
    tally items_;
    tally bytes_;
};

flow_sample::flow_sample(flow_graph graph, std::uint64_t items) : graph_(std::move(graph)) {
    if (graph_.stages.empty()) throw std::invalid_argument("the flow has no sink");
    if (graph_.sources.empty()) throw std::invalid_argument("the flow has no source");
    for (source_node& each : graph_.sources) {
        if (!each.what) throw std::invalid_argument("the flow has no source");
        each.what = sources_.emplace_back(std::make_shared<limited_source>(std::move(each.what), items));
    }
    for (stage_node* each : sinks_of(graph_)) {
        if (!each->what) throw std::invalid_argument("the flow has no sink");
        each->what = sinks_.emplace_back(std::make_shared<empty_sink>(each->what->most_jobs()));
        each->policy.timeout = {};
        each->policy.retry = {};
        each->policy.error = on_error::fail;
    }
    for (const stage_node& each : graph_.stages) policies_.push_back(each.policy);
}
flow_sample::~flow_sample() = default;

flow_plan flow_sample::plan(const report& run, double base_bytes) const {
    flow_plan told;
    told.sample_s = run.seconds;
    told.is_whole = run.end == flow_end::complete;  // one that was interrupted may have had more
    std::uint64_t sampled = 0;
    std::optional<std::uint64_t> items = 0;
    double own_s = 0;
    double bytes = 0;
    for (const auto& each : sources_) {
        sampled += each->items();
        own_s += each->own_s();
        bytes += each->bytes();
        told.is_whole = told.is_whole && !each->was_cut();
        const bool ended = run.end == flow_end::complete && !each->was_cut();
        const std::optional<std::uint64_t> of_it = ended ? each->items() : each->total();
        if (items) items = of_it ? std::optional(*items + *of_it) : std::nullopt;
    }
    const double source_bytes = sampled > 0 ? bytes / static_cast<double>(sampled) : 0;
    double sink_bytes = 0;
    for (const auto& each : sinks_) sink_bytes = std::max(sink_bytes, each->item_bytes());

    // What a stage takes in is measured where items come in and go out; between, it is taken as the larger of the two.
    told.model = model_of(run);
    std::vector<model_stage>& stages = told.model.stages;
    stages.front().jobs = static_cast<unsigned>(std::max<std::size_t>(1, sources_.size()));
    stages.front().service_s = sampled > 0 ? own_s / static_cast<double>(sampled) : 0;
    stages.front().item_bytes = source_bytes;
    stages.front().cpu_share = stages.size() > 1 ? stages[1].cpu_share : 1;
    for (std::size_t at = 1; at < stages.size(); ++at) {
        stages[at].item_bytes = at == 1                   ? source_bytes
                                : at + 1 == stages.size() ? sink_bytes
                                                          : std::max(source_bytes, sink_bytes);
        if (at - 1 >= policies_.size()) continue;
        const stage_policy& policy = policies_[at - 1];
        if (policy.buffer_items != 0) stages[at].buffer_items = static_cast<double>(policy.buffer_items);
        stages[at].buffer_bytes = static_cast<double>(policy.buffer_bytes);
    }
    told.prediction = predict(told.model, items.value_or(0));
    told.slowest = told.prediction.bottleneck;

    plan_forecast& forecast = told.forecast;
    forecast.sampled = sampled;
    forecast.items = items.value_or(0);
    forecast.rate = std::isfinite(told.prediction.rate) ? told.prediction.rate : 0;
    forecast.seconds = told.prediction.total_s;
    if (base_bytes > 0) forecast.peak_bytes = std::max(run.peak_bytes, base_bytes + told.prediction.bytes);
    forecast.sentence = told.prediction.sentence(told.model);
    return told;
}

std::string flow_plan::to_text(const std::string& flow) const {
    std::string text = fmt::format("{}: a sample of {}", flow, count_text(forecast.sampled));
    if (is_whole) text += " (all there are)";
    else if (forecast.items != 0) text += fmt::format(" of {}", count_text(forecast.items));
    text += fmt::format(" items took {}, without the sink\n", time_text(sample_s));
    if (forecast.sampled == 0) return text + "  no item came: there is nothing to plan\n";
    text += prediction.to_text(model, forecast.items);
    if (forecast.items == 0 && forecast.rate > 0) {
        constexpr std::uint64_t many = 1'000'000;
        text += fmt::format("  the source does not say how many items there are: a million would take {}\n",
                            time_text(predict(model, many).total_s));
    }
    if (forecast.peak_bytes > 0) text += fmt::format("  memory of leat itself: {}\n", bytes_text(forecast.peak_bytes));
    if (prediction.limited_by == flow_prediction::limit::stage && slowest > 0)
        text += fmt::format("  {}: {}\n", model.stages[slowest].name,
                            gain_of_jobs(model, slowest).to_text(model.stages[slowest], 1));
    return text;
}

}  // namespace leat
