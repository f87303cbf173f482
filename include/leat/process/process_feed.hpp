// process_feed: calls of one function in the workers of a process_pool, that come one by one from any number of tasks and travel
// together: what waits while the workers are busy goes in one message.
//
//   leat::process_feed<count_words> counting(pool);
//   int words = co_await counting.call(file);       // from many tasks at once
//
// An item whose worker dies, or takes longer than the pool's timeout, fails alone: see process_pool.
#pragma once

#include <deque>
#include <mutex>

#include <leat/process/process_pool.hpp>

namespace leat {

namespace detail {

// The items of a feed, each of which ends its own promise.
template <auto Function>
class feed_job final : public pool_job {
    using function_type = pool_function<Function>;
    using value = typename function_type::value;

public:
    explicit feed_job(std::size_t together) {
        open = true;
        function = function_type::number();
        chunk = together;
    }
    // Under in_use. Gives how many there have been.
    std::size_t add(std::string item, future<value>& end_of_it) {
        entry& fresh = entries_.emplace_back();
        fresh.item = std::move(item);
        end_of_it = fresh.how.get_future();
        if (error_) {
            fresh.ended = true;
            fresh.how.set_exception(error_);
        }
        return base_ + entries_.size();
    }

    std::size_t encode(std::size_t first, std::size_t count, std::size_t most_bytes, std::string& out) override {
        const std::size_t before = out.size();
        std::size_t done = 0;
        for (; done < count && (done == 0 || out.size() - before < most_bytes); ++done)
            out.append(entries_[first + done - base_].item);
        return done;
    }
    void take(std::size_t first, std::size_t count, std::string_view values,
              const std::vector<pool_note>& notes) override {
        for_each_value<Function>(*this, first, count, values, notes, [&](std::size_t index, auto&&... made) {
            entries_[index - base_].how.set_value(std::forward<decltype(made)>(made)...);
            left(index);
        });
    }
    void fail(std::size_t index, std::exception_ptr error) noexcept override {
        entries_[index - base_].how.set_exception(std::move(error));
        left(index);
    }
    void finish(std::exception_ptr error) noexcept override {
        error_ =
            error ? std::move(error)
                  : std::make_exception_ptr(worker_failed(worker_failed::reason::closed, "the process_pool is closed"));
        for (entry& each : entries_)
            if (!std::exchange(each.ended, true)) each.how.set_exception(error_);
    }

private:
    struct entry {
        std::string item;
        leat::promise<value> how;
        bool ended = false;
    };
    void left(std::size_t index) noexcept {
        entry& which = entries_[index - base_];
        which.item = std::string();
        which.ended = true;
        while (!entries_.empty() && entries_.front().ended) {
            entries_.pop_front();
            ++base_;
        }
    }

    std::deque<entry> entries_;  // from item `base_`
    std::size_t base_ = 0;
    std::exception_ptr error_;  // there will be no more
};

}  // namespace detail

template <auto Function>
class process_feed {
    using function_type = detail::pool_function<Function>;

public:
    using value = typename function_type::value;
    using item = std::tuple_element_t<0, typename function_type::arguments>;
    static_assert(std::tuple_size_v<typename function_type::arguments> == 1,
                  "leat: a feed is for functions of one item");

    // The pool outlives it. `chunk`: so many items are handed out together; 0: as the pool finds best.
    explicit process_feed(process_pool& pool, std::size_t chunk = 0)
        : pool_(pool), job_(std::make_shared<detail::feed_job<Function>>(chunk)) {}
    process_feed(const process_feed&) = delete;
    process_feed& operator=(const process_feed&) = delete;
    // Nobody is in call().
    ~process_feed() { pool_.give_up(*job_); }

    // Function(of) in a worker. Throws as process_pool::apply() does. Any task; resumes on its executor. When the awaiting task is
    // stopped the call goes on, and its value is dropped.
    task<value> call(const item& of) {
        std::string encoded;
        function_type::append_item(encoded, of);
        future<value> end;
        {
            // Calls are handed over in the order of their numbers.
            const env::lock_guard in_turn(order_);
            std::size_t count = 0;
            {
                const env::lock_guard held(job_->in_use);
                count = job_->add(std::move(encoded), end);
            }
            pool_.extend(job_, count);
        }
        co_return co_await std::move(end);
    }

private:
    process_pool& pool_;
    std::shared_ptr<detail::feed_job<Function>> job_;
    env::mutex order_;
};

}  // namespace leat
