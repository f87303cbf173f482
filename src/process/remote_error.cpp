#include <leat/process/remote_error.hpp>

#include <cstdlib>
#include <cxxabi.h>
#include <leat/base/exception_text.hpp>
#include <memory>
#include <typeinfo>

namespace leat {

namespace {

struct free_it {
    void operator()(char* text) const noexcept { std::free(text); }
};

std::string readable(const char* mangled) {
    int status = 0;
    const std::unique_ptr<char, free_it> text(abi::__cxa_demangle(mangled, nullptr, nullptr, &status));
    return text != nullptr ? text.get() : mangled;
}

}  // namespace

exception_record exception_record::current() {
    try {
        throw;
    } catch (const remote_error& from_elsewhere) {
        return from_elsewhere.record();
    } catch (...) {  // NOLINT(bugprone-empty-catch): told below, where its type can be asked for
    }
    const std::type_info* const type = abi::__cxa_current_exception_type();
    return {type != nullptr ? readable(type->name()) : "an unknown type", current_exception_text()};
}

exception_record exception_record::of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (...) {
        return current();
    }
}

remote_error::remote_error(const exception_record& record, std::string err)
    : std::runtime_error(record.type + " in another process: " + record.text), record_(record), err_(std::move(err)) {}

}  // namespace leat
