// engine_url: the address of the engine as a user writes it, in --engine and in flow files; what may be connected to, and as whom.
//
//     nats://127.0.0.1:4222
//     tls://n1.example.org,n2.example.org?ca=ca.pem&nkey=worker.nk
//
// One scheme for all: tls://, whose certificates are verified with the names of their hosts, or nats://, which is without TLS and
// so for loopback alone. Each host may have a port (4222) and, as a list that another program prints, the scheme again. Who
// connects is named by reference: what is secret stands in a file, never here, where lists of processes and logs show it.
//
//     USER@              a name, with password-file=FILE
//     nkey=FILE          the seed of an nkey (SU…)
//     credentials=FILE   a JWT and its seed, as nsc writes them
//     ca=FILE            who signs the servers' certificates; without it whom the system trusts
//     certificate=FILE   our own, with key=FILE, where the servers ask for one
//     inbox=PREFIX       the subjects that answers come to (_INBOX)
//     synced=yes         the operator's word that the servers run with sync_interval: always, which no server tells
//
// In values and names '%2F' is as in other URLs. Pure: opens nothing but in check_files() and read_secret().
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <leat/base/expected.hpp>

namespace leat::cluster {

struct engine_url {
    std::vector<std::string> servers;  // "tls://host:4222" each, one at least, all with the same scheme
    bool tls = false;
    std::string user, password_file;
    std::string nkey_file;
    std::string credentials_file;
    std::string ca_file, certificate_file, key_file;
    std::string inbox;
    bool operator_says_synced = false;

    // The servers, with commas; for messages.
    [[nodiscard]] std::string to_text() const;
};

struct engine_url_error {
    std::string text;  // a sentence for the user
};

[[nodiscard]] expected<engine_url, engine_url_error> parse_engine_url(std::string_view text);

// Whether the files that it names can be read, and those that are secret only by their owner and group. Their content is not
// looked at. Blocks.
[[nodiscard]] expected<engine_url, engine_url_error> check_files(engine_url url);

// The content of such a file without the line end behind it. Blocks.
[[nodiscard]] expected<std::string, engine_url_error> read_secret(const std::string& file);

}  // namespace leat::cluster
