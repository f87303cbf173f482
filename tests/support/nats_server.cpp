#include <nats_server.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <mutex>
#include <netinet/in.h>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

namespace leat_test {

namespace {

using namespace std::chrono_literals;

// Far more than a loaded machine takes; only a server that never comes is waited for that long.
constexpr auto patience = 60s;

[[noreturn]] void fail(const std::string& text) { throw std::runtime_error(text); }
[[noreturn]] void fail_with_errno(const std::string& text) {
    throw std::system_error(errno, std::generic_category(), text);
}

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// Starts programs that the system kills when this process is gone. It does so when the thread that started them is gone, so all are
// started by one that never ends.
class keeper {
public:
    static pid_t start(std::vector<std::string> words, const std::string& log) {
        static keeper* const one = new keeper;
        return one->ask(std::move(words), log);
    }

private:
    keeper() {
        std::thread([this] { serve(); }).detach();
    }

    pid_t ask(std::vector<std::string> words, const std::string& log) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return !asked_; });
        words_ = std::move(words);
        log_ = log;
        started_.reset();
        asked_ = true;
        changed_.notify_all();
        changed_.wait(lock, [&] { return started_.has_value(); });
        const pid_t pid = *std::exchange(started_, std::nullopt);
        asked_ = false;
        changed_.notify_all();
        return pid;
    }
    [[noreturn]] void serve() {
        const pid_t parent = ::getpid();
        for (std::unique_lock lock(mutex_);;) {
            changed_.wait(lock, [&] { return asked_ && !started_; });
            std::vector<char*> argv;
            for (std::string& each : words_) argv.push_back(each.data());
            argv.push_back(nullptr);
            const int log = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
            const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
            const pid_t pid = ::fork();
            if (pid == 0) {
                ::prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (::getppid() != parent) ::_exit(99);  // it was gone before
                ::dup2(null, 0);
                ::dup2(log, 1);
                ::dup2(log, 2);
                ::close_range(3, ~0U, 0);
                sigset_t none;
                ::sigemptyset(&none);
                ::sigprocmask(SIG_SETMASK, &none, nullptr);
                ::execv(argv.front(), argv.data());
                ::_exit(98);
            }
            ::close(log);
            ::close(null);
            started_ = pid;
            changed_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    bool asked_ = false;
    std::vector<std::string> words_;
    std::string log_;
    std::optional<pid_t> started_;
};

std::string read_file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
}

std::string program_of(const char* variable, std::vector<std::string> places, const std::string& what) {
    if (const char* named = std::getenv(variable); named != nullptr && *named != 0) places.assign(1, named);
    for (const std::string& place : places)
        if (::access(place.c_str(), X_OK) == 0) return place;
    fail("no " + what + " at " + places.front() + ": ./dev setup gets it, " + variable +
         " names another, and LEAT_NATS_SERVER=none skips the tests that need one");
}

// The value of a string field behind `from`: what stands between the quotes after "name":.
std::string text_field(std::string_view json, std::string_view name, std::size_t from) {
    const std::string quoted = '"' + std::string(name) + '"';
    const std::size_t at = json.find(quoted, from);
    if (at == std::string_view::npos) return {};
    const std::size_t begin = json.find('"', at + quoted.size());
    if (begin == std::string_view::npos) return {};
    return std::string(json.substr(begin + 1, json.find('"', begin + 1) - begin - 1));
}

}  // namespace

held_port::held_port() {
    // Bound and not listening, with addresses that may be used again: so a server can bind and listen beside it, while the system
    // gives the number to nobody who asks for any port, nor to a connection that goes out.
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int yes = 1;
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (fd_ < 0 || ::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        ::bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
        fail_with_errno("a free port of loopback");
    number_ = ntohs(address.sin_port);
}
held_port::held_port(held_port&& other) noexcept : fd_(std::exchange(other.fd_, -1)), number_(other.number_) {}
held_port::~held_port() {
    if (fd_ >= 0) ::close(fd_);
}

own_folder::own_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "leat_nats_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail_with_errno("a folder " + name);
    path_ = name;
}
own_folder::~own_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::string nats_program(nats_age age) {
    if (age == nats_age::old)
        return program_of("LEAT_OLD_NATS_SERVER", {"/usr/sbin/nats-server", "/usr/bin/nats-server"},
                          "nats-server of Debian");
    return program_of("LEAT_NATS_SERVER", {LEAT_SOURCE_DIR "/build/tools/nats-server/nats-server"}, "nats-server");
}

bool has_nats_server() {
    const char* const named = std::getenv("LEAT_NATS_SERVER");
    return named == nullptr || std::string_view(named) != "none";
}

nats_server::nats_server(server_options options) : nats_server(std::move(options), member{}) {
    if (options_.launches) start();
}

nats_server::nats_server(server_options options, member self) : options_(std::move(options)), self_(std::move(self)) {}

nats_server::~nats_server() {
    if (pid_ > 0) kill();
}

void nats_server::configure() const {
    std::string text;
    if (options_.configuration) {
        text = options_.configuration(*this);
    } else {
        const auto here = [](std::uint16_t at) { return "\"127.0.0.1:" + std::to_string(at) + "\""; };
        text = "listen: " + here(port()) + "\nhttp: " + here(monitoring_port()) + '\n';
        if (!self_.name.empty())
            text += "server_name: \"" + self_.name + "\"\ncluster { name: leat, listen: " + here(self_.routes_port) +
                    ", routes: [" + self_.routes + "] }\n";
        if (options_.jetstream) {
            text += "jetstream { store_dir: \"" + (store() / "store").string() + "\", max_mem: 512MB, max_file: 8GB";
            text += options_.sync_always ? ", sync_interval: always }\n" : " }\n";
        }
        text += options_.extra + '\n';
    }
    std::ofstream(store() / "nats.conf", std::ios::binary) << text;
}

std::string nats_server::url() const { return options_.scheme + "://127.0.0.1:" + std::to_string(port()); }

void nats_server::kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    wait_gone();
}

void nats_server::end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGTERM);
    const auto give_up = std::chrono::steady_clock::now() + patience;
    while (::waitpid(pid_, nullptr, WNOHANG) == 0) {
        if (std::chrono::steady_clock::now() > give_up) return kill();
        std::this_thread::sleep_for(5ms);
    }
    pid_ = 0;
}

void nats_server::wait_gone() {
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
}

void nats_server::launch() {
    if (pid_ > 0) fail("this nats-server runs already");
    configure();
    pid_ =
        keeper::start({nats_program(options_.age), "-c", (store() / "nats.conf").string()}, (store() / "log").string());
    if (pid_ < 0) fail("nats-server was not started");
}

void nats_server::start() {
    launch();
    wait_ready();
}

void nats_server::pause() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGSTOP);
    siginfo_t stopped{};  // each of its threads has
    (void)::waitid(P_PID, static_cast<id_t>(pid_), &stopped, WSTOPPED | WEXITED | WNOWAIT);
}
void nats_server::resume() {
    if (pid_ > 0) ::kill(pid_, SIGCONT);
}

bool nats_server::is_ready() const { return !ask("/healthz").empty(); }

void nats_server::wait_ready() const {
    for (const auto give_up = std::chrono::steady_clock::now() + patience; !is_ready();) {
        siginfo_t ended{};
        if (::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == pid_)
            fail("nats-server ended: " + log());
        if (std::chrono::steady_clock::now() > give_up) fail("nats-server does not become ready: " + log());
        std::this_thread::sleep_for(10ms);
    }
}

std::string nats_server::ask(std::string_view path) const {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail_with_errno("a socket");
    const timeval limit{.tv_sec = 2, .tv_usec = 0};  // a paused server never answers
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    const sockaddr_in address = loopback(monitoring_port());
    std::string answer;
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
        const std::string request = "GET " + std::string(path) + " HTTP/1.0\r\n\r\n";
        if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
            std::array<char, 4096> piece{};
            for (ssize_t got = 0; (got = ::recv(fd, piece.data(), piece.size(), 0)) > 0;)
                answer.append(piece.data(), static_cast<std::size_t>(got));
        }
    }
    ::close(fd);
    const std::size_t body = answer.find("\r\n\r\n");
    if (!answer.starts_with("HTTP/1.") || answer.substr(9, 3) != "200" || body == std::string::npos) return {};
    return answer.substr(body + 4);
}

std::string nats_server::log() const {
    constexpr std::size_t most = 8192;
    std::string text = read_file(store() / "log");
    return text.size() <= most ? text : text.substr(text.size() - most);
}

nats_trio::nats_trio(server_options options) {
    std::string routes;
    for (int index = 0; index < 3; ++index) {
        routes_.push_back(std::make_unique<held_port>());
        routes += (index == 0 ? "\"nats://127.0.0.1:" : ", \"nats://127.0.0.1:") +
                  std::to_string(routes_.back()->number()) + '"';
    }
    for (std::size_t index = 0; index < routes_.size(); ++index)
        servers_.push_back(std::unique_ptr<nats_server>(
            new nats_server(options, {"n" + std::to_string(index + 1), routes, routes_[index]->number()})));
    for (const auto& each : servers_) each->launch();
    wait_ready();
}

void nats_trio::wait_ready() const {
    for (const auto& each : servers_) each->wait_ready();
    (void)leader();
}

std::string nats_trio::url() const {
    std::string all;
    for (const auto& each : servers_) all += (all.empty() ? "" : ",") + each->url();
    return all;
}

namespace {

// Asks `leader_in(server)` of all until one names a server.
template <class Servers, class Ask>
std::size_t find_leader(const Servers& servers, const std::string& of, Ask leader_in) {
    for (const auto give_up = std::chrono::steady_clock::now() + patience;
         std::chrono::steady_clock::now() < give_up;) {
        for (const auto& each : servers) {
            const std::string name = leader_in(*each);
            // A name is "n1" to "n3", and who is gone leads no more.
            if (name.size() != 2 || name[0] != 'n') continue;
            const auto index = static_cast<std::size_t>(name[1] - '1');
            if (index < servers.size() && servers[index]->runs()) return index;
        }
        std::this_thread::sleep_for(20ms);
    }
    fail("no leader of " + of);
}

}  // namespace

std::size_t nats_trio::leader() const {
    return find_leader(servers_, "the servers", [](const nats_server& server) {
        const std::string text = server.ask("/jsz");
        const std::size_t at = text.find("\"meta_cluster\"");
        return at == std::string::npos ? std::string() : text_field(text, "leader", at);
    });
}

std::size_t nats_trio::leader_of(std::string_view stream) const {
    return find_leader(servers_, "stream " + std::string(stream), [&](const nats_server& server) {
        const std::string text = server.ask("/jsz?accounts=true&streams=true");
        for (std::size_t at = text.find("\"stream_detail\""); at != std::string::npos;
             at = text.find("\"name\"", at + 1))
            if (text_field(text, "name", at) == stream)
                if (const std::size_t group = text.find("\"cluster\"", at); group != std::string::npos)
                    return text_field(text, "leader", group);
        return std::string();
    });
}

certificates::certificates() {
    const std::string script = R"(
set -e
umask 077
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=$1" -keyout $1.key -out $1.pem
}
signed() { # NAME AUTHORITY EXTENSION
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout $1.key -out $1.req
    printf 'subjectAltName=%s\n' "$3" >$1.ext
    openssl x509 -req -in $1.req -CA $2.pem -CAkey $2.key -set_serial 0x$(openssl rand -hex 12) -days 3650 -extfile $1.ext -out $1.pem
}
names=IP:127.0.0.1,IP:::1,DNS:localhost
authority authority
authority other_authority
signed server authority $names
signed client authority DNS:client
signed other_server other_authority $names
)";
    const std::string command = "cd '" + folder.path().string() + "' && exec >log 2>&1\n" + script;
    if (std::system(command.c_str()) != 0)  // NOLINT(concurrency-mt-unsafe): changes no environment
        fail("certificates: " + read_file(folder.path() / "log"));
    const auto file = [&](const char* name) { return (folder.path() / name).string(); };
    authority = file("authority.pem");
    server = file("server.pem");
    server_key = file("server.key");
    client = file("client.pem");
    client_key = file("client.key");
    other_authority = file("other_authority.pem");
    other_server = file("other_server.pem");
    other_server_key = file("other_server.key");
}

std::string certificates::server_tls(bool asks_for_client) const {
    return "tls { cert_file: \"" + server + "\", key_file: \"" + server_key + "\", ca_file: \"" + authority +
           "\", verify: " + (asks_for_client ? "true" : "false") + " }\n";
}

}  // namespace leat_test
