// task_handle: a task of a scope, seen from outside: whether it has ended, how, and a way to ask it to stop.
//
//   leat::task_handle<int> h = work.submit(count_words, path);
//   int n = co_await h.join();                       // its value, or what it threw
//   h.stop();                                        // asks it to end; join() to see that it has
//
// The task runs as one that was spawned, in the scope, whether or not anybody waits; it is gone, with its arguments, before
// done() says so. The handle keeps only the result, and may outlive task and scope. Who may share and who takes the value:
// result.hpp.
//
// Errors: the error of a submitted task belongs to its handle, and stops no siblings. It is taken by an operation that
// gives it (join, as_outcome and their blocking forms; not wait or done). What nobody takes is never silent:
//  1. When the handle is dropped, before or after the error, it is the scope's, as that of a spawned task: it stops the
//     siblings, and the scope's join throws it.
//  2. When the scope is joined and nobody has taken it yet, the scope's join throws it; a later join of the handle too.
#pragma once

#include <tuple>

#include <leat/sync/result.hpp>
#include <leat/task/scope.hpp>

namespace leat {

template <class T = void>
class task_handle;

namespace detail {

// The end of a submitted task: what it has beside a completion of another kind.
class task_completion : public completion, private held_error {
public:
    static constexpr const char* waits_for = "task join";
    static constexpr const char* empty_used =
        "an empty task_handle was used: its value was taken, or it was moved from or never given a task";

    explicit task_completion(scope& owner) noexcept : scope_(&owner) {}

    // The task's, before it runs, and at its end, while it is still there: gives the error that is the scope's at once.
    void begin(context& line) noexcept { line_ = &line; }
    std::exception_ptr ended(const outcome_base& how) noexcept;
    // Asks the task to stop, if it is there. Any thread.
    void stop() noexcept;

    void taken() noexcept;
    void dropped() noexcept;

private:
    std::exception_ptr surrender() noexcept override;

    // Under lock_, which is taken before those of the scope and of its stop sources.
    context* line_ = nullptr;     // while the task is there
    scope* scope_;                // while it may be given an error: until the end, or until held_ is given up
    std::exception_ptr untaken_;  // in the scope's list
    bool owned_ = true;           // the handle is there
};

template <class T>
using task_state = result_state<T, task_completion>;

}  // namespace detail

template <class T>
class [[nodiscard]] task_handle : public result_owner<detail::task_state<T>> {
    using owner = result_owner<detail::task_state<T>>;

public:
    task_handle() noexcept = default;  // empty

    // Awaits the end; gives the value, throws the task's error, or cancelled when the task was cancelled (as_outcome() tells
    // that from a stop of the awaiting task).
    auto join() const& noexcept
        requires detail::shareable_value<T>
    {
        return typename owner::template shared_operation<detail::gives::value>(this->checked());
    }
    auto join() && noexcept {
        return typename owner::template taking_operation<detail::gives::value>(this->self_checked());
    }
    // The same for threads that run no tasks.
    T blocking_join() const&
        requires detail::shareable_value<T>
    {
        return this->blocking_outcome().get();
    }
    T blocking_join() && { return std::move(*this).blocking_outcome().get(); }

    // Asks the task to end at its next wait; nothing when it has ended. Any thread.
    void stop() const noexcept { this->checked()->stop(); }

private:
    friend class scope;
    explicit task_handle(detail::counted<detail::task_state<T>> state) noexcept : owner(std::move(state)) {}
};

namespace detail {

// A spawned task that has a handle.
template <class Label, class Body, class Function, class... Argument>
class submitted final : public spawned_base {
public:
    using state = task_state<typename Body::value_type>;

    template <class F, class... A>
    submitted(scope& owner, const task_options& how, counted<state> end, F&& fn, A&&... arguments)
        : spawned_base(owner, how.urgency),
          label_(*this, how),
          last_(std::move(end)),
          function_(std::forward<F>(fn)),
          arguments_(std::forward<A>(arguments)...),
          body_(std::apply(std::move(function_), std::move(arguments_))) {
        last_.told->begin(*this);
    }
    void post() { post_at(body_.start_on(*this, end<&at_end>()), false); }

private:
    static void at_end(spawned_base& self) noexcept {
        auto& mine = static_cast<submitted&>(self);
        state& told = *mine.last_.told;
        told.result() = mine.body_.take_outcome();
        if (std::exception_ptr error = told.ended(told.result())) mine.owner().fail(std::move(error));
        leave(mine);
    }

    // Destroyed after all the rest.
    struct last {
        explicit last(counted<state> end) noexcept : told(std::move(end)) {}
        ~last() { told.release()->tell(); }
        counted<state> told;
    };
    [[no_unique_address]] Label label_;
    last last_;
    Function function_;
    std::tuple<Argument...> arguments_;
    Body body_;
};

}  // namespace detail

template <class... Spawned>
auto scope::submit(Spawned&&... as_for_spawn) {
    const auto with = [this]<class Label, class Function, class... Argument>(
                          std::type_identity<Label>, task_options how, Function&& fn, Argument&&... arguments) {
        using body = decltype(std::apply(std::declval<std::decay_t<Function>>(),
                                         std::declval<std::tuple<std::decay_t<Argument>...>>()));
        static_assert(detail::is_task<body>::value, "a scope runs functions that return leat::task");
        using block = detail::submitted<Label, body, std::decay_t<Function>, std::decay_t<Argument>...>;
        using state = typename block::state;
        auto end = detail::counted<state>::adopt(new state(*this));
        task_handle<typename body::value_type> handle(end);
        add(*new block(*this, how, std::move(end), std::forward<Function>(fn), std::forward<Argument>(arguments)...));
        return handle;
    };
    const auto labelled = [&]<class First, class... Rest>(First&& first, Rest&&... rest) {
        constexpr std::type_identity<detail::named> named;
        constexpr std::type_identity<detail::unnamed> unnamed;
        if constexpr (std::is_same_v<std::decay_t<First>, task_options>)
            return with(named, first, std::forward<Rest>(rest)...);
        else if constexpr (std::is_same_v<std::decay_t<First>, task_name>)
            return with(named, task_options(first.text, urgency_, first.spawned_at), std::forward<Rest>(rest)...);
        else
            return with(unnamed, task_options(line_label::nameless, urgency_), std::forward<First>(first),
                        std::forward<Rest>(rest)...);
    };
    return labelled(std::forward<Spawned>(as_for_spawn)...);
}

}  // namespace leat
