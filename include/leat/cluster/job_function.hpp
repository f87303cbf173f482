// job_function: what may be called on a cluster, and how the arguments of a call get there and its value back. Users see
// cluster_client.hpp.
//
// A function is known by its name and its types, as for a process_pool (pool_function.hpp): the workers are the same program
// on other machines, and each function that a program gives to a cluster_client somewhere is entered in a table before main.
// What a program can do is its table, and the hash of that names the queue that its jobs go through: a worker of another
// version gets none of them, and is told in what it differs when it starts.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <leat/cluster/blob_store.hpp>
#include <leat/process/pool_function.hpp>
#include <leat/task/task.hpp>

namespace leat::cluster {

// A value on its way: its message, or where that is.
using job_value = std::variant<std::string, blob_ref>;

// What a program can do for a cluster. Crosses by codec.
struct job_program {
    std::string version;                           // what the program calls itself
    std::map<std::string, std::string> functions;  // by name: their types, and a hash of how these are written
    std::uint64_t hash = 0;                        // of all that
    std::int64_t ack_wait_ns = 0;                  // how long a worker may hold jobs without a sign of life
};

// This one.
[[nodiscard]] job_program program_here(std::string version);
// In what `other` differs from `here`, in sentences; empty: in nothing.
[[nodiscard]] std::string difference(const job_program& here, const job_program& other);

namespace detail {

struct job_function_entry {
    std::string_view name;
    std::string_view type;
    std::uint64_t codecs = 0;  // how arguments and value are written
    // The message of the value, of those of the arguments. Throws what the function threw.
    task<std::string> (*run)(std::vector<std::string> arguments) = nullptr;
};

// Enters a function in the table, and gives the number that it has in all programs of its version. Before main.
std::uint64_t enter_job_function(const job_function_entry& entry);
// Null when there is none. Throws std::logic_error when the program has two functions of one name and one type.
[[nodiscard]] const job_function_entry* find_job_function(std::uint64_t number);

// A value that stays on the cluster until nobody here refers to it.
struct kept_value {
    virtual ~kept_value() = default;
    job_value value;

protected:
    kept_value() = default;
};

// The arguments of a call, and what must stay where it is as long as it is under way.
struct job_arguments {
    std::vector<job_value> values;
    std::vector<std::shared_ptr<const kept_value>> kept;
};

template <auto Function>
class job_function {
    using call = leat::detail::pool_function<Function>;
    static_assert(std::is_void_v<typename call::state>,
                  "leat: a function that runs on a cluster has no worker's state: its first parameter cannot be a T&");

public:
    using arguments = typename call::arguments;
    using value = typename call::value;
    static constexpr std::size_t arity = std::tuple_size_v<arguments>;

    static std::uint64_t number() noexcept { return number_; }
    static std::string_view name() noexcept { return call::name(); }

private:
    template <class Type>
    static constexpr std::string_view type_name() {
        return __PRETTY_FUNCTION__;
    }
    template <class... A>
    static std::uint64_t codecs_of(std::type_identity<std::tuple<A...>>) {
        std::uint64_t all = 0;
        const auto add = [&all](std::uint64_t one) { all = (all ^ one) * 0x9e3779b97f4a7c15U; };
        (add(codec_type_hash<A>()), ...);
        if constexpr (!std::is_void_v<value>) add(codec_type_hash<value>());
        return all;
    }
    template <class... A, std::size_t... I>
    static std::tuple<A...> read(const std::vector<std::string>& from, std::type_identity<std::tuple<A...>>,
                                 std::index_sequence<I...>) {
        if (from.size() != sizeof...(A)) throw pool_message_error("a call has another number of arguments");
        return std::tuple<A...>{leat::detail::decoded<A>(from[I])...};  // braces: in order
    }
    static task<std::string> run(std::vector<std::string> from) {
        auto all = read(from, std::type_identity<arguments>{}, std::make_index_sequence<arity>());
        from.clear();
        const auto invoke = [](auto&... argument) { return Function(std::move(argument)...); };
        std::string out;
        if constexpr (call::is_task) {
            auto body = std::apply(invoke, all);
            if constexpr (std::is_void_v<value>) {
                co_await std::move(body);
            } else {
                const value made = co_await std::move(body);
                encode_to(out, made);
            }
        } else if constexpr (std::is_void_v<value>) {
            std::apply(invoke, all);
        } else {
            const value made = std::apply(invoke, all);
            encode_to(out, made);
        }
        co_return out;
    }
    static job_function_entry entry() {
        job_function_entry made;
        made.name = name();
        made.type = type_name<decltype(Function)>();
        made.codecs = codecs_of(std::type_identity<arguments>{});
        made.run = &run;
        return made;
    }
    static const std::uint64_t number_;
};

template <auto Function>
const std::uint64_t job_function<Function>::number_ = enter_job_function(entry());

}  // namespace detail
}  // namespace leat::cluster
