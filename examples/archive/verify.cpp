// verify: unpacks every chunk, several at a time, and says which files those that are damaged belong to. list: what is in it.
#include <algorithm>
#include <map>
#include <optional>
#include <ranges>

#include <fmt/format.h>
#include <leat/flow/flow.hpp>

#include "archive_reader.hpp"
#include "body.hpp"
#include "commands.hpp"
#include "file.hpp"

namespace archive {

namespace {

struct finding {
    std::uint32_t number = 0;
    std::string problem;
};

class checking {
public:
    explicit checking(const archive_reader& of) : of_(of) {}
    finding operator()(std::uint32_t number) {
        try {
            (void)of_.read(number, unpacker_);
        } catch (const damaged& error) {
            return {number, error.what()};
        }
        return {number, {}};
    }

private:
    const archive_reader& of_;
    unpacker unpacker_;
};

bool has_chunk(const entry& what, std::uint32_t number) {
    return std::any_of(what.chunks.begin(), what.chunks.end(),
                       [&](const chunk_run& run) { return number - run.first < run.count; });
}

void tell_of(const std::map<std::uint32_t, std::string>& problems, const std::vector<entry>& entries) {
    for (const auto& [number, problem] : problems) {
        bool is_used = false;
        for (const entry& each : entries) {
            if (!has_chunk(each, number)) continue;
            is_used = true;
            tell(fmt::format("{}: in '{}'", problem, each.path));
        }
        if (!is_used) tell(fmt::format("{}: in no file", problem));
    }
}

// Of an archive without a good index: how far it goes.
void tell_what_is_whole(const std::string& path) {
    const auto file = open_to_read(path);
    unpacker check;
    const body whole =
        read_body(file.get(), size_of(file.get(), path), path, [&](const chunk& what, std::string_view stored) {
            try {
                (void)check.unpack(what, stored);
                return true;
            } catch (const damaged&) {
                return false;
            }
        });
    tell(fmt::format("{} entries and {} chunks are whole, up to byte {}{}", whole.entries, whole.chunks.size(),
                     whole.length, whole.ends_with_index ? ", where the index begins" : ""));
    byte_reader entries(whole.encoded_entries);
    std::string last = "no entry";
    while (entries.left() > 0)
        last = fmt::format("'{}'", decode_entry(entries.take(entries.get<std::uint32_t>())).path);
    if (!whole.ends_with_index)
        tell(fmt::format("chunk {}, behind {}, is the first that is not", whole.chunks.size(), last));
}

}  // namespace

leat::task<int> verify(std::string path) {
    std::optional<archive_reader> opened;
    try {
        opened.emplace(path);
    } catch (const damaged& error) {
        tell(error.what());
    }
    if (!opened) {
        tell_what_is_whole(path);
        co_return 1;
    }
    const archive_reader& of = *opened;
    const auto chunks = static_cast<std::uint32_t>(of.content().chunks.size());
    std::map<std::uint32_t, std::string> problems;
    leat::flow_graph work = leat::from(std::views::iota(std::uint32_t{0}, chunks)) | leat::map("check", checking(of)) |
                            leat::for_each("note", [&](const finding& what) {
                                if (!what.problem.empty()) problems.emplace(what.number, what.problem);
                            });
    const leat::report done = co_await leat::run_flow(std::move(work));
    if (done.end != leat::flow_end::complete) throw std::runtime_error(done.error);
    tell_of(problems, of.content().entries);
    const bool is_untouched = of.is_untouched();
    if (problems.empty() && !is_untouched) tell(fmt::format("'{}' is damaged, though no chunk in it is", path));
    if (!problems.empty() || !is_untouched) co_return 1;
    fmt::print("{}: {} entries and {} chunks are whole\n", path, of.content().entries.size(), chunks);
    co_return 0;
}

int list(const std::string& path) {
    const archive_reader of(path);
    for (const entry& each : of.content().entries) {
        fmt::print("{} {:04o} {:>12} {}", static_cast<char>(each.what), each.mode, each.size, each.path);
        fmt::print("{}{}\n", each.target.empty() ? "" : " -> ", each.target);
    }
    return 0;
}

}  // namespace archive
