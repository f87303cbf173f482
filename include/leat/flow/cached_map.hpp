// cached_map: a map whose results are kept by key, in flows in C++.
//
//   … | leat::cached_map("resolve", look_up, [](const request& each) { return each.host; }, leat::cache_options().age(1min)) | …
//
// fn(item) is called for the first item of a key, while others of the same key wait for it, and again when its result was
// evicted or is too old. Its error is that item's; the next one that waits tries again. See cache.hpp.
#pragma once

#include <concepts>
#include <memory>
#include <string>
#include <utility>

#include <leat/flow/cache.hpp>
#include <leat/flow/flow.hpp>

namespace leat {

template <class Function, class KeyFunction>
struct cached_map_stage : stage_settings<cached_map_stage<Function, KeyFunction>> {
    cached_map_stage(std::string called, Function with, KeyFunction key, cache_options how)
        : stage_settings<cached_map_stage>(std::move(called)),
          fn(std::move(with)),
          key_of(std::move(key)),
          options(how) {}
    Function fn;
    KeyFunction key_of;
    cache_options options;
};

// out = fn(item), or what that gave for an item of the same key_of(item). fn may be plain or give a task; each worker has a
// copy of both. The key has a std::hash; the result can be copied.
template <class Function, class KeyFunction>
cached_map_stage<Function, KeyFunction> cached_map(std::string name, Function fn, KeyFunction key_of,
                                                   cache_options options = {}) {
    return {std::move(name), std::move(fn), std::move(key_of), options};
}

namespace detail {

template <class In, class Key, class Out, class Function, class KeyFunction>
class cached_stage final : public stage {
    using kept = cache<Key, Out>;

public:
    cached_stage(Function fn, KeyFunction key_of, cache_options options)
        : fn_(std::move(fn)), key_of_(std::move(key_of)), results_(std::make_shared<kept>(options)) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(fn_, key_of_, results_); }

private:
    class worker final : public stage_worker {
    public:
        worker(const Function& fn, const KeyFunction& key_of, std::shared_ptr<kept> results)
            : fn_(fn), key_of_(key_of), results_(std::move(results)) {}
        task<> process(item& in, emitter& out) override {
            const In& value = in.value.as<In>();
            auto compute = [this, &value] { return fn_(value); };
            Out result = co_await results_->get(key_of_(value), compute);
            payload next(std::move(result));
            co_await out.emit(std::move(next));
        }

    private:
        Function fn_;
        KeyFunction key_of_;
        std::shared_ptr<kept> results_;
    };
    const Function fn_;
    const KeyFunction key_of_;
    std::shared_ptr<kept> results_;
};

}  // namespace detail

template <class In, class Function, class KeyFunction>
    requires std::invocable<Function&, const In&> && std::invocable<KeyFunction&, const In&>
auto operator|(pipeline<In> before, cached_map_stage<Function, KeyFunction> stage) {
    using key_type = std::decay_t<std::invoke_result_t<KeyFunction&, const In&>>;
    using out_type = std::decay_t<detail::result_of<Function, const In&>>;
    static_assert(!std::is_void_v<out_type>, "cached_map needs a function that returns a value");
    using implementation = detail::cached_stage<In, key_type, out_type, Function, KeyFunction>;
    auto what = std::make_shared<implementation>(std::move(stage.fn), std::move(stage.key_of), stage.options);
    before.place.add_stage(detail::node_of(stage, std::move(what)));
    return pipeline<out_type>{std::move(before.place)};
}

}  // namespace leat
