// Question: what does it cost to make a message of a value and to read it again?
//
// Peers: memcpy of the same bytes, for what goes as bytes and for a block of numbers; and msgpack-cxx packing and unpacking the
// same objects, for what goes as MessagePack. The latter cannot be installed beside Boost 1.81 in Debian 12: it is left out unless
// its headers are found (CPLUS_INCLUDE_PATH).
// Not measured: sending the message anywhere.
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <leat/process/codec.hpp>
#include <support/bench.hpp>

#if __has_include(<msgpack.hpp>)
#    define MSGPACK_NO_BOOST
#    include <msgpack.hpp>
#    define LEAT_BENCH_MSGPACK 1
#else
#    define LEAT_BENCH_MSGPACK 0
#endif

namespace {

struct quote {
    std::uint64_t time = 0;
    std::uint32_t instrument = 0;
    float price = 0;
};

struct order {
    std::string customer;
    std::uint64_t number = 0;
    std::vector<std::string> lines;
    std::map<std::string, std::int64_t> totals;
#if LEAT_BENCH_MSGPACK
    MSGPACK_DEFINE_ARRAY(customer, number, lines, totals)
#endif
};

[[maybe_unused]] order example(std::uint64_t number) {
    return {"customer " + std::to_string(number % 100),
            number,
            {"a line", "another line that is somewhat longer", "a third"},
            {{"net", static_cast<std::int64_t>(number)}, {"tax", -200}, {"gross", 70'000}}};
}

// Keeps the compiler from looking through a copy.
void hide(void* place) { asm volatile("" : : "r"(place) : "memory"); }

// Nanoseconds for each of `count` calls of `work`, which return something for the checksum.
template <class Work>
bench::sample each(std::uint64_t count, const Work& work) {
    std::uint64_t sum = 0;
    const double time = bench::nanoseconds_of([&] {
        for (std::uint64_t i = 0; i < count; ++i) sum += work(i);
    });
    return {time / static_cast<double>(count), sum};
}

void quotes(bench::session& bench) {
    const std::uint64_t count = bench.size(20'000'000, 1000);
    std::array<char, leat::codec_bytes<quote>> place{};
    bench.compare(
        "16 bytes there and back", "memcpy", "ns",
        [&] {
            return each(count, [&](std::uint64_t i) {
                leat::encode_bytes<quote>(place, {i, 7, 1.5F});
                hide(place.data());
                return leat::decode<quote>({place.data(), place.size()})->time;
            });
        },
        [&] {
            return each(count, [&](std::uint64_t i) {
                const quote sent{i, 7, 1.5F};
                std::memcpy(place.data(), &sent, sizeof sent);
                hide(place.data());
                quote got;
                std::memcpy(&got, place.data(), sizeof got);
                return got.time;
            });
        });
}

void blocks(bench::session& bench) {
    const std::uint64_t count = bench.size(2000, 3);
    const std::vector<double> numbers(std::size_t{1} << 17U, 1.5);  // 1 MiB
    const std::size_t bytes = numbers.size() * sizeof(double);
    std::string message;
    bench.compare(
        "1 MiB of doubles to a message", "memcpy", "ns",
        [&] {
            return each(count, [&](std::uint64_t) {
                message.clear();
                leat::encode_to(message, numbers);
                hide(message.data());
                return numbers.size();
            });
        },
        [&] {
            message.resize(bytes);
            return each(count, [&](std::uint64_t) {
                std::memcpy(message.data(), numbers.data(), bytes);
                hide(message.data());
                return numbers.size();
            });
        });
    message = leat::encode(numbers);
    bench.compare(
        "a message to 1 MiB of doubles", "memcpy to a new vector", "ns",
        [&] { return each(count, [&](std::uint64_t) { return leat::decode<std::vector<double>>(message)->size(); }); },
        [&] {
            return each(count, [&](std::uint64_t) {
                std::vector<double> got(numbers.size());
                std::memcpy(got.data(), message.data(), bytes);
                hide(got.data());
                return got.size();
            });
        });
}

void orders(bench::session& bench) {
#if LEAT_BENCH_MSGPACK
    const std::uint64_t count = bench.size(300'000, 100);
    const order sent = example(5);
    std::string message;
    msgpack::sbuffer buffer;
    bench.compare(
        "an order to a message", "msgpack-cxx", "ns",
        [&] {
            return each(count, [&](std::uint64_t) {
                message.clear();
                leat::encode_to(message, sent);
                return message.size();
            });
        },
        [&] {
            return each(count, [&](std::uint64_t) {
                buffer.clear();
                msgpack::pack(buffer, sent);
                return buffer.size();
            });
        });
    bench.compare(
        "a message to an order", "msgpack-cxx", "ns",
        [&] { return each(count, [&](std::uint64_t) { return leat::decode<order>(message)->totals.size(); }); },
        [&] {
            return each(count, [&](std::uint64_t) {
                return msgpack::unpack(buffer.data(), buffer.size()).get().as<order>().totals.size();
            });
        });
    if (message != std::string_view(buffer.data(), buffer.size())) bench.fail("the two messages differ");
#else
    bench.skip("an order to a message", "msgpack-cxx", "its headers are not found");
#endif
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "codec");
    quotes(bench);
    blocks(bench);
    orders(bench);
    return bench.exit_code();
}
