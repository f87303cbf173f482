// leat dlq: the dead letters in the journal of a flow.
#include <cli/commands/commands.hpp>

#include <algorithm>
#include <cli/load_flow.hpp>
#include <cli/open_state.hpp>
#include <cli/session.hpp>
#include <ctime>
#include <fmt/format.h>
#include <set>
#include <unistd.h>

#include <leat/flow/journal_reader.hpp>
#include <leat/runtime/blocking.hpp>

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

exit_code list_letters(const letters_arguments& command, closed_streams closed) {
    journal_reader kept(state_of(command.place, "dlq"));
    exit_code code = exit_code::done;
    const auto print = [&](const std::string& text) {
        code = print_text(text, closed);
        return code == exit_code::done;
    };
    if (command.json) {
        kept.for_each_letter([&](kept_letter&& each) { return print(to_json(each) + "\n"); });
        return code;
    }
    constexpr std::size_t most = 60;
    std::size_t widest = 4;
    kept.for_each_letter([&](kept_letter&& each) {
        widest = std::min(most, std::max(widest, printable(each.item).size()));
        return true;
    });
    bool any = false;
    kept.for_each_letter([&](kept_letter&& each) {
        const std::string head = any ? ""
                                     : fmt::format("{:<{}}  {:<12}  {:>8}  {:>4}  {}\n", "item", widest, "stage",
                                                   "attempts", "run", "error");
        any = true;
        return print(head + row_of(each, widest));
    });
    return code;
}

exit_code show_letters(const letters_arguments& command, closed_streams closed) {
    journal_reader kept(state_of(command.place, "dlq"));
    std::string text;
    kept.for_each_letter([&](kept_letter&& each) {
        if (each.item == command.item) text += (text.empty() ? "" : "\n") + page_of(each);
        return true;
    });
    if (text.empty())
        throw usage_error(fmt::format("dlq: there is no dead letter of an item '{}'; `leat dlq ls {}` shows them all",
                                      printable(command.item), command.place));
    return print_text(text, closed);
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

exit_code replay_stage(const letters_arguments& command, const registry& kinds, const std::string& stage,
                       std::int64_t last, std::uint64_t count, screen& messages) {
    auto file = load_flow(command.place, kinds);
    if (!file) throw usage_error(file.error());
    const std::unique_ptr<journal> kept = open_state(file->description.state);
    if (!cut_before(file->graph, stage)) {
        messages.print(fmt::format("leat: {} dead letters stay: '{}' is no stage of the flow (any more)\n", count,
                                   printable(stage)));
        return exit_code::items_failed;
    }
    session_plan plan;
    plan.options = prepare_flow(*file, kept.get(), journal_mode::replay);
    plan.graph = std::move(file->graph);
    const auto from = std::make_shared<letter_source>(*kept, stage, last, count);
    plan.graph.sources = {{"dead letters", from}};
    plan.options.item_key = [from](payload&) { return from->current(); };
    plan.print_report = !command.quiet;
    plan.output.progress = progress_mode::none;
    return run_session(std::move(plan), messages);
}

exit_code replay_letters(const letters_arguments& command) {
    registry kinds;
    add_builtin_kinds(kinds);
    screen messages(STDERR_FILENO);
    auto file = load_flow(command.place, kinds);
    if (!file) {
        messages.print(file.error());
        return exit_code::usage;
    }
    const std::string& state = file->description.state;
    if (state.empty())
        throw usage_error(fmt::format("dlq: '{}' keeps no journal: it has no state = \"…\" in [flow]", command.place));
    std::vector<std::pair<std::string, letters_of_stage>> stages;
    for (const stage_node& each : file->graph.stages) stages.emplace_back(each.name, letters_of_stage{});
    std::int64_t last = 0;
    {
        const std::unique_ptr<journal> kept = open_state(state);
        const std::optional<past_run> run = kept->last_run();
        if (run && !run->is_complete())
            throw usage_error(fmt::format("dlq: run {} of this flow is not complete: first `leat resume {}`",
                                          run->number, command.place));
        kept->for_each_letter(0, [&](kept_letter&& each) {
            last = each.id;
            auto found =
                std::find_if(stages.begin(), stages.end(), [&](const auto& one) { return one.first == each.stage; });
            if (found == stages.end()) found = stages.insert(stages.end(), {each.stage, {}});
            ++(each.has_value ? found->second.count : found->second.without_value);
            return true;
        });
    }
    exit_code worst = exit_code::done;
    for (const auto& [stage, letters] : stages) {
        if (letters.without_value > 0) {
            messages.print(fmt::format("leat: {} dead letters of '{}' stay: their values could not be kept\n",
                                       letters.without_value, printable(stage)));
            worst = std::max(worst, exit_code::items_failed);
        }
        if (letters.count == 0) continue;
        const exit_code code = replay_stage(command, kinds, stage, last, letters.count, messages);
        worst = std::max(worst, code);
        if (code != exit_code::done && code != exit_code::items_failed) return code;
    }
    return worst;
}

}  // namespace

exit_code execute(const letters_arguments& command, closed_streams closed) {
    try {
        switch (command.verb) {
            case letters_verb::list:
                return list_letters(command, closed);
            case letters_verb::show:
                return show_letters(command, closed);
            case letters_verb::replay:
                break;
        }
        return replay_letters(command);
    } catch (const journal_refused& no) {
        throw usage_error(fmt::format("dlq: {}", no.what()));
    }
}

}  // namespace leat::cli
