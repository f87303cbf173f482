// process_stage: a stage whose function runs in processes of its own: for what leaks, crashes, holds a lock of its own, or must
// be killed when it takes too long.
//
//   thumbnail shrink(const image& from);                        // a named function
//
//   leat::flow_graph work = leat::from(images)
//                         | leat::map<shrink>("shrink").on(leat::processes(4)).timeout(20s).retry(2)
//                         | leat::for_each("keep", keep);
//   int main(int argc, char** argv) { return leat::main(argc, argv, program); }      // a worker is this program again
//
// What may run there is what a process_pool can call, checked when compiling: a named function, plain or one that returns a task,
// of one item and perhaps the worker's state, whose types can cross to another process: no lambdas, pointers or views.
//
// Items travel together as long as they are quick; outputs keep the flow's order as in any stage. A worker that dies, or is killed
// since an attempt took longer than the timeout, costs one attempt of one item: retry and on_error decide, as after an
// exception. An exception of the function comes as remote_error, with its type and text; permanent_error stays what it is.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include <leat/flow/flow.hpp>
#include <leat/process/process_feed.hpp>

namespace leat {

// Where a stage runs: so many processes; 0: as many as there are effective CPUs.
class processes {
public:
    processes() = default;
    explicit processes(unsigned count) : pool(count) {}
    // Each process calls Function(arguments…) first; what it returns is the state that the stage's function takes as its first
    // parameter, a reference.
    template <auto Function, class... Argument>
    processes at_start(const Argument&... argument) && {
        pool.at_start<Function>(argument...);
        return std::move(*this);
    }
    // A process that has done so many items is replaced.
    processes recycle(std::uint64_t items) && {
        pool.recycle_items = items;
        return std::move(*this);
    }
    // Everything else; timeout and tries are the stage's.
    pool_options pool;
};

template <auto Function>
struct named_map_stage : stage_settings<named_map_stage<Function>> {
    explicit named_map_stage(std::string called) : stage_settings<named_map_stage>(std::move(called)) {}
    named_map_stage on(processes where) && {
        this->policy.jobs = where.pool.workers;
        place = std::move(where.pool);
        return std::move(*this);
    }
    // In a place that another layer knows, the cluster: what on_place(stage, where) makes of it, found beside `where`.
    template <class Place>
    auto on(Place where) && {
        return on_place(std::move(*this), std::move(where));
    }
    // How many items a process is given before it has answered the first. With 1 none waits for another, and quick ones are slow.
    named_map_stage per_process(unsigned items) && {
        if (items == 0) throw std::invalid_argument("per_process(0): a process needs an item");
        held = items;
        return std::move(*this);
    }
    static_assert(detail::signature<decltype(Function)>::is_function,
                  "leat: what runs in another process is a named function, map<resize>(\"…\"): a lambda or a function "
                  "object has no name by which the other process could find it");
    std::optional<pool_options> place;  // none: in threads
    unsigned held = 64;
};
// out = Function(in), in threads, or in the processes that on() says.
template <auto Function>
named_map_stage<Function> map(std::string name) {
    return named_map_stage<Function>(std::move(name));
}

namespace detail {

template <auto Function, class In>
class process_mapping final : public stage {
    using feed = process_feed<Function>;
    using value = typename feed::value;

public:
    process_mapping(pool_options options, unsigned held) : options_(std::move(options)), held_(held) {}

    // The pool knows when an attempt begins, and how to end one.
    void adopt(stage_policy& policy) override {
        if (policy.timeout.count() > 0) options_.timeout = std::exchange(policy.timeout, std::chrono::nanoseconds(0));
        options_.tries = 1;
    }
    task<> start(unsigned jobs) override {
        options_.workers = jobs;
        pool_ = std::make_unique<process_pool>(options_);
        feed_.emplace(*pool_);
        co_return;
    }
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(*feed_); }
    task<> close() override {
        feed_.reset();
        if (pool_) co_await pool_->close();
        pool_.reset();
    }
    [[nodiscard]] unsigned items_per_job() const noexcept override { return held_; }

private:
    class worker final : public stage_worker {
    public:
        explicit worker(feed& to) : feed_(to) {}
        task<> process(item& in, emitter& out) override {
            task<value> calling = feed_.call(in.value.template as<In>());
            outcome<value> end = co_await calling.as_outcome();
            if (end.is_error()) rethrow(end.error());
            payload next(std::move(end).get());
            co_await out.emit(std::move(next));
        }

    private:
        [[noreturn]] static void rethrow(const std::exception_ptr& error) {
            try {
                std::rethrow_exception(error);
            } catch (const remote_error& remote) {
                if (remote.type() == "leat::permanent_error") throw permanent_error(remote.text());
                throw;
            }
        }
        feed& feed_;
    };

    pool_options options_;
    unsigned held_;
    std::unique_ptr<process_pool> pool_;
    std::optional<feed> feed_;
};

}  // namespace detail

template <class In, auto Function>
auto operator|(pipeline<In> before, named_map_stage<Function> stage) {
    using function = detail::pool_function<Function>;
    using item_type = typename process_feed<Function>::item;
    static_assert(std::is_convertible_v<const In&, item_type>,
                  "leat: the function does not take the items of the stage before it");
    using out_type = typename function::value;
    static_assert(!std::is_void_v<out_type>, "leat: map needs a function that returns a value");
    if (!stage.place) {
        if constexpr (!std::is_void_v<typename function::state>) {
            throw std::invalid_argument("stage '" + stage.name +
                                        "' takes a state, which only processes have: say on()");
        } else {
            map_stage threads = map(std::move(stage.name), [](const In& in) { return Function(in); });
            threads.policy = stage.policy;
            return std::move(before) | std::move(threads);
        }
    }
    own_stage<out_type> made =
        through<out_type>(std::move(stage.name),
                          std::make_shared<detail::process_mapping<Function, In>>(std::move(*stage.place), stage.held));
    made.policy = stage.policy;
    return std::move(before) | std::move(made);
}

}  // namespace leat
