// The graph of what was asked for while what was held. One lock guards it: this is for builds that are slow anyway.
#include <leat/sync/lock_order.hpp>

#if defined(LEAT_LOCK_ORDER)

#    include <algorithm>
#    include <fmt/format.h>
#    include <map>
#    include <memory>
#    include <set>
#    include <string>
#    include <vector>

#    include <leat/base/log.hpp>

namespace leat::detail {

namespace {

// A line as reports name it; it may have ended.
struct party {
    const char* name;  // null: a plain thread
    std::source_location spawned_at;
};

struct wish {
    const wait_place* lock;
    const char* kind;  // of the lock
    party by;
    lock_site at;
};

}  // namespace

struct held_lock {
    const wait_place* lock;
    const char* kind;
    const void* line;  // who locked it, see name_of()
    lock_site at;
    bool moved = false;
    std::vector<wish> wishes{};  // since it has moved: not known to be edges yet
};

namespace {

// Somebody asked for `wanted` while he held the lock whose edge this is.
struct edge {
    wish wanted;
    lock_site held_at;
    bool reported = false;
};

struct node {
    const char* kind;
    std::vector<edge> edges{};
    std::vector<const wait_place*> before{};  // whose edges lead here
};

using reports = std::vector<std::string>;

// Addresses are looked up and never gone through in their order, so that a simulation's log is its seed's.
struct order_table {
    env::mutex lock;
    std::map<const void*, std::vector<held_lock*>> held;  // by line, oldest first; none is empty
    std::map<const wait_place*, node> nodes;              // locks that have edges, or had
};

// Never destroyed: static objects may have locks.
order_table& table() noexcept {
    static order_table& only = *new order_table;
    return only;
}

// A name for the line, or for the calling plain thread: a place that only this thread has.
const void* name_of(const context* line) noexcept {
    return line != nullptr ? line : static_cast<const void*>(&env::this_thread(env::slot::context));
}
party party_of(const context* line) noexcept {
    return line != nullptr ? party{line->name(), line->spawned_at()} : party{nullptr, {}};
}

std::string text_of(const std::source_location& at) { return fmt::format("{}:{}", at.file_name(), at.line()); }
std::string text_of(const party& who) {
    if (who.name == nullptr) return "a plain thread";
    if (who.spawned_at.line() == 0) return fmt::format("\"{}\"", who.name);
    return fmt::format("\"{}\" (spawned at {})", who.name, text_of(who.spawned_at));
}
std::string text_of(const wait_place* lock, const node& what) {
    return fmt::format("{} {}", what.kind, fmt::ptr(lock));
}

struct step {
    const wait_place* from;
    const edge* along;
    std::size_t previous;  // the step that led to `from`
};

// The edges of a shortest way between two locks, in order; none when there is no way.
std::vector<step> way(const order_table& all, const wait_place* from, const wait_place* to) {
    constexpr std::size_t start = ~std::size_t{0};
    std::vector<step> steps;
    std::set<const wait_place*> seen{from};
    const auto go_on = [&](const wait_place* at, std::size_t previous) {
        for (const edge& each : all.nodes.at(at).edges)
            if (seen.insert(each.wanted.lock).second) steps.push_back({at, &each, previous});
    };
    go_on(from, start);
    for (std::size_t now = 0; now < steps.size(); ++now) {
        if (steps[now].along->wanted.lock != to) {
            go_on(steps[now].along->wanted.lock, now);
            continue;
        }
        std::vector<step> found;
        for (std::size_t back = now; back != start; back = steps[back].previous) found.push_back(steps[back]);
        std::reverse(found.begin(), found.end());
        return found;
    }
    return {};
}

std::string text_of(const order_table& all, const wait_place* from, const edge& one) {
    return fmt::format("{} asked for {} at {} while it held {}, locked at {}", text_of(one.wanted.by),
                       text_of(one.wanted.lock, all.nodes.at(one.wanted.lock)), text_of(one.wanted.at),
                       text_of(from, all.nodes.at(from)), text_of(one.held_at));
}

// `wanted` was asked for while `held` was held.
void connect(order_table& all, const held_lock& held, const wish& wanted, reports& said) {
    node& from = all.nodes.try_emplace(held.lock, node{held.kind}).first->second;
    const auto is_known = [&](const edge& each) { return each.wanted.lock == wanted.lock; };
    if (std::any_of(from.edges.begin(), from.edges.end(), is_known)) return;
    node& to = all.nodes.try_emplace(wanted.lock, node{wanted.kind}).first->second;
    const std::vector<step> back = way(all, wanted.lock, held.lock);
    from.edges.push_back({wanted, held.at});
    to.before.push_back(held.lock);
    if (back.empty() || (back.size() == 1 && back.front().along->reported)) return;
    from.edges.back().reported = true;
    std::string text = "lock order: " + text_of(all, held.lock, from.edges.back());
    const char* link = "; earlier ";
    for (const step& each : back) {
        text += link + text_of(all, each.from, *each.along);
        link = ", and ";
    }
    said.push_back(text + ". At the same time, they would wait for each other for ever");
}

void say(const reports& all) noexcept {
    for (const std::string& each : all) log(log_level::warning, each);
}

}  // namespace

void lock_asked_for(const wait_place& lock, const context* line, const lock_attempt& how) noexcept {
    if (how.how == lock_attempt::kind::gives_up) return;
    order_table& all = table();
    reports said;
    {
        env::lock_guard inside(all.lock);
        const auto mine = all.held.find(name_of(line));
        if (mine == all.held.end()) return;
        const wish wanted{&lock, lock.name(), party_of(line), how.at};
        for (held_lock* const each : mine->second) {
            if (each->lock == &lock) continue;
            const auto is_known = [&](const wish& other) { return other.lock == &lock; };
            if (!each->moved) connect(all, *each, wanted, said);
            else if (std::none_of(each->wishes.begin(), each->wishes.end(), is_known)) each->wishes.push_back(wanted);
        }
    }
    say(said);
}

void lock_gone(const wait_place& lock) noexcept {
    order_table& all = table();
    env::lock_guard inside(all.lock);
    for (const auto& [line, locks] : all.held)
        for (held_lock* const each : locks)
            std::erase_if(each->wishes, [&](const wish& wanted) { return wanted.lock == &lock; });
    const auto ended = all.nodes.find(&lock);
    if (ended == all.nodes.end()) return;
    for (const wait_place* const each : ended->second.before)
        std::erase_if(all.nodes.at(each).edges, [&](const edge& to) { return to.wanted.lock == &lock; });
    for (const edge& each : ended->second.edges) std::erase(all.nodes.at(each.wanted.lock).before, &lock);
    all.nodes.erase(ended);
}

lock_hold::lock_hold(const wait_place& lock, const context* line, const lock_attempt& how) noexcept
    : record_(new held_lock{&lock, lock.name(), name_of(line), how.at}) {
    env::lock_guard inside(table().lock);
    table().held[record_->line].push_back(record_);
}

lock_hold::lock_hold(lock_hold&& other) noexcept : record_(std::exchange(other.record_, nullptr)) {
    if (record_ == nullptr) return;
    env::lock_guard inside(table().lock);
    record_->moved = true;
}

lock_hold& lock_hold::operator=(lock_hold&& other) noexcept {
    lock_hold old(std::move(other));
    std::swap(record_, old.record_);
    return *this;
}

void lock_hold::end() noexcept {
    if (record_ == nullptr) return;
    const std::unique_ptr<held_lock> ended(std::exchange(record_, nullptr));
    order_table& all = table();
    reports said;
    {
        env::lock_guard inside(all.lock);
        const auto line = all.held.find(ended->line);
        std::erase(line->second, ended.get());
        if (line->second.empty()) all.held.erase(line);
        if (ended->line == name_of(context::current()))
            for (const wish& each : ended->wishes) connect(all, *ended, each, said);
    }
    say(said);
}

lock_site lock_hold::at() const noexcept { return record_->at; }

}  // namespace leat::detail

#endif
