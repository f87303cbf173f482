// value_file: a value that a file says, read again whenever it is asked for: -j FILE, --load FILE.
#pragma once

#include <cli/arguments.hpp>
#include <cli/screen.hpp>
#include <fmt/format.h>
#include <fstream>
#include <string>
#include <utility>

namespace leat::cli {

// Not thread-safe.
template <class Value>
class value_file {
public:
    // Throws usage_error when the file cannot be read or does not hold what `parse` takes, which throws one as well. `messages`
    // must outlive it.
    value_file(std::string path, Value (*parse)(const std::string&), screen& messages)
        : path_(std::move(path)), parse_(parse), screen_(messages), last_(read()) {}

    // What the file says; while that is nothing good, what it said before, with one message.
    Value operator()() {
        try {
            last_ = read();
            told_ = false;
        } catch (const usage_error& problem) {
            if (!std::exchange(told_, true))
                screen_.print(fmt::format("leat: {}: {}; going on with {}\n", path_, problem.what(), last_));
        }
        return last_;
    }

private:
    Value read() const {
        std::ifstream file(path_);
        std::string word;
        if (!(file >> word)) throw usage_error(fmt::format("nothing can be read in `{}`", path_));
        return parse_(word);
    }

    std::string path_;
    Value (*parse_)(const std::string&);
    screen& screen_;
    Value last_;
    bool told_ = false;
};

}  // namespace leat::cli
