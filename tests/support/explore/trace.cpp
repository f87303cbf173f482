// How a schedule looks to people: the trace, what a deadlock's threads wait for, the report.
#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <string_view>

#include "engine.hpp"

namespace leat::explore {
namespace detail {

namespace {

std::string value(std::uint64_t bits) { return bits < 0x10000 ? fmt::format("{}", bits) : fmt::format("{:#x}", bits); }

const char* order_name(std::memory_order order) {
    switch (order) {
        case std::memory_order_relaxed:
            return "relaxed";
        case std::memory_order_consume:
            return "consume";
        case std::memory_order_acquire:
            return "acquire";
        case std::memory_order_release:
            return "release";
        case std::memory_order_acq_rel:
            return "acq_rel";
        case std::memory_order_seq_cst:
            return "seq_cst";
    }
    return "?";
}

const char* verb(operation op) {
    switch (op) {
        case operation::load:
            return "load";
        case operation::store:
            return "store";
        case operation::exchange:
            return "exchange";
        case operation::fetch_add:
            return "fetch_add";
        case operation::fetch_sub:
            return "fetch_sub";
        case operation::fetch_and:
            return "fetch_and";
        case operation::fetch_or:
            return "fetch_or";
        case operation::fetch_xor:
            return "fetch_xor";
        case operation::compare_exchange:
            return "compare_exchange";
        case operation::lock:
            return "lock";
        case operation::try_lock:
            return "try_lock";
        case operation::unlock:
            return "unlock";
        case operation::futex_wait:
            return "futex_wait";
        case operation::futex_return:
            return "futex_wait returns";
        case operation::futex_wake:
            return "futex_wake";
        case operation::join:
            return "join";
        case operation::pause:
            return "pause";
        case operation::open:
            return "open";
        case operation::pass:
            return "pass";
        case operation::read:
            return "read";
        case operation::write:
            return "write";
        case operation::start:
            return "start";
        case operation::finish:
            return "ends";
        case operation::choose:
            return "choose";
        case operation::note:
            return "note";
    }
    return "?";
}

std::string describe(const event& line, const std::array<thread_state, max_threads>& threads) {
    const std::string object = line.object != nullptr ? line.object->name() : "";
    switch (line.op) {
        case operation::load:
            return fmt::format("load {} of {}: {}{}", order_name(line.order), object, value(line.old_value),
                               line.failed ? fmt::format(", stale: it holds {}", value(line.new_value)) : "");
        case operation::store:
            return fmt::format("store {} to {}: {}", order_name(line.order), object, value(line.new_value));
        case operation::exchange:
        case operation::fetch_add:
        case operation::fetch_sub:
        case operation::fetch_and:
        case operation::fetch_or:
        case operation::fetch_xor:
        case operation::compare_exchange:
            return fmt::format("{} {} of {}: {}", verb(line.op), order_name(line.order), object,
                               line.failed ? "fails, it holds " + value(line.old_value)
                                           : value(line.old_value) + " -> " + value(line.new_value));
        case operation::try_lock:
            return fmt::format("try_lock of {}: {}", object, line.failed ? "fails" : "holds it");
        case operation::futex_wait:
            return fmt::format("futex_wait on {}: {}", object,
                               line.failed ? fmt::format("returns, it holds {} and not {}", value(line.old_value),
                                                         value(line.new_value))
                                           : "sleeps");
        case operation::futex_return: {
            static constexpr const char* reasons[] = {"woken", "its deadline has passed", "woken for nothing"};
            return fmt::format("futex_wait on {} returns: {}", object, reasons[line.new_value]);
        }
        case operation::futex_wake:
            return fmt::format("futex_wake on {}: wakes {}", object, line.new_value);
        case operation::start:
            return fmt::format("start {}", threads[line.new_value].name);
        case operation::join: {
            const auto target = static_cast<std::int64_t>(line.new_value);
            return target < 0 ? "join all" : fmt::format("join {}", threads[static_cast<unsigned>(target)].name);
        }
        case operation::choose:
            return fmt::format("choose: {} of {}", line.new_value, line.old_value);
        case operation::note:
            return line.text;
        default:
            return object.empty() ? verb(line.op) : fmt::format("{} {}", verb(line.op), object);
    }
}

// The last three parts of a path.
std::string_view short_path(std::string_view path) {
    std::size_t at = path.size();
    for (int part = 0; part < 3 && at != std::string_view::npos && at != 0; ++part) at = path.rfind('/', at - 1);
    return at == std::string_view::npos || at == 0 ? path : path.substr(at + 1);
}

}  // namespace

std::string engine::trace() const {
    static constexpr std::size_t shown = 400;  // lines; the end is what tells
    std::string out;
    unsigned number = 0;
    for (const event& line : trace_) {
        if (!line.plain) ++number;
        if (&trace_.back() - &line >= static_cast<std::ptrdiff_t>(shown)) continue;
        if (number > 1 && out.empty()) out = "        …\n";
        fmt::format_to(std::back_inserter(out), "{:>6}  {:<12} {:<64} {}:{}\n",
                       line.plain ? "" : fmt::format("{}", number), threads_[line.thread].name,
                       describe(line, threads_), short_path(line.where.file_name()), line.where.line());
    }
    return out;
}

std::string engine::bounds() const {
    std::string out;
    if (how_.timeouts != 0) out += fmt::format(".timeouts = {}, ", how_.timeouts);
    if (how_.spurious != 0) out += fmt::format(".spurious = {}, ", how_.spurious);
    if (how_.stale != 0) out += fmt::format(".stale = {}, ", how_.stale);
    return out;
}

std::string engine::describe_wait(const thread_state& thread) const {
    const step& next = thread.next;
    const std::string at = fmt::format("{}:{}", short_path(next.where.file_name()), next.where.line());
    if (thread.status == thread_state::state::sleeping)
        return fmt::format("{} sleeps in futex_wait on {} at {}", thread.name, next.object->name(), at);
    if (next.op == operation::lock)
        return fmt::format(
            "{} waits for {}, which {} holds, at {}", thread.name, next.object->name(),
            next.object->owner == static_cast<int>(thread.number) ? "it itself" : who(next.object->owner), at);
    if (next.op == operation::pass) return fmt::format("{} waits at {}, at {}", thread.name, next.object->name(), at);
    if (next.op == operation::join)
        return fmt::format("{} waits for the end of {} at {}", thread.name, next.target < 0 ? "all" : who(next.target),
                           at);
    return fmt::format("{} waits at {}", thread.name, at);
}

void engine::fail_deadlock() {
    std::string what = "deadlock: ";
    for (unsigned i = 0; i < count_; ++i)
        if (threads_[i].status != thread_state::state::finished) what += describe_wait(threads_[i]) + "; ";
    what.resize(what.size() - 2);
    fail(std::move(what), current_->next.where);
}

}  // namespace detail

std::string report::text() const {
    std::string out = fmt::format("leat::explore: {} schedules, {} steps{}{}\n", schedules, steps,
                                  redundant != 0 ? fmt::format(", {} redundant ones besides", redundant) : "",
                                  complete ? ", complete" : "");
    if (ok()) return out;
    return out + fmt::format("  failure:  {}\n  schedule: {}\n  replay:   {{{}.replay = \"{}\"}}\n  trace:\n{}",
                             failure, failed_schedule, bounds, replay, trace);
}

}  // namespace leat::explore
