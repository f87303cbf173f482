// examples/archive: what is taken out is what was put in, damage is found, and a run that was killed goes on to the same bytes.
#include <leat_process.hpp>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <set>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <archive/chunker.hpp>
#include <archive/format.hpp>
#include <gmock/gmock.h>
#include <soak.hpp>

namespace {

namespace fs = std::filesystem;
using leat_test::dice;
using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::scratch;
using testing::HasSubstr;
using testing::Not;

bool is_soak() { return std::getenv("LEAT_SOAK_SECONDS") != nullptr; }

std::string random_bytes(std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::string bytes(count, '\0');
    for (char& each : bytes) each = static_cast<char>(random());
    return bytes;
}

std::string archive_program() { return (fs::path(LEAT_COMMAND).parent_path() / "example_archive").string(); }

leat_end run(const scratch& place, leat_process::words words, std::string before = {}) {
    leat_process process(std::move(words));
    process.program(archive_program()).in_directory(place.file("")).after(std::move(before));
    return process.start().wait();
}

// Files of all sorts, some of which have much in common; some megabytes.
void fill(const scratch& place, unsigned files) {
    fs::create_directories(place.file("tree/deep/deeper"));
    fs::create_directories(place.file("tree/empty"));
    place.write("tree/nothing", "");
    place.write("tree/one byte", "x");
    place.write("tree/with\nline feed", "y");
    place.write("tree/zeros", std::string(3'000'000, '\0'));
    const std::string large = random_bytes(2'000'000, 1);
    place.write("tree/deep/large", large);
    place.write("tree/deep/deeper/larger",
                large.substr(0, 700'000) + "put in here" + large.substr(700'000) + "and there");
    dice random(7);
    for (unsigned i = 0; i < files; ++i)
        place.write("tree/deep/file" + std::to_string(i), random_bytes(1 + random(90'000), 100 + random(files)));
    fs::create_symlink("deep/large", place.file("tree/link"));
    fs::create_symlink("../nowhere", place.file("tree/dangling"));
    ::chmod(place.file("tree/one byte").c_str(), 0600);
    ::chmod(place.file("tree/deep/large").c_str(), 0755);
}

// What there is below a folder, with what it holds.
std::map<std::string, std::string> content_of(const std::string& folder) {
    std::map<std::string, std::string> all;
    for (const auto& each : fs::recursive_directory_iterator(folder)) {
        struct stat status{};
        ::lstat(each.path().c_str(), &status);
        std::string what = std::to_string(status.st_mode) + " " + std::to_string(status.st_mtim.tv_sec) + "." +
                           std::to_string(status.st_mtim.tv_nsec) + "\n";
        if (each.is_symlink()) {
            what += fs::read_symlink(each.path()).string();
        } else if (each.is_regular_file()) {
            std::ifstream in(each.path(), std::ios::binary);
            what.append(std::istreambuf_iterator<char>(in), {});
        }
        all.emplace(each.path().lexically_relative(folder).string(), std::move(what));
    }
    return all;
}

TEST(chunker, chunks_have_lengths_within_the_bounds_and_near_the_usual_one) {
    const std::string bytes = random_bytes(20'000'000, 1);
    std::size_t count = 0;
    for (std::string_view left = bytes; !left.empty(); ++count) {
        const std::size_t length = archive::first_chunk(left);
        ASSERT_LE(length, archive::default_lengths.most);
        if (length < left.size()) {
            ASSERT_GT(length, archive::default_lengths.least);
        }
        left.remove_prefix(length);
    }
    const double mean = static_cast<double>(bytes.size()) / static_cast<double>(count);
    EXPECT_GT(mean, 0.75 * static_cast<double>(archive::default_lengths.usual));
    EXPECT_LT(mean, 1.5 * static_cast<double>(archive::default_lengths.usual));
}

TEST(chunker, bytes_put_in_change_the_chunks_there_and_no_others) {
    const auto chunks_of = [](std::string_view left) {
        std::set<std::string> all;
        while (!left.empty()) {
            const std::size_t length = archive::first_chunk(left);
            all.emplace(left.substr(0, length));
            left.remove_prefix(length);
        }
        return all;
    };
    std::string bytes = random_bytes(10'000'000, 2);
    const auto before = chunks_of(bytes);
    bytes.insert(5'000'000, "some more");
    std::size_t fresh = 0;
    for (const std::string& each : chunks_of(bytes)) fresh += before.contains(each) ? 0 : 1;
    EXPECT_LE(fresh, 4u);
}

TEST(archive, what_is_extracted_is_what_was_archived_and_two_runs_give_the_same_bytes) {
    const scratch place;
    fill(place, 50);
    for (const char* name : {"a.arc", "b.arc"}) {
        const leat_end end = run(place, {"create", name, "tree"});
        EXPECT_EQ(end.code, 0) << end.err;
        EXPECT_EQ(end.err, "");
    }
    EXPECT_TRUE(place.read("a.arc") == place.read("b.arc"));
    EXPECT_LT(fs::file_size(place.file("a.arc")), 4'700'000u) << "what is there twice is kept once";
    EXPECT_EQ(run(place, {"verify", "a.arc"}).code, 0);
    const leat_end end = run(place, {"extract", "a.arc", "out"});
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(end.err, "");
    EXPECT_TRUE(content_of(place.file("tree")) == content_of(place.file("out/tree")));
}

TEST(archive, a_folder_that_holds_its_own_archive_is_archived_without_it) {
    const scratch place;
    fill(place, 2);
    EXPECT_EQ(run(place, {"create", "tree/self.arc", "tree", "tree/deep"}).code, 0);
    const std::string list = run(place, {"list", "tree/self.arc"}).out;
    EXPECT_THAT(list, Not(HasSubstr("self.arc")));
    EXPECT_EQ(list.find("tree/deep/large"), list.rfind("tree/deep/large")) << "a path inside another one counts once";
}

TEST(archive, what_cannot_be_read_is_told_and_the_rest_is_archived) {
    const scratch place;
    fill(place, 2);
    ::mkfifo(place.file("tree/pipe").c_str(), 0600);
    const leat_end end = run(place, {"create", "a.arc", "tree", "missing"});
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(end.err, HasSubstr("'missing': No such file or directory; left out"));
    EXPECT_THAT(end.err, HasSubstr("'tree/pipe': neither a file nor a folder nor a link; left out"));
    EXPECT_EQ(run(place, {"verify", "a.arc"}).code, 0);
    EXPECT_THAT(run(place, {"list", "a.arc"}).out, HasSubstr("tree/zeros"));
}

TEST(archive, a_file_that_its_user_may_not_read_is_left_out) {
    const scratch place;
    fill(place, 2);
    fs::permissions(place.file(""), fs::perms::all);
    fs::permissions(place.file("tree/one byte"), fs::perms::none);
    leat_process process({"create", "a.arc", "tree"});
    process.program(archive_program()).in_directory(place.file(""));
    if (::geteuid() == 0) process.as_user(65534);
    const leat_end end = process.start().wait();
    if (end.code == 98) GTEST_SKIP() << "the build is in a folder that other users may not see";
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(end.err, HasSubstr("'tree/one byte': Permission denied; left out"));
}

TEST(archive, a_file_that_is_shorter_than_it_said_is_kept_as_far_as_it_is_there) {
    const std::string short_file = "/sys/devices/system/cpu/online";  // says to be 4096 bytes long
    struct stat status{};
    if (::stat(short_file.c_str(), &status) != 0 || status.st_size < 100) GTEST_SKIP() << "there is no such file here";
    const scratch place;
    const leat_end end = run(place, {"create", "a.arc", short_file});
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(end.err, HasSubstr("it became shorter while it was read"));
    EXPECT_EQ(run(place, {"extract", "a.arc", "out"}).code, 0);
    std::ifstream now(short_file);
    std::string line;
    std::getline(now, line);
    EXPECT_EQ(place.read("out" + short_file), line + "\n");
}

TEST(archive, what_is_there_is_not_overwritten) {
    const scratch place;
    fill(place, 2);
    place.write("there.arc", "mine");
    place.write("begun.arc.part", "mine");
    EXPECT_THAT(run(place, {"create", "there.arc", "tree"}).err, HasSubstr("'there.arc' is there already"));
    EXPECT_THAT(run(place, {"create", "begun.arc", "tree"}).err, HasSubstr("--resume goes on with it"));
    EXPECT_EQ(place.read("there.arc"), "mine");
    EXPECT_EQ(place.read("begun.arc.part"), "mine");
    ASSERT_EQ(run(place, {"create", "a.arc", "tree"}).code, 0);
    const leat_end end = run(place, {"extract", "a.arc", "tree"});
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(end.err, HasSubstr("'tree' is there already, and is no empty folder"));
}

TEST(archive, two_runs_do_not_write_one_archive) {
    const scratch place;
    fill(place, 2);
    place.write("a.arc.part", "");
    const int other = ::open(place.file("a.arc.part").c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_EQ(::flock(other, LOCK_EX), 0);
    const leat_end end = run(place, {"create", "--resume", "a.arc", "tree"});
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(end.err, HasSubstr("another run is writing 'a.arc.part'"));
    ::close(other);
    EXPECT_EQ(run(place, {"create", "--resume", "a.arc", "tree"}).code, 0);
}

TEST(archive, a_verb_or_flag_that_it_does_not_know_is_told_with_the_usage) {
    const scratch place;
    for (const leat_process::words& words : {leat_process::words{},
                                             {"make"},
                                             {"create", "a.arc"},
                                             {"create", "--fast", "a.arc", "."},
                                             {"extract", "a.arc"},
                                             {"create", "--level", "20", "a.arc", "."},
                                             {"create", "--save-every", "often", "a.arc", "."}}) {
        const leat_end end = run(place, words);
        EXPECT_EQ(end.code, 2);
        EXPECT_THAT(end.err, HasSubstr("usage:"));
    }
}

TEST(archive, a_full_disk_ends_the_run_which_goes_on_when_there_is_room) {
    const scratch place;
    fill(place, 50);
    ASSERT_EQ(run(place, {"create", "whole.arc", "tree"}).code, 0);
    const leat_end end =
        run(place, {"create", "--save-every", "100000", "a.arc", "tree"}, "trap '' XFSZ; ulimit -f 3000");
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(end.err, HasSubstr("cannot write to 'a.arc.part'"));
    EXPECT_FALSE(fs::exists(place.file("a.arc")));
    const leat_end then = run(place, {"create", "--resume", "a.arc", "tree"});
    EXPECT_EQ(then.code, 0) << then.err;
    EXPECT_THAT(then.out, HasSubstr("goes on behind"));
    EXPECT_TRUE(place.read("a.arc") == place.read("whole.arc"));
}

TEST(archive, what_a_crash_left_behind_what_is_certain_is_cut_off) {
    const scratch place;
    fill(place, 50);
    ASSERT_EQ(run(place, {"create", "whole.arc", "tree"}).code, 0);
    ASSERT_EQ(run(place, {"create", "--save-every", "1", "a.arc", "tree"}, "trap '' XFSZ; ulimit -f 3000").code, 1);
    std::ofstream(place.file("a.arc.part"), std::ios::app) << std::string(100'000, '\0');
    place.write("a.arc.progress.new", "half of a rec");
    EXPECT_EQ(run(place, {"create", "--resume", "a.arc", "tree"}).code, 0);
    EXPECT_TRUE(place.read("a.arc") == place.read("whole.arc"));
    EXPECT_FALSE(fs::exists(place.file("a.arc.progress.new")));
}

TEST(archive, files_that_came_or_went_before_a_run_goes_on_are_noticed) {
    const scratch place;
    fill(place, 50);
    ASSERT_EQ(run(place, {"create", "--save-every", "1", "a.arc", "tree"}, "trap '' XFSZ; ulimit -f 3000").code, 1);
    place.write("tree/a file that comes first", "z");
    const leat_end end = run(place, {"create", "--resume", "a.arc", "tree"});
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(end.err, HasSubstr("files came or went"));
    EXPECT_FALSE(fs::exists(place.file("a.arc")));
}

TEST(archive, a_begun_archive_that_is_not_what_its_record_says_is_refused) {
    const scratch place;
    fill(place, 50);
    ASSERT_EQ(run(place, {"create", "--save-every", "1", "a.arc", "tree"}, "trap '' XFSZ; ulimit -f 3000").code, 1);
    std::string part = place.read("a.arc.part");
    part[part.size() / 2] = static_cast<char>(part[part.size() / 2] ^ 1);
    place.write("a.arc.part", part);
    EXPECT_THAT(run(place, {"create", "--resume", "a.arc", "tree"}).err, HasSubstr("does not hold what"));
    std::string record = place.read("a.arc.progress");
    record[20] = static_cast<char>(record[20] ^ 1);
    place.write("a.arc.progress", record);
    EXPECT_THAT(run(place, {"create", "--resume", "a.arc", "tree"}).err, HasSubstr("is no record of progress"));
    EXPECT_FALSE(fs::exists(place.file("a.arc")));
}

TEST(archive, a_damaged_chunk_is_named_with_its_files_and_costs_no_others) {
    const scratch place;
    const std::string shared = random_bytes(400'000, 1);
    fs::create_directories(place.file("tree"));
    place.write("tree/first", shared);
    place.write("tree/other", random_bytes(100'000, 2));
    place.write("tree/second", shared);
    ASSERT_EQ(run(place, {"create", "a.arc", "tree"}).code, 0);
    std::string bytes = place.read("a.arc");
    bytes[200'000] = static_cast<char>(bytes[200'000] ^ 1);
    place.write("a.arc", bytes);
    const leat_end end = run(place, {"verify", "a.arc"});
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(end.err, HasSubstr("is damaged"));
    EXPECT_THAT(end.err, HasSubstr("in 'tree/first'"));
    EXPECT_THAT(end.err, HasSubstr("in 'tree/second'"));
    EXPECT_THAT(end.err, Not(HasSubstr("tree/other")));
    const leat_end less = run(place, {"extract", "a.arc", "out"});
    EXPECT_EQ(less.code, 1);
    EXPECT_TRUE(place.read("out/tree/other") == place.read("tree/other"));
    EXPECT_FALSE(fs::exists(place.file("out/tree/first")));
}

// An archive of these entries and no chunks, all of whose hashes are right.
std::string made_by_a_stranger(const std::vector<archive::entry>& entries) {
    std::string bytes(archive::header);
    archive::trailer end;
    end.index_offset = bytes.size();
    std::string encoded;
    for (const archive::entry& each : entries) {
        const std::string one = archive::encode(each);
        archive::put(encoded, static_cast<std::uint32_t>(one.size()));
        encoded += one;
    }
    const std::string index = archive::encode_index({}, entries.size(), encoded);
    end.of_index = archive::hash_of(index);
    bytes += index;
    end.of_all = archive::hash_of(bytes);
    return bytes + archive::encode(end);
}

archive::entry entry_of(archive::entry::kind what, std::string path, std::string target = {}) {
    archive::entry made;
    made.what = what;
    made.mode = 0755;
    made.path = std::move(path);
    made.target = std::move(target);
    return made;
}

TEST(archive, an_archive_of_a_stranger_writes_nothing_outside_its_folder) {
    using kind = archive::entry::kind;
    const scratch place;
    fs::create_directory(place.file("outside"));
    for (const char* path : {"../outside/x", "/x", "a/../../outside/x", "", ".", "a//b", "a/"}) {
        place.write("a.arc", made_by_a_stranger({entry_of(kind::file, path)}));
        const leat_end end = run(place, {"extract", "a.arc", "out"});
        EXPECT_EQ(end.code, 1) << path;
        EXPECT_THAT(end.err, HasSubstr("leads out of the archive"));
    }
    place.write("a.arc", made_by_a_stranger({entry_of(kind::link, "door", "../outside"), entry_of(kind::file, "door/x"),
                                             entry_of(kind::folder, "door/y"), entry_of(kind::folder, "other"),
                                             entry_of(kind::link, "other", "../outside")}));
    const leat_end end = run(place, {"extract", "a.arc", "out"});
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(end.err, HasSubstr("'door': File exists"));
    EXPECT_TRUE(fs::is_regular_file(place.file("out/door/x")));
    EXPECT_TRUE(fs::is_empty(place.file("outside")));
}

TEST(archive, an_archive_of_a_stranger_with_chunks_that_are_not_there_is_refused) {
    const scratch place;
    archive::entry wrong = entry_of(archive::entry::kind::file, "x");
    wrong.chunks.push_back({0, 4'000'000'000});
    place.write("a.arc", made_by_a_stranger({wrong}));
    EXPECT_THAT(run(place, {"list", "a.arc"}).err, HasSubstr("has a chunk that is not there"));
    wrong.chunks.clear();
    wrong.size = 5;
    place.write("a.arc", made_by_a_stranger({wrong}));
    EXPECT_THAT(run(place, {"list", "a.arc"}).err, HasSubstr("another size than its chunks"));
}

TEST(archive, any_damage_and_any_cut_is_found_soak) {
    const scratch place;
    fill(place, 5);
    ASSERT_EQ(run(place, {"create", "whole.arc", "tree"}).code, 0);
    const std::string whole = place.read("whole.arc");
    for (leat_test::soak rounds(30); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        dice random(rounds.seed());
        std::string bytes = whole;
        // The ends are small, and come as often as all that is between.
        const auto any = static_cast<unsigned>(bytes.size());
        const std::size_t at = random(2) == 0 ? random(any) : random(2) == 0 ? any - 1 - random(3000) : random(100);
        if (random(3) == 0) bytes.resize(at);
        else bytes[at] = static_cast<char>(bytes[at] ^ static_cast<char>(1 + random(255)));
        place.write("a.arc", bytes);
        const leat_end end = run(place, {"verify", "a.arc"});
        EXPECT_EQ(end.code, 1) << "at " << at;
        EXPECT_NE(end.err, "");
        fs::remove_all(place.file("out"));
        const leat_end extracted = run(place, {"extract", "a.arc", "out"});
        EXPECT_TRUE(extracted.code == 0 || extracted.code == 1) << extracted.signal;
        if (fs::exists(place.file("out/tree"))) {
            const auto before = content_of(place.file("tree"));
            for (const auto& [name, content] : content_of(place.file("out/tree"))) {
                if (!fs::is_directory(place.file("out/tree/" + name))) {
                    EXPECT_TRUE(before.at(name) == content) << name;
                }
            }
        }
    }
}

// Kills the process when the archive that it writes has grown to so many bytes, unless it ends before.
void kill_at(const leat_process& process, const std::string& part, std::uintmax_t bytes, int signal = SIGKILL) {
    for (;;) {
        siginfo_t ended{};
        ::waitid(P_PID, static_cast<id_t>(process.pid()), &ended, WEXITED | WNOHANG | WNOWAIT);
        if (ended.si_pid != 0) return;
        std::error_code none;
        const std::uintmax_t now = fs::file_size(part, none);
        if (!none && now >= bytes) break;
        ::usleep(100);
    }
    process.kill(signal);
}

TEST(archive, a_run_that_a_signal_ended_says_nothing_and_can_be_gone_on_with) {
    const scratch place;
    fill(place, 100);
    ASSERT_EQ(run(place, {"create", "whole.arc", "tree"}).code, 0);
    leat_process process({"create", "--save-every", "50000", "a.arc", "tree"});
    process.program(archive_program()).in_directory(place.file("")).start();
    kill_at(process, place.file("a.arc.part"), 500'000, SIGTERM);
    const leat_end end = process.wait();
    EXPECT_TRUE(end.code == 143 || (end.code == 0 && fs::exists(place.file("a.arc")))) << end.code;
    EXPECT_EQ(end.err, "");
    const leat_end then = run(place, {"create", "--resume", "a.arc", "tree"});
    EXPECT_EQ(then.code, 0) << then.err;
    EXPECT_TRUE(place.read("a.arc") == place.read("whole.arc"));
}

TEST(archive, killed_again_and_again_and_gone_on_with_it_is_the_archive_of_an_undisturbed_run_soak) {
    const unsigned kills = is_soak() ? 50 : 5;
    const scratch place;
    fill(place, is_soak() ? 400 : 100);
    ASSERT_EQ(run(place, {"create", "whole.arc", "tree"}).code, 0);
    const std::string whole = place.read("whole.arc");
    for (leat_test::soak rounds(1); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        dice random(rounds.seed());
        unsigned killed = 0;
        unsigned gone_on = 0;
        while (killed < kills) {
            fs::remove(place.file("a.arc"));
            for (bool done = false; !done;) {
                leat_process process({"create", "--resume", "--save-every", "50000", "a.arc", "tree"});
                process.program(archive_program()).in_directory(place.file("")).start();
                if (killed < kills) {
                    std::error_code none;
                    const std::uintmax_t there = fs::file_size(place.file("a.arc.part"), none);
                    const std::uintmax_t from = none ? 0 : std::min<std::uintmax_t>(there, whole.size());
                    const std::uintmax_t to =
                        from + random(static_cast<unsigned>(whole.size() - from) / (random(4) + 1) + 1);
                    kill_at(process, place.file("a.arc.part"), to);
                }
                const leat_end end = process.wait();
                gone_on += end.out.find("goes on behind") != end.out.npos ? 1 : 0;
                if (end.signal == SIGKILL) ++killed;
                else {
                    ASSERT_EQ(end.code, 0) << end.err;
                    EXPECT_EQ(end.err, "");
                    done = true;
                }
            }
            ASSERT_TRUE(place.read("a.arc") == whole) << "after " << killed << " kills";
            EXPECT_FALSE(fs::exists(place.file("a.arc.part")));
            EXPECT_FALSE(fs::exists(place.file("a.arc.progress")));
        }
        EXPECT_GT(gone_on, 0u);
        testing::Test::RecordProperty("gone_on", static_cast<int>(gone_on));
    }
}

}  // namespace
