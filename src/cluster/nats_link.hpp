// nats_link: one connection to a NATS server and its thread, on which everything happens that touches the socket: what is to be
// sent is handed to that thread, and it hands answers to those who wait. cnats runs in its event-loop mode, so writing never
// waits for a slow socket, and what was handed over meanwhile goes out with one write.
//
// A task takes part as a `party`: as an exchange (a request and its one answer, known by the subject that it is sent to: a
// number below the link's inbox) or as a pull (a request that many messages answer, each pull with a subscription of its own, so
// that the server sees when nobody listens any more).
//
// Invariants:
//  1. Only the link's thread calls cnats with the connection, from start() to shut_down(); and never with lock_ held, since
//     cnats calls back (reads_, writes_, descriptor) under locks of its own.
//  2. What tells a party how it ended is written under lock_, once; a party leaves all lists, under lock_, before its memory goes.
//  3. When a connection is lost every party of it is told so (`lost`): what it sent may have arrived or not. A party that begins
//     later belongs to the next connection; `up()` is set only when the last one's parties have been told.
//  4. A message of JetStream that comes for nobody goes back to the server (-NAK), so that others get it at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <cluster/nats_message.hpp>
#include <leat/cluster/broker.hpp>
#include <leat/io/unique_fd.hpp>
#include <leat/sync/event.hpp>
#include <leat/sync/waiter_queue.hpp>
#include <leat/task/wait_limit.hpp>

namespace leat::cluster {

class nats_link {
public:
    // Of a party: still waiting; all came that was to come; the connection was lost; the user may not use the subject, or was
    // refused for good; the link was closed.
    enum class ending : std::uint8_t { pending, complete, lost, refused, closed };

    class party : waiter {
    public:
        party(const party&) = delete;
        party& operator=(const party&) = delete;

        class wait_operation;
        // How it ended; pending when the time was over first. Throws cancelled.
        [[nodiscard]] wait_operation wait(time_limit limit) noexcept;
        // Of one that was refused: what the server said.
        [[nodiscard]] const std::string& refusal() const noexcept { return refusal_; }

    protected:
        party(nats_link& link, std::string subject) noexcept : link_(link), subject_(std::move(subject)) {}
        ~party() = default;
        nats_link& link_;

    private:
        friend nats_link;
        // Guarded by link_.lock_.
        ending how_ = ending::pending;
        bool armed_ = false;  // a line waits
        std::string subject_;
        std::string refusal_;
    };

    // In the frame of who asks.
    class exchange : public party {
    public:
        exchange(nats_link& link, std::string subject);
        ~exchange();
        // Sends one try of the request, whose reply subject is reply_to(). Once the link is closed it ends at once.
        void send(nats_message request);
        [[nodiscard]] const std::string& reply_to() const noexcept { return reply_to_; }
        // After it is complete.
        [[nodiscard]] nats_message take() noexcept { return std::move(answer_); }

    private:
        friend nats_link;
        std::uint32_t slot_ = 0;
        std::string reply_to_;
        nats_message answer_;  // guarded by link_.lock_ until it is complete
    };

    class pull;
    // A pull in the hands of who fetches; gives it back, or what it was sent to the server.
    class pull_lease {
    public:
        explicit pull_lease(nats_link& link);
        pull_lease(const pull_lease&) = delete;
        ~pull_lease();
        pull* operator->() const noexcept { return pull_.get(); }
        pull& operator*() const noexcept { return *pull_; }

    private:
        nats_link& link_;
        std::shared_ptr<pull> pull_;
    };

    struct told {
        std::string address;  // of the server, for messages
        std::string name;     // "nats-server 2.12.1"
        std::string inbox;    // where answers go: <inbox>.…
        std::size_t largest_payload = 0;
    };

    nats_link();
    nats_link(const nats_link&) = delete;
    // Shuts down, if that was not done.
    ~nats_link();

    // Connects with these options, to which it adds its own, and starts the thread; blocks. Empty, or what went wrong.
    [[nodiscard]] natsStatus start(natsOptions* options, told what, std::string& error);
    // Ends all parties as `closed`: any thread, without blocking.
    void close() noexcept;
    // Waits (at most some seconds) until the server has what was sent, ends the thread and the connection. Blocks.
    void shut_down() noexcept;

    [[nodiscard]] const told& about() const noexcept { return told_; }
    // Set while there is a connection, and when there will be none any more.
    [[nodiscard]] event& up() noexcept { return up_; }
    // Hands a message over to be sent, without an answer. Any thread. False when there is no connection.
    bool post(nats_message message);
    // Once the server has refused the user, or everything: what it said. Else empty.
    [[nodiscard]] std::string refused_for_good() const;

private:
    struct command {
        nats_message message;        // to be published
        std::shared_ptr<pull> from;  // the pull that it begins; without a message: that is over
    };
    struct slot {
        exchange* who = nullptr;
        std::uint32_t generation = 0;
        std::uint32_t next_free = 0;
    };
    struct dying {
        std::shared_ptr<pull> from;
        time_point since;
    };

    // Called by cnats, from any thread.
    static natsStatus attach(void** self, void* loop, natsConnection* connection, natsSock socket);
    static natsStatus read_event(void* self, bool add);
    static natsStatus write_event(void* self, bool add);
    static natsStatus detach(void* self);
    static void on_error(natsConnection* connection, natsSubscription* subscription, natsStatus status, void* self);
    static void on_closed(natsConnection* connection, void* self);
    static void on_answer(natsConnection* connection, natsSubscription* subscription, natsMsg* message, void* self);
    static void on_last_answer(void* self);
    static int64_t reconnect_delay(natsConnection* connection, int tries, void* self);

    // On the link's thread.
    void run() noexcept;
    void perform(command& what);
    void lose_connection();
    void receive();
    void collect(pull& from);
    void give_back(const natsMsg& message);
    void bury();
    void wait_for_events();

    // On a thread of cnats: of a subscription that is asked for its messages, cnats drops those that say "no responders".
    void dispatch(std::vector<nats_message>& answers);

    // lock_ held.
    static void finish(party& who, ending how, resume_list& ended) noexcept;
    [[nodiscard]] bool begin(party& who) noexcept;
    void finish_all(ending how, resume_list& ended) noexcept;

    void ring() noexcept;  // without lock_, after something was changed that the thread is to see
    void refuse(std::string_view subject, const std::string& text);

    told told_;
    natsConnection* connection_ = nullptr;
    natsSubscription* answers_ = nullptr;
    io::unique_fd bell_;
    env::thread thread_;
    event up_;

    mutable env::mutex lock_;  // guards all to the next blank line
    std::vector<slot> slots_;
    std::uint32_t first_free_ = none;
    std::vector<command> outbox_;
    std::vector<std::shared_ptr<pull>> idle_;  // to be taken by the next fetch
    std::vector<pull*> waiting_;               // with a lease
    std::uint64_t pulls_made_ = 0;
    bool closed_ = false;
    bool down_ = true;  // hand_over() drops: the parties have been told
    std::string refused_;

    // Of the link's thread alone.
    std::vector<std::shared_ptr<pull>> listening_;  // with a subscription
    std::vector<dying> dying_;
    std::vector<nats_message> came_;

    std::vector<nats_message> answers_came_;  // of the thread that calls on_answer()

    // Words between cnats's callbacks and the thread. Sequentially consistent: who changes one looks at asleep_ afterwards.
    env::atomic<int> socket_{-1};            // -1: none
    env::atomic<bool> reads_{false};         // cnats wants to be told that the socket is readable
    env::atomic<bool> writes_{false};        // … has something to write
    env::atomic<bool> lost_{false};          // the connection was lost, and its parties have not been told
    env::atomic<bool> attached_{false};      // there is a new one
    env::atomic<bool> is_to_detach_{false};  // there was one: cnats calls detach() once, as it closes
    env::atomic<bool> ending_{false};        // the thread is to end
    env::atomic<bool> asleep_{false};        // the thread waits for events, or is about to: the bell is to be rung
    env::atomic<std::uint32_t> flushed_{1};  // 0: shut_down() waits for an empty outbox; 1: it is; a futex
    env::atomic<std::uint32_t> gone_{0};  // how many of on_closed(), on_last_answer() and detach() were called; a futex

    static constexpr std::uint32_t none = ~std::uint32_t{0};
};

class nats_link::pull : public nats_link::party, public std::enable_shared_from_this<nats_link::pull> {
public:
    pull(nats_link& link, std::string inbox) : party(link, {}), inbox_(std::move(inbox)) {}

    // Sends the request (whose reply subject is inbox()) to `subject`, for at most `most` messages. Once.
    void send(nats_message request, std::string subject, std::size_t most);
    [[nodiscard]] const std::string& inbox() const noexcept { return inbox_; }
    // What came up to now; the party's wait for more goes on.
    struct progress {
        std::size_t count = 0;
        time_point last;  // when something came last, a heartbeat too
    };
    [[nodiscard]] progress so_far() const noexcept;
    // Ends it: what came. Later messages go back to the server.
    [[nodiscard]] std::vector<nats_message> take() noexcept;
    // Of the message that ended it; 0: all came that were asked for.
    [[nodiscard]] int status() const noexcept { return status_; }
    [[nodiscard]] const std::string& description() const noexcept { return description_; }

private:
    friend nats_link;
    std::string inbox_;
    natsSubscription* subscription_ = nullptr;  // of the link's thread

    // Guarded by link_.lock_.
    std::vector<nats_message> got_;
    std::size_t most_ = 0;
    time_point last_{};
    int status_ = 0;
    std::string description_;
    bool sent_ = false;
};

class nats_link::party::wait_operation {
public:
    wait_operation(party& at, time_limit limit) noexcept : at_(at), limit_(limit) {}
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
        return suspend(self.promise().leat_context(), self);
    }
    ending await_resume();

private:
    bool suspend(context& line, std::coroutine_handle<> at) noexcept;
    party& at_;
    detail::wait_limit limit_;
    bool waited_ = false;
};

inline nats_link::party::wait_operation nats_link::party::wait(time_limit limit) noexcept { return {*this, limit}; }

}  // namespace leat::cluster
