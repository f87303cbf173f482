// shared_slice<T>: elements in shared memory, as a value that crosses to a process which has the same memory: what crosses is
// where they lie, and not what they are. For spans that are too large to be copied into a message.
//
//   auto memory = leat::shared_region::of(std::move(*leat::shared_memory::create(1 << 30)));   // here
//   options.pass.emplace_back(memory->fd(), 3);
//   auto pixels = memory->slice<pixel>(0, 1'000'000);
//   co_await pipe.send(frame{7, *pixels});                             // some 40 bytes; through a ring, a queue or a pool, too
//
//   auto memory = leat::shared_region::of(                             // in the child, before it receives
//       std::move(*leat::shared_memory::attach(leat::io::unique_fd(3))));
//   auto got = co_await pipe.recv();
//   for (pixel& each : got->pixels.elements()) …                       // the same bytes
//
// A slice that arrives is checked: a region of this process has that memory, the elements lie in it, at multiples of their
// alignment, and have the size of T. One that is not so is refused as a malformed message. What the elements say is
// whatever was written there, by any process, at any time: nothing checks it, and nothing orders who writes and who reads. Who
// sends a slice leaves its elements alone until it is told otherwise, say by an answer.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <type_traits>

#include <leat/process/codec.hpp>
#include <leat/process/shared_memory.hpp>

namespace leat {

template <class T>
class shared_slice;

namespace detail {

// What crosses in place of a slice.
struct slice_place {
    std::uint64_t device, number;  // of the memory, as the system knows it
    std::uint64_t offset;          // in bytes
    std::uint64_t count;
    std::uint64_t element_bytes;
};

struct known_memory;  // one mapping, as long as a region or a slice refers to it

[[nodiscard]] std::span<std::byte> bytes_of(const known_memory& memory) noexcept;
// Whether these elements are in memory of so many bytes.
[[nodiscard]] bool lies_in(std::size_t bytes, std::uint64_t offset, std::uint64_t count, std::size_t element_bytes,
                           std::size_t alignment) noexcept;
// A region of this process that has the memory; null when there is none.
[[nodiscard]] std::shared_ptr<const known_memory> find_known(const slice_place& place) noexcept;
[[nodiscard]] slice_place place_in(const known_memory& memory) noexcept;

}  // namespace detail

// Memory whose slices may be sent, and of which slices may arrive, in this process: as long as a region of it is there. Copied to
// share it. Any thread.
class shared_region {
public:
    // Throws only bad_alloc.
    [[nodiscard]] static expected<shared_region, shared_error> of(shared_memory memory);

    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return detail::bytes_of(*memory_); }
    // To pass on. Open as long as the region or a slice of it lives.
    [[nodiscard]] int fd() const noexcept;
    // `count` elements from byte `offset` on; nothing when these are not inside, or not aligned.
    template <class T>
    [[nodiscard]] std::optional<shared_slice<T>> slice(std::size_t offset, std::size_t count) const noexcept;

private:
    explicit shared_region(std::shared_ptr<const detail::known_memory> memory) noexcept : memory_(std::move(memory)) {}
    std::shared_ptr<const detail::known_memory> memory_;
};

// Copied to share it. Keeps the memory mapped, also when the region has gone.
template <class T>
class shared_slice {
    static_assert(std::is_trivially_copyable_v<T> && std::is_object_v<T> && !std::is_const_v<T>,
                  "what processes share are bytes: use a trivially copyable type");
    static_assert(!std::is_pointer_v<T> && !std::is_member_pointer_v<T>, "a pointer means nothing to another process");

public:
    // In place.
    [[nodiscard]] std::span<T> elements() const noexcept {
        return {std::launder(reinterpret_cast<T*>(detail::bytes_of(*memory_).data() + offset_)), count_};
    }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }

private:
    friend shared_region;
    friend codec<shared_slice>;
    shared_slice(std::shared_ptr<const detail::known_memory> memory, std::size_t offset, std::size_t count) noexcept
        : memory_(std::move(memory)), offset_(offset), count_(count) {}
    std::shared_ptr<const detail::known_memory> memory_;
    std::size_t offset_;
    std::size_t count_;
};

template <class T>
std::optional<shared_slice<T>> shared_region::slice(std::size_t offset, std::size_t count) const noexcept {
    if (!detail::lies_in(bytes().size(), offset, count, sizeof(T), alignof(T))) return {};
    return shared_slice<T>(memory_, offset, count);
}

template <class T>
struct codec<shared_slice<T>> {
    static detail::slice_place pack(const shared_slice<T>& slice) noexcept {
        detail::slice_place place = detail::place_in(*slice.memory_);
        place.offset = slice.offset_;
        place.count = slice.count_;
        place.element_bytes = sizeof(T);
        return place;
    }
    static std::optional<shared_slice<T>> unpack(const detail::slice_place& place) noexcept {
        if (place.element_bytes != sizeof(T)) return {};
        auto memory = detail::find_known(place);
        if (memory == nullptr ||
            !detail::lies_in(detail::bytes_of(*memory).size(), place.offset, place.count, sizeof(T), alignof(T)))
            return {};
        return shared_slice<T>(std::move(memory), place.offset, place.count);
    }
};

}  // namespace leat
