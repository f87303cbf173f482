// place: a line of source, as a default argument gets it. What std::source_location is; but that one's current() is
// consteval, and Clang 19 then takes the constructors of classes that have atomics among their members for consteval, too.
#pragma once

namespace leat::explore {

class place {
public:
    constexpr place() noexcept = default;
    constexpr place(const char* file, unsigned line) noexcept : file_(file), line_(line) {}
    static constexpr place current(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) noexcept {
        return {file, line};
    }
    [[nodiscard]] constexpr const char* file_name() const noexcept { return file_; }
    [[nodiscard]] constexpr unsigned line() const noexcept { return line_; }

private:
    const char* file_ = "";
    unsigned line_ = 0;
};

}  // namespace leat::explore
