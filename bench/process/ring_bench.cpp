// Question: what does a message from one process to another cost, by its size, and how long does it take to arrive?
//
// Peers: a pipe and a Unix socket (SOCK_STREAM, both with blocking reads and writes of whole messages), and for large messages one
// memcpy of the same bytes within a process: the limit of anything that copies. The other process is a fork; both are plain
// threads. One way: the time from the first send until the other side has said that it has all. "In place": the sender writes and
// the receiver reads 8 bytes of each message, and nothing is copied; the rest copies in and out. "There and back": one message at a
// time, the time of half a round trip.
// Each process has a CPU of its own where there are two, so that both run; else the scheduler may put them on one.
// Not measured: tasks, which wait through an eventfd and an event loop (bench/runtime/wake_bench.cpp); more than two processes.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sched.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <leat/process/shared_ring.hpp>
#include <support/bench.hpp>

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
template <class Produce, class Consume>
bench::sample across(std::uint64_t count, double scale, Produce produce, Consume consume) {
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

bench::sample streams_there_and_back(std::uint64_t count, stream which) {
    std::array<int, 2> there{};
    std::array<int, 2> back{};
    for (auto* const fds : {&there, &back})
        check((which == stream::pipe ? ::pipe(fds->data()) : ::socketpair(AF_UNIX, SOCK_STREAM, 0, fds->data())) == 0,
              "stream");
    const auto result = across(
        count, 2,
        [&] {
            message answer{};
            for (std::uint64_t i = 0; i < count; ++i) {
                const message next{i, 0};
                write_all(there[1], &next, sizeof next);
                (void)read_all(back[0], &answer, sizeof answer);
            }
        },
        [&](auto is_ready) {
            is_ready();
            std::uint64_t sum = 0;
            message next{};
            for (std::uint64_t i = 0; i < count && read_all(there[0], &next, sizeof next); ++i) {
                sum = mix(sum, next.number);
                write_all(back[1], &next, sizeof next);
            }
            return sum;
        });
    for (const int fd : {there[0], there[1], back[0], back[1]}) ::close(fd);
    return result;
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
        bench.compare(
            name.c_str(), "one memcpy", unit, [=] { return copied(count, size); },
            [=] { return copied_in_one_process(count, size); });
        bench.compare((std::string(each.name) + ", in place").c_str(), "copied", unit,
                      [=] { return in_place(count, size); }, [=] { return copied(count, size); });
    }

    const std::uint64_t turns = bench.size(50'000, 200);
    bench.compare(
        "there and back, half", "pipe", unit, [=] { return rings_there_and_back(turns); },
        [=] { return streams_there_and_back(turns, stream::pipe); });
    bench.compare(
        "there and back, half", "Unix socket", unit, [=] { return rings_there_and_back(turns); },
        [=] { return streams_there_and_back(turns, stream::socket); });
    return bench.exit_code();
}
