// client_core: what a cluster_client is: the jobs under way, and the loops that send them, take their answers, tell the
// workers that the client lives, and remove blobs that have been used.
//
// Invariants (under lock_):
//  1. A job is in waiting_ from begin() until exactly one of: its answer, its withdrawal, the end of all (break_down).
//     Whoever takes it out of there tells its inbox, or is the inbox's owner leaving.
//  2. What is in queue_ and not in waiting_ was withdrawn before it was sent, and is left out when its turn comes.
//  3. Locks: lock_, then an inbox's.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include <leat/base/env.hpp>
#include <leat/sync/event.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/task/scope.hpp>

#include <cluster/job_messages.hpp>

namespace leat::cluster::detail {

struct job_calls::inbox {
    env::mutex lock;
    std::deque<job_end> ended;                  // under lock, as the next two
    std::unordered_set<std::uint64_t> waiting;  // ids
    bool is_left = false;
    auto_reset_event changed;
};

class client_core : public std::enable_shared_from_this<client_core> {
public:
    client_core(broker& where, client_options options);
    // The cluster_client is gone: a bug unless it was closed.
    void leave() noexcept;

    task<> open();
    task<> close();
    task<> begin(std::shared_ptr<job_calls::inbox> to, std::uint64_t index, std::uint64_t function,
                 job_arguments arguments);
    // The inbox's owner leaves.
    void withdraw(job_calls::inbox& from) noexcept;
    // Removes it from the store, some time.
    void discard(blob_ref which) noexcept;
    void note_reference() noexcept;

    [[nodiscard]] client_counts counts() const noexcept;
    [[nodiscard]] blob_store& blobs() noexcept { return blobs_; }
    [[nodiscard]] const client_options& options() const noexcept { return options_; }

    // The value, brought here.
    task<std::string> bring(job_value value);

private:
    struct pending {
        std::uint64_t id = 0;
        std::uint64_t index = 0;
        std::uint64_t function = 0;
        std::vector<job_value> arguments;  // until it is sent
        std::vector<std::shared_ptr<const kept_value>> kept;
        std::vector<blob_ref> own;  // arguments that were written for it
        std::size_t bytes = 0;
        std::shared_ptr<job_calls::inbox> to;
        std::optional<semaphore::permit> slot;
        std::optional<semaphore::permit> room;
        bool is_sent = false;
    };
    using job_ptr = std::shared_ptr<pending>;

    // What is known of how long a function takes.
    struct pace {
        double ns = 0;  // a moving average
        bool is_known = false;
        std::uint64_t sent = 0;  // until then
        time_point first_sent{};
    };
    struct outgoing {
        std::uint64_t number = 0;
        std::string payload;
        std::vector<job_ptr> jobs;
    };

    task<> send_all();
    task<> send_one(outgoing parcel, semaphore::permit turn);
    task<> receive_all();
    task<> confirm(delivery what, semaphore::permit turn);
    task<> stay_alive();
    task<> clean_up();
    task<> remove_own();
    task<> sweep();
    task<> remove_rubbish();

    void take_answers(const std::string& payload);
    // The next parcel, if there is something to send now; else zero, or how long to wait before looking again.
    duration take(outgoing& parcel, time_point now);
    [[nodiscard]] double cost_of(std::uint64_t function, time_point now, bool& must_wait);
    void end(const job_ptr& job, job_value value, std::exception_ptr error) noexcept;
    void break_down(std::exception_ptr why) noexcept;
    void forget(pending& job) noexcept;  // its own blobs, and its room; under lock_
    task<> guarded(task<> body, const char* what);

    broker& broker_;
    const client_options options_;
    const job_names names_;
    const job_program program_;
    std::string id_;  // set by open()
    blob_store blobs_;
    semaphore jobs_;
    semaphore room_;
    semaphore turns_;  // parcels on their way
    semaphore confirmations_;
    std::optional<scope> work_;  // until the client is gone: values may refer to this for longer
    bool is_open_ = false;       // by the owner's task alone
    bool is_closed_ = false;     // likewise

    auto_reset_event to_send_;
    auto_reset_event to_tell_;
    auto_reset_event to_clean_;

    mutable env::mutex lock_;
    std::unordered_map<std::uint64_t, job_ptr> waiting_;
    std::deque<job_ptr> queue_;
    std::map<std::uint64_t, pace> paces_;
    std::deque<std::uint64_t> withdrawn_;
    std::deque<blob_ref> rubbish_;
    std::exception_ptr broken_;
    client_counts counts_;
    std::uint64_t last_id_ = 0;
    std::uint64_t last_parcel_ = 0;
};

}  // namespace leat::cluster::detail
