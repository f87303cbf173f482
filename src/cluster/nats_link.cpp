#include "nats_link.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace leat::cluster {

namespace {

constexpr auto flush_time = std::chrono::seconds(1);
constexpr auto burial_time = std::chrono::seconds(5);  // of a pull that the server does not let go of
constexpr int burial_look_ms = 100;
constexpr std::size_t most_told_together = 64;
constexpr int io_buffer = 128 * 1024;
constexpr std::int64_t ping_interval_ms = 1000;  // two without an answer, and the connection counts as lost
constexpr int most_pings_out = 2;

// Of an address that nobody else uses.
std::string random_name() { return fmt::format("{:016x}{:08x}", env::entropy(), env::entropy() & 0xffffffffU); }

bool is_set(const env::atomic<bool>& word) noexcept { return word.load(); }

}  // namespace

// --- A party ---

bool nats_link::party::wait_operation::suspend(context& line, std::coroutine_handle<> at) noexcept {
    {
        env::lock_guard held(at_.link_.lock_);
        if (at_.how_ != ending::pending) return false;
        at_.line = &line;
        waited_ = true;
        if (!line.prepare_wait(at, "an answer of the NATS server")) return false;
        at_.wait_as(line);
        at_.armed_ = true;
    }
    return limit_.suspend(line, at);
}

nats_link::ending nats_link::party::wait_operation::await_resume() {
    limit_.cancel();
    ending how = ending::pending;
    {
        env::lock_guard held(at_.link_.lock_);
        at_.armed_ = false;
        how = at_.how_;
    }
    if (how == ending::pending && waited_ && at_.line->woken_by() == context::wake::cancelled)
        leat::detail::throw_cancelled();
    return how;
}

nats_link::exchange::exchange(nats_link& link, std::string subject) : party(link, std::move(subject)) {
    std::uint32_t generation = 0;
    {
        env::lock_guard held(link.lock_);
        if (link.first_free_ == none) {
            slot_ = static_cast<std::uint32_t>(link.slots_.size());
            link.slots_.emplace_back();
        } else {
            slot_ = link.first_free_;
            link.first_free_ = link.slots_[slot_].next_free;
        }
        slot& mine = link.slots_[slot_];
        mine.who = this;
        generation = ++mine.generation;
    }
    reply_to_ = fmt::format("{}.r.{:x}-{:x}", link.told_.inbox, slot_, generation);
}

nats_link::exchange::~exchange() {
    env::lock_guard held(link_.lock_);
    slot& mine = link_.slots_[slot_];
    mine.who = nullptr;
    mine.next_free = link_.first_free_;
    link_.first_free_ = slot_;
}

void nats_link::exchange::send(nats_message request) {
    {
        env::lock_guard held(link_.lock_);
        answer_.reset();
        if (!link_.begin(*this)) return;
        link_.outbox_.push_back({std::move(request), nullptr});
    }
    link_.ring();
}

// --- A pull ---

void nats_link::pull::send(nats_message request, std::string subject, std::size_t most) {
    {
        env::lock_guard held(link_.lock_);
        subject_ = std::move(subject);
        most_ = most;
        last_ = env::now();
        status_ = 0;
        description_.clear();
        if (!link_.begin(*this)) return;
        sent_ = true;
        link_.outbox_.push_back({std::move(request), shared_from_this()});
    }
    link_.ring();
}

nats_link::pull::progress nats_link::pull::so_far() const noexcept {
    env::lock_guard held(link_.lock_);
    return {got_.size(), last_};
}

std::vector<nats_message> nats_link::pull::take() noexcept {
    env::lock_guard held(link_.lock_);
    return std::move(got_);
}

nats_link::pull_lease::pull_lease(nats_link& link) : link_(link) {
    env::lock_guard held(link.lock_);
    if (link.idle_.empty()) {
        pull_ = std::make_shared<pull>(link, fmt::format("{}.p.{:x}", link.told_.inbox, link.pulls_made_++));
    } else {
        pull_ = std::move(link.idle_.back());
        link.idle_.pop_back();
    }
    link.waiting_.push_back(pull_.get());
}

nats_link::pull_lease::~pull_lease() {
    std::vector<nats_message> back;
    {
        env::lock_guard held(link_.lock_);
        std::erase(link_.waiting_, pull_.get());
        back = std::move(pull_->got_);
        pull_->got_.clear();
        const bool is_clean = !pull_->sent_ || pull_->how_ == ending::complete;
        if (pull_->how_ == ending::pending) pull_->how_ = ending::closed;  // what still comes is nobody's
        if (link_.down_) {
            // Its subscription went with the connection.
        } else if (is_clean) {
            pull_->sent_ = false;
            link_.idle_.push_back(std::move(pull_));
        } else {
            link_.outbox_.push_back({nullptr, std::move(pull_)});
        }
    }
    link_.ring();
    for (const nats_message& each : back) link_.give_back(*each);
}

// --- The link, for tasks ---

nats_link::nats_link() : bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

nats_link::~nats_link() {
    shut_down();
    const bool is_used = !waiting_.empty() || std::any_of(slots_.begin(), slots_.end(),
                                                          [](const slot& each) { return each.who != nullptr; });
    if (is_used) bug("a broker was destroyed while calls of it were under way");
}

natsStatus nats_link::start(natsOptions* options, told what, std::string& error) {
    told_ = std::move(what);
    told_.inbox += '.' + random_name();
    natsOptions_SetEventLoop(options, this, &attach, &read_event, &write_event, &detach);
    natsOptions_SetSendAsap(options, true);  // else cnats has a thread that writes a millisecond later
    natsOptions_SetIOBufSize(options, io_buffer);
    natsOptions_SetMaxReconnect(options, -1);
    natsOptions_SetCustomReconnectDelay(options, &reconnect_delay, this);
    natsOptions_SetPingInterval(options, ping_interval_ms);
    natsOptions_SetMaxPingsOut(options, most_pings_out);
    natsOptions_SetErrorHandler(options, &on_error, this);
    natsOptions_SetClosedCB(options, &on_closed, this);
    natsStatus status = natsConnection_Connect(&connection_, options);
    if (status == NATS_OK)
        status = natsConnection_Subscribe(&answers_, connection_, (told_.inbox + ".r.*").c_str(), &on_answer, this);
    if (status == NATS_OK) status = natsSubscription_SetOnCompleteCB(answers_, &on_last_answer, this);
    if (status == NATS_OK) status = natsSubscription_SetPendingLimits(answers_, -1, -1);
    if (status == NATS_OK) {
        told_.largest_payload = static_cast<std::size_t>(natsConnection_GetMaxPayload(connection_));
        const auto body = [](void* self) { static_cast<nats_link*>(self)->run(); };
        if (thread_.start("leat-nats", body, this)) return NATS_OK;
        status = NATS_NO_MEMORY;
    }
    const char* const text = nats_GetLastError(nullptr);
    error = text != nullptr && *text != '\0' ? text : natsStatus_GetText(status);
    return status;
}

void nats_link::close() noexcept {
    resume_list ended;
    {
        env::lock_guard held(lock_);
        closed_ = true;
        finish_all(ending::closed, ended);
    }
    ended.resume_all();
    up_.set();
}

void nats_link::shut_down() noexcept {
    close();
    if (thread_.joinable()) {
        if (up_.is_set() && socket_.load() >= 0) {
            flushed_.store(0);
            ring();
            const time_point until = env::now() + flush_time;
            bool in_time = true;
            while (in_time && flushed_.load() == 0) in_time = env::futex_wait_until(flushed_, 0, until);
            // Beside the thread, which writes the PING and reads the PONG. Without it what was sent last may be lost: the
            // kernel drops it where the socket is closed with something unread.
            if (in_time) natsConnection_FlushTimeout(connection_, std::chrono::milliseconds(flush_time).count());
        }
        ending_.store(true);
        ring();
        thread_.join();
    }
    if (connection_ == nullptr) return;
    natsConnection_Close(connection_);
    const time_point until = env::now() + burial_time;
    bool in_time = true;
    // cnats has the connection closed told before it detaches, by two threads where it gave up by itself.
    const std::uint32_t all = 1 + (answers_ == nullptr ? 0 : 1) + (is_to_detach_.load() ? 1 : 0);
    for (std::uint32_t seen = gone_.load(); in_time && seen < all; seen = gone_.load())
        in_time = env::futex_wait_until(gone_, seen, until);
    for (const auto& each : listening_) natsSubscription_Destroy(each->subscription_);
    for (const auto& each : dying_) natsSubscription_Destroy(each.from->subscription_);
    listening_.clear();
    dying_.clear();
    idle_.clear();
    outbox_.clear();
    natsSubscription_Destroy(answers_);
    natsConnection_Destroy(std::exchange(connection_, nullptr));
}

bool nats_link::post(nats_message message) {
    {
        env::lock_guard held(lock_);
        if (down_ || closed_) return false;
        outbox_.push_back({std::move(message), nullptr});
    }
    ring();
    return true;
}

std::string nats_link::refused_for_good() const {
    env::lock_guard held(lock_);
    return refused_;
}

bool nats_link::begin(party& who) noexcept {
    who.how_ = closed_ ? ending::closed : !refused_.empty() ? ending::refused : down_ ? ending::lost : ending::pending;
    if (who.how_ == ending::refused) who.refusal_ = refused_;
    return who.how_ == ending::pending;
}

void nats_link::finish(party& who, ending how, resume_list& ended) noexcept {
    if (who.how_ != ending::pending) return;
    who.how_ = how;
    if (!who.armed_) return;
    who.armed_ = false;
    if (who.claim()) ended.add(who);
}

void nats_link::finish_all(ending how, resume_list& ended) noexcept {
    const auto end = [&](party& each) {
        if (how == ending::refused && each.how_ == ending::pending) each.refusal_ = refused_;
        finish(each, how, ended);
    };
    for (const slot& each : slots_)
        if (each.who != nullptr) end(*each.who);
    for (pull* const each : waiting_) end(*each);
}

void nats_link::ring() noexcept {
    if (!asleep_.load() || !asleep_.exchange(false)) return;
    const std::uint64_t one = 1;
    (void)!::write(bell_.get(), &one, sizeof one);
}

// --- What cnats calls ---

natsStatus nats_link::attach(void** self, void* loop, natsConnection* /*connection*/, natsSock socket) {
    auto& link = *static_cast<nats_link*>(loop);
    *self = loop;
    link.socket_.store(socket);
    link.writes_.store(false);
    link.reads_.store(true);
    link.attached_.store(true);
    link.is_to_detach_.store(true);
    link.ring();
    return NATS_OK;
}

natsStatus nats_link::read_event(void* self, bool add) {
    auto& link = *static_cast<nats_link*>(self);
    link.reads_.store(add);
    if (!add) {
        link.socket_.store(-1);
        {
            env::lock_guard held(link.lock_);
            if (!link.closed_ && link.refused_.empty()) link.up_.reset();  // else nobody is to wait for it any more
        }
        link.lost_.store(true);
    }
    link.ring();
    return NATS_OK;
}

natsStatus nats_link::write_event(void* self, bool add) {
    auto& link = *static_cast<nats_link*>(self);
    link.writes_.store(add);
    if (add) link.ring();
    return NATS_OK;
}

natsStatus nats_link::detach(void* self) {
    (void)read_event(self, false);
    auto& link = *static_cast<nats_link*>(self);
    link.gone_.fetch_add(1);
    env::futex_wake(link.gone_, 1);
    return NATS_OK;
}

void nats_link::on_error(natsConnection* connection, natsSubscription* /*subscription*/, natsStatus status,
                         void* self) {
    if (status != NATS_NOT_PERMITTED) return;
    const char* text = nullptr;
    natsConnection_GetLastError(connection, &text);
    if (text == nullptr) return;
    // Permissions Violation for Publish to "subject"
    const std::string_view said = text;
    const auto from = said.find('"');
    const auto to = said.rfind('"');
    if (from == std::string_view::npos || to <= from) return;
    static_cast<nats_link*>(self)->refuse(said.substr(from + 1, to - from - 1), std::string(said));
}

void nats_link::on_closed(natsConnection* connection, void* self) {
    auto& link = *static_cast<nats_link*>(self);
    const char* said = nullptr;
    natsConnection_GetLastError(connection, &said);
    std::string text = said != nullptr && *said != '\0' ? said : "the server closed the connection for good";
    resume_list ended;
    {
        env::lock_guard held(link.lock_);
        if (!link.closed_) {  // so cnats gave up: nothing but a refusal makes it
            link.refused_ = std::move(text);
            link.finish_all(ending::refused, ended);
        }
    }
    ended.resume_all();
    link.up_.set();
    link.gone_.fetch_add(1);
    env::futex_wake(link.gone_, 1);
}

void nats_link::on_answer(natsConnection* /*connection*/, natsSubscription* subscription, natsMsg* message,
                          void* self) {
    auto& link = *static_cast<nats_link*>(self);
    link.answers_came_.emplace_back(message);
    std::uint64_t more = 0;  // those that come together are told together
    natsSubscription_QueuedMsgs(subscription, &more);
    if (more == 0 || link.answers_came_.size() >= most_told_together) link.dispatch(link.answers_came_);
}

void nats_link::on_last_answer(void* self) {
    auto& link = *static_cast<nats_link*>(self);
    link.gone_.fetch_add(1);
    env::futex_wake(link.gone_, 1);
}

int64_t nats_link::reconnect_delay(natsConnection* /*connection*/, int tries, void* /*self*/) {
    const std::int64_t pause_ms = std::min<std::int64_t>(800, 25LL << std::clamp(tries, 0, 5));
    return pause_ms / 2 + static_cast<std::int64_t>(env::entropy() % static_cast<std::uint64_t>(pause_ms / 2 + 1));
}

void nats_link::refuse(std::string_view subject, const std::string& text) {
    resume_list ended;
    {
        env::lock_guard held(lock_);
        if (subject.substr(0, told_.inbox.size()) == told_.inbox) {  // no answer will ever come
            refused_ = text;
            finish_all(ending::refused, ended);
        } else {
            const auto end = [&](party& each) {
                if (each.subject_ != subject || each.how_ != ending::pending) return;
                each.refusal_ = text;
                finish(each, ending::refused, ended);
            };
            for (const slot& each : slots_)
                if (each.who != nullptr) end(*each.who);
            for (pull* const each : waiting_) end(*each);
        }
    }
    ended.resume_all();
}

// --- The thread ---

void nats_link::run() noexcept {
    std::vector<command> todo;
    while (!is_set(ending_)) {
        if (lost_.exchange(false)) lose_connection();
        if (attached_.exchange(false)) {
            {
                env::lock_guard held(lock_);
                down_ = false;
            }
            up_.set();
        }
        {
            env::lock_guard held(lock_);
            todo.swap(outbox_);
        }
        for (command& each : todo) perform(each);
        todo.clear();
        if (flushed_.load() == 0) {
            flushed_.store(1);
            env::futex_wake(flushed_, 1);
        }
        if (is_set(writes_)) natsConnection_ProcessWriteEvent(connection_);
        wait_for_events();
    }
}

void nats_link::perform(command& what) {
    if (what.from == nullptr) {
        natsConnection_PublishMsg(connection_, what.message.get());
        return;
    }
    pull& from = *what.from;
    if (what.message == nullptr) {  // nobody listens any more
        if (from.subscription_ == nullptr) return;
        std::erase(listening_, what.from);
        natsSubscription_Drain(from.subscription_);
        dying_.push_back({std::move(what.from), env::now()});
        return;
    }
    if (from.subscription_ == nullptr) {
        if (natsConnection_SubscribeSync(&from.subscription_, connection_, from.inbox_.c_str()) != NATS_OK) return;
        natsSubscription_SetPendingLimits(from.subscription_, -1, -1);
        listening_.push_back(std::move(what.from));
    }
    natsConnection_PublishMsg(connection_, what.message.get());
}

void nats_link::lose_connection() {
    resume_list ended;
    {
        env::lock_guard held(lock_);
        down_ = true;
        outbox_.clear();
        idle_.clear();
        finish_all(ending::lost, ended);
    }
    ended.resume_all();
    for (const auto& each : listening_) natsSubscription_Destroy(std::exchange(each->subscription_, nullptr));
    for (const dying& each : dying_) natsSubscription_Destroy(std::exchange(each.from->subscription_, nullptr));
    listening_.clear();
    dying_.clear();
}

void nats_link::wait_for_events() {
    asleep_.store(true);
    bool busy = is_set(ending_) || is_set(lost_) || is_set(attached_) || flushed_.load() == 0;
    {
        env::lock_guard held(lock_);
        busy = busy || !outbox_.empty();
    }
    const int socket = socket_.load();
    const int wanted = (is_set(reads_) ? POLLIN : 0) | (is_set(writes_) ? POLLOUT : 0);
    pollfd events[2] = {{bell_.get(), POLLIN, 0}, {wanted == 0 ? -1 : socket, static_cast<short>(wanted), 0}};
    (void)::poll(events, 2, busy ? 0 : dying_.empty() ? -1 : burial_look_ms);
    asleep_.store(false);
    if (events[0].revents != 0) {
        std::uint64_t rung = 0;
        (void)!::read(bell_.get(), &rung, sizeof rung);
    }
    if ((events[1].revents & POLLNVAL) != 0) {  // closed, and cnats is about to say so
        int gone = socket;
        socket_.compare_exchange_strong(gone, -1);
    } else if ((events[1].revents & (POLLIN | POLLERR | POLLHUP)) != 0) {
        receive();
    }
    if (!dying_.empty()) bury();
}

void nats_link::receive() {
    natsConnection_ProcessReadEvent(connection_);
    for (const auto& each : listening_) collect(*each);
}

void nats_link::dispatch(std::vector<nats_message>& answers) {
    resume_list ended;
    {
        env::lock_guard held(lock_);
        for (nats_message& each : answers) {
            const std::string_view to = subject_of(*each);
            const char* const end = to.data() + to.size();
            std::uint32_t index = 0;
            std::uint32_t generation = 0;
            const auto middle =
                std::from_chars(to.data() + std::min(to.size(), told_.inbox.size() + 3), end, index, 16);
            if (middle.ptr == end || std::from_chars(middle.ptr + 1, end, generation, 16).ptr != end) continue;
            if (index >= slots_.size()) continue;
            const slot& meant = slots_[index];
            if (meant.who == nullptr || meant.generation != generation) continue;  // who asked has left
            if (meant.who->how_ != ending::pending) continue;
            meant.who->answer_ = std::move(each);
            finish(*meant.who, ending::complete, ended);
        }
    }
    ended.resume_all();
    answers.clear();
}

void nats_link::collect(pull& from) {
    std::uint64_t queued = 0;
    natsSubscription_QueuedMsgs(from.subscription_, &queued);
    if (queued == 0) return;
    natsMsg* message = nullptr;
    natsStatus got = NATS_OK;
    for (; queued > 0 && (got = natsSubscription_NextMsg(&message, from.subscription_, 0)) == NATS_OK; --queued)
        came_.emplace_back(message);
    resume_list ended;
    {
        env::lock_guard held(lock_);
        from.last_ = env::now();
        for (nats_message& each : came_) {
            const int status = reply_of(*each).empty() ? status_of(*each) : 0;
            if (from.how_ != ending::pending || status == 100) continue;
            if (status != 0) {
                from.status_ = status;
                from.description_ = header_of(*each, "Description");
                finish(from, ending::complete, ended);
                continue;
            }
            from.got_.push_back(std::move(each));
            if (from.got_.size() >= from.most_) finish(from, ending::complete, ended);
        }
        if (got == NATS_NO_RESPONDERS && from.how_ == ending::pending) {
            from.status_ = 503;
            finish(from, ending::complete, ended);
        }
    }
    ended.resume_all();
    for (const nats_message& each : came_)
        if (each != nullptr) give_back(*each);
    came_.clear();
}

void nats_link::give_back(const natsMsg& message) {
    const std::string_view token = reply_of(message);
    if (token.empty()) return;
    if (nats_message back = make_message({token, "-NAK", {}, nullptr}, {})) post(std::move(back));
}

void nats_link::bury() {
    const time_point now = env::now();
    std::erase_if(dying_, [&](dying& each) {
        natsSubscription* const from = each.from->subscription_;
        std::uint64_t queued = 0;
        natsSubscription_QueuedMsgs(from, &queued);
        natsMsg* message = nullptr;
        for (; queued > 0 && natsSubscription_NextMsg(&message, from, 0) == NATS_OK; --queued)
            give_back(*nats_message(message));
        if (natsSubscription_IsValid(from) && now - each.since < burial_time) return false;
        natsSubscription_Destroy(std::exchange(each.from->subscription_, nullptr));
        return true;
    });
}

}  // namespace leat::cluster
