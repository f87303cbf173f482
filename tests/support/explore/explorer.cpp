#include <explore/explorer.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fmt/format.h>
#include <leat/base/log.hpp>
#include <stdexcept>
#include <vector>

#include "crash.hpp"
#include "engine.hpp"

namespace leat::explore {
namespace detail {

namespace {

// leat::bug() ends in the log hook: the schedule fails there and the call never returns.
void hear(void*, log_level level, std::string_view message) noexcept {
    if (!running) {
        fmt::print(stderr, "{}\n", message);
        return;
    }
    engine& here = engine::active();
    if (level == log_level::fatal) here.fail(std::string(message), here.self().next.where);
    here.log(message);
}

[[noreturn]] void terminated() {
    if (!running) std::abort();
    std::string what = "std::terminate was called";
    if (const std::exception_ptr error = std::current_exception()) {
        try {
            std::rethrow_exception(error);
        } catch (const std::exception& known) {
            what += std::string(", with the exception: ") + known.what();
        } catch (...) {
            what += ", with an exception";
        }
    }
    engine& here = engine::active();
    here.fail(what, here.self().next.where);
}

// What a run changes in the program, for as long as it lasts.
class surroundings {
public:
    surroundings() : terminate_(std::set_terminate(&terminated)) { set_log_hook(&hear, nullptr); }
    surroundings(const surroundings&) = delete;
    surroundings& operator=(const surroundings&) = delete;
    ~surroundings() {
        set_log_hook(nullptr, nullptr);
        std::set_terminate(terminate_);
    }

private:
    std::terminate_handler terminate_;
};

}  // namespace

report run_callable(const options& how, callable& scenario) {
    if (running) throw std::logic_error("explore::run inside a scenario");
    if (how.reduce && how.preemption_bound >= 0)
        throw std::invalid_argument("explore::options: reduce needs preemption_bound == unlimited");
    if (how.pct_depth != 0 && how.random_schedules == 0 && how.replay.empty())
        throw std::invalid_argument("explore::options: pct_depth needs random_schedules");
    const surroundings for_now;
    const crash_reporter watch([] {
        return fmt::format("leat::explore: in the schedule {{{}.replay = \"{}\"}}\n{}", engine::active().bounds(),
                           engine::active().replay_string(), engine::active().trace());
    });
    search choices(how);
    {
        // The rehearsal: makes what a program makes once. If it fails, so will the first schedule.
        options calm = how;
        calm.replay = std::string(1, '0');
        search first(calm);
        engine rehearsal(calm, first);
        rehearsal.execute(scenario);
    }
    engine here(how, choices);
    report out;
    for (;;) {
        const bool held = here.execute(scenario);
        out.steps += here.steps();
        if (here.redundant()) ++out.redundant;
        else ++out.schedules;
        if (!held) {
            out.failure = here.failure();
            out.failed_schedule = out.schedules;
            out.replay = here.replay_string();
            out.bounds = here.bounds();
            out.trace = here.trace();
            return out;
        }
        if (here.saw_try_lock() && !choices.unlock_is_step() && !choices.replays()) {
            // Only now is it known that the place of an unlock matters.
            choices.restart();
            out = {};
            continue;
        }
        if (!choices.next()) {
            out.complete = choices.exhaustive();
            return out;
        }
        if (choices.exhaustive() && out.schedules + out.redundant >= how.max_schedules) return out;
    }
}

void start_thread(const char* name, std::unique_ptr<callable> body, const place& where) {
    if (!running) throw std::logic_error("explore::thread outside a scenario");
    engine::active().start(name, nullptr, nullptr, std::move(body), where);
}

}  // namespace detail

void join_all(place where) { detail::engine::active().join(-1, where); }

gate::gate(place where) { detail::born(this, detail::object_kind::gate, where); }
gate::~gate() { detail::died(this, detail::object_kind::gate); }
void gate::open(place where) {
    detail::engine& here = detail::engine::active();
    here.open(here.objects().find(this, detail::object_kind::gate), where);
}
void gate::pass(place where) {
    detail::engine& here = detail::engine::active();
    here.pass(here.objects().find(this, detail::object_kind::gate), where);
}

void check(bool holds, std::string_view what, place where) {
    if (!holds) fail(what, where);
}

void fail(std::string_view what, place where) {
    if (!detail::running) {
        fmt::print(stderr, "leat::explore: outside a scenario: {} ({}:{})\n", what, where.file_name(), where.line());
        std::abort();
    }
    detail::engine::active().fail(std::string(what), where);
}

unsigned choose(unsigned count, place where) { return detail::engine::active().choose(count, where); }

void name(const void* object, const char* label) noexcept {
    if (!detail::running) return;
    for (const auto kind : {detail::object_kind::atomic, detail::object_kind::shared, detail::object_kind::mutex,
                            detail::object_kind::gate})
        if (detail::cell* const found = detail::engine::active().objects().peek(object, kind)) found->label = label;
}

void note(const char* text, place where) noexcept {
    if (!detail::running) return;
    detail::event& line = detail::engine::active().record(detail::operation::note, where);
    line.plain = true;
    line.text = text;
}

}  // namespace leat::explore
