#include <leat/process/codec.hpp>

namespace leat::codec_detail {

void throw_unknown_enumerator() { throw not_encodable("an enumeration has a value that is none of its enumerators"); }
void throw_valueless_variant() { throw not_encodable("a variant has no value"); }
void throw_too_deep() { throw not_encodable("a value is nested more than 128 deep"); }
void throw_key_twice(std::size_t offset) {
    throw refused_value{{offset, {"a key that is not there yet"}, {"one that is"}}};
}
void throw_refused_by_unpack(std::size_t offset) {
    throw refused_value{{offset, {"a value that its codec accepts"}, {"one that it refuses"}}};
}

}  // namespace leat::codec_detail
