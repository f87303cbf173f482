#include "memory_state.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "names.hpp"

namespace leat::cluster {

namespace {

unexpected<broker_error> problem(broker_problem which, std::string text) {
    return unexpected(broker_error{which, std::move(text)});
}
unexpected<broker_error> no_stream(const std::string& name) {
    return problem(broker_problem::not_found, fmt::format("there is no stream '{}'", name));
}
unexpected<broker_error> no_bucket(const std::string& name) {
    return problem(broker_problem::not_found, fmt::format("there is no bucket '{}'", name));
}

std::uint64_t size_of(const message& what) {
    std::uint64_t size = what.subject.size() + what.id.size() + what.payload.size() + 16;
    for (const auto& [name, value] : what.headers) size += name.size() + value.size() + 4;
    return size;
}

time_point later_by(time_point now, duration time) {
    return time > time_point::max() - now ? time_point::max() : now + std::max(time, duration::zero());
}

constexpr char token_mark = '.';

}  // namespace

memory_state::memory_state(const memory_options& how) : options(how) { use(how.faults); }

void memory_state::use(const memory_faults& faults) {
    options.faults = faults;
    generator_ = faults.seed;
    faults_left_ = faults.most;
}

// --- Time and chance ---

std::uint64_t memory_state::draw(std::uint64_t below) {
    // SplitMix64.
    generator_ += 0x9e3779b97f4a7c15U;
    std::uint64_t bits = generator_;
    bits = (bits ^ (bits >> 30U)) * 0xbf58476d1ce4e5b9U;
    bits = (bits ^ (bits >> 27U)) * 0x94d049bb133111ebU;
    bits ^= bits >> 31U;
    return below == 0 ? 0 : bits % below;
}

duration memory_state::draw(duration most) {
    if (most <= duration::zero()) return duration::zero();
    return duration(static_cast<duration::rep>(draw(static_cast<std::uint64_t>(most.count()) + 1)));
}

bool memory_state::strikes(unsigned of_a_thousand) {
    if (of_a_thousand == 0 || faults_left_ == 0 || draw(1000) >= of_a_thousand) return false;
    --faults_left_;
    ++counts.faults;
    return true;
}

void memory_state::at(time_point when, std::function<void(memory_state&, time_point)> work) {
    later_.emplace(when, std::move(work));
    wake_all();  // they wait until an event that may now be later than this one
}

time_point memory_state::next_event() const { return later_.empty() ? time_point::max() : later_.begin()->first; }

void memory_state::advance(time_point now) {
    while (!later_.empty() && later_.begin()->first <= now) {
        const auto [when, work] = std::move(*later_.begin());
        later_.erase(later_.begin());
        work(*this, when);
    }
}

void memory_state::go_down(time_point until) {
    if (is_down) return;
    is_down = true;
    for (auto& [name, of] : streams_) {
        if (of.config.replicas > 1) continue;
        if (of.config.in_memory) {
            of.messages.clear();
            of.bytes = of.last = 0;
            for (auto& [consumer_name, each] : of.consumers) {
                each->next = 1;
                each->delivered = each->purged = 0;
                each->unacked.clear();
                each->due.clear();
                each->again.clear();
            }
        }
        std::erase_if(of.ids, [&held = of.messages](const auto& id) { return !held.contains(id.second); });
    }
    if (until != time_point::max()) at(until, [](memory_state& self, time_point) { self.come_back(); });
    wake_all();
}

void memory_state::come_back() {
    is_down = false;
    wake_all();
}

void memory_state::wake(consumer_data& of) {
    for (auto_reset_event* const each : of.waiting) each->set();
}

void memory_state::wake_all() {
    for (auto& [name, of] : streams_)
        for (auto& [consumer_name, each] : of.consumers) wake(*each);
}

// --- Streams ---

broker_result<done> memory_state::make_stream(const stream_config& config) {
    if (!is_name(config.name))
        return problem(broker_problem::malformed,
                       fmt::format("'{}' is no name of a stream: letters, digits, '-' and '_'", config.name));
    if (config.subjects.empty())
        return problem(broker_problem::malformed, fmt::format("the stream '{}' has no subject", config.name));
    for (const std::string& each : config.subjects)
        if (!is_subject(each, true))
            return problem(broker_problem::malformed, fmt::format("'{}' is no subject of a stream", each));
    if (const auto found = streams_.find(config.name); found != streams_.end()) {
        const std::string different = differences(found->second.config, config);
        if (different.empty()) return done{};
        return problem(broker_problem::mismatch,
                       fmt::format("the stream '{}' is there with {}", config.name, different));
    }
    for (const auto& [name, of] : streams_)
        for (const std::string& theirs : of.config.subjects)
            for (const std::string& ours : config.subjects)
                if (overlap(theirs, ours))
                    return problem(broker_problem::mismatch,
                                   fmt::format("the subject '{}' of the stream '{}' overlaps with '{}' of '{}'", ours,
                                               config.name, theirs, name));
    streams_[config.name].config = config;
    return done{};
}

broker_result<stream_state> memory_state::stream(const std::string& name) const {
    const auto found = streams_.find(name);
    if (found == streams_.end()) return no_stream(name);
    const stream_data& of = found->second;
    stream_state state;
    state.config = of.config;
    state.messages = of.messages.size();
    state.bytes = of.bytes;
    state.last_sequence = of.last;
    if (!of.messages.empty()) state.first_sequence = of.messages.begin()->first;
    else if (of.last > 0) state.first_sequence = of.last + 1;
    return state;
}

std::vector<std::string> memory_state::streams(const std::string& prefix) const {
    std::vector<std::string> names;
    for (const auto& [name, of] : streams_)
        if (name.starts_with(prefix)) names.push_back(name);
    return names;
}

broker_result<done> memory_state::remove_stream(const std::string& name) {
    const auto found = streams_.find(name);
    if (found == streams_.end()) return no_stream(name);
    for (auto& [consumer_name, each] : found->second.consumers) {
        each->is_gone = true;
        wake(*each);
    }
    streams_.erase(found);
    return done{};
}

broker_result<done> memory_state::purge(const std::string& name, std::uint64_t below) {
    const auto found = streams_.find(name);
    if (found == streams_.end()) return no_stream(name);
    stream_data& of = found->second;
    const std::uint64_t end = below == 0 ? of.last + 1 : std::min(below, of.last + 1);
    while (!of.messages.empty() && of.messages.begin()->first < end) {
        forget(of, of.messages.begin()->first);
        drop(of, of.messages.begin());
    }
    for (auto& [consumer_name, each] : of.consumers) {
        each->next = std::max(each->next, end);
        each->purged = std::max(each->purged, end - 1);
        wake(*each);  // there may be room again
    }
    return done{};
}

// No consumer has to do with it any more.
void memory_state::forget(const stream_data& of, std::uint64_t sequence) {
    for (const auto& [name, each] : of.consumers) {
        const auto found = each->unacked.find(sequence);
        if (found == each->unacked.end()) continue;
        each->due.erase({found->second.due, sequence});
        each->unacked.erase(found);
    }
}

void memory_state::drop(stream_data& of, std::map<std::uint64_t, message>::iterator which) {
    of.bytes -= size_of(which->second);
    of.messages.erase(which);
}

broker_result<receipt> memory_state::publish(const message& what, time_point now) {
    if (!is_subject(what.subject, false))
        return problem(broker_problem::malformed, fmt::format("'{}' is no subject of a message", what.subject));
    const auto takes = [&](const auto& each) {
        const auto& subjects = each.second.config.subjects;
        return std::any_of(subjects.begin(), subjects.end(),
                           [&](const std::string& pattern) { return matches(pattern, what.subject); });
    };
    const auto found = std::find_if(streams_.begin(), streams_.end(), takes);
    // As of a real one, which cannot tell this from a stream whose leader is away.
    if (found == streams_.end())
        return problem(broker_problem::unavailable,
                       fmt::format("nobody answers for the subject '{}': no stream has it", what.subject));
    stream_data& to = found->second;
    while (!to.window.empty() && now - to.window.front().stored >= to.config.duplicate_window) {
        const auto known = to.ids.find(to.window.front().id);
        if (known != to.ids.end() && known->second == to.window.front().sequence) to.ids.erase(known);
        to.window.pop_front();
    }
    if (!what.id.empty())
        if (const auto known = to.ids.find(what.id); known != to.ids.end()) {
            ++counts.duplicates;
            return receipt{known->second, true};
        }
    const std::uint64_t size = size_of(what);
    if ((to.config.most_messages != 0 && to.messages.size() >= to.config.most_messages) ||
        (to.config.most_bytes != 0 && to.bytes + size > to.config.most_bytes))
        return problem(broker_problem::full, fmt::format("the stream '{}' is full: {} messages, {} bytes", found->first,
                                                         to.messages.size(), to.bytes));
    const std::uint64_t sequence = ++to.last;
    to.messages.emplace(sequence, what);
    to.bytes += size;
    if (!what.id.empty() && to.config.duplicate_window > duration::zero()) {
        to.ids[what.id] = sequence;
        to.window.push_back({now, what.id, sequence});
    }
    ++counts.published;
    for (auto& [name, each] : to.consumers)
        if (wants(*each, what)) wake(*each);
    return receipt{sequence, false};
}

broker_result<delivery> memory_state::read(const std::string& stream, std::uint64_t sequence) const {
    const auto found = streams_.find(stream);
    if (found == streams_.end()) return no_stream(stream);
    const auto which = found->second.messages.find(sequence);
    if (which == found->second.messages.end())
        return problem(broker_problem::not_found,
                       fmt::format("there is no message {} in the stream '{}'", sequence, stream));
    delivery one;
    one.what = which->second;
    one.sequence = sequence;
    return one;
}

// --- Consumers ---

bool memory_state::wants(const consumer_data& of, const message& what) {
    return of.config.subject.empty() || matches(of.config.subject, what.subject);
}

broker_result<done> memory_state::make_consumer(const consumer_config& config) {
    if (!is_name(config.name))
        return problem(broker_problem::malformed,
                       fmt::format("'{}' is no name of a consumer: letters, digits, '-' and '_'", config.name));
    if (!config.subject.empty() && !is_subject(config.subject, true))
        return problem(broker_problem::malformed, fmt::format("'{}' is no subject of a consumer", config.subject));
    const auto found = streams_.find(config.stream);
    if (found == streams_.end()) return no_stream(config.stream);
    stream_data& of = found->second;
    if (const auto known = of.consumers.find(config.name); known != of.consumers.end()) {
        const std::string different = differences(known->second->config, config);
        if (different.empty()) return done{};
        return problem(broker_problem::mismatch, fmt::format("the consumer '{}' of the stream '{}' is there with {}",
                                                             config.name, config.stream, different));
    }
    if (of.config.is_work_queue)
        for (const auto& [name, each] : of.consumers)
            if (config.subject.empty() || each->config.subject.empty() || overlap(config.subject, each->config.subject))
                return problem(broker_problem::mismatch,
                               fmt::format("a message of the work queue '{}' has one consumer: '{}' would share some "
                                           "with '{}'",
                                           config.stream, config.name, name));
    auto made = std::make_shared<consumer_data>();
    made->config = config;
    of.consumers.emplace(config.name, std::move(made));
    return done{};
}

broker_result<std::shared_ptr<memory_state::consumer_data>> memory_state::find_consumer(const std::string& stream,
                                                                                        const std::string& name) const {
    const auto found = streams_.find(stream);
    if (found == streams_.end()) return no_stream(stream);
    const auto known = found->second.consumers.find(name);
    if (known == found->second.consumers.end())
        return problem(broker_problem::not_found,
                       fmt::format("there is no consumer '{}' of the stream '{}'", name, stream));
    return known->second;
}

broker_result<consumer_state> memory_state::consumer(const std::string& stream, const std::string& name) const {
    auto known = find_consumer(stream, name);
    if (!known) return unexpected(std::move(known).error());
    const consumer_data& of = **known;
    const auto& messages = streams_.find(stream)->second.messages;
    consumer_state state;
    std::uint64_t first_new = 0;
    for (auto each = messages.lower_bound(of.next); each != messages.end(); ++each)
        if (wants(of, each->second)) {
            if (state.pending == 0) first_new = each->first;
            ++state.pending;
        }
    state.unacked = of.unacked.size();
    state.delivered = std::max(of.delivered, of.purged);
    if (!of.unacked.empty()) state.ack_floor = of.unacked.begin()->first - 1;
    else if (first_new != 0) state.ack_floor = std::min(state.delivered, first_new - 1);
    else state.ack_floor = state.delivered;
    for (const auto& [sequence, each] : of.unacked)
        if (each.deliveries > 1) ++state.redelivered;
    return state;
}

void memory_state::deliver_again(consumer_data& of, std::uint64_t sequence) {
    const auto found = of.unacked.find(sequence);
    if (found == of.unacked.end() || found->second.is_again) return;
    of.due.erase({found->second.due, sequence});
    found->second.is_again = true;
    of.again.push_back(sequence);
}

std::optional<std::uint64_t> memory_state::next_again(consumer_data& of) {
    while (!of.again.empty()) {
        auto which = of.again.begin();
        if (options.faults.reorders) which += static_cast<std::ptrdiff_t>(draw(of.again.size()));
        const std::uint64_t sequence = *which;
        of.again.erase(which);
        const auto found = of.unacked.find(sequence);
        if (found != of.unacked.end() && found->second.is_again) return sequence;
    }
    return std::nullopt;
}

std::vector<delivery> memory_state::take(consumer_data& of, std::size_t most, time_point now) {
    std::vector<delivery> taken;
    const auto& messages = streams_.at(of.config.stream).messages;
    const auto deliver = [&](std::uint64_t sequence, consumer_data::held& how) {
        how.is_again = false;
        how.due = later_by(now, of.config.ack_wait);
        of.due.emplace(how.due, sequence);
        ++counts.deliveries;
        if (how.deliveries > 1) ++counts.redelivered;
        delivery one;
        one.what = messages.at(sequence);
        one.sequence = sequence;
        one.deliveries = how.deliveries;
        one.token = fmt::format("{}{}{}{}{}{}{}", of.config.stream, token_mark, of.config.name, token_mark, sequence,
                                token_mark, how.deliveries);
        taken.push_back(std::move(one));
    };
    while (!of.due.empty() && of.due.begin()->first <= now) deliver_again(of, of.due.begin()->second);
    if (!of.due.empty() && strikes(options.faults.early_redeliveries)) {
        auto which = of.due.begin();
        std::advance(which, static_cast<std::ptrdiff_t>(draw(of.due.size())));
        deliver_again(of, which->second);
    }
    while (taken.size() < most) {
        const std::optional<std::uint64_t> sequence = next_again(of);
        if (!sequence) break;
        consumer_data::held& how = of.unacked.at(*sequence);
        ++how.deliveries;
        deliver(*sequence, how);
    }
    while (taken.size() < most && of.unacked.size() < of.config.most_unacked) {
        const auto each = messages.lower_bound(of.next);
        if (each == messages.end()) break;
        of.next = each->first + 1;
        if (!wants(of, each->second)) continue;
        of.delivered = each->first;
        deliver(each->first, of.unacked[each->first]);
    }
    std::erase_if(taken, [&](const delivery&) { return strikes(options.faults.lost_deliveries); });
    return taken;
}

memory_state::place memory_state::place_of(const std::string& token) {
    place found;
    const std::size_t first = token.find(token_mark);
    const std::size_t second = token.find(token_mark, first + 1);
    const std::size_t third = token.find(token_mark, second + 1);
    if (third == std::string::npos) return found;
    const auto stream = streams_.find(token.substr(0, first));
    if (stream == streams_.end()) return found;
    const auto consumer = stream->second.consumers.find(token.substr(first + 1, second - first - 1));
    if (consumer == stream->second.consumers.end()) return found;
    if (std::from_chars(token.data() + second + 1, token.data() + third, found.sequence).ptr != token.data() + third)
        return found;
    found.stream = &stream->second;
    found.consumer = consumer->second.get();
    return found;
}

broker_result<done> memory_state::ack(const std::string& token) {
    const place at = place_of(token);
    if (at.consumer == nullptr)
        return problem(broker_problem::not_found,
                       fmt::format("'{}' is no delivery of a consumer that is there", token));
    const auto found = at.consumer->unacked.find(at.sequence);
    if (found == at.consumer->unacked.end()) return done{};  // it was done before
    at.consumer->due.erase({found->second.due, at.sequence});
    at.consumer->unacked.erase(found);
    ++counts.acknowledged;
    if (at.stream->config.is_work_queue)
        if (const auto which = at.stream->messages.find(at.sequence); which != at.stream->messages.end())
            drop(*at.stream, which);
    wake(*at.consumer);  // there is room among the unacked
    return done{};
}

broker_result<done> memory_state::nack(const std::string& token, duration delay, time_point now) {
    const place at = place_of(token);
    if (at.consumer == nullptr) return done{};
    const auto found = at.consumer->unacked.find(at.sequence);
    if (found == at.consumer->unacked.end()) return done{};
    if (delay <= duration::zero()) {
        deliver_again(*at.consumer, at.sequence);
    } else {
        at.consumer->due.erase({found->second.due, at.sequence});
        found->second.is_again = false;
        found->second.due = later_by(now, delay);
        at.consumer->due.emplace(found->second.due, at.sequence);
    }
    wake(*at.consumer);
    return done{};
}

broker_result<done> memory_state::progress(const std::string& token, time_point now) {
    const place at = place_of(token);
    if (at.consumer == nullptr) return done{};
    const auto found = at.consumer->unacked.find(at.sequence);
    // What is to be delivered again already stays so, as with a real one.
    if (found == at.consumer->unacked.end() || found->second.is_again) return done{};
    at.consumer->due.erase({found->second.due, at.sequence});
    found->second.due = later_by(now, at.consumer->config.ack_wait);
    at.consumer->due.emplace(found->second.due, at.sequence);
    return done{};
}

// --- Buckets ---

const memory_state::value_data* memory_state::value_of(const bucket_data& in, const std::string& key, time_point now) {
    const auto found = in.values.find(key);
    if (found == in.values.end()) return nullptr;
    if (in.age > duration::zero() && now - found->second.written >= in.age) return nullptr;
    return &found->second;
}

broker_result<done> memory_state::make_bucket(const std::string& name, duration age, unsigned replicas) {
    if (!is_name(name))
        return problem(broker_problem::malformed,
                       fmt::format("'{}' is no name of a bucket: letters, digits, '-' and '_'", name));
    if (const auto found = buckets_.find(name); found != buckets_.end()) {
        if (found->second.age == age && found->second.replicas == replicas) return done{};
        return problem(broker_problem::mismatch,
                       fmt::format("the bucket '{}' is there with {} replicas and an age of {} s", name,
                                   found->second.replicas, std::chrono::duration<double>(found->second.age).count()));
    }
    bucket_data& made = buckets_[name];
    made.age = age;
    made.replicas = replicas;
    return done{};
}

broker_result<entry> memory_state::get(const std::string& bucket, const std::string& key, time_point now) const {
    const auto found = buckets_.find(bucket);
    if (found == buckets_.end()) return no_bucket(bucket);
    const value_data* const value = value_of(found->second, key, now);
    if (value == nullptr)
        return problem(broker_problem::not_found, fmt::format("there is no key '{}' in the bucket '{}'", key, bucket));
    return entry{key, value->value, value->revision};
}

broker_result<std::uint64_t> memory_state::put(const std::string& bucket, const std::string& key, std::string value,
                                               time_point now) {
    const auto found = buckets_.find(bucket);
    if (found == buckets_.end()) return no_bucket(bucket);
    if (!is_key(key)) return problem(broker_problem::malformed, fmt::format("'{}' is no key", key));
    const std::uint64_t revision = ++found->second.revision;
    found->second.values[key] = {std::move(value), revision, now};
    return revision;
}

broker_result<std::uint64_t> memory_state::update(const std::string& bucket, const std::string& key, std::string value,
                                                  std::uint64_t revision, time_point now) {
    const auto found = buckets_.find(bucket);
    if (found == buckets_.end()) return no_bucket(bucket);
    const value_data* const there = value_of(found->second, key, now);
    const std::uint64_t is = there == nullptr ? 0 : there->revision;
    if (is != revision)
        return problem(
            broker_problem::conflict,
            fmt::format("the key '{}' of the bucket '{}' is at revision {}, not {}", key, bucket, is, revision));
    return put(bucket, key, std::move(value), now);
}

broker_result<done> memory_state::erase(const std::string& bucket, const std::string& key) {
    const auto found = buckets_.find(bucket);
    if (found == buckets_.end()) return no_bucket(bucket);
    ++found->second.revision;
    found->second.values.erase(key);
    return done{};
}

broker_result<std::vector<std::string>> memory_state::keys(const std::string& bucket, const std::string& prefix,
                                                           time_point now) const {
    const auto found = buckets_.find(bucket);
    if (found == buckets_.end()) return no_bucket(bucket);
    std::vector<std::string> names;
    for (auto each = found->second.values.lower_bound(prefix); each != found->second.values.end(); ++each) {
        if (!each->first.starts_with(prefix)) break;
        if (value_of(found->second, each->first, now) != nullptr) names.push_back(each->first);
    }
    return names;
}

broker_result<done> memory_state::remove_bucket(const std::string& name) {
    if (buckets_.erase(name) == 0) return no_bucket(name);
    return done{};
}

}  // namespace leat::cluster
