// Boost.Fiber, a peer of several benchmarks, where it is installed: then LEAT_BENCH_BOOST_FIBER is defined.
#pragma once

#if __has_include(<boost/fiber/all.hpp>)
#    include <boost/fiber/all.hpp>
#    define LEAT_BENCH_BOOST_FIBER 1
#endif

namespace bench {

inline constexpr const char* no_boost_fiber = "libboost-fiber1.81-dev was not there when this was built";

}  // namespace bench
