// The body of an archive, read from its beginning, record by record: how a run that goes on learns what is there, and how it is
// found out how much of a broken archive is whole.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "format.hpp"

namespace archive {

struct body {
    std::uint64_t length = 0;  // of what is whole, the header included
    running_hash hash;         // of as much
    std::vector<chunk> chunks;
    std::uint64_t entries = 0;
    std::string encoded_entries;  // as encode_index() takes them
    bool ends_with_index = false;
};

// Adds an entry to those that the index will have.
void add_entry(body& to, std::string_view encoded_entry);

// Reads records up to `end` or the first that is not whole. `is_good` may say that a chunk, of which it is given the compressed
// bytes, is none.
body read_body(int fd, std::uint64_t end, const std::string& path,
               const std::function<bool(const chunk&, std::string_view)>& is_good = {});

}  // namespace archive
