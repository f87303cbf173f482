#include "bounded_text.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace leat {

void bounded_text::append(std::string_view bytes) {
    const std::size_t to_head = std::min(bytes.size(), head_bytes_ - head_.size());
    head_.append(bytes.substr(0, to_head));
    bytes.remove_prefix(to_head);
    beyond_ += bytes.size();
    if (bytes.size() > tail_bytes_) bytes.remove_prefix(bytes.size() - tail_bytes_);
    const std::size_t to_grow = std::min(bytes.size(), tail_bytes_ - ring_.size());
    ring_.append(bytes.substr(0, to_grow));
    bytes.remove_prefix(to_grow);
    while (!bytes.empty()) {
        const std::size_t piece = std::min(bytes.size(), ring_.size() - oldest_);
        bytes.copy(ring_.data() + oldest_, piece);
        oldest_ = (oldest_ + piece) % ring_.size();
        bytes.remove_prefix(piece);
    }
}

std::uint64_t bounded_text::omitted_bytes() const noexcept { return beyond_ - ring_.size(); }

std::string bounded_text::text() const {
    std::string all = head_;
    if (const auto omitted = omitted_bytes(); omitted != 0) {
        if (!all.empty() && !all.ends_with('\n')) all += '\n';
        all += fmt::format("[... {} bytes left out ...]\n", omitted);
    }
    all.append(ring_, oldest_);
    all.append(ring_, 0, oldest_);
    return all;
}

void bounded_text::clear() noexcept {
    head_.clear();
    ring_.clear();
    oldest_ = 0;
    beyond_ = 0;
}

}  // namespace leat
