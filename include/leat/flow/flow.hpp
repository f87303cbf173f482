// Flows in C++: `source | stage | … | sink` of functions and coroutines, checked for types when compiled.
//
//   leat::flow_graph work = leat::from(std::move(paths))
//                         | leat::map("load", load).concurrency(8).retry(3, 200ms)
//                         | leat::filter("large", is_large)
//                         | leat::for_each("store", store);
//   leat::report done = co_await leat::run_flow(std::move(work));
//
// A function may be plain or return a task; each worker of a stage has a copy of it (one that cannot be copied is shared
// and must bear concurrent calls). An exception fails the attempt; permanent_error fails the item without retries.
// GCC 12: build the graph in a statement of its own, as above: lambdas inside a co_await expression are destroyed twice.
#pragma once

#include <concepts>
#include <ranges>

#include <leat/flow/run_flow.hpp>

namespace leat {

namespace detail {

template <class T>
struct without_task {
    using type = T;
};
template <class T>
struct without_task<task<T>> {
    using type = T;
};
// What fn(In) gives, awaited if it is a task.
template <class Function, class... In>
using result_of = typename without_task<std::invoke_result_t<Function&, In...>>::type;

template <class Function, class In>
auto call(Function& fn, In&& in) -> task<result_of<Function, In&&>> {
    using direct = std::invoke_result_t<Function&, In&&>;
    if constexpr (is_task<direct>::value) co_return co_await fn(std::forward<In>(in));
    else if constexpr (std::is_void_v<direct>) fn(std::forward<In>(in));
    else co_return fn(std::forward<In>(in));
}

// Calls fn with the item's value: moved when nobody needs it again and fn takes it, else as a const reference or a copy.
template <class In, class Function>
auto call_with_item(Function& fn, In& value, bool may_consume) {
    if constexpr (std::invocable<Function&, const In&>) {
        if constexpr (std::invocable<Function&, In&&>) {
            if (may_consume) return call<Function, In>(fn, std::move(value));
        }
        return [](Function& f, const In& v) -> task<result_of<Function, In&&>> {
            return call<Function, const In&>(f, v);
        }(fn, value);
    } else {
        if (!may_consume)
            throw permanent_error(
                "the stage's function consumes its item, which a retry or a dead letter would need again");
        return call<Function, In>(fn, std::move(value));
    }
}

// The typed worker: its derived class says what to do with the function's result.
template <class In, class Function, class Use>
class function_stage final : public stage {
public:
    function_stage(Function fn, Use use, unsigned most) : fn_(std::move(fn)), use_(std::move(use)), most_(most) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(*this); }
    unsigned most_jobs() const noexcept override { return most_; }

private:
    struct shared_function {
        Function& fn;
        explicit shared_function(Function& of) : fn(of) {}
    };
    struct own_function {
        Function fn;
        explicit own_function(Function& of) : fn(of) {}
    };
    class worker final : public stage_worker {
    public:
        explicit worker(function_stage& owner) : mine_(owner.fn_), use_(owner.use_) {}
        task<> process(item& in, emitter& out) override { return use_(mine_.fn, in, out); }

    private:
        std::conditional_t<std::is_copy_constructible_v<Function>, own_function, shared_function> mine_;
        Use& use_;
    };
    Function fn_;
    Use use_;
    unsigned most_;
};

}  // namespace detail

// A flow that still lacks stages or its sink; its items are of type T.
template <class T>
struct pipeline {
    flow_graph graph;
};

// The policies of a stage, to be chained: each returns the stage.
template <class Stage>
class stage_settings {
public:
    // How many items are at work at a time. The default is the effective CPUs.
    Stage concurrency(unsigned jobs) && {
        if (jobs == 0) throw std::invalid_argument("concurrency(0): leave it out for as many as there are CPUs");
        policy.jobs = jobs;
        return self();
    }
    // A range: `most`, until flows size themselves.
    Stage concurrency(unsigned least, unsigned most) && {
        if (least == 0 || least > most)
            throw std::invalid_argument("concurrency(least, most) needs 1 <= least <= most");
        policy.jobs = most;
        return self();
    }
    // A queue of its own in front of the stage, of at most so many items and bytes.
    Stage buffer(std::size_t items, std::size_t bytes = std::size_t{64} << 20U) && {
        policy.buffer_items = items;
        policy.buffer_bytes = bytes;
        policy.own_buffer = true;
        return self();
    }
    Stage order(leat::order how) && {
        policy.ordered = how;
        return self();
    }
    // `more` attempts beyond the first; the delay doubles each time.
    Stage retry(unsigned more, std::chrono::nanoseconds first_delay = std::chrono::milliseconds(200)) && {
        policy.retry.max = more;
        policy.retry.first_delay = first_delay;
        return self();
    }
    // Of one attempt.
    Stage timeout(std::chrono::nanoseconds limit) && {
        policy.timeout = limit;
        return self();
    }
    Stage on_error(leat::on_error how) && {
        policy.error = how;
        return self();
    }

    std::string name;
    stage_policy policy;

protected:
    explicit stage_settings(std::string called) : name(std::move(called)) {}

private:
    Stage self() { return std::move(static_cast<Stage&>(*this)); }
};

// --- Sources ---

namespace detail {

template <class Range>
class range_source final : public source {
public:
    explicit range_source(Range items) : items_(std::move(items)) {}
    task<> run(source_output& out) override {
        for (auto&& each : items_) co_await out.emit(payload(std::forward<decltype(each)>(each)));
    }
    std::optional<std::uint64_t> total() const noexcept override {
        if constexpr (std::ranges::sized_range<const Range>) return std::ranges::size(items_);
        else return std::nullopt;
    }

private:
    Range items_;
};

}  // namespace detail

// The elements of a range, which is kept by value: a container (its elements are copied) or a view such as std::views::iota.
template <std::ranges::input_range Range>
auto from(Range items) -> pipeline<std::decay_t<std::ranges::range_reference_t<Range>>> {
    pipeline<std::decay_t<std::ranges::range_reference_t<Range>>> start;
    start.graph.from = std::make_shared<detail::range_source<Range>>(std::move(items));
    return start;
}

// --- Stages ---

template <class Function>
struct map_stage : stage_settings<map_stage<Function>> {
    map_stage(std::string called, Function with) : stage_settings<map_stage>(std::move(called)), fn(std::move(with)) {}
    Function fn;
};
// out = fn(in)
template <class Function>
map_stage<Function> map(std::string name, Function fn) {
    return {std::move(name), std::move(fn)};
}

template <class Function>
struct filter_stage : stage_settings<filter_stage<Function>> {
    filter_stage(std::string called, Function with)
        : stage_settings<filter_stage>(std::move(called)), fn(std::move(with)) {}
    Function fn;
};
// Keeps the items for which fn(item) is true; the others count as skipped.
template <class Function>
filter_stage<Function> filter(std::string name, Function fn) {
    return {std::move(name), std::move(fn)};
}

template <class Function>
struct flat_map_stage : stage_settings<flat_map_stage<Function>> {
    flat_map_stage(std::string called, Function with)
        : stage_settings<flat_map_stage>(std::move(called)), fn(std::move(with)) {}
    Function fn;
};
// Each element of the range fn(in) is an item.
template <class Function>
flat_map_stage<Function> flat_map(std::string name, Function fn) {
    return {std::move(name), std::move(fn)};
}

template <class Function>
struct for_each_sink : stage_settings<for_each_sink<Function>> {
    for_each_sink(std::string called, Function with)
        : stage_settings<for_each_sink>(std::move(called)), fn(std::move(with)) {
        this->policy.jobs = 1;
    }
    Function fn;
};
// The sink: fn(item), one at a time and in the flow's order unless concurrency() says otherwise. An item is committed when
// fn has returned.
template <class Function>
for_each_sink<Function> for_each(std::string name, Function fn) {
    return {std::move(name), std::move(fn)};
}

namespace detail {

template <class In, class Out, class Stage, class Use>
pipeline<Out> append(pipeline<In> before, Stage stage, Use use) {
    using implementation = function_stage<In, decltype(stage.fn), Use>;
    stage_node node;
    node.name = std::move(stage.name);
    node.policy = stage.policy;
    node.what = std::make_shared<implementation>(std::move(stage.fn), std::move(use), stage_policy::most_jobs);
    before.graph.stages.push_back(std::move(node));
    return {std::move(before.graph)};
}

}  // namespace detail

template <class In, class Function>
    requires std::invocable<Function&, In>
auto operator|(pipeline<In> before, map_stage<Function> stage) {
    using out_type = std::decay_t<detail::result_of<Function, In>>;
    static_assert(!std::is_void_v<out_type>, "map needs a function that returns a value: use for_each as the sink");
    auto use = [](Function& fn, item& in, emitter& out) -> task<> {
        out_type made = co_await detail::call_with_item<In>(fn, in.value.as<In>(), out.may_consume());
        payload next(std::move(made));
        co_await out.emit(std::move(next));
    };
    return detail::append<In, out_type>(std::move(before), std::move(stage), use);
}

template <class In, class Function>
    requires std::convertible_to<detail::result_of<Function, const In&>, bool>
auto operator|(pipeline<In> before, filter_stage<Function> stage) {
    auto use = [](Function& fn, item& in, emitter& out) -> task<> {
        const In& value = in.value.as<In>();
        const bool keep = co_await detail::call<Function, const In&>(fn, value);
        if (!keep) co_return;
        if (out.may_consume()) co_await out.emit(std::move(in.value));
        else co_await out.emit(in.value.copy());
    };
    return detail::append<In, In>(std::move(before), std::move(stage), use);
}

template <class In, class Function>
    requires std::ranges::input_range<detail::result_of<Function, In>>
auto operator|(pipeline<In> before, flat_map_stage<Function> stage) {
    using range = detail::result_of<Function, In>;
    using out_type = std::decay_t<std::ranges::range_reference_t<range>>;
    auto use = [](Function& fn, item& in, emitter& out) -> task<> {
        range all = co_await detail::call_with_item<In>(fn, in.value.as<In>(), out.may_consume());
        for (auto&& each : all) {
            payload next(std::move(each));
            co_await out.emit(std::move(next));
        }
    };
    return detail::append<In, out_type>(std::move(before), std::move(stage), use);
}

template <class In, class Function>
    requires std::invocable<Function&, In>
flow_graph operator|(pipeline<In> before, for_each_sink<Function> stage) {
    auto use = [](Function& fn, item& in, emitter& out) -> task<> {
        co_await detail::call_with_item<In>(fn, in.value.as<In>(), out.may_consume());
        in.ack.commit();
    };
    return detail::append<In, In>(std::move(before), std::move(stage), use).graph;
}

}  // namespace leat
