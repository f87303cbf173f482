// A worker's side of a process_pool: takes items from one ring, and puts their values into the other.
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <new>
#include <unistd.h>

#include <leat/base/env.hpp>
#include <leat/process/remote_error.hpp>
#include <leat/process/shared_memory.hpp>
#include <leat/runtime/main.hpp>
#include <leat/runtime/run.hpp>
#include <leat/task/this_task.hpp>

#include "pool_functions.hpp"
#include "pool_wire.hpp"

namespace leat {

namespace {

using detail::pool_call;
using detail::pool_note;
using detail::pool_progress;

constexpr auto look_at_size_every = std::chrono::milliseconds(10);

// Standard error is memory that the pool can read too, of which the common offset says how much was written.
class kept_err {
public:
    void open(const shared_memory& memory) noexcept {
        bytes_ = reinterpret_cast<volatile char*>(memory.bytes().data());
        size_ = memory.bytes().size();
    }
    [[nodiscard]] const volatile char* first() const noexcept { return bytes_; }
    // What was written, and forgets it. Text of others who write at this moment may be lost.
    std::string take() {
        if (size_ == 0) return {};
        const auto at = ::lseek(STDERR_FILENO, 0, SEEK_CUR);
        const auto size = std::min(static_cast<std::size_t>(std::max<off_t>(at, 0)), size_);
        std::string text(const_cast<const char*>(bytes_), size);
        bytes_[0] = 0;
        ::lseek(STDERR_FILENO, 0, SEEK_SET);
        // What did not fit any more has put them into a state of error.
        std::clearerr(stderr);
        std::cerr.clear();
        return text;
    }

private:
    char nothing_ = 0;
    volatile char* bytes_ = &nothing_;
    std::size_t size_ = 0;  // 0: it is not kept
};
kept_err err;  // one a process, as standard error is
std::string take_err() { return err.take(); }

std::uint64_t resident_bytes() noexcept {
    std::FILE* const file = std::fopen("/proc/self/statm", "re");
    if (file == nullptr) return 0;
    unsigned long long whole = 0;
    unsigned long long resident = 0;
    if (std::fscanf(file, "%llu %llu", &whole, &resident) != 2) resident = 0;
    std::fclose(file);
    return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// What at_start() made, in that order.
class worker_states {
public:
    ~worker_states() {
        while (!all_.empty()) all_.pop_back();
    }
    void make(const pool_setup& setup) {
        for (const auto& [name, item] : setup.starts) {
            const auto* const entry = find_pool_function(name);
            if (entry == nullptr || entry->start == nullptr)
                throw std::logic_error(fmt::format("this program has no function {} to start a worker with", name));
            all_.emplace_back(entry->makes, entry->start(item));
        }
    }
    [[nodiscard]] void* find(std::string_view type) const noexcept {
        for (const auto& [made, state] : all_)
            if (made == type) return state.get();
        return nullptr;
    }

private:
    std::vector<std::pair<std::string_view, std::shared_ptr<void>>> all_;
};

class pool_worker {
public:
    pool_worker(byte_receiver in, byte_sender out, shared_memory progress)
        : in_(std::move(in)),
          out_(std::move(out)),
          memory_(std::move(progress)),
          progress_(std::launder(reinterpret_cast<pool_progress*>(memory_.bytes().data()))) {}

    task<int> run() {
        if (!co_await say(pool_word::hello)) co_return 1;
        for (;;) {
            auto loan = co_await in_.borrow();
            if (!loan) co_return loan.error() == ring_error::closed ? 0 : 1;
            const auto whole = joiner_.add(loan->bytes());
            if (!whole) co_return 1;
            if (!*whole) continue;
            // It is looked at in its place, so it stays lent as long.
            const pool_head head = (*whole)->head;
            const std::string_view body = (*whole)->body;
            if (head.word == pool_word::setup) {
                if (!co_await set_up(body)) co_return 1;
            } else if (head.word == pool_word::define) {
                define(head.function, body);
            } else if (head.word == pool_word::items) {
                pool_head answer;
                task<> done = call(head, body, answer);
                co_await std::move(done);
                loan->release();
                if (!co_await send_message(out_, answer, values_) || answer.leaving) co_return 0;
            } else {
                co_return 1;
            }
        }
    }

private:
    struct definition {
        const detail::pool_function_entry* entry = nullptr;
        void* state = nullptr;
        std::string problem;  // why it cannot be called; empty: it can
    };

    task<bool> say(pool_word word, std::string body = {}) {
        pool_head head;
        head.word = word;
        const auto said = co_await send_message(out_, head, body);
        co_return said.has_value();
    }
    task<bool> set_up(std::string_view message) {
        std::string problem;
        try {
            setup_ = detail::decoded<pool_setup>(message);
            if (setup_.keeps_err) keep_err();
            states_.make(setup_);
            (void)err.take();
        } catch (...) {
            problem = encode(exception_record::current());
        }
        if (problem.empty()) co_return co_await say(pool_word::ready);
        (void)co_await say(pool_word::start_failed, std::move(problem));
        co_return false;
    }
    void keep_err() {
        io::unique_fd copy(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, pool_descriptors::progress + 1));
        auto memory = shared_memory::attach(std::move(copy), pool_err_bytes);
        if (!memory) throw std::runtime_error(memory.error().message);
        err_memory_.emplace(std::move(*memory));
        err.open(*err_memory_);
    }
    void define(std::uint32_t number, std::string_view name) {
        if (number >= functions_.size()) functions_.resize(number + std::size_t{1});
        definition& made = functions_[number];
        try {
            made.entry = find_pool_function(name);
            if (made.entry == nullptr)
                made.problem = fmt::format("this program has no function {} for a process_pool", name);
            else if (!made.entry->state.empty()) made.state = states_.find(made.entry->state);
            if (made.entry != nullptr && !made.entry->state.empty() && made.state == nullptr)
                made.problem =
                    fmt::format("{} takes the state of its worker, and nothing given to at_start() made one", name);
        } catch (const std::exception& problem) {
            made.problem = problem.what();
        }
    }
    // Leaves the values, and the notes behind them, in values_.
    task<> call(const pool_head& head, std::string_view items, pool_head& answer) {
        values_.clear();
        answer.word = pool_word::values;
        answer.count = head.count;
        std::vector<pool_note> refusals;
        const std::vector<pool_note>* notes = &refusals;
        std::optional<pool_call> calls;
        if (head.function >= functions_.size() || functions_[head.function].entry == nullptr ||
            !functions_[head.function].problem.empty()) {
            refuse(head, refusals);
        } else {
            const definition& which = functions_[head.function];
            const time_point began = env::now();
            calls.emplace(items, head.count, which.state,
                          pool_call::surroundings{progress_, done_, err.first(), &take_err}, values_);
            if (which.entry->run != nullptr) which.entry->run(*calls);
            else co_await which.entry->run_task(*calls);
            done_ = calls->done();
            notes = &calls->notes();
            answer.ns = static_cast<std::uint64_t>((env::now() - began).count());
        }
        answer.values_bytes = values_.size();
        if (!notes->empty()) encode_to(values_, *notes);
        answer.leaving = is_worn_out();
    }
    void refuse(const pool_head& head, std::vector<pool_note>& refusals) {
        const std::string problem =
            head.function < functions_.size() ? functions_[head.function].problem : "an unknown function";
        for (std::uint32_t i = 0; i < head.count; ++i) refusals.push_back({i, true, {"std::logic_error", problem}, {}});
        done_ += head.count;
        progress_->begun.store(done_, env::relaxed);  // relaxed: see pool_call
        progress_->done.store(done_, env::relaxed);
    }
    bool is_worn_out() {
        if (setup_.recycle_items != 0 && done_ >= setup_.recycle_items) return true;
        if (setup_.recycle_bytes == 0) return false;
        const time_point now = env::now();
        if (now - looked_ < look_at_size_every) return false;
        looked_ = now;
        return resident_bytes() >= setup_.recycle_bytes;
    }

    byte_receiver in_;
    byte_sender out_;
    shared_memory memory_;
    pool_progress* progress_;
    std::optional<shared_memory> err_memory_;
    pool_setup setup_;
    worker_states states_;
    std::vector<definition> functions_;
    message_joiner joiner_;
    std::string values_;
    std::uint64_t done_ = 0;
    time_point looked_{};
};

int complain(const std::string& problem) {
    const std::string line = "error: a worker of a process_pool cannot begin: " + problem + "\n";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
    return 1;
}

}  // namespace

int serve_as_pool_worker() {
    ::unsetenv(detail::worker_variable);  // before there are threads; what it starts is no worker
    auto items = byte_ring::attach(pool_descriptors::items);
    if (!items) return complain(items.error().message);
    auto values = byte_ring::attach(pool_descriptors::values);
    if (!values) return complain(values.error().message);
    auto progress = shared_memory::attach(io::unique_fd(pool_descriptors::progress), sizeof(pool_progress));
    if (!progress) return complain(progress.error().message);
    auto in = items->receiver();
    if (!in) return complain(in.error().message);
    auto out = values->sender();
    if (!out) return complain(out.error().message);
    for (const int fd : {3, 4, 5, 6, 7, 8, 9}) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    try {
        pool_worker worker(std::move(*in), std::move(*out), std::move(*progress));
        return run(run_options(1), [&worker] { return worker.run(); });
    } catch (...) {
        return complain(exception_record::current().text);
    }
}

}  // namespace leat
