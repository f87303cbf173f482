// batch: joins items into one, which is committed when all that comes of it is.
#include <algorithm>

#include <flow/kinds/kinds.hpp>
#include <leat/flow/record.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

namespace {

struct batch_settings {
    explicit batch_settings(const option_values& given) : separator(given.text("separator")) {
        if (given.has("count")) count = static_cast<std::size_t>(given.integer("count"));
        if (given.has("bytes")) bytes = given.size("bytes");
        if (given.has("time")) time = std::min<duration>(given.duration("time"), std::chrono::hours(24 * 36525));
        if (count == 0 && bytes == 0) throw option_error("count", "or 'bytes' must say when a batch is full");
    }
    std::size_t count = 0;            // 0: no bound
    std::uint64_t bytes = 0;          // likewise
    duration time = duration::max();  // max(): likewise
    std::string separator;
};

class batch_worker final : public stage_worker {
public:
    explicit batch_worker(batch_settings settings) : settings_(std::move(settings)) {}

    task<> process(item& in, emitter& out) override {
        auto& each = in.value.as<record>();
        // A batch is at most `bytes` long, unless one item alone is longer.
        const bool overflows = settings_.bytes > 0 && !acks_.empty() &&
                               joined_.bytes.size() + settings_.separator.size() + each.bytes.size() > settings_.bytes;
        if (overflows) co_await flush(out);
        if (acks_.empty()) {
            joined_ = record(std::string(), each.key);
            joined_.sequence = each.sequence;
            if (settings_.time != duration::max()) {
                context& line = co_await this_task::line();
                deadline_ = line.where().now() + settings_.time;
            }
        } else {
            joined_.bytes += settings_.separator;
        }
        joined_.bytes += each.bytes;
        acks_.push_back(std::move(in.ack));
        const bool full = (settings_.count > 0 && acks_.size() >= settings_.count) ||
                          (settings_.bytes > 0 && joined_.bytes.size() >= settings_.bytes);
        if (full) co_await flush(out);
    }

    task<> finish(emitter& out) override {
        if (!acks_.empty()) co_await flush(out);
    }
    [[nodiscard]] time_point deadline() const noexcept override { return deadline_; }
    task<> due(emitter& out) override { return flush(out); }

private:
    task<> flush(emitter& out) {
        deadline_ = time_point::max();
        joined_.set_attribute("items", std::to_string(acks_.size()));
        payload value(std::move(joined_));
        ack_ref account(new merged_ack(std::exchange(acks_, {})));
        co_await out.emit(std::move(value), std::move(account));
    }

    batch_settings settings_;
    record joined_;
    std::vector<ack_ref> acks_;                // of the items in joined_
    time_point deadline_ = time_point::max();  // of the batch begun; max(): none was, or it has time
};

class batch_stage final : public stage {
public:
    explicit batch_stage(const option_values& given) : settings_(given) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<batch_worker>(settings_); }
    [[nodiscard]] unsigned most_jobs() const noexcept override { return 1; }
    [[nodiscard]] bool has_deadlines() const noexcept override { return settings_.time != duration::max(); }

private:
    batch_settings settings_;
};

}  // namespace

void add_batch_kind(registry& kinds) {
    component kind;
    kind.name = "batch";
    kind.summary = "joins several items into one";
    kind.help =
        "A batch has the key of its first item and the attribute 'items', their number. What is left at the end is a "
        "batch "
        "too.\n";
    kind.options = {option("count", option_type::integer, "how many items make a batch").at_least(1).at_most(1e9),
                    option("bytes", option_type::size, "how long a batch may be; an item that is longer is one alone")
                        .at_least(1)
                        .also_called({"size"}),
                    option("time", option_type::time_span, "how long a batch may wait to be full, from its first item")
                        .also_called({"timeout_ms", "wait"}),
                    option("separator", option_type::text, "what is put between the items").defaults("\n")};
    kind.make_stage = [](const option_values& given) -> std::shared_ptr<stage> {
        return std::make_shared<batch_stage>(given);
    };
    kinds.add(std::move(kind));
}

}  // namespace leat
