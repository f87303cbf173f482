// The two ways in which a wait ends without its result.
#pragma once

#include <exception>

namespace leat {

// Thrown at the suspension point of a task that was asked to stop. Not derived from std::exception, so that an ordinary
// `catch (const std::exception&)` does not swallow it. It is never "the first error" of a scope.
struct cancelled {};

// Thrown by timeout() when the time was over first.
class timed_out : public std::exception {
public:
    [[nodiscard]] const char* what() const noexcept override { return "timed out"; }
};

}  // namespace leat
