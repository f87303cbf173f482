#include <leat/process/spool.hpp>

#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>
#include <process/bounded_text.hpp>
#include <sys/resource.h>

namespace {

std::string numbers(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += std::to_string(i) + ' ';
    return text;
}

std::string in_pieces(const leat::spool& from, std::size_t piece) {
    std::string all;
    std::string buffer(piece, '\0');
    while (const std::size_t got = from.read_at(all.size(), buffer)) all.append(buffer, 0, got);
    return all;
}

TEST(spool, keeps_little_in_memory_and_much_in_a_file_and_gives_both_back) {
    const std::string text = numbers(1000);
    for (const std::size_t memory : {std::size_t{0}, std::size_t{100}, text.size() - 1, text.size()}) {
        leat::spool spool(memory);
        for (std::size_t at = 0; at < text.size(); at += 77) spool.append(std::string_view(text).substr(at, 77));
        EXPECT_EQ(spool.in_memory(), memory == text.size());
        EXPECT_EQ(spool.size(), text.size());
        EXPECT_EQ(spool.text(), text);
        EXPECT_EQ(in_pieces(spool, 100), text);
        EXPECT_EQ(spool.take_text(), text);
        EXPECT_TRUE(spool.empty());
        spool.append(std::string_view("again"));
        EXPECT_EQ(spool.text(), "again");
    }
}

TEST(spool, its_file_has_no_name) {
    const auto here = std::filesystem::temp_directory_path() / ("leat-spool-test-" + std::to_string(::getpid()));
    std::filesystem::create_directory(here);
    leat::spool spool(10, here);
    spool.append(std::string_view("more than ten bytes"));
    EXPECT_GE(spool.file(), 0);
    EXPECT_TRUE(std::filesystem::is_empty(here));
    std::filesystem::remove_all(here);
    EXPECT_EQ(spool.text(), "more than ten bytes");
}

TEST(spool, a_directory_that_is_not_there_is_named_in_the_error) {
    leat::spool spool(4, "/leat/no/such/place");
    spool.append(std::string_view("1234"));
    try {
        spool.append(std::string_view("5"));
        FAIL() << "it found a place";
    } catch (const leat::spool_error& error) {
        EXPECT_EQ(error.code(), ENOENT);
        EXPECT_NE(std::string(error.what()).find("/leat/no/such/place"), std::string::npos);
    }
    EXPECT_EQ(spool.text(), "1234");
}

TEST(spool, a_write_that_fails_leaves_what_was_there) {
    rlimit before{};
    ::getrlimit(RLIMIT_FSIZE, &before);
    const auto action = ::signal(SIGXFSZ, SIG_IGN);
    rlimit small = before;
    small.rlim_cur = 1000;
    ::setrlimit(RLIMIT_FSIZE, &small);
    leat::spool spool(0);
    spool.append(std::string(900, 'a'));
    EXPECT_THROW(spool.append(std::string(900, 'b')), leat::spool_error);
    EXPECT_EQ(spool.text(), std::string(900, 'a'));
    ::setrlimit(RLIMIT_FSIZE, &before);
    ::signal(SIGXFSZ, action);
}

TEST(bounded_text, keeps_both_ends_and_counts_the_middle) {
    const std::string text = numbers(2000);
    for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{64}, text.size()}) {
        leat::bounded_text bounded(10, 20);
        for (std::size_t at = 0; at < text.size(); at += step) bounded.append(std::string_view(text).substr(at, step));
        EXPECT_EQ(bounded.omitted_bytes(), text.size() - 30);
        EXPECT_EQ(bounded.text(), text.substr(0, 10) + "\n[... " + std::to_string(text.size() - 30) +
                                      " bytes left out ...]\n" + text.substr(text.size() - 20));
    }
}

TEST(bounded_text, gives_back_unchanged_what_fits) {
    for (std::size_t length = 0; length <= 30; ++length) {
        leat::bounded_text bounded(10, 20);
        const std::string text = numbers(100).substr(0, length);
        for (const char each : text) bounded.append({&each, 1});
        EXPECT_EQ(bounded.text(), text);
        EXPECT_EQ(bounded.omitted_bytes(), 0);
    }
}

}  // namespace
