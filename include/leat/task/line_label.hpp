// line_label: what a line is called and where it was spawned, in one word. A context holds one.
//
// Most lines have either a name (the roots of runs, plain threads) or a place (tasks that were spawned without a name); for
// the others both lie in a record, which lives as long as the line and those that take their label from it.
#pragma once

#include <bit>
#include <cstdint>
#include <source_location>

namespace leat {

class line_label {
public:
    struct record {
        const char* name;  // a literal
        std::source_location spawned_at;
    };
    // `name` is a literal.
    explicit line_label(const char* name) noexcept : word_(word_of(name, form::name)) {}
    // A task without a name.
    explicit line_label(std::source_location spawned_at) noexcept
        : word_(word_of(std::bit_cast<const void*>(spawned_at), form::place)) {}
    explicit line_label(const record& both) noexcept : word_(word_of(&both, form::both)) {}

    static constexpr const char* nameless = "task";
    [[nodiscard]] const char* name() const noexcept {
        switch (static_cast<form>(word_ & mask_form)) {
            case form::name:
                return static_cast<const char*>(address());
            case form::place:
                break;
            case form::both:
                return static_cast<const record*>(address())->name;
        }
        return nameless;
    }
    // Line 0 when it has none.
    [[nodiscard]] std::source_location spawned_at() const noexcept {
        switch (static_cast<form>(word_ & mask_form)) {
            case form::name:
                break;
            case form::place:
                return std::bit_cast<std::source_location>(address());
            case form::both:
                return static_cast<const record*>(address())->spawned_at;
        }
        return {};
    }

private:
    // word_: bits 0-1: enum form; above: the address. Literals lie anywhere, but no address of a program needs its highest
    // bits.
    enum class form : unsigned char { name, place, both };
    static constexpr std::uintptr_t mask_form = 3;
    static constexpr unsigned shift_address = 2;
    static_assert(sizeof(std::source_location) == sizeof(void*), "it is a pointer to a constant");

    static std::uintptr_t word_of(const void* address, form how) noexcept {
        return reinterpret_cast<std::uintptr_t>(address) << shift_address | static_cast<std::uintptr_t>(how);
    }
    [[nodiscard]] const void* address() const noexcept {
        return reinterpret_cast<const void*>(word_ >> shift_address);  // NOLINT(performance-no-int-to-ptr)
    }

    std::uintptr_t word_;
};

}  // namespace leat
