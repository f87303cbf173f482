// extract: the chunks of all files, in order: read and unpacked by several, written by one.
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>
#include <leat/flow/flow.hpp>
#include <leat/task/generator.hpp>

#include "archive_reader.hpp"
#include "commands.hpp"
#include "file.hpp"

namespace archive {

namespace {

namespace fs = std::filesystem;

// A chunk of an entry, or, without one, the entry's end.
struct part {
    const entry* of = nullptr;
    bool is_end = false;
    std::uint32_t number = 0;
    std::string content;
    std::string problem;
    [[nodiscard]] std::size_t weight() const noexcept { return sizeof(part) + content.capacity(); }
};

leat::generator<part> parts_of(const index& all) {
    for (const entry& each : all.entries) {
        for (const chunk_run& run : each.chunks) {
            for (std::uint32_t i = 0; i < run.count; ++i) {
                part next;
                next.of = &each;
                next.number = run.first + i;
                co_yield std::move(next);
            }
        }
        part last;
        last.of = &each;
        last.is_end = true;
        co_yield std::move(last);
    }
}

class reading {
public:
    explicit reading(const archive_reader& from) : from_(from) {}
    part operator()(part in) {
        if (in.is_end) return in;
        try {
            in.content = from_.read(in.number, unpacker_);
        } catch (const damaged& error) {  // costs its file, and no other
            in.problem = error.what();
        }
        return in;
    }

private:
    const archive_reader& from_;
    unpacker unpacker_;
};

// The sink. Links are made last, and what folders are like is set after that: nothing is written through a link of the
// archive's.
class folder_writer {
public:
    explicit folder_writer(std::string folder) : folder_(std::move(folder)) {}

    void take(const part& in) {
        if (in.of != current_) begin(*in.of);
        if (!in.problem.empty()) problem_ = in.problem;
        if (!problem_.empty()) return in.is_end ? give_up() : void();
        if (!in.is_end) return write(in.content);
        if (in.of->what == entry::kind::file) end_file(*in.of);
    }
    void finish() {
        for (const entry* each : links_) {
            current_ = each;
            if (::symlink(each->target.c_str(), path_of(*each).c_str()) != 0 || !set_time(-1, *each))
                tell_of(std::strerror(errno));
        }
        for (auto each = folders_.rbegin(); each != folders_.rend(); ++each) {
            current_ = *each;
            if (::chmod(path_of(**each).c_str(), (*each)->mode & 0777U) != 0 || !set_time(-1, **each))
                tell_of(std::strerror(errno));
        }
    }
    [[nodiscard]] bool had_problems() const noexcept { return had_problems_; }

private:
    [[nodiscard]] std::string path_of(const entry& what) const { return folder_ + "/" + what.path; }

    void begin(const entry& what) {
        current_ = &what;
        problem_.clear();
        file_.reset();
        const fs::path path = path_of(what);
        std::error_code error;
        fs::create_directories(path.parent_path(), error);
        if (what.what == entry::kind::folder) {
            fs::create_directory(path, error);
            folders_.push_back(&what);
        } else if (what.what == entry::kind::link) {
            links_.push_back(&what);
        } else if (!error) {
            file_ =
                leat::io::unique_fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
            if (!file_) problem_ = std::strerror(errno);
        }
        if (error) problem_ = error.message();
    }
    void write(std::string_view content) { write_all(file_.get(), content, path_of(*current_)); }
    void end_file(const entry& what) {
        if (::fchmod(file_.get(), what.mode & 0777U) != 0 || !set_time(file_.get(), what))
            tell_of(std::strerror(errno));
        file_.reset();
    }
    // Of the open file; without one (-1), of what is at the entry's path.
    [[nodiscard]] bool set_time(int fd, const entry& what) const {
        constexpr std::int64_t second = 1'000'000'000;
        std::int64_t seconds = what.modified_ns / second;
        std::int64_t rest = what.modified_ns % second;
        if (rest < 0) {
            rest += second;
            --seconds;
        }
        const timespec times[2] = {{0, UTIME_OMIT}, {seconds, rest}};
        return (fd >= 0 ? ::futimens(fd, times)
                        : ::utimensat(AT_FDCWD, path_of(what).c_str(), times, AT_SYMLINK_NOFOLLOW)) == 0;
    }
    void give_up() {
        tell_of(problem_ + "; left out");
        if (!file_) return;
        file_.reset();
        ::unlink(path_of(*current_).c_str());
    }
    void tell_of(const std::string& what) {
        had_problems_ = true;
        tell(fmt::format("'{}': {}", current_->path, what));
    }

    std::string folder_;
    const entry* current_ = nullptr;
    leat::io::unique_fd file_;
    std::string problem_;  // of the current entry
    std::vector<const entry*> folders_;
    std::vector<const entry*> links_;
    bool had_problems_ = false;
};

void make_folder(const std::string& folder) {
    std::error_code error;
    if (fs::is_directory(folder, error) && fs::is_empty(folder, error) && !error) return;
    if (::mkdir(folder.c_str(), 0777) == 0) return;
    if (errno == EEXIST) throw std::runtime_error(fmt::format("'{}' is there already, and is no empty folder", folder));
    fail(fmt::format("cannot make '{}'", folder));
}

}  // namespace

leat::task<int> extract(std::string path, std::string folder) {
    const archive_reader from(path);
    make_folder(folder);
    constexpr std::size_t items = 64;
    constexpr std::size_t bytes = std::size_t{8} << 20U;
    folder_writer to(folder);
    leat::flow_graph work = leat::from(parts_of(from.content())) |
                            leat::map("unpack", reading(from)).buffer(items, bytes) |
                            leat::for_each("write", [&to](const part& in) { to.take(in); }).buffer(items, bytes);
    const leat::report done = co_await leat::run_flow(std::move(work));
    if (done.end != leat::flow_end::complete) throw std::runtime_error(done.error);
    to.finish();
    co_return to.had_problems() ? 1 : 0;
}

}  // namespace archive
