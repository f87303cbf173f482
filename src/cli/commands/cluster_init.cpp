// leat cluster init: the files that an engine is started with, and those that its users connect with.
#include <cli/commands/commands.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cli/write_all.hpp>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <set>
#include <unistd.h>

#include <leat/cluster/keys.hpp>
#include <leat/cluster/server_config.hpp>
#include <leat/io/unique_fd.hpp>

namespace leat::cli {

namespace {

using namespace leat::cluster;

struct file_to_write {
    std::filesystem::path path;
    std::string text;
    bool is_secret = false;
};

[[noreturn]] void fail(const std::filesystem::path& path) {
    throw std::runtime_error(fmt::format("{}: {}", path.string(), std::strerror(errno)));
}

bool is_plain(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char each) {
        return (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') || (each >= '0' && each <= '9') ||
               each == '-' || each == '_';
    });
}

void check_names(const char* option, const std::vector<std::string>& names) {
    for (const std::string& each : names)
        if (!is_plain(each))
            throw usage_error(fmt::format("{}: found `{}`, expected letters, digits, - and _", option, each));
}

// HOST[:PORT[:ROUTES[:MONITORING]]], an IPv6 address in brackets.
server_place place_of(const std::string& text) {
    const auto wrong = [&](std::string_view why) {
        return usage_error(fmt::format("--server: found `{}`, {}", text, why));
    };
    server_place place;
    std::string_view rest = text;
    std::size_t end = std::min(rest.find(':'), rest.size());
    if (rest.starts_with('[')) {
        end = rest.find(']');
        if (end == std::string_view::npos) throw wrong("in which a `]` is missing");
        place.host = rest.substr(1, end - 1);
        ++end;
    } else {
        place.host = rest.substr(0, end);
    }
    const auto is_part = [](char each) { return is_plain({&each, 1}) || each == '.' || each == ':'; };
    if (place.host.empty() || !std::all_of(place.host.begin(), place.host.end(), is_part))
        throw wrong("expected a name or an address: HOST[:PORT[:ROUTES[:MONITORING]]]");
    rest.remove_prefix(end);
    for (std::uint16_t* const port : {&place.port, &place.routes_port, &place.monitoring_port}) {
        if (rest.empty()) break;
        rest.remove_prefix(1);
        const std::string_view number = rest.substr(0, rest.find(':'));
        const auto read = std::from_chars(number.data(), number.data() + number.size(), *port);
        if (read.ec != std::errc() || read.ptr != number.data() + number.size() || *port == 0)
            throw wrong(fmt::format("in which `{}` is no port", number));
        rest.remove_prefix(number.size());
    }
    if (!rest.empty()) throw wrong("expected HOST[:PORT[:ROUTES[:MONITORING]]]");
    return place;
}

void check_places(const std::vector<server_place>& places) {
    if (places.size() != 1 && places.size() != 3)
        throw usage_error(
            fmt::format("--server: {} servers are given; an engine is one server, or three, of which one may be lost",
                        places.size()));
    const bool local = places.front().is_loopback();
    std::set<std::string> taken;
    for (const server_place& each : places) {
        if (each.is_loopback() != local)
            throw usage_error("--server: one is reached on its own machine alone, and others from elsewhere");
        std::vector<std::uint16_t> ports{each.port, each.monitoring_port};
        if (places.size() > 1) ports.push_back(each.routes_port);
        for (const std::uint16_t port : ports)
            if (!taken.insert(fmt::format("{}:{}", local ? "localhost" : each.host, port)).second)
                throw usage_error(
                    fmt::format("--server: port {} of {} is given to two; HOST:PORT:ROUTES:MONITORING says which", port,
                                each.host));
    }
}

void write_file(const file_to_write& file) {
    const io::unique_fd to(
        ::open(file.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, file.is_secret ? 0600 : 0644));
    if (!to || !write_all(to.get(), file.text) || ::fsync(to.get()) != 0) fail(file.path);
}

// All, or none.
void write_files(const std::vector<file_to_write>& files) {
    for (const file_to_write& each : files)
        if (std::filesystem::exists(std::filesystem::symlink_status(each.path)))
            throw usage_error(fmt::format("cluster: {} is there already, and is not written over", each.path.string()));
    std::size_t written = 0;
    try {
        for (const file_to_write& each : files) {
            std::filesystem::create_directories(each.path.parent_path());
            write_file(each);
            ++written;
        }
    } catch (...) {
        std::error_code ignored;
        for (std::size_t index = 0; index < written; ++index) std::filesystem::remove(files[index].path, ignored);
        throw;
    }
}

std::string summary(const engine_plan& plan, const std::filesystem::path& folder, bool is_elsewhere) {
    std::string text;
    for (std::size_t index = 0; index < plan.servers.size(); ++index) {
        const server_place& each = plan.servers[index];
        if (is_elsewhere)
            text += fmt::format("server {} on {}: {} goes to {}\n", index + 1, each.host,
                                (folder / fmt::format("n{}", index + 1)).string(), each.folder);
        text += fmt::format("server {}{}: nats-server -c {}/nats.conf\n", index + 1, is_elsewhere ? " then" : "",
                            each.folder);
    }
    for (const role who : all_roles)
        text += fmt::format("{}: --engine '{}'\n", name_of(who), address_for(plan, who, folder.string()));
    return text +
           fmt::format(
               "secret: the .nk files, each for its role; the .key files; {} belongs to no server, keep it elsewhere\n",
               (folder / "ca.key").string());
}

}  // namespace

exit_code execute(const cluster_init_arguments& command, closed_streams closed) {
    engine_plan plan;
    plan.name = command.name;
    plan.disk = command.disk;
    check_names("--name", {plan.name});
    if (!command.queues.empty()) plan.shared.queues = command.queues;
    plan.shared.caches = command.caches;
    plan.shared.seen = command.seen;
    check_names("--queue", plan.shared.queues);
    check_names("--cache", plan.shared.caches);
    check_names("--seen", plan.shared.seen);
    if (!command.place.empty() && !std::filesystem::path(command.place).is_absolute())
        throw usage_error(fmt::format("--place: found `{}`, expected a path from the root: /etc/leat", command.place));
    for (const std::string& each : command.servers) plan.servers.push_back(place_of(each));
    if (plan.servers.empty()) plan.servers.emplace_back().host = "localhost";
    check_places(plan.servers);

    const std::filesystem::path folder = std::filesystem::absolute(command.folder).lexically_normal();
    const auto folder_of = [&](std::size_t index) { return folder / fmt::format("n{}", index + 1); };
    for (std::size_t index = 0; index < plan.servers.size(); ++index)
        plan.servers[index].folder = command.place.empty() ? folder_of(index).string() : command.place;
    const certificate authority = make_authority(fmt::format("engine {}", plan.name), command.days);
    const nkey keys[] = {make_user_nkey(), make_user_nkey(), make_user_nkey()};
    plan.coordinator_key = keys[0].public_key;
    plan.worker_key = keys[1].public_key;
    plan.observer_key = keys[2].public_key;

    std::vector<file_to_write> files{{folder / "ca.pem", authority.pem}, {folder / "ca.key", authority.key_pem, true}};
    for (const role who : all_roles)
        files.push_back(
            {folder / fmt::format("{}.nk", name_of(who)), keys[static_cast<std::size_t>(who)].to_file(), true});
    for (std::size_t index = 0; index < plan.servers.size(); ++index) {
        const certificate mine = make_server_certificate(authority, plan.servers[index].names(), command.days);
        const std::filesystem::path to = folder_of(index);
        files.push_back({to / "nats.conf", server_config(plan, index)});
        files.push_back({to / "ca.pem", authority.pem});
        files.push_back({to / "server.pem", mine.pem});
        files.push_back({to / "server.key", mine.key_pem, true});
    }
    write_files(files);
    return print_text(summary(plan, folder, !command.place.empty()), closed);
}

}  // namespace leat::cli
