// The scenarios of tests/explore on a core that holds every mistake of mutants.toml, of which one is switched on:
//     leat_mutants NUMBER [googletest arguments]
// Called by mutants.py, which knows the numbers.
#include <gtest/gtest.h>

#include <cstdlib>

#include "planted.hpp"

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    if (argc != 2) return 2;
    leat::mutants::planted = std::atoi(argv[1]);
    return RUN_ALL_TESTS();
}
