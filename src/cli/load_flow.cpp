#include <cli/load_flow.hpp>

#include <fmt/format.h>

#include <leat/process/spawn.hpp>

namespace leat::cli {

expected<flow_file, std::string> load_flow(const std::string& path, const registry& kinds, journal_place kept) {
    auto file = load_flow_file(path, kinds, kept);
    if (!file) return unexpected(file.error().to_text());
    std::string missing;
    for (const described_component& each : file->description.stages) {
        if (each.kind->name != "exec") continue;
        const std::string& command = each.options.list("exec").front();
        if (command.find('{') != std::string::npos) continue;  // it depends on the item
        const std::string directory = each.options.has("directory") ? each.options.text("directory") : std::string();
        if (const auto found = find_program(command, program_path(), directory); !found)
            missing +=
                fmt::format("{}:{}: exec of stage '{}': {}\n", path, each.line, each.name, found.error().message);
    }
    if (!missing.empty()) return unexpected(std::move(missing));
    return std::move(*file);
}

}  // namespace leat::cli
