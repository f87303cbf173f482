// What an exception says, for reports and messages.
#pragma once

#include <exception>
#include <string>

namespace leat {

// Of the exception that is being handled: what() of a std::exception, "out of memory …" of a std::bad_alloc, of all
// others that they are no std::exception. In a catch block only.
[[nodiscard]] std::string current_exception_text();
// Of one that is kept; it is not null.
[[nodiscard]] std::string text_of(const std::exception_ptr& error);

}  // namespace leat
