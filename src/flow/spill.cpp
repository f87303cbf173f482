#include "spill.hpp"

#include <algorithm>
#include <cerrno>
#include <limits>

#include <fmt/format.h>

#include <leat/process/codec.hpp>

namespace leat {

void spill::abandon() noexcept {
    constexpr std::size_t named = 256;
    // Others keep their names themselves.
    if (std::any_of(kept_.begin(), kept_.end(), [](const kept& each) { return each.ack.is_plain(); })) {
        try {
            std::vector<item> first;
            take(first, named);
        } catch (...) {
            kept_.clear();  // without names, then
        }
    }
    kept_.clear();
    files_.clear();
    bytes_ = 0;
}

spill::parcel spill::pack(std::vector<item>& items) const {
    parcel made;
    for (item& each : items) {
        if (kept_.size() + made.sizes.size() >= most_items_ || bytes_ + made.bytes.size() >= most_bytes_) break;
        const std::size_t before = made.bytes.size();
        encode_to(made.bytes, how_.pack(each.value, false));
        const std::size_t size = made.bytes.size() - before;
        if (size > std::numeric_limits<std::uint32_t>::max())
            throw permanent_error(fmt::format("an item of {} bytes, too large to be put down", size));
        made.sizes.push_back(static_cast<std::uint32_t>(size));
    }
    return made;
}

bool spill::stays_in_memory(const parcel& what) const noexcept {
    if (files_.empty()) return what.bytes.size() <= memory_bytes;
    return files_.back().content.fits(what.bytes.size());
}

void spill::put(const parcel& what, std::vector<item>& items) {
    if (files_.empty() || files_.back().content.size() >= file_bytes_) files_.emplace_back();
    files_.back().content.append(what.bytes);
    bytes_ += what.bytes.size();
    for (std::size_t i = 0; i < what.sizes.size(); ++i)
        kept_.push_back({std::move(items[i].ack), items[i].key, items[i].port, what.sizes[i]});
    items.erase(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(what.sizes.size()));
}

void spill::take(std::vector<item>& to, std::size_t most) {
    if (kept_.empty()) return;
    file& from = files_.front();
    const std::uint64_t left = from.content.size() - from.read;
    std::size_t count = 0;
    std::size_t size = 0;
    while (count < std::min(most, kept_.size()) && size + kept_[count].size <= left &&
           (count == 0 || size + kept_[count].size <= taken_bytes))
        size += kept_[count++].size;
    std::string bytes(size, '\0');
    if (from.content.read_at(from.read, bytes) != size) throw spool_error(EIO, "a temporary file has become shorter");
    std::vector<payload> values;
    std::string_view rest = bytes;
    for (std::size_t i = 0; i < count; ++i) {
        auto value = decode<wire_value>(rest.substr(0, kept_[i].size));
        if (!value) throw spool_error(EIO, "a temporary file was changed: " + value.error().text());
        values.push_back(how_.unpack(std::move(*value)));
        rest.remove_prefix(kept_[i].size);
    }
    to.reserve(to.size() + count);
    for (payload& each : values) {
        kept& first = kept_.front();
        item& made = to.emplace_back(std::move(each), std::move(first.ack));
        made.key = first.key;
        made.port = first.port;
        kept_.pop_front();
    }
    bytes_ -= size;
    from.read += size;
    if (from.read == from.content.size()) files_.pop_front();
}

}  // namespace leat
