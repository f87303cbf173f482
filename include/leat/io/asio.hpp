// await: the completion token that makes any Asio operation awaitable in a task.
//
//   boost::asio::ip::tcp::socket socket(co_await leat::io::asio_context());
//   std::size_t n = co_await socket.async_read_some(boost::asio::buffer(data), leat::io::await);
//
// The operation starts when it is awaited. It gives what the handler would get: nothing, a value, or a tuple; an error is
// thrown as boost::system::system_error. The task resumes on its own executor. When it is asked to stop, the operation is
// cancelled through its cancellation slot, and cancelled is thrown if it did end early; one without a slot runs to its end.
// I/O objects must be made on the context of the executor that awaits. Arguments must live until the operation is awaited.
//
// The one header of leat that includes Asio: no other needs it.
#pragma once

#if !defined(BOOST_ASIO_DISABLE_FENCED_BLOCK)
#    define BOOST_ASIO_DISABLE_FENCED_BLOCK 1  // as the library is built: a thread sanitizer cannot see fences
#endif

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/system/system_error.hpp>
#include <exception>
#include <optional>
#include <tuple>

#include <leat/io/foreign_wait.hpp>
#include <leat/task/outcome.hpp>
#include <leat/task/this_task.hpp>

namespace leat::io {

struct await_t {
    explicit constexpr await_t() = default;
};
inline constexpr await_t await{};

// The context of the awaiting task's executor, to make I/O objects on.
inline task<boost::asio::io_context&> asio_context() {
    leat::context& line = co_await this_task::line();
    co_return service::of(line.where()).context();
}

namespace detail {

// What a handler that gets these arguments gives, once the error is taken off.
template <class... Value>
struct asio_value {
    using type = std::tuple<Value...>;
};
template <class Value>
struct asio_value<Value> {
    using type = Value;
};
template <>
struct asio_value<> {
    using type = void;
};

inline std::exception_ptr as_error(const boost::system::error_code& code) {
    return code ? std::make_exception_ptr(boost::system::system_error(code)) : nullptr;
}
inline std::exception_ptr as_error(std::exception_ptr error) noexcept { return error; }

// The arguments of a handler: with a leading error, or without.
template <class... Argument>
struct asio_outcome {
    using values = std::tuple<std::decay_t<Argument>...>;
    using value = typename asio_value<std::decay_t<Argument>...>::type;
    static constexpr std::size_t leading = 0;
};
template <class... Argument>
struct asio_outcome<boost::system::error_code, Argument...> : asio_outcome<Argument...> {
    static constexpr std::size_t leading = 1;
};
template <class... Argument>
struct asio_outcome<std::exception_ptr, Argument...> : asio_outcome<Argument...> {
    static constexpr std::size_t leading = 1;
};

template <class Outcome>
class asio_wait : public foreign_wait {
public:
    asio_wait() noexcept
        : foreign_wait([](foreign_wait& self) noexcept {
              static_cast<asio_wait&>(self).signal_.emit(boost::asio::cancellation_type::all);
          }) {}

    struct handler {
        asio_wait* self;
        using cancellation_slot_type = boost::asio::cancellation_slot;
        cancellation_slot_type get_cancellation_slot() const noexcept { return self->signal_.slot(); }

        template <class... Argument>
        void operator()(Argument&&... arguments) {
            self->take(std::forward<Argument>(arguments)...);
            self->completed();
        }
    };

    typename Outcome::value result() {
        const auto asked = leave();
        if (error_) {
            if (aborted_ && asked == leat::context::wake::cancelled) leat::detail::throw_cancelled();
            std::rethrow_exception(error_);
        }
        constexpr std::size_t count = std::tuple_size_v<typename Outcome::values>;
        if constexpr (count == 1) return std::get<0>(std::move(*values_));
        else if constexpr (count > 1) return std::move(*values_);
    }

private:
    template <class First, class... Rest>
    void take(First&& first, Rest&&... rest) {
        if constexpr (Outcome::leading == 0) {
            values_.emplace(std::forward<First>(first), std::forward<Rest>(rest)...);
        } else {
            if constexpr (std::is_same_v<std::decay_t<First>, boost::system::error_code>)
                aborted_ = first == boost::asio::error::operation_aborted;
            error_ = as_error(first);
            if (!error_) values_.emplace(std::forward<Rest>(rest)...);
        }
    }
    void take() { values_.emplace(); }

    boost::asio::cancellation_signal signal_;
    std::exception_ptr error_;
    bool aborted_ = false;
    std::optional<typename Outcome::values> values_;
};

template <class Outcome, class Initiation, class... Argument>
class asio_awaiter : private asio_wait<Outcome> {
public:
    asio_awaiter(Initiation&& initiation, std::tuple<Argument...>&& arguments)
        : initiation_(std::move(initiation)), arguments_(std::move(arguments)) {}
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> at) {
        leat::context& line = at.promise().leat_context();
        service& by = service::of(line.where());
        stopped_ = line.stop_requested();
        if (stopped_) return false;
        this->prepare(line, by, at, "Asio operation");
        try {
            std::apply(
                [this](Argument&... each) {
                    std::move(initiation_)(typename asio_wait<Outcome>::handler{this}, std::move(each)...);
                },
                arguments_);
        } catch (...) {
            this->abandon();
            throw;
        }
        return this->commit();
    }
    typename Outcome::value await_resume() {
        if (stopped_) leat::detail::throw_cancelled();
        return this->result();
    }

private:
    Initiation initiation_;
    std::tuple<Argument...> arguments_;
    bool stopped_ = false;
};

template <class Outcome, class Initiation, class... Argument>
class [[nodiscard]] asio_operation {
public:
    template <class I, class... A>
    explicit asio_operation(I&& initiation, A&&... arguments)
        : initiation_(std::forward<I>(initiation)), arguments_(std::forward<A>(arguments)...) {}
    asio_awaiter<Outcome, Initiation, Argument...> operator co_await() && {
        return {std::move(initiation_), std::move(arguments_)};
    }

private:
    Initiation initiation_;
    std::tuple<Argument...> arguments_;
};

}  // namespace detail
}  // namespace leat::io

template <class Result, class... Argument>
class boost::asio::async_result<leat::io::await_t, Result(Argument...)> {
public:
    template <class Initiation, class... A>
    static auto initiate(Initiation&& initiation, leat::io::await_t, A&&... arguments) {
        using outcome = leat::io::detail::asio_outcome<std::decay_t<Argument>...>;
        return leat::io::detail::asio_operation<outcome, std::decay_t<Initiation>, std::decay_t<A>...>(
            std::forward<Initiation>(initiation), std::forward<A>(arguments)...);
    }
};
