// pool_job: what a process_pool is to do for one call: items with numbers, to be encoded, and values to be taken. Users see
// process_pool.hpp.
//
// The pool hands out ranges of items. Each item ends exactly once, by take() or by fail(), unless the job was given up before.
//
// Locks: `in_use` is held while a job's functions are called, also by give_up(): so that nothing of a call is touched after it
// has left. The pool's own lock is taken inside it, never the other way round.
#pragma once

#include <cstddef>
#include <deque>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <leat/process/pool_function.hpp>
#include <leat/sync/event.hpp>
#include <leat/sync/future.hpp>
#include <leat/task/outcome.hpp>

namespace leat::detail {

class pool_job {
public:
    pool_job(const pool_job&) = delete;
    pool_job& operator=(const pool_job&) = delete;
    virtual ~pool_job() = default;

    // Appends the messages of the items from `first`, at most `count`, to `out`, until that has grown by `most_bytes`. Gives how
    // many these were; throws when it cannot be done for the first.
    virtual std::size_t encode(std::size_t first, std::size_t count, std::size_t most_bytes, std::string& out) = 0;
    // The values of the items from `first`, and what there is to say about some. Each of them ends here.
    virtual void take(std::size_t first, std::size_t count, std::string_view values,
                      const std::vector<pool_note>& notes) = 0;
    virtual void fail(std::size_t index, std::exception_ptr error) noexcept = 0;
    // Whether it wants no more of the items that have not begun.
    [[nodiscard]] virtual bool has_enough() const noexcept { return false; }
    // All items have ended, or the pool will do no more of them (then `error`).
    virtual void finish(std::exception_ptr error) noexcept = 0;

    // --- The pool's, under its lock ---

    struct range {
        std::size_t first;
        std::size_t count;
        unsigned failures;  // of attempts so far
    };
    std::uint32_t function = 0;
    std::size_t chunk = 0;      // items to be handed out together; 0: as the pool finds best
    std::size_t next = 0;       // the first item that was never handed out
    std::size_t end = 0;        // behind the last that there is
    std::vector<range> again;   // to be handed out once more
    std::size_t under_way = 0;  // handed out
    double item_ns = 0;         // what one takes; 0: not known
    bool open = false;          // more items may come
    bool listed = false;        // among those that have something to hand out
    bool stopped = false;       // hands out nothing more
    bool finished = false;
    [[nodiscard]] std::size_t left() const noexcept {
        if (stopped) return 0;
        return end - next + (again.empty() ? 0 : again.back().count);
    }

    env::mutex in_use;
    bool given_up = false;  // under in_use

protected:
    pool_job() = default;
};

// The text of what a worker said when a call threw.
std::exception_ptr error_of(const pool_note& note);

// Takes the values of a message apart. Each item ends by `each(i, value)` (of a void function: each(i)), or by `job.fail()`.
template <auto Function, class Each>
void for_each_value(pool_job& job, std::size_t first, std::size_t count, std::string_view values,
                    const std::vector<pool_note>& notes, Each&& each) {
    using function = pool_function<Function>;
    using value = typename function::value;
    item_reader in(values);
    auto note = notes.begin();
    for (std::size_t i = 0; i < count; ++i) {
        while (note != notes.end() && note->index < i) ++note;
        const bool failed = note != notes.end() && note->index == i && note->failed;
        try {
            if constexpr (std::is_void_v<value>) {
                if (!failed) each(first + i);
            } else {
                const std::string_view message =
                    function::values_are_bytes ? in.take(function::value_bytes) : in.take_counted();
                if (!failed) each(first + i, decoded<value>(message));
            }
        } catch (...) {
            if (!failed) job.fail(first + i, std::current_exception());
        }
        if (failed) job.fail(first + i, error_of(*note));
    }
}

// Something for a void.
struct nothing {};
template <class T>
using stored = std::conditional_t<std::is_void_v<T>, nothing, T>;

// --- map: the items are there, and are looked at until the job has ended ---

template <auto Function, class Item>
class map_job : public pool_job {
protected:
    using function_type = pool_function<Function>;
    using value = typename function_type::value;

public:
    std::size_t encode(std::size_t first, std::size_t count, std::size_t most_bytes, std::string& out) override {
        using arguments = typename function_type::arguments;
        if constexpr (!codec_detail::is_a<Item, std::tuple> && codec_detail::is_copied<Item>() &&
                      function_type::items_are_bytes) {
            static_assert(std::is_same_v<std::tuple_element_t<0, arguments>, Item>);
            const std::size_t fits = std::max<std::size_t>(1, std::min(count, most_bytes / sizeof(Item)));
            out.append(reinterpret_cast<const char*>(items_.data() + first), fits * sizeof(Item));
            return fits;
        }
        const std::size_t before = out.size();
        std::size_t done = 0;
        for (; done < count && (done == 0 || out.size() - before < most_bytes); ++done) {
            const std::size_t intact = out.size();
            try {
                append(items_[first + done], out);
            } catch (...) {
                out.resize(intact);
                if (done == 0) throw;
                break;
            }
        }
        return done;
    }
    void finish(std::exception_ptr error) noexcept override {
        if (error && !error_) error_ = std::move(error);
        ended_.set();
    }

    event& ended() noexcept { return ended_; }

protected:
    map_job(std::span<const Item> items, std::size_t together) : items_(items) {
        function = function_type::number();
        chunk = together;
        end = items.size();
    }
    static void append(const Item& item, std::string& out) {
        if constexpr (codec_detail::is_a<Item, std::tuple>)
            std::apply([&](const auto&... argument) { function_type::append_item(out, argument...); }, item);
        else function_type::append_item(out, item);
    }

    std::span<const Item> items_;
    std::exception_ptr error_;
    event ended_;
};

// Ends at the first failure.
template <auto Function, class Item>
class values_job final : public map_job<Function, Item> {
    using base = map_job<Function, Item>;
    using typename base::value;
    using place = std::conditional_t<std::is_void_v<value>, nothing, std::optional<stored<value>>>;
    static constexpr bool in_bulk = [] {
        if constexpr (std::is_void_v<value>) return false;
        else return codec_detail::is_copied<value>() && std::is_default_constructible_v<value>;
    }();

public:
    values_job(std::span<const Item> items, std::size_t together) : base(items, together) {
        if constexpr (!std::is_void_v<value>) values_.resize(items.size());
    }
    void take(std::size_t first, std::size_t count, std::string_view values,
              const std::vector<pool_note>& notes) override {
        if constexpr (in_bulk) {
            if (notes.empty() && values.size() == count * sizeof(value)) {
                std::memcpy(values_.data() + first, values.data(), values.size());
                return;
            }
        }
        for_each_value<Function>(*this, first, count, values, notes, [&](std::size_t index, auto&&... made) {
            if constexpr (!std::is_void_v<value>) values_[index] = (std::forward<decltype(made)>(made), ...);
        });
    }
    void fail(std::size_t, std::exception_ptr error) noexcept override {
        if (!this->error_) this->error_ = std::move(error);
    }
    [[nodiscard]] bool has_enough() const noexcept override { return this->error_ != nullptr; }
    // Once it has ended.
    auto values() {
        if (this->error_) std::rethrow_exception(this->error_);
        if constexpr (in_bulk) {
            return std::move(values_);
        } else if constexpr (!std::is_void_v<value>) {
            std::vector<value> all;
            all.reserve(values_.size());
            for (auto& each : values_) all.push_back(std::move(*each));
            return all;
        }
    }

private:
    std::conditional_t<in_bulk, std::vector<stored<value>>, std::vector<place>> values_;
};

// Goes on to the end of all.
template <auto Function, class Item>
class outcomes_job final : public map_job<Function, Item> {
    using base = map_job<Function, Item>;
    using typename base::value;

public:
    outcomes_job(std::span<const Item> items, std::size_t together) : base(items, together), outcomes_(items.size()) {}
    void take(std::size_t first, std::size_t count, std::string_view values,
              const std::vector<pool_note>& notes) override {
        for_each_value<Function>(*this, first, count, values, notes, [&](std::size_t index, auto&&... made) {
            outcomes_[index].set_value(std::forward<decltype(made)>(made)...);
        });
    }
    void fail(std::size_t index, std::exception_ptr error) noexcept override {
        outcomes_[index].set_error(std::move(error));
    }
    std::vector<outcome<value>> outcomes() {
        if (this->error_) std::rethrow_exception(this->error_);
        return std::move(outcomes_);
    }

private:
    std::vector<outcome<value>> outcomes_;
};

// --- apply: one item, which was encoded before ---

template <auto Function>
class call_job final : public pool_job {
    using function_type = pool_function<Function>;
    using value = typename function_type::value;

public:
    explicit call_job(std::string item) : item_(std::move(item)) {
        function = function_type::number();
        chunk = 1;
        end = 1;
    }
    std::size_t encode(std::size_t, std::size_t, std::size_t, std::string& out) override {
        out.append(item_);
        return 1;
    }
    void take(std::size_t first, std::size_t count, std::string_view values,
              const std::vector<pool_note>& notes) override {
        for_each_value<Function>(*this, first, count, values, notes, [&](std::size_t, auto&&... made) {
            if constexpr (!std::is_void_v<value>) value_.emplace(std::forward<decltype(made)>(made)...);
        });
    }
    void fail(std::size_t, std::exception_ptr error) noexcept override { error_ = std::move(error); }
    void finish(std::exception_ptr error) noexcept override {
        if (error && !error_) error_ = std::move(error);
        if (error_) return promise_.set_exception(std::move(error_));
        if constexpr (std::is_void_v<value>) {
            promise_.set_value();
        } else {
            try {
                promise_.set_value(std::move(*value_));
            } catch (...) {
                promise_.set_exception(std::current_exception());
            }
        }
    }
    future<value> get_future() noexcept { return promise_.get_future(); }

private:
    std::string item_;
    std::optional<stored<value>> value_;
    std::exception_ptr error_;
    leat::promise<value> promise_;
};

// --- imap: items come as there is room, values go in their order or as they come ---

template <auto Function>
class stream_job final : public pool_job {
    using function_type = pool_function<Function>;
    using value = typename function_type::value;
    static_assert(!std::is_void_v<value>, "leat: imap gives values, and this function returns none: use map");

public:
    stream_job(std::size_t together, bool ordered) : ordered_(ordered) {
        open = true;
        function = function_type::number();
        chunk = together;
    }
    // Under in_use, all of these.
    template <class Item>
    void add(const Item& item) {
        entry fresh;
        function_type::append_item(fresh.item, item);
        entries_.push_back(std::move(fresh));
    }
    [[nodiscard]] std::size_t added() const noexcept { return base_ + entries_.size(); }
    // Items whose value was not given yet.
    [[nodiscard]] std::size_t inside() const noexcept { return added() - given_; }
    // The next value to be given, if it is there. Throws the error of that item, or of the pool.
    std::optional<value> next_value() {
        if (ordered_) {
            if (entries_.empty() || !entries_.front().ended) return nothing_yet();
            entry first = std::move(entries_.front());
            entries_.pop_front();
            ++base_;
            return given(std::move(first.how));
        }
        if (ready_.empty()) return nothing_yet();
        const std::size_t index = ready_.front();
        ready_.pop_front();
        entry& which = entries_[index - base_];
        outcome<value> how = std::move(which.how);
        which.left = true;
        while (!entries_.empty() && entries_.front().left) {
            entries_.pop_front();
            ++base_;
        }
        return given(std::move(how));
    }
    auto_reset_event& changed() noexcept { return changed_; }

    std::size_t encode(std::size_t first, std::size_t count, std::size_t most_bytes, std::string& out) override {
        const std::size_t before = out.size();
        std::size_t done = 0;
        for (; done < count && (done == 0 || out.size() - before < most_bytes); ++done)
            out.append(entries_[first + done - base_].item);
        return done;
    }
    void take(std::size_t first, std::size_t count, std::string_view values,
              const std::vector<pool_note>& notes) override {
        for_each_value<Function>(*this, first, count, values, notes, [&](std::size_t index, auto&& made) {
            outcome<value> how;
            how.set_value(std::forward<decltype(made)>(made));
            ended(index, std::move(how));
        });
        changed_.set();
    }
    void fail(std::size_t index, std::exception_ptr error) noexcept override {
        outcome<value> how;
        how.set_error(std::move(error));
        ended(index, std::move(how));
        changed_.set();
    }
    void finish(std::exception_ptr error) noexcept override {
        error_ = std::move(error);
        changed_.set();
    }

private:
    struct entry {
        std::string item;
        outcome<value> how;
        bool ended = false;
        bool left = false;  // its value was given, out of order
    };
    void ended(std::size_t index, outcome<value> how) {
        entry& which = entries_[index - base_];
        which.item = std::string();
        which.how = std::move(how);
        which.ended = true;
        if (!ordered_) ready_.push_back(index);
    }
    std::optional<value> nothing_yet() {
        if (error_) std::rethrow_exception(error_);
        return {};
    }
    std::optional<value> given(outcome<value> how) {
        ++given_;
        return std::move(how).get();
    }

    bool ordered_;
    std::deque<entry> entries_;  // from item `base_`
    std::size_t base_ = 0;
    std::size_t given_ = 0;
    std::deque<std::size_t> ready_;  // ended, in that order, and not given: unless ordered
    std::exception_ptr error_;
    auto_reset_event changed_;
};

}  // namespace leat::detail
