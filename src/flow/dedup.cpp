#include <leat/flow/dedup.hpp>

#include <fmt/format.h>
#include <xxhash.h>

#include <leat/flow/journal.hpp>
#include <leat/runtime/blocking.hpp>
#include <leat/task/scope.hpp>

#include <flow/seen_index.hpp>

namespace leat {

key_digest digest_of(std::string_view bytes) noexcept {
    const XXH128_hash_t made = XXH3_128bits(bytes.data(), bytes.size());
    // {0, 0} marks an empty place of a table.
    return {made.low64, made.high64 == 0 && made.low64 == 0 ? 1 : made.high64};
}

namespace {

// How long a key that was committed waits for others to be written with it.
constexpr duration longest_pause = std::chrono::milliseconds(100);

using detail::digest_function;

class worker : public stage_worker {
public:
    worker(digest_function& digest, std::shared_ptr<seen_index> index, const dedup_options& options)
        : index_(std::move(index)), digest_(digest), options_(options) {}

protected:
    key_digest digest_of_item(item& in) { return digest_(in.value, room_); }
    // Whether it goes on.
    [[nodiscard]] bool is_first(seen_index::place where) const {
        if (where == seen_index::place::full)
            throw permanent_error(
                fmt::format("dedup has {} different keys, its bound; filter = {{ items = … }} of the stage sets it",
                            options_.items));
        return where == seen_index::place::first;
    }
    // The item keeps its own account: an attempt that fails in here gives the key free and is followed by another one.
    task<> pass_on(item& in, emitter& out, key_digest key) {
        ack_ref account = index_->watch(key, in.ack.fork());
        payload value = out.may_consume() ? std::move(in.value) : in.value.copy();
        co_await out.emit(std::move(value), std::move(account));
    }
    std::shared_ptr<seen_index> index_;

private:
    digest_function& digest_;
    const dedup_options& options_;
    std::string room_;
};

// Where nothing has to be waited for.
class worker_in_memory final : public worker {
public:
    using worker::worker;
    made transform(item& in, bool) override {
        const key_digest key = digest_of_item(in);
        if (!is_first(index_->look(key, in.ack))) return made::none;
        in.ack = index_->watch(key, std::move(in.ack));
        return made::one;
    }
    task<> process(item& in, emitter& out) override {
        const key_digest key = digest_of_item(in);
        if (is_first(index_->look(key, in.ack))) co_await pass_on(in, out, key);
    }
};

class worker_on_disk final : public worker {
public:
    using worker::worker;
    task<> process(item& in, emitter& out) override {
        const key_digest key = digest_of_item(in);
        if (index_->must_write()) co_await write();
        seen_index::place where = index_->look(key, in.ack);
        if (where == seen_index::place::ask) where = co_await look_on_disk(key);
        if (is_first(where)) co_await pass_on(in, out, key);
    }

private:
    // What fails here is the index, and not the item.
    task<> write() {
        try {
            co_await blocking(&seen_index::write, index_.get());
        } catch (const seen_store::failure& failed) {
            throw stage_failed(failed.what());
        }
    }
    task<seen_index::place> look_on_disk(key_digest key) {
        try {
            if (const auto quick = index_->try_look_on_disk(key)) co_return *quick;
            co_return co_await blocking(&seen_index::look_on_disk, index_.get(), key);
        } catch (const seen_store::failure& failed) {
            throw stage_failed(failed.what());
        }
    }
};

// The journal of the run, as the index knows it.
class journal_of_run final : public seen_journal {
public:
    explicit journal_of_run(sink_journal& kept) : kept_(kept) {}
    [[nodiscard]] bool resumes() const override { return kept_.mode() != journal_mode::fresh; }
    [[nodiscard]] std::string item_of(const ack_ref& of) const override {
        std::vector<std::string> items = kept_.items_of(of);
        return items.empty() ? std::string() : std::move(items.front());
    }
    // Dead letters that are replayed are no part of what was interrupted: then all keys are good.
    [[nodiscard]] bool is_done(const std::string& item) override {
        return kept_.mode() != journal_mode::resume || kept_.is_done(item);
    }
    void when_recorded(const ack_ref& of, std::function<void()> then) override {
        kept_.when_recorded(of, std::move(then));
    }

private:
    sink_journal& kept_;
};

class any_dedup_stage final : public stage {
public:
    any_dedup_stage(digest_function digest, dedup_options options, std::string keys)
        : digest_(std::move(digest)), options_(std::move(options)), keys_(std::move(keys)) {}

    void use_state(const std::string& folder, const std::string& name) override {
        if (!options_.path.empty()) return;
        std::string file;  // of the name of the stage, which may be anything
        for (const char each : name) {
            const auto byte = static_cast<unsigned char>(each);
            const bool is_plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                                  (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' || byte == '.';
            file += is_plain ? std::string(1, each) : fmt::format("%{:02x}", byte);
        }
        options_.path = fmt::format("{}/seen-{}.{}", folder, file, options_.exact ? "db" : "bloom");
    }

    void use_journal(sink_journal& kept) override { kept_.emplace(kept); }

    task<> start(unsigned) override {
        if (options_.keep && options_.path.empty())
            throw std::invalid_argument(
                "keys can be kept in a state directory alone; expected state = \"…\" in [flow]");
        index_ = std::make_shared<seen_index>(options_, keys_, kept_ ? &*kept_ : nullptr);
        co_await blocking(&seen_index::open, index_.get());
        if (!index_->is_on_disk()) co_return;
        context& line = co_await this_task::line();
        beside_.emplace(line);
        beside_->spawn(
            task_name("dedup, writing"), [](any_dedup_stage* self) { return self->write_when_idle(); }, this);
    }
    task<std::unique_ptr<stage_worker>> open() override {
        if (is_direct()) co_return std::make_unique<worker_in_memory>(digest_, index_, options_);
        co_return std::make_unique<worker_on_disk>(digest_, index_, options_);
    }
    task<> close() override {
        if (beside_) {
            beside_->stop();
            co_await beside_->join_quietly();
            beside_.reset();
        }
        if (index_) co_await blocking(&seen_index::close, index_.get());
    }
    [[nodiscard]] unsigned most_jobs() const noexcept override { return 1; }
    [[nodiscard]] bool is_direct() const noexcept override { return options_.path.empty() || !options_.exact; }

private:
    task<> write_when_idle() {
        for (;;) {
            co_await index_->dirty().wait();
            co_await sleep_for(longest_pause);
            try {
                co_await blocking(&seen_index::write, index_.get());
            } catch (const seen_store::failure&) {
                co_return;  // the next item meets it again, or the end does
            }
        }
    }

    digest_function digest_;
    dedup_options options_;
    std::string keys_;
    std::optional<journal_of_run> kept_;  // outlives the index
    std::shared_ptr<seen_index> index_;
    std::optional<scope> beside_;
};

}  // namespace

std::shared_ptr<stage> detail::make_dedup_stage(digest_function digest, dedup_options options, std::string keys) {
    return std::make_shared<any_dedup_stage>(std::move(digest), std::move(options), std::move(keys));
}

}  // namespace leat
