#include <tcp_proxy.hpp>

#include <array>
#include <cerrno>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace leat_test {

namespace {

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// One direction of a connection: at most `waiting` is read and not written.
struct way {
    std::string waiting;
    bool ended = false;  // nothing more comes
    bool told = false;   // and the other side knows
    static constexpr std::size_t most = 64 << 10;
};

void reset_and_close(int fd) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    ::close(fd);
}

}  // namespace

struct tcp_proxy::pair {
    int client = -1, server = -1;
    way up, down;
    bool broken = false;
};

tcp_proxy::tcp_proxy(std::uint16_t to) : to_(to) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bell_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const int yes = 1;
    const sockaddr_in address = loopback(port());
    if (listener_ < 0 || bell_ < 0 || ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        ::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_, SOMAXCONN) != 0)
        throw std::runtime_error("a proxy on port " + std::to_string(port()));
    thread_ = std::thread([this] { serve(); });
}

tcp_proxy::~tcp_proxy() {
    ends_ = true;
    wake();
    thread_.join();
    ::close(listener_);
    ::close(bell_);
}

void tcp_proxy::wake() {
    const std::uint64_t one = 1;
    (void)!::write(bell_, &one, sizeof one);
}

void tcp_proxy::reset() {
    const unsigned mine = resets_asked_.fetch_add(1) + 1;
    wake();
    for (unsigned seen = 0; (seen = resets_done_.load()) < mine;) resets_done_.wait(seen);
}

void tcp_proxy::close_pair(pair& each) const {
    if (each.client >= 0) reset_and_close(each.client);
    if (each.server >= 0) reset_and_close(each.server);
}

void tcp_proxy::serve() {
    std::vector<pair> pairs;
    std::vector<pollfd> polled;
    std::array<char, 16384> piece{};

    // Moves what can be moved; false when the connection is over.
    const auto move = [&](int from, int to, way& what, short from_events, short to_events, bool held) {
        if (held) return true;
        if ((from_events & (POLLIN | POLLHUP | POLLERR)) != 0 && !what.ended && what.waiting.size() < way::most) {
            const ssize_t got = ::recv(from, piece.data(), piece.size(), 0);
            if (got > 0) what.waiting.append(piece.data(), static_cast<std::size_t>(got));
            if (got == 0) what.ended = true;
            if (got < 0 && errno != EAGAIN && errno != EINTR) return false;
        }
        if ((to_events & POLLERR) != 0) return false;
        if (!what.waiting.empty()) {
            const ssize_t put = ::send(to, what.waiting.data(), what.waiting.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (put < 0 && errno != EAGAIN && errno != EINTR) return false;
            if (put > 0) {
                what.waiting.erase(0, static_cast<std::size_t>(put));
                bytes_ += static_cast<std::uint64_t>(put);
            }
        }
        if (what.ended && what.waiting.empty() && !what.told) {
            ::shutdown(to, SHUT_WR);
            what.told = true;
        }
        return true;
    };

    while (!ends_) {
        const unsigned mode = mode_.load();
        polled.assign({{bell_, POLLIN, 0}, {listener_, POLLIN, 0}});
        for (const pair& each : pairs) {
            const auto wanted = [](const way& in, bool in_held, const way& out, bool out_held) {
                const bool reads = !in_held && !in.ended && in.waiting.size() < way::most;
                const bool writes = !out_held && !out.waiting.empty();
                return static_cast<short>((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
            };
            const bool up_held = (mode & holds_up) != 0, down_held = (mode & holds_down) != 0;
            const short client = wanted(each.up, up_held, each.down, down_held);
            const short server = wanted(each.down, down_held, each.up, up_held);
            // A negative descriptor is passed over: a side that has hung up would be reported again and again.
            polled.push_back({client != 0 ? each.client : -1, client, 0});
            polled.push_back({server != 0 ? each.server : -1, server, 0});
        }
        if (::poll(polled.data(), polled.size(), -1) < 0) continue;

        std::uint64_t rung = 0;
        (void)!::read(bell_, &rung, sizeof rung);
        const unsigned now = mode_.load();
        const unsigned asked = resets_asked_.load();
        if (asked != resets_done_.load()) {
            for (pair& each : pairs) close_pair(each);
            pairs.clear();
            // Who waits to be accepted is a connection that there is.
            for (int fd = -1; (fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) reset_and_close(fd);
            resets_done_ = asked;
            resets_done_.notify_all();
            continue;
        }
        for (std::size_t index = 0; index < pairs.size(); ++index) {
            pair& each = pairs[index];
            const short client = polled[2 + 2 * index].revents, server = polled[3 + 2 * index].revents;
            each.broken = !move(each.client, each.server, each.up, client, server, (now & holds_up) != 0) ||
                          !move(each.server, each.client, each.down, server, client, (now & holds_down) != 0) ||
                          (each.up.told && each.down.told);
            if (each.broken) close_pair(each);
        }
        std::erase_if(pairs, [](const pair& each) { return each.broken; });
        if ((polled[1].revents & POLLIN) != 0) {
            const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (client < 0) continue;
            const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            const sockaddr_in address = loopback(to_);
            if ((now & refuses) != 0 ||
                ::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
                reset_and_close(client);
                ::close(server);
                continue;
            }
            const int yes = 1;
            ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            ::setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            pair fresh;
            fresh.client = client;
            fresh.server = server;
            pairs.push_back(std::move(fresh));
        }
    }
    for (pair& each : pairs) close_pair(each);
}

}  // namespace leat_test
