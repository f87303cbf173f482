// exec: a program as a stage, started once an item (mode = "item") or once a job, which is then given items and
// answers them (mode = "persistent"). An item never reaches a shell but as data.
#include <flow/kinds/exec.hpp>

#include <atomic>
#include <fmt/format.h>

#include <leat/flow/cache.hpp>
#include <leat/flow/command_template.hpp>
#include <leat/flow/key_digest.hpp>
#include <leat/flow/record.hpp>
#include <leat/process/command.hpp>
#include <leat/process/persistent_pool.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

namespace {

constexpr std::size_t longest_tail = 2000;  // of a command's standard error, in the text of an error

// "exited with 3" with the end of what the command said.
std::string with_tail(std::string what, std::string_view err) {
    while (!err.empty() && (err.back() == '\n' || err.back() == ' ')) err.remove_suffix(1);
    if (err.empty()) return what;
    const bool cut = err.size() > longest_tail;
    if (cut) err.remove_prefix(err.size() - longest_tail);
    return fmt::format("{}; its standard error{}: {}", what, cut ? " ended with" : "", err);
}

sandbox sandbox_of(const option_values& given) {
    const bool best_effort = given.boolean("best_effort");
    const sandbox_need need = best_effort ? sandbox_need::best_effort : sandbox_need::required;
    sandbox box;
    if (!given.boolean("network")) box.no_network = need;
    if (given.has("read") || given.has("write")) {
        box.paths = need;
        box.add_system_files();
        const auto add = [&given](std::string_view key, std::vector<std::string>& to) {
            if (given.has(key)) to.insert(to.end(), given.list(key).begin(), given.list(key).end());
        };
        add("read", box.read);
        add("write", box.write);
    }
    return box;
}

spawn_options child_of(const option_values& given) {
    spawn_options child(given.list("exec"));
    if (given.has("directory")) child.directory = given.text("directory");
    if (given.has("memory")) child.limits.memory_bytes = given.size("memory");
    if (given.has("cpu")) {
        const auto time = std::chrono::ceil<std::chrono::seconds>(given.duration("cpu"));
        child.limits.cpu_seconds = static_cast<std::uint64_t>(time.count());
    }
    if (given.has("open_files")) child.limits.open_files = static_cast<std::uint64_t>(given.integer("open_files"));
    if (given.has("file_size")) child.limits.file_bytes = given.size("file_size");
    if (given.has("processes")) child.limits.processes = static_cast<std::uint64_t>(given.integer("processes"));
    if (given.has("sandbox")) child.sandbox = sandbox_of(given.table("sandbox"));
    return child;
}

// The file of the command, looked up before any item; and whether there is a sandbox for it. Throws permanent_error.
std::string found(const std::string& command, const spawn_options& child) {
    auto file = find_program(command, program_path(), child.directory);
    if (!file) throw permanent_error(file.error().message);
    if (child.sandbox)
        if (std::string why = why_no_sandbox(*child.sandbox); !why.empty()) throw permanent_error(why);
    return std::move(*file);
}

std::shared_ptr<const command_template> template_of(const option_values& given, bool append) {
    command_template_options options;
    options.append_item = append;
    try {
        return std::make_shared<command_template>(given.list("exec"), options);
    } catch (const std::invalid_argument& problem) {
        throw option_error("exec", problem.what());
    }
}

// What programs wrote, by what they were given; shared by the jobs of a stage.
struct digest_bits {
    std::size_t operator()(const key_digest& of) const noexcept { return of.low; }
};
using answer_cache = cache<key_digest, std::string, digest_bits>;

std::shared_ptr<answer_cache> cache_of(const option_values& given) {
    if (!given.has("cache")) return nullptr;
    const option_values& set = given.table("cache");
    cache_options options;
    options.items(static_cast<std::size_t>(set.integer("items"))).bytes(set.size("bytes"));
    if (set.has("age")) options.age(std::chrono::duration_cast<duration>(set.duration("age")));
    return std::make_shared<answer_cache>(options);
}

// --- A process an item ---

struct item_settings {
    spawn_options child;
    std::shared_ptr<const command_template> arguments;
    bool feed = true;  // the item goes to standard input
    std::size_t max_output = 0;
    duration timeout = duration::max();
    duration grace{};
    std::shared_ptr<answer_cache> answers;  // null: none are kept
};

class item_worker final : public stage_worker {
public:
    item_worker(std::shared_ptr<const item_settings> settings, unsigned slot)
        : settings_(std::move(settings)), slot_(slot) {}

    task<> process(item& in, emitter& out) override {
        auto& given = in.value.as<record>();
        const std::uint64_t number = in.ack.sequence() + 1;
        std::string answer;
        if (settings_->answers) {
            const auto compute = [&] { return answer_to(given.bytes, number); };
            answer = co_await settings_->answers->get(digest_of(given.bytes), compute);
        } else {
            std::string bytes = out.may_consume() ? std::move(given.bytes) : given.bytes;
            answer = co_await answer_to(std::move(bytes), number);
        }
        record result = out.may_consume() ? std::move(given) : given;
        result.bytes = std::move(answer);
        payload value(std::move(result));
        co_await out.emit(std::move(value));
    }

private:
    task<std::string> answer_to(std::string bytes, std::uint64_t number) {
        command_options options(settings_->child);
        options.child.argv = settings_->arguments->fill(bytes, number, slot_);
        if (settings_->feed) options.input = std::move(bytes);
        options.timeout = settings_->timeout;
        options.grace = settings_->grace;
        command_result done = co_await run(std::move(options));
        if (done.timed_out)
            throw std::runtime_error(with_tail(
                fmt::format("timed out after {:g} s", std::chrono::duration<double>(settings_->timeout).count()),
                done.err));
        if (!done.status.success()) throw std::runtime_error(with_tail(done.status.text(), done.err));
        if (done.out.size() > settings_->max_output)
            throw permanent_error(fmt::format("wrote {} bytes to standard output; max_output allows {}",
                                              done.out.size(), settings_->max_output));
        co_return done.out.take_text();
    }
    static task<command_result> run(command_options options) {
        try {
            co_return co_await run_command(std::move(options));
        } catch (const spawn_failed& failed) {
            if (failed.retryable()) throw;
            throw permanent_error(failed.what());
        }
    }
    std::shared_ptr<const item_settings> settings_;
    unsigned slot_;
};

class item_stage final : public stage {
public:
    explicit item_stage(const option_values& given) {
        auto settings = std::make_shared<item_settings>();
        const bool as_argument = given.has("input") && given.text("input") == "argument";
        settings->child = child_of(given);
        settings->arguments = template_of(given, as_argument);
        settings->feed = given.has("input") ? !as_argument : !settings->arguments->takes_item();
        settings->max_output = given.size("max_output");
        settings->grace = given.duration("grace");
        settings->answers = cache_of(given);
        if (settings->answers && settings->arguments->takes_number())
            throw option_error("cache", "cannot be: {#} or {%} in the arguments gives the same item another answer");
        settings_ = std::move(settings);
    }
    void adopt(stage_policy& policy) override {
        // The command is ended in time by run_command, which then still knows what it said.
        if (policy.timeout.count() > 0) settings_->timeout = std::exchange(policy.timeout, {});
    }
    task<> start(unsigned) override {
        const std::string command = settings_->arguments->fixed_command();
        if (!command.empty()) settings_->child.program = found(command, settings_->child);
        co_return;
    }
    task<std::unique_ptr<stage_worker>> open() override {
        co_return std::make_unique<item_worker>(settings_, slots_.fetch_add(1) + 1);
    }

private:
    std::shared_ptr<item_settings> settings_;  // final once start() has returned
    std::atomic<unsigned> slots_{0};           // given to workers so far
};

// --- A process a job ---

class persistent_worker final : public stage_worker {
public:
    persistent_worker(persistent_pool& pool, std::optional<char> end_mark, std::shared_ptr<answer_cache> answers)
        : pool_(pool), end_mark_(end_mark), answers_(std::move(answers)) {}

    task<> process(item& in, emitter& out) override {
        auto& given = in.value.as<record>();
        // One that has cost a worker its life is tried again without neighbours, who would share its fate.
        const bool suspect = suspect_ == in.ack.sequence() + 1;
        std::string line = out.may_consume() ? std::move(given.bytes) : given.bytes;
        // A line feed or NUL byte at the end of an item is no part of it where it marks the end.
        if (end_mark_ && line.ends_with(*end_mark_)) line.pop_back();
        const std::uint64_t number = in.ack.sequence() + 1;
        std::string answer;
        if (answers_) {
            const auto compute = [&] { return ask(line, number, suspect); };
            answer = co_await answers_->get(digest_of(line), compute);
        } else {
            answer = co_await ask(std::move(line), number, suspect);
        }
        record result = out.may_consume() ? std::move(given) : given;
        result.bytes = std::move(answer);
        payload value(std::move(result));
        co_await out.emit(std::move(value));
    }

private:
    task<std::string> ask(std::string line, std::uint64_t number, bool alone) {
        try {
            co_return co_await pool_.call(std::move(line), alone);
        } catch (const worker_failed& failed) {
            suspect_ = number;
            std::string message = with_tail(failed.what(), failed.err());
            if (failed.retryable()) throw std::runtime_error(message);
            throw permanent_error(message);
        }
    }
    persistent_pool& pool_;
    std::optional<char> end_mark_;
    std::shared_ptr<answer_cache> answers_;  // null: none are kept
    std::uint64_t suspect_ = 0;              // number of the item that failed last; 0: none
};

class persistent_stage final : public stage {
public:
    explicit persistent_stage(const option_values& given) {
        for (const std::string& each : given.list("exec"))
            if (each == "{}")
                throw option_error("exec",
                                   "has {} as an argument: a persistent worker is given its items on standard input");
        if (given.has("input") && given.text("input") == "argument")
            throw option_error("input",
                               "cannot be \"argument\" with mode = \"persistent\": the worker is given its items on "
                               "standard input");
        options_.child = child_of(given);
        const std::string& protocol = given.text("protocol");
        if (protocol == "nul") options_.protocol = worker_protocol::nul;
        if (protocol == "frame") options_.protocol = worker_protocol::frame;
        options_.window = static_cast<unsigned>(given.integer("window"));
        options_.max_answer_bytes = given.size("max_output");
        options_.grace = given.duration("grace");
        answers_ = cache_of(given);
        (void)template_of(given, false);
    }
    [[nodiscard]] unsigned items_per_job() const noexcept override { return options_.window; }
    void adopt(stage_policy& policy) override {
        // For an answer, counted from when its worker has nothing older to answer: the pool's to know.
        if (policy.timeout.count() > 0) options_.timeout = std::exchange(policy.timeout, {});
    }
    task<> start(unsigned jobs) override {
        options_.child.program = found(options_.child.argv[0], options_.child);
        options_.workers = jobs;
        context& line = co_await this_task::line();
        pool_ = std::make_unique<persistent_pool>(options_, line);
    }
    task<std::unique_ptr<stage_worker>> open() override {
        std::optional<char> end_mark;
        if (options_.protocol == worker_protocol::line) end_mark = '\n';
        if (options_.protocol == worker_protocol::nul) end_mark = '\0';
        co_return std::make_unique<persistent_worker>(*pool_, end_mark, answers_);
    }
    task<> close() override {
        if (!pool_) co_return;
        co_await pool_->close();
        pool_.reset();
    }

private:
    persistent_options options_;
    std::shared_ptr<answer_cache> answers_;
    std::unique_ptr<persistent_pool> pool_;
};

std::shared_ptr<stage> make_exec(const option_values& given) {
    if (given.text("mode") == "persistent") return std::make_shared<persistent_stage>(given);
    return std::make_shared<item_stage>(given);
}

}  // namespace

void add_exec_kind(registry& kinds) {
    component kind;
    kind.role = component_role::stage;
    kind.name = "exec";
    kind.in_processes = true;
    kind.summary = "gives each item to a program, and goes on with what the program writes";
    kind.help =
        "mode = \"item\" starts the program once an item. The item is its standard input, or part of its arguments "
        "where\n"
        "these hold {} (the item), {.} (without extension), {/} (without directories), {//} (its directory), {/.},\n"
        "{#} (its number) or {%} (the job's number), as in GNU parallel. What the program writes to standard output\n"
        "becomes the item; the key stays. An exit status other than 0 fails the item.\n"
        "mode = \"persistent\" starts the program once a job; it then reads a line an item, and must answer each with "
        "one\n"
        "line, in order and without holding it back (python3 -u, stdbuf -oL, sed -u, grep --line-buffered). With\n"
        "protocol = \"nul\" a NUL byte ends each item and each answer, with \"frame\" their length in 4 bytes, the "
        "most\n"
        "significant first, precedes them: items and answers may then be of several lines, or no text at all. A "
        "program\n"
        "that dies costs the item that it was at, which a retry gives to another, and no other item.\n"
        "No shell is involved. Name one to have one; {} in the text of its -c is refused, $0 is the item in\n"
        "exec = [\"sh\", \"-c\", \"wc -c < \\\"$0\\\"\", \"{}\"].\n";
    kind.options = {
        option("exec", option_type::arguments, "the program and its arguments").required(),
        option("mode", option_type::word, "a process an item, or one that is given item after item")
            .one_of({"item", "persistent"})
            .defaults("item"),
        option("protocol", option_type::word, "how a persistent program reads items and answers")
            .one_of({"line", "nul", "frame"})
            .defaults("line"),
        option(
            "window", option_type::integer,
            "items that a persistent program is given before it has answered the first; 1: its death repeats nothing")
            .defaults("8")
            .at_least(1)
            .at_most(1024),
        option(
            "input", option_type::word,
            "where the item goes in mode item: as the arguments say when not given; argument appends it where no {} is")
            .one_of({"stdin", "argument"}),
        option("directory", option_type::text, "the working directory of the program").also_called({"cwd", "workdir"}),
        option("max_output", option_type::size, "the most that the program may write for one item")
            .defaults("64MiB")
            .at_least(1)
            .also_called({"max_answer"}),
        option("grace", option_type::time_span, "between SIGTERM and SIGKILL for a program that must end")
            .defaults("2s"),
        option("memory", option_type::size, "the most address space of each process").at_least(1),
        option("cpu", option_type::time_span, "the most CPU time of each process").at_least(1),
        option("open_files", option_type::integer, "the most descriptors of each process").at_least(3),
        option("file_size", option_type::size, "the largest file that a process may write"),
        option("processes", option_type::integer, "start no more where the user has so many in all; not for root")
            .at_least(1),
        option("cache", option_type::table,
               "keeps what the program wrote, and gives it to items of the same content; for programs whose answer "
               "depends "
               "on nothing else")
            .with({option("items", option_type::integer, "how many answers are kept")
                       .defaults("10000")
                       .at_least(1)
                       .at_most(1e9),
                   option("bytes", option_type::size, "how many bytes of them").defaults("64MiB").at_least(1),
                   option("age", option_type::time_span, "how long; without end, when not given").at_least(1e-6)},
                  "items"),
        option("sandbox", option_type::table, "what the kernel keeps the program from")
            .with({
                option("read", option_type::text_list, "open no files but those of the system, and read below these"),
                option("write", option_type::text_list, "the same, and change what is below these"),
                option("network", option_type::boolean, "whether it may make sockets other than local ones")
                    .defaults("true"),
                option("best_effort", option_type::boolean, "start it also where the kernel can do a part of it")
                    .defaults("false"),
            }),
    };
    kind.implied_by = "exec";
    kind.make_stage = &make_exec;
    kinds.add(std::move(kind));
}

}  // namespace leat
