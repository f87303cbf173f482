#include <leat/cluster/engine_url.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <leat/io/unique_fd.hpp>

namespace leat::cluster {

namespace {

constexpr std::string_view default_port = "4222";
constexpr std::size_t longest_secret = 64 << 10;

struct endpoint {
    std::string host;
    std::string port{default_port};
    [[nodiscard]] std::string text() const {
        return (host.find(':') == std::string::npos ? host : '[' + host + ']') + ':' + port;
    }
    // By number or by the one name that never leaves the machine: others may be whatever a resolver says.
    [[nodiscard]] bool is_loopback() const {
        if (host == "localhost" || host == "::1") return true;
        return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos;
    }
};

unexpected<engine_url_error> error(std::string text) { return unexpected(engine_url_error{std::move(text)}); }

// What stands in front of `mark`, which is cut off `rest` with it; all of it where there is none.
std::string_view cut(std::string_view& rest, std::string_view mark) {
    const std::size_t at = rest.find(mark);
    const std::string_view front = rest.substr(0, at);
    rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + mark.size());
    return front;
}

std::optional<std::string> decoded(std::string_view text) {
    std::string plain;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '%') {
            plain += text[at];
            continue;
        }
        unsigned value = 0;
        const char* const end = text.data() + std::min(at + 3, text.size());
        const auto read = std::from_chars(text.data() + at + 1, end, value, 16);
        if (at + 3 > text.size() || read.ptr != end || value == 0) return std::nullopt;
        plain += static_cast<char>(value);
        at += 2;
    }
    return plain;
}

expected<endpoint, engine_url_error> parse_endpoint(std::string_view text) {
    const std::string_view all = text;
    endpoint parsed;
    if (text.starts_with('[')) {
        if (text.find(']') == std::string_view::npos) return error(fmt::format("'{}': a ']' is missing", all));
        text.remove_prefix(1);
        parsed.host = cut(text, "]");
    } else {
        const std::size_t colon = std::min(text.find(':'), text.size());
        parsed.host = text.substr(0, colon);
        text.remove_prefix(colon);
    }
    if (parsed.host.empty()) return error(all.empty() ? "it names no host" : fmt::format("'{}' names no host", all));
    const auto is_part_of_name = [](char each) {
        return (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') || (each >= '0' && each <= '9') ||
               each == '-' || each == '.' || each == '_' || each == ':';
    };
    if (!std::all_of(parsed.host.begin(), parsed.host.end(), is_part_of_name))
        return error(fmt::format("'{}' is no name of a host", parsed.host));
    if (text.empty()) return parsed;
    unsigned port = 0;
    const auto read = std::from_chars(text.data() + 1, text.data() + text.size(), port);
    if (text.front() != ':' || read.ptr != text.data() + text.size() || port == 0 || port > 65535)
        return error(fmt::format("the port of '{}' is no number from 1 to 65535", all));
    parsed.port = std::to_string(port);
    return parsed;
}

struct file_option {
    std::string_view key;
    std::string engine_url::* value;
    bool is_secret = false;
    bool needs_tls = false;
};
constexpr std::array file_options{
    file_option{"password-file", &engine_url::password_file, true},
    file_option{"nkey", &engine_url::nkey_file, true},
    file_option{"credentials", &engine_url::credentials_file, true},
    file_option{"ca", &engine_url::ca_file, false, true},
    file_option{"certificate", &engine_url::certificate_file, false, true},
    file_option{"key", &engine_url::key_file, true, true},
};

// An option of the query. The text says what is wrong with it; empty: nothing.
std::string take_option(engine_url& to, std::string_view key, std::string value) {
    const auto* const file = std::find_if(file_options.begin(), file_options.end(),
                                          [&](const file_option& each) { return each.key == key; });
    if (value.empty()) return fmt::format("'{}' has no value", key);
    if (file != file_options.end()) {
        if (file->needs_tls && !to.tls) return fmt::format("'{}' is for tls://, which this is not", key);
        if (!(to.*file->value).empty()) return fmt::format("'{}' is given twice", key);
        to.*file->value = std::move(value);
        return {};
    }
    if (key == "inbox") {
        if (value.find_first_of(" \t*>") != std::string::npos || value.front() == '.' || value.back() == '.')
            return fmt::format("'{}' is no subject that answers can come to", value);
        to.inbox = std::move(value);
        return {};
    }
    if (key == "synced") {
        if (value != "yes" && value != "no") return fmt::format("synced is yes or no, not '{}'", value);
        to.operator_says_synced = value == "yes";
        return {};
    }
    if (key == "password" || key == "token")
        return "a password in an address is seen by all who can list processes: write it into a file, "
               "password-file=FILE";
    return fmt::format(
        "there is no option '{}'; there are: password-file, nkey, credentials, ca, certificate, key, inbox, synced",
        key);
}

// What does not go together. Empty: all does.
std::string contradiction(const engine_url& url) {
    const int ways = int{!url.user.empty()} + int{!url.nkey_file.empty()} + int{!url.credentials_file.empty()};
    if (ways > 1) return "of USER@, nkey and credentials only one can say who connects";
    if (!url.user.empty() && url.password_file.empty()) return "a user needs password-file=FILE";
    if (url.user.empty() && !url.password_file.empty()) return "password-file needs a user: USER@ in front of the host";
    if (url.certificate_file.empty() != url.key_file.empty()) return "certificate and key are given together";
    return {};
}

}  // namespace

std::string engine_url::to_text() const {
    std::string all;
    for (const std::string& each : servers) all += (all.empty() ? "" : ",") + each;
    return all;
}

expected<engine_url, engine_url_error> parse_engine_url(std::string_view text) {
    std::string_view rest = text;
    const std::string_view query_of = rest.substr(0, rest.find('?'));
    const auto wrong = [&](std::string_view why) {
        // Not the user's part of it: there may be a password there.
        const std::size_t at = query_of.rfind('@');
        const std::size_t behind_scheme = query_of.find("://");
        std::string shown(query_of);
        if (at != std::string_view::npos)
            shown = fmt::format("{}…{}",
                                query_of.substr(0, behind_scheme == std::string_view::npos ? 0 : behind_scheme + 3),
                                query_of.substr(at));
        return error(fmt::format("\"{}\" is no address of an engine: {}", shown, why));
    };
    engine_url parsed;
    if (rest.starts_with("tls://")) parsed.tls = true;
    else if (!rest.starts_with("nats://")) return wrong("it begins with nats:// or tls://");
    const std::string_view scheme = parsed.tls ? "tls://" : "nats://";
    rest.remove_prefix(scheme.size());

    std::string_view servers = cut(rest, "?");
    if (servers.ends_with('/')) servers.remove_suffix(1);
    if (const std::size_t at = servers.rfind('@'); at != std::string_view::npos) {
        const std::string_view user = servers.substr(0, at);
        servers.remove_prefix(at + 1);
        if (user.find(':') != std::string_view::npos)
            return wrong(
                "a password in it is seen by all who can list processes: write it into a file, password-file=FILE");
        auto plain = decoded(user);
        if (!plain || plain->empty()) return wrong("the user in front of '@' is no name");
        parsed.user = std::move(*plain);
    }
    if (servers.ends_with(',')) return wrong("it names no host behind the last comma");
    do {
        std::string_view each = cut(servers, ",");
        if (each.starts_with(scheme)) each.remove_prefix(scheme.size());
        else if (each.find("://") != std::string_view::npos)
            return wrong("all of its servers are asked with TLS, or none");
        auto at = parse_endpoint(each);
        if (!at) return wrong(at.error().text);
        if (!parsed.tls && !at->is_loopback())
            return wrong(fmt::format(
                "{} is not this machine, and nothing goes to others without TLS: begin it with tls://", at->host));
        parsed.servers.push_back(fmt::format("{}{}", scheme, at->text()));
    } while (!servers.empty());

    while (!rest.empty()) {
        std::string_view option = cut(rest, "&");
        const std::string_view key = cut(option, "=");
        auto value = decoded(option);
        if (!value) return wrong(fmt::format("the value of '{}' has a '%' without two digits behind it", key));
        if (const std::string why = take_option(parsed, key, std::move(*value)); !why.empty()) return wrong(why);
    }
    if (const std::string why = contradiction(parsed); !why.empty()) return wrong(why);
    return parsed;
}

namespace {

expected<io::unique_fd, engine_url_error> open_file(const std::string& file, bool is_secret) {
    const auto fails = [&](std::string_view why) { return error(fmt::format("{}: {}", file, why)); };
    io::unique_fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat what{};
    if (!fd || ::fstat(fd.get(), &what) != 0) return fails(std::strerror(errno));
    if (!S_ISREG(what.st_mode)) return fails("it is no file");
    if (is_secret && (what.st_mode & S_IRWXO) != 0)
        return fails(fmt::format("it is secret, and others than its owner may use it (mode {:o}): chmod o= it",
                                 what.st_mode & 07777));
    return fd;
}

}  // namespace

expected<engine_url, engine_url_error> check_files(engine_url url) {
    for (const file_option& each : file_options) {
        const std::string& file = url.*each.value;
        if (file.empty()) continue;
        if (auto opened = open_file(file, each.is_secret); !opened)
            return error(fmt::format("{} of the engine's address: {}", each.key, opened.error().text));
    }
    return url;
}

expected<std::string, engine_url_error> read_secret(const std::string& file) {
    auto opened = open_file(file, true);
    if (!opened) return unexpected(std::move(opened).error());
    std::string text;
    std::array<char, 4096> piece{};
    for (;;) {
        const ssize_t got = ::read(opened->get(), piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error(fmt::format("{}: {}", file, std::strerror(errno)));
        if (got == 0) break;
        text.append(piece.data(), static_cast<std::size_t>(got));
        if (text.size() > longest_secret) return error(fmt::format("{}: it is too long for a secret", file));
    }
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    if (text.empty()) return error(fmt::format("{}: it is empty", file));
    return text;
}

}  // namespace leat::cluster
