// The command line as data: what the user asked for, one struct a subcommand. The only users of the parser's result are the
// files in commands/.
#pragma once

#include <chrono>
#include <cli/halt.hpp>
#include <cli/job_log.hpp>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include <leat/process/spawn.hpp>
#include <leat/process/worker_protocol.hpp>

namespace leat::cli {

// bar and eta: a line, also where standard error is no terminal.
enum class progress_mode : std::uint8_t { automatic, json, none, bar, eta };

// When the outputs of jobs are printed: each as a whole at its end, in whole lines as they come, or by the jobs themselves.
enum class output_mode : std::uint8_t { whole, lines, ungrouped };

// Options of every command that runs a flow.
struct run_output {
    std::string report_file;  // empty: none
    progress_mode progress = progress_mode::automatic;
};

struct run_arguments {
    std::string flow_file;
    bool quiet = false;
    std::string plan_file;  // goes into the report; empty: none
    bool resume = false;    // go on with the run that is on record
    bool fresh = false;     // whatever is on record
    bool accept_changes = false;
    std::string engine;            // the address of the cluster's; empty: the flow runs here
    unsigned replicas = 1;         // of what it has in the engine
    bool state_in_engine = false;  // the journal is kept there
    run_output output;
};

// How standard input is cut into blocks for --pipe.
struct each_pipe {
    std::uint64_t block_bytes = std::uint64_t{1} << 20U;
    std::uint64_t records = 0;  // to a block; 0: as many as fit
    std::string record_end = "\n";
    std::string record_start;
};

// A source of values of `leat each`: those behind `:::`, or a file, `-` for standard input.
struct each_values {
    std::vector<std::string> list;
    std::string file;  // empty: the list
    bool linked = false;
};

struct each_arguments {
    std::vector<std::string> command;
    std::vector<each_values> values;  // none: standard input
    bool nul_separated = false;
    bool link = false;
    std::string column_mark;        // a regular expression; empty: none
    unsigned per_item = 1;          // combinations of values that make an item
    std::optional<each_pipe> pipe;  // the sources are cut into blocks; none: into values
    bool shuffle = false;
    bool dry_run = false;
    std::string job_log;       // its file; empty: none
    std::string results;       // the folder; empty: none
    std::string dead_letters;  // the file; empty: none
    resume_mode resume = resume_mode::none;
    halt_rule halt;
    std::chrono::nanoseconds delay{0};  // between the starts of jobs
    unsigned jobs = 0;                  // 0: automatic
    std::string jobs_file;              // says how many, in the words of -j, again and again; empty: none
    double most_load = 0;               // start nothing above it; 0: no limit
    std::string load_file;              // says how much, in the words of --load; empty: none
    std::uint64_t free_memory = 0;      // start nothing while there is less; 0: no limit
    bool keep_order = false;
    bool persistent = false;
    std::optional<unsigned> window;  // items that a persistent worker holds; nothing: some, and more for a quick one
    worker_protocol protocol = worker_protocol::line;
    bool shell_quote = false;
    bool tag = false;
    output_mode printed = output_mode::whole;
    std::chrono::nanoseconds timeout{0};  // 0: none
    std::optional<unsigned> tries;        // in all; none: 1, or 2 for persistent workers
    std::optional<leat::sandbox> sandbox;
    child_limits limits;
    run_output output;
};

struct validate_arguments {
    std::vector<std::string> flow_files;
};

struct list_arguments {
    std::string kind;  // empty: all
};

struct plan_arguments {
    std::string flow_file;
    std::uint64_t sample = 300;  // items
    run_output output;
};

struct explain_arguments {
    std::string report_file;
};

struct report_arguments {
    std::string report_file;
    std::string plan_file;  // to compare with; empty: what the report holds
};

// What is on record of an item.
struct story_arguments {
    std::string place;  // the flow file or its state directory
    std::string item;
};

enum class letters_verb : std::uint8_t { list, show, replay };
struct letters_arguments {
    letters_verb verb = letters_verb::list;
    std::string place;  // as above; for replay the flow file
    std::string item;   // of show
    bool json = false;
    bool quiet = false;
    std::string engine;     // replay runs stages there; of a flow without a state directory, its journal is there too
    unsigned replicas = 1;  // there; of a flow whose journal is there, its own count
};

// Writes the files that an engine is started with.
struct cluster_init_arguments {
    std::string folder;
    std::string name = "leat";
    std::vector<std::string> servers;  // HOST[:PORT[:ROUTES[:MONITORING]]]; none: localhost
    std::string place;                 // where a server will find its files; empty: where they are written
    std::string disk;                  // bytes, for the configuration; empty: all there is
    std::vector<std::string> queues;   // none: leat
    std::vector<std::string> caches;
    std::vector<std::string> seen;
    unsigned days = 0;  // that certificates are good for
};

// A worker of the cluster.
struct worker_arguments {
    std::string engine;
    std::string flow;         // serves this one alone; empty: all
    std::string name;         // empty: host and process
    std::string health_file;  // says how it is, again and again; empty: none
    std::chrono::nanoseconds drain_timeout{0};
    unsigned jobs = 0;  // threads; 0: the effective CPUs
};

struct status_arguments {
    std::string engine;
    std::string flow;  // empty: all
};

struct drain_arguments {
    std::string engine;
    std::string flow;
};

// Text to print and be done: --help, --version.
struct text_to_print {
    std::string text;
};

using command_line =
    std::variant<text_to_print, run_arguments, each_arguments, validate_arguments, list_arguments, plan_arguments,
                 explain_arguments, report_arguments, story_arguments, letters_arguments, cluster_init_arguments,
                 worker_arguments, status_arguments, drain_arguments>;

// The command line cannot be meant so: what was wrong, what was expected.
class usage_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// The words of -j and of --load that are no files. Throw usage_error.
unsigned jobs_of(const std::string& text);
double load_of(const std::string& text);

// Throws usage_error.
command_line parse_command_line(int argc, const char* const* argv);

}  // namespace leat::cli
