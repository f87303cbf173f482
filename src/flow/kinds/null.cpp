// null: takes items and keeps none of them.
#include <flow/kinds/kinds.hpp>

namespace leat {

namespace {

class null_worker final : public stage_worker {
public:
    task<> process(item& in, emitter&) override {
        in.ack.commit();
        co_return;
    }
};

class null_stage final : public stage {
public:
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<null_worker>(); }
};

}  // namespace

void add_null_kind(registry& kinds) {
    component kind;
    kind.role = component_role::sink;
    kind.name = "null";
    kind.summary = "takes items and keeps none of them";
    kind.help = "For a flow whose work is done by its stages; the report counts the items.\n";
    kind.make_stage = [](const option_values&) -> std::shared_ptr<stage> { return std::make_shared<null_stage>(); };
    kinds.add(std::move(kind));
}

}  // namespace leat
