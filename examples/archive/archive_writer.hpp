// An archive while it is written: NAME.part, to which is only ever added, and beside it NAME.progress, the record of how far it
// is certain. When it is done, the first becomes NAME and the second goes.
//
// One line at a time uses it. What fails throws std::system_error, and leaves both files for a run that goes on.
#pragma once

#include <string>

#include <leat/io/unique_fd.hpp>

#include "body.hpp"
#include "progress.hpp"

namespace archive {

class archive_writer {
public:
    static std::string part_of(const std::string& path) { return path + ".part"; }
    static std::string record_of(const std::string& path) { return path + ".progress"; }

    // Begins an archive, which must not be there; with `resume`, goes on with one where its record says. Throws
    // std::runtime_error when it is there, when another run writes it, or when it does not hold what its record says.
    archive_writer(std::string path, bool resume, int level);

    // What a run that goes on has found: where it is to begin, and the chunks that are there.
    [[nodiscard]] const progress& found() const noexcept { return certain_; }
    [[nodiscard]] const std::vector<chunk>& chunks() const noexcept { return body_.chunks; }

    // The next chunk: its content's name and length, and the content compressed.
    void add_chunk(hash128 name, std::size_t size, std::string_view stored);
    void add_entry(const entry& what);
    // What was added is on the disk when this returns, and will not be done again.
    void save(std::uint64_t visited, std::uint64_t names, std::uint64_t problems);
    // So many bytes were added since.
    [[nodiscard]] std::uint64_t uncertain_bytes() const noexcept { return body_.length - certain_.length; }
    // The index, and the end. The archive has its name when this returns.
    void finish();
    [[nodiscard]] std::uint64_t length() const noexcept { return body_.length; }

private:
    void go_on();
    void append(std::string_view bytes);
    void flush();

    std::string path_;
    std::string part_;
    std::string record_;
    leat::io::unique_fd file_;
    body body_;           // what the archive holds; what is still in buffer_ is a part of it
    std::string buffer_;  // not yet written
    progress certain_;
};

}  // namespace archive
