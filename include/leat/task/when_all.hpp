// when_all: several tasks at once, all results together; when_all_outcomes: whatever the results are.
//
// Each task's frame is destroyed as it ends, and with it its arguments: so `when_all(ask(std::move(sender)), answer(receiver))`
// ends, since the channel's last sender goes with the task that has asked. What the caller keeps outlives all of them.
#pragma once

#include <tuple>
#include <variant>
#include <vector>

#include <leat/task/arm.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

namespace detail {

// What the arms of one group share: who counts their ends, and how they are stopped together.
struct arm_group {
    arm_group(context& parent, std::uint32_t arms) noexcept : ends(arms), stop(parent.stop()) {}
    countdown ends;
    child_stop_source stop;
};

// An arm that ends its body's frame as it ends, on whatever thread that is, and keeps the outcome for the waiting line: a
// sibling may wait for what the arguments hold to go.
template <class T>
class member_arm : public arm<T> {
public:
    using arm<T>::arm;
    // From the end on.
    [[nodiscard]] const outcome<T>& peek() const noexcept { return end_; }
    outcome<T> take() { return std::move(end_); }

protected:
    // First thing at the end. When moving the value throws, that is how the arm has ended.
    void keep_outcome() noexcept {
        try {
            end_ = arm<T>::take();
        } catch (...) {
            end_.set_current_exception();
        }
    }

private:
    outcome<T> end_;
};

// One whose failure stops its siblings.
template <class T>
class group_arm : public member_arm<T> {
public:
    struct init {
        context& parent;
        arm_group& group;
        task<T> body;
        init(context& line, arm_group& shared, task<T> work) : parent(line), group(shared), body(std::move(work)) {}
    };
    explicit group_arm(init from) noexcept
        : member_arm<T>(from.parent, std::move(from.body), arm_base::ends_with<&at_end>()), group_(from.group) {}
    void start() noexcept { arm<T>::start(group_.stop); }

private:
    static void at_end(arm_base& self) noexcept {
        auto& mine = static_cast<group_arm&>(self);
        mine.keep_outcome();
        if (!mine.peek().is_value()) mine.group_.stop.request_stop();
        mine.group_.ends.arrive();
    }
    arm_group& group_;
};

// The first error in the order of the arms, else cancelled if one was, else nothing.
class first_failure {
public:
    void look_at(const outcome_base& end) noexcept {
        if (!error_) error_ = end.error();
        cancelled_ |= end.is_cancelled();
    }
    void rethrow() const {
        if (error_) std::rethrow_exception(error_);
        if (cancelled_) throw_cancelled();
    }

private:
    std::exception_ptr error_;
    bool cancelled_ = false;
};

template <class T>
using value_or_unit = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

// Or throws its error.
template <class T>
value_or_unit<T> take_value(outcome<T>&& end) {
    if constexpr (std::is_void_v<T>) {
        std::move(end).get();
        return {};
    } else {
        return std::move(end).get();
    }
}

}  // namespace detail

// Runs the tasks at once, each on a context of its own; gives their values as a tuple (std::monostate for void). The first
// failure stops the others; the wait ends when all have ended, and the error of the first failed argument is rethrown.
// Stopping the awaiting task stops all.
template <class... T>
task<std::tuple<detail::value_or_unit<T>...>> when_all(task<T>... tasks) {
    context& line = co_await this_task::line();
    detail::arm_group group(line, sizeof...(T));
    std::tuple<detail::group_arm<T>...> arms(typename detail::group_arm<T>::init(line, group, std::move(tasks))...);
    std::apply([](auto&... each) { (each.start(), ...); }, arms);
    co_await all_arrived{group.ends, "when_all"};
    auto ends = std::apply([](auto&... each) { return std::tuple<outcome<T>...>(each.take()...); }, arms);
    detail::first_failure failure;
    std::apply([&](auto&... end) { (failure.look_at(end), ...); }, ends);
    failure.rethrow();
    co_return std::apply(
        [](auto&... end) { return std::tuple<detail::value_or_unit<T>...>(detail::take_value<T>(std::move(end))...); },
        ends);
}

// The same for any number of tasks of one type; values in the order of the tasks.
template <class T>
task<std::vector<detail::value_or_unit<T>>> when_all(std::vector<task<T>> tasks) {
    context& line = co_await this_task::line();
    detail::arm_group group(line, static_cast<std::uint32_t>(tasks.size()));
    std::vector<std::unique_ptr<detail::group_arm<T>>> arms;
    arms.reserve(tasks.size());
    for (task<T>& each : tasks) {
        typename detail::group_arm<T>::init from(line, group, std::move(each));
        arms.push_back(std::make_unique<detail::group_arm<T>>(std::move(from)));
    }
    for (auto& each : arms) each->start();
    co_await all_arrived{group.ends, "when_all"};
    detail::first_failure failure;
    std::vector<outcome<T>> ends;
    ends.reserve(arms.size());
    for (auto& each : arms) {
        ends.push_back(each->take());
        failure.look_at(ends.back());
    }
    failure.rethrow();
    std::vector<detail::value_or_unit<T>> values;
    values.reserve(ends.size());
    for (auto& end : ends) values.push_back(detail::take_value<T>(std::move(end)));
    co_return values;
}

namespace detail {

template <class T>
task<outcome<T>> into_outcome(task<T> body) {
    co_return co_await body.as_outcome();
}

}  // namespace detail

// The same, but the end of each task, whichever it is, is a value: a failure stops nobody and is not thrown. Gives a tuple, or
// a vector, of outcomes. When the awaiting task is stopped, those of the tasks that were stopped by that are cancelled.
template <class... T>
auto when_all_outcomes(task<T>... tasks) {
    return when_all(detail::into_outcome(std::move(tasks))...);
}
template <class T>
task<std::vector<outcome<T>>> when_all_outcomes(std::vector<task<T>> tasks) {
    std::vector<task<outcome<T>>> all;
    all.reserve(tasks.size());
    for (task<T>& each : tasks) all.push_back(detail::into_outcome(std::move(each)));
    return when_all(std::move(all));
}

}  // namespace leat
