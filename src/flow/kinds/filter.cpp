// filter: lets items through whose content, key or attribute matches a regular expression.
#include <fmt/format.h>
#include <re2/re2.h>

#include <flow/kinds/kinds.hpp>
#include <flow/kinds/part_of.hpp>
#include <flow/kinds/regular_expression.hpp>

namespace leat {

namespace {

struct filter_settings {
    explicit filter_settings(const option_values& given)
        : pattern(compile(given, "pattern")), on(given.text("on"), "on"), invert(given.boolean("invert")) {}
    std::unique_ptr<const RE2> pattern;
    part_of on;
    bool invert;
};

class filter_worker final : public stage_worker {
public:
    explicit filter_worker(std::shared_ptr<const filter_settings> settings) : settings_(std::move(settings)) {}

    made transform(item& in, bool) override {
        const std::string_view part = settings_->on.get(in.value.as<record>(), room_);
        const bool matches = RE2::PartialMatch(re2::StringPiece(part.data(), part.size()), *settings_->pattern);
        return matches == settings_->invert ? made::none : made::one;
    }

private:
    std::shared_ptr<const filter_settings> settings_;
    std::string room_;
};

class filter_stage final : public stage {
public:
    explicit filter_stage(const option_values& given) : settings_(std::make_shared<filter_settings>(given)) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<filter_worker>(settings_); }
    [[nodiscard]] bool is_direct() const noexcept override { return true; }

private:
    std::shared_ptr<const filter_settings> settings_;
};

}  // namespace

void add_filter_kind(registry& kinds) {
    component kind;
    kind.name = "filter";
    kind.summary = "lets through what matches a regular expression";
    kind.help = "Items that do not match are counted as skipped. The syntax is that of RE2.\n";
    kind.options = {
        option("pattern", option_type::text,
               "the regular expression; it may match anywhere, ^ and $ hold it to the ends")
            .required()
            .also_called({"regex", "match", "expression"}),
        option("on", option_type::text, std::string("what is looked at: ") + part_of::words).defaults("content"),
        option("invert", option_type::boolean, "lets through what does not match").defaults("false"),
        encoding_option()};
    kind.make_stage = [](const option_values& given) -> std::shared_ptr<stage> {
        return std::make_shared<filter_stage>(given);
    };
    kinds.add(std::move(kind));
}

}  // namespace leat
