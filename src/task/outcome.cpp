#include <leat/task/outcome.hpp>

#include <cxxabi.h>
#include <typeinfo>

namespace leat::detail {

bool current_exception_is_cancelled() noexcept {
    const std::type_info* const type = abi::__cxa_current_exception_type();
    return type != nullptr && *type == typeid(cancelled);
}

void throw_cancelled() { throw cancelled{}; }

}  // namespace leat::detail
