// sandbox: what a sandboxed child can and cannot do, and what is said where the kernel cannot do it.
#include <leat/process/command.hpp>
#include <leat/runtime/run.hpp>

#include <child_output.hpp>
#include <cstddef>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <thread>

namespace {

namespace fs = std::filesystem;
using leat::sandbox_effect;
using leat::sandbox_need;
using leat_test::pipe_pair;
using testing::HasSubstr;
using kind = leat::spawn_error::kind;

// A folder with a file `in/text` and an empty folder `out`.
class scratch_folder {
public:
    scratch_folder() {
        std::string pattern = (fs::temp_directory_path() / "leat-sandbox-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) std::abort();
        path_ = pattern;
        fs::create_directory(path_ / "in");
        fs::create_directory(path_ / "out");
        std::ofstream(path_ / "in/text") << "text\n";
    }
    scratch_folder(const scratch_folder&) = delete;
    scratch_folder& operator=(const scratch_folder&) = delete;
    ~scratch_folder() { fs::remove_all(path_); }
    std::string operator/(const std::string& name) const { return (path_ / name).string(); }

private:
    fs::path path_;
};

leat::spawn_options sandboxed(std::vector<std::string> argv) {
    leat::spawn_options options(std::move(argv));
    options.sandbox.emplace();
    options.sandbox->add_system_files();
    options.err = leat::child_stdio::null();
    return options;
}
leat::spawn_options in_paths_of(const scratch_folder& folder, const std::string& script) {
    leat::spawn_options options = sandboxed({"sh", "-c", script, folder / ""});
    options.sandbox->paths = sandbox_need::required;
    options.sandbox->read.push_back(folder / "in");
    options.sandbox->write.push_back(folder / "out");
    return options;
}
leat::spawn_options without_network(const std::string& python) {
    leat::spawn_options options = sandboxed({"python3", "-c", python});
    options.sandbox->no_network = sandbox_need::required;
    return options;
}

std::string output_of(leat::spawn_options options) {
    pipe_pair out;
    options.out = leat::child_stdio::descriptor(out.writer());
    auto child = leat::spawn(options);
    if (!child) return child.error().message;
    std::string text = out.read_all();
    child->wait();
    return text;
}

bool has_landlock() { return leat::find_sandbox_support().landlock >= 3; }
bool has_filters() { return leat::find_sandbox_support().socket_filter; }

#define LEAT_NEEDS(what) \
    if (!(what)) GTEST_SKIP() << "this kernel cannot"

// Runs the body on a thread for which each of the system calls is unknown, as on an older kernel.
template <class Body>
void without_system_calls(std::initializer_list<long> calls, Body body) {
    std::thread([&] {
        std::vector<sock_filter> filter{{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)}};
        for (const long call : calls) {
            filter.push_back({BPF_JMP | BPF_JEQ | BPF_K, 0, 1, static_cast<std::uint32_t>(call)});
            filter.push_back({BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | ENOSYS});
        }
        filter.push_back({BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW});
        const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
        ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        ASSERT_EQ(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), 0);
        body();
    }).join();
}
constexpr long landlock_create_ruleset = 444;

TEST(sandbox, a_child_gets_no_new_privileges) {
    EXPECT_EQ(output_of(sandboxed({"grep", "NoNewPrivs", "/proc/self/status"})), "NoNewPrivs:\t1\n");
    EXPECT_EQ(output_of(leat::spawn_options({"grep", "NoNewPrivs", "/proc/self/status"})), "NoNewPrivs:\t0\n")
        << "one without a sandbox keeps them, and so does this process";
}

TEST(sandbox, a_child_reads_and_writes_below_the_named_paths_alone) {
    LEAT_NEEDS(has_landlock());
    const scratch_folder folder;
    std::ofstream(folder / "secret") << "secret\n";
    const auto says = [&folder](const std::string& script) { return output_of(in_paths_of(folder, script)); };
    EXPECT_EQ(says("cat $0/in/text && echo new > $0/out/new && mkdir $0/out/d && mv $0/out/new $0/out/d && "
                   "cat $0/out/d/new && rm -r $0/out/d && echo done"),
              "text\nnew\ndone\n");
    EXPECT_EQ(says("cat $0/secret || echo refused"), "refused\n");
    EXPECT_EQ(says("ls $0 || echo refused"), "refused\n");
    EXPECT_EQ(says("echo x > $0/in/text || echo refused"), "refused\n");
    EXPECT_EQ(says("rm $0/in/text || echo refused"), "refused\n");
    EXPECT_EQ(says("truncate -s 0 $0/secret || echo refused"), "refused\n");
    EXPECT_EQ(says("mv $0/in/text $0/out || echo refused"), "refused\n");
    EXPECT_EQ(says("cp /bin/true $0/out/true && { $0/out/true || echo refused; }"), "refused\n");
    EXPECT_EQ(says("sh -c 'cat $0/secret || echo refused' $0"), "refused\n") << "its children are held to it, too";
    EXPECT_EQ(says("echo gone > /dev/null && echo done"), "done\n");
    EXPECT_TRUE(fs::exists(folder / "in/text"));
    EXPECT_EQ(fs::file_size(folder / "secret"), 7u);
}

TEST(sandbox, an_unnamed_path_is_refused_with_eacces) {
    LEAT_NEEDS(has_landlock());
    const scratch_folder folder;
    std::ofstream(folder / "secret") << "secret\n";
    EXPECT_THAT(output_of(in_paths_of(folder, "LC_ALL=C cat $0/secret 2>&1")), HasSubstr("secret: Permission denied"));
}

TEST(sandbox, a_program_outside_the_paths_runs_when_it_is_the_command_and_a_script_where_its_interpreter_may) {
    LEAT_NEEDS(has_landlock());
    const scratch_folder folder;
    std::ofstream(folder / "script") << "#!/bin/sh\necho ran\n";
    fs::permissions(folder / "script", fs::perms::owner_all);
    leat::spawn_options options = sandboxed({folder / "script"});
    options.sandbox->paths = sandbox_need::required;
    EXPECT_EQ(output_of(options), "ran\n");
    options.sandbox->execute.clear();
    const auto child = leat::spawn(options);
    ASSERT_FALSE(child);
    EXPECT_EQ(child.error().what, kind::not_executable);
    EXPECT_THAT(child.error().message, HasSubstr("sandbox"));
}

TEST(sandbox, descriptors_that_are_passed_stay_whatever_their_number) {
    LEAT_NEEDS(has_landlock());
    const scratch_folder folder;
    pipe_pair in;
    leat::spawn_options options = in_paths_of(folder, "for i in 3 4 5 6 7 8 9; do eval \"cat <&$i\"; done");
    ASSERT_EQ(::write(in.writer(), "through\n", 8), 8);
    in.close_writer();
    for (int there = 3; there != 10; ++there) options.pass.emplace_back(in.reader(), there);
    EXPECT_EQ(output_of(options), "through\n");
}

TEST(sandbox, without_network_there_are_local_sockets_alone) {
    LEAT_NEEDS(has_filters());
    EXPECT_EQ(output_of(without_network(R"(
import socket
for family in ('AF_INET', 'AF_INET6', 'AF_NETLINK', 'AF_PACKET', 'AF_VSOCK'):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            socket.socket(getattr(socket, family), kind)
            print(family, kind)
        except PermissionError as e:
            assert e.errno == 13, e
socket.socket(socket.AF_UNIX)
a, b = socket.socketpair()
print('done')
)")),
              "done\n");
}

TEST(sandbox, the_layers_do_not_reach_this_process) {
    LEAT_NEEDS(has_landlock() && has_filters());
    const scratch_folder folder;
    leat::spawn_options options = in_paths_of(folder, "true");
    options.sandbox->no_network = sandbox_need::required;
    ASSERT_TRUE(leat::spawn(options));
    EXPECT_TRUE(std::ifstream(folder / "in/text").good());
    const int made = ::socket(AF_INET, SOCK_DGRAM, 0);
    EXPECT_GE(made, 0);
    ::close(made);
    EXPECT_EQ(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
}

TEST(sandbox, the_report_lists_the_layers_in_force) {
    LEAT_NEEDS(has_landlock() && has_filters());
    const scratch_folder folder;
    leat::command_options options(in_paths_of(folder, "echo ran"));
    options.child.sandbox->no_network = sandbox_need::best_effort;
    options.child.limits.open_files = 50;
    const leat::command_result done = leat::run(&leat::run_command, std::move(options));
    EXPECT_EQ(done.out.text(), "ran\n");
    EXPECT_EQ(done.sandboxed.text(), "no new privileges, paths, no network, limits");
    EXPECT_EQ(leat::run(&leat::run_command, leat::command_options({"true"})).sandboxed.text(), "none");
}

TEST(sandbox, a_layer_that_the_kernel_has_not_got_is_refused_where_it_is_required_and_told_of_where_it_is_not) {
    LEAT_NEEDS(has_filters());
    const scratch_folder folder;
    without_system_calls({landlock_create_ruleset}, [&folder] {
        leat::spawn_options options = in_paths_of(folder, "cat $0/in/text");
        const auto refused = leat::spawn(options);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().what, kind::no_sandbox);
        EXPECT_THAT(refused.error().message, HasSubstr("this kernel has no Landlock"));
        options.sandbox->paths = sandbox_need::best_effort;
        options.out = leat::child_stdio::null();
        auto child = leat::spawn(options);
        ASSERT_TRUE(child) << child.error().message;
        EXPECT_TRUE(child->wait().success());
        EXPECT_EQ(child->sandboxed().paths, sandbox_effect::missing);
        EXPECT_EQ(child->sandboxed().text(), "no new privileges, paths not enforced (this kernel has no Landlock)");
    });
}

TEST(sandbox, without_socket_filters_landlock_refuses_tcp_and_that_is_told_to_be_a_part) {
    LEAT_NEEDS(has_filters() && leat::find_sandbox_support().landlock >= 4);
    without_system_calls({SYS_seccomp}, [] {
        leat::spawn_options options = without_network(
            "import socket\ntry: socket.socket().bind(('127.0.0.1', 0))\nexcept PermissionError: print('refused')");
        const auto refused = leat::spawn(options);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().what, kind::no_sandbox);
        EXPECT_THAT(refused.error().message, HasSubstr("network"));
        options.sandbox->no_network = sandbox_need::best_effort;
        EXPECT_EQ(output_of(options), "refused\n");
    });
}

TEST(sandbox, what_each_kernel_can_do_is_known_before_anything_is_started) {
    leat::sandbox wanted;
    wanted.paths = sandbox_need::required;
    leat::sandbox_support support;
    support.landlock = 2;
    EXPECT_THAT(leat::why_no_sandbox(wanted, support), HasSubstr("truncate"));
    EXPECT_EQ(leat::sandbox_report_for(wanted, support).paths, sandbox_effect::partial);
    support.landlock = 3;
    EXPECT_EQ(leat::why_no_sandbox(wanted, support), "");
    wanted.no_network = sandbox_need::required;
    EXPECT_THAT(leat::why_no_sandbox(wanted, support), HasSubstr("seccomp"));
    wanted.no_network = sandbox_need::best_effort;
    EXPECT_EQ(leat::why_no_sandbox(wanted, support), "");
    EXPECT_EQ(leat::sandbox_report_for(wanted, support).no_network, sandbox_effect::missing);
    wanted.read.emplace_back("/not/there");
    EXPECT_EQ(leat::why_no_sandbox(wanted, support), "the sandbox names `/not/there`: No such file or directory");
}

TEST(sandbox, sandboxed_children_leave_no_descriptor_behind) {
    LEAT_NEEDS(has_landlock());
    const scratch_folder folder;
    const auto open_descriptors = [] {
        return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
    };
    (void)leat::spawn(in_paths_of(folder, "true"));
    const auto before = open_descriptors();
    for (int i = 0; i != 20; ++i) {
        (void)leat::spawn(in_paths_of(folder, "true"));
        auto broken = in_paths_of(folder, "true");
        broken.sandbox->write.emplace_back("/not/there");
        EXPECT_FALSE(leat::spawn(broken));
        broken = in_paths_of(folder, "true");
        broken.directory = "/not/there";
        EXPECT_FALSE(leat::spawn(broken));
    }
    EXPECT_EQ(open_descriptors(), before);
}

TEST(child_limits, a_file_grows_no_larger_than_the_limit) {
    const scratch_folder folder;
    leat::spawn_options options({"dd", "if=/dev/zero", "of=" + folder / "out/big", "bs=1k", "count=64"});
    options.err = leat::child_stdio::null();
    options.limits.file_bytes = 4096;
    auto child = leat::spawn(options);
    ASSERT_TRUE(child);
    EXPECT_EQ(child->wait().signal(), SIGXFSZ);
    EXPECT_EQ(fs::file_size(folder / "out/big"), 4096u);
    EXPECT_EQ(child->sandboxed().text(), "limits");
}

TEST(child_limits, of_processes_and_files_are_those_of_the_shell) {
    leat::spawn_options options({"sh", "-c", "ulimit -f; grep 'Max processes' /proc/self/limits | tr -s ' '"});
    options.limits.file_bytes = 512 * 100;
    options.limits.processes = 5000;
    EXPECT_EQ(output_of(options), "100\nMax processes 5000 5000 processes \n");
}

}  // namespace
