// read: puts the content of a file in the place of its path.
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <flow/kinds/kinds.hpp>
#include <flow/kinds/part_of.hpp>
#include <leat/io/unique_fd.hpp>
#include <leat/runtime/blocking.hpp>

namespace leat {

namespace {

// Blocks. Throws permanent_error for what another attempt cannot mend.
std::string read_file(const std::string& path, std::uint64_t most) {
    const auto fail = [&](const char* what) {
        const int why = errno;
        const std::string text = fmt::format("cannot {} '{}': {}", what, path, std::strerror(why));
        if (why == EIO || why == EMFILE || why == ENFILE || why == ENOMEM || why == EAGAIN)
            throw std::runtime_error(text);
        throw permanent_error(text);
    };
    const auto too_long = [&] {
        throw permanent_error(fmt::format("'{}' is longer than {} bytes, the bound 'max' of the stage", path, most));
    };
    if (path.find('\0') != std::string::npos) throw permanent_error("a path cannot hold a NUL byte");
    // Non-blocking: opening a FIFO must not wait for a writer.
    const io::unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0) fail("open");
    if (S_ISDIR(status.st_mode)) throw permanent_error(fmt::format("'{}' is a directory", path));
    if (!S_ISREG(status.st_mode)) throw permanent_error(fmt::format("'{}' is not a file", path));
    std::string content;
    // The size is a hint: the file may grow or shrink meanwhile, and in /proc it is 0.
    const auto hint = static_cast<std::uint64_t>(status.st_size);
    if (hint > most) too_long();
    std::size_t length = 0;
    content.resize(hint + 1);
    for (;;) {
        const ssize_t got = ::read(fd.get(), content.data() + length, content.size() - length);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail("read");
        if (got == 0) break;
        length += static_cast<std::size_t>(got);
        if (length > most) too_long();
        if (length == content.size()) content.resize(length + std::max<std::size_t>(4096, length / 2));
    }
    content.resize(length);
    return content;
}

struct read_settings {
    explicit read_settings(const option_values& given) : path(given.text("path"), "path"), most(given.size("max")) {}
    part_of path;
    std::uint64_t most;
};

class read_worker final : public stage_worker {
public:
    explicit read_worker(std::shared_ptr<const read_settings> settings) : settings_(std::move(settings)) {}

    task<> process(item& in, emitter& out) override {
        std::string path(settings_->path.get(in.value.as<record>(), room_));
        std::string content = co_await blocking(&read_file, std::move(path), settings_->most);
        payload value = out.may_consume() ? std::move(in.value) : in.value.copy();
        value.as<record>().bytes = std::move(content);
        co_await out.emit(std::move(value));
    }

private:
    std::shared_ptr<const read_settings> settings_;
    std::string room_;
};

class read_stage final : public stage {
public:
    explicit read_stage(const option_values& given) : settings_(std::make_shared<read_settings>(given)) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<read_worker>(settings_); }

private:
    std::shared_ptr<const read_settings> settings_;
};

}  // namespace

void add_read_kind(registry& kinds) {
    component kind;
    kind.name = "read";
    kind.summary = "puts the content of a file in the place of its path";
    kind.help = "Key and attributes stay.\n";
    kind.options = {
        option("path", option_type::text, std::string("where the path is: ") + part_of::words).defaults("key"),
        option("max", option_type::size, "an item whose file is longer fails")
            .defaults("1GiB")
            .also_called({"max_size"})};
    kind.make_stage = [](const option_values& given) -> std::shared_ptr<stage> {
        return std::make_shared<read_stage>(given);
    };
    kinds.add(std::move(kind));
}

}  // namespace leat
