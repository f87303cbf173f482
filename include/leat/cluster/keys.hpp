// keys: what the users and servers of an engine prove themselves by, made anew. Nkeys: an Ed25519 key as nats-server reads it,
// of which the server's configuration holds the public half alone. Certificates: an authority of our own and servers that it
// has signed, in PEM (P-256), for TLS between all of them. Used by server_config.hpp.
//
// All of it throws std::runtime_error when the cryptographic library cannot do it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace leat::cluster {

struct nkey {
    std::string seed;        // SU…, the secret
    std::string public_key;  // U…
    // The content of a file that engine addresses name: a line each.
    [[nodiscard]] std::string to_file() const { return seed + '\n' + public_key + '\n'; }
};
[[nodiscard]] nkey make_user_nkey();
// Nothing when the seed is none of a user, or was written down wrong.
[[nodiscard]] std::optional<nkey> user_nkey_of(std::string_view seed);

struct certificate {
    std::string pem;
    std::string key_pem;  // the secret
};
[[nodiscard]] certificate make_authority(const std::string& name, unsigned days);
// For a server that is reached under these names and addresses.
[[nodiscard]] certificate make_server_certificate(const certificate& authority, const std::vector<std::string>& hosts,
                                                  unsigned days);

}  // namespace leat::cluster
