// examples/etl, the program and the flow file, killed with kill -9 at random moments and run again: the tables are row for row
// those of a run that nobody disturbed. `./dev soak` kills each fifty times a round.
#include <leat_process.hpp>

#include <chrono>
#include <gtest/gtest.h>
#include <thread>

#include <flow/sqlite.hpp>
#include <soak.hpp>

namespace {

using leat_test::dice;
using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::scratch;

unsigned kills_a_round() { return std::getenv("LEAT_SOAK_SECONDS") != nullptr ? 50 : 5; }

// Sales, of which some are bad in all ways.
std::string sales(unsigned rows, dice& random) {
    std::string text = "id,day,product,quantity,price\r\n";
    for (unsigned i = 1; i <= rows; ++i) {
        const std::string id = std::to_string(i);
        switch (random(40)) {
            case 0:
                text += id + ",torn\r\n";
                break;
            case 1:
                text += id + ",2024-01-32,sack,1,2.5\r\n";
                break;
            case 2:
                text += id + ",2024-01-31,\"sa\"ck,1,2.5\r\n";
                break;
            case 3:
                text += "# " + id + ",\r\n";
                break;
            case 4:
                text += id + ",2024-01-31,\"a \"\"large\"\"\r\nsack, of flour\",3,12\r\n";
                break;
            default:
                text += id + ",2024-02-" + std::to_string(10 + random(18)) + ",sack," + std::to_string(random(100)) +
                        ",0.5\r\n";
        }
    }
    return text + "99999999,2024-01-01,\"to";
}

std::vector<std::string> table(const std::string& path, const std::string& name, int columns) {
    leat::sqlite::database db(path, leat::sqlite::access::write);
    leat::sqlite::statement rows(db, "SELECT * FROM " + name + " ORDER BY rowid");
    std::vector<std::string> all;
    while (rows.next()) {
        std::string& row = all.emplace_back();
        for (int i = 0; i < columns; ++i) row += rows.text(i) + "|";
    }
    return all;
}
std::vector<std::string> tables(const std::string& path) {
    std::vector<std::string> all = table(path, "sales", 5);
    for (std::string& each : table(path, "rejects", 3)) all.push_back(std::move(each));
    return all;
}

class killed_etl : public testing::TestWithParam<bool> {
protected:
    leat_process::words words(const std::string& to) const {
        if (GetParam()) return {place_.file("sales.csv"), place_.file(to)};
        place_.write(to + ".toml",
                     "[source]\ntype='csv'\ntrim=true\nbad_rows='pass-on'\npath='" + place_.file("sales.csv") +
                         "'\n[[stage]]\ntype='filter'\npattern='^[^#]'\n[sink]\ntype='sqlite'\npath='" +
                         place_.file(to) +
                         "'\ntable='sales'\nrejects='rejects'\nbatch=100\ncolumns=['id integer required', 'day "
                         "date required', 'product text required', 'quantity integer required', 'price real "
                         "required']\n");
        return {"run", place_.file(to + ".toml")};
    }
    std::string program() const {
        const std::string leat = LEAT_COMMAND;
        return GetParam() ? leat.substr(0, leat.rfind('/')) + "/example_etl" : leat;
    }
    scratch place_;
};

TEST_P(killed_etl, gives_row_for_row_what_an_undisturbed_run_gives_soak) {
    for (leat_test::soak rounds(1); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        dice random(rounds.seed());
        place_.write("sales.csv", sales(20'000, random));
        const auto clear = [this](const std::string& name) {
            for (const char* end : {"", "-wal", "-shm"}) std::filesystem::remove(place_.file(name + end));
        };
        clear("wanted.db");
        const auto begun = std::chrono::steady_clock::now();
        leat_process undisturbed(words("wanted.db"));
        const leat_end first = undisturbed.program(program()).start().wait();
        ASSERT_EQ(first.code, 0) << first.err;
        const auto took =
            std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begun);
        const std::vector<std::string> wanted = tables(place_.file("wanted.db"));
        ASSERT_GT(wanted.size(), 15'000U);

        clear("db");
        unsigned killed = 0;
        unsigned attempts = 0;
        while (killed < kills_a_round() && ++attempts < 20 * kills_a_round()) {
            leat_process run(words("db"));
            run.program(program()).start();
            std::this_thread::sleep_for(std::chrono::microseconds(random(static_cast<unsigned>(took.count()))));
            run.kill(SIGKILL);
            const leat_end end = run.wait();
            if (end.signal == SIGKILL) ++killed;
            else ASSERT_EQ(end.code, 0) << end.err;
            if (end.signal == 0) {
                ASSERT_EQ(tables(place_.file("db")), wanted);
                clear("db");  // it was done: from the beginning
            }
        }
        EXPECT_EQ(killed, kills_a_round());
        for (int i = 0; i < 2; ++i) {  // to its end, and once more for nothing
            leat_process last(words("db"));
            const leat_end end = last.program(program()).start().wait();
            ASSERT_EQ(end.code, 0) << end.err;
            EXPECT_EQ(tables(place_.file("db")), wanted);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(etl, killed_etl, testing::Values(true, false),
                         [](const auto& what) { return what.param ? "program" : "flow_file"; });

}  // namespace
