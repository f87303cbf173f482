#include <flow/kinds/glob_walk.hpp>

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fnmatch.h>
#include <memory>
#include <sys/stat.h>
#include <system_error>
#include <utility>

namespace leat {

namespace {

struct close_directory {
    void operator()(DIR* open) const noexcept { ::closedir(open); }
};

// What a path leads to, links followed; DT_UNKNOWN when to nothing.
unsigned char followed(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return DT_UNKNOWN;
    return static_cast<unsigned char>(IFTODT(status.st_mode));
}

}  // namespace

glob_walk::glob_walk(const std::string& pattern) {
    if (pattern.starts_with('/')) start_ = "/";
    for (std::size_t at = 0; at < pattern.size();) {
        const std::size_t end = std::min(pattern.find('/', at), pattern.size());
        component part;
        part.text = pattern.substr(at, end - at);
        part.any_depth = part.text == "**";
        part.literal = part.text.find_first_of("*?[\\") == std::string::npos;
        const bool again = part.any_depth && !components_.empty() && components_.back().any_depth;
        if (!part.text.empty() && !again) components_.push_back(std::move(part));
        at = end + 1;
    }
}

// With the components behind a ** that may stand for nothing.
std::vector<std::size_t> glob_walk::closure(std::vector<std::size_t> expects) const {
    for (std::size_t i = 0; i < expects.size(); ++i)
        if (components_[expects[i]].any_depth && expects[i] + 1 < components_.size()) expects.push_back(expects[i] + 1);
    std::sort(expects.begin(), expects.end());
    expects.erase(std::unique(expects.begin(), expects.end()), expects.end());
    return expects;
}

void glob_walk::enter(std::string folder, std::vector<std::size_t> expects) {
    level fresh;
    fresh.folder = std::move(folder);
    fresh.expects = closure(std::move(expects));
    const bool by_name = std::all_of(fresh.expects.begin(), fresh.expects.end(),
                                     [this](std::size_t each) { return components_[each].literal; });
    if (by_name) {  // no need to read the directory
        for (const std::size_t each : fresh.expects) fresh.entries.push_back({components_[each].text, DT_UNKNOWN});
    } else {
        const std::unique_ptr<DIR, close_directory> open(::opendir(fresh.folder.empty() ? "." : fresh.folder.c_str()));
        const auto fail = [&] {
            throw std::system_error(errno, std::system_category(),
                                    "cannot read directory '" + (fresh.folder.empty() ? "." : fresh.folder) + "'");
        };
        if (open == nullptr && errno != ENOENT && errno != ENOTDIR) fail();
        while (open != nullptr) {
            errno = 0;
            const dirent* each = ::readdir(open.get());
            if (each == nullptr && errno != 0) fail();
            if (each == nullptr) break;
            const std::string_view name = each->d_name;
            if (name != "." && name != "..") fresh.entries.push_back({std::string(name), each->d_type});
        }
    }
    std::sort(fresh.entries.begin(), fresh.entries.end(),
              [](const entry& a, const entry& b) { return a.name < b.name; });
    levels_.push_back(std::move(fresh));
}

void glob_walk::visit(const level& where, const entry& each, std::vector<std::string>& found) {
    std::string path = where.folder + each.name;
    const bool hidden = each.name.starts_with('.');
    bool file_wanted = false;
    bool deep = false;  // a ** would go on below
    std::vector<std::size_t> below;
    for (const std::size_t expected : where.expects) {
        const component& part = components_[expected];
        const bool last = expected + 1 == components_.size();
        if (part.any_depth) {
            if (hidden) continue;
            file_wanted |= last;
            deep = true;
            below.push_back(expected);
        } else if (part.literal ? part.text == each.name
                                : ::fnmatch(part.text.c_str(), each.name.c_str(), FNM_PERIOD) == 0) {
            if (last) file_wanted = true;
            else below.push_back(expected + 1);
        }
    }
    if (!file_wanted && below.empty()) return;
    unsigned char type = each.type;
    if (type == DT_LNK || type == DT_UNKNOWN) {
        struct stat status{};
        type = followed(path);
        const auto is_link = [&] {
            return each.type == DT_LNK || (::lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode));
        };
        if (deep && is_link()) std::erase_if(below, [this](std::size_t next) { return components_[next].any_depth; });
    }
    if (type == DT_REG && file_wanted) found.push_back(std::move(path));
    else if (type == DT_DIR && !below.empty()) enter(path + "/", std::move(below));
}

bool glob_walk::next(std::vector<std::string>& found, std::size_t most) {
    if (!std::exchange(started_, true) && !components_.empty()) enter(start_, {0});
    while (found.size() < most && !levels_.empty()) {
        level& top = levels_.back();
        if (top.at == top.entries.size()) {
            levels_.pop_back();
            continue;
        }
        const entry each = std::move(top.entries[top.at++]);
        // visit() may add a level, which may move this one: what it needs is taken first.
        const level where{top.folder, top.expects, {}, 0};
        visit(where, each, found);
    }
    return !levels_.empty();
}

}  // namespace leat
