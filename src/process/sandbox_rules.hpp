// sandbox_rules: a sandbox as the parent prepares it for the child: a Landlock ruleset, whose descriptor the child restricts
// itself with, and a seccomp filter. And the child's part. Used by spawn and start_child.
#pragma once

#include <leat/base/expected.hpp>
#include <leat/process/spawn.hpp>

#include <cstddef>

#include "start_child.hpp"

namespace leat {

// Owns the ruleset's descriptor.
class sandbox_rules {
public:
    sandbox_rules() = default;
    sandbox_rules(const sandbox_rules&) = delete;
    sandbox_rules& operator=(const sandbox_rules&) = delete;
    ~sandbox_rules();

    // Makes what `wanted` says, as far as the kernel can. `program`: the file to be executed, as this process would open it.
    // `above`: the descriptor gets a number above this one, which the child must not overwrite.
    std::optional<spawn_error> prepare(const sandbox& wanted, const sandbox_support& support,
                                       const std::string& program, int above);
    [[nodiscard]] sandbox_setting setting() const noexcept { return setting_; }

private:
    std::optional<spawn_error> make_ruleset(const sandbox& wanted, const std::string& program, int above);
    std::optional<spawn_error> allow(const std::string& path, std::uint64_t access);

    sandbox_setting setting_;
    int version_ = 0;  // of Landlock
};

}  // namespace leat
