// dedup: lets the first item of each key through. A key counts as seen once its first item was committed.
#include <fmt/format.h>

#include <flow/kinds/kinds.hpp>
#include <flow/kinds/part_of.hpp>
#include <leat/flow/bloom_filter.hpp>
#include <leat/flow/dedup.hpp>
#include <leat/flow/record.hpp>

namespace leat {

namespace {

std::shared_ptr<stage> make_dedup(const option_values& given) {
    dedup_options options;
    if (given.has("filter")) {
        const option_values& filter = given.table("filter");
        options.items = static_cast<std::uint64_t>(filter.integer("items"));
        options.false_positives = filter.number("false_positives");
        options.exact = filter.text("confirm") == "exact";
    }
    options.keep = given.boolean("keep");
    const std::string& what = given.text("key");
    auto digest = [key = part_of(what, "key")](payload& value, std::string& room) {
        return digest_of(key.get(value.as<record>(), room));
    };
    return detail::make_dedup_stage(std::move(digest), std::move(options), fmt::format("those of key = \"{}\"", what));
}

}  // namespace

void add_dedup_kind(registry& kinds) {
    component kind;
    kind.name = "dedup";
    kind.summary = "lets the first item of each key through";
    kind.help =
        "The others are counted as skipped. A key counts as seen once its first item was committed; an item whose key\n"
        "is in flight shares the fate of the first. Keys are told apart by a hash of 128 bits. They are in memory, at\n"
        "about 32 bytes a key; or, when the flow has a state directory, on disk, with a filter of some 3 bytes a key\n"
        "in front. A flow that is run anew begins without keys, unless keep = true. docs/dedup.md tells more.\n";
    kind.options = {
        option("key", option_type::text, std::string("what makes items the same: ") + part_of::words)
            .defaults("content"),
        option("filter", option_type::table, "how many keys there may be, and how they are told apart")
            .with(
                {option("items", option_type::integer,
                        "the most different keys, in memory, where one more is an error; on disk how many are expected")
                     .defaults(std::to_string(dedup_options().items))
                     .at_least(1)
                     .at_most(1e11)
                     .also_called({"max", "bound"}),
                 option("false_positives", option_type::number,
                        "of the filter: how many new keys in one are looked up on disk, or with confirm = \"none\" are "
                        "lost")
                     .defaults("1e-4")
                     .at_least(bloom_filter::least_rate)
                     .at_most(bloom_filter::greatest_rate),
                 option("confirm", option_type::word,
                        "what decides whether a key was seen: all keys, or the filter alone, which now and then leaves "
                        "out an item that is new")
                     .one_of({"exact", "none"})
                     .defaults("exact")},
                "items"),
        option("keep", option_type::boolean, "whether the keys of earlier runs count as seen; needs a state directory")
            .defaults("false")};
    kind.make_stage = &make_dedup;
    kinds.add(std::move(kind));
}

}  // namespace leat
