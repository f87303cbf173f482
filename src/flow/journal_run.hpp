// journal_run: one run of a flow as its journal sees it. Stands between the source and the engine, where it leaves out what
// was done before and learns what becomes of the rest; hears of failed attempts; keeps the lengths of sinks; and writes all
// of that to the journal, some milliseconds' worth at a time.
//
// Invariants (under lock_):
//  1. An item is in items_ from the moment it was given to the engine until it has gone into pending_: when it is settled and
//     no sink has bytes of it behind its clean end. One that was abandoned stays.
//  2. The clean end of a sink: in front of it are only bytes of items that are in pending_ or on record, and behind it is no
//     byte of these. So a sink that is cut there lacks exactly what is done again. All sinks' clean ends move together.
//  3. At most `most_held` pieces are held behind clean ends. Where that is not enough, since outputs of source items
//     interleave without end, all is let go: what was settled is on record, and the outputs of those that were not may be there
//     twice after a crash.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <leat/flow/journal.hpp>
#include <leat/flow/run_flow.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/sync/semaphore.hpp>

namespace leat {

// run_flow with options.journal.
task<report> run_with_journal(flow_graph graph, flow_options options);

class journal_run final : public source_output::listener, public flow_observer {
public:
    static constexpr std::size_t most_held = 100'000;

    // `options`: of the run; observer and dead_letters are taken over.
    journal_run(journal& kept, const flow_options& options);
    ~journal_run() override;
    journal_run(const journal_run&) = delete;

    // Before anything else. Throws what the journal throws.
    task<> begin();
    // What the sources of the flow give, without what was done before.
    void watch(std::vector<source_node>& sources);
    // For the stage of this name; lives as long as this.
    [[nodiscard]] sink_journal& sink(const std::string& name);
    // Writes what comes, until it is stopped; ends the flow when that fails.
    task<> write_along();
    // Writes all that is settled. Throws what the journal throws.
    task<> flush();
    // The last call.
    task<> end(std::string_view how);
    // Why the journal could not be written; empty: it could.
    [[nodiscard]] std::string failure() const;

    void keep(const dead_letter& letter);
    void attempt_failed(std::string_view stage, const item& what, unsigned attempt, std::string_view error,
                        bool again) override;
    void item_failed(std::string_view stage, on_error done, std::string_view name, unsigned attempts,
                     std::string_view error) override;
    void settled(std::uint64_t sequence, fate how) noexcept override;

private:
    class watched_source;
    class watched_output;
    class stage_journal;
    struct failures {  // of the few items that have some
        unsigned attempts = 1;
        std::string stage;
        std::string error;
        std::vector<kept_letter> letters;
    };
    struct tracked {
        std::uint64_t number = 0;
        std::string key;
        std::uint64_t content = 0;
        source_output::listener* told = nullptr;
        std::uint64_t told_as = 0;  // the number by which the source knows it
        bool is_settled = false;
        bool is_candidate = false;  // while clean ends are looked for
        fate how = fate::abandoned;
        unsigned marks = 0;    // pieces behind clean ends
        unsigned in_sink = 0;  // while clean ends are looked for: of one sink
        unsigned seen = 0;     // likewise
        std::unique_ptr<failures> failed;
        std::vector<std::function<void()>> then;
    };
    // A batch on its way, and whom to tell.
    struct outgoing {
        journal_batch batch;
        std::vector<std::function<void()>> then;
    };

    [[nodiscard]] bool was_done(const std::string& key, std::uint64_t content);
    void enter(std::vector<tracked>& some);
    [[nodiscard]] bool is_behind() const;
    [[nodiscard]] tracked* find(const ack_ref& of);
    failures& failures_of(tracked& which);
    void make_ready(tracked& which);
    void advance();
    void let_all_go();
    outgoing take();
    task<> write_away(const outgoing& what);
    void wake() noexcept;
    void fail_with_current_exception() noexcept;

    journal& kept_;
    journal_mode mode_;
    std::string flow_;
    std::function<std::string(payload&)> item_key_;
    flow_control* control_;
    flow_observer* next_observer_;
    std::uint64_t number_ = 0;
    bool looks_up_ = false;  // there is something on record to go on with
    std::unordered_set<std::string> done_before_;
    std::mutex find_lock_;  // of kept_.find()

    std::deque<stage_journal> sinks_;
    std::vector<std::function<void()>> before_write_;

    mutable std::mutex lock_;
    std::unordered_map<std::uint64_t, tracked> items_;  // by number
    journal_batch pending_;
    std::vector<std::function<void()>> pending_then_;
    std::size_t events_ = 0;  // of this run
    bool awaited_ = false;    // a permit was given and not taken yet
    std::string failure_;

    semaphore dirty_{0};
    leat::mutex writing_;
};

}  // namespace leat
