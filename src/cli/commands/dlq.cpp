// leat dlq: the dead letters in the journal of a flow.
#include <cli/commands/commands.hpp>

#include <algorithm>
#include <cli/engine_connection.hpp>
#include <cli/engine_run.hpp>
#include <cli/load_flow.hpp>
#include <cli/open_state.hpp>
#include <cli/session.hpp>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <unistd.h>

#include <leat/cluster/cluster_flow.hpp>
#include <leat/flow/journal_reader.hpp>
#include <leat/runtime/blocking.hpp>
#include <leat/runtime/run.hpp>

namespace leat::cli {

namespace {

constexpr std::size_t page = 64;  // letters in memory at a time
constexpr std::size_t most_shown = 4096;

std::string time_text(std::int64_t seconds) {
    const auto when = static_cast<std::time_t>(seconds);
    std::tm parts{};
    ::gmtime_r(&when, &parts);
    char text[32];
    return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

std::string first_line(const std::string& text) {
    constexpr std::size_t longest = 100;
    std::string line = printable(std::string_view(text).substr(0, text.find('\n')));
    if (line.size() > longest) line.resize(longest);
    return line;
}

std::string row_of(const kept_letter& letter, std::size_t widest) {
    return fmt::format("{:<{}}  {:<12}  {:>8}  {:>4}  {}\n", printable(letter.item), widest, printable(letter.stage),
                       letter.attempts, letter.run, first_line(letter.error));
}

std::string indented(std::string_view text) {
    std::string all;
    const bool clipped = text.size() > most_shown;
    text = text.substr(0, most_shown);
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        all += "    " + printable(line) + "\n";
    }
    if (clipped) all += "    …\n";
    return all;
}

std::string page_of(const kept_letter& letter) {
    std::string all = fmt::format("item '{}'\n  died in '{}' in run {}, {}, after {} attempt{}\n  error: {}\n",
                                  printable(letter.item), printable(letter.stage), letter.run, time_text(letter.time_s),
                                  letter.attempts, letter.attempts == 1 ? "" : "s", printable(letter.error));
    if (!letter.has_value) return all + "  its value is none that can be kept, and it cannot be replayed\n";
    all += fmt::format("  key: {}\n", printable(letter.value.key));
    for (const auto& [name, value] : letter.value.attributes)
        if (name != "stderr") all += fmt::format("  {}: {}\n", printable(name), printable(value));
    if (const std::string& words = letter.value.attribute("stderr"); !words.empty())
        all += "  standard error ended with\n" + indented(words);
    all += fmt::format("  input, {} bytes\n", letter.value.bytes.size()) + indented(letter.value.bytes);
    return all;
}

// Gives the letters one by one, as often as it is called.
using letters_in = std::function<void(const std::function<bool(kept_letter&&)>&)>;

exit_code list_letters(const letters_arguments& command, const letters_in& for_each, closed_streams closed) {
    exit_code code = exit_code::done;
    const auto print = [&](const std::string& text) {
        code = print_text(text, closed);
        return code == exit_code::done;
    };
    if (command.json) {
        for_each([&](kept_letter&& each) { return print(to_json(each) + "\n"); });
        return code;
    }
    constexpr std::size_t most = 60;
    std::size_t widest = 4;
    for_each([&](kept_letter&& each) {
        widest = std::min(most, std::max(widest, printable(each.item).size()));
        return true;
    });
    bool any = false;
    for_each([&](kept_letter&& each) {
        const std::string head = any ? ""
                                     : fmt::format("{:<{}}  {:<12}  {:>8}  {:>4}  {}\n", "item", widest, "stage",
                                                   "attempts", "run", "error");
        any = true;
        return print(head + row_of(each, widest));
    });
    return code;
}

exit_code show_letters(const letters_arguments& command, const letters_in& for_each, closed_streams closed) {
    std::string text;
    for_each([&](kept_letter&& each) {
        if (each.item == command.item) text += (text.empty() ? "" : "\n") + page_of(each);
        return true;
    });
    if (text.empty())
        throw usage_error(fmt::format("dlq: there is no dead letter of an item '{}'; `leat dlq ls {}` shows them all",
                                      printable(command.item), command.place));
    return print_text(text, closed);
}

exit_code look_at_letters(const letters_arguments& command, const letters_in& letters, closed_streams closed) {
    return command.verb == letters_verb::list ? list_letters(command, letters, closed)
                                              : show_letters(command, letters, closed);
}

journal_place place_of(const letters_arguments& command) {
    return command.engine.empty() ? journal_place::in_state : journal_place::elsewhere;
}

flow_file loaded(const letters_arguments& command, const registry& kinds) {
    auto file = load_flow(command.place, kinds, place_of(command));
    if (!file) throw usage_error(std::string(file.error(), 0, file.error().find_last_not_of('\n') + 1));
    return std::move(*file);
}

// Of a flow whose journal is in the engine: nobody else may run it meanwhile.
void look_in_engine(const letters_arguments& command, const std::string& flow,
                    const std::function<void(journal&)>& look) {
    leat::run(run_options(1), [&] { return with_engine_journal(command.engine, flow, look); });
}

// --- Replay ---

// The letters of one stage, up to the last that was there before the run.
class letter_source final : public source {
public:
    letter_source(journal& kept, std::string stage, std::int64_t last, std::uint64_t count)
        : kept_(kept), stage_(std::move(stage)), last_(last), count_(count) {}

    task<> run(source_output& out) override {
        for (std::int64_t behind = 0; behind < last_;) {
            std::vector<kept_letter> some = co_await blocking(&letter_source::next, this, behind);
            if (some.empty()) break;
            behind = some.back().id;
            for (kept_letter& each : some) {
                if (each.stage != stage_ || !each.has_value) continue;
                current_ = std::to_string(each.id);
                payload value(std::move(each.value));
                co_await out.emit(std::move(value));
            }
        }
    }
    [[nodiscard]] std::optional<std::uint64_t> total() const noexcept override { return count_; }
    [[nodiscard]] bool has_unique_names() const noexcept override { return true; }
    // What the item that is being given is called in the journal.
    [[nodiscard]] const std::string& current() const noexcept { return current_; }

private:
    std::vector<kept_letter> next(std::int64_t behind) {
        std::vector<kept_letter> some;
        kept_.for_each_letter(behind, [&](kept_letter&& each) {
            if (each.id > last_) return false;
            some.push_back(std::move(each));
            return some.size() < page;
        });
        return some;
    }
    journal& kept_;
    std::string stage_;
    std::int64_t last_;
    std::uint64_t count_;
    std::string current_;
};

// The flow from `stage` on, without what leads there and what goes other ways; false when it is not in the flow.
bool cut_before(flow_graph& graph, const std::string& stage) {
    constexpr std::size_t gone = ~std::size_t{0};
    std::vector<std::size_t> places(graph.stages.size(), gone);  // of those that stay
    std::vector<stage_node> kept;
    const bool has_sinks =
        std::any_of(graph.stages.begin(), graph.stages.end(), [](const stage_node& each) { return each.is_sink; });
    for (std::size_t at = 0; at < graph.stages.size(); ++at) {
        stage_node& each = graph.stages[at];
        std::vector<flow_input> from;
        if (each.name == stage) {
            from.push_back({true, 0, 0});
        } else if (each.from.empty()) {
            if (at > 0 && places[at - 1] != gone) from.push_back({false, places[at - 1], 0});
        } else {
            for (const flow_input& input : each.from)
                if (!input.is_source && places[input.index] != gone)
                    from.push_back({false, places[input.index], input.port});
        }
        if (from.empty()) continue;
        each.is_sink = each.is_sink || (!has_sinks && at + 1 == graph.stages.size());
        each.from = std::move(from);
        places[at] = kept.size();
        kept.push_back(std::move(each));
    }
    graph.stages = std::move(kept);
    return !graph.stages.empty();
}

struct letters_of_stage {
    std::uint64_t count = 0;
    std::uint64_t without_value = 0;
};

// What is on record before a replay.
struct letters_on_record {
    std::vector<std::pair<std::string, letters_of_stage>> stages;
    std::int64_t last = 0;
};

letters_on_record count_letters(journal& kept, const letters_arguments& command, const flow_graph& graph) {
    letters_on_record found;
    for (const stage_node& each : graph.stages) found.stages.emplace_back(each.name, letters_of_stage{});
    const std::optional<past_run> run = kept.last_run();
    if (run && !run->is_complete())
        throw usage_error(fmt::format("dlq: run {} of this flow is not complete: first `leat resume {}`", run->number,
                                      command.place));
    kept.for_each_letter(0, [&](kept_letter&& each) {
        found.last = each.id;
        auto of = std::find_if(found.stages.begin(), found.stages.end(),
                               [&](const auto& one) { return one.first == each.stage; });
        if (of == found.stages.end()) of = found.stages.insert(found.stages.end(), {each.stage, {}});
        ++(each.has_value ? of->second.count : of->second.without_value);
        return true;
    });
    return found;
}

// The flow is what is behind the letters then.
std::shared_ptr<letter_source> replace_sources(flow_graph& graph, journal& kept, const std::string& stage,
                                               std::int64_t last, std::uint64_t count) {
    auto from = std::make_shared<letter_source>(kept, stage, last, count);
    graph.sources = {{"dead letters", from}};
    return from;
}

exit_code replay_stage(const letters_arguments& command, const registry& kinds, const std::string& stage,
                       std::int64_t last, std::uint64_t count, screen& messages) {
    flow_file file = loaded(command, kinds);
    if (!cut_before(file.graph, stage)) {
        messages.print(fmt::format("leat: {} dead letters stay: '{}' is no stage of the flow (any more)\n", count,
                                   printable(stage)));
        return exit_code::items_failed;
    }
    session_plan plan;
    plan.print_report = !command.quiet;
    plan.output.progress = progress_mode::none;
    const engine_choice on{command.engine, 0};
    engine_run in_engine(file, command.place, on, plan.control, messages);
    std::unique_ptr<journal> kept;
    std::shared_ptr<letter_source> from;
    std::shared_ptr<cluster::coordinator> placed;
    plan.options.item_key = [&from](payload&) { return from->current(); };
    if (file.description.state.empty()) {
        plan.run = [&](const flow_options& session) {
            return in_engine.run(session, [&](journal& now) {
                from = replace_sources(file.graph, now, stage, last, count);
                return journal_mode::replay;
            });
        };
    } else {
        kept = open_state(file.description.state);
        if (!command.engine.empty())
            placed = place_flow(file, command.place, {command.engine, command.replicas}, plan.control, messages);
        const auto key = std::move(plan.options.item_key);
        plan.options = prepare_flow(file, kept.get(), journal_mode::replay);
        plan.options.item_key = key;
        from = replace_sources(file.graph, *kept, stage, last, count);
        plan.graph = std::move(file.graph);
    }
    const exit_code code = run_session(std::move(plan), messages);
    if (in_engine.placed()) placed = in_engine.placed();
    return placed && !placed->failure().empty() ? exit_code::engine_failed : code;
}

exit_code replay_letters(const letters_arguments& command) {
    registry kinds;
    add_builtin_kinds(kinds);
    screen messages(STDERR_FILENO);
    const flow_file file = loaded(command, kinds);
    const std::string& state = file.description.state;
    letters_on_record found;
    const auto count = [&](journal& kept) { found = count_letters(kept, command, file.graph); };
    if (!state.empty()) count(*open_state(state));
    else if (!command.engine.empty()) look_in_engine(command, file.description.name, count);
    else
        throw usage_error(fmt::format(
            "dlq: '{}' keeps no journal: it has no state = \"…\" in [flow], and no --engine says where it is",
            command.place));
    exit_code worst = exit_code::done;
    for (const auto& [stage, letters] : found.stages) {
        if (letters.without_value > 0) {
            messages.print(fmt::format("leat: {} dead letters of '{}' stay: their values could not be kept\n",
                                       letters.without_value, printable(stage)));
            worst = std::max(worst, exit_code::items_failed);
        }
        if (letters.count == 0) continue;
        const exit_code code = replay_stage(command, kinds, stage, found.last, letters.count, messages);
        worst = std::max(worst, code);
        if (code != exit_code::done && code != exit_code::items_failed) return code;
    }
    return worst;
}

// The letters to look at are in the state directory, which may be what was named, or in the engine.
exit_code look(const letters_arguments& command, closed_streams closed) {
    std::error_code ignored;
    if (!command.engine.empty() && !std::filesystem::is_directory(command.place, ignored)) {
        registry kinds;
        add_builtin_kinds(kinds);
        const auto file = load_flow_file(command.place, kinds, place_of(command));  // whose programs need not be here
        if (!file) throw usage_error(fmt::format("dlq: {}", file.error().to_text()));
        if (file->description.state.empty()) {
            exit_code code = exit_code::done;
            look_in_engine(command, file->description.name, [&](journal& kept) {
                const auto letters = [&kept](const auto& call) { kept.for_each_letter(0, call); };
                code = look_at_letters(command, letters, closed);
            });
            return code;
        }
    }
    journal_reader kept(state_of(command.place, "dlq"));
    return look_at_letters(command, [&kept](const auto& call) { kept.for_each_letter(call); }, closed);
}

}  // namespace

exit_code execute(const letters_arguments& command, closed_streams closed) {
    try {
        return command.verb == letters_verb::replay ? replay_letters(command) : look(command, closed);
    } catch (const journal_refused& no) {
        throw usage_error(fmt::format("dlq: {}", no.what()));
    }
}

}  // namespace leat::cli
