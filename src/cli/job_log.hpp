// job_log: the file of --joblog: a line for each job that has ended, in the columns of GNU parallel, written once its output was.
//
// So a job in the log has had its output written. One that had ended, and whose line was not written when leat was killed, is
// done again when the run is resumed.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include <leat/io/unique_fd.hpp>

namespace leat::cli {

struct job_record {
    std::uint64_t number = 0;  // of the item, from 1
    double start_s = 0;        // since the epoch
    double runtime_s = 0;
    std::uint64_t in_bytes = 0;  // of the block that it was given
    std::uint64_t out_bytes = 0;
    int exit_value = 0;  // -1: it did not exit of its own will
    int signal = 0;      // that killed it
    std::string command;
};

// Which jobs of an earlier run are not run again.
enum class resume_mode : std::uint8_t { none, ended, succeeded };

class job_log {
public:
    // Begins the file anew, or reads it and goes on behind its end: a line that a kill cut short is taken away. Throws
    // usage_error for a file that cannot be written to, and for one that is no job log.
    job_log(std::string file, resume_mode mode);

    // Whether the job with this number is in the log already, and not to be run again. Another command under its number means
    // that the log is of other items: then nothing of it counts, and mismatch() says so. Any thread.
    enum class finding : std::uint8_t { new_job, done, mismatch };
    [[nodiscard]] finding find(std::uint64_t number, std::string_view command);
    // A sentence about the first job that was found to be another command; empty: none was.
    [[nodiscard]] std::string mismatch() const;
    // Writes its line. Throws std::system_error when it cannot be written. One at a time.
    void add(const job_record& job);

    // What was taken away, for a message; empty: nothing was.
    [[nodiscard]] const std::string& mended() const noexcept { return mended_; }

private:
    struct earlier_job {
        std::size_t command_hash = 0;
        bool succeeded = false;
    };
    void read();
    void read_line(std::string_view line, std::size_t number);

    std::string file_;
    resume_mode mode_;
    io::unique_fd out_;
    std::unordered_map<std::uint64_t, earlier_job> earlier_;
    std::string mended_;
    mutable std::mutex lock_;
    std::string mismatch_;  // under lock_
};

}  // namespace leat::cli
