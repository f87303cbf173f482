// cluster_function: the functions of a C++ program that may run on the cluster, by name. Each that a flow puts there with on() is
// entered in a table before main begins, in the coordinator and in its workers, which are the same program. Users see
// cluster_stage.hpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <tuple>
#include <type_traits>

#include <leat/flow/flow.hpp>
#include <leat/flow/item_codec.hpp>
#include <leat/process/pool_function.hpp>

namespace leat::cluster::detail {

struct function_entry {
    std::string_view name;
    std::uint64_t type = 0;  // of what it takes and gives
    std::shared_ptr<stage> (*make)() = nullptr;
    const item_codec* (*in)() = nullptr;
    const item_codec* (*out)() = nullptr;
};
// Before main.
bool enter_function(const function_entry& entry);
// Null when this program has no such function.
[[nodiscard]] const function_entry* find_function(std::string_view name) noexcept;

// A pipeline's items as the function takes them.
template <class From, class To>
[[nodiscard]] const item_codec* codec_from() {
    static const item_codec made{[](payload& value, bool) {
                                     wire_value packed;
                                     if constexpr (std::is_same_v<From, To>) {
                                         encode_to(packed.bytes, value.as<From>());
                                     } else {
                                         const To as_taken = value.as<From>();
                                         encode_to(packed.bytes, as_taken);
                                     }
                                     return packed;
                                 },
                                 codec_of<To>().unpack, codec_of<To>().type};
    return &made;
}

template <auto Function>
class cluster_function {
    using function = leat::detail::pool_function<Function>;
    static_assert(std::is_void_v<typename function::state>,
                  "leat: a function that takes a worker's state runs in "
                  "processes; on the cluster a function takes its item alone");
    static_assert(std::tuple_size_v<typename function::arguments> == 1,
                  "leat: what runs on the cluster is a function of one item");

public:
    using item_type = std::tuple_element_t<0, typename function::arguments>;
    using value = typename function::value;
    static_assert(!std::is_void_v<value>, "leat: map needs a function that returns a value");

    [[nodiscard]] static std::string_view name() noexcept { return function::name(); }
    [[nodiscard]] static std::uint64_t type() { return codec_type_hash<item_type>() * 31 + codec_type_hash<value>(); }
    // Makes sure that it is in the table.
    static bool entered() noexcept { return entered_; }

private:
    static std::shared_ptr<stage> make() {
        auto call = [](const item_type& in) { return Function(in); };
        using kind = leat::detail::map_kind<item_type, value>;
        return std::make_shared<leat::detail::function_stage<item_type, decltype(call), kind>>(std::move(call), kind{});
    }
    static const item_codec* in() { return &codec_of<item_type>(); }
    static const item_codec* out() { return &codec_of<value>(); }
    static function_entry entry() {
        function_entry made;
        made.name = name();
        made.type = type();
        made.make = &make;
        made.in = &in;
        made.out = &out;
        return made;
    }
    static const bool entered_;
};

template <auto Function>
const bool cluster_function<Function>::entered_ = enter_function(entry());

}  // namespace leat::cluster::detail
