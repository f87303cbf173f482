// bounded_text: the beginning and the end of a text of any length. What standard error is kept in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace leat {

class bounded_text {
public:
    // Keeps the first `head_bytes` and the last `tail_bytes`.
    bounded_text(std::size_t head_bytes, std::size_t tail_bytes) : head_bytes_(head_bytes), tail_bytes_(tail_bytes) {}

    void append(std::string_view bytes);
    // How much is in neither.
    [[nodiscard]] std::uint64_t omitted_bytes() const noexcept;
    // Both, with a line between them that says how much was left out, if anything was.
    [[nodiscard]] std::string text() const;
    void clear() noexcept;

private:
    std::size_t head_bytes_;
    std::size_t tail_bytes_;
    std::string head_;
    std::string ring_;  // the tail; once it is full, its oldest byte is at oldest_
    std::size_t oldest_ = 0;
    std::uint64_t beyond_ = 0;  // bytes that did not go to head_
};

}  // namespace leat
