#include <leat/cluster/keys.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <span>
#include <stdexcept>

namespace leat::cluster {

namespace {

template <auto Free>
struct freeing {
    template <class T>
    void operator()(T* what) const noexcept {
        Free(what);
    }
};
using bio_ptr = std::unique_ptr<BIO, freeing<BIO_free_all>>;
using key_ptr = std::unique_ptr<EVP_PKEY, freeing<EVP_PKEY_free>>;
using x509_ptr = std::unique_ptr<X509, freeing<X509_free>>;
using bignum_ptr = std::unique_ptr<BIGNUM, freeing<BN_free>>;
using extension_ptr = std::unique_ptr<X509_EXTENSION, freeing<X509_EXTENSION_free>>;
using name_ptr = std::unique_ptr<X509_NAME, freeing<X509_NAME_free>>;

[[noreturn]] void fail(const char* what) {
    std::array<char, 256> text{};
    ERR_error_string_n(ERR_get_error(), text.data(), text.size());
    throw std::runtime_error(std::string("making keys: ") + what + ": " + text.data());
}
template <class T>
T checked(T what, const char* doing) {
    if (!what) fail(doing);
    return what;
}

// --- Nkeys ---

constexpr std::size_t raw_size = 32;
constexpr std::uint8_t seed_prefix = 18 << 3;  // 'S' as the first letter in base 32
constexpr std::uint8_t user_prefix = 20 << 3;  // 'U'
constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
using raw_key = std::array<std::uint8_t, raw_size>;

std::uint16_t crc16(std::span<const std::uint8_t> bytes) {  // XMODEM's
    std::uint16_t crc = 0;
    for (const std::uint8_t each : bytes) {
        crc = static_cast<std::uint16_t>(crc ^ (each << 8));
        for (int bit = 0; bit < 8; ++bit)
            crc = static_cast<std::uint16_t>((crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
    return crc;
}

// In base 32 with the checksum behind it.
std::string encoded(std::vector<std::uint8_t> bytes) {
    const std::uint16_t crc = crc16(bytes);
    bytes.push_back(static_cast<std::uint8_t>(crc & 0xff));
    bytes.push_back(static_cast<std::uint8_t>(crc >> 8));
    std::string text;
    std::uint32_t held = 0;
    unsigned bits = 0;
    for (const std::uint8_t each : bytes) {
        held = held << 8 | each;
        for (bits += 8; bits >= 5; bits -= 5) text += digits[held >> (bits - 5) & 31];
        held &= (1U << bits) - 1;
    }
    if (bits > 0) text += digits[held << (5 - bits) & 31];
    OPENSSL_cleanse(bytes.data(), bytes.size());
    return text;
}

// Without the checksum, which is right.
std::optional<std::vector<std::uint8_t>> decoded(std::string_view text) {
    std::vector<std::uint8_t> bytes;
    std::uint32_t held = 0;
    unsigned bits = 0;
    for (const char each : text) {
        const std::size_t digit = digits.find(each);
        if (digit == std::string_view::npos) return std::nullopt;
        held = held << 5 | static_cast<std::uint32_t>(digit);
        if ((bits += 5) < 8) continue;
        bits -= 8;
        bytes.push_back(static_cast<std::uint8_t>(held >> bits));
        held &= (1U << bits) - 1;
    }
    if (bytes.size() < 2 || held != 0 || bits >= 5) return std::nullopt;
    const auto crc = static_cast<std::uint16_t>(bytes[bytes.size() - 2] | bytes.back() << 8);
    bytes.resize(bytes.size() - 2);
    if (crc16(bytes) != crc) return std::nullopt;
    return bytes;
}

nkey nkey_of(const raw_key& secret) {
    const key_ptr key(checked(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, secret.data(), secret.size()),
                              "a key from a seed"));
    raw_key open{};
    std::size_t size = open.size();
    if (EVP_PKEY_get_raw_public_key(key.get(), open.data(), &size) != 1 || size != open.size()) fail("a public key");
    std::vector<std::uint8_t> seed{seed_prefix | user_prefix >> 5, (user_prefix & 31) << 3};
    seed.insert(seed.end(), secret.begin(), secret.end());
    std::vector<std::uint8_t> shown{user_prefix};
    shown.insert(shown.end(), open.begin(), open.end());
    return {encoded(std::move(seed)), encoded(std::move(shown))};
}

// --- Certificates ---

key_ptr make_key() { return key_ptr(checked(EVP_EC_gen("P-256"), "a key")); }

bio_ptr reader_of(const std::string& text) {
    return bio_ptr(checked(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), "reading PEM"));
}
bio_ptr writer() { return bio_ptr(checked(BIO_new(BIO_s_mem()), "writing PEM")); }
std::string text_of(const bio_ptr& written) {
    char* text = nullptr;
    const long size = BIO_get_mem_data(written.get(), &text);
    return {text, static_cast<std::size_t>(size)};
}

void add_extension(X509* to, X509* issuer, int kind, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, to, nullptr, nullptr, 0);
    const extension_ptr extension(checked(X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()), value.c_str()));
    if (X509_add_ext(to, extension.get(), -1) != 1) fail(value.c_str());
}

// Without signature and extensions.
x509_ptr begin_certificate(EVP_PKEY* key, const std::string& name, const X509_NAME* issuer, unsigned days) {
    x509_ptr made(checked(X509_new(), "a certificate"));
    const bignum_ptr number(checked(BN_new(), "a number"));
    const name_ptr subject(checked(X509_NAME_new(), "a name"));
    constexpr int number_bits = 127;       // within the 20 bytes that a serial number may have
    constexpr long for_clocks = 60 * 60L;  // that are behind ours
    if (BN_rand(number.get(), number_bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) != 1 ||
        BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(made.get())) == nullptr ||
        X509_set_version(made.get(), X509_VERSION_3) != 1 ||
        X509_gmtime_adj(X509_getm_notBefore(made.get()), -for_clocks) == nullptr ||
        X509_time_adj_ex(X509_getm_notAfter(made.get()), static_cast<int>(days), 0, nullptr) == nullptr ||
        X509_NAME_add_entry_by_txt(subject.get(), "CN", MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>(name.data()), static_cast<int>(name.size()),
                                   -1, 0) != 1 ||
        X509_set_subject_name(made.get(), subject.get()) != 1 ||
        X509_set_issuer_name(made.get(), issuer != nullptr ? issuer : subject.get()) != 1 ||
        X509_set_pubkey(made.get(), key) != 1)
        fail("a certificate");
    return made;
}

certificate signed_by(EVP_PKEY* authority, const x509_ptr& what, EVP_PKEY* key) {
    if (X509_sign(what.get(), authority, EVP_sha256()) == 0) fail("signing a certificate");
    const bio_ptr pem = writer(), key_pem = writer();
    if (PEM_write_bio_X509(pem.get(), what.get()) != 1 ||
        PEM_write_bio_PKCS8PrivateKey(key_pem.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
        fail("writing PEM");
    return {text_of(pem), text_of(key_pem)};
}

bool is_address(const std::string& host) {
    return host.find(':') != std::string::npos || host.find_first_not_of("0123456789.") == std::string::npos;
}

}  // namespace

nkey make_user_nkey() {
    raw_key secret{};
    if (RAND_priv_bytes(secret.data(), static_cast<int>(secret.size())) != 1) fail("random bytes");
    nkey made = nkey_of(secret);
    OPENSSL_cleanse(secret.data(), secret.size());
    return made;
}

std::optional<nkey> user_nkey_of(std::string_view seed) {
    const auto bytes = decoded(seed);
    if (!bytes || bytes->size() != raw_size + 2) return std::nullopt;
    if ((*bytes)[0] != (seed_prefix | user_prefix >> 5) || (*bytes)[1] != (user_prefix & 31) << 3) return std::nullopt;
    raw_key secret{};
    std::copy(bytes->begin() + 2, bytes->end(), secret.begin());
    return nkey_of(secret);
}

certificate make_authority(const std::string& name, unsigned days) {
    const key_ptr key = make_key();
    const x509_ptr made = begin_certificate(key.get(), name, nullptr, days);
    add_extension(made.get(), made.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    add_extension(made.get(), made.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
    add_extension(made.get(), made.get(), NID_subject_key_identifier, "hash");
    return signed_by(key.get(), made, key.get());
}

certificate make_server_certificate(const certificate& authority, const std::vector<std::string>& hosts,
                                    unsigned days) {
    const bio_ptr pem = reader_of(authority.pem), key_pem = reader_of(authority.key_pem);
    const x509_ptr issuer(
        checked(PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr), "the authority's certificate"));
    const key_ptr issuer_key(
        checked(PEM_read_bio_PrivateKey(key_pem.get(), nullptr, nullptr, nullptr), "the authority's key"));
    const key_ptr key = make_key();
    std::string names;
    for (const std::string& each : hosts) {
        if (each.find_first_of(",;=\n\"'\\") != std::string::npos)
            throw std::runtime_error("no name of a host: " + each);
        names += (names.empty() ? "" : ",") + std::string(is_address(each) ? "IP:" : "DNS:") + each;
    }
    // The subject's name is for people, who is meant stands in the extension.
    const x509_ptr made = begin_certificate(key.get(), hosts.empty() ? "server" : hosts.front().substr(0, 64),
                                            X509_get_subject_name(issuer.get()), days);
    add_extension(made.get(), issuer.get(), NID_basic_constraints, "critical,CA:FALSE");
    add_extension(made.get(), issuer.get(), NID_key_usage, "critical,digitalSignature");
    add_extension(made.get(), issuer.get(), NID_ext_key_usage, "serverAuth,clientAuth");  // a route is both
    add_extension(made.get(), issuer.get(), NID_subject_alt_name, names);
    add_extension(made.get(), issuer.get(), NID_authority_key_identifier, "keyid");
    return signed_by(issuer_key.get(), made, key.get());
}

}  // namespace leat::cluster
