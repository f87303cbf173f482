// One suite for every kind of journal; then what the one on disk does with files that are not as they should be.
#include <fstream>
#include <thread>

#include <fake_journal.hpp>
#include <flow/sqlite_journal.hpp>
#include <flow_kinds.hpp>
#include <gmock/gmock.h>

namespace {

using leat::fate;
using leat::journal_batch;
using leat::journal_mode;
using testing::HasSubstr;

// Where a journal is, to be opened again and again.
struct fake_place {
    std::unique_ptr<leat::journal> open() { return std::make_unique<leat_test::fake_journal>(store); }
    leat_test::journal_store store;
};
struct sqlite_place {
    std::unique_ptr<leat::journal> open() { return leat::open_journal(folder / "state"); }
    leat_test::scratch_folder folder;
};

template <class Place>
class journal : public testing::Test {
protected:
    Place place;
};
using places = testing::Types<fake_place, sqlite_place>;
TYPED_TEST_SUITE(journal, places);

journal_batch::settled item(const std::string& key, fate how, const std::string& error = {}) {
    journal_batch::settled one;
    one.item = key;
    one.entry.how = how;
    if (!error.empty()) {
        one.entry.stage = "stage";
        one.entry.error = error;
        one.entry.attempts = 3;
    }
    return one;
}
leat::kept_letter letter(const std::string& key, const std::string& bytes) {
    leat::kept_letter one;
    one.item = key;
    one.stage = "stage";
    one.attempts = 2;
    one.error = "no";
    one.has_value = true;
    one.value = leat::record(bytes, "name of " + key);
    one.value.set_attribute("file", std::string("a\0b", 3));
    one.value.set_attribute("line", "7");
    return one;
}
std::vector<leat::kept_letter> letters_of(leat::journal& in) {
    std::vector<leat::kept_letter> all;
    in.for_each_letter(0, [&](leat::kept_letter&& each) { return all.push_back(std::move(each)), true; });
    return all;
}

TYPED_TEST(journal, what_was_written_is_found_by_a_run_that_resumes_and_by_no_fresh_one) {
    const std::string odd("a\0\xff", 3);
    {
        const auto first = this->place.open();
        EXPECT_FALSE(first->last_run());
        const auto number = first->begin(journal_mode::fresh, "flow");
        EXPECT_FALSE(first->find("a"));
        journal_batch batch;
        batch.items = {item("a", fate::committed), item(odd, fate::skipped), item("b", fate::failed, "broken")};
        batch.sinks = {{"out", 42}};
        first->write(batch);
        EXPECT_EQ(number, 1U);
    }
    {
        const auto second = this->place.open();
        const auto before = second->last_run();
        ASSERT_TRUE(before);
        EXPECT_FALSE(before->is_complete());
        EXPECT_EQ(before->flow, "flow");
        EXPECT_EQ(before->done, 2U);
        second->begin(journal_mode::resume, "flow");
        ASSERT_TRUE(second->find("a"));
        EXPECT_EQ(second->find("a")->how, fate::committed);
        EXPECT_EQ(second->find(odd)->how, fate::skipped);
        EXPECT_EQ(second->find("b")->how, fate::failed);
        EXPECT_EQ(second->find("b")->error, "broken");
        EXPECT_FALSE(second->find("c"));
        EXPECT_EQ(second->sink_length("out"), 42U);
        EXPECT_FALSE(second->sink_length("other"));
        journal_batch batch;
        batch.items = {item("b", fate::committed)};
        batch.sinks = {{"out", 50}};
        second->write(batch);
        second->end("complete");
    }
    {
        const auto third = this->place.open();
        EXPECT_TRUE(third->last_run()->is_complete());
        EXPECT_EQ(third->last_run()->done, 3U);
        third->begin(journal_mode::resume, "flow");
        EXPECT_EQ(third->find("b")->how, fate::committed) << "the last word counts";
        EXPECT_EQ(third->sink_length("out"), 50U);
    }
    const auto fresh = this->place.open();
    fresh->begin(journal_mode::fresh, "other flow");
    EXPECT_FALSE(fresh->find("a"));
    EXPECT_FALSE(fresh->sink_length("out"));
}

TYPED_TEST(journal, dead_letters_are_kept_whole_until_their_item_is_settled_again) {
    {
        const auto first = this->place.open();
        first->begin(journal_mode::fresh, "flow");
        journal_batch batch;
        batch.items = {item("a", fate::dead, "no"), item("b", fate::dead, "no")};
        batch.letters = {letter("a", std::string("x\0y", 3)), letter("b", "1"), letter("b", "2")};
        first->write(batch);
        const auto kept = letters_of(*first);
        ASSERT_EQ(kept.size(), 3U);
        EXPECT_EQ(kept[0].item, "a");
        EXPECT_EQ(kept[0].stage, "stage");
        EXPECT_EQ(kept[0].attempts, 2U);
        EXPECT_EQ(kept[0].error, "no");
        EXPECT_TRUE(kept[0].has_value);
        EXPECT_EQ(kept[0].value.bytes, std::string("x\0y", 3));
        EXPECT_EQ(kept[0].value.key, "name of a");
        EXPECT_EQ(kept[0].value.attribute("file"), std::string("a\0b", 3));
        EXPECT_EQ(kept[0].value.attribute("line"), "7");
    }
    const auto second = this->place.open();
    second->begin(journal_mode::resume, "flow");
    EXPECT_EQ(second->find("b")->how, fate::dead);
    journal_batch batch;
    batch.items = {item("b", fate::committed)};
    second->write(batch);
    const auto kept = letters_of(*second);
    ASSERT_EQ(kept.size(), 1U);
    EXPECT_EQ(kept[0].item, "a");
}

TYPED_TEST(journal, a_replay_takes_out_what_succeeds_and_adds_attempts_to_what_does_not) {
    {
        const auto first = this->place.open();
        first->begin(journal_mode::fresh, "flow");
        journal_batch batch;
        for (const char* const each : {"a", "b", "c"}) {
            batch.items.push_back(item(each, fate::dead, "no"));
            batch.letters.push_back(letter(each, each));
        }
        batch.letters.push_back(letter("a", "second of a"));
        first->write(batch);
        first->end("complete");
    }
    {
        const auto replay = this->place.open();
        replay->begin(journal_mode::replay, "flow");
        const auto kept = letters_of(*replay);
        ASSERT_EQ(kept.size(), 4U);
        journal_batch batch;
        batch.items = {item(std::to_string(kept[0].id), fate::committed),
                       item(std::to_string(kept[1].id), fate::dead, "again"),
                       item(std::to_string(kept[2].id), fate::failed, "worse")};
        leat::kept_letter again = letter(std::to_string(kept[1].id), "b");
        again.error = "again";
        batch.letters = {again};
        replay->write(batch);
        replay->end("complete");
        const auto left = letters_of(*replay);
        ASSERT_EQ(left.size(), 3U);
        EXPECT_EQ(left[0].item, "c");
        EXPECT_EQ(left[0].attempts, 5U);
        EXPECT_EQ(left[0].error, "worse");
        EXPECT_EQ(left[1].item, "a");
        EXPECT_EQ(left[1].value.bytes, "second of a");
        EXPECT_EQ(left[2].item, "b");
        EXPECT_EQ(left[2].attempts, 4U);
        EXPECT_EQ(left[2].error, "again");
    }
    const auto next = this->place.open();
    EXPECT_EQ(next->last_run()->number, 1U) << "replays are no runs of the flow";
    next->begin(journal_mode::resume, "flow");
    EXPECT_EQ(next->find("a")->how, fate::dead) << "one of its letters is left";
    EXPECT_EQ(next->find("c")->how, fate::dead);
}

// --- On disk ---

TEST(sqlite_journal, one_run_is_at_work_at_a_time_and_the_other_is_told_which) {
    const leat_test::scratch_folder folder;
    const auto first = leat::open_journal(folder / "state");
    try {
        (void)leat::open_journal(folder / "state");
        FAIL() << "two at work";
    } catch (const leat::journal_refused& no) {
        EXPECT_THAT(no.what(), HasSubstr("another run of this flow is at work: pid " + std::to_string(::getpid())));
    }
}

TEST(sqlite_journal, an_older_version_is_brought_up_and_a_newer_one_is_refused) {
    const leat_test::scratch_folder folder;
    const std::string state = folder / "state";
    {
        const leat::sqlite_journal old(state, 1);
        EXPECT_THROW(leat::journal_reader{state}, leat::journal_refused) << "who only looks changes nothing";
    }
    {
        const auto brought_up = leat::open_journal(state);
        brought_up->begin(journal_mode::fresh, "flow");
        journal_batch batch;
        batch.items = {item("a", fate::dead, "no")};
        batch.letters = {letter("a", "x")};
        brought_up->write(batch);
        EXPECT_EQ(letters_of(*brought_up).size(), 1U);
    }
    EXPECT_EQ(leat::journal_reader(state).letters(), 1U);
    leat::sqlite::database(state + "/journal.db").run("PRAGMA user_version = 99");
    for (const bool looks : {true, false}) {
        try {
            if (looks) (void)leat::journal_reader(state);
            else (void)leat::open_journal(state);
            FAIL() << "it is of a newer version";
        } catch (const leat::journal_refused& no) {
            EXPECT_THAT(no.what(), HasSubstr("has version 99; this leat knows version 2 at most"));
        }
    }
}

TEST(sqlite_journal, what_is_no_journal_or_was_cut_off_is_said_to_be_damaged) {
    const leat_test::scratch_folder folder;
    const std::string file = folder / "state/journal.db";
    {
        const auto whole = leat::open_journal(folder / "state");
        whole->begin(journal_mode::fresh, "flow");
        journal_batch batch;
        for (int i = 0; i < 10'000; ++i) batch.items.push_back(item("some item " + std::to_string(i), fate::committed));
        whole->write(batch);
        whole->end("complete");
    }
    const auto size = std::filesystem::file_size(file);
    for (const auto keep : {size - 4096, size / 2, std::uintmax_t{8192}, std::uintmax_t{100}}) {
        std::filesystem::resize_file(file, keep);
        try {
            (void)leat::open_journal(folder / "state");
            FAIL() << "it was cut off at " << keep;
        } catch (const std::runtime_error& no) {
            EXPECT_THAT(no.what(), HasSubstr("is damaged"));
            EXPECT_THAT(no.what(), HasSubstr(file));
        }
    }
    std::ofstream(file) << std::string(5000, 'x');
    EXPECT_THROW((void)leat::open_journal(folder / "state"), std::runtime_error);
}

TEST(sqlite_journal, a_reader_looks_while_a_run_is_at_work) {
    const leat_test::scratch_folder folder;
    EXPECT_THROW(leat::journal_reader(folder / "none"), leat::journal_refused);
    const auto at_work = leat::open_journal(folder / "state");
    at_work->begin(journal_mode::fresh, "flow");
    journal_batch batch;
    batch.items = {item("dir/a", fate::failed, "broken")};
    leat::item_event event;
    event.item = "dir/a";
    event.stage = "stage";
    event.attempt = 1;
    event.error = "broken";
    batch.events = {event};
    at_work->write(batch);
    leat::journal_reader looks(folder / "state");
    ASSERT_EQ(looks.runs().size(), 1U);
    ASSERT_EQ(looks.entries_of("dir/a").size(), 1U);
    EXPECT_EQ(looks.entries_of("dir/a")[0].error, "broken");
    ASSERT_EQ(looks.events_of("dir/a").size(), 1U);
    EXPECT_EQ(looks.events_of("dir/a")[0].attempt, 1U);
    EXPECT_THAT(looks.similar("r/a"), testing::ElementsAre("dir/a"));
    at_work->write(batch);
    EXPECT_EQ(looks.events_of("dir/a").size(), 2U);
}

TEST(sqlite_journal, stories_go_back_to_the_runs_before_these_and_no_further) {
    const leat_test::scratch_folder folder;
    for (int run = 1; run <= 3; ++run) {
        const auto journal = leat::open_journal(folder / "state");
        journal->begin(journal_mode::fresh, "flow");
        journal_batch batch;
        batch.items = {item("a", fate::committed)};
        journal->write(batch);
        journal->end("complete");
    }
    leat::journal_reader looks(folder / "state");
    const auto entries = looks.entries_of("a");
    ASSERT_EQ(entries.size(), 2U);
    EXPECT_EQ(entries[0].run, 2U);
    EXPECT_EQ(entries[1].run, 3U);
}

}  // namespace
