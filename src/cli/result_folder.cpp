#include <cli/result_folder.hpp>

#include <cerrno>
#include <cli/arguments.hpp>
#include <cli/write_all.hpp>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <span>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace leat::cli {

namespace {

constexpr std::size_t longest_name = 255;  // bytes, on the file systems of Linux
constexpr std::size_t kept_of_longer = 200;

std::string name_of(const std::string& part, std::uint64_t number) {
    if (part.empty()) return "\\e";
    if (part == "." || part == "..") return "\\" + part;
    std::string name;
    for (const char each : part) {
        if (each == '/') name += "\\_";
        else if (each == '\\') name += "\\\\";
        else if (each == '\n') name += "\\n";
        else if (each == '\0') name += "\\0";
        else name += each;
    }
    if (name.size() > longest_name) name = fmt::format("{}\\{}", name.substr(0, kept_of_longer), number);
    return name;
}

class result_file {
public:
    explicit result_file(std::string path)
        : path_(std::move(path)), fd_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
        if (!fd_) fail();
    }
    void write(std::string_view bytes) const {
        if (!write_all(fd_.get(), bytes)) fail();
    }

private:
    [[noreturn]] void fail() const { throw std::system_error(errno, std::generic_category(), "cannot write " + path_); }
    std::string path_;
    io::unique_fd fd_;
};

void write_output(const spool& out, const result_file& to) {
    if (out.in_memory()) return to.write(out.memory());
    constexpr std::size_t piece_bytes = std::size_t{64} << 10U;
    std::vector<char> piece(piece_bytes);
    for (std::uint64_t at = 0; at < out.size();) {
        const std::size_t got = out.read_at(at, piece);
        if (got == 0) break;
        to.write({piece.data(), got});
        at += got;
    }
}

}  // namespace

result_folder::result_folder(std::string path) : path_(std::move(path)) {
    std::error_code problem;
    std::filesystem::create_directories(path_, problem);
    if (problem) throw usage_error(fmt::format("--results: cannot make the folder `{}`: {}", path_, problem.message()));
}

void result_folder::write(const each_result& result) const {
    std::filesystem::path folder(path_);
    if (result.parts.empty()) folder /= std::to_string(result.number);
    for (std::size_t at = 0; at < result.parts.size(); ++at)
        folder /= std::filesystem::path(std::to_string(at + 1)) / name_of(result.parts[at], result.number);
    std::filesystem::create_directories(folder);  // throws std::filesystem::filesystem_error, a std::system_error
    const result_file out(folder / "stdout");
    write_output(result.out, out);
    const result_file err(folder / "stderr");
    err.write(result.err);
    const result_file seq(folder / "seq");
    seq.write(std::to_string(result.number));
}

}  // namespace leat::cli
