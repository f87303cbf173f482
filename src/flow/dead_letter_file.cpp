#include <leat/flow/dead_letter_file.hpp>

#include <cerrno>
#include <chrono>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <system_error>
#include <unistd.h>

#include <fmt/format.h>

#include <leat/flow/record.hpp>

#include <flow/record_json.hpp>

namespace leat {

namespace {

// "2026-01-31T12:00:00Z"
std::string now_text() {
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    char text[32];
    return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

}  // namespace

dead_letter_file::dead_letter_file(std::string path, std::string flow)
    : path_(std::move(path)), flow_(std::move(flow)) {
    const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
    std::error_code error;
    if (!folder.empty()) std::filesystem::create_directories(folder, error);
    if (error) throw std::system_error(error, fmt::format("the state directory '{}' cannot be made", folder.string()));
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd_ < 0)
        throw std::system_error(errno, std::system_category(),
                                fmt::format("the dead letters cannot be kept in '{}'", path_));
}

dead_letter_file::~dead_letter_file() {
    if (fd_ >= 0) ::close(fd_);
}

void dead_letter_file::keep(const dead_letter& letter) {
    std::string line = "{\"time\":\"" + now_text() + "\",";
    append_json_member(line, "flow", "flow_base64", flow_);
    line += ',';
    append_json_member(line, "stage", "stage_base64", letter.stage);
    line += fmt::format(",\"attempts\":{},", letter.attempts);
    append_json_member(line, "error", "error_base64", letter.error);
    line += fmt::format(",\"sequence\":{},", letter.what.ack.sequence());
    if (letter.what.value.is<record>()) append_record_members(line, letter.what.value.as<record>());
    else append_json_member(line, "name", "name_base64", letter.what.value.name());
    line += "}\n";

    const off_t before = ::lseek(fd_, 0, SEEK_END);
    std::size_t done = 0;
    while (done < line.size()) {
        const ssize_t wrote = ::write(fd_, line.data() + done, line.size() - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) {
            const int why = wrote == 0 ? EIO : errno;
            if (before >= 0 && done > 0) (void)!::ftruncate(fd_, before);
            throw std::system_error(why, std::system_category(),
                                    fmt::format("a dead letter cannot be written to '{}'", path_));
        }
        done += static_cast<std::size_t>(wrote);
    }
}

}  // namespace leat
