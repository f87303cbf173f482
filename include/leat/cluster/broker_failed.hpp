// broker_failed: what is thrown where the engine has failed for good, by calls that give values and no broker_result.
#pragma once

#include <stdexcept>
#include <string>

#include <leat/cluster/broker.hpp>

namespace leat::cluster {

class broker_failed : public std::runtime_error {
public:
    // what() is "doing: what the broker said".
    broker_failed(const std::string& doing, broker_error why)
        : std::runtime_error(doing + ": " + why.text), why_(std::move(why)) {}
    [[nodiscard]] broker_problem problem() const noexcept { return why_.problem; }
    [[nodiscard]] const broker_error& why() const noexcept { return why_; }

private:
    broker_error why_;
};

}  // namespace leat::cluster
