// What the programs of examples/constructs have in common: each example that docs/constructs.md points to is a function
// that gives a line of text, and each program prints those of its own.
#pragma once

#include <leat/leat.hpp>

#include <cstdio>
#include <span>
#include <sstream>
#include <string>

struct example {
    const char* name;
    leat::task<std::string> (*run)();
};

template <class... Part>
std::string text(const Part&... parts) {
    std::ostringstream all;
    (all << ... << parts);
    return all.str();
}

inline leat::task<> show(std::span<const example> all) {
    for (const example& each : all) {
        const std::string said = co_await each.run();
        std::printf("%s: %s\n", each.name, said.c_str());
    }
}
