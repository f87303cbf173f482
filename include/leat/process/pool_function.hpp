// pool_function: what may run in the workers of a process_pool, and how the arguments of a call get there and its value back.
// Users see process_pool.hpp.
//
// A function is known by its name, which is the same in a worker since that is the same program. Each that a program gives to a
// pool somewhere is entered in a table before main begins, here and there.
//
// On its way an item is the messages of its arguments, one behind the other; where these are not all of a fixed size
// (codec_is_bytes), each is preceded by its length in eight bytes. Values likewise.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include <leat/base/env.hpp>
#include <leat/process/codec.hpp>
#include <leat/process/remote_error.hpp>
#include <leat/task/task.hpp>

namespace leat {

// A call's arguments could not be read in the worker, or its value not here: their codecs do not agree with themselves.
class pool_message_error : public std::runtime_error {
public:
    using runtime_error::runtime_error;
};

namespace detail {

// Reads the arguments of items. What it reads must outlive it.
class item_reader {
public:
    explicit item_reader(std::string_view items) noexcept : rest_(items) {}
    // The next `size` bytes. Throws pool_message_error when there are fewer.
    std::string_view take(std::uint64_t size) {
        if (size > rest_.size()) [[unlikely]]
            throw_cut_off();
        const std::string_view part = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return part;
    }
    std::string_view take_counted() {
        std::uint64_t size = 0;
        std::memcpy(&size, take(sizeof size).data(), sizeof size);
        return take(size);
    }

private:
    [[noreturn]] static void throw_cut_off();
    std::string_view rest_;
};

// --- A worker's side ---

// How far a worker is, in memory that it shares with its pool: which item to blame for its death.
struct pool_progress {
    env::atomic<std::uint64_t> begun{0};  // items, since it was started; written by the worker alone
    env::atomic<std::uint64_t> done{0};   // the same, or one less
};

// What there is to say about an item beside its value.
struct pool_note {
    std::uint32_t index;  // among those of its message
    bool failed;          // then `error` says how
    exception_record error;
    std::string err;  // what it wrote to standard error
};

// The items that came in one message. Not thread-safe.
class pool_call {
public:
    struct surroundings {
        pool_progress* progress;
        std::uint64_t done;              // items before these
        const volatile char* first_err;  // the first byte of what the item has written to standard error; 0: nothing
        std::string (*take_err)();       // gives that, and forgets it
    };
    // `state`: what at_start() made, for functions that want it. Values are appended to `values`.
    pool_call(std::string_view items, std::uint32_t count, void* state, surroundings around,
              std::string& values) noexcept
        : items_(items), count_(count), state_(state), around_(around), values_(values) {}

    [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
    [[nodiscard]] void* state() const noexcept { return state_; }
    [[nodiscard]] item_reader& items() noexcept { return items_; }
    [[nodiscard]] std::string& values() noexcept { return values_; }
    [[nodiscard]] const std::vector<pool_note>& notes() const noexcept { return notes_; }
    [[nodiscard]] std::uint64_t done() const noexcept { return around_.done; }

    // Before and after the call for each item.
    void begins() noexcept {
        // relaxed: they are read by a process that has seen this one die, or that only looks whether they move
        around_.progress->begun.store(around_.done + 1, env::relaxed);
    }
    void ends(std::uint32_t index) {
        if (*around_.first_err != 0) [[unlikely]]
            note_err(index);
        around_.progress->done.store(++around_.done, env::relaxed);  // as above
    }
    // In a catch block: the call threw.
    void failed(std::uint32_t index);

private:
    void note_err(std::uint32_t index);
    item_reader items_;
    std::uint32_t count_;
    void* state_;
    surroundings around_;
    std::string& values_;
    std::vector<pool_note> notes_;
};

// Appends `value` as its length and its message.
template <class T>
void append_counted(std::string& out, const T& value) {
    const std::size_t at = out.size();
    std::uint64_t size = 0;
    out.append(reinterpret_cast<const char*>(&size), sizeof size);
    encode_to(out, value);
    size = out.size() - at - sizeof size;
    std::memcpy(out.data() + at, &size, sizeof size);
}

// A T of its message. Throws pool_message_error.
template <class T>
T decoded(std::string_view message) {
    auto value = decode<T>(message);
    if (!value) throw pool_message_error(value.error().text());
    return std::move(*value);
}

template <bool AreBytes, class... A>
std::tuple<A...> read_arguments(item_reader& from, std::type_identity<std::tuple<A...>>) {
    if constexpr (AreBytes) return std::tuple<A...>{decoded<A>(from.take(codec_bytes<A>))...};  // braces: in order
    else return std::tuple<A...>{decoded<A>(from.take_counted())...};
}

// --- A function ---

struct pool_function_entry {
    std::string_view name;
    std::string_view state;                    // the type that its first parameter refers to; empty: none
    void (*run)(pool_call&) = nullptr;         // of a function that returns a value
    task<> (*run_task)(pool_call&) = nullptr;  // of one that returns a task
    std::shared_ptr<void> (*start)(std::string_view item) = nullptr;  // for at_start(): what it made, if anything
    std::string_view makes;                                           // the type of that; empty: nothing
};

// Enters a function in the table; gives its number here. Before main.
std::uint32_t enter_pool_function(const pool_function_entry& entry);

// Whether a parameter is the worker's state.
template <class T>
inline constexpr bool is_state = std::is_lvalue_reference_v<T> && !std::is_const_v<std::remove_reference_t<T>>;

template <class... Parameter>
struct parameter_list {
    static_assert(
        (!is_state<Parameter> && ...),
        "leat: a reference to what can be changed cannot cross to another process: return the value; only the first "
        "parameter may be one, to the worker's state");
    using state = void;
    using arguments = std::tuple<std::decay_t<Parameter>...>;
};
template <class First, class... Parameter>
    requires is_state<First>
struct parameter_list<First, Parameter...> : parameter_list<Parameter...> {
    using state = std::remove_reference_t<First>;
    using arguments = std::tuple<std::decay_t<Parameter>...>;
};

template <class Function>
struct signature {
    static constexpr bool is_function = false;
    using returns = void;
    using parameters = parameter_list<>;
};
template <class R, class... Parameter>
struct signature<R (*)(Parameter...)> {
    static constexpr bool is_function = true;
    using returns = R;
    using parameters = parameter_list<Parameter...>;
};
template <class R, class... Parameter>
struct signature<R (*)(Parameter...) noexcept> : signature<R (*)(Parameter...)> {};

template <class T>
struct value_of {
    using type = std::decay_t<T>;
    static constexpr bool is_task = false;
};
template <class T>
struct value_of<task<T>> {
    using type = std::decay_t<T>;
    static constexpr bool is_task = true;
};

template <class T>
consteval bool value_must_cross() {
    if constexpr (std::is_void_v<T>) return true;
    else return must_cross_processes<T>;
}
template <class... Argument>
consteval bool arguments_must_cross(std::type_identity<std::tuple<Argument...>>) {
    return (must_cross_processes<Argument> && ...);
}
template <class... Argument>
consteval bool all_are_bytes(std::type_identity<std::tuple<Argument...>>) {
    return (codec_is_bytes<Argument> && ...);
}
template <class... Argument>
consteval std::size_t bytes_of_all(std::type_identity<std::tuple<Argument...>>) {
    return (std::size_t{0} + ... + codec_bytes<Argument>);
}

// As the compiler writes it; one function, one name, as long as no two translation units have one of the same name each.
template <auto Function>
constexpr std::string_view pool_function_name() {
    std::string_view all = __PRETTY_FUNCTION__;
    constexpr std::string_view before = "Function = ";
    all.remove_prefix(all.find(before) + before.size());
    if (const auto end = all.rfind("; std::string_view"); end != std::string_view::npos)
        all = all.substr(0, end);  // GCC
    if (all.ends_with(']')) all.remove_suffix(1);
    if (all.starts_with('&')) all.remove_prefix(1);
    return all;
}

template <auto Function>
class pool_function {
    using what = signature<decltype(Function)>;
    static_assert(
        what::is_function,
        "leat: what runs in another process is a named function, map<resize>(…): a lambda or a function object "
        "has no name by which the other process could find it");
    using list = typename what::parameters;
    using returned = value_of<typename what::returns>;

public:
    using arguments = typename list::arguments;
    using state = typename list::state;
    using value = typename returned::type;
    static constexpr bool is_task = returned::is_task;

    static_assert(arguments_must_cross(std::type_identity<arguments>{}));
    static_assert(value_must_cross<value>());

    // An item is always of so many bytes; 0: of any number.
    static constexpr std::size_t item_bytes = [] {
        if constexpr (all_are_bytes(std::type_identity<arguments>{}))
            return bytes_of_all(std::type_identity<arguments>{});
        else return std::size_t{0};
    }();
    static constexpr bool items_are_bytes = all_are_bytes(std::type_identity<arguments>{});
    static constexpr bool values_are_bytes = [] {
        if constexpr (std::is_void_v<value>) return true;
        else return codec_is_bytes<value>;
    }();
    static constexpr std::size_t value_bytes = [] {
        if constexpr (std::is_void_v<value> || !values_are_bytes) return std::size_t{0};
        else return codec_bytes<value>;
    }();

    // Appends an item. Throws what the codecs throw.
    template <class... A>
    static void append_item(std::string& out, const A&... argument) {
        if constexpr (items_are_bytes) (encode_to(out, argument), ...);
        else (append_counted(out, argument), ...);
    }

    static std::uint32_t number() noexcept { return number_; }
    static std::string_view name() noexcept { return pool_function_name<Function>(); }

private:
    static typename what::returns invoke(void* state_of_worker, arguments& all) {
        return std::apply(
            [&](auto&... argument) -> typename what::returns {
                if constexpr (std::is_void_v<state>) return Function(std::move(argument)...);
                else return Function(*static_cast<state*>(state_of_worker), std::move(argument)...);
            },
            all);
    }
    // `value` is what the call returned; null after a failure: then its place is filled.
    static void append_value(std::string& out, const value* made)
        requires(!std::is_void_v<value>)
    {
        if constexpr (values_are_bytes) {
            if (made != nullptr) encode_to(out, *made);
            else out.append(value_bytes, '\0');
        } else {
            if (made != nullptr) return append_counted(out, *made);
            const std::uint64_t nothing = 0;
            out.append(reinterpret_cast<const char*>(&nothing), sizeof nothing);
        }
    }
    // What a failed append left behind goes.
    static void failed(pool_call& call, std::uint32_t index, std::size_t before) {
        call.values().resize(before);
        call.failed(index);
        if constexpr (!std::is_void_v<value>) append_value(call.values(), nullptr);
    }

    static void run(pool_call& call)
        requires(!is_task)
    {
        for (std::uint32_t index = 0; index < call.count(); ++index) {
            call.begins();
            const std::size_t before = call.values().size();
            try {
                auto all = read_arguments<items_are_bytes>(call.items(), std::type_identity<arguments>{});
                if constexpr (std::is_void_v<value>) {
                    invoke(call.state(), all);
                } else {
                    const value made = invoke(call.state(), all);
                    append_value(call.values(), &made);
                }
            } catch (...) {
                failed(call, index, before);
            }
            call.ends(index);
        }
    }
    static task<> run_task(pool_call& call)
        requires is_task
    {
        for (std::uint32_t index = 0; index < call.count(); ++index) {
            call.begins();
            const std::size_t before = call.values().size();
            try {
                auto all = read_arguments<items_are_bytes>(call.items(), std::type_identity<arguments>{});
                task<value> body = invoke(call.state(), all);
                if constexpr (std::is_void_v<value>) {
                    co_await std::move(body);
                } else {
                    const value made = co_await std::move(body);
                    append_value(call.values(), &made);
                }
            } catch (...) {
                failed(call, index, before);
            }
            call.ends(index);
        }
    }
    static pool_function_entry entry() {
        pool_function_entry made;
        made.name = name();
        if constexpr (!std::is_void_v<state>) made.state = typeid(state).name();
        if constexpr (is_task) made.run_task = &run_task;
        else made.run = &run;
        return made;
    }
    static const std::uint32_t number_;
};

template <auto Function>
const std::uint32_t pool_function<Function>::number_ = enter_pool_function(entry());

// For at_start(): its value stays in the worker, and need not cross.
template <auto Function>
class pool_starter {
    using what = signature<decltype(Function)>;
    static_assert(what::is_function, "leat: what starts a worker is a named function, at_start<open>(…)");
    using list = typename what::parameters;
    using value = typename what::returns;
    static_assert(std::is_void_v<typename list::state>, "leat: what starts a worker makes the state, and takes none");
    static_assert(
        !std::is_reference_v<value> && !value_of<value>::is_task,
        "leat: what starts a worker is a plain function that returns an object, which the worker then owns, or void");
    using arguments = typename list::arguments;
    static_assert(arguments_must_cross(std::type_identity<arguments>{}));

public:
    template <class... A>
    static std::string item(const A&... argument) {
        static_assert(std::is_constructible_v<arguments, const A&...>, "leat: these are not the function's arguments");
        const arguments all(argument...);
        std::string out;
        std::apply([&](const auto&... each) { (append_counted(out, each), ...); }, all);
        return out;
    }
    static std::uint32_t number() noexcept { return number_; }
    static std::string_view name() noexcept { return pool_function_name<Function>(); }

private:
    static std::shared_ptr<void> start(std::string_view item) {
        item_reader in(item);
        auto all = read_arguments<false>(in, std::type_identity<arguments>{});
        return std::apply(
            [](auto&... argument) -> std::shared_ptr<void> {
                if constexpr (std::is_void_v<value>) {
                    Function(std::move(argument)...);
                    return nullptr;
                } else {
                    // Made in its place: a model or a connection need not be movable.
                    return std::shared_ptr<void>(new value(Function(std::move(argument)...)),
                                                 [](void* made) { delete static_cast<value*>(made); });
                }
            },
            all);
    }
    static pool_function_entry entry() {
        pool_function_entry made;
        made.name = name();
        made.start = &start;
        if constexpr (!std::is_void_v<value>) made.makes = typeid(value).name();
        return made;
    }
    static const std::uint32_t number_;
};

template <auto Function>
const std::uint32_t pool_starter<Function>::number_ = enter_pool_function(entry());

}  // namespace detail
}  // namespace leat
