#include <leat/process/shared_array.hpp>

#include <fcntl.h>
#include <fmt/format.h>

namespace leat::detail {

namespace {

constexpr std::uint64_t magic = 0x7961'7261'7461'656cU;  // "leataray"

struct array_header {
    std::uint64_t magic;
    std::uint64_t element_bytes;
    std::uint64_t count;
};
static_assert(sizeof(array_header) <= shared_array_header);

using kind = shared_error::kind;

}  // namespace

expected<shared_memory, shared_error> create_shared_array(std::size_t count, std::size_t element_bytes) {
    if (count == 0 || count > (SIZE_MAX - shared_array_header) / element_bytes)
        return unexpected(
            shared_error(kind::bad_size, 0, fmt::format("there is no shared array of {} elements", count)));
    auto memory = shared_memory::create(shared_array_header + count * element_bytes);
    if (!memory) return memory;
    const array_header header{magic, element_bytes, count};
    std::memcpy(memory->bytes().data(), &header, sizeof header);
    return memory;
}

expected<shared_memory, shared_error> attach_shared_array(int fd, std::size_t element_bytes, std::size_t& count) {
    auto memory = shared_memory::attach(io::unique_fd(fd), shared_array_header);
    if (!memory) return memory;
    ::fcntl(memory->fd(), F_SETFD, FD_CLOEXEC);
    array_header header{};
    std::memcpy(&header, memory->bytes().data(), sizeof header);
    if (header.magic != magic || header.count == 0)
        return unexpected(
            shared_error(kind::wrong_kind, 0, fmt::format("the memory of descriptor {} is no shared array", fd)));
    if (header.element_bytes != element_bytes)
        return unexpected(shared_error(kind::wrong_kind, 0,
                                       fmt::format("the shared array of descriptor {} has elements of {} bytes, not {}",
                                                   fd, header.element_bytes, element_bytes)));
    if (header.count > (memory->bytes().size() - shared_array_header) / element_bytes)
        return unexpected(shared_error(
            kind::wrong_size, 0,
            fmt::format("the shared array of descriptor {} says that it has {} elements, which its memory has not", fd,
                        header.count)));
    count = header.count;
    return memory;
}

}  // namespace leat::detail
