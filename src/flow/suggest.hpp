// suggest: which of the words that are known was probably meant. For messages about unknown keys, kinds and names.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace leat {

// How many letters must be put in, taken out, replaced, or swapped with their neighbour to make one word of the other.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> above2(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) above[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = std::min(row[j], above2[j - 2] + 1);
        }
        std::swap(above2, above);
        std::swap(above, row);
    }
    return above[b.size()];
}

// Whether `word` may be a slip of the pen for `meant`; `distance` is set when it is.
inline bool is_near(std::string_view word, std::string_view meant, std::size_t& distance) {
    if (word.size() > 64) return false;
    distance = edit_distance(word, meant);
    return distance <= std::max<std::size_t>(1, meant.size() / 3);
}

// A word to look for, and what to propose when it is found.
struct candidate {
    std::string_view word;
    std::string_view proposal;
};

// The proposal of the nearest candidate; empty when none is near.
inline std::string nearest(std::string_view word, const std::vector<candidate>& candidates) {
    std::string_view best;
    std::size_t least = word.size() + 64;
    for (const candidate& each : candidates) {
        std::size_t distance = 0;
        if (is_near(word, each.word, distance) && distance < least) {
            least = distance;
            best = each.proposal;
        }
    }
    return std::string(best);
}

}  // namespace leat
