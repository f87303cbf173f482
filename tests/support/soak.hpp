// A test that goes on with new seeds for as long as it is given: some rounds among the other tests, its share of the minutes
// in `./dev soak`. Such a test has "soak" in its name, which is how `./dev soak` finds it.
//
//     for (leat_test::soak rounds(12); rounds.go_on();) {
//         SCOPED_TRACE(rounds.text());
//         one_run(rounds.seed());
//     }
#pragma once

#include <chrono>
#include <cstdlib>
#include <random>
#include <string>

#include <gtest/gtest.h>

namespace leat_test {

// Numbers drawn from a seed, each time the same.
class dice {
public:
    explicit dice(unsigned seed) : random_(seed) {}
    // From 0 to sides - 1.
    unsigned operator()(unsigned sides) { return static_cast<unsigned>(random_() % sides); }

private:
    std::mt19937 random_;
};

class soak {
public:
    // `rounds`: how many without LEAT_SOAK_SECONDS or LEAT_SOAK_ROUNDS. LEAT_SOAK_SEED is the first seed.
    explicit soak(unsigned rounds) : left_(rounds) {
        if (const char* const seconds = std::getenv("LEAT_SOAK_SECONDS"))
            end_ = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(seconds));
        if (const char* const count = std::getenv("LEAT_SOAK_ROUNDS")) left_ = static_cast<unsigned>(std::atoi(count));
        if (const char* const first = std::getenv("LEAT_SOAK_SEED"))
            seed_ = static_cast<unsigned>(std::strtoul(first, nullptr, 10)) - 1;
    }
    // Begins the next round; false when it is enough, or one has failed.
    bool go_on() {
        if (testing::Test::HasFailure()) return false;
        if (end_ == never ? left_-- == 0 : std::chrono::steady_clock::now() >= end_) return false;
        ++seed_;
        ++rounds_;
        return true;
    }
    [[nodiscard]] unsigned seed() const noexcept { return seed_; }
    [[nodiscard]] std::string text() const { return "LEAT_SOAK_SEED=" + std::to_string(seed_); }
    ~soak() { testing::Test::RecordProperty("rounds", static_cast<int>(rounds_)); }
    soak(const soak&) = delete;

private:
    static constexpr std::chrono::steady_clock::time_point never{};
    std::chrono::steady_clock::time_point end_ = never;
    unsigned left_;
    unsigned seed_ = 0;
    unsigned rounds_ = 0;
};

}  // namespace leat_test
