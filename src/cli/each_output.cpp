#include <cli/each_output.hpp>

#include <cerrno>
#include <cli/each_items.hpp>
#include <climits>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <system_error>
#include <unistd.h>

#include <leat/io/pipe.hpp>
#include <leat/runtime/blocking.hpp>

namespace leat::cli {

namespace {

constexpr std::size_t piece_bytes = std::size_t{256} << 10U;

// Puts a prefix in front of each line of a text that comes in pieces.
class line_tagger {
public:
    explicit line_tagger(std::string prefix) : prefix_(std::move(prefix)) {}
    std::string operator()(std::string_view piece) {
        std::string tagged;
        for (const char each : piece) {
            if (at_start_) tagged += prefix_;
            tagged += each;
            at_start_ = each == '\n';
        }
        return tagged;
    }

private:
    std::string prefix_;
    bool at_start_ = true;
};

class output_worker final : public stage_worker {
public:
    output_worker(output_rules rules, io::unique_fd out)
        : screen_(rules.messages),
          tag_(rules.tag),
          folder_(std::move(rules.folder)),
          log_(std::move(rules.log)),
          halts_(std::move(rules.halts)),
          out_(std::move(out)) {}

    task<> process(item& in, emitter&) override {
        auto& result = in.value.as<each_result>();
        co_await write_out(result);
        if (!result.err.empty())
            screen_.print(tag_ ? line_tagger(result.text() + "\t")(result.err) : std::string_view(result.err));
        if (!result.failure.empty()) screen_.print(fmt::format("leat: item '{}': {}\n", result.name(), result.failure));
        if (folder_) {
            const auto keep = [this, &result] { folder_->write(result); };
            co_await blocking(keep);
        }
        if (log_ && result.job) log_->add(*result.job);
        in.ack.commit();
        if (halts_) halts_->output_written(result.failure.empty());
    }

private:
    task<> write_out(each_result& result) {
        line_tagger tagger(result.text() + "\t");
        if (result.out.in_memory()) {
            if (!tag_) co_return co_await write(result.out.memory());
            const std::string tagged = tagger(result.out.memory());
            co_return co_await write(tagged);
        }
        std::vector<char> piece(piece_bytes);
        const auto read = [&result, &piece](std::uint64_t at) { return result.out.read_at(at, piece); };
        for (std::uint64_t at = 0; at < result.out.size();) {
            const std::size_t got = co_await blocking(read, at);
            if (got == 0) break;
            at += got;
            const std::string_view text(piece.data(), got);
            if (!tag_) {
                co_await write(text);
                continue;
            }
            const std::string tagged = tagger(text);
            co_await write(tagged);
        }
    }

    // What is small and can be written at once is; the rest waits, on another thread where it must.
    task<> write(std::string_view bytes) {
        if (shared_terminal_) {
            screen_.print_output(bytes);
            co_return;
        }
        for (std::size_t most = piece_bytes; !bytes.empty() && most > 0;) {
            pollfd ready{out_.fd(), POLLOUT, 0};
            if (::poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0) break;
            // A pipe that is ready takes so many bytes without blocking.
            const ssize_t wrote = ::write(out_.fd(), bytes.data(), std::min<std::size_t>(bytes.size(), PIPE_BUF));
            if (wrote < 0) break;
            bytes.remove_prefix(static_cast<std::size_t>(wrote));
            most -= std::min(most, static_cast<std::size_t>(wrote));
        }
        if (bytes.empty()) co_return;
        auto written = co_await out_.write_all(bytes);
        if (!written) throw std::system_error(written.error(), "cannot write to standard output");
    }

    screen& screen_;
    bool tag_;
    std::shared_ptr<const result_folder> folder_;
    std::shared_ptr<job_log> log_;
    std::shared_ptr<halt_watch> halts_;
    io::pipe_writer out_;
    bool shared_terminal_ = screen_.is_terminal() && ::isatty(STDOUT_FILENO) == 1;
};

class output_stage final : public stage {
public:
    explicit output_stage(output_rules rules) : rules_(std::move(rules)) {}
    [[nodiscard]] unsigned most_jobs() const noexcept override { return 1; }
    task<std::unique_ptr<stage_worker>> open() override {
        io::unique_fd out(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
        if (!out) throw std::system_error(errno, std::generic_category(), "standard output");
        co_return std::make_unique<output_worker>(rules_, std::move(out));
    }

private:
    output_rules rules_;
};

}  // namespace

std::shared_ptr<stage> each_output(output_rules rules) { return std::make_shared<output_stage>(std::move(rules)); }

}  // namespace leat::cli
