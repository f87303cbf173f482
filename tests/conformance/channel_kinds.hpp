// The kinds of channel and the places where tasks run, for the laws of channel_test.cpp. A kind says which promises it makes;
// a law is asked of those kinds that promise it, and of no others.
#pragma once

#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <core.hpp>
#include <leat/channel/broadcast.hpp>
#include <leat/channel/oneshot.hpp>
#include <leat/channel/priority_channel.hpp>
#include <leat/channel/spsc_channel.hpp>
#include <leat/channel/watch.hpp>
#include <leat/runtime/event_loop.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/runtime/thread_pool.hpp>

namespace leat_test {

template <class T>
using sent_t = leat::expected<void, leat::send_error<T>>;
template <class T>
using received_t = leat::expected<T, leat::recv_error>;

// --- The kinds ---

// A kind has make<T>(), which gives ends with out.send(T), in.recv(), their try_ and blocking_ forms, and reset(); the type of
// item that it is asked with; and what it promises. What is written here is the promise of a queue.
struct promises {
    using item = token;                          // can be moved only
    static constexpr bool many_values = true;    // more than one goes through
    static constexpr bool many_senders = true;   // the sending end is copied to share it
    static constexpr bool shared_work = true;    // the receiving end too, and each value goes to one of them
    static constexpr bool copies = false;        // each receiver sees the values, the last one in any case
    static constexpr bool gives_back = true;     // what can reach no receiver comes back to its sender
    static constexpr bool keeps_all = true;      // what was accepted is received: a sender waits for room
    static constexpr bool room_is_known = true;  // counts(), and `room`: how many it holds while nobody receives
    static constexpr bool can_abort = true;      // both ends have close() and abort()
    static constexpr bool batches = false;       // send_many(span), and the kind a recv_many(in, most)
};

template <std::size_t Capacity>
struct bounded : promises {
    static constexpr std::size_t room = Capacity;
    static constexpr bool batches = true;
    static std::string name() { return "channel" + std::to_string(Capacity); }
    template <class T>
    static auto make() {
        return leat::channel<T>(Capacity);
    }
    static leat::task<received_t<std::vector<token>>> recv_many(leat::receiver<token>& in, std::size_t most) {
        std::vector<token> got;
        const auto count = co_await in.recv_many(got, most);
        if (!count) co_return leat::unexpected(count.error());
        co_return got;
    }
};
struct in_bytes : bounded<4> {
    template <class T>
    static std::size_t one_byte(const T&) {
        return 1;
    }
    static std::string name() { return "byte_channel"; }
    template <class T>
    static auto make() {
        return leat::byte_channel<T>(4, &one_byte<T>);
    }
};
struct latest : bounded<2> {
    static constexpr bool keeps_all = false;
    static constexpr bool batches = false;  // of those that it drops nobody knows which
    static std::string name() { return "drop_oldest"; }
    template <class T>
    static auto make() {
        return leat::channel<T>(2, leat::overflow::drop_oldest);
    }
};

template <std::size_t Capacity>
struct spsc : promises {
    static constexpr std::size_t room = Capacity;
    static constexpr bool many_senders = false, shared_work = false;
    static constexpr bool batches = true;
    static std::string name() { return "spsc" + std::to_string(Capacity); }
    template <class T>
    static auto make() {
        return leat::spsc_channel<T>(Capacity);
    }
    static leat::task<received_t<std::vector<token>>> recv_many(leat::spsc_receiver<token>& in, std::size_t most) {
        std::vector<token> got;
        for (std::size_t i = 0; i < most; ++i) got.emplace_back(-1);
        const auto count = co_await in.recv_many(got);
        if (!count) co_return leat::unexpected(count.error());
        while (got.size() > *count) got.pop_back();
        co_return got;
    }
};

// Where all are equal, it keeps their order as the others do. (That the highest comes first is for its own tests.)
struct all_equal {
    template <class T>
    bool operator()(const T&, const T&) const noexcept {
        return false;
    }
};
template <std::size_t Capacity>
struct priority : promises {
    static constexpr std::size_t room = Capacity;
    static std::string name() { return "priority" + std::to_string(Capacity); }
    template <class T>
    static auto make() {
        return leat::priority_channel<T, all_equal>(Capacity);
    }
};

// The kinds below have another face; these ends give them that of a channel.
template <class T>
struct oneshot_out {
    leat::oneshot_sender<T> end;
    sent_t<T> try_send(T value) { return std::move(end).send(std::move(value)); }
    leat::task<sent_t<T>> send(T value) { co_return try_send(std::move(value)); }
    sent_t<T> blocking_send(T value) { return try_send(std::move(value)); }
    void reset() { end.reset(); }
};
struct oneshot : promises {
    static constexpr bool many_values = false, many_senders = false, shared_work = false;
    static constexpr bool room_is_known = false, can_abort = false;
    static std::string name() { return "oneshot"; }
    template <class T>
    struct ends {
        oneshot_out<T> out;
        leat::oneshot_receiver<T> in;
    };
    template <class T>
    static auto make() {
        auto [out, in] = leat::oneshot<T>();
        return ends<T>{{std::move(out)}, std::move(in)};
    }
};

class copied_token {
public:
    explicit copied_token(int number = -1) noexcept : number_(number) {}
    [[nodiscard]] int number() const noexcept { return number_; }

private:
    int number_;
};
// What a feed promises: all see the newest, nobody waits for them.
struct feed : promises {
    using item = copied_token;
    static constexpr bool shared_work = false, copies = true;
    static constexpr bool keeps_all = false, room_is_known = false, can_abort = false;
};

template <class T>
struct broadcast_out {
    leat::broadcast_sender<T> end;
    sent_t<T> try_send(T value) {
        auto sent = end.send(std::move(value));
        if (sent) return {};
        return leat::unexpected(std::move(sent.error()));
    }
    leat::task<sent_t<T>> send(T value) { co_return try_send(std::move(value)); }
    sent_t<T> blocking_send(T value) { return try_send(std::move(value)); }
    void reset() { end.reset(); }
};
// Goes on behind what it has missed.
template <class T>
struct broadcast_in {
    leat::broadcast_receiver<T> end;
    using got_t = leat::expected<T, leat::broadcast_error>;
    using why = leat::broadcast_error::reason;
    static bool lagged(const got_t& got) { return !got && got.error().why == why::lagged; }
    static received_t<T> given(got_t got) {
        if (got) return std::move(*got);
        return leat::unexpected(got.error().why == why::closed ? leat::recv_error::closed : leat::recv_error::empty);
    }
    leat::task<received_t<T>> recv() {
        for (;;) {
            auto got = co_await end.recv();
            if (!lagged(got)) co_return given(std::move(got));
        }
    }
    received_t<T> try_recv() {
        for (;;)
            if (auto got = end.try_recv(); !lagged(got)) return given(std::move(got));
    }
    received_t<T> blocking_recv() {
        for (;;)
            if (auto got = end.blocking_recv(); !lagged(got)) return given(std::move(got));
    }
    void reset() { end.reset(); }
};
struct broadcast : feed {
    static std::string name() { return "broadcast"; }
    template <class T>
    struct ends {
        broadcast_out<T> out;
        broadcast_in<T> in;
    };
    template <class T>
    static auto make() {
        auto [out, in] = leat::broadcast<T>(4);
        return ends<T>{{std::move(out)}, {std::move(in)}};
    }
};

template <class T>
struct watch_out {
    leat::watch_sender<T> end;
    sent_t<T> try_send(T value) {
        end.send(std::move(value));
        return {};
    }
    leat::task<sent_t<T>> send(T value) { co_return try_send(std::move(value)); }
    sent_t<T> blocking_send(T value) { return try_send(std::move(value)); }
    void reset() { end.reset(); }
};
template <class T>
struct watch_in {
    leat::watch_receiver<T> end;
    received_t<T> given(leat::expected<void, leat::recv_error> news) {
        if (news) return end.get();
        return leat::unexpected(news.error());
    }
    leat::task<received_t<T>> recv() {
        const auto news = co_await end.changed();
        co_return given(news);
    }
    received_t<T> try_recv() { return given(end.try_changed()); }
    received_t<T> blocking_recv() { return given(end.blocking_changed()); }
    void reset() { end.reset(); }
};
struct watch : feed {
    static constexpr bool gives_back = false;  // the value is kept, whoever looks
    static std::string name() { return "watch"; }
    template <class T>
    struct ends {
        watch_out<T> out;
        watch_in<T> in;
    };
    template <class T>
    static auto make() {
        auto [out, in] = leat::watch(T());
        return ends<T>{{std::move(out)}, {std::move(in)}};
    }
};

using all_kinds = std::tuple<bounded<0>, bounded<1>, bounded<5>, in_bytes, latest, spsc<1>, spsc<5>, priority<1>,
                             priority<5>, oneshot, broadcast, watch>;

// --- Where they run ---

struct on_loop {
    static std::string name() { return "event_loop"; }
    leat::event_loop where;
};
template <unsigned Threads>
struct on_pool {
    static std::string name() { return "pool" + std::to_string(Threads); }
    leat::thread_pool where{Threads};
};
template <leat::sim::schedule Order>
struct in_simulation {
    static std::string name() { return Order == leat::sim::schedule::pct ? "sim_pct" : "sim"; }
    leat::sim::simulation where{leat::sim::options{.seed = 7, .order = Order}};
};

// Those that other threads may use too; and all.
using threaded_places = std::tuple<on_loop, on_pool<1>, on_pool<3>>;
using all_places = std::tuple<on_loop, on_pool<1>, on_pool<3>, in_simulation<leat::sim::schedule::uniform>,
                              in_simulation<leat::sim::schedule::pct>>;

// --- Each kind that promises something, in each place ---

template <class Kind, class Host>
struct at {
    using kind = Kind;
    using host = Host;
};
struct name_of_place {
    template <class Where>
    static std::string GetName(int) {
        return Where::kind::name() + "_on_" + Where::host::name();
    }
};

namespace detail {

template <template <class> class Promise, class... Kind>
auto those(std::tuple<Kind...>) -> decltype(std::tuple_cat(
    std::declval<std::conditional_t<Promise<Kind>::value, std::tuple<Kind>, std::tuple<>>>()...));
template <class Host, class... Kind>
std::tuple<at<Kind, Host>...> on(std::tuple<Kind...>);
template <class Kinds, class... Host>
auto crossed(std::tuple<Host...>) -> decltype(std::tuple_cat(on<Host>(std::declval<Kinds>())...));
template <class... Where>
testing::Types<Where...> as_types(std::tuple<Where...>);

}  // namespace detail

template <template <class> class Promise, class Places>
using where_promised = decltype(detail::as_types(
    detail::crossed<decltype(detail::those<Promise>(std::declval<all_kinds>()))>(std::declval<Places>())));

}  // namespace leat_test
