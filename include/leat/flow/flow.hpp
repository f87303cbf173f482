// Flows in C++: `source | stage | … | sink` of functions and coroutines, checked for types when compiled.
//
//   leat::flow_graph work = leat::from(std::move(paths))
//                         | leat::map("load", load).concurrency(8).retry(3, 200ms)
//                         | leat::filter("large", is_large)
//                         | leat::for_each("store", store);
//   leat::report done = co_await leat::run_flow(std::move(work));
//
// A pipeline that is used twice gives all its items both ways; split, route and partition send each one way; merge joins
// pipelines. The graph has all that was built from it, whichever end it is taken from:
//
//   auto lines = leat::from(paths) | leat::flat_map("read", read_lines);
//   auto [good, bad] = lines | leat::split("valid", is_valid);
//   bad | leat::for_each("log", log);
//   leat::flow_graph work = good | leat::for_each("store", store);      // with `log`
//
// A function may be plain or return a task; each worker of a stage has a copy of it (one that cannot be copied is shared
// and must bear concurrent calls). An exception fails the attempt; permanent_error fails the item without retries. Plain
// functions of neighbours are called one after the other for many items at a time, at some nanoseconds each.
// GCC 12: build the graph in a statement of its own, as above: lambdas inside a co_await expression are destroyed twice.
#pragma once

#include <array>
#include <concepts>
#include <functional>
#include <map>
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
inline constexpr bool is_plain_function = !is_task<std::invoke_result_t<Function&, In>>::value;

[[noreturn]] void throw_consumes();

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
        if (!may_consume) throw_consumes();
        return call<Function, In>(fn, std::move(value));
    }
}
// The same of a plain function, now.
template <class In, class Function>
auto call_now(Function& fn, In& value, bool may_consume) -> result_of<Function, In&&> {
    if constexpr (std::invocable<Function&, const In&>) {
        if constexpr (std::invocable<Function&, In&&>) {
            if (may_consume) return fn(std::move(value));
        }
        return fn(std::as_const(value));
    } else {
        if (!may_consume) throw_consumes();
        return fn(std::move(value));
    }
}

// The typed stage: `Kind` says what to do with the function and an item: process(), and transform() where the function is
// plain and the kind has it.
template <class In, class Function, class Kind>
class function_stage final : public stage {
    static constexpr bool direct = is_plain_function<Function, In> && requires(Kind& kind, Function& fn, item& in) {
        { kind.transform(fn, in, true) } -> std::same_as<made>;
    };

public:
    function_stage(Function fn, Kind kind) : fn_(std::move(fn)), kind_(std::move(kind)) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(*this); }
    bool is_direct() const noexcept override { return direct; }
    unsigned ports() const noexcept override {
        if constexpr (requires { kind_.ports; }) return kind_.ports;
        else return 1;
    }

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
        explicit worker(function_stage& owner) : mine_(owner.fn_), kind_(owner.kind_) {}
        made transform(item& in, bool may_consume) override {
            if constexpr (direct) return kind_.transform(mine_.fn, in, may_consume);
            else return stage_worker::transform(in, may_consume);
        }
        task<> process(item& in, emitter& out) override {
            if constexpr (direct) return stage_worker::process(in, out);
            else return kind_.process(mine_.fn, in, out);
        }

    private:
        std::conditional_t<std::is_copy_constructible_v<Function>, own_function, shared_function> mine_;
        Kind& kind_;
    };
    Function fn_;
    Kind kind_;
};

// The graph that pipelines build together.
struct flow_draft {
    flow_graph graph;
    // Set when it was joined to another: where its sources and stages are now.
    std::shared_ptr<flow_draft> into;
    std::size_t first_source = 0, first_stage = 0;
};
// Where one stands in its draft, after what was joined.
struct flow_place {
    std::shared_ptr<flow_draft> draft;
    std::vector<flow_input> at;  // several where pipelines were merged

    flow_graph& graph();
    void add_stage(stage_node described);  // takes from here; it is then where one stands
    void join(flow_place other);           // one stands at both
};
[[nodiscard]] flow_place begin_flow(std::string name, std::shared_ptr<source> from);

}  // namespace detail

// A flow that still lacks stages or its sink; its items are of type T. A copy is another way on from the same place. Built
// by one thread.
template <class T>
struct pipeline {
    detail::flow_place place;
    // For the flow's name and order.
    [[nodiscard]] flow_graph& graph() { return place.graph(); }
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
    // A range: the flow sizes the stage itself.
    Stage concurrency(unsigned least, unsigned most) && {
        if (least == 0 || least > most)
            throw std::invalid_argument("concurrency(least, most) needs 1 <= least <= most");
        policy.jobs = most;
        policy.least_jobs = least;
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
    // How far its output may lag behind the first item that is not done, in items.
    Stage window(std::size_t items) && {
        policy.window = items;
        return self();
    }
    // What becomes of items for which there is no room in front of the stage: for a branch that must not hold up the others.
    Stage overflow(when_full how) && {
        if (how == when_full::spill) throw std::invalid_argument("overflow: spill() says how items become bytes");
        policy.full = how;
        policy.own_buffer = true;
        return self();
    }
    // The same: items wait on disk, in temporary files, at most so many bytes and stage_policy::spill_items of them. What they
    // are is said by codec_of<T>() (leat/flow/item_codec.hpp), with T the type of the items in front of the stage. From where one
    // cannot be put down on, since it is of another type or the disk is full, they wait as with when_full::wait; the report says so.
    Stage spill(const item_codec& as, std::size_t most_bytes = std::size_t{1} << 30U) && {
        if (most_bytes == 0) throw std::invalid_argument("spill(codec, most_bytes) needs room for something");
        policy.full = when_full::spill;
        policy.spilled_as = &as;
        policy.spill_bytes = most_bytes;
        policy.own_buffer = true;
        return self();
    }
    // At most so many attempts a second, of all its workers together.
    Stage rate(double per_second) && {
        if (!(per_second > 0)) throw std::invalid_argument("rate(per_second) needs a positive number");
        policy.rate = per_second;
        return self();
    }
    // Takes a place of that pool (flow_options::pools) for each attempt.
    Stage pool(std::string called) && {
        policy.pool = std::move(called);
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

private:
    friend Stage;
    explicit stage_settings(std::string called) : name(std::move(called)) {}
    Stage self() { return std::move(static_cast<Stage&>(*this)); }
};

// --- Sources ---

namespace detail {

template <class Range>
class range_source final : public source {
public:
    explicit range_source(Range items) : items_(std::move(items)) {}
    void begin() override { at_.reset(); }
    task<> run(source_output& out) override {
        for (auto&& each : items_)
            if (out.put(payload(std::forward<decltype(each)>(each)))) co_await out.flush();
    }
    bool is_direct() const noexcept override { return true; }
    bool pull(std::vector<item>& to, std::size_t most) override {
        for (; most > 0; --most) {
            if (at_) ++*at_;  // not before the next is wanted: it may take its time
            else at_.emplace(std::ranges::begin(items_));
            if (*at_ == std::ranges::end(items_)) return false;
            to.emplace_back().value = payload(**at_);
        }
        return true;
    }
    std::optional<std::uint64_t> total() const noexcept override {
        if constexpr (std::ranges::sized_range<const Range>) return std::ranges::size(items_);
        else return std::nullopt;
    }

private:
    Range items_;
    std::optional<std::ranges::iterator_t<Range>> at_;  // of pull(); none: it was not called
};

}  // namespace detail

// The elements of a range, which is kept by value: a container (its elements are copied) or a view such as std::views::iota.
template <std::ranges::input_range Range>
auto from(Range items) -> pipeline<std::decay_t<std::ranges::range_reference_t<Range>>> {
    return {detail::begin_flow("source", std::make_shared<detail::range_source<Range>>(std::move(items)))};
}
// The items of a source of one's own, which emits payloads of type T.
template <class T>
pipeline<T> from_source(std::string name, std::shared_ptr<source> items) {
    return {detail::begin_flow(std::move(name), std::move(items))};
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

template <class Function>
struct route_stage : stage_settings<route_stage<Function>> {
    route_stage(std::string called, unsigned count, Function with)
        : stage_settings<route_stage>(std::move(called)), ways(count), fn(std::move(with)) {
        if (ways == 0) throw std::invalid_argument("a route needs a way out");
    }
    unsigned ways;
    Function fn;
};
// An item goes the way fn(item), from 0 to `ways` - 1; another number fails it. Gives a std::vector of pipelines, each of
// which must lead somewhere.
template <class Function>
route_stage<Function> route(std::string name, unsigned ways, Function fn) {
    return {std::move(name), ways, std::move(fn)};
}

template <class Function>
struct split_stage : stage_settings<split_stage<Function>> {
    split_stage(std::string called, Function with)
        : stage_settings<split_stage>(std::move(called)), fn(std::move(with)) {}
    Function fn;
};
// Gives two pipelines: of the items for which fn(item) is true, and of the others.
template <class Function>
split_stage<Function> split(std::string name, Function fn) {
    return {std::move(name), std::move(fn)};
}

template <class Function>
struct partition_stage : stage_settings<partition_stage<Function>> {
    partition_stage(std::string called, unsigned count, Function with)
        : stage_settings<partition_stage>(std::move(called)), ways(count), fn(std::move(with)) {
        if (ways == 0) throw std::invalid_argument("a partition needs a part");
    }
    unsigned ways;
    Function fn;
};
// Items of equal key fn(item) go the same of `ways` ways. Gives a std::vector of pipelines.
template <class Function>
partition_stage<Function> partition(std::string name, unsigned ways, Function fn) {
    return {std::move(name), ways, std::move(fn)};
}

template <class Function>
struct key_stage : stage_settings<key_stage<Function>> {
    key_stage(std::string called, Function with) : stage_settings<key_stage>(std::move(called)), fn(std::move(with)) {}
    Function fn;
};
// Stages behind it that are ordered by order::key go by fn(item), of which std::hash is taken; and so does what is made of
// the item.
template <class Function>
key_stage<Function> key_by(std::string name, Function fn) {
    return {std::move(name), std::move(fn)};
}

template <class State, class Function>
struct fold_stage : stage_settings<fold_stage<State, Function>> {
    fold_stage(std::string called, State first, Function with)
        : stage_settings<fold_stage>(std::move(called)), begin(std::move(first)), fn(std::move(with)) {
        this->policy.jobs = 1;
    }
    // The most that weight_of(state) may be; beyond it the flow fails. Looked at after each item.
    fold_stage bound(std::size_t bytes) && {
        most_bytes = bytes;
        return std::move(*this);
    }
    State begin;
    Function fn;
    std::size_t most_bytes = std::size_t{256} << 20U;
};
// fn(state, item) changes the state; at the end of the input that is the one item that goes on, and all that went into it is
// committed with it. One worker, so the items come in order. A flow that drains gives no state.
template <class State, class Function>
fold_stage<State, Function> fold(std::string name, State begin, Function fn) {
    return {std::move(name), std::move(begin), std::move(fn)};
}

// Any stage of one's own, which takes payloads of what is in front of it and emits those of type Out.
template <class Out>
struct own_stage : stage_settings<own_stage<Out>> {
    own_stage(std::string called, std::shared_ptr<stage> with)
        : stage_settings<own_stage>(std::move(called)), what(std::move(with)) {}
    std::shared_ptr<stage> what;
};
template <class Out>
own_stage<Out> through(std::string name, std::shared_ptr<stage> what) {
    return {std::move(name), std::move(what)};
}
struct own_sink : stage_settings<own_sink> {
    own_sink(std::string called, std::shared_ptr<stage> with)
        : stage_settings(std::move(called)), what(std::move(with)) {}
    std::shared_ptr<stage> what;
};
inline own_sink into(std::string name, std::shared_ptr<stage> what) { return {std::move(name), std::move(what)}; }

namespace detail {

template <class In, class Out>
struct map_kind {
    template <class Function>
    made transform(Function& fn, item& in, bool may_consume) {
        Out made_of = call_now<In>(fn, in.value.as<In>(), may_consume);
        in.value.template replace<In>(std::move(made_of));
        return made::one;
    }
    template <class Function>
    task<> process(Function& fn, item& in, emitter& out) {
        Out made_of = co_await call_with_item<In>(fn, in.value.as<In>(), out.may_consume());
        payload next(std::move(made_of));
        if (!out.try_emit(next)) co_await out.emit(std::move(next));
    }
};

template <class In>
struct filter_kind {
    template <class Function>
    made transform(Function& fn, item& in, bool) {
        return fn(std::as_const(in.value.as<In>())) ? made::one : made::none;
    }
    template <class Function>
    task<> process(Function& fn, item& in, emitter& out) {
        const In& value = in.value.as<In>();
        const bool keep = co_await call<Function, const In&>(fn, value);
        if (!keep) co_return;
        if (out.may_consume()) co_await out.emit(std::move(in.value));
        else co_await out.emit(in.value.copy());
    }
};

template <class In, class Range>
struct flat_map_kind {
    template <class Function>
    task<> process(Function& fn, item& in, emitter& out) {
        Range all = co_await call_with_item<In>(fn, in.value.as<In>(), out.may_consume());
        for (auto&& each : all) {
            payload next(std::move(each));
            if (!out.try_emit(next)) co_await out.emit(std::move(next));
        }
    }
};

template <class In>
struct sink_kind {
    template <class Function>
    made transform(Function& fn, item& in, bool may_consume) {
        (void)call_now<In>(fn, in.value.as<In>(), may_consume);
        return made::committed;
    }
    template <class Function>
    task<> process(Function& fn, item& in, emitter& out) {
        co_await call_with_item<In>(fn, in.value.as<In>(), out.may_consume());
        in.ack.commit();
    }
};

[[noreturn]] void throw_no_such_way(std::uint64_t way, unsigned ways);
// A hash whose low bits tell keys apart.
[[nodiscard]] std::uint64_t mixed(std::uint64_t hash) noexcept;
// What stands for it in an item.
[[nodiscard]] inline std::uint32_t key_of_hash(std::uint64_t hash) noexcept {
    return static_cast<std::uint32_t>(mixed(hash)) | 1U;
}

template <class In>
struct route_kind {
    unsigned ports;
    template <class Function>
    made transform(Function& fn, item& in, bool) {
        const auto way = static_cast<std::uint64_t>(fn(std::as_const(in.value.as<In>())));
        if (way >= ports) throw_no_such_way(way, ports);
        in.port = static_cast<std::uint32_t>(way);
        return made::one;
    }
};

template <class In, class Key>
struct key_kind {
    template <class Function>
    made transform(Function& fn, item& in, bool) {
        in.key = key_of_hash(std::hash<Key>{}(fn(std::as_const(in.value.as<In>()))));
        return made::one;
    }
};

// What fold keeps is of the one worker.
template <class In, class State, class Function>
class folding_stage final : public stage {
public:
    folding_stage(State begin, Function fn, std::size_t most)
        : begin_(std::move(begin)), fn_(std::move(fn)), most_(most) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(*this); }
    unsigned most_jobs() const noexcept override { return 1; }
    bool is_direct() const noexcept override { return true; }

private:
    class worker final : public stage_worker {
    public:
        explicit worker(folding_stage& of) : of_(of), state_(of.begin_) {}
        made transform(item& in, bool may_consume) override {
            if (may_consume) of_.fn_(state_, std::move(in.value.as<In>()));
            else of_.fn_(state_, std::as_const(in.value.as<In>()));
            if (weight_of(state_) > of_.most_) throw_above_bound(weight_of(state_), of_.most_);
            acks_.add(std::move(in.ack));
            return made::held;
        }
        task<> finish(emitter& out) override {
            if (out.is_cut_short()) co_return;
            payload value(std::move(state_));
            ack_ref account = acks_.merge();
            co_await out.emit(std::move(value), std::move(account));
        }

    private:
        folding_stage& of_;
        State state_;
        gathered_acks acks_;
    };
    [[noreturn]] static void throw_above_bound(std::size_t is, std::size_t most) {
        throw permanent_error("the state of the fold has " + std::to_string(is) + " bytes, more than its bound of " +
                              std::to_string(most));
    }
    State begin_;
    Function fn_;
    std::size_t most_;
};

template <class Stage>
stage_node node_of(Stage& described, std::shared_ptr<stage> what) {
    stage_node node;
    node.name = std::move(described.name);
    node.policy = described.policy;
    node.what = std::move(what);
    return node;
}
template <class In, class Out, class Stage, class Kind>
pipeline<Out> append(pipeline<In> before, Stage described, Kind kind) {
    using implementation = function_stage<In, decltype(described.fn), Kind>;
    auto what = std::make_shared<implementation>(std::move(described.fn), std::move(kind));
    before.place.add_stage(node_of(described, std::move(what)));
    return {std::move(before.place)};
}
template <class In, class Stage>
std::vector<pipeline<In>> append_ways(pipeline<In> before, Stage described, unsigned ways) {
    const pipeline<In> at = append<In, In>(std::move(before), std::move(described), route_kind<In>{ways});
    std::vector<pipeline<In>> all(ways, at);
    for (unsigned way = 0; way < ways; ++way) all[way].place.at.front().port = way;
    return all;
}

}  // namespace detail

template <class In, class Function>
    requires std::invocable<Function&, In>
auto operator|(pipeline<In> before, map_stage<Function> stage) {
    using out_type = std::decay_t<detail::result_of<Function, In>>;
    static_assert(!std::is_void_v<out_type>, "map needs a function that returns a value: use for_each as the sink");
    return detail::append<In, out_type>(std::move(before), std::move(stage), detail::map_kind<In, out_type>{});
}

template <class In, class Function>
    requires std::convertible_to<detail::result_of<Function, const In&>, bool>
auto operator|(pipeline<In> before, filter_stage<Function> stage) {
    return detail::append<In, In>(std::move(before), std::move(stage), detail::filter_kind<In>{});
}

template <class In, class Function>
    requires std::ranges::input_range<detail::result_of<Function, In>>
auto operator|(pipeline<In> before, flat_map_stage<Function> stage) {
    using range = detail::result_of<Function, In>;
    using out_type = std::decay_t<std::ranges::range_reference_t<range>>;
    return detail::append<In, out_type>(std::move(before), std::move(stage), detail::flat_map_kind<In, range>{});
}

template <class In, class Function>
    requires std::convertible_to<std::invoke_result_t<Function&, const In&>, std::uint64_t>
auto operator|(pipeline<In> before, route_stage<Function> stage) {
    const unsigned ways = stage.ways;
    return detail::append_ways(std::move(before), std::move(stage), ways);
}

template <class In, class Function>
    requires std::convertible_to<std::invoke_result_t<Function&, const In&>, bool>
std::array<pipeline<In>, 2> operator|(pipeline<In> before, split_stage<Function> stage) {
    auto way = [fn = std::move(stage.fn)](const In& each) mutable { return fn(each) ? 0U : 1U; };
    route_stage<decltype(way)> described(std::move(stage.name), 2, std::move(way));
    described.policy = stage.policy;
    auto ways = detail::append_ways(std::move(before), std::move(described), 2);
    return {std::move(ways[0]), std::move(ways[1])};
}

template <class In, class Function>
auto operator|(pipeline<In> before, partition_stage<Function> stage) {
    using key = std::decay_t<std::invoke_result_t<Function&, const In&>>;
    const unsigned ways = stage.ways;
    auto way = [fn = std::move(stage.fn), ways](const In& each) mutable {
        return detail::mixed(std::hash<key>{}(fn(each))) % ways;
    };
    route_stage<decltype(way)> described(std::move(stage.name), ways, std::move(way));
    described.policy = stage.policy;
    return detail::append_ways(std::move(before), std::move(described), ways);
}

template <class In, class Function>
pipeline<In> operator|(pipeline<In> before, key_stage<Function> stage) {
    using key = std::decay_t<std::invoke_result_t<Function&, const In&>>;
    return detail::append<In, In>(std::move(before), std::move(stage), detail::key_kind<In, key>{});
}

template <class In, class State, class Function>
    requires std::invocable<Function&, State&, In>
pipeline<State> operator|(pipeline<In> before, fold_stage<State, Function> stage) {
    auto what = std::make_shared<detail::folding_stage<In, State, Function>>(std::move(stage.begin),
                                                                             std::move(stage.fn), stage.most_bytes);
    before.place.add_stage(detail::node_of(stage, std::move(what)));
    return {std::move(before.place)};
}

template <class In, class Out>
pipeline<Out> operator|(pipeline<In> before, own_stage<Out> stage) {
    auto what = std::move(stage.what);
    before.place.add_stage(detail::node_of(stage, std::move(what)));
    return {std::move(before.place)};
}

template <class In, class Function>
    requires std::invocable<Function&, In>
flow_graph operator|(pipeline<In> before, for_each_sink<Function> stage) {
    auto at = detail::append<In, In>(std::move(before), std::move(stage), detail::sink_kind<In>{});
    at.graph().stages.back().is_sink = true;
    return at.graph();
}

template <class In>
flow_graph operator|(pipeline<In> before, own_sink stage) {
    auto what = std::move(stage.what);
    before.place.add_stage(detail::node_of(stage, std::move(what)));
    before.graph().stages.back().is_sink = true;
    return before.graph();
}

// All items of all of them, as they come.
template <class T, std::same_as<pipeline<T>>... More>
pipeline<T> merge(pipeline<T> first, More... others) {
    (first.place.join(std::move(others.place)), ...);
    return first;
}

}  // namespace leat
