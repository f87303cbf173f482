// dead_letters: what nobody could do, as messages of the stream df-FLOW-dead. A letter's payload is a parcel of one item, or the
// message that was none; its headers say the rest.
#pragma once

#include <string>
#include <string_view>

#include <cluster/manifest.hpp>
#include <cluster/parcel.hpp>
#include <leat/cluster/broker.hpp>

namespace leat::cluster {

// A message that could not be read, as a letter. Its id comes from the delivery, so that it is there once.
[[nodiscard]] message dead_letter_of(const manifest& of, std::size_t segment, const delivery& what,
                                     const std::string& why, const std::string& worker);
// An item that was given up.
[[nodiscard]] message dead_letter_of(const manifest& of, std::size_t segment, const parcel_item& what,
                                     const std::string& why, std::uint64_t deliveries, const std::string& worker);

}  // namespace leat::cluster
