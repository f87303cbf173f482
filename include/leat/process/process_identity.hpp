// process_identity: names a process for as long as the machine runs, in one word that fits into shared memory: its id, which
// the system gives to others later, with the time at which it began. Between processes that see the same ids (one pid
// namespace). Used by what is shared between processes to tell that a holder has died.
#pragma once

#include <cstdint>
#include <sys/types.h>

#include <leat/io/unique_fd.hpp>

namespace leat {

class process_identity {
public:
    // Nobody.
    constexpr process_identity() noexcept = default;
    // The calling process; also right in a fork of the one that asked before.
    [[nodiscard]] static process_identity self() noexcept;
    // The process that has this id now; nobody when there is none.
    [[nodiscard]] static process_identity of(pid_t pid) noexcept;
    // What word() gave.
    [[nodiscard]] static constexpr process_identity from(std::uint64_t word) noexcept { return process_identity(word); }

    [[nodiscard]] constexpr std::uint64_t word() const noexcept { return word_; }  // 0: nobody
    [[nodiscard]] constexpr pid_t pid() const noexcept { return static_cast<pid_t>(word_ >> start_bits); }
    // Whether it runs: it is neither gone nor a zombie. False for nobody.
    [[nodiscard]] bool alive() const noexcept;
    // A pidfd, readable when the process ends, close-on-exec. None when it has ended, or no descriptor is left: then `ended` is
    // false.
    [[nodiscard]] io::unique_fd open(bool& ended) const noexcept;

    friend constexpr bool operator==(process_identity, process_identity) noexcept = default;

private:
    // Ids have at most 22 bits (PID_MAX_LIMIT); 42 bits of hundredths of a second are 1,400 years.
    static constexpr unsigned start_bits = 42;
    constexpr explicit process_identity(std::uint64_t word) noexcept : word_(word) {}
    std::uint64_t word_ = 0;  // the id, then the time of its start since the machine's
};

// Whether the process of a pidfd has ended, waited for or not.
[[nodiscard]] bool has_ended(int pidfd) noexcept;

}  // namespace leat
