// Question: what does a message from one process to another cost, by its size, and how long does it take to arrive?
//
// Peers: a pipe and a Unix socket (SOCK_STREAM, both with blocking reads and writes of whole messages), ZeroMQ where it is installed
// (ipc://, PUSH to PULL and PAIR, with as many messages in between as the ring has room for), and for large messages one memcpy of
// the same bytes within a process: the limit of anything that copies. The other process is a fork; both are plain threads. One way:
// the time from the first send until the other side has said that it has all. "In place": the sender writes and the receiver reads 8
// bytes of each message, and nothing is copied; the rest copies in and out. "There and back": one message at a time, copied, the
// time of half a round trip. "Four senders": four processes on one CPU, each with its part of the messages.
// Each process has a CPU of its own where there are two, so that both run; else the scheduler may put them on one.
// How far apart the two CPUs are, in caches, decides by factors, and a virtual machine may move them during a run: compare within
// one run.
// Not measured: tasks, which wait through an eventfd and an event loop (bench/runtime/wake_bench.cpp); ZeroMQ without copies; memory
// use; senders on CPUs of their own.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <sched.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <leat/process/shared_ring.hpp>
#include <support/bench.hpp>
#if defined(LEAT_BENCH_ZMQ)
#    include <zmq.h>
#endif

namespace {

struct message {
    std::uint64_t number;
    std::uint64_t other;
};

void check(bool fine, const char* what) {
    if (fine) return;
    std::perror(what);
    std::abort();
}
void write_all(int fd, const void* bytes, std::size_t size) {
    const auto* at = static_cast<const char*>(bytes);
    while (size > 0) {
        const ssize_t count = ::write(fd, at, size);
        check(count > 0, "write");
        at += count;
        size -= static_cast<std::size_t>(count);
    }
}
bool read_all(int fd, void* bytes, std::size_t size) {
    auto* at = static_cast<char*>(bytes);
    while (size > 0) {
        const ssize_t count = ::read(fd, at, size);
        if (count <= 0) return false;
        at += count;
        size -= static_cast<std::size_t>(count);
    }
    return true;
}

std::uint64_t mix(std::uint64_t sum, std::uint64_t value) { return sum * 31 + value; }

// While it lives the process runs on the first of its CPUs alone; a fork that calls take_another() on the next one.
class lone_cpu {
public:
    lone_cpu() {
        CPU_ZERO(&all_);
        if (::sched_getaffinity(0, sizeof all_, &all_) == 0 && CPU_COUNT(&all_) >= 2) run_on(0);
    }
    lone_cpu(const lone_cpu&) = delete;
    lone_cpu& operator=(const lone_cpu&) = delete;
    ~lone_cpu() { ::sched_setaffinity(0, sizeof all_, &all_); }
    void take_another() const {
        if (CPU_COUNT(&all_) >= 2) run_on(1);
    }

private:
    void run_on(int index) const {
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (!CPU_ISSET(cpu, &all_) || index-- != 0) continue;
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            ::sched_setaffinity(0, sizeof one, &one);
        }
    }
    cpu_set_t all_;
};

// Runs `consume` in a fork and `produce` here; the time until the fork has given what consume() gave, for each of `count`.
// `prepare`: here, before the time begins.
template <class Produce, class Consume>
bench::sample across(
    std::uint64_t count, double scale, Produce produce, Consume consume, const std::function<void()>& prepare = [] {}) {
    std::array<int, 2> result{};
    std::array<int, 2> ready{};
    check(::pipe(result.data()) == 0 && ::pipe(ready.data()) == 0, "pipe");
    const lone_cpu here;
    const pid_t child = ::fork();
    check(child >= 0, "fork");
    if (child == 0) {
        here.take_another();
        const std::uint64_t sum = consume([&] { write_all(ready[1], "r", 1); });
        write_all(result[1], &sum, sizeof sum);
        ::_exit(0);
    }
    char byte = 0;
    check(read_all(ready[0], &byte, 1), "the start of the other process");
    prepare();
    std::uint64_t sum = 0;
    const double time = bench::nanoseconds_of([&] {
        produce();
        check(read_all(result[0], &sum, sizeof sum), "the result of the other process");
    });
    ::waitpid(child, nullptr, 0);
    for (const int fd : {result[0], result[1], ready[0], ready[1]}) ::close(fd);
    return {time / static_cast<double>(count) / scale, sum};
}

template <class T>
T made(leat::expected<T, leat::shared_error> what) {
    if (what) return std::move(*what);
    std::fprintf(stderr, "%s\n", what.error().message.c_str());
    std::abort();
}

// --- One way ---

bench::sample typed(std::uint64_t count) {
    auto ring = made(leat::shared_ring<message>::create(4096));
    auto out = made(ring.sender());
    return across(
        count, 1,
        [&] {
            for (std::uint64_t i = 0; i < count; ++i) (void)out.blocking_send({i, ~i});
        },
        [&](auto is_ready) {
            auto in = made(ring.receiver());
            is_ready();
            std::uint64_t sum = 0;
            for (std::uint64_t i = 0; i < count; ++i) sum = mix(sum, in.blocking_recv()->number);
            return sum;
        });
}

bench::sample typed_batches(std::uint64_t count) {
    auto ring = made(leat::shared_ring<message>::create(4096));
    auto out = made(ring.sender());
    return across(
        count, 1,
        [&] {
            std::array<message, 64> some{};
            for (std::uint64_t i = 0; i < count; i += some.size()) {
                const std::size_t these = std::min<std::size_t>(some.size(), count - i);
                for (std::size_t k = 0; k < these; ++k) some.at(k) = {i + k, ~i};
                (void)out.blocking_send_many(std::span(some).first(these));
            }
        },
        [&](auto is_ready) {
            auto in = made(ring.receiver());
            is_ready();
            std::array<message, 64> some{};
            std::uint64_t sum = 0;
            for (std::uint64_t i = 0; i < count;) {
                const std::size_t these = *in.blocking_recv_many(some);
                for (std::size_t k = 0; k < these; ++k) sum = mix(sum, some.at(k).number);
                i += these;
            }
            return sum;
        });
}

constexpr std::size_t ring_bytes_for(std::size_t size) { return std::max<std::size_t>(1 << 20, 4 * (size + 16)); }

bench::sample copied(std::uint64_t count, std::size_t size) {
    auto ring = made(leat::byte_ring::create(ring_bytes_for(size)));
    auto out = made(ring.sender());
    std::vector<std::byte> payload(size, std::byte(7));
    return across(
        count, 1,
        [&] {
            for (std::uint64_t i = 0; i < count; ++i) {
                std::memcpy(payload.data(), &i, sizeof i);
                (void)out.blocking_send(payload);
            }
        },
        [&](auto is_ready) {
            auto in = made(ring.receiver());
            std::vector<std::byte> into(size, std::byte(1));
            is_ready();
            std::uint64_t sum = 0;
            for (std::uint64_t i = 0; i < count; ++i) {
                const auto loan = in.blocking_borrow();
                std::memcpy(into.data(), loan->bytes().data(), loan->bytes().size());
                std::uint64_t number = 0;
                std::memcpy(&number, into.data(), sizeof number);
                sum = mix(sum, number);
            }
            return sum;
        });
}

bench::sample in_place(std::uint64_t count, std::size_t size) {
    auto ring = made(leat::byte_ring::create(ring_bytes_for(size)));
    auto out = made(ring.sender());
    return across(
        count, 1,
        [&] {
            for (std::uint64_t i = 0; i < count; ++i) {
                auto slot = out.blocking_reserve(size);
                std::memcpy(slot->bytes().data(), &i, sizeof i);
                (void)slot->commit();
            }
        },
        [&](auto is_ready) {
            auto in = made(ring.receiver());
            is_ready();
            std::uint64_t sum = 0;
            for (std::uint64_t i = 0; i < count; ++i) {
                const auto loan = in.blocking_borrow();
                std::uint64_t number = 0;
                std::memcpy(&number, loan->bytes().data(), sizeof number);
                sum = mix(sum, number);
            }
            return sum;
        });
}

enum class stream { pipe, socket };

bench::sample streamed(std::uint64_t count, std::size_t size, stream which) {
    std::array<int, 2> fds{};  // to read, to write
    check((which == stream::pipe ? ::pipe(fds.data()) : ::socketpair(AF_UNIX, SOCK_STREAM, 0, fds.data())) == 0,
          "stream");
    std::vector<std::byte> payload(size, std::byte(7));
    const auto result = across(
        count, 1,
        [&] {
            for (std::uint64_t i = 0; i < count; ++i) {
                std::memcpy(payload.data(), &i, sizeof i);
                write_all(fds[1], payload.data(), size);
            }
        },
        [&](auto is_ready) {
            std::vector<std::byte> into(size, std::byte(1));
            is_ready();
            std::uint64_t sum = 0;
            for (std::uint64_t i = 0; i < count && read_all(fds[0], into.data(), size); ++i) {
                std::uint64_t number = 0;
                std::memcpy(&number, into.data(), sizeof number);
                sum = mix(sum, number);
            }
            return sum;
        });
    ::close(fds[0]);
    ::close(fds[1]);
    return result;
}

// From one place to the places of a ring of the same size.
bench::sample copied_in_one_process(std::uint64_t count, std::size_t size) {
    const std::size_t places = std::max<std::size_t>(1, ring_bytes_for(size) / (size + 16));
    std::vector<std::byte> payload(size, std::byte(7));
    std::vector<std::byte> into(places * size, std::byte(1));
    std::uint64_t sum = 0;
    const double time = bench::nanoseconds_of([&] {
        for (std::uint64_t i = 0; i < count; ++i) {
            std::byte* const place = into.data() + i % places * size;
            std::memcpy(payload.data(), &i, sizeof i);
            std::memcpy(place, payload.data(), size);
            std::uint64_t number = 0;
            std::memcpy(&number, place, sizeof number);
            sum = mix(sum, number);
        }
    });
    return {time / static_cast<double>(count), sum};
}

// --- There and back ---

bench::sample rings_there_and_back(std::uint64_t count) {
    auto there = made(leat::shared_ring<message>::create(16));
    auto back = made(leat::shared_ring<message>::create(16));
    auto out = made(there.sender());
    auto in = made(back.receiver());
    return across(
        count, 2,
        [&] {
            for (std::uint64_t i = 0; i < count; ++i) {
                (void)out.blocking_send({i, 0});
                (void)in.blocking_recv();
            }
        },
        [&](auto is_ready) {
            auto from = made(there.receiver());
            auto to = made(back.sender());
            is_ready();
            std::uint64_t sum = 0;
            for (std::uint64_t i = 0; i < count; ++i) {
                const message next = *from.blocking_recv();
                sum = mix(sum, next.number);
                (void)to.blocking_send(next);
            }
            return sum;
        });
}

bench::sample bytes_there_and_back(std::uint64_t count, std::size_t size) {
    auto there = made(leat::byte_ring::create(ring_bytes_for(size)));
    auto back = made(leat::byte_ring::create(ring_bytes_for(size)));
    auto out = made(there.sender());
    auto in = made(back.receiver());
    std::vector<std::byte> payload(size, std::byte(7));
    return across(
        count, 2,
        [&] {
            for (std::uint64_t i = 0; i < count; ++i) {
                std::memcpy(payload.data(), &i, sizeof i);
                (void)out.blocking_send(payload);
                const auto loan = in.blocking_borrow();
                std::memcpy(payload.data(), loan->bytes().data(), size);
            }
        },
        [&](auto is_ready) {
            auto from = made(there.receiver());
            auto to = made(back.sender());
            std::vector<std::byte> into(size, std::byte(1));
            is_ready();
            std::uint64_t sum = 0;
            for (std::uint64_t i = 0; i < count; ++i) {
                {
                    const auto loan = from.blocking_borrow();
                    std::memcpy(into.data(), loan->bytes().data(), size);
                }
                std::uint64_t number = 0;
                std::memcpy(&number, into.data(), sizeof number);
                sum = mix(sum, number);
                (void)to.blocking_send(into);
            }
            return sum;
        });
}

bench::sample streams_there_and_back(std::uint64_t count, std::size_t size, stream which) {
    std::array<int, 2> there{};
    std::array<int, 2> back{};
    for (auto* const fds : {&there, &back})
        check((which == stream::pipe ? ::pipe(fds->data()) : ::socketpair(AF_UNIX, SOCK_STREAM, 0, fds->data())) == 0,
              "stream");
    const auto result = across(
        count, 2,
        [&] {
            std::vector<std::byte> payload(size, std::byte(7));
            for (std::uint64_t i = 0; i < count; ++i) {
                std::memcpy(payload.data(), &i, sizeof i);
                write_all(there[1], payload.data(), size);
                (void)read_all(back[0], payload.data(), size);
            }
        },
        [&](auto is_ready) {
            is_ready();
            std::uint64_t sum = 0;
            std::vector<std::byte> payload(size, std::byte(1));
            for (std::uint64_t i = 0; i < count && read_all(there[0], payload.data(), size); ++i) {
                std::uint64_t number = 0;
                std::memcpy(&number, payload.data(), sizeof number);
                sum = mix(sum, number);
                write_all(back[1], payload.data(), size);
            }
            return sum;
        });
    for (const int fd : {there[0], there[1], back[0], back[1]}) ::close(fd);
    return result;
}

// --- ZeroMQ ---

#if defined(LEAT_BENCH_ZMQ)

// One end of a connection. Made after the fork, which its threads would not survive.
class zmq_end {
public:
    zmq_end(int kind, std::size_t messages) : context_(::zmq_ctx_new()), socket_(::zmq_socket(context_, kind)) {
        check(socket_ != nullptr, "zmq_socket");
        const int most = static_cast<int>(std::max<std::size_t>(messages, 1));
        const int none = 0;
        ::zmq_setsockopt(socket_, ZMQ_SNDHWM, &most, sizeof most);
        ::zmq_setsockopt(socket_, ZMQ_RCVHWM, &most, sizeof most);
        ::zmq_setsockopt(socket_, ZMQ_LINGER, &none, sizeof none);
    }
    zmq_end(const zmq_end&) = delete;
    zmq_end& operator=(const zmq_end&) = delete;
    ~zmq_end() {
        ::zmq_close(socket_);
        ::zmq_ctx_term(context_);
    }
    void bind(const std::string& address) { check(::zmq_bind(socket_, address.c_str()) == 0, "zmq_bind"); }
    void connect(const std::string& address) { check(::zmq_connect(socket_, address.c_str()) == 0, "zmq_connect"); }
    void send(const std::vector<std::byte>& message) {
        check(::zmq_send(socket_, message.data(), message.size(), 0) >= 0, "zmq_send");
    }
    void receive(std::vector<std::byte>& into) {
        check(::zmq_recv(socket_, into.data(), into.size(), 0) == static_cast<int>(into.size()), "zmq_recv");
    }

private:
    void* context_;
    void* socket_;
};

// Without a name in the file system.
std::string new_address() {
    static int made = 0;
    return "ipc://@leat-bench-" + std::to_string(::getpid()) + "-" + std::to_string(++made);
}

bench::sample through_zmq(std::uint64_t count, std::size_t size, bool and_back) {
    const std::string address = new_address();
    const std::size_t between = ring_bytes_for(size) / (size + 16);
    std::optional<zmq_end> here;
    std::vector<std::byte> payload(size, std::byte(7));
    return across(
        count, and_back ? 2 : 1,
        [&] {
            for (std::uint64_t i = 0; i < count; ++i) {
                std::memcpy(payload.data(), &i, sizeof i);
                here->send(payload);
                if (and_back) here->receive(payload);
            }
            if (and_back) here->send(payload);
        },
        [&](auto is_ready) {
            zmq_end there(and_back ? ZMQ_PAIR : ZMQ_PULL, between);
            there.bind(address);
            is_ready();
            std::vector<std::byte> into(size, std::byte(1));
            there.receive(into);  // the one of prepare
            std::uint64_t sum = 0;
            for (std::uint64_t i = 0; i < count; ++i) {
                there.receive(into);
                std::uint64_t number = 0;
                std::memcpy(&number, into.data(), sizeof number);
                sum = mix(sum, number);
                if (and_back) there.send(into);
            }
            if (and_back) {
                // What it sent last leaves in a thread of ZeroMQ: until that has been received the other end says nothing.
                there.receive(into);
            }
            return sum;
        },
        [&] {
            here.emplace(and_back ? ZMQ_PAIR : ZMQ_PUSH, between);
            here->connect(address);
            here->send(payload);
        });
}

#endif

// --- Four senders ---

// Runs send(first, last) of messages with these numbers in four processes, of which this is one.
template <class Send>
void in_four_processes(std::uint64_t count, Send send) {
    std::array<pid_t, 3> others{};
    for (std::uint64_t i = 0; i < others.size(); ++i) {
        others.at(i) = ::fork();
        check(others.at(i) >= 0, "fork");
        if (others.at(i) == 0) {
            send(count * i / 4, count * (i + 1) / 4);
            ::_exit(0);
        }
    }
    send(count * 3 / 4, count);
    for (const pid_t each : others) ::waitpid(each, nullptr, 0);
}

bench::sample ring_from_four(std::uint64_t count) {
    auto ring = made(leat::shared_ring<message>::create(4096, leat::ring_senders::many));
    const auto keeps_it_open = made(ring.sender());
    return across(
        count, 1,
        [&] {
            in_four_processes(count, [&](std::uint64_t first, std::uint64_t last) {
                auto out = made(ring.sender());
                for (std::uint64_t i = first; i < last; ++i) (void)out.blocking_send({i, ~i});
            });
        },
        [&](auto is_ready) {
            auto in = made(ring.receiver());
            is_ready();
            std::uint64_t sum = 0;
            for (std::uint64_t i = 0; i < count; ++i) sum += in.blocking_recv()->number;
            return sum;
        });
}

bench::sample pipe_from_four(std::uint64_t count) {
    std::array<int, 2> fds{};
    check(::pipe(fds.data()) == 0, "pipe");
    const auto result = across(
        count, 1,
        [&] {
            in_four_processes(count, [&](std::uint64_t first, std::uint64_t last) {
                for (std::uint64_t i = first; i < last; ++i) {
                    const message next{i, ~i};  // whole: pipe(7) promises that for so few bytes
                    write_all(fds[1], &next, sizeof next);
                }
            });
        },
        [&](auto is_ready) {
            is_ready();
            std::uint64_t sum = 0;
            message next{};
            for (std::uint64_t i = 0; i < count && read_all(fds[0], &next, sizeof next); ++i) sum += next.number;
            return sum;
        });
    ::close(fds[0]);
    ::close(fds[1]);
    return result;
}

void compare_zmq(bench::session& bench, const char* name, const char* unit, const bench::side& ours,
                 std::uint64_t count, std::size_t size, bool and_back) {
#if defined(LEAT_BENCH_ZMQ)
    bench.compare(name, "ZeroMQ", unit, ours, [=] { return through_zmq(count, size, and_back); });
#else
    (void)unit, (void)ours, (void)count, (void)size, (void)and_back;
    bench.skip(name, "ZeroMQ", "libzmq3-dev was not installed when this was built");
#endif
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "ring");
    constexpr const char* unit = "ns/message";

    // As much work for both sides: their checksums are compared.
    const std::uint64_t many = bench.size(500'000, 1000);
    bench.compare(
        "16 B", "pipe", unit, [=] { return typed(many); },
        [=] { return streamed(many, sizeof(message), stream::pipe); });
    bench.compare(
        "16 B", "Unix socket", unit, [=] { return typed(many); },
        [=] { return streamed(many, sizeof(message), stream::socket); });
    compare_zmq(bench, "16 B", unit, [=] { return typed(many); }, many, sizeof(message), false);
    bench.compare(
        "16 B, four senders", "pipe", unit, [=] { return ring_from_four(many); }, [=] { return pipe_from_four(many); });
    const std::uint64_t very_many = bench.size(20'000'000, 5000);
    bench.compare(
        "16 B, in batches of 64", "one by one", unit, [=] { return typed_batches(very_many); },
        [=] { return typed(very_many); });

    struct size_of {
        const char* name;
        std::size_t bytes;
    };
    for (const size_of& each :
         {size_of{"256 B", 256}, {"4 KiB", 4 << 10}, {"64 KiB", 64 << 10}, {"1 MiB", 1 << 20}, {"16 MiB", 16 << 20}}) {
        const std::size_t size = each.bytes;
        const std::uint64_t count = bench.size(std::clamp<std::uint64_t>((std::uint64_t{2} << 30U) / size, 50, 200'000),
                                               size > 1 << 20 ? 2 : 20);
        const std::string name = std::string(each.name) + ", copied";
        bench.compare(
            name.c_str(), "pipe", unit, [=] { return copied(count, size); },
            [=] { return streamed(count, size, stream::pipe); });
        bench.compare(
            name.c_str(), "Unix socket", unit, [=] { return copied(count, size); },
            [=] { return streamed(count, size, stream::socket); });
        compare_zmq(bench, name.c_str(), unit, [=] { return copied(count, size); }, count, size, false);
        bench.compare(
            name.c_str(), "one memcpy", unit, [=] { return copied(count, size); },
            [=] { return copied_in_one_process(count, size); });
        bench.compare((std::string(each.name) + ", in place").c_str(), "copied", unit,
                      [=] { return in_place(count, size); }, [=] { return copied(count, size); });

        const std::uint64_t turns = bench.size(std::clamp<std::uint64_t>((std::uint64_t{256} << 20U) / size, 8, 20'000),
                                               size > 1 << 20 ? 2 : 20);
        const std::string both_ways = std::string(each.name) + ", there and back, half";
        const auto ours = [=] { return bytes_there_and_back(turns, size); };
        bench.compare(both_ways.c_str(), "pipe", unit, ours,
                      [=] { return streams_there_and_back(turns, size, stream::pipe); });
        bench.compare(both_ways.c_str(), "Unix socket", unit, ours,
                      [=] { return streams_there_and_back(turns, size, stream::socket); });
        compare_zmq(bench, both_ways.c_str(), unit, ours, turns, size, true);
    }

    const std::uint64_t turns = bench.size(50'000, 200);
    bench.compare(
        "16 B, there and back, half", "pipe", unit, [=] { return rings_there_and_back(turns); },
        [=] { return streams_there_and_back(turns, sizeof(message), stream::pipe); });
    bench.compare(
        "16 B, there and back, half", "Unix socket", unit, [=] { return rings_there_and_back(turns); },
        [=] { return streams_there_and_back(turns, sizeof(message), stream::socket); });
    compare_zmq(
        bench, "16 B, there and back, half", unit, [=] { return rings_there_and_back(turns); }, turns, sizeof(message),
        true);
    return bench.exit_code();
}
