// command_template: an argument vector with GNU parallel's replacement strings, filled in once an item. Used by the kind
// `exec` and by `leat each`.
//
//   {}    the item                            {#}   the number of the item, from 1
//   {.}   without its extension               {%}   the job slot, from 1
//   {/}   without its directories             {1}   its first part, {2} its second; empty when it has fewer
//   {//}  its directory                       {1.} {1/} {1//} {1/.}   as without the number
//   {/.}  without directories and extension
//
// Most items have one part. Of several, {} stands for all: as so many arguments where it is an argument of its own, with spaces
// between them inside another; the others without a number alike.
//
// Invariants:
//  1. An item is put into arguments only: nothing here makes text that a shell reads, but for invariant 2.
//  2. In the text that a shell is given with -c an item is refused, or, when quoting was asked for, stands as one word in
//     single quotes at a place where the shell reads it so.
// Immutable after construction: any thread, several at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace leat {

struct command_template_options {
    command_template_options() = default;
    bool append_item = false;  // where no replacement string occurs, the item becomes the last argument
    bool shell_quote = false;  // in the text of a shell's -c the item is quoted instead of refused
};

class command_template {
public:
    // Throws std::invalid_argument, with a sentence for a person, for an empty vector, an empty or NUL-holding argument
    // zero, and an item in the text of a shell's -c (sh, bash, …; also behind env, nice, timeout and their like).
    explicit command_template(std::vector<std::string> argv, command_template_options options = {});

    // Whether the item is among the arguments; otherwise the command is the same for each item but for {#} and {%}.
    [[nodiscard]] bool takes_item() const noexcept { return takes_item_; }
    // Whether {#} or {%} is among them, so that it differs even for the same item.
    [[nodiscard]] bool takes_number() const noexcept { return takes_number_; }
    // The command, argument zero, when it is the same for all items; empty when a replacement string occurs in it.
    [[nodiscard]] std::string fixed_command() const;

    // The arguments for one item, given by its parts; `number` and `slot` count from 1. Throws permanent_error for an item
    // with a NUL byte, which no argument can hold, when the item is among the arguments.
    [[nodiscard]] std::vector<std::string> fill(std::span<const std::string> parts, std::uint64_t number,
                                                unsigned slot) const;
    [[nodiscard]] std::vector<std::string> fill(std::string_view item, std::uint64_t number, unsigned slot) const {
        const std::string one(item);
        return fill(std::span(&one, 1), number, slot);
    }

private:
    enum class part : unsigned char { text, item, stem, base, folder, base_stem, number, slot };
    struct piece {
        part what = part::text;
        std::string text;
        std::size_t position = 0;  // of the item's part, from 1; 0: all of them
    };
    struct argument {
        std::vector<piece> pieces;
        bool quoted = false;  // the text of a shell: the item goes in quoted
    };
    static argument parse(std::string_view text);
    static bool is_of_item(part what) noexcept { return what >= part::item && what <= part::base_stem; }
    static bool is_all_parts(const argument& which) noexcept {
        return which.pieces.size() == 1 && is_of_item(which.pieces[0].what) && which.pieces[0].position == 0;
    }
    static std::string value_of(const piece& which, std::span<const std::string> parts, bool quoted);
    void check_shell(const std::vector<std::string>& argv, bool shell_quote);

    std::vector<argument> arguments_;
    bool takes_item_ = false;
    bool takes_number_ = false;
};

// The words with spaces between them, those in quotes that a POSIX shell would not read as they are.
[[nodiscard]] std::string shell_line(std::span<const std::string> words);

}  // namespace leat
