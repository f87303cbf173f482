// shared_memory: memory that several processes see at once. It has no name in any file system: a process passes it on by
// descriptor (spawn_options::pass, or a Unix socket), and it is gone with its last holder, however that ended.
//
//   auto memory = leat::shared_memory::create(1 << 20);              // here
//   options.pass.emplace_back(memory->fd(), 3);
//   auto memory = leat::shared_memory::attach(leat::io::unique_fd(3), 1 << 20);   // in the child
//
// Its size is sealed: nobody can change it, so what is mapped stays there, and no peer, hostile or broken, can bring SIGBUS
// on another by cutting it. What the bytes say is another matter: whoever maps it may write them at any time.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include <leat/base/expected.hpp>
#include <leat/io/unique_fd.hpp>

namespace leat {

// Why something shared between processes could not be made or attached to.
struct shared_error {
    enum class kind : unsigned char {
        bad_size,    // zero, or more than this machine can address
        no_memory,   // the memory is not there, or no descriptor is left: worth another try later
        not_shared,  // the descriptor is not open, or not of memory made by create()
        not_sealed,  // it is, and somebody could still change its size
        wrong_size,  // it is smaller or larger than what it is said to be
        wrong_kind,  // it holds something else, or that of another version, or nonsense
        taken,       // another process, which is alive, holds this place
        refused,     // anything else the system said no to
    };
    shared_error(kind what_, int code_, std::string message_)
        : what(what_), code(code_), message(std::move(message_)) {}

    kind what;
    int code;             // errno, or 0
    std::string message;  // one sentence for a person
};

// Owns a mapping and its descriptor. Different objects may be used by different threads.
class shared_memory {
public:
    // Makes memory of `bytes` bytes, all zero, rounded up to whole pages. All of it is taken now: that there is too little is
    // an error here, and nothing later. The descriptor is close-on-exec. Throws only bad_alloc.
    [[nodiscard]] static expected<shared_memory, shared_error> create(std::size_t bytes);
    // Maps memory that another process made, and takes the descriptor over (also when it fails). `least`: what must be there.
    // Looks at the kind of memory, its seals and its size before anything is touched. Throws only bad_alloc.
    [[nodiscard]] static expected<shared_memory, shared_error> attach(io::unique_fd fd, std::size_t least = 1);

    shared_memory(shared_memory&& other) noexcept
        : fd_(std::move(other.fd_)), bytes_(std::exchange(other.bytes_, {})) {}
    shared_memory& operator=(shared_memory&& other) noexcept {
        std::swap(fd_, other.fd_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~shared_memory();

    // The memory, at an address of this process's own choice: pointers into it mean nothing to others.
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
    // To pass on. Open as long as this lives.
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

private:
    shared_memory(io::unique_fd fd, std::span<std::byte> bytes) noexcept : fd_(std::move(fd)), bytes_(bytes) {}
    io::unique_fd fd_;
    std::span<std::byte> bytes_;
};

}  // namespace leat
