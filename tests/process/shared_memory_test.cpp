// shared_memory and process_identity: what is attached to is checked first, and the death of a process is known.
#include <leat/process/shared_memory.hpp>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <leat/process/process_identity.hpp>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "forked_child.hpp"

namespace {

using kind = leat::shared_error::kind;
using leat::process_identity;
using leat::shared_memory;
using leat::io::unique_fd;
using leat_test::forked_child;

unique_fd copy_of(int fd) { return unique_fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

kind why_not_attached(unique_fd fd, std::size_t least = 1) {
    const auto memory = shared_memory::attach(std::move(fd), least);
    if (memory) throw std::runtime_error("it was attached to");
    return memory.error().what;
}

TEST(shared_memory, is_zero_in_whole_pages_and_seen_by_another_process) {
    auto memory = shared_memory::create(5000);
    ASSERT_TRUE(memory) << memory.error().message;
    const auto bytes = memory->bytes();
    EXPECT_GE(bytes.size(), 5000U);
    EXPECT_EQ(bytes.size() % 4096, 0U);
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](std::byte each) { return each == std::byte(0); }));
    forked_child child([&] {
        auto theirs = shared_memory::attach(copy_of(memory->fd()), 5000);
        if (!theirs) return 1;
        theirs->bytes()[4999] = std::byte(42);
        return 0;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(bytes[4999], std::byte(42));
}

TEST(shared_memory, its_size_cannot_be_changed) {
    auto memory = shared_memory::create(1);
    ASSERT_TRUE(memory);
    EXPECT_NE(::ftruncate(memory->fd(), 0), 0);
    EXPECT_NE(::ftruncate(memory->fd(), 1 << 20), 0);
    memory->bytes().back() = std::byte(1);
}

TEST(shared_memory, of_no_bytes_or_of_all_is_refused) {
    EXPECT_EQ(shared_memory::create(0).error().what, kind::bad_size);
    EXPECT_EQ(shared_memory::create(SIZE_MAX).error().what, kind::bad_size);
}

TEST(shared_memory, beyond_the_limit_on_files_is_an_error_and_no_signal) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    rlimit low = before;
    low.rlim_cur = 4096;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &low), 0);
    const auto memory = shared_memory::create(1 << 20);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    ASSERT_FALSE(memory);
    EXPECT_EQ(memory.error().what, kind::no_memory);
    EXPECT_EQ(memory.error().code, EFBIG);
    sigset_t waiting;
    ASSERT_EQ(::sigpending(&waiting), 0);
    EXPECT_EQ(::sigismember(&waiting, SIGXFSZ), 0);
}

TEST(shared_memory, an_attach_names_what_is_wrong) {
    EXPECT_EQ(why_not_attached(unique_fd()), kind::not_shared);
    EXPECT_EQ(why_not_attached(unique_fd(::open("/dev/null", O_RDWR | O_CLOEXEC))), kind::not_shared);
    EXPECT_EQ(why_not_attached(unique_fd(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600))), kind::not_shared);
    const auto memory = shared_memory::create(4096);
    ASSERT_TRUE(memory);
    EXPECT_EQ(why_not_attached(copy_of(memory->fd()), 4097), kind::wrong_size);

    unique_fd unsealed(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(::ftruncate(unsealed.get(), 4096), 0);
    EXPECT_EQ(why_not_attached(copy_of(unsealed.get())), kind::not_sealed);
    ASSERT_EQ(::fcntl(unsealed.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
    EXPECT_EQ(why_not_attached(copy_of(unsealed.get())), kind::not_sealed);
    ASSERT_EQ(::fcntl(unsealed.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE), 0);
    EXPECT_EQ(why_not_attached(copy_of(unsealed.get())), kind::not_shared);

    unique_fd empty(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(::fcntl(empty.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    EXPECT_EQ(why_not_attached(std::move(empty)), kind::wrong_size);
}

TEST(process_identity, knows_who_lives_and_is_told_of_the_end) {
    const auto self = process_identity::self();
    EXPECT_TRUE(self.alive());
    EXPECT_EQ(self.pid(), ::getpid());
    EXPECT_FALSE(process_identity().alive());

    forked_child child([] { return ::pause(); });
    const auto other = process_identity::of(child.pid());
    EXPECT_TRUE(other.alive());
    EXPECT_NE(other, self);
    bool ended = true;
    const unique_fd pidfd = other.open(ended);
    EXPECT_FALSE(ended);
    child.kill();
    pollfd one{pidfd.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&one, 1, 30'000), 1);
    EXPECT_FALSE(other.alive()) << "it is a zombie";
    (void)child.wait();
    EXPECT_FALSE(other.alive());
}

TEST(process_identity, a_later_process_with_the_same_id_is_another) {
    const auto self = process_identity::self();
    EXPECT_FALSE(process_identity::from(self.word() - 1).alive()) << "it began a tick earlier";
}

TEST(process_identity, of_a_fork_is_its_own) {
    const auto before = process_identity::self();
    forked_child child([before] { return process_identity::self() == before ? 1 : 0; });
    EXPECT_EQ(child.wait(), 0);
}

}  // namespace
