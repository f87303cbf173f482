// result_folder: the folder of --results: what each job wrote, in files of its own, where GNU parallel puts them.
//
//   FOLDER/1/ITEM/stdout   stderr   seq        of items of several parts: FOLDER/1/FIRST/2/SECOND/stdout …
//                                              of a block: FOLDER/NUMBER/stdout …
//
// A part is a name there: / is \_, \ is \\, a line feed \n, a NUL byte \0; an empty one is \e, and . and .. are \. and \..; one
// that is too long for a name is cut, and has the number of the item behind it.
#pragma once

#include <cli/each_items.hpp>
#include <string>

namespace leat::cli {

class result_folder {
public:
    // Makes the folder when it is not there. Throws usage_error when it cannot.
    explicit result_folder(std::string path);
    // Replaces what an earlier run left for the item. Blocks. Throws std::system_error. Any thread; several items at once.
    void write(const each_result& result) const;

private:
    std::string path_;
};

}  // namespace leat::cli
