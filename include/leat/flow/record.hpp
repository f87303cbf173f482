// record: the item of flow files and of the built-in kinds: bytes, a key, and where it came from.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace leat {

struct record {
    record() = default;
    explicit record(std::string content, std::string name = {}) : bytes(std::move(content)), key(std::move(name)) {}

    // An attribute's value; empty when there is none.
    [[nodiscard]] const std::string& attribute(const std::string& which) const noexcept {
        static const std::string none;
        for (const auto& [name, value] : attributes)
            if (name == which) return value;
        return none;
    }
    void set_attribute(std::string which, std::string value) {
        for (auto& [name, old] : attributes)
            if (name == which) return void(old = std::move(value));
        attributes.emplace_back(std::move(which), std::move(value));
    }

    [[nodiscard]] std::size_t weight() const noexcept { return sizeof(record) + bytes.capacity() + key.capacity(); }
    [[nodiscard]] std::string name() const { return key.empty() ? bytes.substr(0, 80) : key; }

    std::string bytes;  // the content; any bytes
    std::string key;    // what the item is called: a path, "file:line", or what a stage made of it
    std::vector<std::pair<std::string, std::string>>
        attributes;              // e.g. "file": path, "line": number; in order of setting
    std::uint64_t sequence = 0;  // the number of the source item it comes from, from 0
};

}  // namespace leat
