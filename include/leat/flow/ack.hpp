// ack: the account of an item travels with it. A source item has an ack node; everything that comes from the item holds a
// reference to it (or to a node below it), says what became of it, and lets go. When the last reference has gone, the
// source item is settled, and its source is told.
//
// Where nobody wants to be told and the item needs no name kept, there is no node: the reference is `plain`, stands for the
// whole item, and only a second reference to it makes a node. So an item that stays one costs a check of a bit.
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

// Who counts the items that have no node of their own. Any thread.
class ack_ledger {
public:
    virtual void settle(fate how, std::uint64_t items) noexcept = 0;
    // One was left where it was, and is called so.
    virtual void abandon(const std::string& name) noexcept = 0;
    // A node for one of them, with one reference, which the caller takes.
    virtual ack_node* open() = 0;

protected:
    ~ack_ledger() = default;
};

// A counted reference to a node, or a plain item of a ledger; null when nobody keeps account. Move-only; fork() makes another.
class ack_ref {
public:
    ack_ref() = default;
    explicit ack_ref(ack_node* node) noexcept : bits_(reinterpret_cast<std::uintptr_t>(node)) {}  // takes one reference
    [[nodiscard]] static ack_ref plain(ack_ledger& with) noexcept {
        ack_ref made;
        made.bits_ = reinterpret_cast<std::uintptr_t>(&with) | plain_bit;
        return made;
    }
    ack_ref(ack_ref&& other) noexcept : bits_(std::exchange(other.bits_, 0)) {}
    ack_ref& operator=(ack_ref&& other) noexcept {
        ack_ref old(std::move(other));
        std::swap(bits_, old.bits_);
        return *this;
    }
    ~ack_ref() {
        if (bits_ != 0) end(fate::abandoned);
    }

    [[nodiscard]] explicit operator bool() const noexcept { return bits_ != 0; }
    [[nodiscard]] bool is_plain() const noexcept { return (bits_ & plain_bit) != 0; }
    // Of a plain one: leaves its item to the caller, who tells the ledger of many at once.
    void take_over() noexcept { bits_ = 0; }
    // Of a plain one: what abandoned means, with the name of what was left.
    void abandon(const std::string& name) noexcept;
    // Another reference, for something that comes from the same item. Throws bad_alloc where a plain one gets its node.
    [[nodiscard]] ack_ref fork() const;

    void commit() noexcept { end(fate::committed); }  // a sink has it for good
    void skip() noexcept { end(fate::skipped); }      // left out on purpose
    void dead() noexcept { end(fate::dead); }         // kept as a dead letter
    void fail() noexcept { end(fate::failed); }
    void pass() noexcept;  // others carry on for it
    // Of a source item that stands for several: so many of them have failed, whatever becomes of the rest.
    void fail_some(std::uint64_t items) const;
    void end(fate how) noexcept;
    // The source item's number, from 0; of the first source item where several were merged; 0 of a plain one.
    [[nodiscard]] std::uint64_t sequence() const noexcept;
    // Appends the numbers of all source items that it leads to; each at least once.
    void sequences(std::vector<std::uint64_t>& to) const;

private:
    friend class gathered_acks;
    static constexpr std::uintptr_t plain_bit = 1;
    [[nodiscard]] ack_node* node() const noexcept;      // null: none
    [[nodiscard]] ack_ledger* ledger() const noexcept;  // of a plain one
    ack_node* opened() const;
    // States: 0, the address of a node, or that of a ledger with plain_bit. A plain one gets a node when it is forked.
    mutable std::uintptr_t bits_ = 0;
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
    // See ack_ref::sequences().
    virtual void sequences(std::vector<std::uint64_t>& to) const { to.push_back(sequence_); }

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
    // For those who end them otherwise.
    [[nodiscard]] std::vector<ack_ref>& of() noexcept { return of_; }
    void sequences(std::vector<std::uint64_t>& to) const override {
        for (const ack_ref& each : of_) each.sequences(to);
    }

private:
    std::vector<ack_ref> of_;
};

// The accounts of items gathered for what is made of them together. Plain ones of one flow are only counted, so that a fold
// over any number of them stays small.
class gathered_acks {
public:
    void add(ack_ref one);
    [[nodiscard]] bool empty() const noexcept { return of_.empty() && plain_ == 0; }
    // One account for all, which starts anew.
    [[nodiscard]] ack_ref merge();
    gathered_acks() = default;
    gathered_acks(gathered_acks&& other) noexcept;
    gathered_acks& operator=(gathered_acks&&) = delete;
    // What was not merged is abandoned.
    ~gathered_acks();

private:
    class node;
    std::vector<ack_ref> of_;
    ack_ledger* ledger_ = nullptr;
    std::uint64_t plain_ = 0;
};

}  // namespace leat
