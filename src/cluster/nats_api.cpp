#include "nats_api.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace leat::cluster::nats_api {

namespace {

namespace json = boost::json;

constexpr std::string_view server_prefix = "_nats.";  // of what a server adds to the metadata

// Numbers of nats-server's errors (server/errors.json there).
constexpr std::int64_t no_consumer = 10014, insufficient_resources = 10023, over_account_limits = 10028,
                       no_message = 10037, not_enabled_for_account = 10039, out_of_storage = 10047,
                       message_too_large = 10054, name_in_use = 10058, no_stream = 10059, wrong_last_sequence = 10071,
                       wants_cluster = 10074, not_enabled = 10076, not_stored = 10077, consumer_exists = 10013,
                       consumer_exists_too = 10148, subjects_overlap = 10065, one_consumer_a_message = 10099,
                       one_consumer_a_subject = 10100, wrong_last_sequence_too = 10164, id_in_process = 10158;

struct since {
    std::string_view field;
    server_version version;
};
constexpr since fields_since[] = {{"metadata", {2, 10, 0}}, {"allow_direct", {2, 9, 0}}};

broker_problem problem_of(std::int64_t code, std::int64_t number, std::string_view text) {
    switch (number) {
        case no_stream:
        case no_consumer:
        case no_message:
            return broker_problem::not_found;
        case name_in_use:
        case consumer_exists:
        case consumer_exists_too:
        case subjects_overlap:
        case one_consumer_a_message:
        case one_consumer_a_subject:
            return broker_problem::mismatch;
        case wrong_last_sequence:
        case wrong_last_sequence_too:
            return broker_problem::conflict;
        case insufficient_resources:
        case over_account_limits:
        case out_of_storage:
            return broker_problem::full;
        case message_too_large:
            return broker_problem::too_large;
        case id_in_process:  // an earlier try of a message with an id, which the servers have not agreed on yet
            return broker_problem::unavailable;
        case wants_cluster:
        case not_enabled:
        case not_enabled_for_account:
            return broker_problem::unsupported;
        case not_stored:
            return text.find("exceeded") != std::string_view::npos ? broker_problem::full : broker_problem::unavailable;
        default:
            break;
    }
    if (code == 404) return broker_problem::not_found;
    if (code == 408) return broker_problem::timed_out;
    return code >= 500 ? broker_problem::unavailable : broker_problem::refused;
}

std::int64_t number_in(const json::object& from, std::string_view key) {
    const json::value* const found = from.if_contains(key);
    if (found == nullptr) return 0;
    if (const std::int64_t* const number = found->if_int64()) return *number;
    if (const std::uint64_t* const number = found->if_uint64()) return static_cast<std::int64_t>(*number);
    return 0;
}

std::uint64_t count_in(const json::object& from, std::string_view key) {
    const std::int64_t number = number_in(from, key);  // -1: no limit
    return number < 0 ? 0 : static_cast<std::uint64_t>(number);
}

std::string text_in(const json::object& from, std::string_view key) {
    const json::value* const found = from.if_contains(key);
    return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

const json::object& object_in(const json::object& from, std::string_view key) {
    static const json::object empty;
    const json::value* const found = from.if_contains(key);
    return found != nullptr && found->is_object() ? found->get_object() : empty;
}

bool is_default(const json::value& value) {
    switch (value.kind()) {
        case json::kind::null:
            return true;
        case json::kind::bool_:
            return !value.get_bool();
        case json::kind::int64:
            return value.get_int64() == 0;
        case json::kind::uint64:
            return value.get_uint64() == 0;
        case json::kind::double_:
            return value.get_double() == 0;
        case json::kind::string:
            return value.get_string().empty();
        case json::kind::array:
            return value.get_array().empty();
        case json::kind::object:
            return value.get_object().empty();
    }
    return false;
}

json::object without_the_servers_own(const json::object& metadata) {
    json::object kept;
    for (const auto& [key, value] : metadata)
        if (std::string_view(key).substr(0, server_prefix.size()) != server_prefix) kept[key] = value;
    return kept;
}

constexpr std::array<std::uint8_t, 256> base64_digits = [] {
    std::array<std::uint8_t, 256> digits{};
    digits.fill(64);
    const std::string_view all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < all.size(); ++i)
        digits[static_cast<std::uint8_t>(all[i])] = static_cast<std::uint8_t>(i);
    return digits;
}();

// Up to the first character that is none of base 64.
std::string decode_base64(std::string_view text) {
    const auto digit = [&](std::size_t at) {
        return at < text.size() ? std::uint32_t{base64_digits[static_cast<std::uint8_t>(text[at])]} : 64U;
    };
    std::string bytes;
    bytes.reserve(text.size() / 4 * 3);
    for (std::size_t at = 0;; at += 4) {
        const std::uint32_t a = digit(at), b = digit(at + 1), c = digit(at + 2), d = digit(at + 3);
        if (a > 63 || b > 63) break;
        bytes += static_cast<char>(a << 2U | b >> 4U);
        if (c > 63) break;
        bytes += static_cast<char>(b << 4U | c >> 2U);
        if (d > 63) break;
        bytes += static_cast<char>(c << 6U | d);
    }
    return bytes;
}

// "NATS/1.0\r\nKey: value\r\n…"
void read_headers(std::string_view text, message& into) {
    for (std::size_t at = text.find("\r\n"); at != std::string_view::npos;) {
        const std::size_t from = at + 2;
        at = text.find("\r\n", from);
        const std::string_view line = text.substr(from, at == std::string_view::npos ? at : at - from);
        const std::size_t colon = line.find(':');
        if (colon == std::string_view::npos) continue;
        const std::string_view key = line.substr(0, colon);
        std::string_view value = line.substr(colon + 1);
        while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
        if (key == "Nats-Msg-Id") into.id = value;
        else into.headers.emplace(key, value);
    }
}

std::string shown(const json::value* value) { return value == nullptr ? "absent" : json::serialize(*value); }

}  // namespace

server_version server_version::of(std::string_view text) noexcept {
    server_version version;
    const char* at = text.data();
    const char* const end = at + text.size();
    for (unsigned* const part : {&version.major, &version.minor, &version.patch}) {
        at = std::from_chars(at, end, *part).ptr;
        if (at != end) ++at;
    }
    return version;
}

api_result parse_answer(std::string_view text, const std::string& asked) {
    boost::system::error_code wrong;
    json::value answer = json::parse(json::string_view(text.data(), text.size()), wrong);
    if (wrong || !answer.is_object())
        return unexpected(
            broker_error{broker_problem::malformed, fmt::format("{}: the answer is no JSON object", asked)});
    json::object& fields = answer.get_object();
    if (const json::value* const error = fields.if_contains("error"); error != nullptr && error->is_object()) {
        const json::object& about = error->get_object();
        const std::string said = text_in(about, "description");
        const std::int64_t code = number_in(about, "code");
        const std::int64_t number = number_in(about, "err_code");
        return unexpected(
            broker_error{problem_of(code, number, said), fmt::format("{}: {} ({})", asked, said, number)});
    }
    return std::move(fields);
}

broker_result<receipt> parse_receipt(std::string_view text, const std::string& asked) {
    // {"stream":"A","seq":17,"duplicate":true}, a hundred thousand times a second: read as it is written, and parsed only where
    // it is not what it nearly always is.
    constexpr std::string_view mark = "\"seq\":";
    const std::size_t at = text.find(mark);
    receipt stored;
    if (at != std::string_view::npos && text.find("\"error\"") == std::string_view::npos &&
        std::from_chars(text.data() + at + mark.size(), text.data() + text.size(), stored.sequence).ec == std::errc() &&
        stored.sequence != 0) {
        constexpr std::string_view twice = "\"duplicate\":";  // and a space, or none
        const std::size_t flag = text.find(twice);
        stored.duplicate = flag != std::string_view::npos && text.substr(flag + twice.size(), 5).find("true") <= 1;
        return stored;
    }
    auto answer = parse_answer(text, asked);
    if (!answer) return unexpected(std::move(answer).error());
    return unexpected(
        broker_error{broker_problem::malformed, fmt::format("{}: what answered is no stream of JetStream", asked)});
}

bool is_name(std::string_view text) noexcept {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char each) {
        return std::isalnum(static_cast<unsigned char>(each)) != 0 || each == '-' || each == '_';
    });
}

bool is_key(std::string_view text) noexcept {
    if (text.empty() || text.front() == '.' || text.back() == '.' || text.find("..") != std::string_view::npos)
        return false;
    return std::all_of(text.begin(), text.end(), [](char each) {
        return std::isalnum(static_cast<unsigned char>(each)) != 0 ||
               std::string_view("-_=/.").find(each) != std::string_view::npos;
    });
}

json::object stream_request(const stream_config& config, server_version at) {
    const auto limit = [](std::uint64_t most) {
        return most == 0 ? std::int64_t{-1} : static_cast<std::int64_t>(most);
    };
    json::object request{
        {"name", config.name},
        {"retention", config.is_work_queue ? "workqueue" : "limits"},
        {"storage", config.in_memory ? "memory" : "file"},
        {"num_replicas", config.replicas},
        {"max_msgs", limit(config.most_messages)},
        {"max_bytes", limit(config.most_bytes)},
        {"max_age", 0},
        {"discard", "new"},
        {"duplicate_window", config.duplicate_window.count()},
    };
    json::array& subjects = request["subjects"].emplace_array();
    for (const std::string& each : config.subjects) subjects.emplace_back(each);
    if (config.about.empty()) return request;
    json::object about;
    for (const auto& [key, value] : config.about) about[key] = value;
    // 2.9 has no metadata, and a description of up to 4 KiB.
    if (at.is_at_least(2, 10)) request["metadata"] = std::move(about);
    else request["description"] = json::serialize(about);
    return request;
}

json::object bucket_request(std::string_view bucket, std::chrono::nanoseconds age, unsigned replicas) {
    const std::string name(bucket);
    std::chrono::nanoseconds window = std::chrono::minutes(2);
    if (age.count() > 0) window = std::min(window, age);
    return {
        {"name", "KV_" + name},
        {"subjects", json::array{"$KV." + name + ".>"}},
        {"retention", "limits"},
        {"storage", "file"},
        {"num_replicas", replicas},
        {"max_msgs", -1},
        {"max_bytes", -1},
        {"max_msgs_per_subject", 1},
        {"max_age", age.count()},
        {"discard", "new"},
        {"duplicate_window", window.count()},
        {"allow_rollup_hdrs", true},
        {"deny_delete", true},
        {"allow_direct", true},
    };
}

json::object consumer_request(const consumer_config& config) {
    json::object request{
        {"durable_name", config.name}, {"deliver_policy", "all"},
        {"ack_policy", "explicit"},    {"ack_wait", config.ack_wait.count()},
        {"max_deliver", -1},           {"max_ack_pending", config.most_unacked},
        {"max_waiting", 4096},         {"replay_policy", "instant"},
    };
    if (!config.subject.empty()) request["filter_subject"] = config.subject;
    return request;
}

stream_state read_stream(const json::object& info) {
    const json::object& config = object_in(info, "config");
    const json::object& state = object_in(info, "state");
    stream_state read;
    read.config.name = text_in(config, "name");
    if (const json::value* const subjects = config.if_contains("subjects"); subjects != nullptr && subjects->is_array())
        for (const json::value& each : subjects->get_array())
            if (each.is_string()) read.config.subjects.emplace_back(each.get_string());
    read.config.is_work_queue = text_in(config, "retention") == "workqueue";
    read.config.in_memory = text_in(config, "storage") == "memory";
    read.config.replicas = static_cast<unsigned>(count_in(config, "num_replicas"));
    read.config.most_messages = count_in(config, "max_msgs");
    read.config.most_bytes = count_in(config, "max_bytes");
    read.config.duplicate_window = std::chrono::nanoseconds(number_in(config, "duplicate_window"));
    json::object about = without_the_servers_own(object_in(config, "metadata"));
    if (about.empty()) {
        boost::system::error_code wrong;
        json::value described = json::parse(text_in(config, "description"), wrong);
        if (!wrong && described.is_object()) about = std::move(described.get_object());
    }
    for (const auto& [key, value] : about)
        if (value.is_string()) read.config.about.emplace(key, value.get_string());
    read.messages = count_in(state, "messages");
    read.bytes = count_in(state, "bytes");
    read.first_sequence = count_in(state, "first_seq");
    read.last_sequence = count_in(state, "last_seq");
    return read;
}

consumer_state read_consumer(const json::object& info) {
    consumer_state read;
    read.pending = count_in(info, "num_pending");
    read.unacked = count_in(info, "num_ack_pending");
    read.redelivered = count_in(info, "num_redelivered");
    read.ack_floor = count_in(object_in(info, "ack_floor"), "stream_seq");
    read.delivered = count_in(object_in(info, "delivered"), "stream_seq");
    return read;
}

broker_result<delivery> read_message(const json::object& answer, const std::string& asked) {
    const json::object& stored = object_in(answer, "message");
    delivery read;
    read.sequence = count_in(stored, "seq");
    if (read.sequence == 0)
        return unexpected(broker_error{broker_problem::malformed, fmt::format("{}: the answer has no message", asked)});
    read.what.subject = text_in(stored, "subject");
    read.what.payload = decode_base64(text_in(stored, "data"));
    read_headers(decode_base64(text_in(stored, "hdrs")), read.what);
    return read;
}

broker_result<done> compare(const json::object& wanted, const json::object& found, const std::string& what,
                            server_version at) {
    for (const auto& [key, value] : wanted) {
        const json::value* other = found.if_contains(key);
        if (other == nullptr && is_default(value)) continue;
        json::value cleaned;
        if (key == "metadata" && other != nullptr && other->is_object()) {
            cleaned = without_the_servers_own(other->get_object());
            other = &cleaned;
        }
        if (other != nullptr && *other == value) continue;
        if (other == nullptr || is_default(*other))
            for (const since& each : fields_since)
                if (each.field == std::string_view(key) && !at.is_at_least(each.version.major, each.version.minor))
                    return unexpected(
                        broker_error{broker_problem::unsupported,
                                     fmt::format("{} needs \"{}\", which nats-server has since {}.{}", what, each.field,
                                                 each.version.major, each.version.minor)});
        return unexpected(broker_error{broker_problem::mismatch,
                                       fmt::format("{} has \"{}\" {}, and not {}", what, std::string_view(key),
                                                   shown(other), json::serialize(value))});
    }
    return done{};
}

}  // namespace leat::cluster::nats_api
