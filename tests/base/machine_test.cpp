// effective_machine against file trees of our own: one for each way in which a container or a batch system sets limits.
#include <leat/base/machine.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t mib = 1u << 20;

// A file-system root that lasts as long as the test.
class fake_root {
public:
    fake_root() {
        std::string pattern = (fs::temp_directory_path() / "leat-machine-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) std::abort();
        path_ = pattern;
        put("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree:          100000 kB\n");
    }
    fake_root(const fake_root&) = delete;
    fake_root& operator=(const fake_root&) = delete;
    ~fake_root() { fs::remove_all(path_); }

    void put(const std::string& file, std::string_view text) {
        fs::create_directories(fs::path(path_ + file).parent_path());
        std::ofstream(path_ + file, std::ios::binary) << text;
    }
    std::string at(const std::string& file) const { return path_ + file; }

    void mount_v2(const std::string& inside = "/") {
        put("/proc/self/mountinfo",
            "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
            "31 23 0:28 " +
                inside + " /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n");
    }

    leat::machine read(unsigned affinity = 8) const {
        leat::machine_source source(path_);
        source.affinity_cpus = affinity;
        return leat::effective_machine(source);
    }

private:
    std::string path_;
};

TEST(machine, this_machine_has_at_least_one_cpu_and_some_memory_and_says_why) {
    const auto here = leat::effective_machine();
    EXPECT_GT(here.cpus, 0);
    EXPECT_GE(here.worker_count, 1u);
    EXPECT_GT(here.memory_bytes, 1 * mib);
    EXPECT_FALSE(here.cpus_from.empty());
    EXPECT_FALSE(here.memory_from.empty());
    EXPECT_NE(here.why().find(here.cpus_from), std::string::npos);
    EXPECT_NE(here.why().find(here.memory_from), std::string::npos);
}

TEST(machine, without_control_groups_affinity_and_physical_memory_count) {
    const fake_root root;
    const auto found = root.read(6);
    EXPECT_EQ(found.cpus, 6);
    EXPECT_EQ(found.worker_count, 6u);
    EXPECT_EQ(found.memory_bytes, 8192 * mib);
    EXPECT_EQ(found.cpus_from, "affinity");
    EXPECT_EQ(found.memory_from, "physical memory");
    EXPECT_TRUE(found.ignored.empty());
    EXPECT_EQ(found.why(), "6 CPUs (affinity), so 6 workers; memory 8 GiB (physical memory)");
}

TEST(machine, without_any_file_the_figures_still_come_from_the_system) {
    const leat::machine_source nowhere("/nonexistent-root-of-a-test");
    const auto found = leat::effective_machine(nowhere);
    EXPECT_GE(found.worker_count, 1u);
    EXPECT_GT(found.memory_bytes, 0u);
    ASSERT_EQ(found.ignored.size(), 1u);
    EXPECT_EQ(found.ignored[0], "/nonexistent-root-of-a-test/proc/meminfo: could not be read");
}

TEST(machine, v2_limits_of_the_own_group_count) {
    fake_root root;
    root.mount_v2();
    root.put("/proc/self/cgroup", "0::/job\n");
    root.put("/sys/fs/cgroup/job/cpu.max", "250000 100000\n");
    root.put("/sys/fs/cgroup/job/memory.max", "536870912\n");
    const auto found = root.read();
    EXPECT_DOUBLE_EQ(found.cpus, 2.5);
    EXPECT_EQ(found.worker_count, 3u);
    EXPECT_EQ(found.memory_bytes, 512 * mib);
    EXPECT_EQ(found.cpus_from, root.at("/sys/fs/cgroup/job/cpu.max"));
    EXPECT_EQ(found.memory_from, root.at("/sys/fs/cgroup/job/memory.max"));
}

TEST(machine, v2_the_tightest_limit_in_the_middle_of_the_ancestors_wins) {
    fake_root root;
    root.mount_v2();
    root.put("/proc/self/cgroup", "0::/a/b/c\n");
    root.put("/sys/fs/cgroup/a/cpu.max", "400000 100000\n");
    root.put("/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
    root.put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    root.put("/sys/fs/cgroup/a/memory.max", "1073741824\n");
    root.put("/sys/fs/cgroup/a/b/memory.max", "268435456\n");
    root.put("/sys/fs/cgroup/a/b/c/memory.max", "max\n");
    const auto found = root.read();
    EXPECT_DOUBLE_EQ(found.cpus, 1.5);
    EXPECT_EQ(found.cpus_from, root.at("/sys/fs/cgroup/a/b/cpu.max"));
    EXPECT_EQ(found.memory_bytes, 256 * mib);
    EXPECT_EQ(found.memory_from, root.at("/sys/fs/cgroup/a/b/memory.max"));
}

TEST(machine, v2_memory_high_below_memory_max_counts) {
    fake_root root;
    root.mount_v2();
    root.put("/proc/self/cgroup", "0::/job\n");
    root.put("/sys/fs/cgroup/job/memory.max", "1073741824\n");
    root.put("/sys/fs/cgroup/job/memory.high", "134217728\n");
    const auto found = root.read();
    EXPECT_EQ(found.memory_bytes, 128 * mib);
    EXPECT_EQ(found.memory_from, root.at("/sys/fs/cgroup/job/memory.high"));
}

TEST(machine, v2_max_everywhere_is_no_limit) {
    fake_root root;
    root.mount_v2();
    root.put("/proc/self/cgroup", "0::/job\n");
    root.put("/sys/fs/cgroup/job/cpu.max", "max 100000\n");
    root.put("/sys/fs/cgroup/job/memory.max", "max\n");
    const auto found = root.read(4);
    EXPECT_EQ(found.cpus, 4);
    EXPECT_EQ(found.cpus_from, "affinity");
    EXPECT_EQ(found.memory_from, "physical memory");
    EXPECT_TRUE(found.ignored.empty());
}

TEST(machine, v2_the_root_group_itself_is_asked_when_a_container_sees_its_group_as_the_root) {
    fake_root root;
    root.mount_v2();
    root.put("/proc/self/cgroup", "0::/\n");
    root.put("/sys/fs/cgroup/cpu.max", "300000 100000\n");
    EXPECT_EQ(root.read().worker_count, 3u);
}

TEST(machine, a_mount_that_shows_a_sub_path_is_matched_with_the_path_of_the_process) {
    fake_root root;
    root.mount_v2("/docker/abc");
    root.put("/proc/self/cgroup", "0::/docker/abc/inner\n");
    root.put("/sys/fs/cgroup/cpu.max", "100000 100000\n");
    root.put("/sys/fs/cgroup/inner/cpu.max", "200000 100000\n");
    const auto found = root.read();
    EXPECT_EQ(found.cpus, 1);
    EXPECT_EQ(found.cpus_from, root.at("/sys/fs/cgroup/cpu.max"));
}

TEST(machine, a_path_told_in_another_namespace_falls_back_to_what_is_mounted) {
    for (const std::string group : {"/", "/../other", "/docker/abcdef"}) {
        fake_root root;
        root.mount_v2("/docker/abc");
        root.put("/proc/self/cgroup", "0::" + group + "\n");
        root.put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
        EXPECT_EQ(root.read().cpus, 2) << group;
    }
}

TEST(machine, mount_points_and_groups_with_blanks_are_found) {
    fake_root root;
    root.put("/proc/self/mountinfo", "31 23 0:28 / /cg\\040roup rw - cgroup2 none rw\n");
    root.put("/proc/self/cgroup", "0::/my job (deleted)\n");
    root.put("/cg roup/my job/cpu.max", "200000 100000\n");
    EXPECT_EQ(root.read().cpus, 2);
}

// Two mounts of the controllers of v1, as systems that ran docker without a cgroup namespace had them.
void mount_v1(fake_root& root, const std::string& inside) {
    root.put("/proc/self/mountinfo",
             "32 31 0:29 " + inside + " /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n" +
                 "35 31 0:32 " + inside + " /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n" +
                 "36 31 0:33 " + inside + " /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n");
}

TEST(machine, v1_limits_along_the_ancestors_count) {
    fake_root root;
    mount_v1(root, "/");
    root.put("/proc/self/cgroup", "9:name=systemd:/\n4:memory:/a/b/c\n2:cpu,cpuacct:/a/b\n");
    root.put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    root.put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "60000\n");
    root.put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "20000\n");
    root.put("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "500000\n");
    root.put("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
    root.put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    root.put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2147483648\n");
    root.put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "1073741824\n");
    root.put("/sys/fs/cgroup/memory/a/b/c/memory.limit_in_bytes", "9223372036854771712\n");
    const auto found = root.read();
    EXPECT_DOUBLE_EQ(found.cpus, 3);
    EXPECT_EQ(found.cpus_from, root.at("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us"));
    EXPECT_EQ(found.memory_bytes, 1024 * mib);
    EXPECT_EQ(found.memory_from, root.at("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes"));
    EXPECT_TRUE(found.ignored.empty());
}

TEST(machine, v1_mounted_from_a_sub_path_as_in_docker) {
    fake_root root;
    mount_v1(root, "/docker/abc");
    root.put("/proc/self/cgroup", "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n");
    root.put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n");
    root.put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n");
    const auto found = root.read();
    EXPECT_EQ(found.cpus, 2) << "the period defaults to 100 ms";
    EXPECT_EQ(found.memory_bytes, 64 * mib);
}

TEST(machine, hybrid_setups_take_the_tightest_of_both_versions) {
    fake_root root;
    mount_v1(root, "/");
    std::ofstream(root.at("/proc/self/mountinfo"), std::ios::app)
        << "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    root.put("/proc/self/cgroup", "4:memory:/m\n2:cpu,cpuacct:/c\n0::/u\n");
    root.put("/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "400000\n");
    root.put("/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "100000\n");
    root.put("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "134217728\n");
    root.put("/sys/fs/cgroup/unified/u/cpu.max", "300000 100000\n");
    const auto found = root.read();
    EXPECT_EQ(found.cpus_from, root.at("/sys/fs/cgroup/unified/u/cpu.max"));
    EXPECT_EQ(found.cpus, 3);
    EXPECT_EQ(found.memory_bytes, 128 * mib);
}

TEST(machine, a_quota_below_one_cpu_gives_one_worker_and_keeps_the_fraction) {
    fake_root root;
    root.mount_v2();
    root.put("/proc/self/cgroup", "0::/\n");
    root.put("/sys/fs/cgroup/cpu.max", "25000 100000\n");
    const auto found = root.read();
    EXPECT_DOUBLE_EQ(found.cpus, 0.25);
    EXPECT_EQ(found.worker_count, 1u);
}

TEST(machine, limits_above_the_hardware_do_not_count) {
    fake_root root;
    root.mount_v2();
    root.put("/proc/self/cgroup", "0::/\n");
    root.put("/sys/fs/cgroup/cpu.max", "6400000 100000\n");
    root.put("/sys/fs/cgroup/memory.max", "1099511627776\n");
    const auto found = root.read(2);
    EXPECT_EQ(found.cpus, 2);
    EXPECT_EQ(found.cpus_from, "affinity");
    EXPECT_EQ(found.memory_bytes, 8192 * mib);
    EXPECT_EQ(found.memory_from, "physical memory");
}

TEST(machine, malformed_limits_are_ignored_and_named) {
    fake_root root;
    root.mount_v2();
    root.put("/proc/self/cgroup", "0::/a/b\n");
    root.put("/sys/fs/cgroup/a/b/cpu.max", "lots\n");
    root.put("/sys/fs/cgroup/a/cpu.max", "200000 100000\n");
    root.put("/sys/fs/cgroup/a/b/memory.max", "");
    root.put("/sys/fs/cgroup/a/b/memory.high", "12 34\n");
    root.put("/sys/fs/cgroup/a/memory.max", "99999999999999999999999999\n");
    const auto found = root.read();
    EXPECT_EQ(found.cpus, 2);
    EXPECT_EQ(found.memory_from, "physical memory");
    ASSERT_EQ(found.ignored.size(), 4u);
    EXPECT_EQ(found.ignored[0],
              root.at("/sys/fs/cgroup/a/b/cpu.max") +
                  ": found \"lots\", expected a quota or \"max\", and a period, both in microseconds");
    EXPECT_NE(found.why().find("ignored " + found.ignored[0]), std::string::npos);
}

TEST(machine, zero_and_negative_limits_are_ignored_and_named) {
    for (const std::string quota : {"0 100000", "-5 100000", "100000 0", "100000 -1", "100000 x"}) {
        fake_root root;
        root.mount_v2();
        root.put("/proc/self/cgroup", "0::/\n");
        root.put("/sys/fs/cgroup/cpu.max", quota);
        root.put("/sys/fs/cgroup/memory.max", "0\n");
        const auto found = root.read(3);
        EXPECT_EQ(found.cpus, 3) << quota;
        EXPECT_EQ(found.ignored.size(), 2u) << quota;
        EXPECT_EQ(found.memory_from, "physical memory");
    }
}

TEST(machine, a_limit_that_is_a_directory_is_ignored_and_named) {
    fake_root root;
    root.mount_v2();
    root.put("/proc/self/cgroup", "0::/\n");
    root.put("/sys/fs/cgroup/cpu.max/surprise", "");
    const auto found = root.read(3);
    EXPECT_EQ(found.cpus, 3);
    ASSERT_EQ(found.ignored.size(), 1u);
    EXPECT_EQ(found.ignored[0], root.at("/sys/fs/cgroup/cpu.max") + ": could not be read: Is a directory");
}

TEST(machine, rubbish_in_the_proc_files_is_harmless) {
    fake_root root;
    root.put("/proc/self/cgroup", "nonsense\n\n::::\n0::relative\n4:cpu");
    root.put("/proc/self/mountinfo", "a b c\n - cgroup2 \n1 2 - cgroup\n31 23 0:28 / - cgroup2 x rw\n");
    root.put("/proc/meminfo", "MemTotal: many kB\n");
    const auto found = root.read(5);
    EXPECT_EQ(found.cpus, 5);
    EXPECT_GT(found.memory_bytes, 0u);
    ASSERT_EQ(found.ignored.size(), 1u);
    EXPECT_EQ(found.ignored[0], root.at("/proc/meminfo") + ": found no line \"MemTotal: NUMBER kB\"");
}

}  // namespace
