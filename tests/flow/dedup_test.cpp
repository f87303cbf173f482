// Dedup with an index on disk, with a filter alone, and in flows in C++. The kind in memory: kinds_test.cpp.
#include <leat/flow/dedup.hpp>

#include <csignal>
#include <map>
#include <ranges>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fake_journal.hpp>
#include <flow/seen_index.hpp>
#include <flow_kinds.hpp>
#include <leat/runtime/sim.hpp>

namespace {

using leat::digest_of;
using leat::fate;
using leat::key_digest;
using leat::record;
using leat::seen_index;
using leat::seen_store;
using leat_test::fate_probe;
using leat_test::get_file;
using leat_test::put_file;
using leat_test::run_text;
using leat_test::scratch_folder;
using testing::ElementsAre;
using testing::HasSubstr;

key_digest key(int number) { return digest_of(std::to_string(number)); }

leat::dedup_options on_disk(const std::string& path, bool keep = true, std::uint64_t items = 1000) {
    leat::dedup_options options;
    options.path = path;
    options.keep = keep;
    options.items = items;
    return options;
}

std::string failure_of(const std::function<void()>& body) {
    try {
        body();
    } catch (const seen_store::failure& failed) {
        return failed.what();
    }
    return "none";
}

// An index, driven by hand.
class hand {
public:
    explicit hand(leat::dedup_options options, leat::seen_journal* journal = nullptr)
        : index(std::make_shared<seen_index>(std::move(options), "those of the test", journal)) {
        index->open();
    }
    seen_index::place look(int number, const leat::ack_ref& account = {}) {
        const seen_index::place where = index->look(key(number), account);
        if (where != seen_index::place::ask) return where;
        if (number % 2 == 0) return index->look_on_disk(key(number));
        const auto quick = index->try_look_on_disk(key(number));
        return quick ? *quick : index->look_on_disk(key(number));
    }
    // A first item from its beginning to its end.
    void pass(int number, fate how = fate::committed, leat::ack_ref account = {}) {
        ASSERT_EQ(look(number), seen_index::place::first) << number;
        index->watch(key(number), std::move(account)).end(how);
    }
    std::shared_ptr<seen_index> index;
};

constexpr auto first = seen_index::place::first;
constexpr auto seen = seen_index::place::seen;

class index_on_disk : public testing::Test {
protected:
    scratch_folder folder_;
    std::string path_ = folder_ / "state/seen.db";
};

TEST_F(index_on_disk, a_committed_key_is_seen_before_it_is_written_after_it_and_in_the_next_run) {
    {
        hand one(on_disk(path_));
        fate_probe probe;
        one.pass(1, fate::committed, probe.account());
        one.pass(2, fate::failed);
        EXPECT_FALSE(probe.settled());
        EXPECT_EQ(one.look(1), seen);
        one.index->write();
        EXPECT_EQ(probe.how(), fate::committed);
        EXPECT_TRUE(probe.settled());
        EXPECT_EQ(one.look(1), seen);
        one.index->close();
    }
    hand next(on_disk(path_));
    EXPECT_EQ(next.look(1), seen);
    EXPECT_EQ(next.look(2), first);
    next.index->watch(key(2), {}).skip();
    next.index->close();
}

TEST_F(index_on_disk, a_duplicate_in_flight_is_settled_with_the_first_when_the_key_is_written) {
    hand one(on_disk(path_));
    fate_probe first_item;
    fate_probe duplicate;
    EXPECT_EQ(one.look(1), first);
    leat::ack_ref mine = one.index->watch(key(1), first_item.account());
    {
        leat::ack_ref account = duplicate.account();
        EXPECT_EQ(one.look(1, account), seen_index::place::in_flight);
        account.skip();
    }
    mine.commit();
    EXPECT_FALSE(first_item.settled());
    EXPECT_FALSE(duplicate.settled());
    one.index->write();
    EXPECT_EQ(first_item.how(), fate::committed);
    EXPECT_TRUE(duplicate.settled());
    EXPECT_EQ(duplicate.how(), fate::skipped);
}

TEST_F(index_on_disk, a_run_begins_without_keys_unless_it_keeps_them) {
    {
        hand one(on_disk(path_, false));
        one.pass(1);
        one.index->close();
    }
    {
        hand next(on_disk(path_, false));
        next.pass(1);
        next.index->close();
    }
    hand third(on_disk(path_, true));
    EXPECT_EQ(third.look(1), seen);
}

TEST_F(index_on_disk, has_every_key_that_was_committed_and_no_other) {
    std::set<int> committed;
    for (unsigned run = 0; run < 4; ++run) {
        hand one(on_disk(path_, true, 500));  // the filter is soon too small, and is made anew
        for (int number = 0; number < 3000; ++number) {
            const bool is_known = committed.contains(number);
            ASSERT_EQ(one.look(number), is_known ? seen : first) << number;
            if (is_known) continue;
            const bool good = (number * 7919U + run * 31U) % 4 == 0;
            one.index->watch(key(number), {}).end(good ? fate::committed : fate::failed);
            if (good) committed.insert(number);
            if (number % 500 == 499) one.index->write();
        }
        one.index->close();
    }
    EXPECT_GT(committed.size(), 2000U);
}

TEST_F(index_on_disk, a_saved_filter_that_is_damaged_missing_or_stale_is_made_anew) {
    for (const std::string how : {"kept", "damaged", "missing", "stale"}) {
        const std::string path = folder_ / how;
        std::string before;
        {
            hand one(on_disk(path));
            for (int number = 0; number < 300; ++number) one.pass(number);
            one.index->close();
            before = get_file(path + ".bloom");
            ASSERT_GT(before.size(), 100U);
        }
        if (how == "damaged") put_file(path + ".bloom", before.substr(0, 200));
        if (how == "missing") std::filesystem::remove(path + ".bloom");
        if (how == "stale") {
            hand other(on_disk(path));
            for (int number = 300; number < 400; ++number) other.pass(number);
            other.index->close();
            put_file(path + ".bloom", before);
        }
        hand next(on_disk(path));
        for (int number = 0; number < (how == "stale" ? 400 : 300); ++number) ASSERT_EQ(next.look(number), seen) << how;
        EXPECT_EQ(next.look(1000), first);
        next.index->watch(key(1000), {}).skip();
    }
}

TEST_F(index_on_disk, of_another_run_is_refused_until_that_has_ended) {
    auto one = std::make_unique<hand>(on_disk(path_));
    EXPECT_EQ(failure_of([&] { hand(on_disk(path_)); }),
              "the index of seen keys '" + path_ + "' is in use by another run");
    one.reset();
    EXPECT_EQ(failure_of([&] { hand(on_disk(path_)); }), "none");
}

TEST_F(index_on_disk, that_is_damaged_newer_or_something_else_is_refused_with_a_reason) {
    put_file(path_, std::string(8192, 'x'));
    EXPECT_THAT(failure_of([&] { hand(on_disk(path_)); }), HasSubstr("the index of seen keys is damaged"));
    std::filesystem::remove(path_);
    leat::sqlite::database(path_).run("CREATE TABLE others(a)");
    EXPECT_THAT(failure_of([&] { hand(on_disk(path_)); }), HasSubstr("is a database of another program"));
    std::filesystem::remove(path_);
    (void)hand(on_disk(path_));
    leat::sqlite::database(path_).run("PRAGMA user_version = 2");
    EXPECT_THAT(failure_of([&] { hand(on_disk(path_)); }),
                HasSubstr("is of version 2; this program reads versions up to 1"));
    EXPECT_THAT(failure_of([&] { hand(on_disk("/proc/none/seen.db")); }), HasSubstr("cannot be made"));
}

TEST_F(index_on_disk, of_other_keys_is_refused_unless_its_keys_are_not_wanted) {
    (void)hand(on_disk(path_));
    const auto open = [&](bool keep) { seen_index(on_disk(path_, keep), "other ones").open(); };
    EXPECT_THAT(failure_of([&] { open(true); }), HasSubstr("are those of the test, and now they are other ones"));
    EXPECT_EQ(failure_of([&] { open(false); }), "none");
}

// A disk that is full is played by a trigger of the database.
TEST_F(index_on_disk, that_cannot_be_written_says_so_and_the_items_stay_what_they_are) {
    {
        hand one(on_disk(path_));
        one.index->close();
    }
    leat::sqlite::database(path_).run(
        "CREATE TRIGGER full BEFORE INSERT ON unsure BEGIN SELECT raise(FAIL, 'database or disk is full'); END");
    class all_are_done final : public leat::seen_journal {
    public:
        [[nodiscard]] bool resumes() const override { return true; }
        [[nodiscard]] std::string item_of(const leat::ack_ref&) const override { return "item"; }
        [[nodiscard]] bool is_done(const std::string&) override { return true; }
        void when_recorded(const leat::ack_ref&, std::function<void()>) override {}
    } journal;
    hand one(on_disk(path_), &journal);
    fate_probe probe;
    fate_probe later;
    one.pass(1, fate::committed, probe.account());
    EXPECT_THAT(failure_of([&] { one.index->write(); }), HasSubstr("database or disk is full"));
    EXPECT_EQ(probe.how(), fate::committed);  // the sink has it
    EXPECT_TRUE(one.index->must_write());
    one.pass(2, fate::committed, later.account());
    EXPECT_TRUE(later.settled());
    EXPECT_THAT(failure_of([&] { one.index->close(); }), HasSubstr("database or disk is full"));
}

// What a run with a journal had on record when it was killed, and what it had not.
class hand_journal final : public leat::seen_journal {
public:
    explicit hand_journal(std::set<std::string> done = {}, bool resume = false)
        : done_(std::move(done)), resume_(resume) {}
    [[nodiscard]] bool resumes() const override { return resume_; }
    [[nodiscard]] std::string item_of(const leat::ack_ref& of) const override { return std::to_string(of.sequence()); }
    [[nodiscard]] bool is_done(const std::string& item) override { return done_.contains(item); }
    void when_recorded(const leat::ack_ref& of, std::function<void()> then) override {
        waiting.emplace(std::to_string(of.sequence()), std::move(then));
    }
    std::multimap<std::string, std::function<void()>> waiting;

private:
    std::set<std::string> done_;
    bool resume_;
};

TEST_F(index_on_disk, a_run_that_goes_on_forgets_the_keys_of_items_that_the_journal_does_not_know) {
    fate_probe probes[4];
    {
        hand_journal journal;
        hand one(on_disk(path_, false), &journal);
        for (unsigned number = 0; number < 4; ++number)
            one.pass(static_cast<int>(number), fate::committed, probes[number].account(number));
        one.index->write();
        journal.waiting.find("0")->second();  // on record, and the index was told
        one.index->write();
        // Killed: not closed.
    }
    {
        hand_journal journal({"1", "3"}, true);  // on record, though the index was not told
        hand next(on_disk(path_, false), &journal);
        EXPECT_EQ(next.look(0), seen);
        EXPECT_EQ(next.look(1), seen);
        EXPECT_EQ(next.look(3), seen);
        next.pass(2, fate::committed, probes[2].account(2));
        next.index->write();
    }
    hand_journal nothing({}, true);
    hand last(on_disk(path_, false), &nothing);
    EXPECT_EQ(last.look(1), seen);   // sure since
    EXPECT_EQ(last.look(2), first);  // not on record: it comes again
    last.index->watch(key(2), {}).skip();
}

TEST(filter_alone, is_kept_between_runs_and_says_when_it_is_another) {
    const scratch_folder folder;
    leat::dedup_options options = on_disk(folder / "state/seen.bloom");
    options.exact = false;
    {
        hand one(options);
        for (int number = 0; number < 100; ++number) one.pass(number);
        EXPECT_EQ(one.look(7), seen);
        one.index->close();
    }
    {
        hand next(options);
        for (int number = 0; number < 100; ++number) EXPECT_EQ(next.look(number), seen);
        EXPECT_EQ(next.look(1000), first);
        next.index->watch(key(1000), {}).skip();
    }
    leat::dedup_options larger = options;
    larger.items = 2000;
    EXPECT_THAT(failure_of([&] { (void)hand(larger); }), HasSubstr("was made for 1000 keys at 0.0001"));
    EXPECT_THAT(failure_of([&] { seen_index(options, "other ones").open(); }), HasSubstr("now they are other ones"));
    put_file(options.path, "x");
    EXPECT_THAT(failure_of([&] { (void)hand(options); }), HasSubstr("is no saved Bloom filter"));
    options.keep = false;
    EXPECT_EQ(failure_of([&] { (void)hand(options); }), "none");
}

TEST(filter_alone, is_as_full_as_it_may_be_at_its_bound) {
    leat::dedup_options options;
    options.exact = false;
    options.items = 3;
    hand one(options);
    for (int number = 0; number < 3; ++number) one.pass(number);
    EXPECT_EQ(one.look(3), seen_index::place::full);
    EXPECT_EQ(one.look(2), seen);
}

// --- In flows ---

TEST(dedup_flow, a_flow_with_a_state_directory_keeps_keys_when_it_is_told_to) {
    const scratch_folder folder;
    const auto run = [&](const std::string& lines, const std::string& options) {
        put_file(folder / "in", lines);
        const leat::report done =
            run_text("[flow]\nstate='" + (folder / "state") + "'\n[source]\ntype='lines'\npath='" + (folder / "in") +
                     "'\n[[stage]]\nname='one / of each'\ntype='dedup'\n" + options + "\n[sink]\ntype='write'\npath='" +
                     (folder / "out") + "'\n");
        EXPECT_TRUE(done.adds_up());
        return done.error.empty() ? get_file(folder / "out") : done.error;
    };
    EXPECT_EQ(run("a\nb\na\n", "keep=true"), "a\nb\n");
    EXPECT_TRUE(std::filesystem::exists(folder / "state/seen-one%20%2f%20of%20each.db"));
    EXPECT_EQ(run("c\nb\na\nc\n", "keep=true"), "c\n");
    EXPECT_EQ(run("c\n", "keep=true"), "");
    EXPECT_THAT(run("c\n", "keep=true\nkey='line'"),
                HasSubstr("those of key = \"content\", and now they are those of key"));
    EXPECT_EQ(run("c\nc\nx\n", ""), "c\nx\n");
    EXPECT_EQ(run("c\nx\ny\ny\n", "keep=true\nfilter={items=100, confirm='none'}"), "c\nx\ny\n");
    EXPECT_EQ(run("c\nz\ny\n", "keep=true\nfilter={items=100, confirm='none'}"), "z\n");
}

TEST(dedup_flow, keys_cannot_be_kept_without_a_state_directory) {
    const leat::report done =
        run_text("[source]\ntype='list'\nitems=['a']\n[[stage]]\ntype='dedup'\nkeep=true\n[sink]\ntype='null'\n");
    EXPECT_EQ(done.end, leat::flow_end::failed);
    EXPECT_THAT(done.error, HasSubstr("keys can be kept in a state directory alone"));
}

TEST(dedup_flow, an_index_that_fails_fails_the_flow_whatever_is_said_of_items_that_fail) {
    const scratch_folder folder;
    const std::string path = folder / "seen.db";
    put_file(path, std::string(8192, 'x'));
    std::vector<int> numbers(100, 1);
    int kept = 0;
    auto graph = leat::from(numbers) |
                 leat::dedup("unique", [](int number) { return number; }).on_disk(path).on_error(leat::on_error::skip) |
                 leat::for_each("keep", [&kept](int) { ++kept; });
    const leat::report done = leat::run(leat::run_options(2), leat::run_flow, std::move(graph), leat::flow_options());
    EXPECT_EQ(done.end, leat::flow_end::failed);
    EXPECT_THAT(done.error, HasSubstr("unique: the index of seen keys is damaged"));
    EXPECT_EQ(done.skipped, 0U);
    EXPECT_EQ(kept, 0);
}

TEST(dedup_flow, a_stage_that_cannot_go_on_leaves_its_item_unfinished) {
    auto graph = leat::from(std::vector<int>(10, 1)) |
                 leat::map("broken",
                           [](int number) {
                               if (number == 1) throw leat::stage_failed("no more");
                               return number;
                           })
                     .on_error(leat::on_error::skip) |
                 leat::for_each("none", [](int) {});
    const leat::report done = leat::run(leat::run_options(1), leat::run_flow, std::move(graph), leat::flow_options());
    EXPECT_EQ(done.error, "broken: no more");
    EXPECT_EQ(done.skipped + done.out + done.failed, 0U);
    EXPECT_TRUE(done.adds_up());
}

struct point {
    int x;
    int y;
};

TEST(dedup_flow, in_cpp_keys_are_what_a_function_says) {
    const auto kept = [](auto key) {
        std::vector<int> all;
        auto graph = leat::from(std::views::iota(0, 10)) | leat::dedup("unique", key).expecting(100) |
                     leat::for_each("keep", [&all](int number) { all.push_back(number); });
        const leat::report done =
            leat::run(leat::run_options(2), leat::run_flow, std::move(graph), leat::flow_options());
        EXPECT_EQ(done.out, all.size());
        EXPECT_EQ(done.skipped, 10 - all.size());
        return all;
    };
    EXPECT_THAT(kept([](int number) { return number / 4; }), ElementsAre(0, 4, 8));
    EXPECT_THAT(kept([](int number) { return std::string(static_cast<std::size_t>(number % 3), 'x'); }),
                ElementsAre(0, 1, 2));
    EXPECT_THAT(kept([](int number) { return point{number / 6, 0}; }), ElementsAre(0, 6));
    EXPECT_THAT(kept([](int number) { return digest_of(number < 5 ? "a" : "b"); }), ElementsAre(0, 5));
}

TEST(dedup_flow, on_disk_a_hundred_thousand_items_leave_as_many_as_there_are_keys) {
    const scratch_folder folder;
    for (const bool again : {false, true}) {
        std::uint64_t sum = 0;
        auto graph = leat::from(std::views::iota(0, 100'000)) |
                     leat::dedup("unique", [](int number) { return number * 7919 % 40'000; })
                         .on_disk(folder / "seen.db")
                         .expecting(20'000)
                         .keep() |
                     leat::for_each("keep", [&sum](int) { ++sum; });
        const leat::report done =
            leat::run(leat::run_options(2), leat::run_flow, std::move(graph), leat::flow_options());
        EXPECT_EQ(done.error, "");
        EXPECT_EQ(done.out, again ? 0U : 40'000U);
        EXPECT_EQ(sum, done.out);
        EXPECT_EQ(done.skipped, 100'000 - done.out);
    }
}

// Items that fail, wait and overtake each other as the seed has it.
leat::task<> random_run(std::string path) {
    std::map<int, int> committed;
    const auto key_of = [](int number) { return number % 17; };
    const auto work = [](int number) -> leat::task<int> {
        if (leat::sim::chance(50)) co_await leat::sleep_for(std::chrono::milliseconds(leat::sim::draw(300)));
        if (leat::sim::chance(25)) throw std::runtime_error("fails now and then");
        co_return number;
    };
    auto graph = leat::from(std::views::iota(0, 80)) | leat::dedup("unique", key_of).on_disk(path).expecting(100) |
                 leat::map("work", work).concurrency(4).on_error(leat::on_error::keep_going) |
                 leat::for_each("keep", [&](int number) { ++committed[key_of(number)]; });
    const leat::report done = co_await leat::run_flow(std::move(graph));
    if (!done.adds_up() || done.in != 80 || done.unfinished != 0) throw std::logic_error("the account does not add up");
    if (done.out != committed.size()) throw std::logic_error("not what came out");
    for (const auto& [key, times] : committed)
        if (times != 1) throw std::logic_error("a key was committed twice");
    if (path.empty()) co_return;
    auto again = std::make_shared<seen_index>(on_disk(path), "of the program's unique");
    again->open();
    for (int number = 0; number < 17; ++number) {
        const key_digest one = digest_of({reinterpret_cast<const char*>(&number), sizeof number});
        const bool known = again->look(one, {}) != first;
        if (known != committed.contains(number)) throw std::logic_error("the index has other keys than the sink");
        if (!known) again->watch(one, {}).skip();
    }
}

TEST(dedup_flow, a_key_is_committed_once_at_most_under_every_seed) {
    const auto in_memory = [] { return random_run(""); };
    leat::sim::explore({.seeds = 300, .run = {.stall_percent = 1}}, in_memory);
    const scratch_folder folder;
    const auto with_index = [&folder] { return random_run(folder / "seen.db"); };
    leat::sim::explore({.seeds = 30, .run = {.stall_percent = 1}}, with_index);
}

// A run that the journal kills at one of its writes, and one that goes on with it: what is on record as committed from the first,
// and what comes out of the second, are together one item of each key.
leat::task<> killed_and_resumed(std::string path, unsigned writes, bool loses_last) {
    leat_test::journal_store store;
    store.writes_left = writes;
    store.crash_loses_last = loses_last;
    std::vector<int> came;
    const auto run = [&](leat::journal_mode mode) -> leat::task<leat::report> {
        leat_test::fake_journal kept(store);
        leat::flow_options options;
        options.journal = &kept;
        options.journal_mode = mode;
        const auto work = [](int number) -> leat::task<int> {
            co_await leat::sleep_for(std::chrono::milliseconds(leat::sim::draw(100)));
            co_return number;
        };
        auto graph = leat::from(std::views::iota(0, 80)) |
                     leat::dedup("unique", [](int number) { return number % 17; }).on_disk(path).expecting(100) |
                     leat::map("work", work).concurrency(3) |
                     leat::for_each("keep", [&came](int number) { came.push_back(number); });
        leat::flow_graph made = std::move(graph);
        co_return co_await leat::run_flow(std::move(made), options);
    };
    (void)co_await run(leat::journal_mode::fresh);
    if (store.has_crashed) {
        came.clear();
        for (const auto& [item, entry] : store.items)
            if (entry.how == fate::committed) came.push_back(std::stoi(item.first));
        store.has_crashed = false;
        store.writes_left = leat_test::journal_store::never;
        const leat::report done = co_await run(leat::journal_mode::resume);
        if (done.end != leat::flow_end::complete) throw std::logic_error(done.error);
    }
    std::map<int, int> keys;
    for (const int number : came) ++keys[number % 17];
    if (keys.size() != 17) throw std::logic_error("a key was lost");
    for (const auto& [key, times] : keys)
        if (times != 1) throw std::logic_error("a key came twice");
}

TEST(dedup_flow, through_a_crash_at_any_write_of_the_journal_each_key_comes_once) {
    const scratch_folder folder;
    for (unsigned writes = 0; writes < 6; ++writes)
        for (const bool loses_last : {false, true}) {
            SCOPED_TRACE(writes);
            const auto program = [&] { return killed_and_resumed(folder / "seen.db", writes, loses_last); };
            leat::sim::explore({.seeds = 8}, program);
        }
}

// Killed at some moment: then no key is known whose item had not come out before.
TEST(dedup_flow, after_a_kill_no_key_is_seen_whose_item_was_not_committed) {
    const scratch_folder folder;
    const std::string out = folder / "out";
    const std::string path = folder / "seen.db";
    for (int round = 0; round < 3; ++round) {
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            const std::unique_ptr<std::FILE, int (*)(std::FILE*)> to(std::fopen(out.c_str(), "a"), &std::fclose);
            hand one(on_disk(path));
            for (int number = 0; number < 1'000'000; ++number) {
                if (one.look(number) != first) continue;
                leat::ack_ref account = one.index->watch(key(number), {});
                std::fprintf(to.get(), "%d\n", number);
                std::fflush(to.get());
                account.commit();
                if (number % 50 == 49) one.index->write();
            }
            ::_exit(0);
        }
        // Until it has done something.
        const auto size = [&] {
            std::error_code none;
            const auto bytes = std::filesystem::file_size(out, none);
            return none ? 0 : bytes;
        };
        const auto before = size();
        while (size() < before + 3000) ::usleep(1000);
        ::kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
    }
    std::set<int> had;
    std::istringstream lines(get_file(out));
    for (int number = 0; lines >> number;) had.insert(number);
    hand last(on_disk(path));
    for (int number = 0; number < 20'000; ++number) {
        const seen_index::place where = last.look(number);
        if (where == seen) ASSERT_TRUE(had.contains(number)) << number;
        else last.index->watch(key(number), {}).skip();
    }
}

}  // namespace
