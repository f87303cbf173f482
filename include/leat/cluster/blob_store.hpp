// blob_store: what is too large for a message, kept in the engine in chunks, and passed on by reference.
//
//   leat::cluster::blob_store store(broker);
//   co_await store.open();                                    // once, by who may make buckets
//   auto made = co_await store.put(std::move(text));           // a blob_ref: small, crosses in any message
//   auto text = co_await store.get(*made);
//   co_await store.remove(*made);
//
// A blob is written once, under an id that nobody else has, and is there as soon as its reference is: put() gives that when the
// last chunk is stored. What a writer that died has left behind is gone when it is older than `age`, by the engine's clock; so
// is a blob that nobody removed. A reader checks every chunk, and then the whole, so that it gets what was written or an error.
//
// Memory: beside the blob itself `ahead` chunks of each call; blob_writer and blob_reader hold one chunk each. Calls wait
// for each other when all together have `most_bytes` on their way.
//
// All calls: any number of tasks at once; they resume on the caller's executor. Passing errors of the engine are tried again
// for as long as `patience`. A stop throws `cancelled`: chunks that were written then are garbage, and go by age.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <leat/cluster/broker.hpp>
#include <leat/sync/semaphore.hpp>

namespace leat::cluster {

// Where a blob is, and what it must be. Crosses by codec.
struct blob_ref {
    std::string id;
    std::uint64_t size = 0;         // of the whole
    std::uint64_t checksum = 0;     // XXH3 of the whole
    std::uint32_t chunk_bytes = 0;  // of each chunk but the last
    friend bool operator==(const blob_ref&, const blob_ref&) = default;
};

struct blob_options {
    blob_options() {}
    std::string bucket = "leat_blobs";
    std::size_t bound = std::size_t{512} << 10U;  // larger values go by reference: is_large()
    std::size_t chunk = std::size_t{128} << 10U;
    std::size_t largest = std::size_t{4} << 30U;  // a reference that claims more is refused
    std::size_t most_bytes = std::size_t{64} << 20U;
    unsigned ahead = 8;
    duration age = std::chrono::hours(24);  // zero: until it is removed
    duration patience = std::chrono::seconds(30);
    unsigned replicas = 1;
};

// A snapshot.
struct blob_counts {
    std::uint64_t written = 0;  // blobs
    std::uint64_t read = 0;
    std::uint64_t removed = 0;
    std::uint64_t bytes_written = 0;
    std::uint64_t bytes_read = 0;
};

class blob_store {
public:
    // The broker outlives it.
    explicit blob_store(broker& where, blob_options options = {});
    blob_store(const blob_store&) = delete;
    blob_store& operator=(const blob_store&) = delete;
    // No call is under way.
    ~blob_store();

    // Makes the bucket, or finds it there. Others may use the store as soon as one has done so.
    task<broker_result<done>> open();

    // Whether a value of that size goes by reference.
    [[nodiscard]] bool is_large(std::size_t size) const noexcept { return size > options_.bound; }
    [[nodiscard]] const blob_options& options() const noexcept { return options_; }

    task<broker_result<blob_ref>> put(std::string bytes);
    // Errors: not_found (a chunk is not there: it was removed, or is older than `age`), malformed (what is there is not what
    // was written), too_large (the reference claims more than `largest`), and those of the engine.
    task<broker_result<std::string>> get(blob_ref which);
    // One that is not there is no error.
    task<broker_result<done>> remove(blob_ref which);

    [[nodiscard]] blob_counts counts() const noexcept;

private:
    friend class blob_writer;
    friend class blob_reader;
    struct lane;
    struct transfer;
    task<broker_result<std::string>> read_chunk(const blob_ref& which, std::uint64_t index);
    task<broker_result<done>> write_chunk(const std::string& id, std::uint64_t index, std::string_view bytes);
    task<> move_chunks(transfer& all);
    task<std::string> fresh_id();
    [[nodiscard]] std::size_t chunk_bytes() const noexcept;

    broker& broker_;
    const blob_options options_;
    semaphore room_;  // in bytes
    struct tally;
    std::unique_ptr<tally> tally_;
};

// Writes a blob piece by piece, where it is nowhere in one. One task at a time.
class blob_writer {
public:
    explicit blob_writer(blob_store& store);
    ~blob_writer();
    task<broker_result<done>> write(std::string_view bytes);
    // The last call.
    task<broker_result<blob_ref>> finish();

private:
    struct state;
    std::unique_ptr<state> state_;
};

// Reads one chunk by chunk. Each chunk is checked before it is given; that all of them are the whole, at the end. One task
// at a time.
class blob_reader {
public:
    blob_reader(blob_store& store, blob_ref which);
    ~blob_reader();
    // The next chunk; empty: that was the last.
    task<broker_result<std::string>> next();

private:
    struct state;
    std::unique_ptr<state> state_;
};

}  // namespace leat::cluster
