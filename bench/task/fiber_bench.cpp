// Question: what does it cost to change stacks, to start a fiber and to wait in one, and what does an element of a
// generator cost?
//
// Peers: Boost.Context's bare jump (two calls of jump_fcontext and nothing else: the floor) and its fiber class; Boost.Fiber,
// the scheduler on it, for fibers that yield or are started and joined, ours on an event_loop and its on its default
// scheduler, one thread each; for generators the state machine that one would write by hand, behind a virtual call.
// Not measured: many stacks at once, whose cost is that of the caches; fibers that move between threads.
#include <memory>

#include <boost/context/fiber.hpp>
#include <support/boost_fiber.hpp>
#include <support/tasks.hpp>

namespace {

std::uint64_t mix(std::uint64_t sum, std::uint64_t value) { return sum * 31 + value; }

// --- Switch: there and back, a number each way ---

std::uint64_t switch_in_leat(std::uint64_t count) {
    leat::fiber<std::uint64_t(std::uint64_t)> other([](auto& self, std::uint64_t value) -> std::uint64_t {
        for (;;) value = self.suspend(value ^ 1U);
    });
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count / 2; ++i) sum = mix(sum, other.resume(i));
    return sum;
}

std::uint64_t switch_bare(std::uint64_t count) {
    namespace context = boost::context::detail;
    constexpr std::size_t stack_bytes = std::size_t{64} * 1024;
    const auto stack = std::make_unique<char[]>(stack_bytes);
    const auto body = [](context::transfer_t from) {
        for (;;) {
            std::uint64_t answer = *static_cast<std::uint64_t*>(from.data) ^ 1U;
            from = context::jump_fcontext(from.fctx, &answer);
        }
    };
    // make_fcontext aligns the top itself.
    context::fcontext_t other = context::make_fcontext(stack.get() + stack_bytes, stack_bytes, body);
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count / 2; ++i) {
        const context::transfer_t back = context::jump_fcontext(other, &i);
        other = back.fctx;
        sum = mix(sum, *static_cast<std::uint64_t*>(back.data));
    }
    return sum;  // the other stack has nothing to destroy
}

std::uint64_t switch_in_boost(std::uint64_t count) {
    std::uint64_t value = 0;
    boost::context::fiber other([&](boost::context::fiber&& from) {
        for (;;) {
            value ^= 1U;
            from = std::move(from).resume();
        }
        return std::move(from);
    });
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count / 2; ++i) {
        value = i;
        other = std::move(other).resume();
        sum = mix(sum, value);
    }
    return sum;
}

// --- Yield: two fibers of a scheduler on one thread ---

leat::task<> two_that_yield(std::uint64_t count, std::uint64_t& total) {
    const auto yields = [](std::uint64_t turns, std::uint64_t& done) {
        for (std::uint64_t i = 0; i < turns; ++i) {
            leat::await(leat::this_task::yield());
            ++done;
        }
    };
    leat::scope work;
    for (int i = 0; i < 2; ++i) work.spawn(leat::in_fiber(yields), count / 2, std::ref(total));
    co_await work.join();
}

// --- Start a fiber that only adds, and join it ---

leat::task<> start_and_join(std::uint64_t count, std::uint64_t& sum) {
    const auto adds = [](std::uint64_t& to, std::uint64_t value) { to = mix(to, value); };
    for (std::uint64_t i = 0; i < count; ++i) co_await leat::run_in_fiber(adds, std::ref(sum), i);
}

// --- Await of a ready task ---

leat::task<std::uint64_t> ready(std::uint64_t value) { co_return value ^ 1U; }

leat::task<> await_in_task(std::uint64_t count, std::uint64_t& sum) {
    for (std::uint64_t i = 0; i < count; ++i) sum = mix(sum, co_await ready(i));
}

leat::task<> await_in_fiber(std::uint64_t count, std::uint64_t& sum) {
    const auto awaits = [](std::uint64_t times, std::uint64_t& to) {
        for (std::uint64_t i = 0; i < times; ++i) to = mix(to, leat::await(ready(i)));
    };
    co_await leat::run_in_fiber(awaits, count, std::ref(sum));
}

// --- Generators: a count, also at some depth ---

leat::generator<std::uint64_t> counting(std::uint64_t below) {
    for (std::uint64_t i = 0; i < below; ++i) co_yield i;
}

leat::generator<std::uint64_t> nested(std::uint64_t below, unsigned depth) {
    if (depth == 0) co_yield leat::elements_of(counting(below));
    else co_yield leat::elements_of(nested(below, depth - 1));
}

leat::async_generator<std::uint64_t> counting_async(std::uint64_t below) {
    for (std::uint64_t i = 0; i < below; ++i) co_yield i;
}

leat::task<> drain(std::uint64_t count, std::uint64_t& sum) {
    auto numbers = counting_async(count);
    while (auto each = co_await numbers.next()) sum = mix(sum, *each);
}

struct source {
    virtual ~source() = default;
    virtual bool next(std::uint64_t& value) = 0;
};
struct counter final : source {
    explicit counter(std::uint64_t below) noexcept : end(below) {}
    bool next(std::uint64_t& value) override {
        value = at;
        return at++ < end;
    }
    std::uint64_t at = 0;
    std::uint64_t end;
};
[[gnu::noinline]] std::unique_ptr<source> counting_by_hand(std::uint64_t below) {
    return std::make_unique<counter>(below);
}

std::uint64_t sum_by_hand(std::uint64_t count) {
    std::uint64_t sum = 0;
    const auto numbers = counting_by_hand(count);
    for (std::uint64_t value = 0; numbers->next(value);) sum = mix(sum, value);
    return sum;
}

std::uint64_t sum_of(leat::generator<std::uint64_t> numbers) {
    std::uint64_t sum = 0;
    for (const std::uint64_t each : numbers) sum = mix(sum, each);
    return sum;
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "fiber");
    const auto alone = leat::make_runtime(leat::run_options(1));
    const std::uint64_t switches = bench.size(10'000'000, 10'000);
    bench.compare("switch", "Boost.Context jump", "ns/switch", bench::per_unit(switches, switch_in_leat),
                  bench::per_unit(switches, switch_bare));
    bench.compare("switch", "Boost.Context fiber", "ns/switch", bench::per_unit(switches, switch_in_leat),
                  bench::per_unit(switches, switch_in_boost));

    const std::uint64_t yields = bench.size(2'000'000, 10'000);
    const std::uint64_t starts = bench.size(1'000'000, 1'000);
#if defined(LEAT_BENCH_BOOST_FIBER)
    bench.compare("yield of two fibers", "Boost.Fiber", "ns/yield",
                  bench::per_unit(yields, bench::on(*alone, two_that_yield)),
                  bench::per_unit(yields, [](std::uint64_t count) {
                      std::uint64_t total = 0;
                      const auto turns = [&total, count] {
                          for (std::uint64_t i = 0; i < count / 2; ++i) {
                              boost::this_fiber::yield();
                              ++total;
                          }
                      };
                      boost::fibers::fiber one(turns);
                      boost::fibers::fiber two(turns);
                      one.join();
                      two.join();
                      return total;
                  }));
    bench.compare(
        "start and join", "Boost.Fiber", "ns/fiber", bench::per_unit(starts, bench::on(*alone, start_and_join)),
        bench::per_unit(starts, [](std::uint64_t count) {
            std::uint64_t sum = 0;
            for (std::uint64_t i = 0; i < count; ++i)
                boost::fibers::fiber(boost::fibers::launch::dispatch, [&sum, i] { sum = mix(sum, i); }).join();
            return sum;
        }));
#else
    bench.skip("yield, start and join", "Boost.Fiber", bench::no_boost_fiber);
    (void)starts;
#endif
    bench.compare("await of a ready task", "the same in a task", "ns/await",
                  bench::per_unit(yields, bench::on(*alone, await_in_fiber)),
                  bench::per_unit(yields, bench::on(*alone, await_in_task)));

    const std::uint64_t elements = bench.size(std::uint64_t{1} << 24U, std::uint64_t{1} << 10U);
    bench.compare("generator", "iterator behind a virtual call", "ns/element",
                  bench::per_unit(elements, [](std::uint64_t count) { return sum_of(counting(count)); }),
                  bench::per_unit(elements, sum_by_hand));
    bench.compare("generator, 100 deep", "flat generator", "ns/element",
                  bench::per_unit(elements, [](std::uint64_t count) { return sum_of(nested(count, 100)); }),
                  bench::per_unit(elements, [](std::uint64_t count) { return sum_of(counting(count)); }));
    bench.compare("async_generator", "iterator behind a virtual call", "ns/element",
                  bench::per_unit(elements, bench::on(*alone, drain)), bench::per_unit(elements, sum_by_hand));
    return bench.exit_code();
}
