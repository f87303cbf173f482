// live_output: prints the outputs of jobs while they run (--line-buffer): lines of different jobs may follow each other, and
// are never mixed. With -k those of the first job that is not done are printed, and the others are kept, on disk when they
// are long, until it is their turn.
#pragma once

#include <cli/data_out.hpp>
#include <cli/line_tagger.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include <leat/process/command.hpp>

namespace leat::cli {

class live_job;

// What the jobs of a run share.
class live_output {
public:
    struct options {
        bool tag = false;       // each line begins with the item and a tab
        bool keep = false;      // outputs are needed again
        bool in_order = false;  // jobs are printed one after the other
    };
    live_output(std::shared_ptr<data_out> out, screen& messages, options how) noexcept
        : out_(std::move(out)), messages_(messages), how_(how) {}

    // Nothing more will come of the job with this number, whether or not it was run: the next one's turn comes, and what it
    // has written by then is printed. Throws data_out_failed.
    task<> done(std::uint64_t number);

private:
    friend live_job;
    [[nodiscard]] bool is_turn(std::uint64_t number) const noexcept { return !how_.in_order || number == next_; }
    task<> add(live_job& job);
    task<> remove(live_job& job);

    std::shared_ptr<data_out> out_;
    screen& messages_;
    options how_;
    mutex err_turns_;
    std::atomic<std::uint64_t> next_{1};  // whose turn it is
    mutex jobs_lock_;
    std::map<std::uint64_t, live_job*> jobs_;  // under jobs_lock_: that run
    std::set<std::uint64_t> done_;             // under jobs_lock_: beyond next_
};

// Both outputs of one job.
class live_job {
public:
    live_job(live_output& shared, const std::string& item, std::uint64_t number);
    live_job(const live_job&) = delete;

    // Makes the outputs of the command ours. Afterwards finish() is to be awaited, on every path, when it has ended.
    task<> listen(command_options& to);
    // Prints what is left, if it is its turn. That standard output has failed is told by its check().
    task<> finish();
    // How much of standard output was printed; nothing when it was not its turn until finish(): then nothing was.
    [[nodiscard]] std::optional<std::uint64_t> printed_bytes() const noexcept;
    // Standard output that was not printed, where the command does not keep it.
    [[nodiscard]] std::optional<spool> take_unprinted();

private:
    friend live_output;
    // One output.
    class stream {
    public:
        using writer = std::function<task<>(std::string_view)>;
        // `write` is called by who holds `turns`.
        stream(const live_job& owner, mutex& turns, writer write, std::string tag)
            : owner_(owner),
              turns_(turns),
              write_(std::move(write)),
              is_tagged_(!tag.empty()),
              tagger_(std::move(tag)) {}
        // What the command wrote. A line that has not ended is kept.
        task<> take(std::string_view text);
        // Prints what was kept, if it is its turn.
        task<> flush();

        std::uint64_t bytes = 0;  // taken
        spool kept;

    private:
        task<> print(std::string_view rest);
        task<> put(std::string_view text);

        const live_job& owner_;
        mutex& turns_;
        writer write_;
        bool is_tagged_;
        line_tagger tagger_;
        mutex lock_;  // of what a job's line and the sink's may do at once
    };

    live_output& shared_;
    std::uint64_t number_;
    bool printed_ = false;  // set by finish()
    stream out_;
    stream err_;
};

}  // namespace leat::cli
