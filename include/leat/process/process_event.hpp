// process_event: set or not, for the tasks and threads of several processes; wait() waits until it is. It stays set until
// reset(), as a leat::event.
//
//   auto ready = leat::process_event::create();                       // here
//   options.pass = ready->passed(3);                                  // descriptors 3 and 4 of the child
//   auto ready = leat::process_event::attach(3);                      // in the child
//
//   co_await ready->wait();                                           // any number of tasks, in any number of processes
//   ready->set();                                                     // lets all of them go on, and all that come later
//
// It has no owner, and nothing of it is lost when a process dies: an event that was set is set. Where a process is killed while
// it sets the event, those who wait go on within 50 ms, or the event was not set.
#pragma once

#include <memory>
#include <vector>

#include <leat/process/shared_memory.hpp>
#include <leat/process/spawn.hpp>
#include <leat/task/task.hpp>
#include <leat/task/wait_limit.hpp>

namespace leat {

class process_event {
public:
    // Makes one, which is not set, in shared memory of its own. Throws only bad_alloc.
    [[nodiscard]] static expected<process_event, shared_error> create();
    // Takes the descriptors `first` and `first` + 1, which spawn_options::pass put there, also when it fails. Throws only
    // bad_alloc.
    [[nodiscard]] static expected<process_event, shared_error> attach(int first);
    // For spawn_options::pass: the two descriptors, to be `first` and the one after it in the child.
    [[nodiscard]] std::vector<passed_descriptor> passed(int first) const;

    process_event(process_event&& other) noexcept;
    process_event& operator=(process_event&& other) noexcept;
    // A bug while it is waited for here.
    ~process_event();

    // Lets all who wait go on, also where it is reset before they run, and all that come before the next reset(). What was done
    // before set() is seen by whoever waits after it. Any task and thread, several at once, as all that follow.
    void set() noexcept;
    void reset() noexcept;
    [[nodiscard]] bool is_set() const noexcept;

    // Awaits that it is set; resumes on the awaiting task's executor. Throws cancelled when stopped while it waits;
    // std::system_error when the system cannot watch the bell.
    task<> wait();
    // The same for at most `limit`: false when it was over first.
    task<bool> wait_for(time_limit limit);
    [[nodiscard]] bool try_wait() const noexcept { return is_set(); }
    // For threads that run no tasks.
    void blocking_wait() noexcept;
    bool blocking_wait_for(time_limit limit) noexcept;

private:
    struct state;
    explicit process_event(std::unique_ptr<state> made) noexcept;
    std::unique_ptr<state> state_;
};

}  // namespace leat
