// From the tree of a TOML document to a flow: the tables, then the kinds, then who takes from whom, then the components.
#include <leat/flow/flow_file.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <sys/stat.h>
#include <tuple>

#include <fmt/format.h>

#include <leat/base/machine.hpp>
#include <leat/flow/dead_letter_file.hpp>
#include <leat/flow/item_codec.hpp>
#include <leat/io/unique_fd.hpp>

#include <flow/flow_order.hpp>
#include <flow/option_reader.hpp>
#include <flow/suggest.hpp>

namespace leat {

namespace {

using form = toml_value::form;
constexpr std::size_t longest_file = std::size_t{16} << 20U;

// A component while its file is read.
struct draft {
    component_role role;
    const toml_value* table;
    std::string where;  // "[[stage]] 'parse'"
    bool named = false;
    described_component what;
    std::vector<flow_way> from = {};
    std::shared_ptr<stage> made = {};  // not of a source
    [[nodiscard]] toml_place place_of(std::string_view key) const {
        const toml_member* found = table->find(key);
        return found == nullptr ? table->place : found->value.place;
    }
};

class reader {
public:
    reader(std::string file, const registry& kinds, journal_place kept)
        : file_(std::move(file)), kinds_(kinds), kept_(kept), options_(file_, errors_) {}

    expected<flow_file, flow_file_errors> read(const toml_value& root);

private:
    void read_tables(const toml_value& root);
    void read_header(const toml_value& root);
    void read_pools(const toml_place& place);
    void read_component(component_role role, const toml_value& table, std::string where);
    const component* find_kind(const draft& of);
    void give_names();
    void read_policy(draft& of);
    void put_in_order();
    [[nodiscard]] unsigned port_of(const draft& of, const draft& from, const flow_way& way);
    [[nodiscard]] bool has_place_for_letters() const {
        return header_.has("state") || kept_ == journal_place::elsewhere;
    }
    void let_branches_spill(flow_graph& graph);
    void look_for_readers(const flow_graph& graph);
    void make(flow_file& into);
    template <class Maker>
    auto make_one(const draft& of, Maker maker) -> decltype(maker(of.what.options));
    flow_file_errors take_errors();

    std::string file_;
    const registry& kinds_;
    std::vector<flow_file_error> errors_;
    journal_place kept_;
    option_reader options_;
    option_values header_;
    std::map<std::string, unsigned> pools_;
    std::vector<draft> drafts_;  // the source, the stages, the sink, as far as they are there
};

order order_named(const std::string& word) {
    return word == "none" ? order::none : word == "key" ? order::key : order::input;
}

std::string stem_of(const std::string& file) {
    std::string stem = std::filesystem::path(file).stem().string();
    return stem.empty() ? "flow" : stem;
}

expected<flow_file, flow_file_errors> reader::read(const toml_value& root) {
    if (root.members.empty()) {
        options_.error({}, "the flow file is empty; expected [source], one or more [[stage]], and [sink]");
        return unexpected(take_errors());
    }
    read_header(root);
    read_tables(root);
    give_names();
    for (draft& each : drafts_) read_policy(each);
    if (errors_.empty()) put_in_order();
    flow_file result;
    if (errors_.empty()) make(result);
    if (!errors_.empty()) return unexpected(take_errors());
    return result;
}

flow_file_errors reader::take_errors() {
    std::sort(errors_.begin(), errors_.end(), [](const flow_file_error& a, const flow_file_error& b) {
        return std::tie(a.line, a.column, a.message) < std::tie(b.line, b.column, b.message);
    });
    flow_file_errors all;
    if (errors_.size() > flow_file_errors::most) {
        all.left_out = errors_.size() - flow_file_errors::most;
        errors_.resize(flow_file_errors::most);
    }
    all.all = std::move(errors_);
    return all;
}

// --- Tables ---

void reader::read_header(const toml_value& root) {
    static const toml_value none;
    const toml_member* flow = root.find("flow");
    if (flow != nullptr && flow->value.what != form::table)
        options_.error(flow->place, fmt::format("'flow' is {}; expected a table [flow]", flow->value.described()));
    const bool usable = flow != nullptr && flow->value.what == form::table;
    header_ = options_.read(usable ? flow->value : none, flow_table_options(), "[flow]");
    if (!header_.has("name")) header_.set("name", stem_of(file_));
    if (usable && header_.has("pools")) read_pools(flow->value.find("pools")->value.place);
}

void reader::read_pools(const toml_place& place) {
    for (const std::string& text : header_.list("pools")) {
        const std::size_t equals = text.find('=');
        const auto trimmed = [](std::string_view part) {
            while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
            while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
            return std::string(part);
        };
        const std::string name = trimmed(text.substr(0, equals));
        const std::string count = equals == std::string::npos ? "" : trimmed(text.substr(equals + 1));
        unsigned places = 0;
        const auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), places);
        if (name.empty() || error != std::errc() || end != count.data() + count.size() || places == 0)
            options_.error(place, fmt::format("'pools' in [flow]: found \"{}\", expected \"NAME = PLACES\"", text));
        else pools_[name] = places;
    }
}

void reader::read_tables(const toml_value& root) {
    const auto some = [&](component_role role) {
        const std::string name(to_string(role));
        const toml_member* found = root.find(name);
        if (found == nullptr) {
            options_.error({}, fmt::format("the flow has no [{}]", name));
        } else if (found->value.what == form::table) {
            read_component(role, found->value, fmt::format("[{}]", name));
        } else if (found->value.what == form::array && !found->value.items.empty()) {
            for (std::size_t i = 0; i < found->value.items.size(); ++i) {
                const toml_value& each = found->value.items[i];
                if (each.what == form::table) read_component(role, each, fmt::format("[[{}]] {}", name, i + 1));
                else options_.error(each.place, fmt::format("a {} is {}; expected a table", name, each.described()));
            }
        } else {
            options_.error(found->place,
                           fmt::format("'{}' is {}; expected a table [{}]", name, found->value.described(), name));
        }
    };
    some(component_role::source);
    const toml_member* stages = root.find("stage");
    if (stages == nullptr || (stages->value.what == form::array && stages->value.items.empty())) {
        options_.error({}, "the flow has no stages; expected one [[stage]] at least");
    } else if (stages->value.what != form::array) {
        options_.error(stages->place,
                       fmt::format("'stage' is {}; expected [[stage]], in two pairs of brackets, for each stage",
                                   stages->value.described()));
    } else {
        for (std::size_t i = 0; i < stages->value.items.size(); ++i) {
            const toml_value& each = stages->value.items[i];
            if (each.what == form::table)
                read_component(component_role::stage, each, fmt::format("[[stage]] {}", i + 1));
            else options_.error(each.place, fmt::format("a stage is {}; expected a table", each.described()));
        }
    }
    some(component_role::sink);

    const std::vector<candidate> known = {{"flow", "[flow]"},     {"source", "[source]"}, {"input", "[source]"},
                                          {"stage", "[[stage]]"}, {"sink", "[sink]"},     {"output", "[sink]"}};
    for (const toml_member& each : root.members) {
        if (each.key == "flow" || each.key == "source" || each.key == "stage" || each.key == "sink") continue;
        const std::string meant = nearest(each.key, known);
        options_.error(each.place, fmt::format("unknown key '{}'; {}", each.key,
                                               meant.empty() ? "expected [flow], [source], [[stage]] or [sink]"
                                                             : "did you mean " + meant + "?"));
    }
}

void reader::read_component(component_role role, const toml_value& table, std::string where) {
    draft fresh{role, &table, std::move(where), false, {}, {}, {}};
    const toml_member* name = table.find("name");
    if (name != nullptr && name->value.what == form::text && !name->value.text.empty()) {
        fresh.named = true;
        fresh.what.name = name->value.text;
        fresh.where = fmt::format("{} '{}'", fresh.where.substr(0, fresh.where.rfind(']') + 1), fresh.what.name);
    }
    fresh.what.line = table.place.line;
    fresh.what.kind = find_kind(fresh);
    if (fresh.what.kind != nullptr) {
        std::vector<option> declared = common_options(role);
        declared.insert(declared.end(), fresh.what.kind->options.begin(), fresh.what.kind->options.end());
        fresh.what.options = options_.read(table, declared, fresh.where);
    }
    drafts_.push_back(std::move(fresh));
}

const component* reader::find_kind(const draft& of) {
    const std::vector<const component*> kinds = kinds_.of(of.role);
    const std::string_view role = to_string(of.role);
    std::string all;
    for (const component* each : kinds) all += (all.empty() ? "" : ", ") + each->name;
    const toml_member* type = of.table->find("type");
    if (type == nullptr) {
        for (const component* each : kinds)
            if (!each->implied_by.empty() && of.table->find(each->implied_by) != nullptr) return each;
        options_.error(of.table->place, fmt::format("{} has no 'type'; expected one of {}", of.where, all));
        return nullptr;
    }
    if (type->value.what != form::text) {
        options_.error(type->value.place, fmt::format("'type' in {}: found {}, expected one of {}", of.where,
                                                      type->value.described(), all));
        return nullptr;
    }
    const std::string& wanted = type->value.text;
    if (const component* found = kinds_.find(of.role, wanted)) return found;
    std::string hint;
    for (const component_role other : {component_role::source, component_role::stage, component_role::sink})
        if (kinds_.find(other, wanted) != nullptr)
            hint = fmt::format("it is a {}, and this is a {}", to_string(other), role);
    if (hint.empty()) {
        std::vector<candidate> known;
        known.reserve(kinds.size());
        for (const component* each : kinds) known.push_back({each->name, each->name});
        const std::string meant = nearest(wanted, known);
        hint = meant.empty() ? fmt::format("expected one of {}", all) : fmt::format("did you mean '{}'?", meant);
    }
    options_.error(type->value.place,
                   fmt::format("unknown type {} of {} in {}; {}", type->value.described(), role, of.where, hint));
    return nullptr;
}

void reader::give_names() {
    const auto taken = [this](const std::string& name, const draft* but) {
        return std::any_of(drafts_.begin(), drafts_.end(),
                           [&](const draft& each) { return &each != but && each.what.name == name; });
    };
    for (std::size_t i = 0; i < drafts_.size(); ++i) {
        draft& each = drafts_[i];
        if (!each.named) continue;
        const auto first = std::find_if(drafts_.begin(), drafts_.end(),
                                        [&](const draft& one) { return one.named && one.what.name == each.what.name; });
        if (&*first != &each)
            options_.error(each.place_of("name"),
                           fmt::format("the name '{}' is taken by the {} in line {}; names must differ", each.what.name,
                                       to_string(first->role), first->what.line));
    }
    for (draft& each : drafts_) {
        if (each.named) continue;
        const std::string kind = each.what.kind == nullptr ? std::string(to_string(each.role)) : each.what.kind->name;
        each.what.name = kind;
        for (unsigned i = 2; taken(each.what.name, &each); ++i) each.what.name = fmt::format("{}-{}", kind, i);
    }
}

void reader::read_policy(draft& of) {
    if (of.role == component_role::source || of.what.kind == nullptr) return;
    const option_values& from = of.what.options;
    stage_policy& to = of.what.policy;
    if (from.has("jobs")) {
        const job_range jobs = from.jobs("jobs");
        to.jobs = jobs.max;
        if (jobs.min != jobs.max) to.least_jobs = jobs.min;
    }
    if (from.has("order")) to.ordered = order_named(from.text("order"));
    if (from.has("reorder_window")) to.window = static_cast<std::size_t>(from.integer("reorder_window"));
    if (from.has("pool")) {
        to.pool = from.text("pool");
        if (pools_.find(to.pool) == pools_.end())
            options_.error(of.place_of("pool"), fmt::format("'pool' in {} names '{}', which is not among the pools of "
                                                            "[flow]; expected pools = [\"{} = 4\"] there",
                                                            of.where, to.pool, to.pool));
    }
    if (from.has("rate")) to.rate = from.number("rate");
    if (from.has("overflow")) {
        const std::string& full = from.text("overflow");
        to.full = full == "drop-newest"   ? when_full::drop_newest
                  : full == "drop-oldest" ? when_full::drop_oldest
                  : full == "spill"       ? when_full::spill
                                          : when_full::wait;
        to.spilled_as = &record_codec();
        to.own_buffer = true;
    }
    if (from.has("buffer")) {
        const option_values& buffer = from.table("buffer");
        to.own_buffer = true;
        if (buffer.has("items")) to.buffer_items = static_cast<std::size_t>(buffer.integer("items"));
        if (buffer.has("bytes")) to.buffer_bytes = buffer.size("bytes");
        if (buffer.has("disk")) to.spill_bytes = buffer.size("disk");
    }
    if (from.has("timeout")) to.timeout = from.duration("timeout");
    if (from.has("retry")) {
        const option_values& retry = from.table("retry");
        to.retry.max = static_cast<unsigned>(retry.integer("max"));
        to.retry.first_delay = retry.duration_range("backoff").first;
        to.retry.longest_delay = retry.duration_range("backoff").last;
        to.retry.jitter = retry.number("jitter");
    }
    if (from.text("placement") == "processes" && !of.what.kind->in_processes)
        options_.error(
            of.place_of("placement"),
            fmt::format("'placement' in {}: a '{}' runs in threads; what is to run in processes is a program, as "
                        "exec = [\"…\"], or a function in C++, as map<fn>(\"…\").on(processes(n))",
                        of.where, of.what.kind->name));
    const std::string& failed = from.text("on_error");
    to.error = failed == "skip"          ? on_error::skip
               : failed == "dead-letter" ? on_error::dead_letter
               : failed == "keep-going"  ? on_error::keep_going
                                         : on_error::fail;
    if (to.error == on_error::dead_letter && !has_place_for_letters())
        options_.error(of.place_of("on_error"), fmt::format("'on_error' in {}: dead letters need a directory; expected "
                                                            "state = \"…\" in [flow]",
                                                            of.where));
}

// --- The graph ---

void reader::put_in_order() {
    std::vector<flow_node> nodes;
    std::string last = drafts_.front().what.name;  // of what comes before the sinks
    std::vector<std::string> sources;
    for (const draft& each : drafts_) {
        flow_node node{each.what.name, each.role, {}, each.place_of("from")};
        if (each.role == component_role::source) {
            sources.push_back(each.what.name);
        } else {
            // The first stage takes from all sources; all sinks from the last stage.
            const bool first = nodes.back().role == component_role::source;
            if (each.what.options.has("from")) node.from = each.what.options.list("from");
            else node.from = first ? sources : std::vector<std::string>{last};
            if (each.role == component_role::stage) last = each.what.name;
        }
        nodes.push_back(std::move(node));
    }
    auto order = order_of_flow(nodes);
    if (!order) {
        for (flow_order_error& each : order.error()) options_.error(each.place, std::move(each.message));
        return;
    }
    std::vector<draft> sorted;
    std::vector<std::size_t> now(drafts_.size());  // where each has gone
    for (const std::size_t each : order->nodes) {
        now[each] = sorted.size();
        sorted.push_back(std::move(drafts_[each]));
        sorted.back().from = std::move(order->from[each]);
    }
    drafts_ = std::move(sorted);
    for (draft& each : drafts_)
        for (flow_way& way : each.from) way.node = now[way.node];
}

// Which port of `from` the way of `of` means.
unsigned reader::port_of(const draft& of, const draft& from, const flow_way& way) {
    const std::vector<std::string> names = from.made == nullptr ? std::vector<std::string>() : from.made->port_names();
    if (way.port.empty() && names.empty()) return 0;
    const auto found = std::find(names.begin(), names.end(), way.port);
    if (found != names.end()) return static_cast<unsigned>(found - names.begin());
    std::string all;
    for (const std::string& each : names)
        all += fmt::format("{}'{}.{}'", all.empty() ? "" : ", ", from.what.name, each);
    if (names.empty())
        options_.error(of.place_of("from"), fmt::format("'from' of '{}' names '{}.{}', but '{}' has one way out",
                                                        of.what.name, from.what.name, way.port, from.what.name));
    else
        options_.error(of.place_of("from"), fmt::format("'from' of '{}' must say which way out of '{}'; expected {}",
                                                        of.what.name, from.what.name, all));
    return 0;
}

template <class Maker>
auto reader::make_one(const draft& of, Maker maker) -> decltype(maker(of.what.options)) {
    try {
        return maker(of.what.options);
    } catch (const option_error& error) {
        options_.error(of.place_of(error.key()), fmt::format("'{}' in {} {}", error.key(), of.where, error.what()));
    } catch (const std::exception& error) {
        options_.error(of.table->place, fmt::format("{}: {}", of.where, error.what()));
    }
    return nullptr;
}

void reader::make(flow_file& into) {
    flow_description& flow = into.description;
    flow.name = header_.text("name");
    if (header_.has("state")) flow.state = header_.text("state");
    flow.ordered = order_named(header_.text("order"));
    if (header_.has("window")) flow.window = static_cast<std::size_t>(header_.integer("window"));
    if (header_.has("bytes")) flow.most_bytes = header_.size("bytes");
    if (header_.has("drain")) flow.drain_timeout = header_.duration("drain");
    if (header_.has("retry_budget")) flow.retry_share = header_.number("retry_budget");
    flow.pools.assign(pools_.begin(), pools_.end());

    into.graph.name = flow.name;
    into.graph.ordered = flow.ordered;
    std::vector<flow_input> places;  // of the drafts, in the graph
    for (draft& each : drafts_) {
        if (each.role == component_role::source) {
            places.push_back({true, into.graph.sources.size(), 0});
            into.graph.sources.push_back({each.what.name, make_one(each, each.what.kind->make_source)});
            const auto& made = into.graph.sources.back().what;
            if (made != nullptr && made->has_dead_letters() && !has_place_for_letters())
                options_.error(
                    each.table->place,
                    fmt::format("{}: dead letters need a directory; expected state = \"…\" in [flow]", each.where));
            continue;
        }
        each.made = make_one(each, each.what.kind->make_stage);
        const job_range asked = each.what.options.jobs("jobs");
        if (each.made != nullptr && asked.max > each.made->most_jobs())
            options_.error(each.place_of("jobs"),
                           fmt::format("'jobs' in {}: found {}, expected at most {}: it has to see all items",
                                       each.where, asked.max, each.made->most_jobs()));
        if (each.made != nullptr && each.what.options.text("placement") == "cluster" &&
            (each.role == component_role::sink || each.made->most_jobs() == 1 || each.made->ports() != 1))
            options_.error(
                each.place_of("placement"),
                fmt::format("'placement' in {}: a '{}' cannot be on the cluster: {}", each.where, each.what.kind->name,
                            each.role == component_role::sink
                                ? "what the flow makes is kept where it is run"
                                : "it has to see all items, or sends them different ways"));
        stage_node node{each.what.name, each.made, each.what.policy, {}, each.role == component_role::sink};
        for (const flow_way& way : each.from) {
            node.from.push_back(places[way.node]);
            node.from.back().port = port_of(each, drafts_[way.node], way);
        }
        places.push_back({false, into.graph.stages.size(), 0});
        into.graph.stages.push_back(std::move(node));
    }
    look_for_readers(into.graph);
    let_branches_spill(into.graph);
    for (draft& each : drafts_) {
        if (each.role == component_role::source) flow.sources.push_back(std::move(each.what));
        else if (each.role == component_role::sink) flow.sinks.push_back(std::move(each.what));
        else flow.stages.push_back(std::move(each.what));
    }
}

// Where one way out has several takers, a slow one of them is not to hold up the others, unless its 'overflow' says so.
void reader::let_branches_spill(flow_graph& graph) {
    const auto takes = [](const stage_node& one, const flow_input& what) {
        return std::any_of(one.from.begin(), one.from.end(), [&](const flow_input& in) {
            return in.is_source == what.is_source && in.index == what.index && in.port == what.port;
        });
    };
    for (const draft& each : drafts_) {
        if (each.role == component_role::source || each.what.options.has("overflow")) continue;
        const auto mine = std::find_if(graph.stages.begin(), graph.stages.end(),
                                       [&](const stage_node& one) { return one.name == each.what.name; });
        const bool shares = std::any_of(mine->from.begin(), mine->from.end(), [&](const flow_input& in) {
            return std::count_if(graph.stages.begin(), graph.stages.end(),
                                 [&](const stage_node& one) { return takes(one, in); }) > 1;
        });
        if (!shares) continue;
        mine->policy.full = when_full::spill;
        mine->policy.spilled_as = &record_codec();
    }
}

void reader::look_for_readers(const flow_graph& graph) {
    for (const draft& each : drafts_) {
        if (each.made == nullptr) continue;
        const std::vector<std::string> names = each.made->port_names();
        for (unsigned port = 0; port < names.size(); ++port) {
            const auto reads = [&](const stage_node& one) {
                return std::any_of(one.from.begin(), one.from.end(), [&](const flow_input& in) {
                    return !in.is_source && in.port == port && graph.stages[in.index].what == each.made;
                });
            };
            if (std::none_of(graph.stages.begin(), graph.stages.end(), reads))
                options_.error(each.table->place, fmt::format("nobody takes what '{}' gives at '{}.{}'", each.what.name,
                                                              each.what.name, names[port]));
        }
    }
}

// --- The file ---

expected<std::string, std::string> read_text(const std::string& path) {
    const auto why = [](int error) { return std::string(std::strerror(error)); };
    const io::unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
        return unexpected(errno == ENOENT ? std::string("there is no such file") : "cannot be opened: " + why(errno));
    struct stat status{};
    if (::fstat(fd.get(), &status) == 0 && S_ISDIR(status.st_mode))
        return unexpected(std::string("is a directory; expected a flow file"));
    std::string text;
    char part[1U << 14U];
    for (;;) {
        const ssize_t got = ::read(fd.get(), part, sizeof part);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return unexpected("cannot be read: " + why(errno));
        if (got == 0) return text;
        text.append(part, static_cast<std::size_t>(got));
        if (text.size() > longest_file) return unexpected(std::string("is longer than 16 MiB; expected a flow file"));
    }
}

flow_file_errors just(flow_file_error error) {
    flow_file_errors all;
    all.all.push_back(std::move(error));
    return all;
}

}  // namespace

std::string flow_file_error::to_text() const {
    if (line == 0) return fmt::format("{}: {}", file, message);
    return fmt::format("{}:{}:{}: {}", file, line, column, message);
}

std::string flow_file_errors::to_text() const {
    std::string text;
    for (const flow_file_error& each : all) text += each.to_text() + "\n";
    if (left_out > 0) text += fmt::format("… and {} more\n", left_out);
    return text;
}

expected<flow_file, flow_file_errors> parse_flow_file(std::string_view text, const std::string& name,
                                                      const registry& kinds, journal_place kept) {
    auto root = parse_toml(text, name);
    if (!root) return unexpected(just(std::move(root).error()));
    return reader(name, kinds, kept).read(*root);
}

expected<flow_file, flow_file_errors> load_flow_file(const std::string& path, const registry& kinds,
                                                     journal_place kept) {
    auto text = read_text(path);
    if (!text) return unexpected(just({path, 0, 0, std::move(text).error()}));
    return parse_flow_file(*text, path, kinds, kept);
}

flow_options prepare_flow(const flow_file& file, journal* kept, journal_mode mode) {
    const flow_description& flow = file.description;
    flow_options options;
    options.window = flow.window;
    options.most_bytes = flow.most_bytes;
    options.drain_timeout = flow.drain_timeout;
    options.retry_share = flow.retry_share;
    for (const auto& [name, places] : flow.pools) options.pools.emplace_back(name, std::make_shared<semaphore>(places));
    options.journal = kept;
    options.journal_mode = mode;
    if (kept != nullptr) options.journal_flow = flow_text(flow);
    if (!flow.state.empty())
        for (const stage_node& each : file.graph.stages) each.what->use_state(flow.state, each.name);
    const bool letters =
        std::any_of(file.graph.sources.begin(), file.graph.sources.end(),
                    [](const source_node& each) { return each.what && each.what->has_dead_letters(); }) ||
        std::any_of(file.graph.stages.begin(), file.graph.stages.end(),
                    [](const stage_node& each) { return each.policy.error == on_error::dead_letter; });
    if (letters && kept == nullptr && !flow.state.empty()) {
        auto to = std::make_shared<dead_letter_file>(flow.state + "/dead.jsonl", flow.name);
        options.dead_letters = [to](const dead_letter& each) { to->keep(each); };
    }
    return options;
}

}  // namespace leat
