// The members of an aggregate, by reflection. Used by codec_kind.hpp and codec.hpp alone.
//
// Boost.PFR finds and binds them. How many there are is asked of what lies below its fields_count(), for two reasons: GCC 12 dies
// of an internal error in that one when a member is a std::array of objects with a constructor (Boost 1.81), and it looks for
// up to eight members a byte, which no compiler survives for an aggregate of megabytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

#include <boost/pfr/core.hpp>

namespace leat::codec_detail {

inline constexpr std::size_t most_fields = 100;  // that PFR can bind

template <class T>
consteval std::size_t count_fields() {
    namespace pfr = boost::pfr::detail;
    constexpr std::size_t first_guess = std::min(most_fields / 2, 4 * sizeof(T) + 1);
    if constexpr (std::is_empty_v<T>) {
        return 0;
    } else if constexpr (std::is_default_constructible_v<T>) {
        return pfr::detect_fields_count<T, 0, first_guess>(pfr::multi_element_range{}, 1L);
    } else {  // some counts below the right one do not make a T either
        return pfr::detect_fields_count_greedy<T, 0, most_fields + 1>(pfr::multi_element_range{});
    }
}
template <class T>
inline constexpr std::size_t field_count = count_fields<std::remove_const_t<T>>();

// References to the members, as PFR's tuple.
template <class T>
constexpr auto fields_of(T& value) noexcept {
    static_assert(field_count<T> <= most_fields,
                  "leat: an aggregate crosses to another process with up to 100 members");
    boost::pfr::detail::assert_first_not_base<std::remove_const_t<T>>(std::make_index_sequence<field_count<T>>());
    return boost::pfr::detail::tie_as_tuple(value, boost::pfr::detail::size_t_<field_count<T>>{});
}

template <class T, std::size_t I>
using field_type =
    std::remove_reference_t<decltype(boost::pfr::detail::sequence_tuple::get<I>(fields_of(std::declval<T&>())))>;

// Calls fn(member) for each, in their order.
template <class T, class Fn>
constexpr void for_each_field(const T& value, Fn&& fn) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        [[maybe_unused]] const auto fields = fields_of(value);
        (fn(boost::pfr::detail::sequence_tuple::get<I>(fields)), ...);
    }(std::make_index_sequence<field_count<T>>());
}

}  // namespace leat::codec_detail
