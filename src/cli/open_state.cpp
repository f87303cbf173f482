#include <cli/open_state.hpp>

#include <cli/arguments.hpp>
#include <cli/load_flow.hpp>
#include <filesystem>
#include <fmt/format.h>

namespace leat::cli {

std::unique_ptr<journal> open_state(const std::string& state) {
    try {
        return open_journal(state);
    } catch (const journal_refused& no) {
        throw usage_error(no.what());
    }
}

std::string state_of(const std::string& place, const char* command) {
    std::error_code ignored;
    if (std::filesystem::is_directory(place, ignored)) return place;
    registry kinds;
    add_builtin_kinds(kinds);
    auto file = load_flow_file(place, kinds);
    if (!file) throw usage_error(fmt::format("{}: {}", command, file.error().to_text()));
    if (file->description.state.empty())
        throw usage_error(fmt::format("{}: '{}' keeps no journal: it has no state = \"…\" in [flow]", command, place));
    return file->description.state;
}

}  // namespace leat::cli
