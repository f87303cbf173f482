// flow_file: a flow as written in TOML, checked against the kinds of a registry and made into a graph that can run.
//
//   auto file = leat::load_flow_file("licences.toml", kinds);
//   if (!file) { print(file.error().to_text()); return 2; }
//   leat::flow_options options = leat::prepare_flow(*file);
//   leat::report done = co_await leat::run_flow(std::move(file->graph), options);
//
// Paths in a flow file are relative to the current directory.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <leat/base/expected.hpp>
#include <leat/flow/component.hpp>
#include <leat/flow/run_flow.hpp>

namespace leat {

struct flow_file_error {
    std::string file;
    unsigned line = 0;  // from 1; 0: of the file as a whole
    unsigned column = 0;
    std::string message;  // what was wrong, what was found, what was expected, and what may have been meant

    // "flow.toml:12:1: unknown key …"
    [[nodiscard]] std::string to_text() const;
};

struct flow_file_errors {
    static constexpr std::size_t most = 20;
    std::vector<flow_file_error> all;  // by place; at most `most`
    std::size_t left_out = 0;
    // A line an error, each ended.
    [[nodiscard]] std::string to_text() const;
};

// A source, stage or sink as the file has it.
struct described_component {
    std::string name;
    const component* kind = nullptr;  // of the registry, which must outlive this
    option_values options;
    stage_policy policy;  // not of a source
    unsigned line = 0;
};

struct flow_description {
    std::string name;
    std::string state;  // a directory; empty: none
    order ordered = order::input;
    std::size_t window = 0;
    std::size_t most_bytes = 0;
    std::chrono::nanoseconds drain_timeout{0};
    double retry_share = 0;
    std::vector<std::pair<std::string, unsigned>> pools;
    std::vector<described_component> sources;
    std::vector<described_component> stages;  // each behind those that it takes from
    std::vector<described_component> sinks;
};

struct flow_file {
    flow_description description;
    flow_graph graph;
};

// Where the flow's journal and dead letters will be: in its state directory, if it has one, or in a place that the file does not
// name, as in an engine; then what wants a state directory is no mistake.
enum class journal_place : unsigned char { in_state, elsewhere };

// Reads and checks a flow file, and makes its components. Runs nothing: no file but `path` is touched. Never throws for
// what is in the file: all mistakes found are in the error.
[[nodiscard]] expected<flow_file, flow_file_errors> load_flow_file(const std::string& path, const registry& kinds,
                                                                   journal_place kept = journal_place::in_state);
// The same for its text; `name` stands for the file in messages.
[[nodiscard]] expected<flow_file, flow_file_errors> parse_flow_file(std::string_view text, const std::string& name,
                                                                    const registry& kinds,
                                                                    journal_place kept = journal_place::in_state);

// What the flow does, for who compares runs: a line for each component and one for each option that has a part in what
// comes out; not how many do it, nor how often they try.
[[nodiscard]] std::string flow_text(const flow_description& flow);
// What differs between two such texts, a sentence each: "stage 'upper': exec was …, and is …".
[[nodiscard]] std::vector<std::string> flow_changes(const std::string& before, const std::string& now);

// What run_flow needs besides the graph: the window, and with a journal (open_journal() of the state directory), that.
// Without one dead letters are kept in a file of the state directory, which is made when it is not there: throws
// std::runtime_error when that cannot be written to.
[[nodiscard]] flow_options prepare_flow(const flow_file& file, journal* kept = nullptr,
                                        journal_mode mode = journal_mode::fresh);

}  // namespace leat
