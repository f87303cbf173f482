// leat report --item: what the journal of a flow knows of one of its items.
#include <cli/commands/commands.hpp>

#include <algorithm>
#include <cli/open_state.hpp>
#include <cli/screen.hpp>
#include <ctime>
#include <fmt/format.h>

#include <leat/flow/journal_reader.hpp>

namespace leat::cli {

namespace {

std::string time_text(std::int64_t seconds) {
    const auto when = static_cast<std::time_t>(seconds);
    std::tm parts{};
    ::gmtime_r(&when, &parts);
    char text[32];
    return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%SZ", &parts)};
}

bool is_done(fate how) { return how != fate::failed && how != fate::abandoned; }

std::string attempts_text(unsigned attempts) {
    return attempts > 1 ? fmt::format(" after {} attempts", attempts) : std::string();
}

std::string what_became(const item_entry& entry) {
    switch (entry.how) {
        case fate::committed:
            return "committed" + attempts_text(entry.attempts);
        case fate::skipped:
            return "skipped: a stage left it out";
        case fate::dead:
            return fmt::format("kept as a dead letter by '{}'{}: {}", printable(entry.stage),
                               attempts_text(entry.attempts), printable(entry.error));
        case fate::failed:
            return fmt::format("failed in '{}'{}: {}", printable(entry.stage), attempts_text(entry.attempts),
                               printable(entry.error));
        case fate::abandoned:
            break;
    }
    return "unfinished";
}

std::string without_entry(const past_run& run, const item_entry* done) {
    if (run.mode == journal_mode::replay) return {};
    if (done != nullptr && done->run >= run.base) return fmt::format("left out: done in run {}", done->run);
    if (run.end.empty()) return "nothing on record: the run was killed before it was settled, or is at work";
    if (run.is_complete()) return "nothing on record: the source did not give it";
    return "unfinished when the run ended";
}

}  // namespace

exit_code execute(const story_arguments& command, closed_streams closed) {
    const std::string state = state_of(command.place, "report");
    std::string text;
    try {
        journal_reader kept(state);
        const std::vector<item_entry> entries = kept.entries_of(command.item);
        const std::vector<item_event> events = kept.events_of(command.item);
        if (entries.empty() && events.empty()) {
            std::string similar;
            for (const std::string& each : kept.similar(command.item))
                similar += fmt::format("{}'{}'", similar.empty() ? "; there is " : ", ", printable(each));
            throw usage_error(
                fmt::format("report: there is no item '{}' on record{}", printable(command.item), similar));
        }
        text = fmt::format("item '{}'\n", printable(command.item));
        const item_entry* done = nullptr;
        for (const past_run& run : kept.runs()) {
            const auto entry = std::find_if(entries.begin(), entries.end(),
                                            [&](const item_entry& each) { return each.run == run.number; });
            const bool has_events = std::any_of(events.begin(), events.end(),
                                                [&](const item_event& each) { return each.run == run.number; });
            const std::string last = entry != entries.end() ? what_became(*entry) : without_entry(run, done);
            if (last.empty() && !has_events) continue;
            text += fmt::format("  run {}{}, {}{}:\n", run.number, run.mode == journal_mode::replay ? " (replay)" : "",
                                time_text(run.started_s), run.end.empty() ? "" : ", " + run.end);
            for (const item_event& each : events)
                if (each.run == run.number)
                    text += fmt::format("    {} '{}': attempt {} failed: {}\n", time_text(each.time_s),
                                        printable(each.stage), each.attempt, printable(each.error));
            text += fmt::format("    {}\n", last);
            if (entry != entries.end() && is_done(entry->how)) done = &*entry;
            else if (entry != entries.end()) done = nullptr;
        }
    } catch (const journal_refused& no) {
        throw usage_error(fmt::format("report: {}", no.what()));
    }
    return print_text(text, closed);
}

}  // namespace leat::cli
