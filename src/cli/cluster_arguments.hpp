// The arguments of the commands that have to do with the cluster; a part of arguments.cpp.
#pragma once

#include <CLI/App.hpp>
#include <cli/arguments.hpp>
#include <optional>
#include <string>

namespace leat::cli {

void add_engine_options(CLI::App& to, run_arguments& run);
void add_engine_options(CLI::App& to, letters_arguments& letters);

class cluster_commands {
public:
    explicit cluster_commands(CLI::App& app);  // adds them
    // What the user asked for, when it is one of them; throws usage_error.
    [[nodiscard]] std::optional<command_line> parsed();

private:
    [[nodiscard]] cluster_init_arguments parsed_init();
    [[nodiscard]] worker_arguments parsed_worker();

    CLI::App& cluster_;
    std::string verb_, days_;
    cluster_init_arguments init_;
    CLI::App& worker_;
    worker_arguments work_;
    std::string drain_timeout_, jobs_;
    CLI::App& status_;
    status_arguments look_;
    CLI::App& drain_;
    drain_arguments drain_what_;
};

}  // namespace leat::cli
