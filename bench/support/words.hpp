// Text of made-up words, some of them frequent and most rare, as in a language: what compressors are measured with. The same
// for the same seed, on every machine.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <support/bench.hpp>

namespace bench {

class word_text {
public:
    explicit word_text(std::uint64_t seed) : seed_(seed) {
        constexpr unsigned words = 20'000;
        constexpr char letters[] = "eeeeeetttttaaaaooooiiiinnnnssshhhrrrdddlllcuummwwffggyyppbbvk";
        for (unsigned i = 0; i < words; ++i) {
            std::string word;
            for (std::uint64_t length = 2 + below(4) + below(5); word.size() < length;)
                word += letters[below(sizeof letters - 1)];
            words_.push_back(std::move(word));
        }
    }
    // The next `count` bytes.
    std::string take(std::size_t count) {
        std::string text = std::move(left_);
        while (text.size() < count) {
            // Uniform in the logarithm: a word's frequency is the inverse of its rank.
            const double uniform = static_cast<double>(draw() >> 11U) * 0x1p-53;
            const auto rank = static_cast<std::size_t>(std::pow(static_cast<double>(words_.size()), uniform)) - 1;
            text += words_[rank];
            text += below(12) == 0 ? ".\n" : " ";
        }
        left_ = text.substr(count);
        text.resize(count);
        return text;
    }

private:
    std::uint64_t draw() { return spin(seed_++, 3); }
    std::uint64_t below(std::uint64_t bound) { return (draw() >> 20U) % bound; }

    std::uint64_t seed_;
    std::vector<std::string> words_;
    std::string left_;
};

}  // namespace bench
