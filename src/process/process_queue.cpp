#include <leat/process/process_queue.hpp>

#include <bit>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <mutex>
#include <new>

#include <leat/process/process_identity.hpp>
#include <leat/process/process_lock_word.hpp>

#include "process_room.hpp"
#include "sealed_memory.hpp"

namespace leat {

const char* text_of(queue_error error) noexcept {
    switch (error) {
        case queue_error::closed:
            return "the queue was closed";
        case queue_error::peer_died:
            return "the processes on the other side of the queue have died";
        case queue_error::full:
            return "the queue is full";
        case queue_error::empty:
            return "the queue is empty";
        case queue_error::timed_out:
            return "timed out";
        case queue_error::cancelled:
            return "cancelled";
        case queue_error::too_large:
            return "the message is larger than the queue";
        case queue_error::malformed:
            return "the message is none of the queue's type";
        case queue_error::damaged:
            return "some process has damaged the queue";
    }
    return "?";
}

namespace detail {

namespace {

constexpr std::uint64_t magic = 0x6575'6575'7174'656cU;  // "letqueue"

using kind = shared_error::kind;
using role = queue_core::role;
using word = env::atomic<std::uint64_t>;

// What is inside.
struct queue_record {
    std::uint64_t head;  // positions count on; where they are in the memory is their remainder
    std::uint64_t tail;
    std::uint64_t items;
    std::uint64_t closed;  // 0 or 1
};

// The processes of one role.
struct queue_side {
    process_waiters waiting;
    // Bit 0: some process has been here; bit 1: one that was expected had ended by then.
    env::atomic<std::uint64_t> past{0};
    word places[queue_core::most_processes]{};  // identities; 0: free
};
constexpr std::uint64_t has_been = 1, has_died = 2;

// The beginning of the memory. The messages begin at the next page.
struct queue_layout {
    std::uint64_t magic;
    std::uint64_t type;      // of the messages: codec_type_hash
    std::uint64_t capacity;  // bytes; a power of two and whole pages
    std::uint64_t most_items;
    process_lock_word lock;  // of what follows
    word turn{0};            // odd: the second record counts
    queue_record records[2]{};
    alignas(64) queue_side senders;
    alignas(64) queue_side receivers;
};

// Each message lies behind its size.
constexpr std::uint64_t header_bytes = sizeof(std::uint64_t);
constexpr std::uint64_t in_queue(std::uint64_t size) noexcept { return header_bytes + (size + 7) / 8 * 8; }

enum class absence : unsigned char { none, left, died };

role other(role which) noexcept { return which == role::sender ? role::receiver : role::sender; }

}  // namespace

struct queue_core::state {
    state(shared_memory memory_, io::unique_fd sender_bell, io::unique_fd receiver_bell, std::size_t capacity_,
          std::size_t most_items_) noexcept
        : memory(std::move(memory_)),
          senders(std::move(sender_bell)),
          receivers(std::move(receiver_bell)),
          capacity(capacity_),
          most_items(most_items_),
          bytes(memory.bytes().data() + (memory.bytes().size() - capacity)) {}

    [[nodiscard]] queue_layout& layout() const noexcept {
        return *std::launder(reinterpret_cast<queue_layout*>(memory.bytes().data()));
    }
    process_room& room(role which) noexcept { return which == role::sender ? senders : receivers; }
    [[nodiscard]] queue_side& side(role which) const noexcept {
        return which == role::sender ? layout().senders : layout().receivers;
    }
    void call(role which) noexcept { room(which).call(side(which).waiting); }
    [[nodiscard]] absence look_for(role which, bool look_for_the_dead) const noexcept;
    bool take_place(role which, std::uint64_t me) noexcept;

    // --- Under the lock ---

    [[nodiscard]] std::optional<queue_record> now() const noexcept {
        const queue_record record = layout().records[layout().turn.load(env::acquire) % 2];  // acquire: see change_to()
        const std::uint64_t inside = record.tail - record.head;
        if (inside > capacity || record.items > most_items || (record.items == 0) != (inside == 0)) return {};
        return record;
    }
    void change_to(const queue_record& next) const noexcept {
        const std::uint64_t turn = layout().turn.load(env::relaxed) + 1;  // relaxed: the lock orders it
        layout().records[turn % 2] = next;
        // release pairs with the acquire in now(): who takes the lock over from this process, should it die here, sees the
        // record whole, and the message.
        layout().turn.store(turn, env::release);
    }
    void write(std::uint64_t at, const void* from, std::size_t size) const noexcept {
        const std::size_t begin = at & (capacity - 1);
        const std::size_t first = std::min(size, capacity - begin);
        std::memcpy(bytes + begin, from, first);
        if (size > first) std::memcpy(bytes, static_cast<const char*>(from) + first, size - first);
    }
    void read(std::uint64_t at, void* to, std::size_t size) const noexcept {
        const std::size_t begin = at & (capacity - 1);
        const std::size_t first = std::min(size, capacity - begin);
        std::memcpy(to, bytes + begin, first);
        if (size > first) std::memcpy(static_cast<char*>(to) + first, bytes, size - first);
    }

    shared_memory memory;
    process_room senders, receivers;  // where the tasks and threads of each role wait
    const std::size_t capacity;       // both as they were when they were checked
    const std::size_t most_items;
    std::byte* const bytes;

    std::mutex here;  // of this process: taken before the lock in the memory, which knows processes only
    std::mutex ends;  // guards what follows
    std::size_t count[2] = {0, 0};
    pid_t count_of = 0;  // in a fork it begins anew
};

namespace {

// The lock of the queue: of one thread of this process, and of this process among all.
class alone {
public:
    alone(std::mutex& here, process_lock_word& among) noexcept
        : here_(here), among_(among), me_(process_identity::self().word()) {
        for (int i = 0; i < spins; ++i) {
            if (among_.owner() == 0 && among_.take(me_)) return;
            env::pause();
        }
        among_.begin(process_lock_word::waits::in_futex);
        for (;;) {
            const std::uint32_t ticket = among_.ticket();
            if (among_.take(me_)) break;
            const std::uint64_t owner = among_.owner();
            if (owner != 0 && !process_identity::from(owner).alive() && among_.inherit(owner, me_)) break;
            among_.sleep(ticket, env::now() + process_room::look_every);
        }
        among_.end(process_lock_word::waits::in_futex);
    }
    alone(const alone&) = delete;
    alone& operator=(const alone&) = delete;
    ~alone() {
        among_.give([] {});  // nobody waits for it at a bell
    }

private:
    static constexpr int spins = 200;  // about as long as a short message takes
    const std::lock_guard<std::mutex> here_;
    process_lock_word& among_;
    const std::uint64_t me_;
};

}  // namespace

// --- Making one ---

queue_core::queue_core(std::unique_ptr<state> made) noexcept : state_(std::move(made)) {}
queue_core::~queue_core() = default;

expected<std::shared_ptr<queue_core>, shared_error> queue_core::create(std::size_t items, std::size_t bytes,
                                                                       std::uint64_t type) {
    const std::size_t pages = sealed_memory::in_pages(bytes);
    if (items == 0 || pages == 0)
        return unexpected(
            shared_error(kind::bad_size, 0, fmt::format("there is no queue of {} items in {} bytes", items, bytes)));
    if (process_identity::self() == process_identity())
        return unexpected(shared_error(kind::refused, 0, "a process_queue needs /proc, to name its processes"));
    const std::size_t capacity = std::bit_ceil(pages);
    auto memory = shared_memory::create(sealed_memory::in_pages(sizeof(queue_layout)) + capacity);
    if (!memory) return unexpected(std::move(memory.error()));
    auto sender_bell = make_bell();
    if (!sender_bell) return unexpected(std::move(sender_bell.error()));
    auto receiver_bell = make_bell();
    if (!receiver_bell) return unexpected(std::move(receiver_bell.error()));
    auto* const layout = ::new (memory->bytes().data()) queue_layout();
    layout->magic = magic;
    layout->type = type;
    layout->capacity = capacity;
    layout->most_items = items;
    return std::shared_ptr<queue_core>(new queue_core(std::make_unique<state>(
        std::move(*memory), std::move(*sender_bell), std::move(*receiver_bell), capacity, items)));
}

expected<std::shared_ptr<queue_core>, shared_error> queue_core::attach(int first, std::uint64_t type) {
    io::unique_fd sender_bell(first + 1);
    io::unique_fd receiver_bell(first + 2);
    auto memory = shared_memory::attach(io::unique_fd(first), sealed_memory::in_pages(sizeof(queue_layout)) + 1);
    if (!memory) return unexpected(std::move(memory.error()));
    for (const io::unique_fd* bell : {&sender_bell, &receiver_bell})
        if (auto error = check_bell(bell->get())) return unexpected(std::move(*error));
    ::fcntl(memory->fd(), F_SETFD, FD_CLOEXEC);
    const auto& there = *std::launder(reinterpret_cast<const queue_layout*>(memory->bytes().data()));
    const std::size_t capacity = memory->bytes().size() - sealed_memory::in_pages(sizeof(queue_layout));
    const std::size_t items = there.most_items;
    if (there.magic != magic || there.capacity != capacity || !std::has_single_bit(capacity) || items == 0)
        return unexpected(
            shared_error(kind::wrong_kind, 0, fmt::format("the memory of descriptor {} is no queue", first)));
    if (there.type != type)
        return unexpected(shared_error(kind::wrong_kind, 0,
                                       fmt::format("the queue of descriptor {} has messages of another type", first)));
    return std::shared_ptr<queue_core>(new queue_core(std::make_unique<state>(
        std::move(*memory), std::move(sender_bell), std::move(receiver_bell), capacity, items)));
}

std::vector<passed_descriptor> queue_core::passed(int first) const {
    return {{state_->memory.fd(), first}, {state_->senders.bell(), first + 1}, {state_->receivers.bell(), first + 2}};
}

// --- Who is there ---

// Of nobody when there is nobody yet.
absence queue_core::state::look_for(role which, bool look_for_the_dead) const noexcept {
    bool is_dead = false;
    for (const word& place : side(which).places) {
        const std::uint64_t who = place.load();
        if (who == 0) continue;
        if (!look_for_the_dead || process_identity::from(who).alive()) return absence::none;
        is_dead = true;
    }
    const std::uint64_t past = side(which).past.load();
    if (is_dead || (past & has_died) != 0) return absence::died;
    return (past & has_been) != 0 ? absence::left : absence::none;
}

bool queue_core::state::take_place(role which, std::uint64_t me) noexcept {
    queue_side& all = side(which);
    for (const word& place : all.places)
        if (place.load() == me) return true;  // it was expected
    for (const bool of_the_dead : {false, true})
        for (word& place : all.places) {
            std::uint64_t who = place.load();
            if (who != 0 && (!of_the_dead || process_identity::from(who).alive())) continue;
            if (!place.compare_exchange_strong(who, me)) continue;
            all.past.fetch_or(has_been);
            return true;
        }
    return false;
}

std::optional<shared_error> queue_core::add(role which) {
    const process_identity me = process_identity::self();
    if (me == process_identity())
        return shared_error(kind::refused, 0, "a process_queue needs /proc, to name its processes");
    const std::lock_guard lock(state_->ends);
    if (std::exchange(state_->count_of, me.pid()) != me.pid()) state_->count[0] = state_->count[1] = 0;
    std::size_t& count = state_->count[static_cast<std::size_t>(which)];
    if (count == 0 && !state_->take_place(which, me.word()))
        return shared_error(kind::taken, 0, fmt::format("{} processes are there already", most_processes));
    ++count;
    return {};
}

void queue_core::drop(role which) noexcept {
    const std::lock_guard lock(state_->ends);
    if (--state_->count[static_cast<std::size_t>(which)] != 0) return;
    const std::uint64_t me = process_identity::self().word();
    for (word& place : state_->side(which).places) {
        std::uint64_t mine = me;
        if (place.load() == me) (void)place.compare_exchange_strong(mine, 0);
    }
    state_->call(other(which));  // they may be waiting for nobody now
}

std::optional<shared_error> queue_core::expect(role which, pid_t pid) {
    const process_identity who = process_identity::of(pid);
    if (who == process_identity()) {
        state_->side(which).past.fetch_or(has_been | has_died);
        return {};
    }
    const std::lock_guard lock(state_->ends);
    if (!state_->take_place(which, who.word()))
        return shared_error(kind::taken, 0, fmt::format("{} processes are there already", most_processes));
    return {};
}

// --- Using it ---

std::optional<queue_error> queue_core::try_put(std::string_view message) noexcept {
    state& on = *state_;
    if (message.size() > on.capacity || in_queue(message.size()) > on.capacity) return queue_error::too_large;
    const std::uint64_t needs = in_queue(message.size());
    {
        const alone lock(on.here, on.layout().lock);
        auto record = on.now();
        if (!record) return queue_error::damaged;
        if (record->closed != 0) return queue_error::closed;
        if (record->items == on.most_items || on.capacity - (record->tail - record->head) < needs)
            return queue_error::full;
        const std::uint64_t size = message.size();
        on.write(record->tail, &size, header_bytes);
        on.write(record->tail + header_bytes, message.data(), message.size());
        record->tail += needs;
        ++record->items;
        on.change_to(*record);
    }
    on.call(role::receiver);
    return {};
}

expected<std::string, queue_error> queue_core::try_take() {
    state& on = *state_;
    std::string message;
    {
        const alone lock(on.here, on.layout().lock);
        auto record = on.now();
        if (!record) return unexpected(queue_error::damaged);
        if (record->items == 0) return unexpected(record->closed != 0 ? queue_error::closed : queue_error::empty);
        std::uint64_t size = 0;
        on.read(record->head, &size, header_bytes);
        if (size > on.capacity || in_queue(size) > record->tail - record->head) return unexpected(queue_error::damaged);
        message.resize(size);
        on.read(record->head + header_bytes, message.data(), size);
        record->head += in_queue(size);
        --record->items;
        on.change_to(*record);
    }
    on.call(role::sender);
    return message;
}

std::optional<queue_error> queue_core::put_or_why(std::string_view message, bool look_for_the_dead) noexcept {
    auto why = try_put(message);
    if (why != queue_error::full) return why;
    const absence how = state_->look_for(role::receiver, look_for_the_dead);
    if (how == absence::none) return why;
    why = try_put(message);  // there may be room since
    if (why != queue_error::full) return why;
    return how == absence::died ? queue_error::peer_died : queue_error::closed;
}

expected<std::string, queue_error> queue_core::take_or_why(bool look_for_the_dead) {
    auto message = try_take();
    if (message || message.error() != queue_error::empty) return message;
    const absence how = state_->look_for(role::sender, look_for_the_dead);
    if (how == absence::none) return message;
    message = try_take();  // what they sent before they went is seen now
    if (message || message.error() != queue_error::empty) return message;
    return unexpected(how == absence::died ? queue_error::peer_died : queue_error::closed);
}

task<std::optional<queue_error>> queue_core::put(std::string_view message, time_limit limit) {
    state& on = *state_;
    try {
        const time_point deadline = limit.from(co_await this_task::now());
        const auto within = co_await on.senders.within.lock_until(deadline);
        auto why = try_put(message);
        if (why != queue_error::full) co_return why;
        if (!within) co_return queue_error::timed_out;
        const auto ready = [this, &why, message](bool look_for_the_dead) noexcept {
            why = put_or_why(message, look_for_the_dead);
            return why != queue_error::full;
        };
        const bool in_time = co_await on.senders.wait(on.layout().senders.waiting, deadline, ready);
        if (!in_time) co_return queue_error::timed_out;
        co_return why;
    } catch (const cancelled&) {
        co_return queue_error::cancelled;
    }
}

task<expected<std::string, queue_error>> queue_core::take(time_limit limit) {
    state& on = *state_;
    const time_point deadline = limit.from(co_await this_task::now());
    const auto within = co_await on.receivers.within.lock_until(deadline);
    auto message = try_take();
    if (message || message.error() != queue_error::empty) co_return message;
    if (!within) co_return unexpected(queue_error::timed_out);
    const auto ready = [this, &message](bool look_for_the_dead) {
        message = take_or_why(look_for_the_dead);
        return message || message.error() != queue_error::empty;
    };
    const bool in_time = co_await on.receivers.wait(on.layout().receivers.waiting, deadline, ready);
    if (!in_time) co_return unexpected(queue_error::timed_out);
    co_return message;
}

std::optional<queue_error> queue_core::blocking_put(std::string_view message, time_limit limit) noexcept {
    state& on = *state_;
    const time_point deadline = limit.from(env::now());
    const auto within = on.senders.within.blocking_lock_for(deadline);
    auto why = try_put(message);
    if (why != queue_error::full) return why;
    if (!within) return queue_error::timed_out;
    const auto ready = [this, &why, message](bool look_for_the_dead) noexcept {
        why = put_or_why(message, look_for_the_dead);
        return why != queue_error::full;
    };
    if (!on.senders.blocking_wait(on.layout().senders.waiting, deadline, "blocking_send", ready))
        return queue_error::timed_out;
    return why;
}

expected<std::string, queue_error> queue_core::blocking_take(time_limit limit) {
    state& on = *state_;
    const time_point deadline = limit.from(env::now());
    const auto within = on.receivers.within.blocking_lock_for(deadline);
    auto message = try_take();
    if (message || message.error() != queue_error::empty) return message;
    if (!within) return unexpected(queue_error::timed_out);
    const auto ready = [this, &message](bool look_for_the_dead) {
        message = take_or_why(look_for_the_dead);
        return message || message.error() != queue_error::empty;
    };
    if (!on.receivers.blocking_wait(on.layout().receivers.waiting, deadline, "blocking_recv", ready))
        return unexpected(queue_error::timed_out);
    return message;
}

void queue_core::close() noexcept {
    state& on = *state_;
    {
        const alone lock(on.here, on.layout().lock);
        if (auto record = on.now(); record && record->closed == 0) {
            record->closed = 1;
            on.change_to(*record);
        }
    }
    on.call(role::receiver);
    on.call(role::sender);
}

std::size_t queue_core::depth() noexcept {
    const alone lock(state_->here, state_->layout().lock);
    const auto record = state_->now();
    return record ? record->items : 0;
}

}  // namespace detail
}  // namespace leat
