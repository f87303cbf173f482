#include <cli/job_log.hpp>

#include <array>
#include <cerrno>
#include <charconv>
#include <cli/arguments.hpp>
#include <cli/write_all.hpp>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <functional>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace leat::cli {

namespace {

constexpr std::string_view header = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand";
constexpr std::size_t columns = 9;
constexpr std::size_t seq = 0;
constexpr std::size_t exit_value = 6;
constexpr std::size_t signal_number = 7;
constexpr std::size_t command_text = 8;

// A command stays on its line.
std::string on_one_line(std::string_view text) {
    std::string line;
    for (const char each : text) {
        if (each == '\n') line += "\\n";
        else line += each;
    }
    return line;
}

template <class Number>
bool read_number(std::string_view text, Number& into) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
    return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

job_log::job_log(std::string file, resume_mode mode) : file_(std::move(file)), mode_(mode) {
    const int fresh = mode == resume_mode::none ? O_TRUNC : 0;
    out_ = io::unique_fd(::open(file_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | fresh, 0666));
    if (!out_) throw usage_error(fmt::format("--joblog: cannot write to `{}`: {}", file_, std::strerror(errno)));
    read();
}

void job_log::read() {
    struct stat about{};
    if (::fstat(out_.get(), &about) != 0)
        throw usage_error(fmt::format("--joblog: `{}`: {}", file_, std::strerror(errno)));
    std::string text;
    if (S_ISREG(about.st_mode)) {  // a pipe or /dev/stderr holds no earlier jobs
        std::array<char, std::size_t{64} << 10U> piece{};
        for (;;) {
            const ssize_t got = ::pread(out_.get(), piece.data(), piece.size(), static_cast<off_t>(text.size()));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) throw usage_error(fmt::format("--joblog: cannot read `{}`: {}", file_, std::strerror(errno)));
            if (got == 0) break;
            text.append(piece.data(), static_cast<std::size_t>(got));
        }
    }
    const std::size_t whole = text.rfind('\n') + 1;  // 0 where there is no line feed
    if (whole < text.size()) {
        const bool header_was_cut = whole == 0 && header.starts_with(text);
        if (whole == 0 && !header_was_cut)
            throw usage_error(fmt::format("--joblog: `{}` is no job log: its first line is not GNU parallel's", file_));
        if (::ftruncate(out_.get(), static_cast<off_t>(whole)) != 0)
            throw usage_error(fmt::format("--joblog: cannot write to `{}`: {}", file_, std::strerror(errno)));
        mended_ = fmt::format("the last line of {} was cut short: the job is done again", file_);
        text.resize(whole);
    }
    if (text.empty()) {
        if (write_all(out_.get(), std::string(header) + "\n")) return;
        throw usage_error(fmt::format("--joblog: cannot write to `{}`: {}", file_, std::strerror(errno)));
    }
    std::size_t number = 0;
    for (std::string_view rest = text; !rest.empty();) {
        const std::size_t end = rest.find('\n');
        read_line(rest.substr(0, end), ++number);
        rest.remove_prefix(end + 1);
    }
}

void job_log::read_line(std::string_view line, std::size_t number) {
    if (number == 1) {
        if (line == header) return;
        throw usage_error(fmt::format("--joblog: `{}` is no job log: its first line is not GNU parallel's", file_));
    }
    std::array<std::string_view, columns> cells;
    std::size_t found = 0;
    for (std::string_view rest = line; found < columns; ++found) {
        const std::size_t end = found + 1 < columns ? rest.find('\t') : std::string_view::npos;
        cells[found] = rest.substr(0, end);
        if (end == std::string_view::npos) {
            ++found;
            break;
        }
        rest.remove_prefix(end + 1);
    }
    std::uint64_t job = 0;
    int value = 0;
    int signal = 0;
    if (found != columns || !read_number(cells[seq], job) || !read_number(cells[exit_value], value) ||
        !read_number(cells[signal_number], signal))
        throw usage_error(
            fmt::format("--joblog: {}:{}: no line of a job log, which has {} columns with tabs between "
                        "them; remove the line, or the file",
                        file_, number, columns));
    earlier_[job] = {std::hash<std::string_view>()(cells[command_text]), value == 0 && signal == 0};
}

job_log::finding job_log::find(std::uint64_t number, std::string_view command) {
    if (mode_ == resume_mode::none) return finding::new_job;
    const auto known = earlier_.find(number);
    if (known == earlier_.end()) return finding::new_job;
    if (known->second.command_hash != std::hash<std::string_view>()(on_one_line(command))) {
        const std::lock_guard held(lock_);
        if (mismatch_.empty())
            mismatch_ = fmt::format("--joblog: in {} job {} is another command than `{}`: it is the log of other items",
                                    file_, number, command);
        return finding::mismatch;
    }
    return mode_ == resume_mode::ended || known->second.succeeded ? finding::done : finding::new_job;
}

std::string job_log::mismatch() const {
    const std::lock_guard held(lock_);
    return mismatch_;
}

void job_log::add(const job_record& job) {
    const std::string line =
        fmt::format("{}\t:\t{:.3f}\t{:10.3f}\t{}\t{}\t{}\t{}\t{}\n", job.number, job.start_s, job.runtime_s,
                    job.in_bytes, job.out_bytes, job.exit_value, job.signal, on_one_line(job.command));
    if (!write_all(out_.get(), line))
        throw std::system_error(errno, std::generic_category(), "cannot write the job log " + file_);
}

}  // namespace leat::cli
