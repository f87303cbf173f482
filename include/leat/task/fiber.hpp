// fiber<Gives(Takes)>: a function on a stack of its own, which may suspend itself anywhere, and gives and takes a value
// each time. Switching is all it does: it needs no runtime, and whoever resumes it waits on the same thread. For code that
// awaits tasks, and is spawned and cancelled like one, see run_in_fiber.hpp, which such fibers may be nested in.
//
//   leat::fiber<int(int)> sums([](auto& self, int value) {
//       for (int sum = 0;;) value = self.suspend(sum += value);
//   });
//   sums.resume(1);  // 1
//   sums.resume(5);  // 6
//
// The function is fn(self, first) and returns a Gives, its last. Inside it
//   self.suspend(value)           gives `value` to whoever resumed the fiber, and returns what it is resumed with;
//   self.switch_to(other, value)  resumes another fiber instead of this one: that one gives to whoever resumed this one.
// (Fibers that switch among each other are greenlets; the resumer is the parent of all that it runs.)
//
// Exceptions of the function come out of resume(). Dropping a suspended fiber unwinds it: the suspended call, and any later
// one, throws leat::cancelled; what the function then returns or throws is dropped. (So one that suspends in a destructor
// while it is unwound ends the program, as every destructor that throws.) A fiber that has not begun destroys its function.
//
// A fiber may be resumed by one thread now and another later, one at a time (run_in_fiber.hpp says what its function must
// not keep then). Resuming one that runs or has ended, and
// dropping one that runs, are bugs. fiber_options say how large the stack is, and what overflowing it does.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

#include <leat/base/bug.hpp>
#include <leat/task/fiber_stack.hpp>
#include <leat/task/outcome.hpp>

namespace leat {

namespace detail {

// What fibers of all types share. Lies at the top of its own stack.
class fiber_core {
public:
    enum class state : unsigned char { suspended, running, ended };

    fiber_core(const fiber_core&) = delete;
    fiber_core& operator=(const fiber_core&) = delete;

    [[nodiscard]] bool ended() const noexcept { return state_ == state::ended; }

    // Runs it until it, or one that it has switched to, gives something: that one, and what.
    struct given {
        fiber_core& by;
        void* value;  // nullptr once it has ended
    };
    [[gnu::always_inline]] given resume(void* value) noexcept {
        if (state_ != state::suspended) [[unlikely]]
            bug_in("resumed");
        state_ = state::running;
        parcel sends(this, nullptr, value);
        exception_swap exceptions(exceptions_);
        const arrival came = jump(here_, sends);
        fiber_core& by = *static_cast<fiber_core*>(static_cast<parcel*>(came.data)->from);
        exceptions.back(by.exceptions_);
        return {by, settle(by.here_, came).value};
    }
    // Called on its own stack; what it is resumed with. Throws cancelled when it is dropped.
    [[gnu::always_inline]] void* suspend(void* value) {
        if (unwinding_) [[unlikely]]
            throw_cancelled();
        state_ = state::suspended;
        parcel sends(nullptr, this, value);
        return back(jump(resumer_, sends));
    }
    [[gnu::always_inline]] void* switch_to(fiber_core& other, void* value) {
        if (unwinding_) [[unlikely]]
            throw_cancelled();
        if (other.state_ != state::suspended) [[unlikely]]
            other.bug_in("resumed");
        other.state_ = state::running;
        other.resumer_ = resumer_;
        state_ = state::suspended;
        parcel sends(&other, this, value);
        exception_state& thread = thread_exceptions();
        exceptions_ = std::exchange(thread, std::exchange(other.exceptions_, {}));
        return back(jump(other.here_, sends));
    }

protected:
    using function = void (*)(fiber_core& self, void* first) noexcept;
    fiber_core(fiber_stack&& stack, std::size_t own_bytes, function body) noexcept
        : stack_(std::move(stack)), body_(body), here_(point_of_entry(stack_, own_bytes, &enter)) {}
    ~fiber_core() = default;

    // Ends what is suspended; then the derived class destroys itself and, last, its stack.
    void unwind() noexcept;
    fiber_stack stack_;

private:
    [[noreturn]] void bug_in(const char* what) const noexcept;
    static void enter(arrival came) noexcept;
    // On its own stack, resumed.
    [[gnu::always_inline]] void* back(arrival came) {
        void* const value = come_from(came);
        if (unwinding_) [[unlikely]]
            throw_cancelled();
        return value;
    }
    [[gnu::always_inline]] void* come_from(arrival came) noexcept {
        auto* const other = static_cast<fiber_core*>(static_cast<parcel*>(came.data)->from);
        return settle(other == nullptr ? resumer_ : other->here_, came).value;
    }

    function body_;
    stack_point here_;     // while it is suspended
    stack_point resumer_;  // while it runs: where to give
    exception_state exceptions_;
    state state_ = state::suspended;
    bool begun_ = false;
    bool unwinding_ = false;
};

template <class Signature>
struct fiber_signature;
template <class Gives, class Takes>
struct fiber_signature<Gives(Takes)> {
    using gives = Gives;
    using takes = Takes;
};
template <class Gives>
struct fiber_signature<Gives()> {
    using gives = Gives;
    using takes = void;
};

// What a T is while it is handed over: its address on the stack that is left.
template <class T>
T take_handed(void* value) noexcept(std::is_void_v<T> || std::is_nothrow_move_constructible_v<T>) {
    if constexpr (std::is_lvalue_reference_v<T>) return *static_cast<std::remove_reference_t<T>*>(value);
    else if constexpr (!std::is_void_v<T>) return std::move(*static_cast<T*>(value));
}
template <class T>
void* hand(T& value) noexcept {
    return const_cast<void*>(static_cast<const void*>(std::addressof(value)));
}

template <class Gives>
class fiber_giving : public fiber_core {
public:
    using destroyer = void (*)(fiber_giving*) noexcept;
    fiber_giving(fiber_stack&& stack, std::size_t own_bytes, function body, destroyer destroy) noexcept
        : fiber_core(std::move(stack), own_bytes, body), destroy_(destroy) {}

    [[gnu::always_inline]] static Gives get(given from) {
        if (from.by.ended()) return std::move(static_cast<fiber_giving&>(from.by).result).get();
        return take_handed<Gives>(from.value);
    }
    void drop() noexcept {
        unwind();
        const fiber_stack stack(std::move(stack_));  // from here on the memory is this function's
        destroy_(this);
    }

    outcome<Gives> result;

private:
    destroyer destroy_;
};

}  // namespace detail

template <class Signature>
class [[nodiscard]] fiber {
    using Gives = typename detail::fiber_signature<Signature>::gives;
    using Takes = typename detail::fiber_signature<Signature>::takes;
    static_assert(!std::is_rvalue_reference_v<Gives> && !std::is_rvalue_reference_v<Takes>,
                  "fibers hand over values, or references to lvalues");
    using core = detail::fiber_giving<Gives>;

public:
    // The fiber as its own function sees it. Valid inside that function, called by nobody else.
    class inside {
    public:
        inside(const inside&) = delete;
        inside& operator=(const inside&) = delete;

        [[gnu::always_inline]] Takes suspend()
            requires std::is_void_v<Gives>
        {
            return detail::take_handed<Takes>(self_.suspend(nullptr));
        }
        template <class Value = Gives>
            requires(!std::is_void_v<Gives>)
        [[gnu::always_inline]] Takes suspend(std::type_identity_t<Value> value) {
            return detail::take_handed<Takes>(self_.suspend(detail::hand(value)));
        }
        [[gnu::always_inline]] Takes switch_to(fiber<Gives()>& other) {
            return detail::take_handed<Takes>(self_.switch_to(other.checked(), nullptr));
        }
        template <class Other>
        [[gnu::always_inline]] Takes switch_to(fiber<Gives(Other)>& other, std::type_identity_t<Other> value) {
            return detail::take_handed<Takes>(self_.switch_to(other.checked(), detail::hand(value)));
        }

    private:
        friend fiber;
        explicit inside(core& self) noexcept : self_(self) {}
        core& self_;
    };

    // Throws std::bad_alloc when there is no stack to be had, and what moving the function throws.
    template <class Function>
        requires(!std::same_as<std::remove_cvref_t<Function>, fiber>)
    explicit fiber(Function&& function, fiber_options options = {})
        : core_(make<std::decay_t<Function>>(std::forward<Function>(function), options)) {}
    fiber(fiber&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
    fiber& operator=(fiber&& other) noexcept {
        fiber old(std::move(other));
        std::swap(core_, old.core_);
        return *this;
    }
    ~fiber() {
        if (core_ != nullptr) core_->drop();
    }

    // Runs the fiber until it, or one that it has switched to, gives a value or ends; throws what ended it.
    [[gnu::always_inline]] Gives resume()
        requires std::is_void_v<Takes>
    {
        return core::get(checked().resume(nullptr));
    }
    template <class Value = Takes>
        requires(!std::is_void_v<Takes>)
    [[gnu::always_inline]] Gives resume(std::type_identity_t<Value> value) {
        return core::get(checked().resume(detail::hand(value)));
    }

    // Whether its function has returned or thrown.
    [[nodiscard]] bool done() const noexcept { return checked().ended(); }

private:
    template <class>
    friend class fiber;

    core& checked() const noexcept {
        if (core_ == nullptr) bug("a fiber that was moved from was used");
        return *core_;
    }

    template <class Function>
    struct body final : core {
        template <class F>
        body(detail::fiber_stack&& stack, std::size_t own_bytes, F&& fn)
            : core(std::move(stack), own_bytes, &run, &destroy), function(std::forward<F>(fn)) {}
        static void run(detail::fiber_core& base, void* first) noexcept {
            auto& self = static_cast<body&>(base);
            try {
                inside handle(self);
                if constexpr (std::is_void_v<Gives>) {
                    self.call(handle, first);
                    self.result.set_value();
                } else {
                    self.result.set_value(self.call(handle, first));
                }
            } catch (...) {
                self.result.set_current_exception();
            }
        }
        static void destroy(core* self) noexcept { static_cast<body*>(self)->~body(); }
        decltype(auto) call(inside& handle, void* first) {
            if constexpr (std::is_void_v<Takes>) return function(handle);
            else return function(handle, detail::take_handed<Takes>(first));
        }
        Function function;
    };

    template <class Function, class F>
    static core* make(F&& function, fiber_options options) {
        // At the top, on a boundary that suits the function and the stack below.
        constexpr std::size_t boundary = alignof(body<Function>) > 64 ? alignof(body<Function>) : 64;
        constexpr std::size_t own_bytes = (sizeof(body<Function>) + boundary - 1) / boundary * boundary;
        static_assert(own_bytes <= 4096,
                      "keep large state outside the function of a fiber: it lies on the fiber's stack");
        detail::fiber_stack stack(options);
        char* const place = static_cast<char*>(stack.bottom()) + stack.size() - own_bytes;
        return new (place) body<Function>(std::move(stack), own_bytes, std::forward<F>(function));
    }

    core* core_;
};

}  // namespace leat
