#include <cli/each_items.hpp>

#include <algorithm>
#include <atomic>
#include <cli/screen.hpp>
#include <fmt/format.h>
#include <random>
#include <re2/re2.h>
#include <stdexcept>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include <leat/io/pipe.hpp>
#include <leat/runtime/blocking.hpp>

namespace leat::cli {

namespace {

constexpr std::size_t longest_name = 80;
constexpr std::size_t longest_item = std::size_t{64} << 20U;

using parts = std::vector<std::string>;

std::string joined(const parts& all) { return fmt::format("{}", fmt::join(all, " ")); }

constexpr std::size_t most_in_block = std::size_t{64} << 10U;  // bytes

std::string block_name(std::uint64_t number) { return fmt::format("block {}", number); }

// The values of a source, one after the other.
class value_reader {
public:
    value_reader(value_source from, char delimiter)
        : list_(std::move(from.list)), name_(std::move(from.file_name)), delimiter_(delimiter) {
        if (from.file) in_.emplace(std::move(from.file));
    }

    task<std::optional<std::string>> next() {
        if (!in_) {
            if (at_ == list_.size()) co_return std::nullopt;
            co_return std::move(list_[at_++]);
        }
        for (;;) {
            if (const auto end = text_.find(delimiter_, scanned_); end != std::string::npos) {
                std::string value = text_.substr(at_, end - at_);
                at_ = scanned_ = end + 1;
                co_return value;
            }
            if (!co_await more()) break;
        }
        if (text_.empty()) co_return std::nullopt;
        co_return std::exchange(text_, {});
    }
    // Of a file: up to `most` values, as many as there are without waiting, but one at least.
    task<std::optional<each_block>> next_block(std::size_t most) {
        for (;;) {
            std::size_t count = 0;
            std::size_t end = scanned_;
            for (; count < most && (count == 0 || end - at_ < most_in_block); ++count) {
                const auto found = text_.find(delimiter_, end);
                if (found == std::string::npos) break;
                end = found + 1;
            }
            if (count > 0) {
                each_block block{text_.substr(at_, end - at_), count};
                at_ = scanned_ = end;
                co_return block;
            }
            if (!co_await more()) break;
        }
        if (text_.empty()) co_return std::nullopt;
        co_return each_block{std::exchange(text_, {}) + delimiter_, 1};
    }
    [[nodiscard]] char delimiter() const noexcept { return delimiter_; }
    // Of a list; nothing for a file.
    [[nodiscard]] std::optional<std::uint64_t> total() const noexcept {
        if (in_) return std::nullopt;
        return list_.size();
    }

    // How many there are in a file, from the first on, without taking them; nothing where it can be read once only.
    task<std::optional<std::uint64_t>> count() const {
        struct stat about{};
        if (!in_ || ::fstat(in_->fd(), &about) != 0 || !S_ISREG(about.st_mode)) co_return std::nullopt;
        const auto all = [this] { return count_delimiters(); };
        co_return co_await blocking(all);
    }

private:
    [[nodiscard]] std::uint64_t count_delimiters() const {
        std::vector<char> piece(std::size_t{256} << 10U);
        std::uint64_t found = 0;
        char last = delimiter_;
        for (off_t at = ::lseek(in_->fd(), 0, SEEK_CUR); at >= 0;) {
            const ssize_t got = ::pread(in_->fd(), piece.data(), piece.size(), at);
            if (got <= 0) break;
            found += static_cast<std::uint64_t>(std::count(piece.begin(), piece.begin() + got, delimiter_));
            last = piece[static_cast<std::size_t>(got) - 1];
            at += got;
        }
        return found + (last != delimiter_ ? 1 : 0);
    }
    // Reads on, where no value ends in what there is. False at the end.
    task<bool> more() {
        if (text_.size() - at_ > longest_item)
            throw std::runtime_error(fmt::format("{}: an item is longer than {} MiB{}", name_, longest_item >> 20U,
                                                 delimiter_ == '\0' ? "; -0 expects a NUL byte behind each" : ""));
        text_.erase(0, at_);
        at_ = 0;
        scanned_ = text_.size();
        if (ended_) co_return false;
        co_return co_await read();
    }
    task<bool> read() {
        constexpr std::size_t piece_bytes = std::size_t{64} << 10U;
        const std::size_t had = text_.size();
        text_.resize(had + piece_bytes);
        auto got = co_await in_->read_some({text_.data() + had, piece_bytes});
        if (!got) throw std::system_error(got.error(), "cannot read " + name_);
        text_.resize(had + *got);
        ended_ = *got == 0;
        co_return !ended_;
    }

    parts list_;
    std::optional<io::pipe_reader> in_;
    std::string name_;
    char delimiter_;
    std::string text_;         // what was read of the file
    std::size_t at_ = 0;       // of the next value, in the list or the text
    std::size_t scanned_ = 0;  // in the text: no value ends between `at_` and here
    bool ended_ = false;
};

// Cuts a value into parts, as --colsep says.
class column_cutter {
public:
    explicit column_cutter(const std::string& mark) {
        if (mark.empty()) return;
        RE2::Options options;
        options.set_log_errors(false);
        options.set_encoding(RE2::Options::EncodingLatin1);  // items are bytes
        mark_ = std::make_unique<const RE2>(mark, options);
        if (!mark_->ok()) throw std::invalid_argument(fmt::format("`{}`: {}", mark, mark_->error()));
    }
    void cut(std::string value, parts& into) const {
        if (!mark_) return into.push_back(std::move(value));
        const std::string_view text = value;
        std::size_t begin = 0;
        for (std::size_t from = 0; from <= text.size();) {
            re2::StringPiece found;
            if (!mark_->Match({text.data(), text.size()}, from, text.size(), RE2::UNANCHORED, &found, 1)) break;
            const auto at = static_cast<std::size_t>(found.data() - text.data());
            from = at + std::max<std::size_t>(found.size(), 1);
            if (found.empty()) continue;  // it marks nothing
            into.emplace_back(text.substr(begin, at - begin));
            begin = at + found.size();
        }
        into.emplace_back(text.substr(begin));
    }

private:
    std::unique_ptr<const RE2> mark_;
};

// Sources whose values go with one another, one to one.
struct linked_group {
    std::vector<value_reader> sources;
    std::vector<parts> rows;  // what they gave, once it was read
};

class item_source final : public source {
public:
    item_source(std::vector<value_source> values, item_rules rules)
        : rules_(std::move(rules)), columns_(rules_.column_mark) {
        for (value_source& each : values) {
            if (groups_.empty() || (!rules_.link && !each.linked)) groups_.emplace_back();
            groups_.back().sources.emplace_back(std::move(each), rules_.delimiter);
        }
        streams_ = groups_.front().sources.size() == 1 && !rules_.shuffle;
        if (streams_ && groups_.size() == 1) know_total(groups_.front().sources.front().total());
    }

    task<> run(source_output& out) override {
        if (rules_.blocks) co_return co_await run_blocks(out);
        for (std::size_t each = streams_ ? 1 : 0; each < groups_.size(); ++each) co_await load(groups_[each]);
        if (rules_.shuffle) {
            co_await run_shuffled(out);
        } else {
            if (streams_) co_await run_streaming(out);
            else co_await run_loaded(out);
            if (in_begun_ > 0) co_await emit(std::move(begun_), out);
        }
    }
    [[nodiscard]] std::optional<std::uint64_t> total() const noexcept override {
        const std::uint64_t known = total_.load(std::memory_order_relaxed);  // a figure by itself
        if (known == unknown) return std::nullopt;
        return known;
    }

private:
    static constexpr std::uint64_t unknown = ~std::uint64_t{0};

    void know_total(std::optional<std::uint64_t> combinations) {
        if (combinations) total_ = (*combinations + rules_.per_item - 1) / rules_.per_item;
    }

    task<> load(linked_group& group) {
        std::vector<std::vector<std::string>> columns;
        std::size_t shortest = ~std::size_t{0};
        std::size_t longest = 0;
        for (value_reader& each : group.sources) {
            auto& all = columns.emplace_back();
            while (auto value = co_await each.next()) all.push_back(std::move(*value));
            shortest = std::min(shortest, all.size());
            longest = std::max(longest, all.size());
        }
        // With --link the shorter ones begin anew; one that has nothing gives nothing to go with.
        const std::size_t rows = rules_.link && shortest > 0 ? longest : shortest;
        for (std::size_t row = 0; row < rows; ++row) {
            parts& into = group.rows.emplace_back();
            for (const auto& each : columns) columns_.cut(each[row % each.size()], into);
        }
    }

    // Of the groups from `first` on.
    [[nodiscard]] std::uint64_t combinations(std::size_t first) const {
        std::uint64_t product = 1;
        for (std::size_t each = first; each < groups_.size(); ++each)
            if (__builtin_mul_overflow(product, groups_[each].rows.size(), &product))
                throw std::runtime_error("the sources have more combinations than can be counted");
        return product;
    }
    std::uint64_t know_combinations(std::size_t first) {
        const std::uint64_t all = combinations(first);
        know_total(all);
        return all;
    }
    // The one with this number, the last group's rows changing fastest.
    [[nodiscard]] parts combination(std::size_t first, std::uint64_t number, parts so_far = {}) const {
        std::uint64_t of_rest = combinations(first);
        for (std::size_t each = first; each < groups_.size(); ++each) {
            const auto& rows = groups_[each].rows;
            of_rest /= rows.size();
            const parts& row = rows[number / of_rest];
            number %= of_rest;
            so_far.insert(so_far.end(), row.begin(), row.end());
        }
        return so_far;
    }

    task<> run_streaming(source_output& out) {
        value_reader& from = groups_.front().sources.front();
        const std::uint64_t each_has = combinations(1);
        std::optional<std::uint64_t> values = from.total();
        if (!values && rules_.count_ahead) values = co_await from.count();
        if (values) know_total(*values * each_has);
        std::uint64_t seen = 0;
        for (;; ++seen) {
            auto value = co_await from.next();
            if (!value) break;
            parts first;
            columns_.cut(std::move(*value), first);
            if (groups_.size() == 1) {
                co_await add(std::move(first), out);
                continue;
            }
            for (std::uint64_t number = 0; number < each_has; ++number) {
                parts whole = combination(1, number, first);
                co_await add(std::move(whole), out);
            }
        }
        know_total(seen * each_has);
    }
    task<> run_blocks(source_output& out) {
        value_reader& from = groups_.front().sources.front();
        while (auto block = co_await from.next_block(rules_.blocks->items())) {
            if (block->text.size() > most_in_block) {
                co_await emit_each(std::move(*block), from.delimiter(), out);
                continue;
            }
            payload next(std::move(*block));
            co_await out.emit(std::move(next));
        }
    }
    // Large items go by themselves: they cost so much that it does not matter, and memory may be short.
    task<> emit_each(each_block block, char delimiter, source_output& out) {
        std::size_t at = 0;
        for (; block.count > 1; --block.count) {
            const std::size_t end = block.text.find(delimiter, at);
            parts one;
            one.push_back(block.text.substr(at, end - at));
            co_await emit(std::move(one), out);
            at = end + 1;
        }
        block.text.pop_back();
        block.text.erase(0, at);
        parts last;
        last.push_back(std::move(block.text));
        co_await emit(std::move(last), out);
    }
    task<> run_loaded(source_output& out) {
        const std::uint64_t all = know_combinations(0);
        for (std::uint64_t number = 0; number < all; ++number) {
            parts whole = combination(0, number);
            co_await add(std::move(whole), out);
        }
    }

    task<> run_shuffled(source_output& out) {
        std::vector<parts> all;
        for (std::uint64_t number = 0, end = know_combinations(0); number < end; ++number) {
            if (number % rules_.per_item == 0) all.emplace_back();
            for (std::string& each : combination(0, number)) all.back().push_back(std::move(each));
        }
        std::random_device seed;
        std::mt19937_64 random((std::uint64_t{seed()} << 32U) | seed());
        std::shuffle(all.begin(), all.end(), random);
        for (parts& each : all) co_await emit(std::move(each), out);
    }

    task<> add(parts combination, source_output& out) {
        if (rules_.per_item == 1) co_return co_await emit(std::move(combination), out);
        for (std::string& each : combination) begun_.push_back(std::move(each));
        if (++in_begun_ < rules_.per_item) co_return;
        in_begun_ = 0;
        parts item = std::exchange(begun_, {});
        co_await emit(std::move(item), out);
    }
    static task<> emit(parts item, source_output& out) {
        payload next(each_item(std::move(item)));
        co_await out.emit(std::move(next));
    }

    item_rules rules_;
    column_cutter columns_;
    std::vector<linked_group> groups_;
    bool streams_ = false;      // the first group is one source, read as items are taken
    parts begun_;               // an item that may get more combinations
    std::size_t in_begun_ = 0;  // combinations in it
    std::atomic<std::uint64_t> total_{unknown};
};

}  // namespace

std::string short_name(const std::string& item) {
    if (item.size() <= longest_name) return printable(item);
    return printable(std::string_view(item).substr(0, longest_name)) + "…";
}

std::string each_item::text() const { return joined(parts); }
std::string each_item::name() const { return block ? block_name(block->number) : short_name(text()); }
record each_item::to_record() {
    record kept(block ? std::move(block->text) : text());
    if (block) kept.key = block_name(block->number);
    if (parts.size() > 1)
        for (std::size_t each = 0; each < parts.size(); ++each)
            kept.set_attribute(std::to_string(each + 1), std::move(parts[each]));
    if (!failed) return kept;
    kept.set_attribute("exit_value", std::to_string(failed->exit_value));
    kept.set_attribute("signal", std::to_string(failed->signal));
    kept.set_attribute("stderr", std::move(failed->err));
    return kept;
}
std::string each_block::name() const {
    const std::string first = short_name(text.substr(0, text.find_first_of(std::string_view("\n\0", 2))));
    return count == 1 ? first : fmt::format("{} and {} more", first, count - 1);
}

bool block_pace::took(std::size_t items, std::chrono::nanoseconds time) noexcept {
    using namespace std::chrono_literals;
    std::size_t now = items_.load(std::memory_order_relaxed);
    if (items < now) return false;  // it says nothing of one as large
    std::size_t next = now;
    if (time < 4ms) next = std::min(2 * now, most_);
    else if (time > 16ms) next = std::max<std::size_t>(now / 2, 1);
    return next != now && items_.compare_exchange_strong(now, next, std::memory_order_relaxed);
}

std::string each_result::text() const { return joined(parts); }
std::string each_result::name() const { return parts.empty() ? block_name(number) : short_name(text()); }

std::shared_ptr<source> items_of(std::vector<value_source> values, item_rules rules) {
    return std::make_shared<item_source>(std::move(values), std::move(rules));
}

}  // namespace leat::cli
