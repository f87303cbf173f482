// The blocks of `leat each --pipe`: an input cut at the ends of records; each is what one command reads.
#pragma once

#include <cli/each_items.hpp>
#include <string>
#include <vector>

namespace leat::cli {

// A record ends behind `record_end` where `record_start` follows; with neither, anywhere.
struct block_rules {
    std::size_t bytes = std::size_t{1} << 20U;  // of a block, at most; but it has a whole record at least
    std::uint64_t records = 0;                  // so many to a block, however long; 0: as many as there is room for
    std::string record_end = "\n";
    std::string record_start;
};

// Items with a block each, in order; together they are what the files hold, one behind the other, and nothing is left out.
// In memory is one block, and what was read of the next. A record may be longer than a block, but not longer than 1 GiB.
std::shared_ptr<source> blocks_of(std::vector<value_source> files, block_rules rules);

}  // namespace leat::cli
