// job_worker: runs the jobs that cluster_clients of this program submit (cluster_client.hpp). What a worker program runs:
//
//   leat::event drain;                                        // set it on SIGTERM
//   auto told = co_await leat::cluster::serve_jobs(broker, leat::cluster::job_worker_options(), &drain);
//
// Jobs come in parcels, and several parcels are at work at a time: plain functions on the threads of the executor that
// serve_jobs was called on, tasks as tasks. A parcel is acknowledged when the answers of all its jobs are stored, so that a
// worker which dies has its parcels given to others when its signs of life have ended for the ack_wait of the clients.
// Then jobs are done again, and one answer counts.
//
// A parcel that comes again and again: before each further attempt there is a pause that grows; beyond `deliveries` a parcel
// of many is taken apart into parcels of one, and of a parcel of one the caller gets job_failed, as poison.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include <leat/cluster/broker.hpp>
#include <leat/sync/event.hpp>
#include <leat/task/task.hpp>

namespace leat::cluster {

struct job_worker_options {
    job_worker_options() {}
    std::string name = "leat";  // of the queue: as the clients call it
    std::string version;        // of the program: as the clients say
    unsigned parallel = 0;      // parcels at work at a time; 0: the effective CPUs
    unsigned deliveries = 5;    // of a parcel, before it counts as poison
    // Of one job: then it is asked to stop, and one that does not is left to others and becomes poison; zero: none.
    duration timeout = duration::zero();
    duration drain = std::chrono::seconds(30);  // after `drain` was set: then what is left is given back
    duration look = std::chrono::seconds(1);    // how often clients are looked at: who has gone, what was withdrawn
    duration wait = std::chrono::milliseconds(500);  // of a fetch: how soon `drain` is seen
    duration patience = std::chrono::seconds(30);    // with the engine, before a parcel is left to be delivered again
    duration first_pause = std::chrono::milliseconds(100);  // before the second attempt; doubled for each further one
    duration longest_pause = std::chrono::seconds(10);
};

struct job_worker_report {
    std::uint64_t jobs = 0;         // done, with a value or an exception
    std::uint64_t failed = 0;       // of these: threw
    std::uint64_t parcels = 0;      // taken
    std::uint64_t redelivered = 0;  // of these: that had been delivered before
    std::uint64_t withdrawn = 0;    // jobs that nobody waited for any more
    std::uint64_t poisoned = 0;     // jobs given up
    std::uint64_t split = 0;        // parcels taken apart
    std::uint64_t answers = 0;      // messages
};

// The program of the worker and that of the clients are of different versions: what() tells in what.
class worker_refused : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// Takes jobs until `drain` is set, then ends those it has, and gives the account. Waits for a client to open the queue when
// none has yet; throws worker_refused when clients of other versions have, and none of this one. Stopping the task stops the
// jobs, gives their parcels back at once, and throws cancelled. Throws broker_failed for what does not pass: no permission,
// a broker that was closed. Any number at once.
task<job_worker_report> serve_jobs(broker& where, job_worker_options options = {}, event* drain = nullptr);

}  // namespace leat::cluster
