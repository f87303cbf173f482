#include <flow/kinds/line_reader.hpp>

#include <cstring>
#include <span>
#include <system_error>

#include <fmt/format.h>

#include <leat/flow/policy.hpp>
#include <leat/runtime/blocking.hpp>

#include <flow/open_to_read.hpp>

namespace leat {

namespace {

constexpr std::size_t chunk = std::size_t{256} << 10U;

}  // namespace

task<> line_reader::open() {
    const int fd = co_await blocking(&open_to_read, path_);
    in_.emplace(io::unique_fd(fd));
}

std::optional<std::string_view> line_reader::take() {
    const auto* found =
        static_cast<const char*>(std::memchr(buffer_.data() + scanned_, end_, buffer_.size() - scanned_));
    if (found == nullptr) {
        scanned_ = buffer_.size();
        if (!ended_ || begin_ == buffer_.size()) return std::nullopt;
        ++number_;
        return std::string_view(buffer_).substr(std::exchange(begin_, buffer_.size()));
    }
    const auto end = static_cast<std::size_t>(found - buffer_.data());
    const std::string_view line = std::string_view(buffer_).substr(begin_, end - begin_);
    begin_ = scanned_ = end + 1;
    ++number_;
    return line;
}

task<bool> line_reader::fill() {
    if (ended_) co_return false;
    buffer_.erase(0, begin_);
    begin_ = 0;
    const std::size_t had = scanned_ = buffer_.size();
    if (had > longest_)
        throw permanent_error(fmt::format("{}:{}: the line is longer than {} bytes", path_ == "-" ? "stdin" : path_,
                                          number_ + 1, longest_));
    buffer_.resize(had + chunk);
    const std::span<char> room(buffer_.data() + had, chunk);
    expected<std::size_t, std::error_code> got = co_await in_->read_some(room);
    buffer_.resize(had + (got ? *got : 0));
    if (!got)
        throw std::system_error(got.error(),
                                path_ == "-" ? "cannot read standard input" : fmt::format("cannot read '{}'", path_));
    ended_ = *got == 0;
    co_return !ended_ || !buffer_.empty();
}

std::string line_reader::place() const { return fmt::format("{}:{}", path_ == "-" ? "stdin" : path_, number_); }

}  // namespace leat
