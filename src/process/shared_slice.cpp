#include <leat/process/shared_slice.hpp>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <sys/stat.h>
#include <utility>
#include <vector>

#include "sealed_memory.hpp"

namespace leat {

namespace detail {

struct known_memory {
    known_memory(shared_memory mapped, std::uint64_t on, std::uint64_t as) noexcept
        : memory(std::move(mapped)), device(on), number(as) {}
    known_memory(const known_memory&) = delete;
    known_memory& operator=(const known_memory&) = delete;
    ~known_memory();

    shared_memory memory;
    // Of its file, which has no name: no other that exists has the same.
    const std::uint64_t device, number;
};

namespace {

struct registry {
    std::mutex lock;
    std::vector<std::pair<const known_memory*, std::weak_ptr<const known_memory>>> all;
};
// Never destroyed: regions may end after all else.
registry& known() {
    static auto* const only = new registry();
    return *only;
}

}  // namespace

known_memory::~known_memory() {
    registry& of = known();
    const std::lock_guard lock(of.lock);
    std::erase_if(of.all, [this](const auto& each) { return each.first == this; });
}

std::span<std::byte> bytes_of(const known_memory& memory) noexcept { return memory.memory.bytes(); }

bool lies_in(std::size_t bytes, std::uint64_t offset, std::uint64_t count, std::size_t element_bytes,
             std::size_t alignment) noexcept {
    // Memory begins at a page, so that the offset alone decides how an element is aligned.
    return offset <= bytes && offset % alignment == 0 && count <= (bytes - offset) / element_bytes;
}

std::shared_ptr<const known_memory> find_known(const slice_place& place) noexcept {
    registry& of = known();
    const std::lock_guard lock(of.lock);
    for (const auto& [which, weak] : of.all) {
        // Looked at before it is held: the last hold of another must not end here, under the lock.
        if (which->device != place.device || which->number != place.number) continue;
        if (auto memory = weak.lock()) return memory;  // null: it is just going
    }
    return nullptr;
}

slice_place place_in(const known_memory& memory) noexcept { return {memory.device, memory.number, 0, 0, 0}; }

}  // namespace detail

expected<shared_region, shared_error> shared_region::of(shared_memory memory) {
    struct stat about{};
    if (::fstat(memory.fd(), &about) != 0)
        return unexpected(sealed_memory::system_error("asking for the number of shared memory", errno));
    auto made = std::make_shared<const detail::known_memory>(std::move(memory), about.st_dev, about.st_ino);
    detail::registry& all = detail::known();
    const std::lock_guard lock(all.lock);
    all.all.emplace_back(made.get(), made);
    return shared_region(std::move(made));
}

int shared_region::fd() const noexcept { return memory_->memory.fd(); }

}  // namespace leat
