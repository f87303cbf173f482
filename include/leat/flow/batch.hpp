// batch and unbatch: several items travel as one, a std::vector of them, and come apart again.
//
//   leat::flow_graph work = leat::from(rows())
//                         | leat::batch("hundreds", 100, 50ms)          // a vector of at most 100, at most 50 ms old
//                         | leat::map("store", store_all)               // takes a std::vector<row>
//                         | leat::unbatch("rows")                       // and each for itself again
//                         | leat::for_each("show", show);
//
// A batch is one item to what follows: tried again, failed or committed as a whole, and with it every item that is in it.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <vector>

#include <leat/flow/flow.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

// When a batch is full. It goes on when one bound is reached, when its time has passed, and at the end of the input.
struct batch_bounds {
    std::size_t count = 0;               // items; 0: no bound
    std::size_t bytes = 0;               // by weight_of() each; an item that is heavier is a batch alone; 0: no bound
    duration longest = duration::max();  // from its first item; max(): no bound
};

struct batch_stage {
    // At most so many bytes, too.
    batch_stage bytes(std::size_t most) && {
        bounds.bytes = most;
        return std::move(*this);
    }
    // The queue in front of it.
    batch_stage buffer(std::size_t items, std::size_t most_bytes = std::size_t{64} << 20U) && {
        policy.buffer_items = items;
        policy.buffer_bytes = most_bytes;
        policy.own_buffer = true;
        return std::move(*this);
    }
    std::string name;
    batch_bounds bounds;
    stage_policy policy;
};
// Vectors of at most `count` items, in their order; `longest`: how long the first of them may wait for the others. Throws
// std::invalid_argument where it joins a flow and neither the count nor bytes() bounds it.
inline batch_stage batch(std::string name, std::size_t count, duration longest = duration::max()) {
    batch_stage made{std::move(name), {}, {}};
    made.bounds.count = count;
    made.bounds.longest = longest;
    return made;
}

struct unbatch_stage {
    std::string name;
};
// Each element of a vector is an item, in its order.
inline unbatch_stage unbatch(std::string name) { return {std::move(name)}; }

namespace detail {

template <class T>
class batching final : public stage {
public:
    explicit batching(const batch_bounds& bounds) : bounds_(bounds) {
        // Far enough, and a sum with now() stays within bounds.
        if (bounds_.longest != duration::max())
            bounds_.longest = std::clamp<duration>(bounds_.longest, duration(0), std::chrono::hours(24 * 36525));
    }
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(bounds_); }
    [[nodiscard]] unsigned most_jobs() const noexcept override { return 1; }
    [[nodiscard]] bool has_deadlines() const noexcept override { return bounds_.longest != duration::max(); }

private:
    class worker final : public stage_worker {
    public:
        explicit worker(const batch_bounds& bounds) : bounds_(bounds) {}

        task<> process(item& in, emitter& out) override {
            T& value = in.value.as<T>();
            const std::size_t weight = bounds_.bytes == 0 ? 0 : weight_of(value);
            // Not weight_ + weight: a weight may be a lie.
            const bool overflows =
                bounds_.bytes != 0 && !joined_.empty() && weight > bounds_.bytes - std::min(weight_, bounds_.bytes);
            if (overflows) co_await flush(out);
            if (joined_.empty() && bounds_.longest != duration::max()) {
                context& line = co_await this_task::line();
                deadline_ = line.where().now() + bounds_.longest;
            }
            joined_.push_back(std::move(value));
            accounts_.add(std::move(in.ack));
            weight_ += weight;
            const bool full = (bounds_.count != 0 && joined_.size() >= bounds_.count) ||
                              (bounds_.bytes != 0 && weight_ >= bounds_.bytes);
            if (full) co_await flush(out);
        }
        task<> finish(emitter& out) override {
            if (!joined_.empty()) co_await flush(out);
        }
        [[nodiscard]] time_point deadline() const noexcept override { return deadline_; }
        task<> due(emitter& out) override { return flush(out); }

    private:
        task<> flush(emitter& out) {
            deadline_ = time_point::max();
            weight_ = 0;
            ack_ref account = accounts_.merge();
            payload value(std::exchange(joined_, {}));
            co_await out.emit(std::move(value), std::move(account));
        }

        batch_bounds bounds_;
        std::vector<T> joined_;
        gathered_acks accounts_;                   // of those in joined_
        std::size_t weight_ = 0;                   // likewise, where bytes are bounded
        time_point deadline_ = time_point::max();  // of the batch begun; max(): none was, or it has time
    };

    batch_bounds bounds_;
};

}  // namespace detail

template <class T>
pipeline<std::vector<T>> operator|(pipeline<T> before, batch_stage stage) {
    if (stage.bounds.count == 0 && stage.bounds.bytes == 0)
        throw std::invalid_argument("batch '" + stage.name + "' needs a bound: a count from 1, or bytes()");
    own_stage<std::vector<T>> made =
        through<std::vector<T>>(std::move(stage.name), std::make_shared<detail::batching<T>>(stage.bounds));
    made.policy = stage.policy;
    return std::move(before) | std::move(made);
}

template <class T>
pipeline<T> operator|(pipeline<std::vector<T>> before, unbatch_stage stage) {
    const auto elements = [](std::vector<T> all) { return all; };
    return std::move(before) | flat_map(std::move(stage.name), elements).concurrency(1);
}

}  // namespace leat
