// process_mutex: mutual exclusion between the tasks and threads of several processes. It survives the death of its owner, and
// says so: the next owner is told that what the lock guards may be in the middle of a change.
//
//   auto lock = leat::process_mutex::create();                        // here
//   options.pass = lock->passed(3);                                   // descriptors 3 and 4 of the child
//   auto lock = leat::process_mutex::attach(3);                       // in the child
//
//   auto held = co_await lock->lock();
//   if (held.owner_died()) repair();
//
// The owner is a process, by id and start time, and not a thread as of a robust pthread mutex: tasks move between threads.
// Within one process it is a leat::mutex, first come, first served; between processes nobody is served first by right. All
// processes are in the same pid namespace. One that dies while others wait is noticed within 50 ms.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <leat/process/process_lock_word.hpp>
#include <leat/process/shared_memory.hpp>
#include <leat/process/spawn.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/task/task.hpp>

namespace leat {

class process_mutex {
    struct state;

public:
    // Holds the lock; move-only. Ends before its mutex.
    class [[nodiscard]] guard {
    public:
        guard(guard&& other) noexcept = default;
        guard& operator=(guard&& other) noexcept {
            unlock();
            of_ = std::move(other.of_);
            within_ = std::move(other.within_);
            owner_died_ = other.owner_died_;
            return *this;
        }
        ~guard() { unlock(); }
        // Unlocks now: who waits is called. Harmless when that was done. Nothing in a fork of the process that has locked it.
        void unlock() noexcept;
        // Whether the last owner died with the lock held. Told to the next owner, and again to the one after it if that dies too.
        [[nodiscard]] bool owner_died() const noexcept { return owner_died_; }

    private:
        friend process_mutex;
        guard(state& of, leat::mutex::guard within, bool owner_died) noexcept
            : of_(&of), within_(std::move(within)), owner_died_(owner_died) {}
        struct forget {
            void operator()(state*) const noexcept {}
        };
        std::unique_ptr<state, forget> of_;  // not owned: it is null in what was moved from
        leat::mutex::guard within_;
        bool owner_died_;
    };

    // Makes one in shared memory of its own. Throws only bad_alloc.
    [[nodiscard]] static expected<process_mutex, shared_error> create();
    // Takes the descriptors `first` and `first` + 1, which spawn_options::pass put there, also when it fails. Throws only
    // bad_alloc.
    [[nodiscard]] static expected<process_mutex, shared_error> attach(int first);
    // For spawn_options::pass: the two descriptors, to be `first` and the one after it in the child.
    [[nodiscard]] std::vector<passed_descriptor> passed(int first) const;

    process_mutex(process_mutex&& other) noexcept;
    process_mutex& operator=(process_mutex&& other) noexcept;
    // A bug while it is locked or waited for here.
    ~process_mutex();

    // Awaits the lock; resumes on the awaiting task's executor. Throws cancelled when stopped while it waits, without the lock;
    // std::system_error when the system cannot watch the bell. Any task and thread, several at once, as all that follow.
    task<guard> lock();
    // The same for at most `limit`: nothing then.
    task<std::optional<guard>> lock_for(time_limit limit);
    // The lock at once, or nothing. Also takes it from an owner that is dead.
    [[nodiscard]] std::optional<guard> try_lock() noexcept;
    // For threads that run no tasks.
    guard blocking_lock() noexcept;
    std::optional<guard> blocking_lock_for(time_limit limit) noexcept;

private:
    explicit process_mutex(std::unique_ptr<state> made) noexcept;
    std::unique_ptr<state> state_;
};

}  // namespace leat
