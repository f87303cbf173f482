// The record beside an archive that is being written: how far it is certain.
//
// It is replaced as a whole, and only after what it speaks of has reached the disk. So whatever a run was interrupted by, the
// archive holds at least what the record says; a run that goes on cuts off the rest and begins at the entry behind.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "format.hpp"

namespace archive {

struct progress {
    std::uint64_t length = 0;    // of the archive, in bytes
    hash128 content;             // of these bytes
    std::uint64_t visited = 0;   // so many of the files found are done
    std::uint64_t names = 0;     // hash of their names, so that files which came or went in between are noticed
    std::uint64_t problems = 0;  // that were told of
    std::int32_t level = 0;      // of compression

    // That of no run at all is nothing. Throws `damaged` for a record that is none.
    static std::optional<progress> load(const std::string& path);
    // On the disk when it returns.
    void save(const std::string& path) const;
};

}  // namespace archive
