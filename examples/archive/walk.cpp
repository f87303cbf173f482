#include "walk.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include <fmt/format.h>

namespace archive {

namespace fs = std::filesystem;

namespace {

found look_at(std::string path, std::string name) {
    found what;
    if (::lstat(path.c_str(), &what.status) != 0) what.problem = std::strerror(errno);
    what.path = std::move(path);
    what.name = std::move(name);
    return what;
}

bool is_same(const struct stat& one, const struct stat& other) {
    return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

struct listing {
    std::vector<std::string> names;  // sorted
    std::string problem;
};
listing list(const found& folder) {
    listing all;
    std::error_code error;
    for (fs::directory_iterator at(folder.path, error); !error && at != fs::directory_iterator(); at.increment(error))
        all.names.push_back(at->path().filename().string());
    if (error) all.problem = error.message();
    std::sort(all.names.begin(), all.names.end());
    return all;
}

leat::generator<found> walk_from(found top, const struct stat& special, const left_out& never) {
    const bool is_folder = top.problem.empty() && S_ISDIR(top.status.st_mode);
    listing inside;
    if (is_folder) {
        inside = list(top);
        top.problem = inside.problem;
    }
    const found folder = top;
    co_yield std::move(top);
    for (const std::string& name : inside.names) {
        if (is_same(folder.status, special) &&
            std::find(never.names.begin(), never.names.end(), name) != never.names.end())
            continue;
        found each = look_at(folder.path + "/" + name, folder.name.empty() ? name : folder.name + "/" + name);
        co_yield leat::elements_of(walk_from(std::move(each), special, never));
    }
}

}  // namespace

std::vector<start> starts_of(const std::vector<std::string>& paths) {
    std::vector<start> all;
    for (const std::string& path : paths) {
        std::string name = fs::path(path).lexically_normal().relative_path().string();
        while (name.ends_with('/')) name.pop_back();
        if (name == ".") name.clear();
        if (name == ".." || name.starts_with("../"))
            throw std::invalid_argument(fmt::format(
                "'{}' has no name in an archive: change to a folder above it, or give its full path", path));
        all.push_back({path, name});
    }
    std::sort(all.begin(), all.end(), [](const start& a, const start& b) { return a.name < b.name; });
    std::vector<start> kept;
    for (start& each : all) {
        const bool is_inside = std::any_of(kept.begin(), kept.end(), [&](const start& other) {
            return other.name.empty() || each.name == other.name || each.name.starts_with(other.name + "/");
        });
        if (!is_inside) kept.push_back(std::move(each));
    }
    return kept;
}

leat::generator<found> walk(std::vector<start> from, left_out never) {
    struct stat special{};
    if (::stat(never.folder.c_str(), &special) != 0) special = {};
    for (const start& each : from) {
        found top = look_at(each.path, each.name);
        co_yield leat::elements_of(walk_from(std::move(top), special, never));
    }
}

}  // namespace archive
