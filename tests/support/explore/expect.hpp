// What tests expect of an exploration. Used by tests/explore.
#pragma once

#include <gtest/gtest.h>

#include <explore/explorer.hpp>
#include <string>

namespace leat::explore {

// Every schedule, but those that only swap neighbouring steps which have nothing to do with each other.
inline const options all_schedules{.reduce = true};

// Every schedule within the bounds was run, there was more than one, and none failed.
inline void expect_right(const report& of) {
    EXPECT_TRUE(of.ok()) << of.text();
    EXPECT_TRUE(of.complete) << of.text();
    EXPECT_GT(of.schedules, 1U) << "threads that never meet test nothing";
    testing::Test::RecordProperty("schedules", static_cast<int>(of.schedules));
}

// A schedule failed, and says `symptom`.
inline void expect_broken(const report& of, const std::string& symptom) {
    EXPECT_FALSE(of.ok()) << "not found: " << symptom << '\n' << of.text();
    EXPECT_NE(of.failure.find(symptom), std::string::npos) << of.text();
}

}  // namespace leat::explore
