// nats_message: a message of cnats with an owner, how one is made, and what is read from it. For nats_link and what rests on it.
#pragma once

#include <map>
#include <memory>
#include <nats/nats.h>
#include <string>
#include <string_view>

namespace leat::cluster {

struct nats_message_end {
    void operator()(natsMsg* message) const noexcept { natsMsg_Destroy(message); }
};
using nats_message = std::unique_ptr<natsMsg, nats_message_end>;

// What is to be sent; views of what the caller keeps.
struct nats_text {
    std::string_view subject;
    std::string_view payload;
    std::string_view id;                                       // Nats-Msg-Id; empty: none
    const std::map<std::string, std::string>* more = nullptr;  // other headers
};

// Null when memory is short.
[[nodiscard]] nats_message make_message(const nats_text& what, const std::string& reply_to);

[[nodiscard]] inline std::string_view payload_of(const natsMsg& what) noexcept {
    return {natsMsg_GetData(&what), static_cast<std::size_t>(natsMsg_GetDataLength(&what))};
}
[[nodiscard]] inline std::string_view subject_of(const natsMsg& what) noexcept { return natsMsg_GetSubject(&what); }
[[nodiscard]] inline std::string_view reply_of(const natsMsg& what) noexcept {
    const char* const reply = natsMsg_GetReply(&what);
    return reply == nullptr ? std::string_view() : std::string_view(reply);
}
// Empty when there is none. Of cnats, which looks its headers up as late as this: for one thread at a time.
[[nodiscard]] std::string_view header_of(natsMsg& what, const char* key);
// The status of a message that is one, without payload; else 0.
[[nodiscard]] int status_of(natsMsg& what);
// All headers but the id.
[[nodiscard]] std::map<std::string, std::string> headers_of(natsMsg& what);

// Whether messages may be sent to it: tokens of visible characters, without wildcards.
[[nodiscard]] bool is_subject(std::string_view text) noexcept;
// Whether it may be the name or value of a header: no line ends.
[[nodiscard]] bool is_header_text(std::string_view text) noexcept;

}  // namespace leat::cluster
