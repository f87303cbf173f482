// dedup: lets the first item of each key through. A key counts as seen once its first item was committed.
#include <fmt/format.h>

#include <flow/kinds/kinds.hpp>
#include <flow/kinds/part_of.hpp>
#include <flow/kinds/seen_index.hpp>

namespace leat {

namespace {

constexpr std::uint64_t usual_bound = 10'000'000;

class dedup_worker final : public stage_worker {
public:
    dedup_worker(const part_of& key, std::shared_ptr<seen_index> index, std::uint64_t bound)
        : key_(key), index_(std::move(index)), bound_(bound) {}

    task<> process(item& in, emitter& out) override {
        const seen_index::hash key = seen_index::hash_of(key_.get(in.value.as<record>(), room_));
        switch (index_->look(key, in.ack)) {
            case seen_index::place::in_flight:
            case seen_index::place::seen:
                co_return;  // nothing is put out: left out
            case seen_index::place::full:
                throw permanent_error(fmt::format(
                    "dedup has {} different keys, its bound; filter = {{ items = … }} of the stage sets it", bound_));
            case seen_index::place::first:
                break;
        }
        ack_ref account = index_->watch(key, in.ack.fork());
        payload value = out.may_consume() ? std::move(in.value) : in.value.copy();
        co_await out.emit(std::move(value), std::move(account));
    }

private:
    const part_of& key_;
    std::shared_ptr<seen_index> index_;
    std::uint64_t bound_;
    std::string room_;
};

class dedup_stage final : public stage {
public:
    explicit dedup_stage(const option_values& given)
        : key_(given.text("key"), "key"),
          bound_(given.has("filter") ? static_cast<std::uint64_t>(given.table("filter").integer("items"))
                                     : usual_bound) {}

    task<> start(unsigned) override {
        index_ = std::make_shared<seen_index>(bound_);
        co_return;
    }
    task<std::unique_ptr<stage_worker>> open() override {
        co_return std::make_unique<dedup_worker>(key_, index_, bound_);
    }
    [[nodiscard]] unsigned most_jobs() const noexcept override { return 1; }

private:
    part_of key_;
    std::uint64_t bound_;
    std::shared_ptr<seen_index> index_;
};

}  // namespace

void add_dedup_kind(registry& kinds) {
    component kind;
    kind.name = "dedup";
    kind.summary = "lets the first item of each key through";
    kind.help =
        "The others are counted as skipped. Keys are told apart exactly, by a hash of 128 bits, which takes about 32 "
        "bytes\n"
        "of memory a key. A key counts as seen once its first item was committed; an item whose key is in flight "
        "shares the\n"
        "fate of the first.\n";
    kind.options = {
        option("key", option_type::text, std::string("what makes items the same: ") + part_of::words)
            .defaults("content"),
        option("filter", option_type::table, "how many keys there may be, and how they are told apart")
            .with({option("items", option_type::integer, "the most different keys; one more is an error")
                       .defaults(std::to_string(usual_bound))
                       .at_least(1)
                       .at_most(1e11)
                       .also_called({"max", "bound"}),
                   option("false_positives", option_type::number,
                          "for a filter in front of the exact index; without effect as long as that is in memory")
                       .defaults("1e-4")
                       .at_least(1e-12)
                       .at_most(0.5),
                   option("confirm", option_type::word, "what decides whether a key was seen")
                       .one_of({"exact"})
                       .planned({"none"})
                       .defaults("exact")},
                  "items")};
    kind.make_stage = [](const option_values& given) -> std::shared_ptr<stage> {
        return std::make_shared<dedup_stage>(given);
    };
    kinds.add(std::move(kind));
}

}  // namespace leat
