#include "journal_state.hpp"

#include <charconv>
#include <stdexcept>

#include <fmt/format.h>

#include <leat/process/codec.hpp>

namespace leat::cluster {

namespace {

constexpr const char* header_version = "leat-journal";
constexpr const char* header_epoch = "leat-epoch";
constexpr const char* header_writer = "leat-writer";
constexpr const char* header_change = "leat-change";
constexpr const char* header_part = "leat-part";
constexpr const char* header_parts = "leat-parts";

[[noreturn]] void refuse(const message& what) {
    throw std::runtime_error(fmt::format("a message of the subject '{}' is none of a journal", what.subject));
}

const std::string& text_of(const message& what, const char* header) {
    const auto found = what.headers.find(header);
    if (found == what.headers.end()) refuse(what);
    return found->second;
}

std::uint64_t number_of(const message& what, const char* header) {
    const std::string& text = text_of(what, header);
    std::uint64_t number = 0;
    const char* const end = text.data() + text.size();
    if (text.empty() || std::from_chars(text.data(), end, number).ptr != end) refuse(what);
    return number;
}

}  // namespace

void journal_state::apply(journal_change&& change) {
    if (change.is_all) *this = journal_state();
    if (change.forget_run != 0) {
        std::erase_if(items, [&](const auto& each) { return each.second.run < change.forget_run; });
        std::erase_if(sinks, [&](const auto& each) { return each.first.second < change.forget_run; });
        std::erase_if(runs, [&](const auto& each) { return each.first < change.forget_run; });
    }
    for (stored_run& each : change.runs) runs[each.number] = std::move(each);
    for (stored_item& each : change.items) {
        std::string name = each.item;
        items[std::move(name)] = std::move(each);
    }
    for (const std::int64_t id : change.gone_letters) letters.erase(id);
    for (stored_letter& each : change.letters) {
        last_letter = std::max(last_letter, each.id);
        letters[each.id] = std::move(each);
    }
    for (const stored_sink& each : change.sinks) sinks[{each.name, each.base}] = each.length;
}

journal_change journal_state::all() const {
    journal_change made;
    made.is_all = true;
    for (const auto& [number, each] : runs) made.runs.push_back(each);
    for (const auto& [name, each] : items) made.items.push_back(each);
    for (const auto& [id, each] : letters) made.letters.push_back(each);
    for (const auto& [name, length] : sinks) made.sinks.push_back({name.first, name.second, length});
    return made;
}

std::vector<message> journal_writer::parts(const std::string& subject, const std::string& bytes,
                                           std::size_t most_bytes) {
    ++changes;
    const std::size_t count = std::max<std::size_t>(1, (bytes.size() + most_bytes - 1) / most_bytes);
    std::vector<message> made;
    for (std::size_t part = 0; part < count; ++part) {
        message one;
        one.subject = subject;
        one.id = fmt::format("{}:{}:{}", name, changes, part + 1);
        one.headers = {{header_version, std::to_string(newest_journal_version)},
                       {header_epoch, std::to_string(epoch)},
                       {header_writer, name},
                       {header_change, std::to_string(changes)},
                       {header_part, std::to_string(part + 1)},
                       {header_parts, std::to_string(count)}};
        one.payload = bytes.substr(part * most_bytes, most_bytes);
        made.push_back(std::move(one));
    }
    return made;
}

std::optional<journal_change> journal_log::take(const message& what) {
    if (const std::uint64_t version = number_of(what, header_version); version > newest_journal_version)
        throw journal_refused(
            fmt::format("the journal has version {}; this leat knows version {} at most: a newer leat "
                        "wrote it",
                        version, newest_journal_version));
    const std::uint64_t epoch = number_of(what, header_epoch);
    const std::string& writer = text_of(what, header_writer);
    const std::uint64_t change = number_of(what, header_change);
    const std::uint64_t part = number_of(what, header_part);
    const std::uint64_t parts = number_of(what, header_parts);
    if (epoch < epoch_) return std::nullopt;
    if (writer != writer_) {
        const bool is_first = writer_.empty();
        if (part != 1 || past_.contains(writer) || (change != 1 && !is_first)) return std::nullopt;
        if (epoch > epoch_) past_.clear();
        past_.insert(std::exchange(writer_, writer));
        epoch_ = epoch;
        changes_ = change - 1;
        parts_ = 0;
        bytes_.clear();
    }
    if (change != changes_ + 1 || part != parts_ + 1) return std::nullopt;
    bytes_ += what.payload;
    if (++parts_ < parts) return std::nullopt;
    ++changes_;
    parts_ = 0;
    const std::string bytes = std::exchange(bytes_, {});
    auto read = decode<journal_change>(bytes);
    if (!read)
        throw std::runtime_error(fmt::format("a change in the journal of the subject '{}' does not decode: {}",
                                             what.subject, read.error().text()));
    return std::move(*read);
}

}  // namespace leat::cluster
