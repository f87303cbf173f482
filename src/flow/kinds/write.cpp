// write and jsonl: items one after the other in one file, or on standard output.
//
// Bytes are gathered and written some hundred kilobytes at a time, or, when no item comes for some milliseconds, by a task
// beside the worker. Items are committed when the write of their bytes has ended, all whole ones and no other; in a run
// with a journal they go on record together with the length of the file.
#include <fmt/format.h>
#include <limits>

#include <flow/kinds/kinds.hpp>
#include <flow/kinds/output_file.hpp>
#include <flow/record_json.hpp>
#include <leat/flow/journal.hpp>
#include <leat/flow/output_closed.hpp>
#include <leat/flow/record.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/task/scope.hpp>

namespace leat {

namespace {

constexpr std::size_t full = std::size_t{256} << 10U;
constexpr duration longest_pause = std::chrono::milliseconds(20);

struct write_settings {
    std::string path;
    bool json = false;
    std::string end = "\n";
    bool durable = false;
};

class write_stage final : public stage {
public:
    explicit write_stage(write_settings settings) : settings_(std::move(settings)), file_(settings_.path) {}

    void use_journal(sink_journal& kept) override { kept_ = &kept; }
    task<> start(unsigned) override {
        co_await open_file();
        context& line = co_await this_task::line();
        beside_.emplace(line);
        beside_->spawn(
            task_name("write sink, when idle"), [](write_stage* self) { return self->flush_when_idle(); }, this);
    }
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(*this); }
    task<> close() override {
        if (beside_) {
            beside_->stop();
            co_await beside_->join_quietly();
            beside_.reset();
        }
        held_.clear();  // not written: abandoned
        file_.close();
    }
    [[nodiscard]] unsigned most_jobs() const noexcept override { return 1; }

private:
    class worker final : public stage_worker {
    public:
        explicit worker(write_stage& owner) : owner_(owner) {}
        task<> process(item& in, emitter&) override { return owner_.add(in); }
        task<> finish(emitter& out) override { return owner_.finish(!out.is_cut_short()); }

    private:
        write_stage& owner_;
    };

    task<> open_file() {
        const bool afresh = kept_ == nullptr || kept_->mode() == journal_mode::fresh;
        const std::optional<std::uint64_t> length = afresh ? std::nullopt : kept_->length();
        const bool adds = !afresh && !length && kept_->mode() == journal_mode::replay;
        if (length) co_await file_.go_on(*length);
        else if (adds) co_await file_.add_to();
        else co_await file_.open();
        if (file_.is_stream()) kept_ = nullptr;  // nothing can be cut off it
        if (kept_ != nullptr && settings_.durable) kept_->before_each_write([this] { file_.sync(); });
    }

    task<> add(item& in) {
        auto held = co_await lock_.lock();
        // Before the item is taken: when it cannot be written it is this item's attempt that fails, and can be repeated.
        if (buffer_.size() >= full || failed_) co_await flush();
        append(in.value.as<record>());
        ends_.push_back(buffer_.size());
        held_.push_back(std::move(in.ack));
        if (!std::exchange(awaited_, true)) dirty_.release();
    }

    void append(const record& what) {
        if (settings_.json) {
            buffer_ += '{';
            append_record_members(buffer_, what);
            buffer_ += "}\n";
        } else {
            buffer_ += what.bytes;
            buffer_ += settings_.end;
        }
    }

    task<> finish(bool is_whole) {
        auto held = co_await lock_.lock();
        co_await flush();
        // Before the file has its name: all of it is on record then.
        if (is_whole && kept_ != nullptr) co_await kept_->flush();
        if (is_whole || file_.is_stream()) co_await file_.finish();
    }

    // With lock_ held. Commits what was written; throws when that is not all.
    task<> flush() {
        if (held_.empty()) co_return;
        const std::uint64_t before = file_.length();
        const output_file::written done = co_await file_.write(buffer_, ends_);
        const std::size_t parts = done.parts;
        commit(parts, before);
        items_ += parts;
        failed_ = static_cast<bool>(done.error);
        if (!failed_) {
            held_.clear();
            ends_.clear();
            buffer_.clear();
            if (buffer_.capacity() > 4 * full) buffer_ = std::string();  // after an item of great length
            co_return;
        }
        drop_front(parts);
        const std::string why = done.error.message();
        if (done.error == std::errc::broken_pipe)
            throw output_closed(fmt::format("cannot write to {}: nobody reads it any more", file_.shown()));
        if (file_.is_stream()) throw std::runtime_error(fmt::format("cannot write to {}: {}", file_.shown(), why));
        throw std::runtime_error(
            fmt::format("cannot write {}: {}; the first {} items are in it whole, and it keeps its name", file_.shown(),
                        why, items_));
    }

    void commit(std::size_t parts, std::uint64_t before) {
        if (kept_ == nullptr) {
            for (std::size_t i = 0; i < parts; ++i) held_[i].commit();
            return;
        }
        pieces_.clear();
        for (std::size_t i = 0; i < parts; ++i) pieces_.push_back({std::move(held_[i]), before + ends_[i]});
        kept_->wrote(pieces_);
    }

    void drop_front(std::size_t parts) {
        const std::size_t cut = parts == 0 ? 0 : ends_[parts - 1];
        const auto count = static_cast<std::ptrdiff_t>(parts);
        buffer_.erase(0, cut);
        held_.erase(held_.begin(), held_.begin() + count);
        ends_.erase(ends_.begin(), ends_.begin() + count);
        for (std::size_t& each : ends_) each -= cut;
    }

    task<> flush_when_idle() {
        for (;;) {
            auto taken = co_await dirty_.acquire();
            taken.forget();
            co_await sleep_for(longest_pause);
            auto held = co_await lock_.lock();
            awaited_ = false;
            task<> flushing = flush();
            // An error is met again by the next item, or at the end.
            outcome<void> end = co_await flushing.as_outcome();
            if (end.is_cancelled()) throw cancelled{};
        }
    }

    write_settings settings_;
    output_file file_;
    sink_journal* kept_ = nullptr;  // null: none, or of no use
    std::optional<scope> beside_;
    semaphore dirty_{0};  // a permit: something was put into the buffer since the last look

    leat::mutex lock_;  // of all below
    std::string buffer_;
    std::vector<std::size_t> ends_;  // of the items in buffer_
    std::vector<ack_ref> held_;      // theirs
    std::vector<sink_journal::piece> pieces_;
    bool awaited_ = false;     // a permit was given and not taken yet
    bool failed_ = false;      // the last flush did
    std::uint64_t items_ = 0;  // written whole
};

option path_option() {
    return option("path", option_type::text, "the file; \"-\" is standard output")
        .required()
        .at_least(1)
        .also_called({"file", "output"});
}

option durable_option() {
    return option("durable", option_type::boolean,
                  "with a journal: what is on record as done is on the disk, so that a crash of the machine loses none "
                  "of it")
        .defaults("false")
        .also_called({"fsync", "sync"});
}

constexpr const char* how_it_ends =
    "The file is written as PATH.part and takes its name at the end of the flow. When the flow is interrupted, or the "
    "file\n"
    "cannot be written on, PATH.part stays and ends with the last whole item. With a journal (state in [flow]) a "
    "resumed "
    "run goes\n"
    "on with it; what is added to a file that has its name is added to a copy.\n";

}  // namespace

void add_write_kinds(registry& kinds) {
    component write;
    write.role = component_role::sink;
    write.name = "write";
    write.summary = "the contents one after the other in one file";
    write.help = how_it_ends;
    write.options = {
        path_option(),
        option("end", option_type::text, "what is put after each item").defaults("\n").also_called({"separator"}),
        durable_option()};
    write.make_stage = [](const option_values& given) -> std::shared_ptr<stage> {
        return std::make_shared<write_stage>(
            write_settings{given.text("path"), false, given.text("end"), given.boolean("durable")});
    };
    kinds.add(std::move(write));

    component jsonl;
    jsonl.role = component_role::sink;
    jsonl.name = "jsonl";
    jsonl.summary = "a JSON object a line for each item, in one file";
    jsonl.help = std::string(
                     "With the members key, attributes when there are any, and text; content that is not UTF-8 stands "
                     "as base64 in\n"
                     "the place of text.\n") +
                 how_it_ends;
    jsonl.options = {path_option(), durable_option()};
    jsonl.make_stage = [](const option_values& given) -> std::shared_ptr<stage> {
        return std::make_shared<write_stage>(write_settings{given.text("path"), true, {}, given.boolean("durable")});
    };
    kinds.add(std::move(jsonl));
}

}  // namespace leat
