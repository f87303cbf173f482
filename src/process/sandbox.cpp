// What a sandbox says, what the kernel can do of it, and both in words.
#include <leat/process/sandbox.hpp>

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/seccomp.h>
#include <unistd.h>

#include "raw_calls.hpp"

namespace leat {

namespace {

constexpr unsigned version_is_asked_for = 1;  // LANDLOCK_CREATE_RULESET_VERSION
constexpr int first_with_truncate = 3;
constexpr int first_with_tcp = 4;

bool is_there(const char* path) noexcept { return ::access(path, F_OK) == 0; }

// Why the layer is not in force as a whole.
std::string lack_of_paths(int landlock) {
    if (landlock == 0) return "this kernel has no Landlock, which comes with Linux 5.13 and can be off in `lsm=`";
    return fmt::format("with version {} of Landlock files elsewhere can be cut with truncate(); Linux 6.2 has more",
                       landlock);
}
std::string lack_of_network(sandbox_effect effect) {
    if (effect == sandbox_effect::partial) return "only TCP is refused, since this kernel has no seccomp filters";
    return "this kernel has no seccomp filters, or this is neither x86-64 nor arm64";
}

}  // namespace

void sandbox::add_system_files() {
    for (const char* each : {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"})
        if (is_there(each)) execute.emplace_back(each);
    for (const char* each : {"/etc/ld.so.cache",
                             "/etc/ld.so.conf",
                             "/etc/ld.so.conf.d",
                             "/etc/ld.so.preload",
                             "/etc/alternatives",
                             "/etc/passwd",
                             "/etc/group",
                             "/etc/nsswitch.conf",
                             "/etc/hosts",
                             "/etc/resolv.conf",
                             "/etc/localtime",
                             "/etc/timezone",
                             "/etc/locale.alias",
                             "/etc/ssl/certs",
                             "/etc/ssl/openssl.cnf",
                             "/etc/mime.types",
                             "/sys/devices/system/cpu",
                             "/proc/cpuinfo",
                             "/proc/meminfo",
                             "/dev/random",
                             "/dev/urandom"})
        if (is_there(each)) read.emplace_back(each);
    for (const char* each : {"/dev/null", "/dev/zero", "/dev/full"})
        if (is_there(each)) write.emplace_back(each);
}

sandbox_support find_sandbox_support() noexcept {
    sandbox_support found;
    const long version = ::syscall(raw::landlock_create_ruleset, nullptr, 0, version_is_asked_for);
    if (version > 0) found.landlock = static_cast<int>(version);
    const unsigned action = SECCOMP_RET_ERRNO;
    found.socket_filter = raw::has_socket_filter && ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
    return found;
}

sandbox_report sandbox_report_for(const sandbox& wanted, const sandbox_support& support, bool limited) noexcept {
    sandbox_report report;
    report.no_new_privileges = sandbox_effect::whole;
    if (wanted.paths != sandbox_need::none)
        report.paths = support.landlock >= first_with_truncate ? sandbox_effect::whole
                       : support.landlock > 0                  ? sandbox_effect::partial
                                                               : sandbox_effect::missing;
    if (wanted.no_network != sandbox_need::none)
        report.no_network = support.socket_filter                ? sandbox_effect::whole
                            : support.landlock >= first_with_tcp ? sandbox_effect::partial
                                                                 : sandbox_effect::missing;
    if (limited) report.limits = sandbox_effect::whole;
    return report;
}

std::string sandbox_report::text() const {
    std::vector<std::string> layers;
    const auto tell = [&layers](std::string_view name, sandbox_effect effect, std::string_view lack = {}) {
        switch (effect) {
            case sandbox_effect::not_asked:
                break;
            case sandbox_effect::whole:
                layers.emplace_back(name);
                break;
            case sandbox_effect::partial:
                layers.push_back(fmt::format("{} in part ({})", name, lack));
                break;
            case sandbox_effect::missing:
                layers.push_back(fmt::format("{} not enforced ({})", name, lack));
                break;
        }
    };
    tell("no new privileges", no_new_privileges);
    tell("paths", paths,
         paths == sandbox_effect::missing ? "this kernel has no Landlock" : "files elsewhere can be cut");
    tell("no network", no_network, lack_of_network(no_network));
    tell("limits", limits);
    return layers.empty() ? "none" : fmt::format("{}", fmt::join(layers, ", "));
}

std::string why_no_sandbox(const sandbox& wanted, const sandbox_support& support) {
    const sandbox_report report = sandbox_report_for(wanted, support);
    if (wanted.paths == sandbox_need::required && report.paths != sandbox_effect::whole)
        return fmt::format("the sandbox must keep the command to its paths, and cannot: {}",
                           lack_of_paths(support.landlock));
    if (wanted.no_network == sandbox_need::required && report.no_network != sandbox_effect::whole)
        return fmt::format("the sandbox must keep the command from the network, and cannot: {}",
                           lack_of_network(report.no_network));
    if (wanted.paths == sandbox_need::none || report.paths == sandbox_effect::missing) return {};
    for (const auto* const list : {&wanted.read, &wanted.execute, &wanted.write})
        for (const std::string& path : *list) {
            if (path.find('\0') != std::string::npos) return "a path of the sandbox holds a NUL byte";
            if (!is_there(path.c_str())) return fmt::format("the sandbox names `{}`: {}", path, std::strerror(errno));
        }
    return {};
}

}  // namespace leat
