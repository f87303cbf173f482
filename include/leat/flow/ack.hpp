// ack: the account of an item travels with it. A source item has an ack node; everything that comes from the item holds a
// reference to it (or to a node below it), says what became of it, and lets go. When the last reference has gone, the
// source item is settled, and its source is told.
//
// Invariants:
//  1. A reference ends in exactly one of: commit(), skip(), dead(), fail(), pass() (its work went on in others), or by
//     destruction, which counts as abandoned: what an interruption leaves.
//  2. The fate of a node is the worst of what its references said: failed, dead, abandoned, committed, skipped; nothing at
//     all counts as skipped.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace leat {

enum class fate : std::uint8_t { skipped, committed, abandoned, dead, failed };  // from the best to the worst to know

class ack_node;

// A counted reference to a node; null when nobody keeps account. Move-only; fork() makes another.
class ack_ref {
public:
    ack_ref() = default;
    explicit ack_ref(ack_node* node) noexcept : node_(node) {}  // takes over one reference
    ack_ref(ack_ref&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
    ack_ref& operator=(ack_ref&& other) noexcept {
        ack_ref old(std::move(other));
        std::swap(node_, old.node_);
        return *this;
    }
    ~ack_ref() {
        if (node_ != nullptr) end(fate::abandoned);
    }

    [[nodiscard]] explicit operator bool() const noexcept { return node_ != nullptr; }
    // Another reference, for something that comes from the same item.
    [[nodiscard]] ack_ref fork() const noexcept;

    void commit() noexcept { end(fate::committed); }  // a sink has it for good
    void skip() noexcept { end(fate::skipped); }      // left out on purpose
    void dead() noexcept { end(fate::dead); }         // kept as a dead letter
    void fail() noexcept { end(fate::failed); }
    void pass() noexcept;  // others carry on for it
    // Of a source item that stands for several: so many of them have failed, whatever becomes of the rest.
    void fail_some(std::uint64_t items) const noexcept;
    void end(fate how) noexcept;
    // The source item's number, from 0; of the first source item where several were merged.
    [[nodiscard]] std::uint64_t sequence() const noexcept;

private:
    ack_node* node_ = nullptr;
};

class ack_node {
public:
    // Starts with one reference, which the maker takes: `ack_ref(new my_node(…))`.
    explicit ack_node(std::uint64_t sequence) noexcept : sequence_(sequence) {}
    ack_node(const ack_node&) = delete;
    ack_node& operator=(const ack_node&) = delete;

protected:
    virtual ~ack_node() = default;
    // All references have ended. Called once, by the thread that ended the last; the node is deleted afterwards.
    virtual void settled(fate how) noexcept = 0;
    // See ack_ref::fail_some(). Any thread, before settled().
    virtual void failed_in_part(std::uint64_t) noexcept {}

private:
    friend class ack_ref;
    void let_go() noexcept;

    std::uint64_t sequence_;
    std::atomic<std::uint32_t> references_{1};
    std::atomic<std::uint8_t> worst_{0};  // enum fate: the worst said so far
};

// A node below others: what came of several items merged (a batch, a fold) or of one that somebody watches (a dedup). Its
// fate is passed on to all of them.
class merged_ack : public ack_node {
public:
    explicit merged_ack(std::vector<ack_ref> of) noexcept
        : ack_node(of.empty() ? 0 : of.front().sequence()), of_(std::move(of)) {}

protected:
    void settled(fate how) noexcept override {
        for (ack_ref& each : of_) each.end(how);
    }

private:
    std::vector<ack_ref> of_;
};

}  // namespace leat
