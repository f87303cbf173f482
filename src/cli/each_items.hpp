// The items of `leat each` and where they come from; what a command made of one.
#pragma once

#include <atomic>
#include <chrono>
#include <cli/job_log.hpp>
#include <cli/start_gate.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <leat/flow/record.hpp>
#include <leat/flow/stage.hpp>
#include <leat/io/unique_fd.hpp>
#include <leat/process/spool.hpp>

namespace leat::cli {

// What a command is to read, where the input is cut into blocks.
struct input_block {
    input_block(std::string text_, std::uint64_t number_) : text(std::move(text_)), number(number_) {}
    std::string text;
    std::uint64_t number;  // from 1
};

// How the last attempt at an item ended, for its dead letter.
struct failed_attempt {
    failed_attempt(int exit_value_, int signal_, std::string err_)
        : exit_value(exit_value_), signal(signal_), err(std::move(err_)) {}
    int exit_value;  // as in a result
    int signal;
    std::string err;  // the end of standard error
};

struct each_item {
    explicit each_item(std::vector<std::string> from) : parts(std::move(from)) {}
    [[nodiscard]] std::size_t weight() const noexcept {
        std::size_t bytes = sizeof(each_item) + parts.capacity() * sizeof(std::string);
        for (const std::string& each : parts) bytes += each.capacity();
        return bytes + (block ? block->text.capacity() : 0);
    }
    [[nodiscard]] std::string text() const;  // its parts with spaces between them
    [[nodiscard]] std::string name() const;  // short, and fit to be shown
    // What is kept of it when it has failed for good. Moves from it.
    [[nodiscard]] record to_record();

    std::vector<std::string> parts;            // most often one; none where there is a block
    unsigned attempts = 0;                     // begun so far
    std::unique_ptr<input_block> block;        // null: none
    std::unique_ptr<failed_attempt> failed;    // the last that did, where dead letters are kept
    std::shared_ptr<start_gate::place> place;  // null: places are not counted
};

struct each_result {
    [[nodiscard]] std::size_t weight() const noexcept {
        return sizeof(each_result) + parts.size() * sizeof(std::string) + out.memory().size() + err.capacity();
    }
    [[nodiscard]] std::string text() const;
    [[nodiscard]] std::string name() const;

    std::vector<std::string> parts;              // of its item; none: it was a block
    std::uint64_t number = 0;                    // of its item, from 1
    spool out;                                   // standard output
    std::string err;                             // standard error
    std::optional<std::uint64_t> printed_bytes;  // of standard output, where both were printed while it ran
    int exit_value = 0;                          // -1: it did not exit of its own will
    int signal = 0;                              // that killed it
    std::string failure;                         // why the item failed, for good; empty: it did not
    std::optional<job_record> job;               // for the job log
};

// Items that go through the flow together, since each by itself costs more than a quick worker needs for it.
struct each_block {
    [[nodiscard]] std::uint64_t items() const noexcept { return count; }
    [[nodiscard]] std::size_t weight() const noexcept { return sizeof(each_block) + text.capacity(); }
    [[nodiscard]] std::string name() const;  // of the first, and how many follow

    std::string text;  // each with its delimiter
    std::size_t count = 0;
};

struct each_block_result {
    struct failed_item {
        std::string name;     // short, and fit to be shown
        std::string err;      // standard error
        std::string failure;  // why
    };
    [[nodiscard]] std::uint64_t items() const noexcept { return count; }
    [[nodiscard]] std::size_t weight() const noexcept { return sizeof(each_block_result) + out.capacity(); }

    std::string out;  // of all
    std::size_t count = 0;
    std::vector<failed_item> failed;
};

// How many items a block has just now: one to begin with, more while blocks are done within milliseconds.
class block_pace {
public:
    explicit block_pace(std::size_t most) noexcept : most_(most) {}
    [[nodiscard]] std::size_t items() const noexcept { return items_.load(std::memory_order_relaxed); }
    // A block of so many took so long, from when it was given to a worker. Whether items() has changed. Any thread.
    bool took(std::size_t items, std::chrono::nanoseconds time) noexcept;

private:
    std::size_t most_;
    std::atomic<std::size_t> items_{1};  // a figure by itself: relaxed
};

// An item as it is called in messages.
[[nodiscard]] std::string short_name(const std::string& item);

// Where values come from: a list, or a file with a delimiter behind each value, which the last one need not have.
struct value_source {
    std::vector<std::string> list;
    io::unique_fd file;     // nothing: the list
    std::string file_name;  // for messages
    bool linked = false;    // its values go with those of the source before, one to one, not with each of them
};

struct item_rules {
    char delimiter = '\n';
    bool link = false;         // all sources are linked; the values of the shorter ones are taken again
    std::string column_mark;   // a regular expression: each value is cut there into parts; empty: none is
    std::size_t per_item = 1;  // so many combinations make an item; the last may have fewer
    bool shuffle = false;
    bool count_ahead = false;  // a file that can be read twice is, so that the total is known from the start
    // For one file whose values are the items: they come as each_block, in so many as the pace says. Null: as each_item.
    std::shared_ptr<const block_pace> blocks;
};

// Items made of values: one of each source, in every combination, the last source's changing fastest. One source is read as
// the items are taken, and so is the first of several; what else there is, and all that is linked or shuffled, is in memory.
// Throws std::invalid_argument for a column mark that is no regular expression.
std::shared_ptr<source> items_of(std::vector<value_source> values, item_rules rules);

}  // namespace leat::cli
