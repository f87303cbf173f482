#include <cli/each_blocks.hpp>

#include <algorithm>
#include <atomic>
#include <deque>
#include <fmt/format.h>
#include <stdexcept>
#include <system_error>

#include <leat/io/pipe.hpp>

namespace leat::cli {

namespace {

constexpr std::size_t longest_record = std::size_t{1} << 30U;
constexpr std::size_t piece_bytes = std::size_t{128} << 10U;
constexpr std::size_t most_reserved = std::size_t{64} << 20U;  // of a block, before it is known that there is so much

class block_source final : public source {
public:
    block_source(std::vector<value_source> files, block_rules rules)
        : rules_(std::move(rules)), mark_(rules_.record_end + rules_.record_start) {
        for (value_source& each : files)
            files_.emplace_back(std::move(each.file_name), io::pipe_reader(std::move(each.file)));
    }

    task<> run(source_output& out) override {
        for (std::uint64_t number = 1;; ++number) {
            auto cutting = rules_.records > 0 ? end_of_records() : end_of_full_block();
            const std::size_t end = co_await std::move(cutting);
            if (end == 0) {
                total_ = number - 1;
                co_return;
            }
            each_item item({});
            item.block = std::make_unique<input_block>(take(end), number);
            payload next(std::move(item));
            co_await out.emit(std::move(next));
        }
    }
    [[nodiscard]] std::optional<std::uint64_t> total() const noexcept override {
        const std::uint64_t known = total_.load(std::memory_order_relaxed);  // a figure by itself
        if (known == unknown) return std::nullopt;
        return known;
    }

private:
    struct file {
        file(std::string name_, io::pipe_reader in_) : name(std::move(name_)), in(std::move(in_)) {}
        std::string name;
        io::pipe_reader in;
    };
    static constexpr std::uint64_t unknown = ~std::uint64_t{0};
    static constexpr std::size_t none = std::string::npos;

    // How many bytes the next block has; 0: there is nothing more.
    task<std::size_t> end_of_full_block() {
        co_await fill(rules_.bytes + rules_.record_start.size());
        if (size() <= rules_.bytes) co_return size();
        if (mark_.empty()) co_return rules_.bytes;
        const std::size_t end_size = rules_.record_end.size();
        if (end_size <= rules_.bytes) {
            const std::size_t last = text_.rfind(mark_, at_ + rules_.bytes - end_size);
            if (last != none && last + end_size > at_) co_return last + end_size - at_;
        }
        // The first record is longer than a block.
        co_return co_await end_of_record(rules_.bytes + 1 - std::min(end_size, rules_.bytes + 1));
    }
    task<std::size_t> end_of_records() {
        std::size_t end = 0;
        for (std::uint64_t count = 0; count < rules_.records; ++count) {
            const std::size_t next = co_await end_of_record(end + (rules_.record_end.empty() ? 1 : 0));
            if (next == end) break;
            end = next;
        }
        co_return end;
    }
    // Of the first whose mark begins at `from` or later; the end of all where there is none.
    task<std::size_t> end_of_record(std::size_t from) {
        if (mark_.empty()) {  // a byte is a record
            co_await fill(from);
            co_return std::min(size(), from);
        }
        for (;;) {
            if (const std::size_t found = text_.find(mark_, at_ + from); found != none)
                co_return found + rules_.record_end.size() - at_;
            if (size() >= mark_.size()) from = std::max(from, size() - mark_.size() + 1);
            if (size() > std::max(longest_record, rules_.bytes))
                throw std::runtime_error(fmt::format("--pipe: a record is longer than {} GiB", longest_record >> 30U));
            const std::size_t had = size();
            co_await fill(had + 1);
            if (size() == had) co_return had;
        }
    }

    // Reads until there is so much, or nothing more.
    task<> fill(std::size_t wanted) {
        if (size() >= wanted || files_.empty()) co_return;
        text_.erase(0, std::exchange(at_, 0));
        text_.reserve(std::min(wanted, most_reserved) + piece_bytes);
        while (size() < wanted && !files_.empty()) {
            const std::size_t had = text_.size();
            text_.resize(had + piece_bytes);
            auto got = co_await files_.front().in.read_some({text_.data() + had, piece_bytes});
            if (!got) throw std::system_error(got.error(), "cannot read " + files_.front().name);
            text_.resize(had + *got);
            if (*got == 0) files_.pop_front();
        }
    }
    std::string take(std::size_t bytes) {
        const bool most_of_it = at_ == 0 && bytes > text_.size() / 2;
        if (!most_of_it) {
            std::string block = text_.substr(at_, bytes);
            at_ += bytes;
            return block;
        }
        std::string rest = text_.substr(bytes);
        text_.resize(bytes);
        return std::exchange(text_, std::move(rest));
    }
    [[nodiscard]] std::size_t size() const noexcept { return text_.size() - at_; }

    block_rules rules_;
    std::string mark_;        // of a record's end
    std::deque<file> files_;  // those that are left
    std::string text_;        // what was read
    std::size_t at_ = 0;      // of the next block in it
    std::atomic<std::uint64_t> total_{unknown};
};

}  // namespace

std::shared_ptr<source> blocks_of(std::vector<value_source> files, block_rules rules) {
    return std::make_shared<block_source>(std::move(files), std::move(rules));
}

}  // namespace leat::cli
