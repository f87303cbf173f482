// component: a kind of source, stage or sink as flow files know it: its name, its help, its options, and how one is made.
// The registry holds the kinds that a program knows; it is filled by explicit calls:
//
//   leat::registry kinds;
//   leat::add_builtin_kinds(kinds);
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <leat/flow/option.hpp>
#include <leat/flow/stage.hpp>

namespace leat {

enum class component_role : std::uint8_t { source, stage, sink };
// "source", "stage", "sink".
[[nodiscard]] std::string_view to_string(component_role role) noexcept;

struct component {
    // Makes one from checked values. It touches nothing outside the program (that is for start(), open() and run()), so
    // that a flow file can be checked without being run. Throws option_error.
    using source_maker = std::shared_ptr<source> (*)(const option_values&);
    using stage_maker = std::shared_ptr<stage> (*)(const option_values&);

    component_role role = component_role::stage;
    std::string name;
    std::string summary;  // one line, without a full stop
    std::string help;     // some lines, each ended; may be empty
    std::vector<option> options;
    std::string implied_by;              // the option whose presence makes `type` unnecessary; empty: none
    bool in_processes = false;           // its work is done by processes, wherever the stage is
    source_maker make_source = nullptr;  // of a source
    stage_maker make_stage = nullptr;    // of a stage or a sink
};

// The options that every component of a role has (name, type, jobs, retry, …).
[[nodiscard]] const std::vector<option>& common_options(component_role role);
// The options of the [flow] table of a flow file.
[[nodiscard]] const std::vector<option>& flow_table_options();

class registry {
public:
    // A second kind of the same role and name, or one with an option named as a common one, is a bug.
    void add(component kind);
    // Null when there is none.
    [[nodiscard]] const component* find(component_role role, std::string_view name) const noexcept;
    // All kinds of a role, in the order in which they were added. Valid until the next add().
    [[nodiscard]] std::vector<const component*> of(component_role role) const;

private:
    std::vector<std::unique_ptr<component>> kinds_;
};

// The kinds of this library: glob, lines, read, filter, …
void add_builtin_kinds(registry& kinds);

// For `leat list`: a line a kind, by role.
[[nodiscard]] std::string list_kinds(const registry& kinds);
// For `leat list KIND`: its help and options.
[[nodiscard]] std::string describe_kind(const component& kind);
// All kinds as Markdown: docs/kinds.md.
[[nodiscard]] std::string kinds_as_markdown(const registry& kinds);

}  // namespace leat
