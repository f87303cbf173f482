#include <cluster/manifest.hpp>

#include <unistd.h>

#include <boost/json.hpp>
#include <fmt/format.h>

#include <leat/cluster/cluster_flow.hpp>
#include <leat/flow/key_digest.hpp>

namespace leat::cluster {

namespace {

std::string names(const manifest& of, std::size_t segment) { return fmt::format("{}-{}-{}", of.flow, of.run, segment); }

std::string text_at(const boost::json::object& from, std::string_view key) {
    const auto* const found = from.if_contains(key);
    if (found == nullptr || !found->is_string()) throw std::runtime_error(fmt::format("it has no text '{}'", key));
    return std::string(found->as_string());
}
std::int64_t number_at(const boost::json::object& from, std::string_view key) {
    const auto* const found = from.if_contains(key);
    if (found == nullptr || !found->is_int64()) throw std::runtime_error(fmt::format("it has no number '{}'", key));
    return found->as_int64();
}
const boost::json::array& list_at(const boost::json::object& from, std::string_view key) {
    const auto* const found = from.if_contains(key);
    if (found == nullptr || !found->is_array()) throw std::runtime_error(fmt::format("it has no list '{}'", key));
    return found->as_array();
}
const boost::json::object& object_of(const boost::json::value& from) {
    if (!from.is_object()) throw std::runtime_error("something in it is no object");
    return from.as_object();
}

boost::json::object json_of(const manifest_stage& what) {
    boost::json::object all;
    all["name"] = what.name;
    if (what.function.empty()) return all;
    all["function"] = what.function;
    all["type"] = std::to_string(what.type);
    all["jobs"] = static_cast<std::int64_t>(what.policy.jobs);
    all["timeout_ns"] = what.policy.timeout.count();
    all["retries"] = static_cast<std::int64_t>(what.policy.retry.max);
    all["first_delay_ns"] = what.policy.retry.first_delay.count();
    all["longest_delay_ns"] = what.policy.retry.longest_delay.count();
    return all;
}

manifest_stage stage_of(const boost::json::object& from) {
    manifest_stage made;
    made.name = text_at(from, "name");
    if (!from.contains("function")) return made;
    made.function = text_at(from, "function");
    made.type = std::stoull(text_at(from, "type"));
    made.policy.jobs = static_cast<unsigned>(number_at(from, "jobs"));
    if (made.policy.jobs > stage_policy::most_jobs) throw std::runtime_error("a stage of it has too many jobs");
    made.policy.timeout = std::chrono::nanoseconds(number_at(from, "timeout_ns"));
    made.policy.retry.max = static_cast<unsigned>(number_at(from, "retries"));
    made.policy.retry.first_delay = std::chrono::nanoseconds(number_at(from, "first_delay_ns"));
    made.policy.retry.longest_delay = std::chrono::nanoseconds(number_at(from, "longest_delay_ns"));
    return made;
}

}  // namespace

std::string manifest::items_stream(std::size_t segment) const { return "df-" + names(*this, segment); }
std::string manifest::items_subject(std::size_t segment) const {
    return fmt::format("df.{}.{}.{}.k0", flow, run, segment);
}
std::string manifest::results_stream(std::size_t segment) const { return "df-" + names(*this, segment) + "-out"; }
std::string manifest::results_subject(std::size_t segment) const {
    return fmt::format("df.{}.{}.{}.out.k0", flow, run, segment);
}

std::string dead_stream(std::string_view flow) { return fmt::format("df-{}-dead", flow); }
std::string dead_subject(std::string_view flow, std::string_view run, std::size_t segment) {
    return fmt::format("df.{}.dead.{}.{}", flow, run, segment);
}

std::string to_json(const manifest& what) {
    boost::json::object all;
    all["leat"] = what.leat;
    all["flow"] = what.flow;
    all["run"] = what.run;
    all["owner"] = what.owner;
    all["hash"] = what.hash;
    all["flow_words"] = what.flow_words;
    all["file"] = what.file;
    all["text"] = what.text;
    boost::json::array segments;
    for (const manifest_segment& each : what.segments) {
        boost::json::object one;
        one["name"] = each.name;
        one["ack_wait_ns"] = each.ack_wait.count();
        one["most_deliveries"] = static_cast<std::int64_t>(each.most_deliveries);
        boost::json::array stages;
        for (const manifest_stage& stage : each.stages) stages.push_back(json_of(stage));
        one["stages"] = std::move(stages);
        segments.push_back(std::move(one));
    }
    all["segments"] = std::move(segments);
    return boost::json::serialize(all);
}

expected<manifest, std::string> manifest_from_json(std::string_view text) {
    try {
        const boost::json::value root = boost::json::parse(text);
        const boost::json::object& from = object_of(root);
        manifest made;
        made.leat = text_at(from, "leat");
        made.flow = text_at(from, "flow");
        made.run = text_at(from, "run");
        made.owner = text_at(from, "owner");
        made.hash = text_at(from, "hash");
        made.flow_words = text_at(from, "flow_words");
        made.file = text_at(from, "file");
        made.text = text_at(from, "text");
        for (const boost::json::value& each : list_at(from, "segments")) {
            const boost::json::object& one = object_of(each);
            manifest_segment segment;
            segment.name = text_at(one, "name");
            segment.ack_wait = std::chrono::nanoseconds(number_at(one, "ack_wait_ns"));
            segment.most_deliveries = static_cast<unsigned>(number_at(one, "most_deliveries"));
            for (const boost::json::value& stage : list_at(one, "stages"))
                segment.stages.push_back(stage_of(object_of(stage)));
            made.segments.push_back(std::move(segment));
        }
        return made;
    } catch (const std::exception& problem) {
        return unexpected(fmt::format("a manifest that cannot be read: {}", problem.what()));
    }
}

std::string hash_of(const manifest& what) {
    std::string all = what.flow_words;
    for (const manifest_segment& each : what.segments) {
        all += "\nsegment";
        for (const manifest_stage& stage : each.stages)
            all += fmt::format("\n{:?} {} {}", stage.name, stage.function, stage.type);
    }
    const key_digest digest = digest_of(all);
    return fmt::format("{:016x}{:016x}", digest.high, digest.low);
}

std::string name_in_engine(std::string_view flow) {
    std::string name;
    for (const char each : flow.substr(0, 64)) {
        const bool plain = (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') ||
                           (each >= '0' && each <= '9') || each == '-' || each == '_';
        name.push_back(plain ? each : '_');
    }
    return name.empty() ? "flow" : name;
}

std::string version() { return LEAT_VERSION; }

std::string this_process() {
    char host[256] = "";
    if (::gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    return fmt::format("{}:{}", host[0] == '\0' ? "host" : host, ::getpid());
}

}  // namespace leat::cluster
