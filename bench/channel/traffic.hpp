// What the benchmarks of channels send: parcels, from so many producers to so many consumers, and what must come out.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include <leat/leat.hpp>

namespace bench {

// An item of so many bytes, of which the first eight are its number.
template <std::size_t Bytes>
struct parcel {
    std::uint64_t number = 0;
    std::array<std::uint64_t, Bytes / 8 - 1> rest{};
    parcel() = default;
    explicit parcel(std::uint64_t value) noexcept : number(value) {}
};
template <>
struct parcel<8> {
    std::uint64_t number = 0;
    parcel() = default;
    explicit parcel(std::uint64_t value) noexcept : number(value) {}
};

// Items 0 to count, an equal part of which each producer sends; so the counts divide each other.
struct traffic {
    std::uint64_t count;
    std::size_t capacity = 1024;
    unsigned producers = 1;
    unsigned consumers = 1;

    [[nodiscard]] std::uint64_t sent_by_each() const noexcept { return count / producers; }
};

// What a consumer has received. The sums of all consumers are added: one item lost, doubled or, between one and one, out of
// its place makes another sum.
class tally {
public:
    explicit tally(const traffic& all) noexcept : factor_(all.producers * all.consumers == 1 ? 31 : 1) {}
    void add(std::uint64_t number) noexcept { sum_ = sum_ * factor_ + number * number; }
    [[nodiscard]] std::uint64_t sum() const noexcept { return sum_; }

private:
    std::uint64_t factor_;
    std::uint64_t sum_ = 0;
};

inline std::uint64_t total(const std::vector<std::uint64_t>& sums) noexcept {
    std::uint64_t sum = 0;
    for (const std::uint64_t each : sums) sum += each;
    return sum;
}

// --- The same in leat: channel<T> or spsc_channel<T> ---

template <class T>
struct shared_kind {
    using item = T;
    using sender = leat::sender<T>;
    using receiver = leat::receiver<T>;
    static auto make(std::size_t capacity) { return leat::channel<T>(capacity); }
    static leat::task<> consume_batches(receiver in, std::size_t most, traffic all, std::uint64_t& sum) {
        tally mine(all);
        std::vector<T> items;
        items.reserve(most);
        while (co_await in.recv_many(items, most)) {
            for (const T& each : items) mine.add(each.number);
            items.clear();
        }
        sum = mine.sum();
    }
};
template <class T>
struct spsc_kind {
    using item = T;
    using sender = leat::spsc_sender<T>;
    using receiver = leat::spsc_receiver<T>;
    static auto make(std::size_t capacity) { return leat::spsc_channel<T>(capacity); }
    static leat::task<> consume_batches(receiver in, std::size_t most, traffic all, std::uint64_t& sum) {
        tally mine(all);
        std::vector<T> items(most);
        while (const auto got = co_await in.recv_many(items))
            for (std::size_t i = 0; i < *got; ++i) mine.add(items[i].number);
        sum = mine.sum();
    }
};

template <class Kind>
leat::task<> produce(typename Kind::sender out, std::uint64_t first, std::uint64_t count) {
    using item = typename Kind::item;
    for (std::uint64_t i = first; i < first + count; ++i) {
        auto sent = co_await out.send(item(i));
        if (!sent) co_return;
    }
}
template <class Kind>
leat::task<> consume(typename Kind::receiver in, traffic all, std::uint64_t& sum) {
    tally mine(all);
    while (auto item = co_await in.recv()) mine.add(item->number);
    sum = mine.sum();
}
template <class Kind>
leat::task<> produce_batches(typename Kind::sender out, std::uint64_t first, std::uint64_t count, std::size_t batch) {
    std::vector<typename Kind::item> items(batch);
    for (std::uint64_t i = first; i < first + count; i += batch) {
        for (std::size_t k = 0; k < batch; ++k) items[k].number = i + k;
        auto sent = co_await out.send_many(items);
        if (!sent) co_return;
    }
}

// An end for one more: a copy, or the only one.
template <class End>
End one_of(End& end) {
    if constexpr (std::is_copy_constructible_v<End>) return end;
    else return std::move(end);
}

template <class Kind>
leat::task<> produce_all(typename Kind::sender out, traffic all, std::size_t batch) {
    leat::scope work;
    for (unsigned p = 0; p < all.producers; ++p) {
        const std::uint64_t first = p * all.sent_by_each();
        if (batch == 1) work.spawn(produce<Kind>, one_of(out), first, all.sent_by_each());
        else work.spawn(produce_batches<Kind>, one_of(out), first, all.sent_by_each(), batch);
    }
    out.reset();
    co_await work.join();
}
template <class Kind>
leat::task<> consume_all(typename Kind::receiver in, traffic all, std::size_t batch, std::uint64_t& sum) {
    std::vector<std::uint64_t> sums(all.consumers);
    leat::scope work;
    for (std::uint64_t& each : sums) {
        if (batch == 1) work.spawn(consume<Kind>, one_of(in), all, std::ref(each));
        else work.spawn(Kind::consume_batches, one_of(in), batch, all, std::ref(each));
    }
    in.reset();
    co_await work.join();
    sum = total(sums);
}

// All of it, in the tasks of one runtime.
template <class Kind>
leat::task<> pass(traffic all, std::size_t batch, std::uint64_t& sum) {
    auto ends = Kind::make(all.capacity);
    leat::scope work;
    work.spawn(produce_all<Kind>, std::move(ends.out), all, batch);
    work.spawn(consume_all<Kind>, std::move(ends.in), all, batch, std::ref(sum));
    co_await work.join();
}

}  // namespace bench
