// leat list: what kinds of sources, stages and sinks there are.
#include <cli/commands/commands.hpp>

#include <fmt/format.h>

#include <leat/flow/component.hpp>

namespace leat::cli {

exit_code execute(const list_arguments& command, closed_streams closed) {
    registry kinds;
    add_builtin_kinds(kinds);
    if (command.kind.empty())
        return print_text(list_kinds(kinds) + "\n`leat list KIND` shows a kind with all its options.\n", closed);
    std::string text;
    for (const auto role : {component_role::source, component_role::stage, component_role::sink})
        if (const component* const kind = kinds.find(role, command.kind))
            text += (text.empty() ? "" : "\n") + describe_kind(*kind);
    if (text.empty())
        throw usage_error(fmt::format("list: found `{}`, which is no kind; `leat list` shows them all", command.kind));
    return print_text(text, closed);
}

}  // namespace leat::cli
