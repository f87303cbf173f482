// dedup: lets the first item of each key through, in flows in C++.
//
//   leat::from(std::move(files)) | leat::dedup("unique", [](const file& each) { return each.name; }).on_disk("seen.db") | …
//
// The others count as skipped. A key counts as seen once its first item was committed; an item whose key is in flight shares the
// fate of the first one. Keys are told apart by a hash of 128 bits, so exactly that two of them are taken for one in no run that
// anybody will see. docs/dedup.md tells of indexes on disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <leat/flow/flow.hpp>
#include <leat/flow/key_digest.hpp>

namespace leat {

namespace detail {

// What identifies an item. Called by one worker at a time; the text it gives to is its room.
using digest_function = std::function<key_digest(payload&, std::string& room)>;
// `keys`: what they are, for who finds the index again; an index of other keys is refused.
std::shared_ptr<stage> make_dedup_stage(digest_function digest, dedup_options options, std::string keys);

template <class Key>
key_digest digest_of_key(const Key& key) {
    if constexpr (std::is_same_v<Key, key_digest>) {
        return key;
    } else if constexpr (std::is_convertible_v<const Key&, std::string_view>) {
        return digest_of(key);
    } else {
        static_assert(
            std::has_unique_object_representations_v<Key>,
            "a key of dedup is a text, an integer, an enumerator, a struct of such without gaps, or a key_digest");
        return digest_of({reinterpret_cast<const char*>(&key), sizeof key});
    }
}

}  // namespace detail

template <class Function>
struct dedup_stage : stage_settings<dedup_stage<Function>> {
    dedup_stage(std::string called, Function with)
        : stage_settings<dedup_stage>(std::move(called)), fn(std::move(with)) {
        this->policy.jobs = 1;
    }
    // See dedup_options.
    dedup_stage expecting(std::uint64_t items, double false_positives = 1e-4) && {
        options.items = items;
        options.false_positives = false_positives;
        return std::move(*this);
    }
    dedup_stage on_disk(std::string path) && {
        options.path = std::move(path);
        return std::move(*this);
    }
    dedup_stage keep() && {
        options.keep = true;
        return std::move(*this);
    }
    dedup_stage by_filter_alone() && {
        options.exact = false;
        return std::move(*this);
    }
    Function fn;
    dedup_options options;
};

// Keeps the first item of each key(item), a plain function. One job: it sees all items.
template <class Function>
dedup_stage<Function> dedup(std::string name, Function key) {
    return {std::move(name), std::move(key)};
}

template <class In, class Function>
    requires std::invocable<Function&, const In&>
pipeline<In> operator|(pipeline<In> before, dedup_stage<Function> stage) {
    auto digest = [fn = std::move(stage.fn)](payload& value, std::string&) mutable {
        return detail::digest_of_key<std::decay_t<std::invoke_result_t<Function&, const In&>>>(fn(value.as<In>()));
    };
    auto what = detail::make_dedup_stage(std::move(digest), std::move(stage.options), "of the program's " + stage.name);
    before.place.add_stage(detail::node_of(stage, std::move(what)));
    return before;
}

}  // namespace leat
