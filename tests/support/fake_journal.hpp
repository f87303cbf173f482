// A journal in memory, which ends as a killed process does before or after any of its writes: what was on record then is what
// the next one finds.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <leat/flow/journal.hpp>

namespace leat_test {

// What outlives a run.
struct journal_store {
    std::vector<leat::past_run> runs;
    std::map<std::pair<std::string, std::uint64_t>, leat::item_entry> items;
    std::map<std::pair<std::string, std::uint64_t>, std::uint64_t> sinks;
    std::vector<leat::kept_letter> letters;
    std::int64_t next_letter = 1;

    static constexpr unsigned never = ~0U;
    unsigned writes_left = never;   // then comes the crash
    bool crash_loses_last = false;  // the write in which it comes is not on record
    bool has_crashed = false;
    unsigned writes = 0;  // so far
};

struct crash : std::runtime_error {
    crash() : std::runtime_error("crashed") {}
};

class fake_journal final : public leat::journal {
public:
    explicit fake_journal(journal_store& on) : on_(on) {}

    std::optional<leat::past_run> last_run() override {
        for (auto run = on_.runs.rbegin(); run != on_.runs.rend(); ++run) {
            if (run->mode == leat::journal_mode::replay) continue;
            leat::past_run last = *run;
            std::set<std::string> done;
            for (const auto& [key, entry] : on_.items)
                if (key.second >= last.base && entry.how != leat::fate::failed) done.insert(key.first);
            last.done = done.size();
            return last;
        }
        return std::nullopt;
    }
    std::uint64_t begin(leat::journal_mode mode, const std::string& flow) override {
        const auto before = last_run();
        leat::past_run run;
        number_ = run.number = on_.runs.size() + 1;
        base_ = run.base = before && mode != leat::journal_mode::fresh ? before->base : number_;
        mode_ = run.mode = mode;
        run.flow = flow;
        on_.runs.push_back(run);
        return number_;
    }
    std::optional<leat::item_entry> find(std::string_view item) override {
        std::optional<leat::item_entry> found;
        for (auto at = on_.items.lower_bound({std::string(item), base_});
             at != on_.items.end() && at->first.first == item && at->first.second < number_; ++at)
            found = at->second;
        return found;
    }
    std::optional<std::uint64_t> sink_length(std::string_view sink) override {
        const auto found = on_.sinks.find({std::string(sink), base_});
        return found == on_.sinks.end() ? std::nullopt : std::optional(found->second);
    }
    void write(const leat::journal_batch& batch) override {
        step([&] { apply(batch); });
    }
    void end(std::string_view how) override {
        step([&] { on_.runs.back().end = how; });
    }
    void for_each_letter(std::int64_t behind, const std::function<bool(leat::kept_letter&&)>& call) override {
        for (leat::kept_letter each : on_.letters)
            if (each.id > behind && !call(std::move(each))) return;
    }
    std::string name() const override { return "fake"; }

private:
    template <class Work>
    void step(Work work) {
        if (on_.has_crashed) throw crash();
        const bool now = on_.writes_left != journal_store::never && on_.writes_left-- == 0;
        if (!now || !on_.crash_loses_last) {
            work();
            ++on_.writes;
        }
        if (!now) return;
        on_.has_crashed = true;
        throw crash();
    }
    void apply(const leat::journal_batch& batch) {
        for (const auto& [item, entry] : batch.items) {
            if (mode_ == leat::journal_mode::replay) {
                replayed(item, entry, batch);
                continue;
            }
            on_.items[{item, number_}] = entry;
            std::erase_if(on_.letters, [&, &key = item](const leat::kept_letter& each) { return each.item == key; });
        }
        if (mode_ != leat::journal_mode::replay)
            for (const leat::kept_letter& each : batch.letters) put(each);
        for (const auto& [sink, length] : batch.sinks) on_.sinks[{sink, base_}] = length;
    }
    void put(leat::kept_letter letter) {
        letter.id = on_.next_letter++;
        on_.letters.push_back(std::move(letter));
    }
    void replayed(const std::string& name, leat::item_entry entry, const leat::journal_batch& batch) {
        const auto found = std::find_if(on_.letters.begin(), on_.letters.end(),
                                        [&](const leat::kept_letter& each) { return std::to_string(each.id) == name; });
        if (found == on_.letters.end()) return;
        const std::string item = found->item;
        if (entry.how == leat::fate::failed) {
            found->attempts += entry.attempts;
            found->error = entry.error;
        } else {
            const unsigned attempts = found->attempts;
            on_.letters.erase(found);
            for (leat::kept_letter each : batch.letters) {
                if (each.item != name) continue;
                each.item = item;
                each.attempts += attempts;
                put(std::move(each));
            }
        }
        for (const leat::kept_letter& each : on_.letters)
            if (each.item == item) entry.how = leat::fate::dead;
        on_.items[{item, number_}] = entry;
    }
    journal_store& on_;
    leat::journal_mode mode_ = leat::journal_mode::fresh;
    std::uint64_t number_ = 0;
    std::uint64_t base_ = 0;
};

}  // namespace leat_test
