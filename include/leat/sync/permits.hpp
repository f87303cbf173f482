// permits: a number that is taken from and given back to, first come, first served. What semaphore, mutex, shared_mutex,
// recursive_mutex and auto_reset_event are made of.
//
// While nobody waits, taking and giving are one compare-exchange. One that asks for many is not overtaken by others that ask
// for few, so nobody starves; what is given while somebody waits is handed over, and no newcomer can take it.
//
// Invariants:
//  1. available + held + claimed for waiters not yet resumed = given at construction and by give().
//  2. Somebody is in waiters_ only while bit_waited is set; while it is set the word changes under lock_ alone.
//  3. When lock_ is free the first waiter asks for more than there is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <leat/sync/waiting_room.hpp>

namespace leat::detail {

class permits : public waiting_room {
public:
    static constexpr std::size_t unlimited = std::size_t{1} << 47U;

    struct request : detail::request {
        request(permits& owner, std::size_t number) noexcept
            : count(std::min(number, too_many) & too_many), from(owner) {}
        bool begin(context& who, std::coroutine_handle<> at) noexcept {
            line = &who;
            return !from.try_take(count) && from.wait(*this, at);
        }
        bool end() noexcept { return !waited || from.served(*this); }
        // What a request for more is cut to, which is a bug as that is.
        static constexpr std::size_t too_many = 2 * unlimited - 1;
        std::size_t count : 48;  // first: behind the flags, in their word
        permits& from;
    };

    // There are never more than `most`.
    permits(const kind& what, std::size_t available, std::size_t most) noexcept
        : waiting_room(what), most_(most), word_(available * one) {
        if (available > most || most > unlimited) bug_here("made with more permits than there may be");
    }

    [[nodiscard]] std::size_t available() const noexcept {
        return word_.load(env::relaxed) / one;
    }  // relaxed: a snapshot
    [[nodiscard]] std::size_t most() const noexcept { return most_; }

    // At once or not at all; overtakes nobody.
    [[nodiscard]] bool try_take(std::size_t count) noexcept {
        std::size_t word = word_.load(env::relaxed);  // relaxed: the exchange decides
        // acquire pairs with the release of give(): who takes sees what was done before it was given.
        while (can_take(word, count))
            if (word_.compare_exchange_weak(word, word - count * one, env::acquire, env::relaxed)) return true;
        return false;
    }
    // A bug where it makes more than `most`.
    void give(std::size_t count) noexcept {
        std::size_t word = word_.load(env::relaxed);  // relaxed: the exchange decides
        while ((word & bit_waited) == 0) {
            if (count > most_ - word / one) bug_here("more permits were released than there may be");
            // release pairs with the acquire of try_take(); several that give, one after the other, all do.
            if (word_.compare_exchange_weak(word, word + count * one, env::release, env::relaxed)) return;
        }
        give_slow(count, false);
    }
    // Gives one if nobody waits and none is there; else only to who waits. What was done before is seen by who takes it,
    // also when it was there already.
    void give_if_none() noexcept {
        std::size_t word = word_.load(env::relaxed);
        while ((word & bit_waited) == 0) {
            // release: as in give(); an exchange even where it changes nothing, so that it is ordered with who takes.
            if (word_.compare_exchange_weak(word, word < one ? one : word, env::release, env::relaxed)) return;
        }
        give_slow(1, true);
    }

private:
    // word_: bit 0: somebody waits; above: the permits that are there.
    static constexpr std::size_t bit_waited = 1, one = 2;
    static bool can_take(std::size_t word, std::size_t count) noexcept {
        return (word & bit_waited) == 0 && word / one >= count;
    }

    bool wait(request& self, std::coroutine_handle<> at) noexcept;
    bool served(request& self) noexcept;
    void give_slow(std::size_t count, bool only_if_none) noexcept;
    void serve(std::size_t there, resume_list& served) noexcept;

    const std::size_t most_;
    env::atomic<std::size_t> word_;
};

}  // namespace leat::detail
