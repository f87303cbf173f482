#include <leat/flow/graph.hpp>

#include <algorithm>
#include <boost/json.hpp>
#include <deque>
#include <exception>
#include <flow/record_json.hpp>
#include <fmt/format.h>
#include <mutex>

#include <leat/base/exception_text.hpp>
#include <leat/base/machine.hpp>
#include <leat/sync/event.hpp>
#include <leat/task/scope.hpp>

namespace leat {

namespace detail {

struct graph_entry {
    // Unchanged once it is there.
    std::string name;
    std::unique_ptr<graph_body> body;
    std::size_t number = 0;

    // Under the graph's lock.
    graph_node_end end = graph_node_end::waiting;
    std::string why;
    std::exception_ptr error;  // of one that has failed
    const graph_entry* cause =
        nullptr;  // of one that was not run: who failed, or was cancelled; null: the graph was stopped
    std::vector<graph_entry*> before;     // what it comes after
    std::vector<graph_entry*> following;  // what comes after it
    std::size_t left = 0;                 // of `before`, those that are not done
    bool began = false;
    time_point started{};
    time_point ended{};
};

class graph_core {
public:
    graph_entry& add(std::string name, std::unique_ptr<graph_body> body, std::initializer_list<graph_node_base> after) {
        graph_entry* made = nullptr;
        bool can_begin = false;
        {
            const std::scoped_lock held(lock_);
            if (phase_ == phase::ended)
                throw graph_error(fmt::format("the graph has ended: '{}' cannot be added", name));
            for (const graph_node_base& each : after) require_ours(each, name);
            auto entry = std::make_unique<graph_entry>();
            entry->name = std::move(name);
            entry->body = std::move(body);
            entry->number = entries_.size();
            made = entry.get();
            entries_.push_back(std::move(entry));
            ++unsettled_;
            try {
                for (const graph_node_base& each : after) connect(*each.at_, *made);
                can_begin = begin_or_wait(*made);
            } catch (...) {
                for (graph_entry* each : made->before) std::erase(each->following, made);
                entries_.pop_back();
                --unsettled_;
                throw;
            }
        }
        // After the lock: nobody else knows of it yet. A body that will not run is dropped with the graph.
        if (can_begin) wake_.set();
        return *made;
    }

    void order(graph_entry& later, std::initializer_list<graph_node_base> earlier) {
        bool settled = false;
        {
            const std::scoped_lock held(lock_);
            for (const graph_node_base& each : earlier) require_ours(each, later.name);
            if (later.end != graph_node_end::waiting || is_chosen(later))
                throw graph_error(fmt::format(
                    "'{}' {}: it cannot come after another node any more", later.name,
                    later.end == graph_node_end::waiting || later.end == graph_node_end::running ? "has begun"
                                                                                                 : "has ended"));
            for (const graph_node_base& each : earlier) refuse_cycle(*each.at_, later);
            const std::size_t had = later.before.size();
            try {
                for (const graph_node_base& each : earlier) connect(*each.at_, later);
            } catch (...) {
                for (std::size_t at = had; at < later.before.size(); ++at) disconnect(*later.before[at], later);
                later.before.resize(had);
                throw;
            }
            std::erase(ready_, &later);
            (void)begin_or_wait(later);
            settled = unsettled_ == 0;
        }
        if (settled) wake_.set();
    }

    task<graph_report> run(graph_options options) {
        context& line = co_await this_task::line();
        begin(line.where(), options);
        scope work(line);
        {
            const std::scoped_lock held(lock_);
            work_ = &work;
        }
        for (bool stopped = false; !stopped;) {
            start_ready(work);
            if (has_ended()) break;
            try {
                co_await wake_.wait();
            } catch (const cancelled&) {
                stopped = true;
            }
            if (stopped) stop();
        }
        co_await work.join_quietly();  // no task of it fails
        {
            const std::scoped_lock held(lock_);
            phase_ = phase::ended;
            work_ = nullptr;
            ended_ = line.where().now();
        }
        if (line.stop_requested()) throw cancelled{};
        co_return report();
    }

    void stop() noexcept {
        {
            const std::scoped_lock held(lock_);
            if (phase_ == phase::ended) return;
            stopped_ = true;
            for (const auto& each : entries_)
                if (each->end == graph_node_end::waiting) end_without_run(*each, nullptr);
            ready_.clear();
            if (work_ != nullptr) work_->stop();  // posts what it wakes, nothing of it runs in here
        }
        wake_.set();
    }

    graph_report report() const;

    graph_node_end end_of(const graph_entry& which) const {
        const std::scoped_lock held(lock_);
        return which.end;
    }
    void require_done(const graph_entry& which) const {
        const std::scoped_lock held(lock_);
        if (which.error) std::rethrow_exception(which.error);
        if (which.end != graph_node_end::done)
            throw graph_error(fmt::format("'{}' has no result: it is {}{}", which.name, to_string(which.end),
                                          which.why.empty() ? "" : ", " + which.why));
    }

private:
    enum class phase : std::uint8_t { made, running, ended };

    void require_ours(const graph_node_base& which, const std::string& for_whom) const {
        if (which.owner_ != this)
            throw graph_error(
                fmt::format("'{}' is a node of another graph: '{}' cannot come after it", which.at_->name, for_whom));
    }
    // One whose task was made, and that is about to begin.
    bool is_chosen(const graph_entry& which) const noexcept {
        return phase_ == phase::running && which.left == 0 &&
               std::find(ready_.begin(), ready_.end(), &which) == ready_.end();
    }

    void connect(graph_entry& earlier, graph_entry& later) {
        if (std::find(later.before.begin(), later.before.end(), &earlier) != later.before.end()) return;
        later.before.reserve(later.before.size() + 1);
        earlier.following.push_back(&later);
        later.before.push_back(&earlier);
        if (earlier.end != graph_node_end::done) ++later.left;
    }
    void disconnect(graph_entry& earlier, graph_entry& later) noexcept {
        std::erase(earlier.following, &later);
        if (earlier.end != graph_node_end::done) --later.left;
    }
    // A node that waits and whose edges have changed: ends it where it cannot run, makes it ready where it can. True for that.
    bool begin_or_wait(graph_entry& which) {
        const graph_entry* cause = nullptr;
        for (const graph_entry* each : which.before)
            if (each->end > graph_node_end::done && cause == nullptr)
                cause = each->end == graph_node_end::not_run && each->cause != nullptr ? each->cause : each;
        if (stopped_ || cause != nullptr) {
            cut(which, stopped_ ? nullptr : cause);
            return false;
        }
        if (which.left != 0) return false;
        ready_.push_back(&which);
        return true;
    }

    void refuse_cycle(const graph_entry& earlier, const graph_entry& later) const {
        // Depth first from `later` along what follows: a way to `earlier` would be closed by the new edge.
        std::vector<const graph_entry*> came_from(entries_.size(), nullptr);
        std::vector<const graph_entry*> open{&later};
        came_from[later.number] = &later;
        while (!open.empty()) {
            const graph_entry* here = open.back();
            open.pop_back();
            if (here == &earlier) {
                std::vector<std::string> path{later.name};
                for (; here != &later; here = came_from[here->number]) path.push_back(here->name);
                path.push_back(later.name);
                std::reverse(path.begin(), path.end());
                throw graph_cycle(std::move(path));
            }
            for (const graph_entry* next : here->following) {
                if (came_from[next->number] != nullptr) continue;
                came_from[next->number] = here;
                open.push_back(next);
            }
        }
    }

    void begin(executor& where, const graph_options& options) {
        const unsigned limit = options.limit != 0 ? options.limit : effective_machine().worker_count;
        const std::scoped_lock held(lock_);
        if (phase_ != phase::made) throw graph_error("a graph is run once");
        phase_ = phase::running;
        where_ = &where;
        limit_ = limit;
        started_ = where.now();
    }
    bool has_ended() {
        const std::scoped_lock held(lock_);
        if (unsettled_ != 0) return false;
        phase_ = phase::ended;
        return true;
    }

    graph_entry* choose() noexcept {
        const std::scoped_lock held(lock_);
        if (ready_.empty() || running_ == limit_) return nullptr;
        graph_entry* const next = ready_.front();
        ready_.pop_front();
        ++running_;
        return next;
    }
    // By run() and by the nodes' tasks, which are in the scope.
    void start_ready(scope& work) noexcept {
        while (graph_entry* const next = choose()) {
            try {
                work.spawn(task_name("graph node"), &graph_core::run_node, this, next, &work);
            } catch (...) {
                settle(*next, graph_node_end::failed, std::current_exception());
            }
        }
    }

    static task<> run_node(graph_core* self, graph_entry* which, scope* work) {
        // Those who are told of a stop before run() is, tell the graph: else what they leave would have ended by itself.
        const stop_token asked = co_await this_task::stop_token();
        if (asked.stop_requested()) self->stop();
        if (self->note_start(*which)) {
            graph_node_end end = graph_node_end::done;
            std::exception_ptr error;
            try {
                co_await which->body->run();
            } catch (const cancelled&) {
                end = graph_node_end::cancelled;
            } catch (...) {
                end = graph_node_end::failed;
                error = std::current_exception();
            }
            which->body->drop();
            if (end == graph_node_end::cancelled && asked.stop_requested()) self->stop();
            self->settle(*which, end, error);
        }
        self->start_ready(*work);
    }

    // False when the graph was stopped before.
    bool note_start(graph_entry& which) noexcept {
        const std::scoped_lock held(lock_);
        if (which.end != graph_node_end::waiting) {  // stop() came between
            --running_;
            return false;
        }
        which.end = graph_node_end::running;
        which.began = true;
        which.started = where_->now();
        return true;
    }

    void settle(graph_entry& which, graph_node_end end, std::exception_ptr error) noexcept {
        bool last = false;
        {
            const std::scoped_lock held(lock_);
            --running_;
            if (which.end == graph_node_end::not_run) return;  // stop() came between
            which.ended = where_->now();
            which.end = end;
            which.error = std::move(error);
            if (which.error) which.why = text_of(which.error);
            --unsettled_;
            if (end == graph_node_end::done) {
                for (graph_entry* next : which.following)
                    if (--next->left == 0 && next->end == graph_node_end::waiting) ready_.push_back(next);
            } else {
                for (graph_entry* next : which.following)
                    if (next->end == graph_node_end::waiting) cut(*next, stopped_ ? nullptr : &which);
            }
            last = unsettled_ == 0;
        }
        if (last) wake_.set();
    }

    // Ends a node that waits, and all that comes after it and waits.
    void cut(graph_entry& first, const graph_entry* cause) {
        std::vector<graph_entry*> open{&first};
        while (!open.empty()) {
            graph_entry* const here = open.back();
            open.pop_back();
            if (here->end != graph_node_end::waiting) continue;
            end_without_run(*here, cause);
            open.insert(open.end(), here->following.begin(), here->following.end());
        }
    }
    void end_without_run(graph_entry& which, const graph_entry* cause) {
        which.end = graph_node_end::not_run;
        which.cause = cause;
        if (cause == nullptr) which.why = "the graph was stopped";
        else
            which.why = fmt::format("because of '{}', which {}", cause->name,
                                    cause->end == graph_node_end::failed ? "has failed" : "was cancelled");
        --unsettled_;
    }

    static void find_critical_path(graph_report& told);

    mutable std::mutex lock_;
    auto_reset_event wake_;  // for run(): a node may begin that nobody of the scope knows of, or all have ended
    executor* where_ = nullptr;
    // The following under lock_.
    std::vector<std::unique_ptr<graph_entry>> entries_;
    std::deque<graph_entry*> ready_;  // those that may begin, first come first served
    std::size_t unsettled_ = 0;       // nodes that have not ended
    unsigned running_ = 0;            // chosen, and not ended
    unsigned limit_ = 0;
    phase phase_ = phase::made;
    bool stopped_ = false;
    scope* work_ = nullptr;  // while it runs
    time_point started_{};
    std::optional<time_point> ended_;
};

graph_report graph_core::report() const {
    graph_report told;
    {
        const std::scoped_lock held(lock_);
        const time_point now = ended_ ? *ended_ : phase_ == phase::made ? started_ : where_->now();
        const auto since_start = [this](time_point when) {
            return std::chrono::duration<double>(when - started_).count();
        };
        told.nodes.reserve(entries_.size());
        for (const auto& each : entries_) {
            graph_node_report& one = told.nodes.emplace_back();
            one.name = each->name;
            one.end = each->end;
            one.why = each->why;
            for (const graph_entry* before : each->before) one.after.push_back(before->number);
            one.began = each->began;
            if (!each->began) continue;
            one.start_s = since_start(each->started);
            one.end_s = since_start(each->end == graph_node_end::running ? now : each->ended);
        }
        told.seconds = since_start(now);
        told.limit = limit_;
        told.stopped = stopped_;
    }
    find_critical_path(told);
    return told;
}

// The longest way through the nodes, each with the time that it ran for.
void graph_core::find_critical_path(graph_report& told) {
    const std::size_t count = told.nodes.size();
    constexpr auto none = static_cast<std::size_t>(-1);
    std::vector<double> length(count, 0);  // of the longest way that ends with the node
    std::vector<std::size_t> from(count, none);
    std::vector<std::size_t> left(count, 0);
    std::vector<std::vector<std::size_t>> following(count);
    std::vector<std::size_t> open;
    for (std::size_t at = 0; at < count; ++at) {
        left[at] = told.nodes[at].after.size();
        if (left[at] == 0) open.push_back(at);
        for (const std::size_t before : told.nodes[at].after) following[before].push_back(at);
    }
    std::size_t last = none;
    while (!open.empty()) {
        const std::size_t here = open.back();
        open.pop_back();
        length[here] += told.nodes[here].end_s - told.nodes[here].start_s;
        if (length[here] > 0 && (last == none || length[here] > length[last])) last = here;
        for (const std::size_t next : following[here]) {
            if (length[here] > length[next]) {
                length[next] = length[here];
                from[next] = here;
            }
            if (--left[next] == 0) open.push_back(next);
        }
    }
    if (last == none) return;
    told.critical_s = length[last];
    told.critical_share = told.seconds > 0 ? told.critical_s / told.seconds : 0;
    for (std::size_t at = last; at != none; at = from[at]) told.critical_path.push_back(at);
    std::reverse(told.critical_path.begin(), told.critical_path.end());
}

const std::string& graph_node_base::name() const noexcept { return at_->name; }
graph_node_end graph_node_base::end() const { return owner_->end_of(*at_); }
void graph_node_base::come_after(std::initializer_list<graph_node_base> others) const { owner_->order(*at_, others); }
void graph_node_base::require_done() const { owner_->require_done(*at_); }

}  // namespace detail

std::string_view to_string(graph_node_end end) noexcept {
    switch (end) {
        case graph_node_end::waiting:
            return "waiting";
        case graph_node_end::running:
            return "running";
        case graph_node_end::done:
            return "done";
        case graph_node_end::failed:
            return "failed";
        case graph_node_end::cancelled:
            return "cancelled";
        case graph_node_end::not_run:
            return "not run";
    }
    return "";
}

namespace {

std::string joined(const std::vector<std::string>& names) {
    std::string all;
    for (const std::string& each : names) all += (all.empty() ? "" : " → ") + each;
    return all;
}

std::string seconds_text(double s) {
    if (s >= 100) return fmt::format("{:.0f} s", s);
    if (s >= 1) return fmt::format("{:.2f} s", s);
    return fmt::format("{:.1f} ms", s * 1000);
}

}  // namespace

graph_cycle::graph_cycle(std::vector<std::string> names)
    : graph_error("a cycle: " + joined(names)), path_(std::move(names)) {}

std::size_t graph_report::count(graph_node_end end) const noexcept {
    return static_cast<std::size_t>(
        std::count_if(nodes.begin(), nodes.end(), [end](const graph_node_report& each) { return each.end == end; }));
}

std::string graph_report::to_text() const {
    std::string text = fmt::format("{} nodes", nodes.size());
    for (const auto end : {graph_node_end::done, graph_node_end::failed, graph_node_end::cancelled,
                           graph_node_end::not_run, graph_node_end::running, graph_node_end::waiting})
        if (const std::size_t number = count(end); number != 0 || end == graph_node_end::done)
            text += fmt::format(", {} {}", number, leat::to_string(end));
    text += fmt::format(" in {}, {} at a time{}\n", seconds_text(seconds), limit, stopped ? ", stopped" : "");
    std::size_t widest = 4;
    for (const graph_node_report& each : nodes) widest = std::max(widest, each.name.size());
    text += fmt::format("  {:<{}} {:>9} {:>10} {:>10}\n", "node", widest, "end", "start", "time");
    for (const graph_node_report& each : nodes) {
        text += fmt::format("  {:<{}} {:>9} {:>10} {:>10}{}\n", each.name, widest, leat::to_string(each.end),
                            each.began ? seconds_text(each.start_s) : "-",
                            each.began ? seconds_text(each.end_s - each.start_s) : "-",
                            each.why.empty() ? "" : "  " + each.why);
    }
    if (!critical_path.empty()) {
        std::vector<std::string> names;
        names.reserve(critical_path.size());
        for (const std::size_t at : critical_path) names.push_back(nodes[at].name);
        text += fmt::format("  critical path: {} ({}, {:.0f}% of the time)\n", joined(names), seconds_text(critical_s),
                            100 * critical_share);
    }
    return text;
}

std::string graph_report::to_json() const {
    boost::json::object all;
    all["seconds"] = seconds;
    all["limit"] = limit;
    all["stopped"] = stopped;
    boost::json::array each_node;
    for (const graph_node_report& each : nodes) {
        boost::json::object one;
        one["name"] = to_utf8(each.name);
        one["end"] = leat::to_string(each.end);
        if (!each.why.empty()) one["why"] = to_utf8(each.why);
        boost::json::array after;
        for (const std::size_t at : each.after) after.emplace_back(at);
        one["after"] = std::move(after);
        if (each.began) one["start_s"] = each.start_s;
        if (each.began) one["end_s"] = each.end_s;
        each_node.push_back(std::move(one));
    }
    all["nodes"] = std::move(each_node);
    boost::json::array path;
    for (const std::size_t at : critical_path) path.emplace_back(at);
    all["critical_path"] = std::move(path);
    all["critical_s"] = critical_s;
    all["critical_share"] = critical_share;
    return boost::json::serialize(all);
}

graph::graph() : core_(std::make_shared<detail::graph_core>()) {}
graph::~graph() = default;

task<graph_report> graph::run(graph_options options) {
    const std::shared_ptr<detail::graph_core> core = core_;
    co_return co_await core->run(options);
}
void graph::stop() noexcept { core_->stop(); }
graph_report graph::report() const { return core_->report(); }

detail::graph_entry& graph::place(std::string name, std::unique_ptr<detail::graph_body> body,
                                  std::initializer_list<detail::graph_node_base> after) {
    return core_->add(std::move(name), std::move(body), after);
}

}  // namespace leat
