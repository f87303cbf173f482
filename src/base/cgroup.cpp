// Three files describe the place of a process: /proc/self/cgroup (its path in each hierarchy), /proc/self/mountinfo (where
// each hierarchy, or a sub-path of it in a container, is mounted) and, in each directory from there up, the limit itself.
#include "cgroup.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <string_view>

#include "text_file.hpp"

namespace leat {

namespace {

using text_file::cut;
using text_file::number;
using text_file::trimmed;

// One mounted hierarchy.
struct mount {
    bool v2 = false;
    std::string controllers;  // v1: super options, such as "rw,cpu,cpuacct"
    std::string inside;       // the path in the hierarchy that the mount shows at its top
    std::string at;           // mount point
};

bool has_word(std::string_view list, std::string_view word) {
    while (!list.empty())
        if (cut(list, ',') == word) return true;
    return false;
}

// mountinfo writes blanks and backslashes in a path as \040 and the like.
std::string unescaped(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto octal = [&](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
        if (text[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
            plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

// "36 35 0:31 /inside /at rw,relatime shared:1 - cgroup cgroup rw,memory"
std::vector<mount> parse_mounts(std::string_view text) {
    std::vector<mount> mounts;
    while (!text.empty()) {
        auto line = cut(text, '\n');
        const auto dash = line.find(" - ");
        if (dash == std::string_view::npos) continue;
        auto tail = line.substr(dash + 3);
        const auto type = cut(tail, ' ');
        if (type != "cgroup" && type != "cgroup2") continue;
        static_cast<void>(cut(tail, ' '));  // the device
        for (int skipped = 0; skipped < 3; ++skipped) static_cast<void>(cut(line, ' '));
        mount found;
        found.v2 = type == "cgroup2";
        found.controllers = tail;
        found.inside = unescaped(cut(line, ' '));
        found.at = unescaped(cut(line, ' '));
        if (!found.inside.empty() && !found.at.empty()) mounts.push_back(std::move(found));
    }
    return mounts;
}

// The path of this process in the hierarchy of `controller` (v2: ""), from lines such as "4:cpu,cpuacct:/a/b" and "0::/a".
std::optional<std::string> parse_group(std::string_view text, std::string_view controller) {
    while (!text.empty()) {
        auto line = cut(text, '\n');
        static_cast<void>(cut(line, ':'));
        const auto controllers = cut(line, ':');
        if (controller.empty() ? !controllers.empty() : !has_word(controllers, controller)) continue;
        constexpr std::string_view gone = " (deleted)";
        if (line.ends_with(gone)) line.remove_suffix(gone.size());
        if (line.starts_with('/')) return std::string(line);
    }
    return std::nullopt;
}

// What of `group` is below `inside`: "/b" for "/a/b" in "/a". Nothing when it is not below.
std::optional<std::string> below(const std::string& group, const std::string& inside) {
    if (group.find("/..") != std::string::npos) return std::nullopt;  // outside of our cgroup namespace
    if (inside == "/") return group == "/" ? std::string() : group;
    if (!group.starts_with(inside)) return std::nullopt;
    std::string rest = group.substr(inside.size());
    if (!rest.empty() && rest.front() != '/') return std::nullopt;
    return rest;
}

// The directories to ask, innermost first: from that of this process up to the mount point.
struct place {
    std::string at;    // mount point
    std::string rest;  // path below it
};

std::optional<place> find_place(const std::vector<mount>& mounts, std::string_view controller,
                                const std::string& group) {
    const mount* best = nullptr;
    const mount* any = nullptr;
    for (const auto& candidate : mounts) {
        if (controller.empty() ? !candidate.v2 : candidate.v2 || !has_word(candidate.controllers, controller)) continue;
        any = &candidate;
        // The mount that shows the most ancestors; of equals the last, which hides those before it.
        if (below(group, candidate.inside) && (best == nullptr || candidate.inside.size() <= best->inside.size()))
            best = &candidate;
    }
    if (best != nullptr) return place{best->at, *below(group, best->inside)};
    // The path is told in terms of another namespace, as in some containers: what is mounted is then our own group.
    if (any != nullptr) return place{any->at, {}};
    return std::nullopt;
}

class reader {
public:
    explicit reader(std::string root) : root_(std::move(root)) {}

    void read_all() {
        const auto groups = text_file::read(root_ + "/proc/self/cgroup");
        const auto mounted = text_file::read(root_ + "/proc/self/mountinfo");
        if (!groups || !mounted) return;
        const auto mounts = parse_mounts(*mounted);
        visit(mounts, *groups, "", [this](const std::string& directory) {
            cpu_max(directory + "/cpu.max");
            memory(directory + "/memory.max");
            memory(directory + "/memory.high");  // the kernel throttles from here on, so more is of no use
        });
        visit(mounts, *groups, "cpu", [this](const std::string& directory) { cfs_quota(directory); });
        visit(mounts, *groups, "memory",
              [this](const std::string& directory) { memory(directory + "/memory.limit_in_bytes"); });
    }

    cgroup_limits limits;

private:
    template <class Ask>
    void visit(const std::vector<mount>& mounts, std::string_view groups, std::string_view controller, Ask ask) {
        const auto group = parse_group(groups, controller);
        if (!group) return;
        auto where = find_place(mounts, controller, *group);
        if (!where) return;
        const std::string top = root_ + (where->at == "/" ? "" : where->at);
        while (true) {
            if (!where->rest.ends_with('/')) ask(top + where->rest);
            if (where->rest.empty()) return;
            where->rest.erase(where->rest.rfind('/'));
        }
    }

    // A file that is not there says nothing; one that cannot be read is worth a word.
    std::optional<std::string> line_of(const std::string& file) {
        const auto text = text_file::read(file);
        if (text) return std::string(trimmed(*text));
        if (errno != ENOENT && errno != ENOTDIR)
            limits.ignored.push_back(fmt::format("{}: could not be read: {}", file, std::strerror(errno)));
        return std::nullopt;
    }

    void complain(const std::string& file, std::string_view found, std::string_view expected) {
        constexpr std::size_t shown = 60;
        limits.ignored.push_back(fmt::format("{}: found \"{}\", expected {}", file, found.substr(0, shown), expected));
    }

    void cpus(double value, const std::string& file) {
        if (!limits.cpus || value < limits.cpus->value) limits.cpus = {value, file};
    }

    void cpu_max(const std::string& file) {
        const auto text = line_of(file);
        if (!text) return;
        std::string_view rest = *text;
        const auto quota_text = cut(rest, ' ');
        if (quota_text == "max") return;
        const auto quota = number(quota_text);
        const auto period = rest.empty() ? std::optional(default_period_us) : number(rest);
        if (!quota || !period || *quota <= 0 || *period <= 0)
            return complain(file, *text, "a quota or \"max\", and a period, both in microseconds");
        cpus(static_cast<double>(*quota) / static_cast<double>(*period), file);
    }

    void cfs_quota(const std::string& directory) {
        const auto quota_file = directory + "/cpu.cfs_quota_us";
        const auto quota_text = line_of(quota_file);
        if (!quota_text) return;
        const auto quota = number(*quota_text);
        if (!quota || *quota == 0) return complain(quota_file, *quota_text, "a quota in microseconds, or -1");
        if (*quota < 0) return;  // no limit
        const auto period_file = directory + "/cpu.cfs_period_us";
        const auto period_text = line_of(period_file);
        const auto period = period_text ? number(*period_text) : std::optional(default_period_us);
        if (!period || *period <= 0) return complain(period_file, *period_text, "a period in microseconds");
        cpus(static_cast<double>(*quota) / static_cast<double>(*period), quota_file);
    }

    void memory(const std::string& file) {
        const auto text = line_of(file);
        if (!text || *text == "max" || *text == "-1") return;
        const auto bytes = number(*text);
        if (!bytes || *bytes <= 0) return complain(file, *text, "a number of bytes above 0, or \"max\"");
        const auto value = static_cast<std::uint64_t>(*bytes);
        if (!limits.memory_bytes || value < limits.memory_bytes->value) limits.memory_bytes = {value, file};
    }

    static constexpr std::int64_t default_period_us = 100'000;  // the kernel's
    std::string root_;
};

}  // namespace

cgroup_limits read_cgroup_limits(const std::string& root) {
    reader all(root);
    all.read_all();
    return std::move(all.limits);
}

}  // namespace leat
