// line_tagger: puts a prefix in front of each line of a text that comes in pieces.
#pragma once

#include <string>
#include <string_view>

namespace leat::cli {

class line_tagger {
public:
    explicit line_tagger(std::string prefix) : prefix_(std::move(prefix)) {}
    std::string operator()(std::string_view piece) {
        std::string tagged;
        for (const char each : piece) {
            if (at_start_) tagged += prefix_;
            tagged += each;
            at_start_ = each == '\n';
        }
        return tagged;
    }

private:
    std::string prefix_;
    bool at_start_ = true;
};

}  // namespace leat::cli
