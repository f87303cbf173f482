// What became of the items of a scenario: each has a number, and at the end it was received, came back to its sender or was
// dropped; once, in one of those places. Plain: one thread of the system plays all threads, and nothing here is a step.
#pragma once

#include <array>
#include <explore/explorer.hpp>
#include <utility>
#include <vector>

namespace leat::explore {

struct ledger {
    static constexpr int most = 8;
    std::array<int, most> received{}, back{}, dropped{};
    std::vector<int> order;  // as received

    [[nodiscard]] int places(int id) const {
        const auto i = static_cast<std::size_t>(id);
        return received[i] + back[i] + dropped[i];
    }
    // Each item from 1 to `last` is in one place.
    void settle(int last) const {
        for (int id = 1; id <= last; ++id) check(places(id) == 1, "each item is in exactly one place");
    }
    void settle_undropped(int last) const {
        settle(last);
        for (int id = 1; id <= last; ++id) check(dropped[static_cast<std::size_t>(id)] == 0, "none was dropped");
    }
};

// Move-only; one that is destroyed with its number still in it was dropped.
class numbered {
public:
    numbered() = default;
    numbered(int id, ledger& book) : id_(id), book_(&book) {}
    numbered(numbered&& other) noexcept : id_(std::exchange(other.id_, 0)), book_(other.book_) {}
    numbered& operator=(numbered&& other) noexcept {
        numbered old(std::move(other));
        std::swap(id_, old.id_);
        std::swap(book_, old.book_);
        return *this;
    }
    ~numbered() {
        if (id_ != 0) ++book_->dropped[static_cast<std::size_t>(id_)];
    }
    [[nodiscard]] int id() const noexcept { return id_; }

    void receive() {
        book_->order.push_back(id_);
        ++book_->received[static_cast<std::size_t>(std::exchange(id_, 0))];
    }
    void come_back() {
        check(id_ != 0, "the value came back");
        ++book_->back[static_cast<std::size_t>(std::exchange(id_, 0))];
    }

private:
    int id_ = 0;
    ledger* book_ = nullptr;
};

}  // namespace leat::explore
