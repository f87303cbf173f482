// glob_walk: the files whose paths match a pattern, in order, found bit by bit. Used by the kind `glob`.
//
// `*`, `?` and `[…]` match within a name, `**` any number of directories (none included). A name that begins with a dot is
// matched by a pattern that begins with a dot only. Files alone are found; a link to a file counts as one. `**` does not
// enter links to directories, so there are no cycles.
// Invariants:
//  1. Paths come in the order of their names, directory by directory; each path once.
//  2. What is held is the names of the directories on the way, not the whole tree.
#pragma once

#include <string>
#include <vector>

namespace leat {

class glob_walk {
public:
    explicit glob_walk(const std::string& pattern);

    // Appends at most `most` further paths; false when there are no more. Blocks. Throws std::system_error, with the path,
    // for a directory that cannot be read; one that is not there has no files.
    bool next(std::vector<std::string>& found, std::size_t most);

private:
    struct component {
        std::string text;
        bool any_depth = false;  // **
        bool literal = true;
    };
    struct entry {
        std::string name;
        unsigned char type;  // d_type
    };
    // A directory on the way, and the components that its entries may match.
    struct level {
        std::string folder;  // ends in '/' or is empty
        std::vector<std::size_t> expects;
        std::vector<entry> entries;  // sorted
        std::size_t at = 0;
    };

    void enter(std::string folder, std::vector<std::size_t> expects);
    void visit(const level& where, const entry& each, std::vector<std::string>& found);
    std::vector<std::size_t> closure(std::vector<std::size_t> expects) const;

    std::string start_;
    std::vector<component> components_;
    std::vector<level> levels_;
    bool started_ = false;
};

}  // namespace leat
