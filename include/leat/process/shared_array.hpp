// shared_array<T>: an array of a fixed size that several processes see at once, as memory of their own.
//
//   auto counts = leat::shared_array<std::uint64_t>::create(1000);    // here
//   options.pass = counts->passed(3);                                 // descriptor 3 of the child
//   auto counts = leat::shared_array<std::uint64_t>::attach(3);       // in the child
//
//   (*counts)[7] = 1;                                                 // seen by all
//   std::ranges::fill(counts->elements(), 0);
//
// Nothing orders what two processes do to one element: pass a process_mutex with it, or use std::atomic_ref:
//
//   const auto held = co_await lock.lock();
//   if (held.owner_died()) …                                          // the last owner may have left half a change
//   (*counts)[7] += 1;
//
// Only the size is certain: what an element says is what some process has written there, a dead or a broken one too.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <vector>

#include <leat/process/shared_memory.hpp>
#include <leat/process/spawn.hpp>

namespace leat {

namespace detail {

// The memory of an array, behind a line that says what it is.
inline constexpr std::size_t shared_array_header = 64;
[[nodiscard]] expected<shared_memory, shared_error> create_shared_array(std::size_t count, std::size_t element_bytes);
// Takes the descriptor over. `count` is set to how many there are.
[[nodiscard]] expected<shared_memory, shared_error> attach_shared_array(int fd, std::size_t element_bytes,
                                                                        std::size_t& count);

}  // namespace detail

// Owns a mapping and its descriptor. Different objects may be used by different threads; of one, the elements.
template <class T>
class shared_array {
    static_assert(std::is_trivially_copyable_v<T> && std::is_object_v<T>,
                  "what processes share are bytes: use a trivially copyable type");
    static_assert(!std::is_pointer_v<T> && !std::is_member_pointer_v<T>, "a pointer means nothing to another process");
    static_assert(alignof(T) <= detail::shared_array_header,
                  "elements of a shared array are aligned to 64 bytes at most");

public:
    using value_type = T;

    // Makes one of `count` elements, of which each byte is zero, and takes all of its memory now. Fails with bad_size when
    // `count` is zero. Throws only bad_alloc.
    [[nodiscard]] static expected<shared_array, shared_error> create(std::size_t count) {
        auto memory = detail::create_shared_array(count, sizeof(T));
        if (!memory) return unexpected(std::move(memory.error()));
        return shared_array(std::move(*memory), count);
    }
    // Takes the descriptor `fd`, which spawn_options::pass put there, also when it fails. The size of the elements is checked, not
    // their type. Throws only bad_alloc.
    [[nodiscard]] static expected<shared_array, shared_error> attach(int fd) {
        std::size_t count = 0;
        auto memory = detail::attach_shared_array(fd, sizeof(T), count);
        if (!memory) return unexpected(std::move(memory.error()));
        return shared_array(std::move(*memory), count);
    }
    // For spawn_options::pass: the descriptor, to be `there` in the child.
    [[nodiscard]] std::vector<passed_descriptor> passed(int there) const { return {{memory_.fd(), there}}; }

    // The elements, in place, as long as this lives (also while it is moved).
    [[nodiscard]] std::span<T> elements() const noexcept {
        return {std::launder(reinterpret_cast<T*>(memory_.bytes().data() + detail::shared_array_header)), count_};
    }
    [[nodiscard]] T& operator[](std::size_t index) const noexcept { return elements()[index]; }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] T* data() const noexcept { return elements().data(); }
    [[nodiscard]] T* begin() const noexcept { return data(); }
    [[nodiscard]] T* end() const noexcept { return data() + count_; }

private:
    shared_array(shared_memory memory, std::size_t count) noexcept : memory_(std::move(memory)), count_(count) {}
    shared_memory memory_;
    std::size_t count_;  // as it was when it was checked
};

}  // namespace leat
