#include <leat/process/pool_function.hpp>

#include <deque>
#include <fmt/format.h>

#include <leat/runtime/main.hpp>

#include "pool_functions.hpp"

namespace leat {

namespace {

// A function, since entries come before main, in any order. A deque: what is in it stays where it is.
std::deque<detail::pool_function_entry>& table() {
    static std::deque<detail::pool_function_entry> all;
    return all;
}

}  // namespace

const detail::pool_function_entry& pool_function_at(std::uint32_t number) noexcept { return table()[number]; }

const detail::pool_function_entry* find_pool_function(std::string_view name) {
    const detail::pool_function_entry* found = nullptr;
    for (const auto& entry : table()) {
        if (entry.name != name) continue;
        if (found != nullptr)
            throw std::logic_error(fmt::format(
                "this program has two functions {} for a process_pool: give one of them another name", name));
        found = &entry;
    }
    return found;
}

namespace detail {

std::uint32_t enter_pool_function(const pool_function_entry& entry) {
    worker_body = &serve_as_pool_worker;
    table().push_back(entry);
    return static_cast<std::uint32_t>(table().size() - 1);
}

void item_reader::throw_cut_off() { throw pool_message_error("a message between processes is cut off"); }

void pool_call::failed(std::uint32_t index) { notes_.push_back({index, true, exception_record::current(), {}}); }

void pool_call::note_err(std::uint32_t index) {
    std::string err = around_.take_err();
    if (notes_.empty() || notes_.back().index != index) notes_.push_back({index, false, {}, {}});
    notes_.back().err = std::move(err);
}

}  // namespace detail
}  // namespace leat
