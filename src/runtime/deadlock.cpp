#include <leat/runtime/deadlock.hpp>

#include <algorithm>
#include <map>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace leat::detail {

namespace {

constexpr std::size_t lines_told = 100;
constexpr unsigned looks = 4;  // after 0.1, 1, 10 and 100 seconds

}  // namespace

env::atomic<unsigned> bystander::count{0};

namespace {

struct told_line {
    const context* line;
    int depth;
};

std::string name_of(const context& line) {
    return line.label == 0 ? line.name() : fmt::format("{} (line {})", line.name(), line.label);
}

// By the sources through which a stop request would go.
void collect(stop_source& from, int depth, std::vector<told_line>& into) {
    // A line is in the list since it first waited: in the order of their numbers they are found again. What has none comes
    // first, and there the oldest, which is last in the list.
    std::multimap<std::uint32_t, stop_node*> below;
    from.for_each([&](stop_node& each) {
        const context* const line = context::of(each);
        const std::uint32_t number = line == nullptr ? 0 : line->label;
        below.emplace_hint(below.lower_bound(number), number, &each);
    });
    for (const auto& [number, each] : below) {
        if (stop_source* const source = child_stop_source::of(*each)) collect(*source, depth, into);
        context* const line = context::of(*each);
        if (line == nullptr) continue;
        into.push_back({line, depth});
        collect(line->below(), depth + 1, into);
    }
}

}  // namespace

std::string report_lines(context& root, holders of, std::span<work_item* const> ready) {
    std::vector<told_line> all{{&root, 1}};
    collect(root.below(), 2, all);
    const auto is_known = [&](const context* which) {
        return std::any_of(all.begin(), all.end(), [&](const told_line& each) { return each.line == which; });
    };
    // Those that have never waited are in no source's list.
    for (work_item* const item : ready)
        if (const context* const line = context::of(*item); line != nullptr && !is_known(line))
            all.push_back({line, 2});
    std::string text;
    for (std::size_t i = 0; i < std::min(all.size(), lines_told); ++i) {
        const context& line = *all[i].line;
        text += fmt::format("{:{}}{} ", "", 2 * all[i].depth, name_of(line));
        if (line.waits_for() == nullptr || std::find(ready.begin(), ready.end(), &line) != ready.end()) {
            text += "is ready\n";
            continue;
        }
        text += fmt::format("waits for {}", line.waits_for());
        const wait_place* const place = of == holders::told ? line.waits_at() : nullptr;
        const context* const holder = place == nullptr ? nullptr : place->holder();
        if (is_known(holder)) text += holder == &line ? ", which it holds itself" : ", held by " + name_of(*holder);
        text += '\n';
    }
    if (all.size() > lines_told) text += fmt::format("  and {} more\n", all.size() - lines_told);
    text.pop_back();
    return text;
}

bool any_goes_on(context& root) {
    std::vector<told_line> all{{&root, 1}};
    collect(root.below(), 2, all);
    return std::any_of(all.begin(), all.end(), [](const told_line& each) {
        const char* const what = each.line->waits_for();
        return what == nullptr || std::string_view(what) == "sleep";
    });
}

time_point stillness::at(unsigned look) const noexcept {
    duration after = std::chrono::milliseconds(100);
    for (unsigned i = 1; i < look; ++i) after *= 10;
    return since_ + after;
}

time_point stillness::next_look(time_point now) noexcept {
    if (!enabled) return time_point::max();
    unsigned look = look_.load(env::relaxed);
    if (look == 0) {
        since_ = now;
        told_ = suspect_after_ == duration::zero();
        look = 1;
        look_.store(look, env::relaxed);
    }
    const time_point proof = look <= looks ? at(look) : time_point::max();
    return told_ ? proof : std::min(proof, since_ + suspect_after_);
}

bool stillness::is_due(time_point now) noexcept {
    unsigned look = look_.load(env::relaxed);
    if (look == 0 || look > looks || now < at(look)) return false;
    return look_.compare_exchange_strong(look, look + 1, env::relaxed, env::relaxed);
}

bool stillness::tells_suspicion(time_point now) noexcept {
    if (told_ || look_.load(env::relaxed) == 0 || now < since_ + suspect_after_) return false;
    told_ = true;
    return true;
}

}  // namespace leat::detail
