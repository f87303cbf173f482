// sandbox: what a child may not do, enforced by the kernel from before its program begins, on it and on all that it starts.
// Needs no rights and no other program. Used through spawn_options::sandbox.
//
//   options.sandbox.emplace();
//   options.sandbox->paths = leat::sandbox_need::required;
//   options.sandbox->add_system_files();
//   options.sandbox->read = {"in"};
//   options.sandbox->write = {"out"};
//   options.sandbox->no_network = leat::sandbox_need::required;
//
// The layers:
//  1. No new privileges, always: what is set-uid, set-gid or has file capabilities runs with the rights of who calls it.
//  2. Paths (Landlock): files are opened, listed, executed, made, renamed and removed below the named paths alone. Part of it
//     on kernels before 6.2, where a file elsewhere can still be cut with truncate(). What is not covered: asking what is
//     there (stat), changing modes and owners, the working directory, local sockets that are files; and descriptors that the
//     child was given.
//  3. No network: a seccomp filter refuses sockets of all families but local ones (AF_UNIX) with EACCES, io_uring, and
//     programs for another architecture; for x86-64 and arm64. Landlock refuses TCP beside it, on Linux 6.7 and newer, and is
//     a part of the layer where there is no filter. Sockets that the child was given stay.
//  4. Limits (spawn_options::limits), which are always in force where they were asked for.
// This is a fence for programs that are trusted not to attack the kernel; no prison for hostile ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace leat {

enum class sandbox_need : unsigned char {
    none,         // the layer is not wanted
    best_effort,  // as far as this kernel can
    required,     // as a whole, or the child is not started
};

struct sandbox {
    sandbox() {}

    sandbox_need paths = sandbox_need::none;
    // Files, or directories with all below them, as they are when the child is started; relative ones count from the working
    // directory of this process. One that does not exist is an error. The program itself may always be executed.
    std::vector<std::string> read;     // files may be read, directories listed
    std::vector<std::string> execute;  // that, and files executed
    std::vector<std::string> write;    // read, listed, and whatever changes files and directories; not executed
    sandbox_need no_network = sandbox_need::none;

    // Adds what ordinary programs need of the system, as far as it is there: programs and libraries (/usr, /bin, /lib …),
    // the files of /etc that describe them, users, names and time, and /dev/null and its like.
    void add_system_files();
};

// What this kernel can do for a child of this thread.
struct sandbox_support {
    sandbox_support() {}
    int landlock = 0;            // the version of Landlock: 1 with Linux 5.13, 3 with 6.2, 4 with 6.7; 0: none
    bool socket_filter = false;  // seccomp filters, on an architecture that ours are written for
};
// Some system calls, which change nothing. Any thread.
[[nodiscard]] sandbox_support find_sandbox_support() noexcept;

enum class sandbox_effect : unsigned char {
    not_asked,
    missing,  // this kernel cannot
    partial,  // this kernel cannot do all of it
    whole,
};

// What is in force for a child.
struct sandbox_report {
    sandbox_report() {}
    sandbox_effect no_new_privileges = sandbox_effect::not_asked;
    sandbox_effect paths = sandbox_effect::not_asked;
    sandbox_effect no_network = sandbox_effect::not_asked;
    sandbox_effect limits = sandbox_effect::not_asked;

    // One line for a person: "no new privileges, paths in part (…), no network, limits"; "none" where nothing was asked.
    [[nodiscard]] std::string text() const;
};

// What would be in force on a kernel that can do this much, with `limited` for a child with limits.
[[nodiscard]] sandbox_report sandbox_report_for(const sandbox& wanted, const sandbox_support& support,
                                                bool limited = false) noexcept;

// Empty when a child with this sandbox could be started; else what is missing, in one sentence: a required layer, or a path.
[[nodiscard]] std::string why_no_sandbox(const sandbox& wanted,
                                         const sandbox_support& support = find_sandbox_support());

}  // namespace leat
