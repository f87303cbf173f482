#include "nats_message.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace leat::cluster {

namespace {

constexpr const char* id_header = "Nats-Msg-Id";

}  // namespace

nats_message make_message(const nats_text& what, const std::string& reply_to) {
    const std::string subject(what.subject);
    natsMsg* made = nullptr;
    if (natsMsg_Create(&made, subject.c_str(), reply_to.empty() ? nullptr : reply_to.c_str(), what.payload.data(),
                       static_cast<int>(what.payload.size())) != NATS_OK)
        return nullptr;
    nats_message owned(made);
    if (!what.id.empty() && natsMsgHeader_Set(made, id_header, std::string(what.id).c_str()) != NATS_OK) return nullptr;
    if (what.more != nullptr)
        for (const auto& [key, value] : *what.more)
            if (natsMsgHeader_Set(made, key.c_str(), value.c_str()) != NATS_OK) return nullptr;
    return owned;
}

std::string_view header_of(natsMsg& what, const char* key) {
    const char* value = nullptr;
    if (natsMsgHeader_Get(&what, key, &value) != NATS_OK || value == nullptr) return {};
    return value;
}

int status_of(natsMsg& what) {
    if (natsMsg_GetDataLength(&what) != 0) return 0;
    const std::string_view text = header_of(what, "Status");
    int status = 0;
    std::from_chars(text.data(), text.data() + text.size(), status);
    return status;
}

std::map<std::string, std::string> headers_of(natsMsg& what) {
    std::map<std::string, std::string> all;
    const char** keys = nullptr;
    int count = 0;
    if (natsMsgHeader_Keys(&what, &keys, &count) != NATS_OK) return all;
    for (int i = 0; i < count; ++i)
        if (std::string_view(keys[i]) != id_header) all.emplace(keys[i], header_of(what, keys[i]));
    std::free(static_cast<void*>(keys));  // the array alone is the caller's
    return all;
}

bool is_subject(std::string_view text) noexcept {
    bool at_start = true;  // of a token
    for (const char each : text) {
        if (each == '.') {
            if (at_start) return false;
            at_start = true;
            continue;
        }
        if (static_cast<unsigned char>(each) <= ' ' || each == '\x7f' || each == '*' || each == '>') return false;
        at_start = false;
    }
    return !at_start;
}

bool is_header_text(std::string_view text) noexcept {
    return std::none_of(text.begin(), text.end(),
                        [](char each) { return each == '\r' || each == '\n' || each == '\0'; });
}

}  // namespace leat::cluster
