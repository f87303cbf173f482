// process_semaphore: permits for the tasks and threads of several processes. The permits of a process that dies come back, and
// who gets one of them is told.
//
//   auto slots = leat::process_semaphore::create(4);                  // here
//   options.pass = slots->passed(3);                                  // descriptors 3 and 4 of the child
//   auto slots = leat::process_semaphore::attach(3);                  // in the child
//
//   const auto permit = co_await slots->acquire();
//   if (permit.holder_died()) …                                       // what it did with the permit may be half done
//
// A permit belongs to a process, by id and start time, until it is released or the process ends. Within one process it is first
// come, first served. Between processes one that waits is in front, the next is whoever comes first; nobody overtakes the one in
// front, however many it wants. All processes are in the same pid namespace. The death of a holder is noticed when somebody
// finds no permit, and by those who wait already within 50 ms.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <leat/process/shared_memory.hpp>
#include <leat/process/spawn.hpp>
#include <leat/task/task.hpp>
#include <leat/task/wait_limit.hpp>

namespace leat {

class process_semaphore {
    struct state;

public:
    // The largest number of permits. Each has a word in shared memory, which says whose it is; so any number of processes may
    // hold some, and nothing else is bounded.
    static constexpr std::size_t most_permits = 4096;

    // Permits held; gives them back when destroyed. Move-only. Ends before its semaphore.
    class [[nodiscard]] permit {
    public:
        permit(permit&& other) noexcept = default;
        permit& operator=(permit&& other) noexcept {
            release();
            of_ = std::move(other.of_);
            count_ = other.count_;
            holder_died_ = other.holder_died_;
            return *this;
        }
        ~permit() { release(); }
        // Gives them back now: who waits is called. Harmless when that was done. Nothing in a fork of the process that holds it.
        void release() noexcept;
        // Whether one of them came from a process that died with it. Told to the next holder, and again to the one after it if
        // that dies too.
        [[nodiscard]] bool holder_died() const noexcept { return holder_died_; }
        [[nodiscard]] std::size_t count() const noexcept { return count_; }

    private:
        friend process_semaphore;
        permit(state& of, std::size_t count, bool holder_died) noexcept
            : of_(&of), count_(count), holder_died_(holder_died) {}
        struct forget {
            void operator()(state*) const noexcept {}
        };
        std::unique_ptr<state, forget> of_;  // not owned: it is null in what was moved from
        std::size_t count_;
        bool holder_died_;
    };

    // Makes one with so many permits, from 1 to most_permits, in shared memory of its own. Throws only bad_alloc.
    [[nodiscard]] static expected<process_semaphore, shared_error> create(std::size_t permits);
    // Takes the descriptors `first` and `first` + 1, which spawn_options::pass put there, also when it fails. Throws only
    // bad_alloc.
    [[nodiscard]] static expected<process_semaphore, shared_error> attach(int first);
    // For spawn_options::pass: the two descriptors, to be `first` and the one after it in the child.
    [[nodiscard]] std::vector<passed_descriptor> passed(int first) const;

    process_semaphore(process_semaphore&& other) noexcept;
    process_semaphore& operator=(process_semaphore&& other) noexcept;
    // A bug while it is waited for here.
    ~process_semaphore();

    // Awaits `count` permits; resumes on the awaiting task's executor. Throws cancelled when stopped while it waits, with no
    // permit; std::system_error when the system cannot watch the bell. A bug to ask for more than there are. Any task and
    // thread, several at once, as all that follow.
    task<permit> acquire(std::size_t count = 1);
    // The same for at most `limit`: nothing then.
    task<std::optional<permit>> acquire_for(time_limit limit, std::size_t count = 1);
    // Permits at once, or none: also when somebody is in front, whatever he wants.
    [[nodiscard]] std::optional<permit> try_acquire(std::size_t count = 1) noexcept;
    // For threads that run no tasks.
    permit blocking_acquire(std::size_t count = 1) noexcept;
    std::optional<permit> blocking_acquire_for(time_limit limit, std::size_t count = 1) noexcept;

    // A snapshot: permits that nobody holds; those of the dead are counted once somebody has asked for them.
    [[nodiscard]] std::size_t available() const noexcept;
    [[nodiscard]] std::size_t permits() const noexcept;

private:
    explicit process_semaphore(std::unique_ptr<state> made) noexcept;
    void check(std::size_t count) const noexcept;
    std::unique_ptr<state> state_;
};

}  // namespace leat
