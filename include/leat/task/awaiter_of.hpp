// awaiter_of: what `co_await operation` would ask: for those who await without being a coroutine, or ask for its type.
#pragma once

#include <utility>

namespace leat::detail {

template <class Operation>
decltype(auto) awaiter_of(Operation&& operation) {
    if constexpr (requires { std::forward<Operation>(operation).operator co_await(); })
        return std::forward<Operation>(operation).operator co_await();
    else if constexpr (requires { operator co_await(std::forward<Operation>(operation)); })
        return operator co_await(std::forward<Operation>(operation));
    else return std::forward<Operation>(operation);
}

}  // namespace leat::detail
