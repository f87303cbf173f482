// A connection between a client and a server that a test can cut: stands in front of a port of loopback, with a port of its own.
// What is held is not lost, as in a network that comes back; what is dropped is a connection that ended.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include <nats_server.hpp>

namespace leat_test {

class tcp_proxy {
public:
    explicit tcp_proxy(std::uint16_t to);
    tcp_proxy(const tcp_proxy&) = delete;
    tcp_proxy& operator=(const tcp_proxy&) = delete;
    ~tcp_proxy();

    [[nodiscard]] std::uint16_t port() const noexcept { return port_.number(); }
    [[nodiscard]] std::string url() const { return "nats://127.0.0.1:" + std::to_string(port()); }

    // Nothing passes in that direction until release(): a partition, of one way or both. New connections are made, and mute.
    void hold_to_server() { set(holds_up); }
    void hold_to_client() { set(holds_down); }
    void hold() { set(holds_up | holds_down); }
    void release() { mode_.store(0), wake(); }
    // Resets all connections that there are; those that come later pass.
    void reset();
    // The same, and new ones are reset at once until accept().
    void refuse() { set(refuses), reset(); }
    void accept() { release(); }

    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_.load(); }  // that have passed, both ways

private:
    static constexpr unsigned holds_up = 1, holds_down = 2, refuses = 4;
    void set(unsigned bits) { mode_.fetch_or(bits), wake(); }
    void wake();
    void serve();
    struct pair;
    void close_pair(pair& each) const;

    held_port port_;
    std::uint16_t to_;
    int listener_ = -1;
    int bell_ = -1;
    std::atomic<unsigned> mode_ = 0;
    std::atomic<unsigned> resets_asked_ = 0, resets_done_ = 0;
    std::atomic<bool> ends_ = false;
    std::atomic<std::uint64_t> bytes_ = 0;
    std::thread thread_;
};

}  // namespace leat_test
