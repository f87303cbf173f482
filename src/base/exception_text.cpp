#include <leat/base/exception_text.hpp>

#include <new>

namespace leat {

std::string current_exception_text() {
    try {
        throw;
    } catch (const std::bad_alloc&) {
        return "out of memory (`ulimit -v` and the control group may say how much there is)";
    } catch (const std::exception& known) {
        return known.what();
    } catch (...) {
        return "an exception that is no std::exception";
    }
}

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (...) {
        return current_exception_text();
    }
}

}  // namespace leat
