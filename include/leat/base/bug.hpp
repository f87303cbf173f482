// bug(): how the library ends a program that has broken a contract (a scope destroyed unjoined, a value read that is not
// there). Bugs are not errors: they are never thrown and never returned, because the state behind them is unknown.
#pragma once

#include <source_location>
#include <string_view>

namespace leat {

// Hands `what` and the place to the log hook at level fatal, and aborts. When no hook is set the message goes to standard
// error: the one line that the library ever writes there, since nobody is left to read a log. Callable from any thread.
[[noreturn]] void bug(std::string_view what, std::source_location where = std::source_location::current()) noexcept;

}  // namespace leat
