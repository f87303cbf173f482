#include <flow/sqlite.hpp>

#include <fstream>

#include <gtest/gtest.h>

#include <flow_kinds.hpp>

namespace leat::sqlite {
namespace {

TEST(sqlite, what_was_committed_is_there_again_and_the_rest_is_not) {
    const leat_test::scratch_folder folder;
    const std::string path = folder / "a.db";
    const std::string key("a\0b", 3);
    {
        database db(path);
        db.run("CREATE TABLE seen(key BLOB PRIMARY KEY, what TEXT, n INTEGER, x REAL) WITHOUT ROWID");
        statement put(db, "INSERT INTO seen VALUES(?1, ?2, ?3, ?4)");
        transaction first(db);
        put.bind_blob(1, key).bind(2, "").bind(3, std::int64_t{7}).bind(4, 0.5).run();
        first.commit();
        const transaction second(db);
        put.bind_blob(1, "c").bind_null(2).bind(3, std::int64_t{8}).bind_null(4).run();
    }
    database db(path, access::read);
    statement all(db, "SELECT key, what, n, x FROM seen");
    ASSERT_TRUE(all.next());
    EXPECT_EQ(all.text(0), key);
    EXPECT_EQ(all.text(1), "");
    EXPECT_FALSE(all.is_null(1));
    EXPECT_EQ(all.integer(2), 7);
    EXPECT_EQ(all.number(3), 0.5);
    EXPECT_FALSE(all.next());
}

TEST(sqlite, errors_name_the_file_and_what_kind_they_are) {
    const leat_test::scratch_folder folder;
    const std::string path = folder / "a.db";
    EXPECT_THROW(database(path, access::write), error);
    std::ofstream(path) << std::string(5000, 'x');
    try {
        database(path).run("CREATE TABLE a(b)");
        FAIL() << "it is no database";
    } catch (const error& no) {
        EXPECT_TRUE(no.is_damaged()) << no.what();
        EXPECT_EQ(std::string(no.what()).find(path + ": "), 0U) << no.what();
    }
}

TEST(sqlite, a_second_writer_waits_and_is_then_told) {
    const leat_test::scratch_folder folder;
    const std::string path = folder / "a.db";
    database one(path);
    database other(path, access::write, std::chrono::milliseconds(1));
    const transaction held(one);
    try {
        const transaction refused(other);
        FAIL() << "two write";
    } catch (const error& busy) {
        EXPECT_TRUE(busy.is_busy()) << busy.what();
    }
}

}  // namespace
}  // namespace leat::sqlite
