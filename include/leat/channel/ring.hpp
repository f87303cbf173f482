// ring: a queue in one block that doubles as it fills; the buffer of channels. Not thread-safe.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace leat {

template <class T>
class ring {
    static_assert(std::is_nothrow_move_constructible_v<T>, "items of a ring move without throwing");

public:
    ring() = default;
    ring(const ring&) = delete;
    ring& operator=(const ring&) = delete;
    ~ring() {
        while (!empty()) (void)pop();
        std::allocator<T>().deallocate(items_, room_);
    }

    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    void swap(ring& other) noexcept {
        std::swap(items_, other.items_);
        std::swap(room_, other.room_);
        std::swap(first_, other.first_);
        std::swap(size_, other.size_);
    }

    // For `more` items. Throws bad_alloc when it must grow and cannot; then nothing has changed.
    void make_room(std::size_t more = 1) {
        if (!has_room(more)) grow(size_ + more);
    }
    [[nodiscard]] bool has_room(std::size_t more) const noexcept { return room_ - size_ >= more; }
    // Where there is room.
    void push(T&& item) noexcept {
        std::construct_at(items_ + ((first_ + size_) & (room_ - 1)), std::move(item));
        ++size_;
    }
    // Not empty.
    [[nodiscard]] T pop() noexcept {
        T* const place = items_ + first_;
        __builtin_prefetch(items_ + ((first_ + ahead) & (room_ - 1)));
        T item = std::move(*place);
        std::destroy_at(place);
        first_ = (first_ + 1) & (room_ - 1);
        --size_;
        return item;
    }

private:
    // What lies two cache lines further: often another core has written it.
    static constexpr std::size_t ahead = std::max<std::size_t>(1, 128 / sizeof(T));

    void grow(std::size_t least) {
        if (least > std::size_t{1} << 62U) throw std::bad_alloc();
        const std::size_t wider = std::max<std::size_t>(8, std::bit_ceil(least));
        T* const fresh = std::allocator<T>().allocate(wider);
        for (std::size_t i = 0; i < size_; ++i) {
            T* const place = items_ + ((first_ + i) & (room_ - 1));
            std::construct_at(fresh + i, std::move(*place));
            std::destroy_at(place);
        }
        std::allocator<T>().deallocate(items_, room_);
        items_ = fresh;
        room_ = wider;
        first_ = 0;
    }

    T* items_ = nullptr;
    std::size_t room_ = 0;  // a power of two, or 0
    std::size_t first_ = 0;
    std::size_t size_ = 0;
};

}  // namespace leat
