// report::from_json: reports come from files, which people may have written to.
#include <boost/json.hpp>
#include <cmath>
#include <fmt/format.h>
#include <limits>

#include <leat/flow/report.hpp>

namespace leat {

namespace {

class wrong : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// The members of an object: each is read where it is there; what is there must be of its kind.
class members {
public:
    members(const boost::json::value& of, std::string where) : where_(std::move(where)) {
        if (!of.is_object()) throw wrong(fmt::format("{} is no object", where_));
        all_ = &of.get_object();
    }
    [[nodiscard]] bool has(const char* key) const { return all_->if_contains(key) != nullptr; }
    void require(const char* key) const {
        if (!has(key)) throw wrong(fmt::format("{} has no \"{}\"", where_, key));
    }
    void read(const char* key, std::string& to) const {
        if (const auto* found = all_->if_contains(key)) {
            if (!found->is_string()) expected(key, "a text");
            to = found->get_string().c_str();
        }
    }
    void read(const char* key, double& to) const {
        if (const auto* found = all_->if_contains(key)) {
            if (!found->is_number()) expected(key, "a number");
            to = found->to_number<double>();
            if (!(to >= 0) || !std::isfinite(to)) expected(key, "a number from zero on");
        }
    }
    void read(const char* key, bool& to) const {
        if (const auto* found = all_->if_contains(key)) {
            if (!found->is_bool()) expected(key, "true or false");
            to = found->get_bool();
        }
    }
    template <class Number>
    void read_count(const char* key, Number& to) const {
        if (const auto* found = all_->if_contains(key)) {
            boost::json::error_code error;
            const auto count = found->to_number<std::uint64_t>(error);
            if (error || count > std::numeric_limits<Number>::max()) expected(key, "a whole number from zero on");
            to = static_cast<Number>(count);
        }
    }
    [[nodiscard]] const boost::json::value* find(const char* key) const { return all_->if_contains(key); }
    [[nodiscard]] const boost::json::array& list(const char* key) const {
        const auto* found = all_->if_contains(key);
        if (found == nullptr || !found->is_array()) expected(key, "a list");
        return found->get_array();
    }

private:
    [[noreturn]] void expected(const char* key, const char* what) const {
        throw wrong(fmt::format("\"{}\" of {} is not {}", key, where_, what));
    }
    const boost::json::object* all_ = nullptr;
    std::string where_;
};

flow_end end_of(const std::string& word) {
    if (word == "complete") return flow_end::complete;
    if (word == "failed") return flow_end::failed;
    if (word == "interrupted") return flow_end::interrupted;
    throw wrong(fmt::format("\"end\" is `{}`, expected complete, failed or interrupted", word));
}

stage_report stage_of(const boost::json::value& of, std::size_t number) {
    const members from(of, fmt::format("stage {}", number));
    for (const char* key : {"name", "in", "out", "workers", "busy_s"}) from.require(key);
    stage_report r;
    from.read("name", r.name);
    from.read_count("in", r.in);
    from.read_count("out", r.out);
    from.read_count("skipped", r.skipped);
    from.read_count("retried", r.retried);
    from.read_count("dead", r.dead);
    from.read_count("failed", r.failed);
    from.read_count("jobs", r.jobs);
    from.read_count("workers", r.workers);
    from.read_count("most_jobs", r.most_jobs);
    from.read("fused", r.fused);
    from.read("busy_s", r.busy_s);
    from.read("io_s", r.io_s);
    from.read("core_s", r.core_s);
    from.read("starved_s", r.starved_s);
    from.read("blocked_s", r.blocked_s);
    from.read("p50_ms", r.p50_ms);
    from.read("p99_ms", r.p99_ms);
    from.read_count("spilled", r.spilled);
    from.read_count("saved_bytes", r.saved_bytes);
    from.read_count("moved_bytes", r.moved_bytes);
    return r;
}

report read(const boost::json::value& all) {
    const members from(all, "the report");
    for (const char* key : {"flow", "end", "in", "out", "seconds", "stages"}) from.require(key);
    report r;
    std::string end;
    from.read("flow", r.flow);
    from.read("end", end);
    r.end = end_of(end);
    from.read("error", r.error);
    from.read_count("in", r.in);
    from.read_count("out", r.out);
    from.read_count("skipped", r.skipped);
    from.read_count("resumed", r.resumed);
    from.read_count("dead", r.dead);
    from.read_count("failed", r.failed);
    from.read_count("unfinished", r.unfinished);
    from.read("seconds", r.seconds);
    from.read("cpus", r.cpus);
    from.read("cpu_s", r.cpu_s);
    from.read("peak_bytes", r.peak_bytes);
    for (const boost::json::value& each : from.list("stages")) r.stages.push_back(stage_of(each, r.stages.size() + 1));
    if (from.has("unfinished_names"))
        for (const boost::json::value& each : from.list("unfinished_names"))
            if (each.is_string()) r.unfinished_names.emplace_back(each.get_string());
    if (from.has("sizing"))
        for (const boost::json::value& each : from.list("sizing"))
            if (each.is_string()) r.sizing.emplace_back(each.get_string());
    if (const boost::json::value* planned = from.find("plan")) {
        const members of(*planned, "the plan");
        of.require("rate");
        plan_forecast& plan = r.plan.emplace();
        of.read_count("sampled", plan.sampled);
        of.read_count("items", plan.items);
        of.read("rate", plan.rate);
        of.read("seconds", plan.seconds);
        of.read("peak_bytes", plan.peak_bytes);
        of.read("sentence", plan.sentence);
    }
    return r;
}

}  // namespace

expected<report, std::string> report::from_json(std::string_view text) {
    try {
        boost::json::error_code error;
        const boost::json::value all = boost::json::parse({text.data(), text.size()}, error);
        if (error) return unexpected(fmt::format("it is not JSON: {}", error.message()));
        return read(all);
    } catch (const wrong& problem) {
        return unexpected(fmt::format("it is not the report of a run: {}", problem.what()));
    }
}

}  // namespace leat
