// libFuzzer's entry to the format of examples/archive: any bytes are damaged, or something that is written as the same bytes.
#include <cstddef>
#include <cstdint>

#include <sys/mman.h>
#include <unistd.h>

#include <archive/body.hpp>
#include <archive/file.hpp>
#include <archive/format.hpp>
#include <leat/base/bug.hpp>

namespace {

void look_at_index(std::string_view bytes) {
    const archive::index all = archive::decode_index(bytes);
    archive::body again;
    for (const archive::entry& each : all.entries) archive::add_entry(again, archive::encode(each));
    if (archive::encode_index(all.chunks, again.entries, again.encoded_entries) != bytes)
        leat::bug("an index is not written as it was read");
}

void look_at_body(std::string_view bytes) {
    const leat::io::unique_fd file(::memfd_create("archive", MFD_CLOEXEC));
    archive::write_all(file.get(), bytes, "archive");
    const archive::body all = archive::read_body(file.get(), bytes.size(), "archive");
    if (all.length > bytes.size() || all.hash.value() != archive::hash_of(bytes.substr(0, all.length)))
        leat::bug("a body is longer than its bytes, or has another hash");
}

}  // namespace

// The first byte chooses what the others are.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    try {
        switch (data[0] % 4) {
            case 0:
                look_at_index(bytes);
                break;
            case 1:
                if (archive::encode(archive::decode_entry(bytes)) != bytes)
                    leat::bug("an entry is not written as it was read");
                break;
            case 2:
                if (archive::encode(archive::decode_trailer(bytes)) != bytes)
                    leat::bug("a trailer is not written as it was read");
                break;
            default:
                look_at_body(std::string(archive::header) + std::string(bytes));
                break;
        }
    } catch (const archive::damaged&) {  // as it should be
    }
    return 0;
}
