#include "nats_connect.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <leat/cluster/engine_url.hpp>
#include <leat/io/unique_fd.hpp>

namespace leat::cluster {

namespace {

broker_error error(broker_problem problem, std::string text) { return {problem, std::move(text)}; }

struct address {
    std::string host;
    std::string port;
    [[nodiscard]] std::string text() const {
        return (host.find(':') == std::string::npos ? host : '[' + host + ']') + ':' + port;
    }
    // Of "tls://host:4222", as parse_engine_url() has checked it.
    explicit address(std::string_view url) {
        url.remove_prefix(url.find("://") + 3);
        const std::size_t colon = url.rfind(':');
        port = url.substr(colon + 1);
        host = url.substr(0, colon);
        if (host.front() == '[') host = host.substr(1, host.size() - 2);
    }
};

struct free_addresses {
    void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};

// False when the time is over; errno of the socket in `failed`.
bool wait_for(int fd, short events, time_point until) {
    pollfd look{fd, events, 0};
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - env::now()).count();
        if (left <= 0) return false;
        const int found = ::poll(&look, 1, static_cast<int>(std::min<long>(left, 60'000)));
        if (found > 0) return true;
        if (found < 0 && errno != EINTR) return false;
    }
}

// The first line that the server sends; or why there is none.
expected<std::string, std::string> first_line(const address& at, time_point until) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* raw = nullptr;
    if (const int failed = ::getaddrinfo(at.host.c_str(), at.port.c_str(), &hints, &raw); failed != 0)
        return unexpected(std::string(::gai_strerror(failed)));
    const std::unique_ptr<addrinfo, free_addresses> list(raw);
    std::string why = "it has no address";
    for (const addrinfo* each = list.get(); each != nullptr; each = each->ai_next) {
        const io::unique_fd socket(
            ::socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, each->ai_protocol));
        if (!socket) {
            why = std::strerror(errno);
            continue;
        }
        int failed = ::connect(socket.get(), each->ai_addr, each->ai_addrlen) == 0 ? 0 : errno;
        if (failed == EINPROGRESS) {
            socklen_t size = sizeof failed;
            if (!wait_for(socket.get(), POLLOUT, until)) failed = ETIMEDOUT;
            else ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &failed, &size);
        }
        if (failed != 0) {
            why = std::strerror(failed);
            continue;
        }
        std::string line;
        std::array<char, 4096> part;
        while (line.find('\n') == std::string::npos && line.size() < 64 * 1024) {
            if (!wait_for(socket.get(), POLLIN, until))
                return unexpected(std::string("it says nothing: is it a nats-server?"));
            const ssize_t count = ::recv(socket.get(), part.data(), part.size(), 0);
            if (count <= 0) return unexpected(std::string("it closes the connection at once"));
            line.append(part.data(), static_cast<std::size_t>(count));
        }
        return line.substr(0, line.find('\n'));
    }
    return unexpected(std::move(why));
}

expected<nats_greeting, std::string> greeting_of(const address& at, time_point until) {
    auto line = first_line(at, until);
    if (!line) return unexpected(std::move(line).error());
    boost::system::error_code wrong;
    const boost::json::value info =
        line->substr(0, 5) == "INFO " ? boost::json::parse(line->substr(5), wrong) : boost::json::value();
    if (wrong || !info.is_object()) return unexpected(std::string("what answers is no nats-server"));
    const boost::json::object& fields = info.get_object();
    const auto text = [&](std::string_view key) {
        const auto* const found = fields.if_contains(key);
        return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
    };
    const auto truth = [&](std::string_view key) {
        const auto* const found = fields.if_contains(key);
        return found != nullptr && found->is_bool() && found->get_bool();
    };
    nats_greeting said;
    said.version_text = text("version");
    said.version = nats_api::server_version::of(said.version_text);
    said.cluster = text("cluster");
    said.has_jetstream = truth("jetstream");
    said.wants_tls = truth("tls_required");
    said.wants_certificate = truth("tls_verify");
    return said;
}

// cnats sets SIGPIPE to be ignored when it is first used, in a program whose signals are not its own. It is put back: the threads
// that write are begun from here, where all signals are blocked, as in all threads of this library.
void open_library() {
    struct sigaction before{};
    ::sigaction(SIGPIPE, nullptr, &before);
    nats_Open(-1);
    ::sigaction(SIGPIPE, &before, nullptr);
}

struct free_options {
    void operator()(natsOptions* options) const noexcept { natsOptions_Destroy(options); }
};

// The public key in the file: "U", then 55 of base 32.
std::string public_key_in(const std::string& file) {
    std::ifstream from(file);
    for (std::string line; std::getline(from, line);)
        if (line.size() >= 56 && line.front() == 'U') return line.substr(0, 56);
    return {};
}

// Tells cnats all but what the link does.
broker_result<done> set_options(natsOptions* to, const nats_options& from, const engine_url& at) {
    std::vector<const char*> servers;
    servers.reserve(at.servers.size());
    for (const std::string& each : at.servers) servers.push_back(each.c_str());
    const auto asked = [](natsStatus status, std::string_view what) -> broker_result<done> {
        if (status == NATS_OK) return done{};
        const char* const text = nats_GetLastError(nullptr);
        return unexpected(error(broker_problem::refused,
                                fmt::format("{}: {}", what, text != nullptr ? text : natsStatus_GetText(status))));
    };
    natsOptions_SetServers(to, servers.data(), static_cast<int>(servers.size()));
    natsOptions_SetName(to, from.name.c_str());
    natsOptions_SetTimeout(to, std::chrono::ceil<std::chrono::milliseconds>(from.connect_timeout).count());
    natsOptions_SetIgnoreDiscoveredServers(to, true);  // an address that a server tells was not looked at as ours are
    if (!from.user.empty()) natsOptions_SetUserInfo(to, from.user.c_str(), from.password.c_str());
    if (!from.credentials_file.empty()) {
        auto fine = asked(natsOptions_SetUserCredentialsFromFiles(to, from.credentials_file.c_str(), nullptr),
                          "reading the credentials in " + from.credentials_file);
        if (!fine) return fine;
    }
    if (!from.nkey_file.empty()) {
        const std::string key = public_key_in(from.nkey_file);
        if (key.empty())
            return unexpected(error(
                broker_problem::refused,
                fmt::format("{} has no line with the public key of a user (U…) beside the seed", from.nkey_file)));
        auto fine = asked(natsOptions_SetNKeyFromSeed(to, key.c_str(), from.nkey_file.c_str()),
                          "reading the nkey in " + from.nkey_file);
        if (!fine) return fine;
    }
    if (!at.tls) return done{};
    auto fine = asked(natsOptions_SetSecure(to, true), "preparing TLS");
    if (fine && !from.ca_file.empty())
        fine = asked(natsOptions_LoadCATrustedCertificates(to, from.ca_file.c_str()),
                     "reading the certificates in " + from.ca_file);
    if (fine && !from.certificate_file.empty())
        fine =
            asked(natsOptions_LoadCertificatesChain(to, from.certificate_file.c_str(), from.key_file.c_str()),
                  fmt::format("reading the certificate in {} and its key in {}", from.certificate_file, from.key_file));
    return fine;
}

// What the address says beside the servers goes where the options say nothing.
broker_result<engine_url> complete(nats_options& options) {
    std::string text;
    for (const std::string& each : options.servers) text += (text.empty() ? "" : ",") + each;
    const auto refused = [](std::string why) { return unexpected(error(broker_problem::refused, std::move(why))); };
    auto url = parse_engine_url(text);
    if (!url) return refused(url.error().text);
    const auto fill = [](std::string& into, const std::string& from) {
        if (into.empty()) into = from;
    };
    if (options.user.empty() && !url->user.empty()) {
        options.user = url->user;
        if (!url->password_file.empty()) {
            auto secret = read_secret(url->password_file);
            if (!secret) return refused(secret.error().text);
            options.password = std::move(*secret);
        }
    }
    fill(options.credentials_file, url->credentials_file);
    fill(options.nkey_file, url->nkey_file);
    fill(options.ca_file, url->ca_file);
    fill(options.certificate_file, url->certificate_file);
    fill(options.key_file, url->key_file);
    fill(options.inbox, url->inbox);
    if (options.inbox.empty()) options.inbox = "_INBOX";
    options.operator_says_synced = options.operator_says_synced || url->operator_says_synced;
    auto checked = check_files(std::move(*url));
    if (!checked) return refused(checked.error().text);
    return std::move(*checked);
}

broker_error connect_error(natsStatus status, const std::string& text, const std::string& where) {
    const auto because = [&](broker_problem problem, std::string_view why) {
        return error(problem, fmt::format("connecting to {}: {}", where, why));
    };
    switch (status) {
        case NATS_CONNECTION_AUTH_FAILED:
            return because(broker_problem::refused, "it refuses the user or password: " + text);
        case NATS_SSL_ERROR:
            return because(broker_problem::refused,
                           "its certificate does not verify, or TLS failed otherwise: " + text);
        case NATS_SECURE_CONNECTION_REQUIRED:
            return because(broker_problem::refused, "it wants TLS: begin the address with tls://");
        case NATS_SECURE_CONNECTION_WANTED:
            return because(broker_problem::refused, "it has no TLS, which was asked for");
        default:
            break;
    }
    // With more than one server cnats tells of the last alone.
    if (text.find("uthorization") != std::string::npos || text.find("uthentication") != std::string::npos)
        return because(broker_problem::refused, "it refuses the user or password: " + text);
    return because(broker_problem::unavailable, text);
}

}  // namespace

broker_result<nats_connection> connect_blocking(const nats_options& given) {
    nats_options options = given;
    auto url = complete(options);
    if (!url) return unexpected(std::move(url).error());
    std::vector<address> addresses;
    for (const std::string& each : url->servers) addresses.emplace_back(each);
    std::string where;
    std::string why;
    nats_connection made;
    made.synced = options.operator_says_synced;
    bool answered = false;
    for (const address& each : addresses) {
        where += (where.empty() ? "" : ", ") + each.text();
        if (answered) continue;
        auto said = greeting_of(each, env::now() + options.connect_timeout);
        if (said) {
            made.greeting = std::move(*said);
            answered = true;
        } else {
            why += fmt::format("{}{}: {}", why.empty() ? "" : "; ", each.text(), said.error());
        }
    }
    if (!answered) return unexpected(error(broker_problem::unavailable, "connecting to " + why));
    if (made.greeting.wants_tls && !url->tls)
        return unexpected(connect_error(NATS_SECURE_CONNECTION_REQUIRED, {}, where));
    if (made.greeting.wants_certificate && options.certificate_file.empty())
        return unexpected(
            error(broker_problem::refused,
                  fmt::format("connecting to {}: it asks for a certificate of ours, and none was named", where)));

    static const bool is_open = (open_library(), true);
    (void)is_open;
    natsOptions* raw = nullptr;
    if (natsOptions_Create(&raw) != NATS_OK)
        return unexpected(error(broker_problem::unavailable, "cnats has no memory for options"));
    const std::unique_ptr<natsOptions, free_options> to(raw);
    if (auto fine = set_options(raw, options, *url); !fine) return unexpected(std::move(fine).error());
    nats_link::told told;
    told.address = where;
    told.name = "nats-server " + made.greeting.version_text;
    told.inbox = options.inbox;
    // cnats 3.4 takes a signature that begins with a zero byte, one in 256, for none. The server asks for another each time; when
    // it connects again by itself, cnats tries a second time too.
    const bool signs = !options.nkey_file.empty() || !options.credentials_file.empty();
    for (int tries_left = signs ? 4 : 1;;) {
        made.link = std::make_unique<nats_link>();
        std::string text;
        const natsStatus status = made.link->start(raw, told, text);
        if (status == NATS_OK) return made;
        if (status == NATS_CONNECTION_AUTH_FAILED && --tries_left > 0) continue;
        // With TLS 1.3 a server that does not take our certificate says so behind the handshake, where cnats does not look.
        if (made.greeting.wants_certificate && status != NATS_SSL_ERROR)
            return unexpected(
                error(broker_problem::refused,
                      fmt::format("connecting to {}: it does not take our certificate ({})", where, text)));
        return unexpected(connect_error(status, text, where));
    }
}

}  // namespace leat::cluster
