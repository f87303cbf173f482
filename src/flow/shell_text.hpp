// Where a command hands text to a shell, and at which places of such a text a quoted word can stand. Of command_template.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace leat {

// A shell's -c among the arguments of a command.
struct shell_use {
    std::string shell;  // as the command names it
    std::size_t text;   // the argument that is the shell's text; argv.size() when the command ends before it
    bool posix;         // its single quotes are those of POSIX: all between them is literal
};

// The first `SHELL … -c` that a command leads to: the command itself is a shell, or one is started by env, nice, timeout and
// other programs that run what their arguments say.
std::optional<shell_use> find_shell_text(const std::vector<std::string>& argv);

// Why a word in single quotes would not be read as one at `place` of a POSIX shell's text: "inside double quotes", …;
// nothing when it would. Cautious: it also says no where only a full parser of the shell could know.
std::optional<std::string_view> problem_with_quoting_at(std::string_view text, std::size_t place);

// `word` in single quotes.
std::string single_quoted(std::string_view word);

}  // namespace leat
