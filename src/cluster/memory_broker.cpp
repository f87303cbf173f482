#include <leat/cluster/memory_broker.hpp>

#include <algorithm>

#include <fmt/format.h>

#include <leat/task/this_task.hpp>

#include "memory_state.hpp"

namespace leat::cluster {

namespace {

unexpected<broker_error> problem(broker_problem which, std::string text) {
    return unexpected(broker_error{which, std::move(text)});
}
unexpected<broker_error> was_closed(std::string_view what) {
    return problem(broker_problem::closed, fmt::format("{}: the connection was closed", what));
}
unexpected<broker_error> no_answer(std::string_view what) {
    return problem(broker_problem::timed_out, fmt::format("{}: no answer in time", what));
}
unexpected<broker_error> not_there(std::string_view what) {
    return problem(broker_problem::unavailable, fmt::format("{}: the server is not there", what));
}

}  // namespace

// One connection. What is not const is under the server's lock.
class memory_broker::link {
public:
    explicit link(std::shared_ptr<memory_state> to) : server(std::move(to)) {}

    // What will become of a call: drawn when it begins.
    enum class fate : std::uint8_t { arrives, closed, refused, lost, late, unanswered };
    struct course {
        fate how = fate::arrives;
        duration there{0};
        duration back{0};
        duration late_by{0};
    };
    course begin(time_point now);

    [[nodiscard]] bool reaches(time_point now) const { return cut_to <= now; }
    [[nodiscard]] bool hears(time_point now) const { return cut_from <= now; }
    void cut(cut_way which, time_point until);
    void wake() {
        for (auto_reset_event* const each : waits) each->set();
    }
    void close() noexcept {
        const std::scoped_lock held(server->lock);
        is_closed = true;
        wake();
    }

    // Lets others run, or waits; what close() ends. True when the connection is open then.
    static task<bool> pause(std::shared_ptr<link> self, duration time);
    template <class T, class Work>
    static task<broker_result<T>> request(std::shared_ptr<link> self, const char* what, Work work);
    // What no answer is waited for.
    template <class Work>
    static task<broker_result<done>> tell(std::shared_ptr<link> self, Work work);
    static task<broker_result<std::vector<delivery>>> fetch(std::shared_ptr<link> self, std::string stream,
                                                            std::string consumer, std::size_t most, duration wait);

    const std::shared_ptr<memory_state> server;
    bool is_closed = false;
    time_point cut_to{};  // until when
    time_point cut_from{};
    std::vector<auto_reset_event*> waits;
};

namespace {

// An event that the owners of lists can set as long as this lives.
class listed_event {
public:
    explicit listed_event(memory_state& server) : server_(server) {}
    ~listed_event() {
        const std::scoped_lock held(server_.lock);
        for (auto* const list : lists_) std::erase(*list, &event);
    }
    listed_event(const listed_event&) = delete;
    // Under the lock.
    void enter(std::vector<auto_reset_event*>& list) {
        list.push_back(&event);
        lists_.push_back(&list);
    }
    auto_reset_event event;

private:
    memory_state& server_;
    std::vector<std::vector<auto_reset_event*>*> lists_;
};

}  // namespace

void memory_broker::link::cut(cut_way which, time_point until) {
    if (which != cut_way::from_server) cut_to = std::max(cut_to, until);
    if (which != cut_way::to_server) cut_from = std::max(cut_from, until);
    wake();
}

memory_broker::link::course memory_broker::link::begin(time_point now) {
    const std::scoped_lock held(server->lock);
    server->advance(now);
    const memory_faults& faults = server->options.faults;
    course way;
    if (is_closed) {
        way.how = fate::closed;
        return way;
    }
    if (server->strikes(faults.restarts)) server->go_down(now + server->draw(faults.longest_restart));
    if (server->strikes(faults.cuts))
        cut(static_cast<cut_way>(server->draw(std::uint64_t{3})), now + server->draw(faults.longest_cut));
    way.there = server->draw(faults.longest_delay);
    way.back = server->draw(faults.longest_delay);
    // Of a cut connection the client has noticed, or has not.
    const bool knows = !(reaches(now) && hears(now)) && server->draw(std::uint64_t{2}) == 0;
    if (knows || server->strikes(faults.refused_calls)) way.how = fate::refused;
    else if (server->strikes(faults.lost_calls)) way.how = fate::lost;
    else if (server->strikes(faults.late_calls)) way.how = fate::late;
    else if (server->strikes(faults.lost_answers)) way.how = fate::unanswered;
    if (way.how == fate::late) way.late_by = server->draw(faults.latest_call);
    return way;
}

task<bool> memory_broker::link::pause(std::shared_ptr<link> self, duration time) {
    if (time <= duration::zero()) {
        co_await this_task::yield();
    } else {
        listed_event over(*self->server);
        {
            const std::scoped_lock held(self->server->lock);
            if (self->is_closed) co_return false;
            over.enter(self->waits);
        }
        const time_point until = co_await this_task::now() + time;
        bool again = true;  // a cut wakes those who wait, too
        while (again) {
            again = co_await over.event.wait_until(until);
            const std::scoped_lock held(self->server->lock);
            if (self->is_closed) co_return false;
        }
    }
    const std::scoped_lock held(self->server->lock);
    co_return !self->is_closed;
}

// `work` is what the server does: work(state, now), under the lock.
template <class T, class Work>
task<broker_result<T>> memory_broker::link::request(std::shared_ptr<link> self, const char* what, Work work) {
    memory_state& server = *self->server;
    const time_point asked = co_await this_task::now();
    const course way = self->begin(asked);
    if (way.how == fate::closed) co_return was_closed(what);
    bool open = co_await pause(self, way.there);
    if (!open) co_return was_closed(what);
    if (way.how == fate::refused) co_return not_there(what);

    const time_point arrived = co_await this_task::now();
    std::optional<broker_result<T>> answer;
    {
        const std::scoped_lock held(server.lock);
        server.advance(arrived);
        if (server.is_down) co_return not_there(what);
        if (self->reaches(arrived)) {
            if (way.how == fate::late) {
                server.at(arrived + server.options.answer_wait + way.late_by,
                          [work](memory_state& state, time_point now) mutable {
                              if (!state.is_down) (void)work(state, now);
                          });
            } else if (way.how != fate::lost) {
                answer.emplace(work(server, arrived));
            }
        }
    }
    if (answer && way.how != fate::unanswered) {
        open = co_await pause(self, way.back);
        if (!open) co_return was_closed(what);
        const time_point now = co_await this_task::now();
        const std::scoped_lock held(server.lock);
        if (self->hears(now)) co_return std::move(*answer);
    }
    open = co_await pause(self, server.options.answer_wait);
    if (!open) co_return was_closed(what);
    co_return no_answer(what);
}

template <class Work>
task<broker_result<done>> memory_broker::link::tell(std::shared_ptr<link> self, Work work) {
    memory_state& server = *self->server;
    const time_point asked = co_await this_task::now();
    const course way = self->begin(asked);
    if (way.how == fate::closed) co_return was_closed("a message");
    const bool open = co_await pause(self, way.there);
    if (!open) co_return was_closed("a message");
    if (way.how == fate::refused) co_return not_there("a message");
    const time_point arrived = co_await this_task::now();
    const std::scoped_lock held(server.lock);
    server.advance(arrived);
    if (server.is_down || !self->reaches(arrived) || way.how == fate::lost) co_return done{};
    if (way.how == fate::late)
        server.at(arrived + way.late_by, [work](memory_state& state, time_point now) mutable {
            if (!state.is_down) (void)work(state, now);
        });
    else (void)work(server, arrived);
    co_return done{};
}

task<broker_result<std::vector<delivery>>> memory_broker::link::fetch(std::shared_ptr<link> self, std::string stream,
                                                                      std::string consumer, std::size_t most,
                                                                      duration wait) {
    memory_state& server = *self->server;
    time_point now = co_await this_task::now();
    const time_point until = wait > time_point::max() - now ? time_point::max() : now + wait;
    const course way = self->begin(now);
    if (way.how == fate::closed) co_return was_closed("fetch");
    bool open = co_await pause(self, way.there);
    if (!open) co_return was_closed("fetch");
    if (way.how == fate::refused) co_return not_there("fetch");

    std::vector<delivery> taken;
    std::shared_ptr<memory_state::consumer_data> from;
    listed_event change(server);  // ends before `from`, whose list it is in
    bool is_asked = way.how == fate::arrives || way.how == fate::unanswered;
    bool was_cut = false;
    for (;;) {
        now = co_await this_task::now();
        time_point next = until;
        {
            const std::scoped_lock held(server.lock);
            server.advance(now);
            if (self->is_closed) co_return was_closed("fetch");
            if (server.is_down) co_return not_there("fetch");
            if (is_asked && !from) {
                if (self->reaches(now)) {
                    auto found = server.find_consumer(stream, consumer);
                    if (!found) co_return unexpected(std::move(found).error());
                    from = std::move(*found);
                    change.enter(from->waiting);
                    change.enter(self->waits);
                } else {
                    is_asked = false;
                }
            }
            was_cut = was_cut || !self->reaches(now) || !self->hears(now);
            if (is_asked) {
                if (from->is_gone)
                    co_return problem(broker_problem::not_found, fmt::format("the stream '{}' was removed", stream));
                taken = server.take(*from, most, now);
                if (!taken.empty()) {
                    if (way.how != fate::unanswered && self->hears(now)) break;
                    taken.clear();  // they are on their way to nobody
                    is_asked = false;
                } else {
                    next = std::min(next, server.next_event());
                    if (!from->due.empty()) next = std::min(next, from->due.begin()->first);
                }
            }
        }
        if (now >= until) break;
        (void)co_await change.event.wait_until(next);
    }
    if (!taken.empty()) {
        open = co_await pause(self, way.back);
        if (!open) co_return was_closed("fetch");
        co_return std::move(taken);
    }
    if (was_cut) co_return not_there("fetch");
    co_return std::move(taken);
}

// --- The engine ---

memory_engine::memory_engine(memory_options options) : state_(std::make_shared<memory_state>(options)) {}
memory_engine::memory_engine() : memory_engine(memory_options{}) {}
memory_engine::~memory_engine() = default;

std::unique_ptr<memory_broker> memory_engine::connect() {
    return std::unique_ptr<memory_broker>(new memory_broker(state_));
}

void memory_engine::set_faults(const memory_faults& faults) {
    const std::scoped_lock held(state_->lock);
    state_->use(faults);
}

void memory_engine::go_down() {
    const std::scoped_lock held(state_->lock);
    state_->go_down(time_point::max());
}

void memory_engine::come_back() {
    const std::scoped_lock held(state_->lock);
    state_->come_back();
}

memory_counts memory_engine::counts() const {
    const std::scoped_lock held(state_->lock);
    return state_->counts;
}

// --- A connection ---

memory_broker::memory_broker(std::shared_ptr<memory_state> server) : link_(std::make_shared<link>(std::move(server))) {}
memory_broker::~memory_broker() { drop(); }

void memory_broker::cut(cut_way which) {
    const std::scoped_lock held(link_->server->lock);
    link_->cut(which, time_point::max());
}

void memory_broker::heal() {
    const std::scoped_lock held(link_->server->lock);
    link_->cut_to = link_->cut_from = time_point{};
    link_->wake();
}

void memory_broker::drop() noexcept { link_->close(); }

task<> memory_broker::close() {
    drop();
    co_return;
}

broker_limits memory_broker::limits() const {
    return {link_->server->options.largest_payload, "memory_broker, in this process",
            "nothing survives the end of the process"};
}

task<broker_result<done>> memory_broker::make_stream(stream_config config) {
    return link::request<done>(link_, "make_stream", [config = std::move(config)](memory_state& state, time_point) {
        return state.make_stream(config);
    });
}

task<broker_result<stream_state>> memory_broker::stream(std::string name) {
    return link::request<stream_state>(
        link_, "stream", [name = std::move(name)](memory_state& state, time_point) { return state.stream(name); });
}

task<broker_result<std::vector<std::string>>> memory_broker::streams(std::string prefix) {
    using names = std::vector<std::string>;
    return link::request<names>(link_, "streams", [prefix = std::move(prefix)](memory_state& state, time_point) {
        return broker_result<names>(state.streams(prefix));
    });
}

task<broker_result<done>> memory_broker::remove_stream(std::string name) {
    return link::request<done>(link_, "remove_stream", [name = std::move(name)](memory_state& state, time_point) {
        return state.remove_stream(name);
    });
}

task<broker_result<done>> memory_broker::purge(std::string stream, std::uint64_t below) {
    return link::request<done>(link_, "purge", [stream = std::move(stream), below](memory_state& state, time_point) {
        return state.purge(stream, below);
    });
}

task<broker_result<done>> memory_broker::make_consumer(consumer_config config) {
    return link::request<done>(link_, "make_consumer", [config = std::move(config)](memory_state& state, time_point) {
        return state.make_consumer(config);
    });
}

task<broker_result<consumer_state>> memory_broker::consumer(std::string stream, std::string name) {
    return link::request<consumer_state>(
        link_, "consumer", [stream = std::move(stream), name = std::move(name)](memory_state& state, time_point) {
            return state.consumer(stream, name);
        });
}

task<broker_result<receipt>> memory_broker::publish(message what) {
    return link::request<receipt>(
        link_, "publish", [what = std::move(what)](memory_state& state, time_point now) -> broker_result<receipt> {
            std::size_t size = what.payload.size();
            for (const auto& [name, value] : what.headers) size += name.size() + value.size();
            if (size > state.options.largest_payload)
                return problem(broker_problem::too_large,
                               fmt::format("a message of {} bytes: the server takes {} at most", size,
                                           state.options.largest_payload));
            return state.publish(what, now);
        });
}

task<broker_result<std::vector<delivery>>> memory_broker::fetch(std::string stream, std::string consumer,
                                                                std::size_t most, std::chrono::nanoseconds wait) {
    return link::fetch(link_, std::move(stream), std::move(consumer), most, wait);
}

task<broker_result<done>> memory_broker::ack(delivery what) {
    return link::request<done>(
        link_, "ack", [token = std::move(what.token)](memory_state& state, time_point) { return state.ack(token); });
}

task<broker_result<done>> memory_broker::terminate(delivery what) {
    return link::request<done>(link_, "terminate", [token = std::move(what.token)](memory_state& state, time_point) {
        return state.ack(token);
    });
}

// Not confirmed: who asked hears nothing of what became of it, but of what it knows itself.
task<broker_result<done>> memory_broker::nack(delivery what, std::chrono::nanoseconds delay) {
    return link::tell(link_, [token = std::move(what.token), delay](memory_state& state, time_point now) {
        return state.nack(token, delay, now);
    });
}

task<broker_result<done>> memory_broker::progress(const delivery& what) {
    return link::tell(link_,
                      [token = what.token](memory_state& state, time_point now) { return state.progress(token, now); });
}

task<broker_result<delivery>> memory_broker::read(std::string stream, std::uint64_t sequence) {
    return link::request<delivery>(link_, "read",
                                   [stream = std::move(stream), sequence](memory_state& state, time_point) {
                                       return state.read(stream, sequence);
                                   });
}

task<broker_result<done>> memory_broker::make_bucket(std::string bucket, std::chrono::nanoseconds age,
                                                     unsigned replicas) {
    return link::request<done>(link_, "make_bucket",
                               [bucket = std::move(bucket), age, replicas](memory_state& state, time_point) {
                                   return state.make_bucket(bucket, age, replicas);
                               });
}

task<broker_result<entry>> memory_broker::get(std::string bucket, std::string key) {
    return link::request<entry>(
        link_, "get", [bucket = std::move(bucket), key = std::move(key)](memory_state& state, time_point now) {
            return state.get(bucket, key, now);
        });
}

namespace {

bool is_too_large(const memory_state& state, const std::string& value) {
    return value.size() > state.options.largest_payload;
}
unexpected<broker_error> too_large(const memory_state& state, const std::string& value) {
    return problem(broker_problem::too_large, fmt::format("a value of {} bytes: the server takes {} at most",
                                                          value.size(), state.options.largest_payload));
}

}  // namespace

task<broker_result<std::uint64_t>> memory_broker::put(std::string bucket, std::string key, std::string value) {
    return link::request<std::uint64_t>(link_, "put",
                                        [bucket = std::move(bucket), key = std::move(key), value = std::move(value)](
                                            memory_state& state, time_point now) -> broker_result<std::uint64_t> {
                                            if (is_too_large(state, value)) return too_large(state, value);
                                            return state.put(bucket, key, value, now);
                                        });
}

task<broker_result<std::uint64_t>> memory_broker::update(std::string bucket, std::string key, std::string value,
                                                         std::uint64_t revision) {
    return link::request<std::uint64_t>(
        link_, "update",
        [bucket = std::move(bucket), key = std::move(key), value = std::move(value), revision](
            memory_state& state, time_point now) -> broker_result<std::uint64_t> {
            if (is_too_large(state, value)) return too_large(state, value);
            return state.update(bucket, key, value, revision, now);
        });
}

task<broker_result<done>> memory_broker::erase(std::string bucket, std::string key) {
    return link::request<done>(link_, "erase",
                               [bucket = std::move(bucket), key = std::move(key)](memory_state& state, time_point) {
                                   return state.erase(bucket, key);
                               });
}

task<broker_result<std::vector<std::string>>> memory_broker::keys(std::string bucket, std::string prefix) {
    return link::request<std::vector<std::string>>(
        link_, "keys", [bucket = std::move(bucket), prefix = std::move(prefix)](memory_state& state, time_point now) {
            return state.keys(bucket, prefix, now);
        });
}

task<broker_result<done>> memory_broker::remove_bucket(std::string bucket) {
    return link::request<done>(link_, "remove_bucket", [bucket = std::move(bucket)](memory_state& state, time_point) {
        return state.remove_bucket(bucket);
    });
}

}  // namespace leat::cluster
