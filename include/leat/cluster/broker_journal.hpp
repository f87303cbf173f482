// broker_journal: the journal of a flow (flow/journal.hpp) in a stream of the broker, so that whoever takes a flow over, on any
// machine, goes on with it.
//
//   auto kept = co_await open_broker_journal(engine, {.stream = "df-licences-journal", .held = &lease});
//   options.journal = kept.get();
//
// What one write is given travels as one message, or as several where it is larger than half of the largest payload: all of it
// counts, or nothing. There is one writer at a time: who opens the journal first writes that it does, with its epoch, and from
// there on what writers of an earlier epoch write does not count. They notice, by the sequence that their message was given:
// what the stream has got between two messages of a writer must be its own. So a coordinator that has lost its lease cannot
// put anything on record; that write fails, and with it the flow. (One that fails otherwise, since the broker was away, may
// be on record all the same: whole.)
//
// Opening reads all that counts; what is on record of the runs before is held in memory then (some hundred bytes an item, and
// the dead letters whole). Of what has been written the stream keeps all until a run is begun: then it is written anew,
// without what is no longer true, and what was there before is purged, where that is less than half of it. So it holds at
// most twice what is true at the beginning of a run, and what that run writes.
//
// begin(), write() and end() do not block but throw std::logic_error: a run calls the forms that are awaited.
#pragma once

#include <memory>
#include <string>

#include <leat/cluster/broker.hpp>
#include <leat/flow/journal.hpp>

namespace leat::cluster {

class lease;

struct broker_journal_options {
    std::string stream;   // of this flow and its journal alone; made where there is none
    std::string subject;  // of it; empty: as the stream
    unsigned replicas = 1;
    // Its epoch goes on record; what it is held for no longer is not written. It outlives the journal. Null: the epoch is the
    // one after the last on record, so that who opens the journal last may write.
    const lease* held = nullptr;
    std::chrono::nanoseconds patience = std::chrono::minutes(1);  // for a broker that is away; then a write fails
};

// Throws journal_refused (a newer leat wrote it; somebody of a later epoch has it), std::runtime_error (the broker does not let us,
// or is away for longer than the patience; a message that is none of a journal).
[[nodiscard]] task<std::unique_ptr<journal>> open_broker_journal(std::shared_ptr<broker> engine,
                                                                 broker_journal_options options);

}  // namespace leat::cluster
