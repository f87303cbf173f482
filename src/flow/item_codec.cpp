#include <leat/flow/item_codec.hpp>

#include <leat/flow/record.hpp>

namespace leat {

namespace {

wire_value pack_record(payload& value, bool may_consume) {
    if (!value.is<record>()) throw permanent_error("an item is not a record");
    auto& from = value.as<record>();
    if (may_consume) return {std::move(from.bytes), std::move(from.key), std::move(from.attributes), from.sequence};
    return {from.bytes, from.key, from.attributes, from.sequence};
}

payload unpack_record(wire_value&& value) {
    record made(std::move(value.bytes), std::move(value.key));
    made.attributes = std::move(value.attributes);
    made.sequence = value.sequence;
    return payload(std::move(made));
}

}  // namespace

const item_codec& record_codec() noexcept {
    static constexpr item_codec made{&pack_record, &unpack_record, 0};
    return made;
}

}  // namespace leat
