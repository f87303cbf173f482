#include <leat/cluster/blob_store.hpp>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <new>
#include <optional>
#include <xxhash.h>

#include <leat/task/scope.hpp>

#include <cluster/insist.hpp>

namespace leat::cluster {

namespace {

// In front of the bytes of each chunk: XXH3 of these, seeded with its index, so that a chunk that is whole but another's
// is refused too.
constexpr std::size_t mark_bytes = sizeof(std::uint64_t);

std::uint64_t mark_of(std::string_view bytes, std::uint64_t index) {
    return XXH3_64bits_withSeed(bytes.data(), bytes.size(), index);
}
std::uint64_t chunks_of(const blob_ref& which) {
    return which.chunk_bytes == 0 ? 0 : (which.size + which.chunk_bytes - 1) / which.chunk_bytes;
}
std::size_t size_of_chunk(const blob_ref& which, std::uint64_t index) {
    return static_cast<std::size_t>(std::min<std::uint64_t>(which.chunk_bytes, which.size - index * which.chunk_bytes));
}
std::string key_of(const std::string& id, std::uint64_t index) { return fmt::format("{}/{}", id, index); }

// A reference comes from elsewhere: the id becomes part of a key, and the sizes decide what is allocated.
std::optional<broker_error> wrong_with(const blob_ref& which, const blob_options& options) {
    const auto is_plain = [](char each) { return (each >= '0' && each <= '9') || (each >= 'a' && each <= 'f'); };
    if (which.id.empty() || which.id.size() > 64 || !std::all_of(which.id.begin(), which.id.end(), is_plain) ||
        (which.size != 0 && which.chunk_bytes == 0))
        return broker_error{broker_problem::malformed, "a reference to a blob makes no sense"};
    if (which.size > options.largest)
        return broker_error{broker_problem::too_large, fmt::format("blob {} claims {} bytes; at most {} are read",
                                                                   which.id, which.size, options.largest)};
    return std::nullopt;
}
broker_error torn(const blob_ref& which, const char* what) {
    return {broker_problem::malformed, fmt::format("blob {} of {} bytes is torn: {}", which.id, which.size, what)};
}

// The checksum of what comes piece by piece.
class running_sum {
public:
    running_sum() : state_(XXH3_createState()) {
        if (!state_) throw std::bad_alloc();
        XXH3_64bits_reset(state_.get());
    }
    void add(std::string_view bytes) { XXH3_64bits_update(state_.get(), bytes.data(), bytes.size()); }
    [[nodiscard]] std::uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

private:
    struct deleter {
        void operator()(XXH3_state_t* state) const noexcept { XXH3_freeState(state); }
    };
    std::unique_ptr<XXH3_state_t, deleter> state_;
};

}  // namespace

struct blob_store::tally {
    std::atomic<std::uint64_t> written{0};
    std::atomic<std::uint64_t> read{0};
    std::atomic<std::uint64_t> removed{0};
    std::atomic<std::uint64_t> bytes_written{0};
    std::atomic<std::uint64_t> bytes_read{0};
};

// The chunks of one blob on their way, by several lanes that take the next one each.
struct blob_store::transfer {
    enum class way : std::uint8_t { in, out, away };
    blob_ref what;
    way where = way::in;
    const std::string* from = nullptr;
    std::string* to = nullptr;
    std::atomic<std::uint64_t> next{0};
    env::mutex lock;
    std::optional<broker_error> failed;  // under lock: the first
};

blob_store::blob_store(broker& where, blob_options options)
    : broker_(where),
      options_(std::move(options)),
      room_(std::max(options_.most_bytes, options_.chunk)),
      tally_(std::make_unique<tally>()) {}

blob_store::~blob_store() = default;

blob_counts blob_store::counts() const noexcept {
    blob_counts now;
    now.written = tally_->written;
    now.read = tally_->read;
    now.removed = tally_->removed;
    now.bytes_written = tally_->bytes_written;
    now.bytes_read = tally_->bytes_read;
    return now;
}

std::size_t blob_store::chunk_bytes() const noexcept {
    const std::size_t largest = broker_.limits().largest_payload;
    // A half: what else is in the message has room.
    const std::size_t bytes = largest == 0 ? options_.chunk : std::min(options_.chunk, largest / 2);
    return std::max<std::size_t>(bytes, 1);
}

task<broker_result<done>> blob_store::open() {
    const auto make = [this] { return broker_.make_bucket(options_.bucket, options_.age, options_.replicas); };
    co_return co_await insist(options_.patience, make);
}

task<std::string> blob_store::fresh_id() {
    context& line = co_await this_task::line();
    executor& where = line.where();
    const std::uint64_t high = where.random();
    const std::uint64_t low = where.random();
    co_return fmt::format("{:016x}{:016x}", high, low);
}

task<broker_result<done>> blob_store::write_chunk(const std::string& id, std::uint64_t index, std::string_view bytes) {
    const semaphore::permit room = co_await room_.acquire(std::min(bytes.size(), options_.most_bytes));
    const std::uint64_t mark = mark_of(bytes, index);
    std::string value(mark_bytes, '\0');
    std::memcpy(value.data(), &mark, mark_bytes);
    value.append(bytes);
    const auto put = [&] { return broker_.put(options_.bucket, key_of(id, index), value); };
    const broker_result<std::uint64_t> stored = co_await insist(options_.patience, put);
    if (!stored) co_return unexpected(stored.error());
    tally_->bytes_written += bytes.size();
    co_return done{};
}

task<broker_result<std::string>> blob_store::read_chunk(const blob_ref& which, std::uint64_t index) {
    const std::size_t size = size_of_chunk(which, index);
    const semaphore::permit room = co_await room_.acquire(std::min(size, options_.most_bytes));
    const auto get = [&] { return broker_.get(options_.bucket, key_of(which.id, index)); };
    broker_result<entry> found = co_await insist(options_.patience, get);
    if (!found) {
        broker_error why = found.error();
        if (why.problem == broker_problem::not_found)
            why.text = fmt::format("blob {}: chunk {} of {} is not there: the blob was removed, or is older than {} s",
                                   which.id, index + 1, chunks_of(which),
                                   std::chrono::duration_cast<std::chrono::seconds>(options_.age).count());
        co_return unexpected(std::move(why));
    }
    std::string& value = found->value;
    if (value.size() != size + mark_bytes) co_return unexpected(torn(which, "a chunk is of another size"));
    std::uint64_t mark = 0;
    std::memcpy(&mark, value.data(), mark_bytes);
    value.erase(0, mark_bytes);
    if (mark != mark_of(value, index)) co_return unexpected(torn(which, "the checksum of a chunk is another"));
    tally_->bytes_read += size;
    co_return std::move(value);
}

struct blob_store::lane {
    static task<broker_result<done>> one(blob_store& store, transfer& all, std::uint64_t index) {
        const std::size_t at = static_cast<std::size_t>(index) * all.what.chunk_bytes;
        if (all.where == transfer::way::in) {
            const std::string_view bytes = std::string_view(*all.from).substr(at, size_of_chunk(all.what, index));
            co_return co_await store.write_chunk(all.what.id, index, bytes);
        }
        if (all.where == transfer::way::out) {
            const broker_result<std::string> bytes = co_await store.read_chunk(all.what, index);
            if (!bytes) co_return unexpected(bytes.error());
            std::memcpy(all.to->data() + at, bytes->data(), bytes->size());
            co_return done{};
        }
        const auto erase = [&] { return store.broker_.erase(store.options_.bucket, key_of(all.what.id, index)); };
        broker_result<done> gone = co_await insist(store.options_.patience, erase);
        if (!gone && gone.error().problem == broker_problem::not_found) co_return done{};
        co_return gone;
    }
    static task<> run(blob_store* store, transfer* all) {
        const std::uint64_t count = chunks_of(all->what);
        for (;;) {
            const std::uint64_t index = all->next.fetch_add(1);
            if (index >= count) co_return;
            const broker_result<done> moved = co_await one(*store, *all, index);
            if (moved) continue;
            all->next = count;
            const env::lock_guard held(all->lock);
            if (!all->failed) all->failed = moved.error();
        }
    }
};

task<> blob_store::move_chunks(transfer& all) {
    const std::uint64_t count = chunks_of(all.what);
    if (count == 1) {
        co_await lane::run(this, &all);
        co_return;
    }
    context& line = co_await this_task::line();
    scope lanes(line);
    const std::uint64_t most = std::min<std::uint64_t>(std::max(options_.ahead, 1U), count);
    for (std::uint64_t each = 0; each < most; ++each) lanes.spawn(&lane::run, this, &all);
    co_await lanes.join();
}

task<broker_result<blob_ref>> blob_store::put(std::string bytes) {
    transfer all;
    all.what.id = co_await fresh_id();
    all.what.size = bytes.size();
    all.what.checksum = XXH3_64bits(bytes.data(), bytes.size());
    all.what.chunk_bytes = static_cast<std::uint32_t>(chunk_bytes());
    all.where = transfer::way::in;
    all.from = &bytes;
    co_await move_chunks(all);
    if (all.failed) {
        broker_error why = *all.failed;
        why.text = fmt::format("a blob of {} bytes could not be written: {}", bytes.size(), why.text);
        co_return unexpected(std::move(why));
    }
    ++tally_->written;
    co_return std::move(all.what);
}

task<broker_result<std::string>> blob_store::get(blob_ref which) {
    if (std::optional<broker_error> wrong = wrong_with(which, options_)) co_return unexpected(std::move(*wrong));
    transfer all;
    all.what = std::move(which);
    all.where = transfer::way::out;
    std::string bytes(static_cast<std::size_t>(all.what.size), '\0');
    all.to = &bytes;
    co_await move_chunks(all);
    if (all.failed) co_return unexpected(std::move(*all.failed));
    if (XXH3_64bits(bytes.data(), bytes.size()) != all.what.checksum)
        co_return unexpected(torn(all.what, "the checksum of the whole is another"));
    ++tally_->read;
    co_return std::move(bytes);
}

task<broker_result<done>> blob_store::remove(blob_ref which) {
    if (std::optional<broker_error> wrong = wrong_with(which, options_)) co_return unexpected(std::move(*wrong));
    transfer all;
    all.what = std::move(which);
    all.where = transfer::way::away;
    co_await move_chunks(all);
    if (all.failed) co_return unexpected(std::move(*all.failed));
    ++tally_->removed;
    co_return done{};
}

// --- Piece by piece ---

struct blob_writer::state {
    explicit state(blob_store& in) : store(in) { made.chunk_bytes = static_cast<std::uint32_t>(store.chunk_bytes()); }
    blob_store& store;
    blob_ref made;
    std::string held;  // less than a chunk
    std::uint64_t chunks = 0;
    running_sum sum;
};

blob_writer::blob_writer(blob_store& store) : state_(std::make_unique<state>(store)) {}
blob_writer::~blob_writer() = default;

task<broker_result<done>> blob_writer::write(std::string_view bytes) {
    state& mine = *state_;
    if (mine.made.id.empty()) mine.made.id = co_await mine.store.fresh_id();
    mine.sum.add(bytes);
    mine.made.size += bytes.size();
    while (!bytes.empty()) {
        const std::size_t part = std::min(bytes.size(), mine.made.chunk_bytes - mine.held.size());
        mine.held.append(bytes.substr(0, part));
        bytes.remove_prefix(part);
        if (mine.held.size() < mine.made.chunk_bytes) break;
        broker_result<done> stored = co_await mine.store.write_chunk(mine.made.id, mine.chunks, mine.held);
        if (!stored) co_return stored;
        mine.held.clear();
        ++mine.chunks;
    }
    co_return done{};
}

task<broker_result<blob_ref>> blob_writer::finish() {
    state& mine = *state_;
    if (mine.made.id.empty()) mine.made.id = co_await mine.store.fresh_id();
    if (!mine.held.empty()) {
        broker_result<done> stored = co_await mine.store.write_chunk(mine.made.id, mine.chunks, mine.held);
        if (!stored) co_return unexpected(stored.error());
    }
    mine.made.checksum = mine.sum.value();
    ++mine.store.tally_->written;
    co_return mine.made;
}

struct blob_reader::state {
    state(blob_store& in, blob_ref of) : store(in), which(std::move(of)) {}
    blob_store& store;
    blob_ref which;
    std::uint64_t next = 0;
    running_sum sum;
};

blob_reader::blob_reader(blob_store& store, blob_ref which)
    : state_(std::make_unique<state>(store, std::move(which))) {}
blob_reader::~blob_reader() = default;

task<broker_result<std::string>> blob_reader::next() {
    state& mine = *state_;
    if (std::optional<broker_error> wrong = wrong_with(mine.which, mine.store.options_))
        co_return unexpected(std::move(*wrong));
    if (mine.next == chunks_of(mine.which)) {
        if (mine.sum.value() != mine.which.checksum)
            co_return unexpected(torn(mine.which, "the checksum of the whole is another"));
        co_return std::string();
    }
    broker_result<std::string> bytes = co_await mine.store.read_chunk(mine.which, mine.next);
    if (!bytes) co_return bytes;
    mine.sum.add(*bytes);
    if (++mine.next == chunks_of(mine.which)) ++mine.store.tally_->read;
    co_return bytes;
}

}  // namespace leat::cluster
