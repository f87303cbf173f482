#include <flow/shell_text.hpp>

#include <algorithm>
#include <array>

namespace leat {

namespace {

using namespace std::string_view_literals;

constexpr std::array posix_shells{"sh"sv,    "bash"sv, "dash"sv, "zsh"sv,  "ksh"sv,
                                  "ksh93"sv, "mksh"sv, "ash"sv,  "rbash"sv};
constexpr std::array other_shells{"fish"sv, "csh"sv, "tcsh"sv};
// Programs that run the command which their later arguments are.
constexpr std::array runners{"env"sv,     "nice"sv,        "nohup"sv,  "timeout"sv, "sudo"sv,   "doas"sv,
                             "setsid"sv,  "stdbuf"sv,      "chroot"sv, "time"sv,    "ionice"sv, "taskset"sv,
                             "chrt"sv,    "flock"sv,       "xargs"sv,  "unshare"sv, "strace"sv, "chpst"sv,
                             "prlimit"sv, "systemd-run"sv, "busybox"sv};
// Options of shells whose value is the next argument.
constexpr std::array valued{"-o"sv, "+o"sv, "-O"sv, "+O"sv, "--rcfile"sv, "--init-file"sv};

template <class List>
bool among(const List& list, std::string_view name) {
    return std::find(list.begin(), list.end(), name) != list.end();
}

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// The place of the text after `-c` for a shell at `shell`; nothing when it has no -c.
std::optional<std::size_t> text_of(const std::vector<std::string>& argv, std::size_t shell) {
    bool command = false;
    std::size_t at = shell + 1;
    for (; at < argv.size(); ++at) {
        const std::string_view each = argv[at];
        if (each == "--" || each == "-") {
            ++at;
            break;
        }
        if (each.size() < 2 || (each[0] != '-' && each[0] != '+')) break;
        if (each.starts_with("--command")) command = true;
        if (each.starts_with("--") || each[0] == '+') {
            if (among(valued, each)) ++at;
            continue;
        }
        command |= each.find('c') != std::string_view::npos;
        if (each.back() == 'o' || each.back() == 'O') ++at;  // -o pipefail, -eo pipefail
    }
    if (!command) return std::nullopt;
    return std::min(at, argv.size());
}

}  // namespace

std::optional<shell_use> find_shell_text(const std::vector<std::string>& argv) {
    if (argv.empty()) return std::nullopt;
    const std::size_t last = among(runners, base_name(argv[0])) ? argv.size() : 1;
    for (std::size_t at = 0; at < last; ++at) {
        const std::string_view name = base_name(argv[at]);
        const bool posix = among(posix_shells, name);
        if (!posix && !among(other_shells, name)) continue;
        if (auto text = text_of(argv, at)) return shell_use{argv[at], *text, posix};
    }
    return std::nullopt;
}

std::optional<std::string_view> problem_with_quoting_at(std::string_view text, std::size_t place) {
    enum class state : unsigned char { plain, single, twofold, comment } now = state::plain;
    bool backtick = false;
    for (std::size_t at = 0; at < place; ++at) {
        const char next = text[at];
        switch (now) {
            case state::single:
                if (next == '\'') now = state::plain;
                continue;
            case state::twofold:
                if (next == '\\') ++at;
                else if (next == '"') now = state::plain;
                continue;
            case state::comment:
                if (next == '\n') now = state::plain;
                continue;
            case state::plain:
                break;
        }
        if (next == '\\') {
            if (++at == place) return "after a backslash";
        } else if (next == '\'') {
            now = state::single;
        } else if (next == '"') {
            now = state::twofold;
        } else if (next == '`') {
            backtick = !backtick;
        } else if (next == '#' && (at == 0 || " \t\n;&|("sv.find(text[at - 1]) != std::string_view::npos)) {
            now = state::comment;
        }
    }
    // What a here-document or an arithmetic expression holds is read as if it stood in double quotes; and finding where
    // such a thing ends takes a parser.
    for (std::size_t at = 0; (at = text.substr(0, place).find("<<", at)) != std::string_view::npos;) {
        if (text.substr(at, 3) != "<<<") return "after a here-document";
        at += 3;
    }
    if (now == state::single) return "inside single quotes";
    if (now == state::twofold) return "inside double quotes";
    if (now == state::comment) return "in a comment";
    if (backtick) return "inside backquotes";
    if (place > 0 && text[place - 1] == '$') return "after a $";
    const auto before = text.substr(0, place);
    if (before.find("((") != std::string_view::npos || before.find("$[") != std::string_view::npos)
        return "after an arithmetic expression";
    if (before.find("$'") != std::string_view::npos) return "after a $'…'";
    if (before.find("${") != std::string_view::npos) return "after a ${…}";
    return std::nullopt;
}

std::string single_quoted(std::string_view word) {
    std::string quoted = "'";
    for (const char each : word) {
        if (each == '\'') quoted += "'\\''";
        else quoted += each;
    }
    quoted += '\'';
    return quoted;
}

}  // namespace leat
