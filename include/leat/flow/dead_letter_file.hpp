// dead_letter_file: keeps the items that failed for good, one JSON object a line, at the end of a file:
//   {"time":"…Z","flow":…,"stage":…,"attempts":3,"error":…,"sequence":7,"key":…,"attributes":{…},"text":…}
// A value that is not UTF-8 stands in base64 under another name: "base64" for "text", "key_base64" for "key", and so on.
// Letters of earlier runs stay.
#pragma once

#include <string>

#include <leat/flow/run_flow.hpp>

namespace leat {

class dead_letter_file {
public:
    // Opens `path` to append, and makes it and its directory when they are not there. Throws std::system_error.
    dead_letter_file(std::string path, std::string flow);
    dead_letter_file(const dead_letter_file&) = delete;
    dead_letter_file& operator=(const dead_letter_file&) = delete;
    ~dead_letter_file();

    // Appends one letter with one write. Blocks. One caller at a time. Throws std::system_error when it cannot be written
    // whole; what was written of it is cut off again.
    void keep(const dead_letter& letter);
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    std::string path_;
    std::string flow_;
    int fd_ = -1;
};

}  // namespace leat
