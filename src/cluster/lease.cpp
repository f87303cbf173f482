#include <leat/cluster/lease.hpp>

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <leat/task/this_task.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cluster {

namespace {

constexpr duration between_tries = std::chrono::milliseconds(250);
constexpr unsigned margin_part = 5;
constexpr std::string_view nobody = "-";

// "epoch holder owner"
std::string written(std::uint64_t epoch, std::string_view holder, std::string_view owner) {
    return fmt::format("{} {} {}", epoch, holder, owner);
}

std::optional<lease_record> parse(const entry& from) {
    lease_record found;
    found.revision = from.revision;
    const std::string_view text = from.value;
    const std::size_t first = text.find(' ');
    const std::size_t second = text.find(' ', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) return std::nullopt;
    const char* const begin = from.value.data();
    const char* const end = begin + first;
    if (std::from_chars(begin, end, found.epoch).ptr != end || found.epoch == 0) return std::nullopt;
    found.holder = text.substr(first + 1, second - first - 1);
    found.owner = text.substr(second + 1);
    return found;
}

broker_error malformed(const std::string& bucket, const std::string& key, const std::string& value) {
    return {broker_problem::malformed,
            fmt::format("the key '{}' of the bucket '{}' is no lease: '{}'", key, bucket, value.substr(0, 100))};
}

broker_error out_of_time(std::string_view what) {
    return {broker_problem::timed_out, fmt::format("{}: no answer while the lease lasted", what)};
}

// The call, or `timed_out` at `until`: then it may have happened.
template <class T>
task<broker_result<T>> in_time(task<broker_result<T>> call, time_point until, const char* what) {
    if (until == time_point::max()) co_return co_await std::move(call);
    const time_point now = co_await this_task::now();
    try {
        co_return co_await timeout(std::move(call), until - now);
    } catch (const timed_out&) {
        co_return unexpected(out_of_time(what));
    }
}

}  // namespace

lease::lease(broker& link, lease_options options)
    : link_(link), options_(std::move(options)), believed_(duration::min().count()) {
    if (options_.owner.empty()) options_.owner = "somebody";
}

bool lease::is_mine(const lease_record& what) const { return what.holder == holder_ && what.epoch == epoch_; }

void lease::believe(time_point sent) noexcept {
    const time_point until = sent + options_.lasts - options_.lasts / margin_part;
    believed_.store(until.time_since_epoch().count(), env::release);
}

task<broker_result<entry>> lease::get_in_time(time_point until) {
    return in_time(link_.get(options_.bucket, options_.key), until, "get");
}
task<broker_result<std::uint64_t>> lease::update_in_time(std::string value, std::uint64_t revision, time_point until) {
    return in_time(link_.update(options_.bucket, options_.key, std::move(value), revision), until, "update");
}

task<broker_result<lease_record>> lease::look(broker& link, std::string bucket, std::string key) {
    auto found = co_await link.get(bucket, key);
    if (!found) co_return unexpected(std::move(found).error());
    auto record = parse(*found);
    if (!record) co_return unexpected(malformed(bucket, key, found->value));
    co_return std::move(*record);
}

task<broker_result<std::uint64_t>> lease::take() {
    context& line = co_await this_task::line();
    if (holder_.empty()) holder_ = fmt::format("{:016x}", line.where().random());
    believed_.store(duration::min().count(), env::release);
    seen_ = {};
    time_point since{};  // when the revision of seen_ was seen first
    for (;;) {
        auto found = co_await link_.get(options_.bucket, options_.key);
        time_point now = co_await this_task::now();
        std::uint64_t revision = 0;
        std::uint64_t epoch = 1;
        if (found) {
            auto record = parse(*found);
            if (!record) co_return unexpected(malformed(options_.bucket, options_.key, found->value));
            revision = record->revision;
            epoch = record->epoch + 1;
            if (revision != seen_.revision) since = now;
            seen_ = std::move(*record);
            const bool is_free = seen_.holder == nobody || seen_.holder == holder_;  // ours: a try without an answer
            if (!is_free && now - since < options_.lasts) {
                co_await sleep_until(std::min(since + options_.lasts, now + options_.renewed_every));
                continue;
            }
        } else if (found.error().problem != broker_problem::not_found) {
            if (!found.error().is_passing()) co_return unexpected(std::move(found).error());
            co_await sleep_for(between_tries);
            continue;
        } else {
            // No key, or no bucket: the update tells.
            revision = 0;
        }
        const time_point sent = co_await this_task::now();
        auto taken =
            co_await link_.update(options_.bucket, options_.key, written(epoch, holder_, options_.owner), revision);
        if (taken) {
            epoch_ = epoch;
            revision_ = *taken;
            unanswered_.reset();
            lost_.reset();
            believe(sent);
            now = co_await this_task::now();
            // The answer took so long that it is over already: it is taken again, in an epoch of its own.
            if (is_held_at(now)) co_return epoch_;
            continue;
        }
        if (taken.error().problem == broker_problem::conflict) continue;
        if (!taken.error().is_passing()) co_return unexpected(std::move(taken).error());
        co_await sleep_for(between_tries);
    }
}

// The key is at another revision than ours: by an update of ours that had no answer, or by another holder. An error says why
// it is lost, or that nobody could be asked.
task<std::optional<broker_error>> lease::adopt() {
    auto found = co_await get_in_time(believed());
    if (!found) {
        if (found.error().is_passing()) co_return std::nullopt;
        co_return std::move(found).error();
    }
    const auto record = parse(*found);
    if (!record) co_return malformed(options_.bucket, options_.key, found->value);
    if (!is_mine(*record))
        co_return broker_error{broker_problem::conflict, fmt::format("the lease '{}' was taken by '{}' (epoch {})",
                                                                     options_.key, record->owner, record->epoch)};
    // An answer may be an old one, from before our update or another's.
    if (record->revision > revision_) {
        revision_ = record->revision;
        if (unanswered_) believe(*unanswered_);
        unanswered_.reset();
    }
    co_return std::nullopt;
}

task<broker_error> lease::keep() {
    time_point now = co_await this_task::now();
    time_point next = now;
    broker_error why{broker_problem::timed_out,
                     fmt::format("the lease '{}' could not be renewed in time", options_.key)};
    const std::string value = written(epoch_, holder_, options_.owner);
    for (;;) {
        co_await sleep_until(std::min(next, believed()));
        now = co_await this_task::now();
        if (!is_held_at(now)) break;
        const bool is_first = !unanswered_;
        if (is_first) unanswered_ = now;  // before the call, which a stop may end
        auto renewed = co_await update_in_time(value, revision_, believed());
        if (renewed) {
            revision_ = *renewed;
            unanswered_.reset();
            believe(now);
            next = now + options_.renewed_every;
            continue;
        }
        const broker_error failed = std::move(renewed).error();
        next = co_await this_task::now() + between_tries;
        if (failed.problem == broker_problem::conflict) {
            if (is_first) unanswered_.reset();  // this one has not happened
            const std::optional<broker_error> lost = co_await adopt();
            if (lost) {
                why = *lost;
                break;
            }
            continue;
        }
        if (!failed.is_passing()) {
            why = failed;
            break;
        }
        why.text = fmt::format("the lease '{}' could not be renewed in time: {}", options_.key, failed.text);
    }
    believed_.store(duration::min().count(), env::release);
    lost_.set();
    co_return why;
}

task<std::monostate> lease::keep_or_throw() {
    const broker_error why = co_await keep();
    throw lease_lost(why.text);
}

task<broker_result<done>> lease::release() {
    const time_point now = co_await this_task::now();
    const time_point until = believed();
    if (!is_held_at(now)) co_return done{};
    believed_.store(duration::min().count(), env::release);
    lost_.set();
    // Again after a conflict: a renewal without an answer may have changed the revision.
    for (int turn = 0;; ++turn) {
        auto given = co_await update_in_time(written(epoch_, nobody, ""), revision_, until);
        if (given) co_return done{};
        if (given.error().problem != broker_problem::conflict || turn == 1)
            co_return unexpected(std::move(given).error());
        auto found = co_await get_in_time(until);
        if (!found) co_return unexpected(std::move(found).error());
        const auto record = parse(*found);
        if (!record || !is_mine(*record)) co_return done{};  // another has it
        revision_ = record->revision;
    }
}

}  // namespace leat::cluster
