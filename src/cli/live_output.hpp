// live_output: prints the outputs of jobs while they run (--line-buffer): lines of different jobs may follow each other, and
// are never mixed.
#pragma once

#include <cli/data_out.hpp>
#include <cli/line_tagger.hpp>
#include <memory>
#include <string>

#include <leat/process/command.hpp>

namespace leat::cli {

// One output of one job. Not thread-safe.
class live_stream {
public:
    using writer = std::function<task<>(std::string_view)>;
    // `write` is called by who holds `turns`. Each line begins with `tag`.
    live_stream(mutex& turns, writer write, std::string tag)
        : turns_(turns), write_(std::move(write)), is_tagged_(!tag.empty()), tagger_(std::move(tag)) {}
    // What the job wrote. A line that has not ended is kept, on disk when it is long.
    task<> take(std::string_view text);
    // There is no more: prints what has no line feed at its end, as it is.
    task<> finish();
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

private:
    task<> print(std::string_view rest);
    task<> put(std::string_view text);

    mutex& turns_;
    writer write_;
    bool is_tagged_;
    line_tagger tagger_;
    spool begun_;  // of a line that has not ended
    std::uint64_t bytes_ = 0;
};

// What the jobs of a run share.
struct live_output {
    live_output(std::shared_ptr<data_out> out_, screen& messages_, bool tag_, bool keep_)
        : out(std::move(out_)), messages(messages_), tag(tag_), keep(keep_) {}
    std::shared_ptr<data_out> out;
    screen& messages;
    bool tag;   // each line begins with the item and a tab
    bool keep;  // the output is needed again
    mutex err_turns;
};

// Both outputs of one job.
class live_job {
public:
    live_job(live_output& shared, const std::string& item);
    live_job(const live_job&) = delete;
    // Makes the outputs of the command ours; it must have ended before this does.
    void listen(command_options& to);
    // Prints what is left. That standard output has failed is told by its check().
    task<> finish();
    [[nodiscard]] std::uint64_t out_bytes() const noexcept { return out_.bytes(); }

private:
    live_output& shared_;
    live_stream out_;
    live_stream err_;
};

}  // namespace leat::cli
