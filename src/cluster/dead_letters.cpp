#include <cluster/dead_letters.hpp>

#include <charconv>
#include <map>
#include <mutex>
#include <set>

#include <fmt/format.h>

#include <cluster/insist.hpp>
#include <leat/cluster/cluster_flow.hpp>
#include <leat/flow/record.hpp>
#include <leat/sync/event.hpp>
#include <leat/task/scope.hpp>

namespace leat::cluster {

namespace {

constexpr std::size_t longest_why = 2000;

// A header is one line.
std::string one_line(std::string_view text) {
    std::string made(text.substr(0, longest_why));
    for (char& each : made)
        if (static_cast<unsigned char>(each) < ' ') each = ' ';
    return made;
}

message letter_of(const manifest& of, std::size_t segment, const std::string& why, std::uint64_t deliveries,
                  const std::string& worker) {
    message made;
    made.subject = dead_subject(of.flow, of.run, segment);
    made.headers["Leat-Run"] = of.run;
    made.headers["Leat-Segment"] = one_line(of.segments[segment].name);
    made.headers["Leat-Why"] = one_line(why);
    made.headers["Leat-Deliveries"] = std::to_string(deliveries);
    made.headers["Leat-Worker"] = one_line(worker);
    return made;
}

dead_item item_of(const delivery& from) {
    dead_item made;
    const auto header = [&](const char* name) -> std::string {
        const auto found = from.what.headers.find(name);
        return found == from.what.headers.end() ? std::string() : found->second;
    };
    made.number = from.sequence;
    made.run = header("Leat-Run");
    made.segment = header("Leat-Segment");
    made.why = header("Leat-Why");
    made.worker = header("Leat-Worker");
    const std::string deliveries = header("Leat-Deliveries");
    (void)std::from_chars(deliveries.data(), deliveries.data() + deliveries.size(), made.deliveries);
    auto items = decode_items(from.what.payload);
    if (!items || items->size() != 1) return made;
    made.has_value = true;
    payload value = record_codec().unpack(std::move(items->front().value));
    made.value = std::move(value.as<record>());
    return made;
}

// The stream is a work queue with one reader: a letter is acknowledged, and so gone, when its item is done.
class replaying final : public source, private source_output::listener {
public:
    replaying(std::shared_ptr<broker> engine, const std::string& flow, std::string segment)
        : engine_(std::move(engine)), stream_(dead_stream(flow)), segment_(std::move(segment)) {}

    task<> run(source_output& out) override {
        auto looking = engine_->stream(stream_);
        const broker_result<stream_state> state = co_await std::move(looking);
        if (!state) throw std::runtime_error(fmt::format("the dead letters: {}", state.error().text));
        const auto body = [this, &out, last = state->last_sequence](scope& work) { return replay(work, out, last); };
        co_await with_scope(body);
    }

private:
    task<> replay(scope& work, source_output& out, std::uint64_t last) {
        work.spawn(task_name("replayed letters"), [this] { return remove_done(); });
        std::set<std::uint64_t> seen;
        for (;;) {
            auto fetching = engine_->fetch(stream_, dead_consumer, 64, patience);
            broker_result<std::vector<delivery>> got = co_await std::move(fetching);
            if (!got) throw std::runtime_error(fmt::format("the dead letters: {}", got.error().text));
            if (got->empty()) break;
            for (delivery& each : *got) {
                if (!seen.insert(each.sequence).second) continue;
                dead_item letter = item_of(each);
                if (each.sequence > last || !letter.has_value || (!segment_.empty() && letter.segment != segment_)) {
                    kept_.push_back(std::move(each));
                    continue;
                }
                {
                    const std::scoped_lock held(lock_);
                    at_.emplace(next_++, std::move(each));
                    ++open_;
                }
                payload value(std::move(letter.value));
                co_await out.emit(std::move(value), *this);
            }
        }
        for (;;) {
            {
                const std::scoped_lock held(lock_);
                if (open_ == 0) break;
            }
            co_await changed_.wait();
        }
        work.stop();
        for (delivery& each : kept_) {
            auto leaving = engine_->nack(std::move(each), std::chrono::nanoseconds(0));
            (void)co_await std::move(leaving);
        }
    }
    void settled(std::uint64_t sequence, fate how) noexcept override {
        {
            const std::scoped_lock held(lock_);
            const auto found = at_.find(sequence & ((std::uint64_t{1} << source_output::bits_of_items) - 1));
            if (found == at_.end()) return;
            if (how == fate::committed || how == fate::skipped) {
                done_.push_back(std::move(found->second));
            } else {
                kept_.push_back(std::move(found->second));
                --open_;
            }
            at_.erase(found);
        }
        ended_.set();
        changed_.set();
    }
    task<> remove_done() {
        for (;;) {
            co_await ended_.wait();
            std::vector<delivery> some;
            {
                const std::scoped_lock held(lock_);
                some.swap(done_);
            }
            for (delivery& each : some) {
                auto acknowledging = acknowledge(*engine_, std::move(each));
                co_await std::move(acknowledging);
                const std::scoped_lock held(lock_);
                --open_;
            }
            changed_.set();
        }
    }

    static constexpr duration patience = std::chrono::milliseconds(300);
    std::shared_ptr<broker> engine_;
    std::string stream_;
    std::string segment_;
    std::mutex lock_;
    std::map<std::uint64_t, delivery> at_;  // by the number that the flow gave it
    std::uint64_t next_ = 0;
    std::vector<delivery> done_;
    std::vector<delivery> kept_;
    std::size_t open_ = 0;
    auto_reset_event ended_;
    auto_reset_event changed_;
};

}  // namespace

message dead_letter_of(const manifest& of, std::size_t segment, const delivery& what, const std::string& why,
                       const std::string& worker) {
    message made = letter_of(of, segment, why, what.deliveries, worker);
    made.id = fmt::format("{}.{}.{}.message.{}", of.run, segment, what.what.subject, what.sequence);
    made.payload = what.what.payload;
    return made;
}

message dead_letter_of(const manifest& of, std::size_t segment, const parcel_item& what, const std::string& why,
                       std::uint64_t deliveries, const std::string& worker) {
    message made = letter_of(of, segment, why, deliveries, worker);
    made.id = fmt::format("{}.{}.item.{}", of.run, segment, what.id);
    parcel_writer writer(parcel_kind::items);
    writer.add(encode_part(what));
    made.payload = writer.take();
    return made;
}

task<broker_result<std::vector<dead_item>>> read_dead_letters(std::shared_ptr<broker> engine, std::string flow,
                                                              std::size_t most) {
    const std::string stream = dead_stream(name_in_engine(flow));
    auto looking = engine->stream(stream);
    const broker_result<stream_state> state = co_await std::move(looking);
    if (!state) co_return unexpected(state.error());
    std::vector<dead_item> all;
    for (std::uint64_t at = state->first_sequence; at != 0 && at <= state->last_sequence && all.size() < most; ++at) {
        auto reading = engine->read(stream, at);
        broker_result<delivery> found = co_await std::move(reading);
        if (found) all.push_back(item_of(*found));
        else if (found.error().problem != broker_problem::not_found) co_return unexpected(found.error());
    }
    co_return all;
}

std::shared_ptr<source> dead_letter_source(std::shared_ptr<broker> engine, const std::string& flow,
                                           std::string segment) {
    return std::make_shared<replaying>(std::move(engine), name_in_engine(flow), std::move(segment));
}

}  // namespace leat::cluster
