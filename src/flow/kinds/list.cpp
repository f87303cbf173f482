// list: items written in the flow file.
#include <flow/kinds/kinds.hpp>
#include <leat/flow/record.hpp>

namespace leat {

namespace {

class list_source final : public source {
public:
    explicit list_source(std::vector<std::string> items) : items_(std::move(items)) {}

    task<> run(source_output& out) override {
        for (std::size_t i = 0; i < items_.size(); ++i) {
            record each(items_[i], items_[i]);
            each.sequence = i;
            payload value(std::move(each));
            co_await out.emit(std::move(value));
        }
    }
    [[nodiscard]] std::optional<std::uint64_t> total() const noexcept override { return items_.size(); }

private:
    std::vector<std::string> items_;
};

}  // namespace

void add_list_kind(registry& kinds) {
    component kind;
    kind.role = component_role::source;
    kind.name = "list";
    kind.summary = "items written in the flow file";
    kind.help = "Content and key of each item are the text.\n";
    kind.options = {option("items", option_type::text_list, "the items").required()};
    kind.make_source = [](const option_values& given) -> std::shared_ptr<source> {
        return std::make_shared<list_source>(given.list("items"));
    };
    kinds.add(std::move(kind));
}

}  // namespace leat
