// Names and subjects as the engine has them, and what two configurations differ in: for every implementation of broker.hpp.
#pragma once

#include <string>
#include <string_view>

#include <leat/cluster/broker.hpp>

namespace leat::cluster {

// Of streams, consumers and buckets.
[[nodiscard]] bool is_name(std::string_view text) noexcept;
[[nodiscard]] bool is_key(std::string_view text) noexcept;
// Tokens between dots, none empty. With wildcards: '*' for one token, and '>' at the end.
[[nodiscard]] bool is_subject(std::string_view text, bool with_wildcards) noexcept;
// Whether `subject`, which has no wildcards, is one of `pattern`.
[[nodiscard]] bool matches(std::string_view pattern, std::string_view subject) noexcept;
// Whether some subject is one of both.
[[nodiscard]] bool overlap(std::string_view one, std::string_view other) noexcept;

// "replicas 1 instead of 3, …"; empty: nothing.
[[nodiscard]] std::string differences(const stream_config& there, const stream_config& asked);
[[nodiscard]] std::string differences(const consumer_config& there, const consumer_config& asked);

}  // namespace leat::cluster
