#include <cli/cluster_arguments.hpp>

#include <CLI/CLI.hpp>
#include <charconv>
#include <fmt/format.h>

#include <leat/flow/option.hpp>

namespace leat::cli {

namespace {

constexpr const char* cluster_end =
    R"(Writes what an engine for flows on many machines is started with: for each server a folder with a
configuration of nats-server (2.12 or newer), its certificate and key; and for each role (coordinator,
worker, observer) a key file to connect with. No file that is there is written over. Printed are the
commands that start the servers, and the address for each role.

One server survives a crash of its process and a power failure, not the loss of its machine; three
survive the loss of one. All connections use TLS with certificates of an authority that is made here:
ca.key signs for it, belongs to no server, and is kept elsewhere.

Examples:
  leat cluster init engine                                    # one, on this machine alone
  leat cluster init engine --place /etc/leat \
       --server n1.example.org --server n2.example.org --server n3.example.org)";

constexpr const char* worker_end =
    R"(Does the items of flows that run on the cluster: `leat run FLOW.toml --engine URL` sends them. It may
come and go at any time, on as many machines as wanted; what it held when it died, another does. The
first SIGTERM or Ctrl-C lets it finish what it holds and end with status 0; a second one ends it at once.

The programs that the flow's stages name must be on its machine; for a flow that it cannot run it says
so in `leat status`. While there is no engine it waits.

Addresses: nats://127.0.0.1:4222 on this machine; tls://HOST[,HOST…]?ca=FILE&nkey=FILE… to others, as
`leat cluster init` prints them.)";

constexpr const char* engine_help = "the engine: nats://127.0.0.1:4222, tls://HOST?ca=FILE&nkey=FILE";

void add_engine(CLI::App& to, std::string& engine) { to.add_option("--engine", engine, engine_help)->type_name("URL"); }

void add_replicas(CLI::App& to, unsigned& replicas) {
    to.add_option("--replicas", replicas, "with --engine: servers that have each message: 1, or 3")
        ->type_name("N")
        ->check(CLI::IsMember({1, 3}));
}

unsigned number(const char* option, const std::string& text, unsigned most) {
    unsigned value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size() || value == 0 || value > most)
        throw usage_error(fmt::format("{}: found `{}`, expected a number from 1 to {}", option, text, most));
    return value;
}

}  // namespace

void add_engine_options(CLI::App& to, run_arguments& run) {
    to.add_option("--engine", run.engine,
                  "run stages on the cluster of this engine: nats://127.0.0.1:4222, tls://HOST?ca=FILE…")
        ->type_name("URL");
    add_replicas(to, run.replicas);
    to.add_flag("--state-in-engine", run.state_in_engine,
                "keep the journal in the engine: `leat resume` goes on, on any machine");
}

void add_engine_options(CLI::App& to, letters_arguments& letters) {
    to.add_option(
          "--engine", letters.engine,
          "of a flow on a cluster: replay runs its stages there; the journal is there where the flow has no state")
        ->type_name("URL");
    add_replicas(to, letters.replicas);
}

cluster_commands::cluster_commands(CLI::App& app)
    : cluster_(*app.add_subcommand("cluster", "Writes the configuration of an engine for many machines")),
      worker_(*app.add_subcommand("worker", "Does the items of flows that run on a cluster")),
      status_(*app.add_subcommand("status", "Shows the flows that run on a cluster")),
      drain_(*app.add_subcommand("drain", "Lets a flow on a cluster end early, with all that it has begun")) {
    add_engine(worker_, work_.engine);
    worker_.add_option("--flow", work_.flow, "serve this flow alone")->type_name("NAME");
    worker_.add_option("--name", work_.name, "what it is called in `leat status` (host and process)")
        ->type_name("NAME");
    worker_.add_option("-j,--threads", jobs_, "threads to compute with (the CPUs that there are)")->type_name("N");
    worker_.add_option("--drain-timeout", drain_timeout_, "leave what is not done then to other workers (no limit)")
        ->type_name("TIME");
    worker_
        .add_option("--health-file", work_.health_file,
                    "write `connected` or `waiting` into this file every second, for probes")
        ->type_name("FILE");
    worker_.footer(worker_end);
    status_.add_option("flow", look_.flow, "this flow alone")->type_name("FLOW");
    add_engine(status_, look_.engine);
    status_.footer("Its coordinator, how many messages wait and are at work, and its workers, for each flow.");
    drain_.add_option("flow", drain_what_.flow, "the flow's name")->type_name("FLOW");
    add_engine(drain_, drain_what_.engine);
    drain_.footer(
        "The flow's sources give no more, and what they have given goes on to its end: as Ctrl-C in `leat run`.");
    cluster_.add_option("verb", verb_, "init")->type_name("VERB");
    cluster_.add_option("folder", init_.folder, "the folder to write")->type_name("FOLDER");
    cluster_
        .add_option(
            "--server", init_.servers,
            "how a server is reached; one, or this option three times (localhost). Ports: 4222, of routes 6222, of "
            "monitoring 8222")
        ->type_name("HOST[:PORT[:ROUTES[:MONITORING]]]")
        ->expected(1)
        ->take_all();
    cluster_.add_option("--name", init_.name, "of the engine (leat)")->type_name("NAME");
    cluster_.add_option("--place", init_.place, "the folder that a server's files will be in on its machine")
        ->type_name("FOLDER");
    cluster_.add_option("--disk", init_.disk, "the most that a server stores: 100GiB (three quarters of what is free)")
        ->type_name("SIZE");
    cluster_
        .add_option("--queue", init_.queues, "a queue of submitted jobs that workers may serve; again: more (leat)")
        ->type_name("NAME")
        ->expected(1)
        ->take_all();
    cluster_.add_option("--cache", init_.caches, "a shared_cache that workers may use; again: more")
        ->type_name("NAME")
        ->expected(1)
        ->take_all();
    cluster_.add_option("--seen", init_.seen, "a shared_seen that workers may use; again: more")
        ->type_name("NAME")
        ->expected(1)
        ->take_all();
    cluster_.add_option("--days", days_, "how long the certificates are good for (1095)")->type_name("N");
    cluster_.footer(cluster_end);
}

std::optional<command_line> cluster_commands::parsed() {
    if (cluster_.parsed()) return parsed_init();
    if (worker_.parsed()) return parsed_worker();
    if (status_.parsed()) {
        if (look_.engine.empty()) throw usage_error("status: there is no engine: leat status --engine URL");
        return look_;
    }
    if (drain_.parsed()) {
        if (drain_what_.flow.empty()) throw usage_error("drain: there is no flow: leat drain FLOW --engine URL");
        if (drain_what_.engine.empty()) throw usage_error("drain: there is no engine: leat drain FLOW --engine URL");
        return drain_what_;
    }
    return std::nullopt;
}

worker_arguments cluster_commands::parsed_worker() {
    if (work_.engine.empty()) throw usage_error("worker: there is no engine: leat worker --engine URL");
    if (!drain_timeout_.empty()) {
        const auto time = parse_duration(drain_timeout_);
        if (!time || time->count() == 0)
            throw usage_error(fmt::format("--drain-timeout: found `{}`, {}", drain_timeout_,
                                          time ? "expected a time above zero" : time.error()));
        work_.drain_timeout = *time;
    }
    constexpr unsigned most_threads = 4096;
    if (!jobs_.empty()) work_.jobs = number("--threads", jobs_, most_threads);
    return work_;
}

cluster_init_arguments cluster_commands::parsed_init() {
    if (verb_ != "init") throw usage_error(fmt::format("cluster: found `{}`, expected init", verb_));
    if (init_.folder.empty()) throw usage_error("cluster: there is no folder: leat cluster init FOLDER");
    if (!init_.disk.empty()) {
        const auto bytes = parse_size(init_.disk);
        if (!bytes) throw usage_error(fmt::format("--disk: found `{}`, {}", init_.disk, bytes.error()));
        init_.disk = std::to_string(*bytes);
    }
    constexpr unsigned most_days = 36'500;
    constexpr unsigned some_years = 1095;
    init_.days = days_.empty() ? some_years : number("--days", days_, most_days);
    return init_;
}

}  // namespace leat::cli
