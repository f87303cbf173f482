// Regular expressions as options: compiled once, when the flow file is read.
#pragma once

#include <memory>

#include <fmt/format.h>
#include <re2/re2.h>

#include <leat/flow/option.hpp>

namespace leat {

inline option encoding_option() {
    return option("encoding", option_type::word, "'latin1' for binary content: each byte is a letter")
        .one_of({"utf8", "latin1"})
        .defaults("utf8");
}

// The expression in option `key`, read as the option `encoding` says. Throws option_error.
inline std::unique_ptr<const RE2> compile(const option_values& given, const std::string& key) {
    RE2::Options options;
    options.set_log_errors(false);
    if (given.text("encoding") == "latin1") options.set_encoding(RE2::Options::EncodingLatin1);
    auto pattern = std::make_unique<const RE2>(given.text(key), options);
    if (!pattern->ok()) throw option_error(key, fmt::format("is no regular expression: {}", pattern->error()));
    return pattern;
}

}  // namespace leat
