// The items of `leat each` and where they come from; what a command made of one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <leat/flow/stage.hpp>
#include <leat/io/unique_fd.hpp>
#include <leat/process/spool.hpp>

namespace leat::cli {

struct each_item {
    explicit each_item(std::string content) : text(std::move(content)) {}
    [[nodiscard]] std::size_t weight() const noexcept { return sizeof(each_item) + text.capacity(); }
    [[nodiscard]] std::string name() const;  // short, and fit to be shown

    std::string text;
    unsigned attempts = 0;  // begun so far
};

struct each_result {
    [[nodiscard]] std::size_t weight() const noexcept {
        return sizeof(each_result) + item.capacity() + out.memory().size() + err.capacity();
    }
    [[nodiscard]] std::string name() const;

    std::string item;
    spool out;            // standard output
    std::string err;      // standard error
    std::string failure;  // why the item failed, for good; empty: it did not
};

// The items given on the command line.
std::shared_ptr<source> items_in_list(std::vector<std::string> items);
// Those read from `file`, each ended by `delimiter`; the last one need not be. `name` is the file's, for messages.
std::shared_ptr<source> items_in_file(io::unique_fd file, char delimiter, std::string name);

}  // namespace leat::cli
