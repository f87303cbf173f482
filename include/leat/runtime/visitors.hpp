// visitors: threads from outside that are inside a call into a runtime. What they post may end the last task, and with it
// the runtime, before they have left: the runtime's destructor waits for them.
#pragma once

#include <leat/base/env.hpp>

namespace leat {

class visitors {
public:
    // For as long as the caller touches the runtime. Any thread.
    class [[nodiscard]] visit {
    public:
        // relaxed: what is posted afterwards brings it to whoever ends the runtime on account of it.
        explicit visit(visitors& all) noexcept : state_(all.state_) { state_.fetch_add(1, env::relaxed); }
        visit(const visit&) = delete;
        visit& operator=(const visit&) = delete;
        ~visit() {
            // acq_rel: pairs with wait(), which frees what was touched. After this the word is only an address.
            if (state_.fetch_sub(1, env::acq_rel) == (awaited | 1)) env::futex_wake(state_, 1);
        }

    private:
        env::atomic<std::uint32_t>& state_;
    };

    // Returns when all have left. Once, when no more can come but on account of those inside.
    void wait() noexcept {
        std::uint32_t now = state_.fetch_or(awaited, env::acq_rel) | awaited;
        while (now != awaited) {
            env::futex_wait(state_, now);
            now = state_.load(env::acquire);  // pairs with ~visit()
        }
    }

private:
    static constexpr std::uint32_t awaited = 1U << 31U;
    env::atomic<std::uint32_t> state_{0};  // how many are inside; the top bit: somebody waits for them
};

}  // namespace leat
