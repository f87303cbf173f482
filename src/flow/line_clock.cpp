#include <flow/line_clock.hpp>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <leat/task/resume_on.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

namespace {

std::uint64_t nanoseconds(duration length) noexcept {
    return length.count() > 0 ? static_cast<std::uint64_t>(length.count()) : 0;
}

// Where the kernel says how long this thread was ready and had no CPU: /proc/thread-self/schedstat (proc(5)), open as long as the
// thread lives.
class schedstat {
public:
    schedstat() noexcept { open(); }
    schedstat(const schedstat&) = delete;
    ~schedstat() { close(); }
    // False where the kernel does not say.
    bool read(std::uint64_t& ready_ns) noexcept {
        if (process_ != ::getpid()) {  // it is the parent's thread
            close();
            open();
        }
        char text[64];
        const ssize_t size = file_ < 0 ? -1 : ::pread(file_, text, sizeof text - 1, 0);
        if (size <= 0) return false;
        text[size] = '\0';
        char* second = nullptr;
        char* end = nullptr;
        (void)std::strtoull(text, &second, 10);
        ready_ns = std::strtoull(second, &end, 10);
        return end != second;
    }

private:
    void open() noexcept {
        file_ = ::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
        process_ = ::getpid();
    }
    void close() noexcept {
        if (file_ >= 0) ::close(file_);
        file_ = -1;
    }
    int file_ = -1;
    pid_t process_ = 0;
};

struct thread_usage {
    std::uint64_t cpu_ns = 0;
    std::uint64_t ready_ns = 0;   // without a CPU; where the kernel says so
    std::uint64_t yielded = 0;    // voluntary switches: something blocked
    std::uint64_t preempted = 0;  // involuntary ones
    bool knows_ready = false;
};

thread_usage usage_of_this_thread() noexcept {
    thread_local schedstat kernel;
    thread_usage all;
    timespec cpu{};
    (void)::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    all.cpu_ns = static_cast<std::uint64_t>(cpu.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(cpu.tv_nsec);
    all.knows_ready = kernel.read(all.ready_ns);
    if (all.knows_ready) return all;
    rusage switches{};
    (void)::getrusage(RUSAGE_THREAD, &switches);
    all.yielded = static_cast<std::uint64_t>(switches.ru_nvcsw);
    all.preempted = static_cast<std::uint64_t>(switches.ru_nivcsw);
    return all;
}

// Of the time that a run was off its CPU: how long the thread was ready.
std::uint64_t ready_part(std::uint64_t off_ns, const thread_usage& before, const thread_usage& after) noexcept {
    if (before.knows_ready && after.knows_ready) return std::min(off_ns, after.ready_ns - before.ready_ns);
    const double yielded = static_cast<double>(after.yielded - before.yielded);
    const double preempted = static_cast<double>(after.preempted - before.preempted);
    if (yielded + preempted == 0) return off_ns;
    return static_cast<std::uint64_t>(static_cast<double>(off_ns) * preempted / (yielded + preempted));
}

}  // namespace

task<> line_clock::move_to(std::shared_ptr<line_clock> onto) {
    context& line = co_await this_task::line();
    onto->line_ = &line;
    line.is_watched = true;
    co_await resume_on(*onto);
    onto->taken_at_ = onto->run_at_;
    onto->skip(onto->now());
}

line_clock::interval line_clock::take(time_point now) noexcept {
    const std::uint64_t run = run_ns_.load(std::memory_order_relaxed) + nanoseconds(now - run_at_);
    const std::uint64_t wall = nanoseconds(now - taken_at_);
    interval past;
    past.core_ns = std::min(core_ns_ - taken_core_ns_, wall);
    past.run_ns = std::min(run - std::min(run, taken_run_ns_), wall - past.core_ns);
    // Without a wait it has run all the time: the counts of a run before may only come late.
    if (!has_waited()) past.run_ns = wall - past.core_ns;
    past.waited_ns = wall - past.core_ns - past.run_ns;
    taken_at_ = now;
    taken_core_ns_ = core_ns_;
    taken_run_ns_ = run;
    taken_runs_ = runs_;
    const std::uint64_t looked_at = looked_at_ns_.load(std::memory_order_relaxed);
    const std::uint64_t core = off_core_ns_.load(std::memory_order_relaxed);
    const std::uint64_t waited = off_wait_ns_.load(std::memory_order_relaxed);
    if (looked_at != 0 && core + waited != 0) {
        const double ran = static_cast<double>(past.run_ns) / static_cast<double>(looked_at);
        const auto to_core = std::min(past.run_ns, static_cast<std::uint64_t>(ran * static_cast<double>(core)));
        const auto to_wait =
            std::min(past.run_ns - to_core, static_cast<std::uint64_t>(ran * static_cast<double>(waited)));
        past.core_ns += to_core;
        past.waited_ns += to_wait;
        past.run_ns -= to_core + to_wait;
    }
    return past;
}

void line_clock::post(work_item& item) noexcept {
    if (&item == line_) ready_at_ = below_.now();
    below_.post(item);
}

void line_clock::post_last(work_item& item) noexcept {
    if (&item == line_) ready_at_ = below_.now();
    below_.post_last(item);
}

void line_clock::run_watched(work_item& line, work_item::function resume) noexcept {
    const std::shared_ptr<line_clock> kept = shared_from_this();
    const time_point start = below_.now();
    core_ns_ += nanoseconds(start - ready_at_);
    run_at_ = start;
    ++runs_;
    if (start < sample_at_ || below_.blocks_in_place()) {
        resume(line);
        run_ns_.fetch_add(nanoseconds(below_.now() - start), std::memory_order_relaxed);
        return;
    }
    sample_at_ = start + pause_;
    pause_ = std::min(2 * pause_, longest_pause);
    // Looked at first and last, so that what the looks cost is no wait.
    const thread_usage before = usage_of_this_thread();
    const time_point from = below_.now();
    resume(line);
    const time_point end = below_.now();
    run_ns_.fetch_add(nanoseconds(end - start), std::memory_order_relaxed);
    const std::uint64_t wall = nanoseconds(end - from);
    const thread_usage after = usage_of_this_thread();
    const std::uint64_t off = wall - std::min(wall, after.cpu_ns - before.cpu_ns);
    const std::uint64_t ready = ready_part(off, before, after);
    looked_at_ns_.fetch_add(wall, std::memory_order_relaxed);
    off_core_ns_.fetch_add(ready, std::memory_order_relaxed);
    off_wait_ns_.fetch_add(off - ready, std::memory_order_relaxed);
}

}  // namespace leat
