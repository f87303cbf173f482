// process_permits: the part of a process_semaphore that lies in shared memory: which process holds which permit, who is in front
// of those who wait, and how many wait. It knows no descriptors, so that the interleaving explorer can drive it in one process.
//
// Invariants:
//  1. Each permit is a word that says whose it is, 0 when nobody's. It is taken, given back, and taken over from the dead by one
//     step: there is no moment at which a process could die and take a permit with it.
//  2. Who holds some of the permits that it wants, and waits for more, is in front: one process at a time. So two that want many
//     never wait for each other. A place in front is taken over from the dead as a permit is.
//     One that gives up gives back what it had, and leaves word of the dead where it had taken over from them.
//  3. Nobody takes a permit while another process that lives is in front: who asks for many is not overtaken for ever.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include <leat/process/process_waiters.hpp>

namespace leat::detail {

class process_permits : public process_waiters {
public:
    using words = std::span<env::atomic<std::uint64_t>>;

    // What a process wants, and what it has of that. `alive(owner)`: whether that process lives.
    class request {
    public:
        request(process_permits& of, words all, std::uint64_t me, std::size_t count) noexcept
            : of_(of), words_(all), me_(me), wanted_(count) {}

        // All of them now, or none.
        template <class Alive, class Bell>
        [[nodiscard]] bool at_once(const Alive& alive, Bell&& ring_bell) noexcept {
            const std::uint64_t ahead = of_.front_.load();
            if (ahead != 0 && (ahead == me_ || alive(ahead))) return false;
            if (claim(true, alive)) return true;
            end(ring_bell);
            return false;
        }
        // By who waits, in turns: goes in front, and takes what there is until it is enough.
        template <class Alive>
        [[nodiscard]] bool in_turn(bool look_for_the_dead, const Alive& alive) noexcept {
            if (!in_front_) {
                std::uint64_t ahead = 0;
                if (!of_.front_.compare_exchange_strong(ahead, me_)) {
                    if (!look_for_the_dead || ahead == me_ || alive(ahead)) return false;
                    if (!of_.front_.compare_exchange_strong(ahead, me_)) return false;
                }
                in_front_ = true;
            }
            return claim(look_for_the_dead, alive);
        }
        // Afterwards, however that went: keeps what is enough, and gives back what is not. `ring_bell()` as of process_waiters.
        template <class Bell>
        void end(Bell&& ring_bell) noexcept {
            const bool gives = have_ != 0 && have_ < wanted_;
            if (gives) {
                of_.take_back(words_, me_, std::exchange(have_, 0), std::exchange(from_the_dead_, 0));
            }
            if (in_front_) of_.front_.store(0);
            if (gives || in_front_) of_.call(ring_bell);
            in_front_ = false;
        }
        // Whether a process had one of them when it died.
        [[nodiscard]] bool from_the_dead() const noexcept { return from_the_dead_ != 0; }

    private:
        template <class Alive>
        bool claim(bool look_for_the_dead, const Alive& alive) noexcept {
            for (std::size_t i = 0; i < words_.size() && have_ < wanted_; ++i) {
                std::uint64_t owner = words_[i].load();
                if (owner > of_the_dead || !words_[i].compare_exchange_strong(owner, me_)) continue;
                ++have_;
                from_the_dead_ += owner == of_the_dead ? 1 : 0;
            }
            if (!look_for_the_dead) return have_ == wanted_;
            std::uint64_t lives = me_;  // who was found alive last
            for (std::size_t i = 0; i < words_.size() && have_ < wanted_; ++i) {
                std::uint64_t owner = words_[i].load();
                if (owner <= of_the_dead || owner == me_ || owner == lives) continue;
                if (alive(owner)) {
                    lives = owner;
                } else if (words_[i].compare_exchange_strong(owner, me_)) {
                    ++have_;
                    ++from_the_dead_;
                }
            }
            return have_ == wanted_;
        }

        process_permits& of_;
        words words_;
        std::uint64_t me_;
        std::size_t wanted_;
        std::size_t have_ = 0;
        std::size_t from_the_dead_ = 0;  // of these
        bool in_front_ = false;
    };

    // Gives back `count` permits of `me`: any of them, since one is as good as the other. One thread of a process at a time, as
    // end(): so none looks for what another has just given back in its place.
    template <class Bell>
    void give(words all, std::uint64_t me, std::size_t count, Bell&& ring_bell) noexcept {
        take_back(all, me, count, 0);
        call(ring_bell);
    }
    // Whether nobody has the permit of this word.
    [[nodiscard]] static bool is_free(std::uint64_t word) noexcept { return word <= of_the_dead; }

private:
    // Nobody's, but who takes it is told of a death.
    static constexpr std::uint64_t of_the_dead = 1;

    // The first `dead` of them with word of a death.
    void take_back(words all, std::uint64_t me, std::size_t count, std::size_t dead) noexcept {
        for (std::size_t i = 0; i < all.size() && count > 0; ++i) {
            std::uint64_t mine = me;
            if (all[i].load() != me || !all[i].compare_exchange_strong(mine, dead > 0 ? of_the_dead : 0)) continue;
            --count;
            if (dead > 0) --dead;
        }
    }

    env::atomic<std::uint64_t> front_{0};  // the process in front of those who wait; 0: nobody
};

}  // namespace leat::detail
