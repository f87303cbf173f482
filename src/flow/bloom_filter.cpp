// A saved filter, in the byte order of little-endian machines:
//   8 bytes "leatblm\n" | u32 version | u32 lanes | u64 blocks | u64 items | f64 rate | u64 keys | u64 mark | u64 zero
//   the blocks | u64 XXH3 of all before
#include <leat/flow/bloom_filter.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <stdexcept>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <xxhash.h>

#include <leat/io/unique_fd.hpp>

#include <flow/bloom_block.hpp>

namespace leat {

namespace {

static_assert(std::endian::native == std::endian::little, "saved filters are in the order of the machine");

constexpr char magic[8] = {'l', 'e', 'a', 't', 'b', 'l', 'm', '\n'};
constexpr std::uint32_t version = 1;

struct header {
    char name[sizeof magic];
    std::uint32_t version;
    std::uint32_t lanes;
    std::uint64_t blocks;
    std::uint64_t items;
    double rate;
    std::uint64_t keys;
    std::uint64_t mark;
    std::uint64_t zero;
};
static_assert(sizeof(header) == 64);

constexpr double bits_in_block = 8.0 * bloom_filter::block_bytes;

// The rate with `load` keys a block on average: see the header.
double rate_at(double load, unsigned lanes) {
    const double others = 1 - lanes / bits_in_block;  // that a key leaves a given bit of its lane alone
    double clear = 1;                                 // that i keys do
    double rate = 0;
    // Terms far from the mean are nothing beside the rest; the sum begins where the Poisson probability is no denormal number.
    const double spread = 12 * std::sqrt(load) + 40;
    const double from = std::max(0.0, std::floor(load - spread));
    clear = std::pow(others, from);
    double probability = std::exp(from * std::log(load) - load - std::lgamma(from + 1));
    for (double i = from; i < load + spread; ++i) {
        rate += probability * std::pow(1 - clear, lanes);
        probability *= load / (i + 1);
        clear *= others;
    }
    return rate;
}

// The most keys a block for which the rate is at most `rate`.
double load_for(double rate, unsigned lanes) {
    double low = 1e-9;
    double high = 4096;
    for (int i = 0; i < 100; ++i) {
        const double middle = std::sqrt(low * high);
        (rate_at(middle, lanes) > rate ? high : low) = middle;
    }
    return low;
}

const detail::bloom_operations& best_operations(unsigned lanes) noexcept {
    const detail::bloom_operations* const vector = detail::vector_bloom_operations(lanes);
    return vector != nullptr ? *vector : detail::plain_bloom_operations(lanes);
}

std::system_error cannot_save(const std::string& path, int why) {
    return {why, std::system_category(), fmt::format("a Bloom filter cannot be saved in '{}'", path)};
}

// 0, or why not.
int write_all(int fd, const void* bytes, std::size_t count) noexcept {
    const auto* from = static_cast<const char*>(bytes);
    while (count > 0) {
        const ssize_t wrote = ::write(fd, from, count);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return wrote == 0 ? EIO : errno;
        from += wrote;
        count -= static_cast<std::size_t>(wrote);
    }
    return 0;
}
// Whether there were so many.
bool read_all(int fd, void* bytes, std::size_t count) noexcept {
    auto* to = static_cast<char*>(bytes);
    while (count > 0) {
        const ssize_t got = ::read(fd, to, count);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        to += got;
        count -= static_cast<std::size_t>(got);
    }
    return true;
}

std::uint64_t checksum_of(const header& head, const std::byte* blocks, std::size_t bytes) noexcept {
    return XXH3_64bits_withSeed(blocks, bytes, XXH3_64bits(&head, sizeof head));
}

header head_of(const bloom_filter& filter, unsigned lanes, std::uint64_t mark) noexcept {
    header head{};
    std::memcpy(head.name, magic, sizeof magic);
    head.version = version;
    head.lanes = lanes;
    head.blocks = filter.bytes() / bloom_filter::block_bytes;
    head.items = filter.items();
    head.rate = filter.false_positives();
    head.keys = filter.keys();
    head.mark = mark;
    return head;
}

}  // namespace

void bloom_filter::deleter::operator()(std::byte* memory) const noexcept { std::free(memory); }

bloom_filter bloom_filter::checked(std::uint64_t items, double rate) {
    if (items == 0 || items > most_items)
        throw std::invalid_argument(
            fmt::format("a Bloom filter for {} items was asked for; expected 1 to {}", items, most_items));
    if (!(rate >= least_rate && rate <= greatest_rate))
        throw std::invalid_argument(
            fmt::format("a Bloom filter with a rate of false positives of {:g} was asked for; "
                        "expected {:g} to {:g}",
                        rate, least_rate, greatest_rate));
    return {items, rate, shape_for(items, rate)};
}

bloom_filter::bloom_filter(std::uint64_t items, double false_positives)
    : bloom_filter(checked(items, false_positives)) {}

bloom_filter::shape bloom_filter::shape_for(std::uint64_t items, double rate) {
    const double load_8 = load_for(rate, 8);
    const double load_16 = load_for(rate, 16);
    const double blocks = std::ceil(static_cast<double>(items) / std::max(load_8, load_16));
    return {std::max<std::uint64_t>(1, static_cast<std::uint64_t>(blocks)), load_8 >= load_16 ? 8U : 16U};
}

bloom_filter::bloom_filter(std::uint64_t items, double rate, shape with)
    : items_(items), rate_(rate), blocks_(with.blocks), lanes_(with.lanes), operations_(&best_operations(with.lanes)) {
    constexpr std::uint64_t most = std::uint64_t{1} << 46U;
    if (bytes() > most) throw std::bad_alloc();
    // calloc: large blocks of zeros come from the system and are made when they are touched.
    memory_.reset(static_cast<std::byte*>(std::calloc(bytes() + block_bytes, 1)));
    if (!memory_) throw std::bad_alloc();
    void* at = memory_.get();
    std::size_t room = bytes() + block_bytes;
    first_ = static_cast<std::byte*>(std::align(block_bytes, bytes(), at, room));
}

std::uint64_t bloom_filter::key_of(std::string_view bytes) noexcept { return XXH3_64bits(bytes.data(), bytes.size()); }

void bloom_filter::merge(const bloom_filter& other) {
    if (blocks_ != other.blocks_ || lanes_ != other.lanes_)
        throw std::invalid_argument(
            fmt::format("Bloom filters of two shapes cannot be merged: one is for {} items at {:g}, the other for {} "
                        "items at {:g}",
                        items_, rate_, other.items_, other.rate_));
    for (std::uint64_t i = 0; i < bytes(); ++i) first_[i] |= other.first_[i];
    keys_ += other.keys_;
}

void bloom_filter::clear() noexcept {
    std::memset(first_, 0, bytes());
    keys_ = 0;
}

double bloom_filter::expected_false_positives() const noexcept {
    return keys_ == 0 ? 0 : rate_at(static_cast<double>(keys_) / static_cast<double>(blocks_), lanes_);
}

bool bloom_filter::operator==(const bloom_filter& other) const noexcept {
    return blocks_ == other.blocks_ && lanes_ == other.lanes_ && std::memcmp(first_, other.first_, bytes()) == 0;
}

std::string bloom_filter::to_bytes(std::uint64_t mark) const {
    const header head = head_of(*this, lanes_, mark);
    const std::uint64_t checksum = checksum_of(head, first_, bytes());
    std::string all;
    all.reserve(sizeof head + bytes() + sizeof checksum);
    all.append(reinterpret_cast<const char*>(&head), sizeof head);
    all.append(reinterpret_cast<const char*>(first_), bytes());
    all.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
    return all;
}

void bloom_filter::save(const std::string& path, std::uint64_t mark) const {
    const header head = head_of(*this, lanes_, mark);
    const std::uint64_t checksum = checksum_of(head, first_, bytes());

    const std::string part = path + ".part";
    io::unique_fd file(::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!file) throw cannot_save(path, errno);
    int why = write_all(file.get(), &head, sizeof head);
    if (why == 0) why = write_all(file.get(), first_, bytes());
    if (why == 0) why = write_all(file.get(), &checksum, sizeof checksum);
    if (why == 0 && ::fdatasync(file.get()) != 0) why = errno;
    if (why == 0 && ::rename(part.c_str(), path.c_str()) != 0) why = errno;
    if (why == 0) return;
    ::unlink(part.c_str());
    throw cannot_save(path, why);
}

// read(place, count): the next bytes, of `size` in all; false when it cannot.
template <class Read>
expected<bloom_filter::saved, std::string> bloom_filter::read_saved(const std::string& name, std::uint64_t size,
                                                                    const Read& read) {
    const auto no = [&name](const std::string& what) { return unexpected(name + ": " + what); };
    header head{};
    const bool has_name = read(&head, sizeof magic) && std::memcmp(head.name, magic, sizeof magic) == 0;
    if (!has_name) return no("is no saved Bloom filter");
    if (!read(reinterpret_cast<char*>(&head) + sizeof magic, sizeof head - sizeof magic))
        return no(
            fmt::format("is truncated: a saved Bloom filter begins with {} bytes, this one has {}", sizeof head, size));
    if (head.version > version)
        return no(fmt::format("is a Bloom filter of version {}; this program reads versions up to {}", head.version,
                              version));
    // Before anything is allocated: the file has as many bytes as it says.
    const bool fits = head.blocks <= (size - sizeof head) / block_bytes;
    if (!fits || size < sizeof head + head.blocks * block_bytes + sizeof(std::uint64_t))
        return no(fmt::format("is truncated: it has {} bytes, for {} blocks of {}", size, head.blocks, block_bytes));
    const bool is_right = head.version == version && (head.lanes == 8 || head.lanes == 16) && head.blocks > 0 &&
                          head.items > 0 && head.items <= most_items && head.rate >= least_rate &&
                          head.rate <= greatest_rate &&
                          size == sizeof head + head.blocks * block_bytes + sizeof(std::uint64_t);
    if (!is_right) return no("is damaged: its head is no Bloom filter's");
    bloom_filter made(head.items, head.rate, shape{head.blocks, head.lanes});
    std::uint64_t checksum = 0;
    if (!read(made.first_, made.bytes()) || !read(&checksum, sizeof checksum)) return no("cannot be read to its end");
    if (checksum != checksum_of(head, made.first_, made.bytes())) return no("is damaged: its checksum is another");
    made.keys_ = head.keys;
    return saved{std::move(made), head.mark};
}

expected<bloom_filter::saved, std::string> bloom_filter::load(const std::string& path) {
    const io::unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return unexpected(path + ": " + (errno == ENOENT ? "there is no such file" : std::strerror(errno)));
    struct stat status{};
    if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return unexpected(path + ": is no file");
    return read_saved(path, static_cast<std::uint64_t>(status.st_size),
                      [&file](void* bytes, std::size_t count) { return read_all(file.get(), bytes, count); });
}

expected<bloom_filter::saved, std::string> bloom_filter::from_bytes(std::string_view bytes) {
    const std::uint64_t size = bytes.size();
    return read_saved("a Bloom filter in a message", size, [&bytes](void* to, std::size_t count) {
        if (bytes.size() < count) return false;
        std::memcpy(to, bytes.data(), count);
        bytes.remove_prefix(count);
        return true;
    });
}

}  // namespace leat
