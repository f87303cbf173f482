// An exception on its way to another process: as a record of what it was and said, and there as a remote_error. Its object
// stays behind, since nothing on the other side could know its type.
//
//     catch (...) { message = leat::encode(leat::exception_record::current()); }     where it was thrown
//     throw leat::remote_error(*leat::decode<leat::exception_record>(message));      where it is waited for
#pragma once

#include <exception>
#include <stdexcept>
#include <string>

namespace leat {

// Crosses like any aggregate.
struct exception_record {
    std::string type;  // as written in C++: "std::out_of_range", "int"
    std::string text;  // what() of a std::exception, else that it is none

    // Of the exception that is being handled; of a remote_error, the record that it came with. In a catch block only.
    [[nodiscard]] static exception_record current();
    // Of one that is kept; it is not null.
    [[nodiscard]] static exception_record of(const std::exception_ptr& error);

    friend bool operator==(const exception_record&, const exception_record&) = default;
};

// Thrown in place of an exception that another process threw.
class remote_error : public std::runtime_error {
public:
    // `err`: what was written to standard error meanwhile, where that is known.
    explicit remote_error(const exception_record& record, std::string err = {});

    // "std::out_of_range in another process: too far" is what(); these are its parts.
    [[nodiscard]] const std::string& type() const noexcept { return record_.type; }
    [[nodiscard]] const std::string& text() const noexcept { return record_.text; }
    [[nodiscard]] const exception_record& record() const noexcept { return record_; }
    [[nodiscard]] const std::string& err() const noexcept { return err_; }

private:
    exception_record record_;
    std::string err_;
};

}  // namespace leat
