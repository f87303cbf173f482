// replace: puts a text in the place of whatever matches a regular expression in the content.
#include <flow/kinds/kinds.hpp>
#include <flow/kinds/regular_expression.hpp>
#include <leat/flow/record.hpp>

namespace leat {

namespace {

struct replace_settings {
    explicit replace_settings(const option_values& given)
        : pattern(compile(given, "pattern")), with(given.text("with")) {
        std::string error;
        if (!pattern->CheckRewriteString(with, &error))
            throw option_error("with", fmt::format("cannot be used: {}", error));
    }
    std::unique_ptr<const RE2> pattern;
    std::string with;
};

class replace_worker final : public stage_worker {
public:
    explicit replace_worker(std::shared_ptr<const replace_settings> settings) : settings_(std::move(settings)) {}

    made transform(item& in, bool) override {
        RE2::GlobalReplace(&in.value.as<record>().bytes, *settings_->pattern, settings_->with);
        return made::one;
    }

private:
    std::shared_ptr<const replace_settings> settings_;
};

class replace_stage final : public stage {
public:
    explicit replace_stage(const option_values& given) : settings_(std::make_shared<replace_settings>(given)) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<replace_worker>(settings_); }
    [[nodiscard]] bool is_direct() const noexcept override { return true; }

private:
    std::shared_ptr<const replace_settings> settings_;
};

}  // namespace

void add_replace_kind(registry& kinds) {
    component kind;
    kind.name = "replace";
    kind.summary = "replaces what matches a regular expression";
    kind.help = "Everywhere in the content. The syntax is that of RE2.\n";
    kind.options = {
        option("pattern", option_type::text, "the regular expression").required().also_called({"regex"}),
        option("with", option_type::text, "what is put there; \\1 to \\9 stand for groups, \\0 for the whole match")
            .required()
            .also_called({"by", "replacement"}),
        encoding_option()};
    kind.make_stage = [](const option_values& given) -> std::shared_ptr<stage> {
        return std::make_shared<replace_stage>(given);
    };
    kinds.add(std::move(kind));
}

}  // namespace leat
