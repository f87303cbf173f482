// kill -9 again and again, of workers and of leat itself, during runs of very many items: nothing lost, nothing twice in the
// output but what docs/processes.md says, nothing left behind. `./dev soak` kills a thousand workers during a million items;
// the round among the other tests is a twentieth of that.
#include "leat_process.hpp"

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <map>
#include <optional>
#include <set>
#include <soak.hpp>

namespace {

namespace fs = std::filesystem;
using leat_test::dice;
using leat_test::eventually;
using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::pipe_pair;
using leat_test::runs;
using leat_test::scratch;

bool is_soak() { return std::getenv("LEAT_SOAK_SECONDS") != nullptr; }

std::string numbers(unsigned count) {
    std::string text;
    for (unsigned i = 1; i <= count; ++i) text += std::to_string(i) + "\n";
    return text;
}

// The lines that come out of a descriptor; without their line feeds.
class line_reader {
public:
    explicit line_reader(int fd) : fd_(fd), piece_(std::size_t{64} << 10U, '\0') {}
    std::optional<std::string> next() {
        for (;;) {
            if (const auto end = text_.find('\n', at_); end != std::string::npos) {
                std::string line = text_.substr(at_, end - at_);
                at_ = end + 1;
                return line;
            }
            text_.erase(0, at_);
            at_ = 0;
            const ssize_t got = ::read(fd_, piece_.data(), piece_.size());
            if (got <= 0) return std::nullopt;
            text_.append(piece_.data(), static_cast<std::size_t>(got));
        }
    }
    // Of a last line without its end.
    [[nodiscard]] std::size_t left_bytes() const { return text_.size() - at_; }

private:
    int fd_;
    std::string piece_;
    std::string text_;
    std::size_t at_ = 0;
};

// A worker that notes its pid and answers each line with itself.
std::vector<std::string> echo_worker(const scratch& place) {
    return {"sh", "-c", R"(echo $$ >> "$0"; exec cat)", place.file("pids")};
}
std::vector<pid_t> noted(const scratch& place) {
    std::vector<pid_t> pids;
    std::istringstream text(place.read("pids"));
    for (pid_t pid = 0; text >> pid;) pids.push_back(pid);
    return pids;
}
pid_t parent_of(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string stat;
    std::getline(file, stat, '\0');
    const auto state = stat.rfind(") ");
    return state == std::string::npos ? 0 : std::stoi(stat.substr(state + 4));
}

// False when none of the workers that have noted themselves runs just now.
bool kill_a_worker(const scratch& place, pid_t leat, unsigned jobs, dice& random) {
    std::vector<pid_t> pids = noted(place);
    if (pids.size() > std::size_t{2} * jobs) pids.erase(pids.begin(), pids.end() - 2 * jobs);
    std::erase_if(pids, [leat](pid_t pid) { return !runs(pid) || parent_of(pid) != leat; });
    return !pids.empty() && ::kill(pids[random(static_cast<unsigned>(pids.size()))], SIGKILL) == 0;
}

std::ptrdiff_t descriptors_of(pid_t pid) {
    return std::distance(fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd"), fs::directory_iterator());
}
std::set<std::string> shared_objects_of_leat() {
    std::set<std::string> names;
    for (const auto& each : fs::directory_iterator("/dev/shm"))
        if (each.path().filename().string().find("leat") != std::string::npos) names.insert(each.path());
    return names;
}

// Whether there is still a process of a run in this place: leat, its sentinel, a worker. All have the folder in their
// environment.
bool is_anyone_left(const scratch& place) {
    for (const auto& each : fs::directory_iterator("/proc")) {
        if (each.path().filename().string().find_first_not_of("0123456789") != std::string::npos) continue;
        std::ostringstream environment;
        environment << std::ifstream(each.path() / "environ").rdbuf();
        if (environment.str().find(place.file("temporary")) != std::string::npos) return true;
    }
    return false;
}

TEST(kill_soak, a_thousand_workers_killed_during_a_million_items_cost_none_and_leave_nothing_behind) {
    const unsigned items = is_soak() ? 1'000'000 : 50'000;
    const unsigned kills = is_soak() ? 1'000 : 50;
    constexpr unsigned jobs = 3;
    for (leat_test::soak rounds(1); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        dice random(rounds.seed());
        const scratch place;
        fs::create_directory(place.file("temporary"));
        const auto shared_before = shared_objects_of_leat();
        pipe_pair out;
        // With a small window, so that the workers are not done long before their answers are read here.
        leat_process::words words{"each",      "-k",   "-j",       std::to_string(jobs),      "--window",     "8",
                                  "--retries", "1000", "--report", place.file("report.json"), "--persistent", "--"};
        for (const std::string& word : echo_worker(place)) words.push_back(word);
        leat_process process(words);
        process.input(numbers(items)).output_to(out.writer()).after("export TMPDIR=" + place.file("temporary")).start();
        out.close_writer();

        line_reader lines(out.reader());
        unsigned got = 0;
        unsigned killed = 0;
        std::ptrdiff_t descriptors = 0;
        while (const auto line = lines.next()) {
            ASSERT_EQ(*line, std::to_string(got + 1)) << "in order, none lost and none twice";
            ++got;
            // The last is due before the end, so that all of them hit a worker with something to do.
            const auto due = std::min<std::uint64_t>(kills, std::uint64_t{got} * kills / (items / 10 * 9));
            while (killed < due && kill_a_worker(place, process.pid(), jobs, random)) ++killed;
            if (got == items / 10) {
                descriptors = descriptors_of(process.pid());
                EXPECT_TRUE(is_anyone_left(place)) << "they can be found";
            }
            if (got == items / 10 * 9) {
                EXPECT_LT(descriptors_of(process.pid()), descriptors + 20);
            }
        }
        const leat_end end = process.wait();
        EXPECT_EQ(end.code, 0) << end.err;
        EXPECT_EQ(end.err, "");
        EXPECT_EQ(got, items);
        EXPECT_EQ(killed, kills);

        const auto report = boost::json::parse(place.read("report.json")).as_object();
        EXPECT_EQ(report.at("out").to_number<unsigned>(), items);
        EXPECT_EQ(report.at("failed").to_number<unsigned>(), 0u);
        const auto retried = report.at("stages").as_array().at(0).as_object().at("retried").to_number<unsigned>();
        EXPECT_GT(retried, 0u);
        EXPECT_LE(retried, kills) << "a death costs one item one more attempt at most";
        testing::Test::RecordProperty("retried", static_cast<int>(retried));

        EXPECT_TRUE(eventually([&place] { return !is_anyone_left(place); }));
        EXPECT_TRUE(fs::is_empty(place.file("temporary")));
        EXPECT_EQ(shared_objects_of_leat(), shared_before);
    }
}

// What each run wrote and where it ended, of a job that is gone on with until it is done.
struct gone_on {
    std::map<std::string, unsigned> printed;  // by item, how often
    unsigned kills = 0;
};

// Runs leat with a job log; kills it after a random share of what is left, until it has been killed often enough.
gone_on go_on_until_done(const scratch& place, const leat_process::words& words, unsigned items, unsigned kills,
                         dice& random) {
    gone_on all;
    for (bool done = false; !done;) {
        pipe_pair out;
        leat_process process(words);
        process.input(numbers(items)).output_to(out.writer()).after("export TMPDIR=" + place.file("temporary")).start();
        out.close_writer();
        const auto left = static_cast<unsigned>(items - std::min<std::size_t>(items, all.printed.size()));
        const unsigned until = all.kills < kills ? random(std::max(1U, left / (kills - all.kills + 1))) + 1 : items + 1;
        line_reader lines(out.reader());
        unsigned got = 0;
        bool killed = false;
        while (const auto line = lines.next()) {
            ++all.printed[*line];
            if (++got == until) {
                process.kill(SIGKILL);
                killed = true;
            }
        }
        const leat_end end = process.wait();
        EXPECT_EQ(lines.left_bytes(), 0u) << "small outputs are not torn";
        done = end.signal == 0;
        if (killed) ++all.kills;
        if (done) {
            EXPECT_EQ(end.code, 0) << end.err;
        }
        EXPECT_TRUE(eventually([&place] { return !is_anyone_left(place); }));
    }
    return all;
}

std::size_t jobs_in(const std::string& log) {
    std::set<unsigned> seen;
    std::istringstream lines(log);
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) EXPECT_TRUE(seen.insert(static_cast<unsigned>(std::stoul(line))).second) << line;
    return seen.size();
}

TEST(kill_soak, a_run_whose_leat_was_killed_is_gone_on_with_and_does_each_job_once_but_those_at_work) {
    const unsigned scale = is_soak() ? 20 : 1;
    constexpr unsigned kills = 4;
    constexpr unsigned jobs = 3;
    constexpr unsigned longest_lag = 100;
    for (leat_test::soak rounds(2); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        dice random(rounds.seed());
        const bool persistent = rounds.seed() % 2 == 0;
        const unsigned items = (persistent ? 5'000 : 300) * scale;
        const scratch place;
        fs::create_directory(place.file("temporary"));
        leat_process::words words{"each", "-j", std::to_string(jobs), "--joblog", place.file("jobs"), "--resume"};
        if (random(2) == 1) words.emplace_back("-k");
        if (persistent) {
            words.insert(words.end(), {"--persistent", "--"});
            for (const std::string& word : echo_worker(place)) words.push_back(word);
        } else {
            words.insert(words.end(), {"--", "sh", "-c", R"(echo $$ >> "$0"; echo "$1")", place.file("pids"), "{}"});
        }
        const gone_on all = go_on_until_done(place, words, items, kills, random);
        EXPECT_EQ(all.printed.size(), items) << "each item's output is there";
        std::size_t outputs = 0;
        for (const auto& [item, times] : all.printed) outputs += times;
        EXPECT_LE(outputs, items + all.kills) << "what was written and not yet logged: one output a kill at most";
        EXPECT_EQ(jobs_in(place.read("jobs")), items) << "each is in the log once";
        if (!persistent) {
            EXPECT_LE(noted(place).size(), items + std::size_t{all.kills} * longest_lag)
                << "run again were those at work and those whose output had not been written";
        }
        EXPECT_TRUE(fs::is_empty(place.file("temporary")));
    }
}

}  // namespace
