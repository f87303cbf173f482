// With cluster_arguments.cpp the only file that knows CLI11. The command of `leat each` and its items are cut off before, since what they look like is
// not ours to read.
#include <cli/arguments.hpp>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cli/cluster_arguments.hpp>
#include <filesystem>
#include <fmt/format.h>

#include <leat/base/machine.hpp>
#include <leat/flow/option.hpp>
#include <leat/flow/policy.hpp>

namespace leat::cli {

namespace {

constexpr const char* about =
    "leat: runs a command, or a flow of stages, over many inputs: in parallel, in order, with\n"
    "retries and an account of every item. Data is on standard output, all else on standard error.";
constexpr const char* about_end =
    R"(Examples:
  seq 1000 | leat each -k -j 4 -- bash -c 'sleep 0.01; echo "$0"' {}
  leat run examples/licences/licences.toml --report report.json
  leat help each

Exit status: 0 all done; 1 some items failed; 2 bad usage, bad flow file or no such command;
3 deadlock; 4 the run could not go on; 130 interrupted; 141 output closed; 143 terminated.)";

constexpr const char* each_end =
    R"(In CMD, {} stands for the item, {.} for the item without its extension, {/} without its
directories, {//} for its directory, {/.} without both, {#} for its number and {%} for the
number of its job, as in GNU parallel. Without any of them the item is the last argument.
Behind ::: stand items, behind :::: files of items. Several such sources are combined, each item of
one with each of the others, and {1}, {2}, {1.}, {2/} … stand for the parts; :::+ and ::::+ go with
the source before them one to one, as all do with --link.

No shell reads the item. To have one, name it, and hand the item over as $0:

  leat each -- sh -c 'wc -l < "$0"' {} ::: *.txt

Examples:
  leat each -j 4 -- gzip -9 {} ::: *.log
  find . -name '*.jpg' -print0 | leat each -0 -k -- convert {} -resize 800 small/{/}
  leat each -j 8 -- render --size {2} {1} -o {1/.}-{2}.png ::: *.svg ::: 16 32 64
  leat each --colsep '\t' -a table.tsv -- curl -o {1} {2}
  leat each -a urls.txt --timeout 20s --retries 3 -- curl -fsS {}
  leat each --persistent -- python3 -u answer.py ::: one two three

With --pipe the input is no list of items: it is cut into blocks of whole lines, and each CMD reads one
of them. No part of the input is left out, and with -k outputs come in its order:

  leat each --pipe -k --block 10M -- grep -F needle < large.txt

With --persistent CMD is started once a job. It is given a line an item on standard input and
answers each with one line, in order and at once (python3 -u, stdbuf -oL, sed -u). The item that
a worker was at when it died is tried once more, alone; no other item is lost. With --protocol nul
a NUL byte ends each item and each answer, and is written behind each output; with frame their
length in 4 bytes, the most significant first, precedes them, and outputs are written as they are.

A run that was ended is gone on with by the same command line and --joblog FILE --resume: what is in
the log has had its output written, and is skipped.

With --sandbox-read, --sandbox-write and --no-network the kernel holds CMD and what it starts to that;
where it cannot (Linux before 6.2), nothing is run.

The output of an item is written whole, never mixed with another's, when it is done; with --line-buffer
in whole lines as they come, and with --ungroup by CMD itself. An item whose command fails
is reported on standard error; the others go on, and the exit status is 1.
Ctrl-C lets the items at work end; a second one stops them at once.)";

constexpr const char* run_end =
    R"(A flow file names a source, stages and a sink:

  [source]
  type = "glob"
  path = "docs/*/copyright"

  [[stage]]
  name = "upper"
  exec = ["tr", "a-z", "A-Z"]

  [sink]
  type = "write"
  path = "all.txt"

`leat list` shows what there is, `leat list exec` all options of a kind, `leat validate` checks
a file without running it. Ctrl-C lets the items at work end; a second one stops them at once.

With --engine the stages run on a cluster, in all the `leat worker` that there are: those with
placement = "cluster", or else all that can. Sources, sinks and what has to see all items stay here.
docs/cluster.md says what that promises.

With state = "DIRECTORY" in [flow] leat keeps a journal there, and a run that was ended, by kill -9 too, is
gone on with: `leat resume FLOW.toml`. docs/resume.md says what that promises.)";

constexpr const char* letters_end =
    R"(Dead letters are the items that failed for good in a stage with on_error = "dead-letter".

  leat dlq ls FLOW.toml           a line for each; --json: an object for each, with its content
  leat dlq show FLOW.toml ITEM    all that is known of an item's: input, error, standard error, attempts
  leat dlq replay FLOW.toml       runs them again from the stage in which they died; what succeeds is taken
                                  out, what fails again stays, and the exit status is 1

For ls and show the state directory does as well as the flow file. Of a flow that was run with
--engine URL --state-in-engine the letters are in the engine: the same commands with --engine URL.)";

constexpr const char* plan_end =
    R"(The source gives its first items, the stages do what they do with them, and a sink that keeps nothing
takes them: the flow's own sink is not touched, and no item counts as done. What the stages do outside
of the flow they do. Printed is what limits the flow, when the first item comes out, how long all items
take, what is in flight, and what one more worker would bring.

Examples:
  leat plan examples/licences/licences.toml
  leat plan flow.toml --report plan.json && leat run flow.toml --plan plan.json --report report.json
  leat report report.json        # what came, beside what was planned)";

// CLI11's help, with a usage line of ours.
class help_formatter final : public CLI::Formatter {
public:
    std::string make_usage(const CLI::App* app, std::string name) const override {
        constexpr std::pair<std::string_view, std::string_view> usages[] = {
            {"run", "leat run FLOW.toml [OPTIONS]"},
            {"resume", "leat resume FLOW.toml [OPTIONS]"},
            {"dlq", "leat dlq ls|show|replay FLOW.toml|STATE [ITEM]"},
            {"each", "leat each [OPTIONS] -- CMD [ARG…] [::: ITEM…]…"},
            {"validate", "leat validate FLOW.toml…"},
            {"list", "leat list [KIND]"},
            {"help", "leat help [COMMAND]"},
            {"leat", "leat COMMAND …"},
            {"worker", "leat worker --engine URL [OPTIONS]"},
            {"status", "leat status [FLOW] --engine URL"},
            {"drain", "leat drain FLOW --engine URL"},
            {"cluster", "leat cluster init FOLDER [--server HOST]… [OPTIONS]"},
            {"plan", "leat plan FLOW.toml [OPTIONS]"},
            {"explain", "leat explain REPORT.json"},
            {"report", "leat report REPORT.json [--plan PLAN.json] | leat report FLOW.toml|STATE --item ITEM"},
        };
        for (const auto& [command, usage] : usages)
            if (command == app->get_name()) return fmt::format("Usage: {}\n", usage);
        return CLI::Formatter::make_usage(app, std::move(name));
    }
    // Without the list of the positional arguments, which the usage line shows.
    std::string make_positionals(const CLI::App*) const override { return {}; }
};

// A whole number from `least` to `most`.
unsigned number(const std::string& option, const std::string& text, unsigned least, unsigned most,
                const char* or_else = "") {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
        throw usage_error(
            fmt::format("{}: found `{}`, expected a number from {} to {}{}", option, text, least, most, or_else));
    return value;
}

std::chrono::nanoseconds time_limit(const std::string& option, const std::string& text) {
    // A number alone is in seconds, as in GNU parallel.
    const bool bare = !text.empty() && text.find_first_not_of("0123456789.") == std::string::npos;
    auto time = parse_duration(bare ? text + "s" : text);
    if (!time) throw usage_error(fmt::format("{}: found `{}`, {}", option, text, time.error()));
    if (time->count() == 0) throw usage_error(fmt::format("{}: found `{}`, expected a time above zero", option, text));
    return *time;
}

// What the parser gives before it is looked at.
struct raw_texts {
    std::vector<std::string> files;
    bool resume = false;
    bool resume_failed = false;
    std::vector<std::string> sandbox_read, sandbox_write;
    bool no_network = false;
    std::string limit_memory, limit_cpu, limit_files, limit_processes, limit_file_size;
    bool bar = false, eta = false;
    bool pipe = false, lines = false, ungrouped = false;
    std::string block;
    std::optional<std::string> record_end, record_start;
    std::string sample;
    std::string per_item, jobs, load, free_memory, timeout, delay, halt, tries, window, protocol, progress;
};

void add_output_options(CLI::App& to, run_output& output, raw_texts& raw) {
    to.add_option("--report", output.report_file, "write the account of the run to this file, as JSON")
        ->type_name("FILE");
    to.add_option("--progress", raw.progress,
                  "auto: shown when standard error is a terminal; json: an object a line; none")
        ->type_name("MODE");
}

void add_sandbox(CLI::App& each, raw_texts& raw) {
    each.add_option(
            "--sandbox-read", raw.sandbox_read,
            "let CMD open no files but those of the system, and read what is below this path; again: more paths")
        ->type_name("PATH")
        ->expected(1)
        ->take_all();
    each.add_option("--sandbox-write", raw.sandbox_write, "the same, and let CMD change what is below this path")
        ->type_name("PATH")
        ->expected(1)
        ->take_all();
    each.add_flag("--no-network", raw.no_network, "let CMD make no sockets but local ones");
    each.add_option("--limit-memory", raw.limit_memory, "the most address space of each process: 512M, 2G")
        ->type_name("SIZE");
    each.add_option("--limit-cpu", raw.limit_cpu, "the most CPU time of each process, in whole seconds")
        ->type_name("TIME");
    each.add_option("--limit-files", raw.limit_files, "the most descriptors of each process")->type_name("N");
    each.add_option("--limit-file-size", raw.limit_file_size, "the largest file that a process may write")
        ->type_name("SIZE");
    each.add_option("--limit-processes", raw.limit_processes,
                    "start no more where your user has so many processes in all; not for root")
        ->type_name("N");
}

void add_each(CLI::App& each, each_arguments& to, raw_texts& raw) {
    each.add_option("-j,--jobs", raw.jobs,
                    "how many at a time; N%: of the CPUs; +N: more than CPUs; auto, the default: as many as CPUs; "
                    "FILE: as it says")
        ->type_name("N|N%|+N|auto|FILE");
    each.add_flag("-k,--keep-order", to.keep_order, "write outputs in the order of the items");
    each.add_option("-a,--arg-file", raw.files, "take the items from this file, one a line; again: from each of them")
        ->type_name("FILE")
        ->expected(1)
        ->take_all();
    each.add_flag("-0,--null", to.nul_separated, "items end with a NUL byte, not with a line");
    each.add_option("-n,-N,--max-args", raw.per_item, "give each command up to N items: {1} {2} …, or {} for all")
        ->type_name("N");
    each.add_option("-C,--colsep", to.column_mark, "cut each item where this regular expression is found: {1} {2} …")
        ->type_name("REGEX");
    each.add_flag("--link", to.link, "take the items of several sources one to one, not in all combinations");
    each.add_flag("--shuf", to.shuffle, "take the items in random order");
    each.add_flag("--pipe,--spreadstdin", raw.pipe,
                  "cut the input into blocks of lines: each is the standard input of one CMD; -n N: of N lines");
    each.add_option("--block,--block-size", raw.block, "with --pipe: the size of a block (1M); K M G: times 1024")
        ->type_name("SIZE");
    each.add_option("--recend", raw.record_end, "with --pipe: what ends a record, instead of a line feed; \\n \\t \\0")
        ->type_name("TEXT");
    each.add_option("--recstart", raw.record_start, "with --pipe: what a record starts with")->type_name("TEXT");
    each.add_flag("--dry-run", to.dry_run, "show the commands, and run none");
    each.add_flag("--persistent", to.persistent,
                  "start CMD once a job; it is given a line an item, and answers a line");
    each.add_option("--window", raw.window,
                    "items that a persistent worker may hold; 1: its death repeats nothing (8, more for a quick one)")
        ->type_name("N");
    each.add_option("--protocol", raw.protocol,
                    "what ends an item and an answer of a persistent worker: line, nul; or frame: a length before it")
        ->type_name("WORD");
    each.add_option("--timeout", raw.timeout, "end what takes longer: 20s, 500ms, 2m; a number alone is in seconds")
        ->type_name("TIME");
    each.add_option("--retries", raw.tries, "try a failing item up to N times in all")->type_name("N");
    each.add_option("--delay", raw.delay, "wait so long between the starts of two jobs")->type_name("TIME");
    each.add_option("--load", raw.load, "start no more while so many processes run on the machine, or N% of the CPUs")
        ->type_name("N|N%|+N|FILE");
    each.add_option("--memfree", raw.free_memory,
                    "start no more while less memory is available; below half of it the youngest job is ended")
        ->type_name("SIZE");
    each.add_option(
            "--halt", raw.halt,
            "end early: soon (start no more) or now (end those that run), then fail=N, success=N or done=N, or N%")
        ->type_name("WHEN,WHY");
    each.add_option("--joblog", to.job_log,
                    "write a line to this file for each job that has ended, as GNU parallel does")
        ->type_name("FILE");
    each.add_option("--results", to.results, "keep what each job wrote in this folder, too: FOLDER/1/ITEM/stdout …")
        ->type_name("FOLDER");
    each.add_option(
            "--dead-letters", to.dead_letters,
            "add what failed for good to this file, a JSON object a line: the item, how it ended, its last words")
        ->type_name("FILE");
    each.add_flag("--resume", raw.resume, "skip the jobs that are in the job log, and go on with it");
    each.add_flag("--resume-failed", raw.resume_failed, "the same, but do those again that had failed");
    each.add_flag("--tag", to.tag, "put the item and a tab in front of each line of its output");
    each.add_flag("--lb,--line-buffer", raw.lines,
                  "print whole lines as they come; those of different items may follow each other");
    each.add_flag("-u,--ungroup", raw.ungrouped, "CMD writes to standard output and error itself: half lines may mix");
    each.add_flag("--shell-quote", to.shell_quote, "allow {} in the text of a shell's -c, put there in quotes");
    add_sandbox(each, raw);
    each.add_flag("--bar", raw.bar, "show a progress bar on standard error: share done, items, time left");
    each.add_flag("--eta", raw.eta, "show the time left, the items left and the mean time between two");
    add_output_options(each, to.output, raw);
    each.footer(each_end);
    each.prefix_command();
}

// Whether a word that may be a number, in the forms of -j, is a file instead.
bool is_file(const std::string& text) {
    std::error_code ignored;
    return text != "auto" && text.find_first_not_of("0123456789+-%") != std::string::npos &&
           std::filesystem::is_regular_file(text, ignored);
}

void finish_sandbox(each_arguments& to, const raw_texts& raw) {
    const auto size = [](const char* option, const std::string& text) -> std::optional<std::uint64_t> {
        if (text.empty()) return std::nullopt;
        const auto bytes = parse_size(text);
        if (!bytes) throw usage_error(fmt::format("{}: found `{}`, {}", option, text, bytes.error()));
        return *bytes;
    };
    to.limits.memory_bytes = size("--limit-memory", raw.limit_memory);
    to.limits.file_bytes = size("--limit-file-size", raw.limit_file_size);
    constexpr unsigned most = 1'000'000'000;
    if (!raw.limit_cpu.empty())
        to.limits.cpu_seconds = static_cast<std::uint64_t>(
            std::chrono::ceil<std::chrono::seconds>(time_limit("--limit-cpu", raw.limit_cpu)).count());
    if (!raw.limit_files.empty()) to.limits.open_files = number("--limit-files", raw.limit_files, 3, most);
    if (!raw.limit_processes.empty()) to.limits.processes = number("--limit-processes", raw.limit_processes, 1, most);
    const bool has_paths = !raw.sandbox_read.empty() || !raw.sandbox_write.empty();
    if (!has_paths && !raw.no_network) return;
    sandbox& box = to.sandbox.emplace();
    if (raw.no_network) box.no_network = sandbox_need::required;
    if (!has_paths) return;
    box.paths = sandbox_need::required;
    box.add_system_files();
    box.read.insert(box.read.end(), raw.sandbox_read.begin(), raw.sandbox_read.end());
    box.write.insert(box.write.end(), raw.sandbox_write.begin(), raw.sandbox_write.end());
}

// Bytes as GNU parallel has them: K, M, G, T, P multiply by powers of 1024, k, m, g, t, p by powers of 1000.
std::uint64_t size_of(const std::string& option, const std::string& text) {
    constexpr std::string_view units = "kmgtp";
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    bool good = error == std::errc() && value > 0 && unit.size() <= 1;
    constexpr std::uint64_t most = std::uint64_t{1} << 60U;
    if (good && !unit.empty()) {
        const bool upper = unit[0] >= 'A' && unit[0] <= 'Z';
        const std::size_t power = units.find(upper ? static_cast<char>(unit[0] - 'A' + 'a') : unit[0]);
        good = power != std::string_view::npos;
        for (std::size_t each = 0; good && each <= power; ++each)
            good = !__builtin_mul_overflow(value, upper ? 1024U : 1000U, &value);
    }
    if (!good || value > most)
        throw usage_error(
            fmt::format("{}: found `{}`, expected a number of bytes above zero, as in 500k or 1M", option, text));
    return value;
}

// \n, \t, \r, \0 and \\ in a word of the command line.
std::string without_escapes(const std::string& text) {
    std::string plain;
    for (std::size_t at = 0; at < text.size(); ++at) {
        constexpr std::string_view written = "ntr0\\";
        constexpr std::string_view meant("\n\t\r\0\\", 5);
        const std::size_t known =
            text[at] == '\\' && at + 1 < text.size() ? written.find(text[at + 1]) : std::string_view::npos;
        if (known == std::string_view::npos) plain += text[at];
        else plain += meant[known], ++at;
    }
    return plain;
}

progress_mode progress_of(const std::string& text) {
    if (text.empty() || text == "auto") return progress_mode::automatic;
    if (text == "json") return progress_mode::json;
    if (text == "none") return progress_mode::none;
    throw usage_error(fmt::format("--progress: found `{}`, expected auto, json or none", text));
}

worker_protocol protocol_of(const std::string& text) {
    if (text == "line") return worker_protocol::line;
    if (text == "nul") return worker_protocol::nul;
    if (text == "frame") return worker_protocol::frame;
    throw usage_error(fmt::format("--protocol: found `{}`, expected line, nul or frame", text));
}

// As GNU parallel's: never, or now|soon,fail|success|done=N|N%.
halt_rule halt_of(const std::string& text) {
    halt_rule rule;
    if (text == "never") return rule;
    const auto wrong = [&text] {
        return usage_error(
            fmt::format("--halt: found `{}`, expected never, or soon or now, a comma, fail, success or done, =, and a "
                        "number of jobs or N%, as in soon,fail=1",
                        text));
    };
    const std::size_t comma = text.find(',');
    const std::size_t equals = text.find('=', comma == std::string::npos ? 0 : comma);
    if (comma == std::string::npos || equals == std::string::npos) throw wrong();
    const std::string when = text.substr(0, comma);
    const std::string sort = text.substr(comma + 1, equals - comma - 1);
    std::string count = text.substr(equals + 1);
    rule.is_percent = count.ends_with('%');
    if (rule.is_percent) count.pop_back();
    if (when == "soon") rule.when = halt_rule::moment::soon;
    else if (when == "now") rule.when = halt_rule::moment::now;
    else throw wrong();
    if (sort == "fail") rule.counted = halt_rule::sort::failed;
    else if (sort == "success") rule.counted = halt_rule::sort::succeeded;
    else if (sort == "done") rule.counted = halt_rule::sort::ended;
    else throw wrong();
    rule.count = number("--halt", count, 1, rule.is_percent ? 100 : 1'000'000'000);
    return rule;
}

// Whether `word` begins a source of values, as in GNU parallel: `:::` values, `::::` files, `+` linked to the source before.
bool is_mark(const std::string& word) { return word == ":::" || word == ":::+" || word == "::::" || word == "::::+"; }

// The sources behind the first mark, cut off from `words`.
std::vector<each_values> cut_values(std::vector<std::string>& words) {
    std::vector<each_values> all;
    const auto first = std::find_if(words.begin(), words.end(), is_mark);
    for (auto mark = first; mark != words.end();) {
        const auto end = std::find_if(mark + 1, words.end(), is_mark);
        const bool files = mark->starts_with("::::");
        const bool linked = mark->ends_with('+');
        if (linked && all.empty())
            throw usage_error(fmt::format("each: `{}` has no source before it to go with", *mark));
        if (files && mark + 1 == end) throw usage_error(fmt::format("each: there is no file behind `{}`", *mark));
        if (files)
            for (auto file = mark + 1; file != end; ++file) all.push_back({{}, *file, linked});
        else all.push_back({std::vector<std::string>(mark + 1, end), {}, linked});
        mark = end;
    }
    words.erase(first, words.end());
    return all;
}

// What follows the first `--`, cut off from `words`.
std::optional<std::vector<std::string>> cut_command(std::vector<std::string>& words) {
    const auto mark = std::find(words.begin(), words.end(), "--");
    if (mark == words.end()) return std::nullopt;
    std::vector<std::string> command(mark + 1, words.end());
    words.erase(mark, words.end());
    return command;
}

each_pipe pipe_of(const each_arguments& to, const raw_texts& raw) {
    const auto refuse = [](const char* what) {
        throw usage_error(fmt::format("--pipe: cuts its input into blocks, which does not go with {}", what));
    };
    if (to.persistent) refuse("--persistent");
    if (to.link || std::any_of(to.values.begin(), to.values.end(), [](const auto& each) { return each.linked; }))
        refuse("--link");
    if (to.shuffle) refuse("--shuf");
    if (!to.column_mark.empty()) refuse("--colsep");
    if (std::any_of(to.values.begin(), to.values.end(), [](const auto& each) { return each.file.empty(); }))
        refuse("items behind `:::`; files can stand behind `::::`");
    each_pipe pipe;
    if (!raw.block.empty()) pipe.block_bytes = size_of("--block", raw.block);
    if (!raw.per_item.empty()) pipe.records = to.per_item;
    if (to.nul_separated) pipe.record_end.assign(1, '\0');
    if (raw.record_start) pipe.record_end.clear();
    if (raw.record_start) pipe.record_start = without_escapes(*raw.record_start);
    if (raw.record_end) pipe.record_end = without_escapes(*raw.record_end);
    return pipe;
}

output_mode output_of(const each_arguments& to, const raw_texts& raw) {
    if (!raw.lines && !raw.ungrouped) return output_mode::whole;
    const std::string option = raw.lines ? "--line-buffer" : "--ungroup";
    const auto refuse = [&option](const char* what) {
        throw usage_error(
            fmt::format("{}: prints what a command writes while it runs, which does not go with {}", option, what));
    };
    if (raw.lines && raw.ungrouped) refuse("--ungroup");
    if (to.persistent) refuse("--persistent, where a command answers item by item");
    if (raw.lines) return output_mode::lines;
    if (to.keep_order) refuse("-k, where outputs wait for their turn");
    if (to.tag) refuse("--tag");
    if (!to.results.empty()) refuse("--results");
    return output_mode::ungrouped;
}

void finish_each(each_arguments& to, const raw_texts& raw, std::vector<std::string> rest, bool command_was_cut) {
    if (!rest.empty() && (command_was_cut || rest.front().starts_with('-')))
        throw usage_error(fmt::format("each: found `{}`, which is no option of leat each", rest.front()));
    if (!command_was_cut) to.command = std::move(rest);
    if (to.command.empty())
        throw usage_error("each: there is no command: leat each [OPTIONS] -- CMD [ARG…] [::: ITEM…]");
    for (auto file = raw.files.rbegin(); file != raw.files.rend(); ++file)
        to.values.insert(to.values.begin(), each_values{{}, *file, false});
    if (std::count_if(to.values.begin(), to.values.end(), [](const each_values& each) { return each.file == "-"; }) > 1)
        throw usage_error("each: standard input is named as a source twice: it can be read once");
    if (!raw.per_item.empty()) to.per_item = number("-n", raw.per_item, 1, 1'000'000);
    if (raw.pipe) to.pipe = pipe_of(to, raw);
    else if (!raw.block.empty() || raw.record_end || raw.record_start)
        throw usage_error("--block, --recend and --recstart: are for --pipe");
    if (to.dry_run && to.persistent)
        throw usage_error("--dry-run: shows a command for each item; persistent workers have one for all");
    if (is_file(raw.jobs)) to.jobs_file = raw.jobs;
    else if (!raw.jobs.empty() && raw.jobs != "auto") to.jobs = jobs_of(raw.jobs);
    if (is_file(raw.load)) to.load_file = raw.load;
    else if (!raw.load.empty()) to.most_load = load_of(raw.load);
    if (!raw.free_memory.empty()) to.free_memory = size_of("--memfree", raw.free_memory);
    if (to.persistent && (!to.jobs_file.empty() || !raw.load.empty() || to.free_memory > 0))
        throw usage_error(
            "-j FILE, --load and --memfree: pace the starts of processes; persistent workers are started once");
    if (!raw.tries.empty()) to.tries = number("--retries", raw.tries, 1, 1'000'000);
    if (!raw.window.empty()) to.window = number("--window", raw.window, 1, 1024);
    if (!raw.window.empty() && !to.persistent)
        throw usage_error("--window: is for --persistent: without it each process has one item");
    if (!raw.protocol.empty()) to.protocol = protocol_of(raw.protocol);
    if (!raw.protocol.empty() && !to.persistent)
        throw usage_error("--protocol: is for --persistent: without it nothing is told between leat and CMD");
    if (!raw.halt.empty()) to.halt = halt_of(raw.halt);
    if (!raw.delay.empty()) to.delay = time_limit("--delay", raw.delay);
    if (!raw.delay.empty() && to.persistent)
        throw usage_error("--delay: is for a process an item; persistent workers are started once");
    if (raw.resume) to.resume = resume_mode::ended;
    if (raw.resume_failed) to.resume = resume_mode::succeeded;
    if (to.resume != resume_mode::none && to.job_log.empty())
        throw usage_error("--resume: there is no --joblog that says what was done");
    if (to.resume != resume_mode::none && to.shuffle)
        throw usage_error("--resume: items in random order (--shuf) cannot be found again in a job log");
    if (to.dry_run && !to.dead_letters.empty())
        throw usage_error("--dry-run: runs no jobs that could become --dead-letters");
    if (to.dry_run && !to.job_log.empty()) throw usage_error("--dry-run: runs no jobs that a --joblog could hold");
    if (!raw.timeout.empty()) to.timeout = time_limit("--timeout", raw.timeout);
    finish_sandbox(to, raw);
    to.printed = output_of(to, raw);
    to.output.progress = progress_of(raw.progress);
    if (raw.bar || raw.eta) {
        const char* const option = raw.bar ? "--bar" : "--eta";
        if (!raw.progress.empty())
            throw usage_error(fmt::format("{}: shows progress in another form than --progress", option));
        if (to.printed == output_mode::ungrouped)
            throw usage_error(fmt::format("{}: --ungroup would write into what it shows", option));
        to.output.progress = raw.bar ? progress_mode::bar : progress_mode::eta;
    }
    // Else they would write into the block.
    if (to.printed == output_mode::ungrouped && to.output.progress == progress_mode::automatic)
        to.output.progress = progress_mode::none;
}

}  // namespace

// A number, or one beside that of the CPUs: 50%, +2.
unsigned jobs_of(const std::string& text) {
    const unsigned most = stage_policy::most_jobs;
    const auto at_least_one = [&](double count) {
        return static_cast<unsigned>(std::clamp(count, 1.0, static_cast<double>(most)));
    };
    if (text == "auto") return effective_machine().worker_count;
    if (text.ends_with('%'))
        return at_least_one(effective_machine().cpus * number("-j", text.substr(0, text.size() - 1), 1, 100'000) / 100);
    if (text.starts_with('+'))
        return at_least_one(effective_machine().worker_count + number("-j", text.substr(1), 0, most));
    return number("-j", text, 1, most,
                  ", or N% or +N of the CPUs, or `auto` for as many as is good, or a file that holds one of these");
}

double load_of(const std::string& text) {
    constexpr unsigned most = 1'000'000;
    constexpr double least = 0.01;  // what GNU parallel takes 0 for
    double load = 0;
    if (text.ends_with('%'))
        load = effective_machine().cpus * number("--load", text.substr(0, text.size() - 1), 0, most) / 100;
    else if (text.starts_with('+')) load = effective_machine().worker_count + number("--load", text.substr(1), 0, most);
    else load = number("--load", text, 0, most, ", or N% or +N of the CPUs, or a file that holds one of these");
    return std::max(load, least);
}

command_line parse_command_line(int argc, const char* const* argv) {
    std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
    each_arguments each;
    const bool is_each = !words.empty() && words.front() == "each";
    std::optional<std::vector<std::string>> command;
    if (is_each) {
        each.values = cut_values(words);
        command = cut_command(words);
        if (command) each.command = *command;
    }

    CLI::App app(about, "leat");
    app.set_version_flag("--version", "leat " LEAT_VERSION);
    app.footer(about_end);
    app.require_subcommand(0, 1);
    const auto formatter = std::make_shared<help_formatter>();
    formatter->column_width(28);
    app.formatter(formatter);
    raw_texts raw;
    run_arguments run;
    run_arguments resume;
    story_arguments story;
    letters_arguments letters;
    std::string letters_verb_text;
    validate_arguments validate;
    list_arguments list;
    plan_arguments plan;
    explain_arguments explain;
    report_arguments report;
    std::string topic;
    CLI::App& run_command = *app.add_subcommand("run", "Runs a flow file");
    run_command.add_option("flow", run.flow_file, "the flow file")->type_name("FLOW.toml");
    run_command.add_flag("-q,--quiet", run.quiet, "no report on standard error at the end");
    run_command.add_option("--plan", run.plan_file, "what `leat plan --report` wrote: the report compares with it")
        ->type_name("FILE");
    run_command.add_flag("--resume", run.resume, "go on with the run that was ended: what is done is skipped");
    run_command.add_flag("--fresh", run.fresh, "do all items again, though there is a run to go on with");
    run_command.add_flag("--accept-changes", run.accept_changes,
                         "with --resume: the flow has changed since; what is done stays as it is");
    add_engine_options(run_command, run);
    add_output_options(run_command, run.output, raw);
    run_command.footer(run_end);
    CLI::App& resume_command = *app.add_subcommand("resume", "Goes on with a run that was ended");
    resume_command.add_option("flow", resume.flow_file, "the flow file")->type_name("FLOW.toml");
    resume_command.add_flag("-q,--quiet", resume.quiet, "no report on standard error at the end");
    resume_command.add_flag("--accept-changes", resume.accept_changes,
                            "the flow has changed since: what is done stays as it is");
    add_engine_options(resume_command, resume);
    add_output_options(resume_command, resume.output, raw);
    resume_command.footer("The same as `leat run --resume FLOW.toml`. A flow that has no run to go on with is begun.");
    CLI::App& letters_command = *app.add_subcommand("dlq", "Shows dead letters, and runs them again");
    letters_command.add_option("verb", letters_verb_text, "ls, show or replay")->type_name("VERB");
    letters_command.add_option("place", letters.place, "the flow file or its state directory")->type_name("FLOW|STATE");
    letters_command.add_option("item", letters.item, "the item")->type_name("ITEM");
    letters_command.add_flag("--json", letters.json, "ls: an object a line, as in a file of dead letters");
    letters_command.add_flag("-q,--quiet", letters.quiet, "replay: no report on standard error at the end");
    add_engine_options(letters_command, letters);
    letters_command.footer(letters_end);
    CLI::App& each_command = *app.add_subcommand("each", "Runs a command once an item");
    add_each(each_command, each, raw);
    CLI::App& validate_command = *app.add_subcommand("validate", "Checks flow files without running them");
    validate_command.add_option("flow", validate.flow_files, "the flow files")->type_name("FLOW.toml");
    validate_command.footer(
        "Each mistake is a line `file:line:column: what is wrong`; the exit status is then 2.\n\n"
        "Example:\n  leat validate examples/*/*.toml");
    CLI::App& list_command = *app.add_subcommand("list", "Shows the kinds of sources, stages and sinks");
    list_command.add_option("kind", list.kind, "show this kind with all its options")->type_name("KIND");
    list_command.footer("Examples:\n  leat list\n  leat list exec");
    CLI::App& plan_command = *app.add_subcommand("plan", "Tells from a sample what a flow will take");
    plan_command.add_option("flow", plan.flow_file, "the flow file")->type_name("FLOW.toml");
    plan_command.add_option("--sample", raw.sample, "run so many items through the stages (300)")->type_name("N");
    add_output_options(plan_command, plan.output, raw);
    plan_command.footer(plan_end);
    CLI::App& explain_command = *app.add_subcommand("explain", "Names what limited a run, from its report");
    explain_command.add_option("report", explain.report_file, "what --report wrote")->type_name("REPORT.json");
    explain_command.footer(
        "The bottleneck in a sentence, what one more worker would bring, and what each stage could do.\n\n"
        "Example:\n  leat run flow.toml --report report.json; leat explain report.json");
    CLI::App& report_command = *app.add_subcommand("report", "Shows the report of a run again");
    report_command.add_option("report", report.report_file, "what --report wrote")->type_name("REPORT.json");
    report_command.add_option("--plan", report.plan_file, "compare with what `leat plan --report` wrote")
        ->type_name("FILE");
    report_command
        .add_option("--item", story.item,
                    "of a flow file or a state directory: why this item was run, skipped, retried")
        ->type_name("ITEM");
    cluster_commands cluster(app);
    CLI::App& help_command = *app.add_subcommand("help", "Shows the help of a command");
    help_command.add_option("command", topic, "the command")->type_name("COMMAND");

    if (!words.empty() && !words.front().starts_with('-')) {
        const auto commands =
            app.get_subcommands([&](const CLI::App* known) { return known->get_name() == words.front(); });
        if (commands.empty())
            throw usage_error(
                fmt::format("found `{}`, which is no command of leat; `leat --help` shows them all", words.front()));
    }
    try {
        std::reverse(words.begin(), words.end());  // as CLI11 wants it
        app.parse(words);
    } catch (const CLI::CallForVersion& version) {
        return text_to_print{std::string(version.what()) + "\n"};
    } catch (const CLI::CallForHelp&) {
        const auto chosen = app.get_subcommands();
        return text_to_print{chosen.empty() ? app.help() : chosen.front()->help()};
    } catch (const CLI::ParseError& error) {
        const auto chosen = app.get_subcommands();
        throw usage_error(chosen.empty() ? error.what() : chosen.front()->get_name() + ": " + error.what());
    }

    if (run_command.parsed()) {
        if (run.flow_file.empty()) throw usage_error("run: there is no flow file: leat run FLOW.toml");
        if (run.resume && run.fresh) throw usage_error("run: --resume and --fresh: it is either the one or the other");
        if (run.accept_changes && !run.resume) throw usage_error("run: --accept-changes: is for --resume");
        run.output.progress = progress_of(raw.progress);
        return run;
    }
    if (resume_command.parsed()) {
        if (resume.flow_file.empty()) throw usage_error("resume: there is no flow file: leat resume FLOW.toml");
        resume.resume = true;
        resume.output.progress = progress_of(raw.progress);
        return resume;
    }
    if (letters_command.parsed()) {
        if (letters_verb_text == "ls") letters.verb = letters_verb::list;
        else if (letters_verb_text == "show") letters.verb = letters_verb::show;
        else if (letters_verb_text == "replay") letters.verb = letters_verb::replay;
        else throw usage_error(fmt::format("dlq: found `{}`, expected ls, show or replay", letters_verb_text));
        if (letters.place.empty())
            throw usage_error(fmt::format("dlq: there is no flow file: leat dlq {} FLOW.toml", letters_verb_text));
        if (letters.item.empty() == (letters.verb == letters_verb::show))
            throw usage_error(letters.item.empty()
                                  ? "dlq: show which item? leat dlq show FLOW.toml ITEM"
                                  : fmt::format("dlq: found `{}`, which is one too many", letters.item));
        return letters;
    }
    if (each_command.parsed()) {
        finish_each(each, raw, each_command.remaining(), command.has_value());
        return each;
    }
    if (validate_command.parsed()) {
        if (validate.flow_files.empty()) throw usage_error("validate: there is no flow file: leat validate FLOW.toml…");
        return validate;
    }
    if (list_command.parsed()) return list;
    if (plan_command.parsed()) {
        if (plan.flow_file.empty()) throw usage_error("plan: there is no flow file: leat plan FLOW.toml");
        if (!raw.sample.empty()) plan.sample = number("--sample", raw.sample, 1, 1'000'000'000);
        plan.output.progress = progress_of(raw.progress);
        return plan;
    }
    if (explain_command.parsed()) {
        if (explain.report_file.empty()) throw usage_error("explain: there is no report: leat explain REPORT.json");
        return explain;
    }
    if (report_command.parsed()) {
        if (report.report_file.empty()) throw usage_error("report: there is no report: leat report REPORT.json");
        if (!story.item.empty()) {
            story.place = report.report_file;
            return story;
        }
        return report;
    }
    if (auto chosen = cluster.parsed()) return std::move(*chosen);
    if (help_command.parsed() && !topic.empty()) {
        for (const CLI::App* const each_app : app.get_subcommands({}))
            if (each_app->get_name() == topic) return text_to_print{each_app->help()};
        throw usage_error(fmt::format("help: found `{}`, which is no command of leat", topic));
    }
    if (help_command.parsed()) return text_to_print{app.help()};
    throw usage_error("there is no command; `leat --help` shows them all");
}

}  // namespace leat::cli
