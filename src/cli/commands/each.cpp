// leat each: a command over many items, as a flow: items | command | output.
#include <cli/commands/commands.hpp>

#include <algorithm>
#include <cerrno>
#include <cli/each_blocks.hpp>
#include <cli/each_command.hpp>
#include <cli/each_items.hpp>
#include <cli/each_output.hpp>
#include <cli/machine_meters.hpp>
#include <cli/session.hpp>
#include <cli/start_gate.hpp>
#include <cli/value_file.hpp>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <system_error>
#include <unistd.h>

#include <leat/base/machine.hpp>
#include <leat/flow/dead_letter_file.hpp>

namespace leat::cli {

namespace {

value_source open_values(const each_values& from, closed_streams closed) {
    value_source opened;
    opened.list = from.list;
    opened.linked = from.linked;
    if (from.file.empty()) return opened;
    opened.file_name = from.file == "-" ? "standard input" : from.file;
    if (from.file == "-") {
        if (closed.input) throw usage_error("each: there are no items: standard input is closed");
        opened.file = io::unique_fd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
    } else {
        opened.file = io::unique_fd(::open(from.file.c_str(), O_RDONLY | O_CLOEXEC));
    }
    if (!opened.file)
        throw usage_error(fmt::format("each: cannot read `{}`: {}", opened.file_name, std::strerror(errno)));
    return opened;
}

constexpr unsigned usual_window = 8;

// Null: each item goes by itself, where more is asked about it than what comes of it, or where it is not as a worker reads it.
std::shared_ptr<block_pace> pace_of(const each_arguments& command) {
    const bool one_file = command.values.empty() || (command.values.size() == 1 && !command.values[0].file.empty());
    const bool as_read = command.column_mark.empty() && command.per_item == 1 && !command.shuffle &&
                         command.protocol == (command.nul_separated ? worker_protocol::nul : worker_protocol::line);
    const bool no_more = !command.tag && command.job_log.empty() && command.results.empty() &&
                         command.halt.when == halt_rule::moment::never && command.dead_letters.empty();
    const progress_mode shown = command.output.progress;
    const bool counted = shown == progress_mode::bar || shown == progress_mode::eta;
    const bool kept_back = !command.jobs_file.empty() || command.most_load > 0 || !command.load_file.empty() ||
                           command.free_memory > 0 || command.printed != output_mode::whole;
    if (counted || kept_back) return nullptr;
    if (!command.persistent || !one_file || !as_read || !no_more) return nullptr;
    // A worker holds four blocks. Without a given window as many items as a quick worker needs to be kept busy.
    constexpr std::size_t most_in_block = 256;
    constexpr unsigned blocks_held = 4;
    const std::size_t most = command.window ? *command.window / blocks_held : most_in_block;
    return most > 1 ? std::make_shared<block_pace>(most) : nullptr;
}

std::shared_ptr<source> source_of(const each_arguments& command, closed_streams closed, screen& messages,
                                  std::shared_ptr<const block_pace> blocks) {
    std::vector<each_values> from = command.values;
    if (from.empty()) {
        from.push_back({{}, "-", false});
        if (!closed.input && ::isatty(STDIN_FILENO) == 1)
            messages.print(fmt::format("leat: reading {} from the terminal; Ctrl-D ends them\n",
                                       command.pipe ? "lines" : "items, one a line,"));
    }
    std::vector<value_source> values;
    values.reserve(from.size());
    for (const each_values& each : from) values.push_back(open_values(each, closed));
    if (command.pipe) {
        block_rules rules;
        rules.bytes = command.pipe->block_bytes;
        rules.records = command.pipe->records;
        rules.record_end = command.pipe->record_end;
        rules.record_start = command.pipe->record_start;
        return blocks_of(std::move(values), std::move(rules));
    }
    item_rules rules;
    if (command.nul_separated) rules.delimiter = '\0';
    rules.link = command.link;
    rules.column_mark = command.column_mark;
    rules.per_item = command.per_item;
    rules.shuffle = command.shuffle;
    rules.count_ahead = command.output.progress == progress_mode::bar || command.output.progress == progress_mode::eta;
    rules.blocks = std::move(blocks);
    try {
        return items_of(std::move(values), std::move(rules));
    } catch (const std::invalid_argument& problem) {
        throw usage_error(fmt::format("--colsep: no regular expression: {}", problem.what()));
    }
}

// Its file, looked up once; empty for a command that depends on the item.
std::string program_of(const std::string& command) {
    if (command.empty()) return {};
    auto found = find_program(command, program_path());
    if (!found) throw usage_error("each: " + found.error().message);
    return std::move(*found);
}

void confine(spawn_options& child, const each_arguments& command) {
    child.limits = command.limits;
    child.sandbox = command.sandbox;
    if (!child.sandbox) return;
    if (const std::string why = why_no_sandbox(*child.sandbox); !why.empty()) throw usage_error("each: " + why);
}

std::shared_ptr<stage> stage_of(const each_arguments& command, job_rules rules, std::shared_ptr<block_pace> pace,
                                bool progress_shown) {
    const duration timeout = command.timeout.count() > 0 ? duration(command.timeout) : duration::max();
    if (command.persistent) {
        for (const std::string& each : command.command)
            if (each == "{}")
                throw usage_error(
                    "each: found {} as an argument; a persistent worker is given its items on standard input");
        persistent_options options(command.command);
        options.child.program = program_of(command.command.front());
        confine(options.child, command);
        options.window = command.window.value_or(usual_window);
        options.protocol = command.protocol;
        options.timeout = timeout;
        // It would write into the block, and a letter holds its end.
        options.inherit_err = !progress_shown && !rules.dead_letters;
        return command_per_job(std::move(options), std::move(rules), {std::move(pace), !command.window});
    }
    command_template_options how;
    how.append_item = !command.pipe;
    how.shell_quote = command.shell_quote;
    try {
        command_template arguments(command.command, how);
        if (command.dry_run) return commands_shown(std::move(arguments));
        command_options options;
        options.child.program = program_of(arguments.fixed_command());
        confine(options.child, command);
        options.timeout = timeout;
        options.out_memory_bytes = std::size_t{256} << 10U;
        if (command.printed == output_mode::ungrouped) options.out = options.err = command_output::inherit;
        return command_per_item(std::move(arguments), std::move(options), std::move(rules));
    } catch (const std::invalid_argument& problem) {
        throw usage_error(fmt::format("each: {}", problem.what()));
    }
}

// As many as asked for and as there are descriptors for: some are ours, some each job's, and more while it is started, which
// happens on as many threads at once as there are CPUs.
unsigned jobs_within_limits(unsigned wanted, screen& messages) {
    constexpr rlim_t of_ours = 20;
    constexpr rlim_t of_a_job = 4;
    constexpr rlim_t of_a_starting_job = 7;
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
    const rlim_t room = std::max(limit.rlim_cur, of_ours + of_a_starting_job) - of_ours;
    const auto most_asked_for = wanted > 0 ? rlim_t{wanted} : static_cast<rlim_t>(::sysconf(_SC_NPROCESSORS_ONLN));
    if (room / of_a_starting_job >= most_asked_for) return wanted;
    const rlim_t cpus = effective_machine().worker_count;  // costs some dozen files
    const rlim_t fitting = room <= cpus * of_a_starting_job ? room / of_a_starting_job
                                                            : cpus + (room - cpus * of_a_starting_job) / of_a_job;
    const auto most = static_cast<unsigned>(std::min<rlim_t>(fitting, stage_policy::most_jobs));
    if (wanted == 0) return most < cpus ? most : 0;
    if (wanted > most)
        messages.print(fmt::format("leat: -j {}: {} at a time, since there can be {} open files (`ulimit -n`)\n",
                                   wanted, most, limit.rlim_cur));
    return std::min(wanted, most);
}

// Where the items that failed for good are kept, as those of flow files are.
std::function<void(const dead_letter&)> letters_to(const std::string& file) {
    try {
        const auto kept = std::make_shared<dead_letter_file>(file, "each");
        return [kept](const dead_letter& letter) {
            letter.what.value = payload(letter.what.value.as<each_item>().to_record());
            kept->keep(letter);
        };
    } catch (const std::system_error& problem) {
        throw usage_error(fmt::format("--dead-letters: {}", problem.what()));
    }
}

// What keeps items back until they may begin; null: the number of jobs alone.
std::shared_ptr<start_gate> gate_of(const each_arguments& command, screen& messages) {
    const bool limits_load = command.most_load > 0 || !command.load_file.empty();
    if (command.dry_run || (command.jobs_file.empty() && !limits_load && command.free_memory == 0)) return nullptr;
    gate_rules rules;
    const unsigned jobs = command.jobs > 0 ? command.jobs : jobs_of("auto");
    rules.places = [jobs] { return jobs; };
    if (!command.jobs_file.empty()) rules.places = value_file<unsigned>(command.jobs_file, &jobs_of, messages);
    std::function<double()> most_load = [load = command.most_load] { return load; };
    if (!command.load_file.empty()) most_load = value_file<double>(command.load_file, &load_of, messages);
    if (limits_load && !runnable_tasks()) throw usage_error("--load: the system does not say how many processes run");
    const std::uint64_t least = command.free_memory;
    if (least > 0 && !available_memory()) throw usage_error("--memfree: the system does not say how much is available");
    rules.has_room = [limits_load, most_load, least] {
        return (!limits_load || runnable_tasks().value_or(0) < most_load()) &&
               (least == 0 || available_memory().value_or(least) >= least);
    };
    if (limits_load) rules.settle = std::chrono::milliseconds(10);
    if (least > 0) rules.is_crowded = [least] { return available_memory().value_or(least) < least / 2; };
    return std::make_shared<start_gate>(std::move(rules));
}

}  // namespace

exit_code execute(const each_arguments& command, closed_streams closed) {
    screen messages(STDERR_FILENO);
    if (closed.output) throw usage_error("each: standard output is closed: there is no place for the output");
    const progress_mode progress = command.output.progress;
    const bool progress_shown =
        progress != progress_mode::none && progress != progress_mode::json && messages.is_terminal();
    // A persistent worker's death says little of the item: the suspect is tried once more.
    const unsigned tries = command.tries.value_or(command.persistent ? 2 : 1);
    const auto pace = pace_of(command);

    stage_policy policy;
    // Workers that wait for an item are cheap: a file may ask for so many.
    constexpr unsigned most_by_file = 1024;
    policy.jobs = command.jobs_file.empty() ? jobs_within_limits(command.jobs, messages) : most_by_file;
    policy.buffer_items = command.persistent ? 16 : 1;  // what waits here is still done after a Ctrl-C
    policy.retry.max = tries - 1;                       // of a block each item that fails is tried again by the stage
    policy.retry.first_delay = std::chrono::nanoseconds(0);
    policy.error = command.dead_letters.empty() ? on_error::keep_going : on_error::dead_letter;
    session_plan plan;
    job_rules rules;
    rules.tries = tries;
    rules.delay = command.delay;
    rules.dead_letters = !command.dead_letters.empty();
    rules.give_up = [control = plan.control] { control->stop(); };
    if (!command.job_log.empty()) rules.log = std::make_shared<job_log>(command.job_log, command.resume);
    if (rules.log && !rules.log->mended().empty()) messages.print("leat: --joblog: " + rules.log->mended() + "\n");
    std::shared_ptr<const result_folder> folder;
    if (!command.results.empty()) folder = std::make_shared<const result_folder>(command.results);
    if (command.halt.when != halt_rule::moment::never)
        rules.halts = std::make_shared<halt_watch>(command.halt, *plan.control, messages);
    const auto out = std::make_shared<data_out>(messages);
    if (command.printed == output_mode::lines && !command.dry_run)
        rules.live = std::make_shared<live_output>(
            out, messages, live_output::options{command.tag, folder != nullptr, command.keep_order});
    plan.graph.name = "each";
    plan.graph.ordered = command.keep_order ? order::input : order::none;
    plan.graph.stages.push_back({"command", stage_of(command, rules, pace, progress_shown), policy});
    plan.graph.stages.push_back(
        {"output",
         each_output({messages, out, command.tag, std::move(folder), rules.log, rules.halts, rules.live}),
         {}});
    plan.graph.sources.push_back({"items", source_of(command, closed, messages, pace)});
    if (!command.dead_letters.empty()) plan.options.dead_letters = letters_to(command.dead_letters);
    if (auto gate = gate_of(command, messages)) {
        std::shared_ptr<source>& from = plan.graph.sources.front().what;
        from = gated(std::move(from), std::move(gate));
    }
    plan.output = command.output;
    plan.told_by = "command";
    // The CPUs are the processes'; one thread starts some thousands a second.
    constexpr unsigned cpus_per_thread = 4;
    plan.threads = std::max(1U, effective_machine().worker_count / cpus_per_thread);
    const exit_code code = run_session(std::move(plan), messages);
    if (rules.log && !rules.log->mismatch().empty()) throw usage_error(rules.log->mismatch());
    return code;
}

}  // namespace leat::cli
