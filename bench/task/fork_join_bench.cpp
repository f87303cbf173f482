// Question: what does divide and conquer cost in forks and joins, beside the work that it divides?
//
// The four programs of the public runtime-benchmarks suite: fib, where a node does nothing but fork; skynet, ten children a
// node and 10^8 leaves; nqueens, irregular; matmul, where the leaves weigh more than the forks. Peer: oneTBB's task_group,
// with as many threads.
// Not measured: what forks cost other tasks of the same pool.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include <fmt/format.h>
#include <leat/base/machine.hpp>
#include <leat/leat.hpp>
#include <leat/runtime/thread_pool.hpp>
#include <leat/task/fork.hpp>
#include <support/bench.hpp>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

namespace {

using leat::call;
using leat::fork;
using leat::fork_task;
using leat::join;

// --- fib ---

fork_task<std::uint64_t> fib(int n) {
    if (n < 2) co_return static_cast<std::uint64_t>(n);
    std::uint64_t left = 0;
    co_await fork(&left, fib, n - 1);
    const std::uint64_t right = co_await call(fib, n - 2);
    co_await join();
    co_return left + right;
}

std::uint64_t fib_in_tbb(int n) {
    if (n < 2) return static_cast<std::uint64_t>(n);
    std::uint64_t left = 0;
    tbb::task_group work;
    work.run([&left, n] { left = fib_in_tbb(n - 1); });
    const std::uint64_t right = fib_in_tbb(n - 2);
    work.wait();
    return left + right;
}

// --- skynet: a tree of ten children a node, whose leaves are numbered and summed ---

fork_task<std::uint64_t> skynet(std::uint64_t first, std::uint64_t leaves) {
    if (leaves == 1) co_return first;
    std::array<std::uint64_t, 10> sums;
    const std::uint64_t share = leaves / 10;
    for (std::uint64_t i = 0; i < 9; ++i) co_await fork(&sums[i], skynet, first + i * share, share);
    sums[9] = co_await call(skynet, first + 9 * share, share);
    co_await join();
    std::uint64_t sum = 0;
    for (const std::uint64_t each : sums) sum += each;
    co_return sum;
}

std::uint64_t skynet_in_tbb(std::uint64_t first, std::uint64_t leaves) {
    if (leaves == 1) return first;
    std::array<std::uint64_t, 10> sums;
    const std::uint64_t share = leaves / 10;
    tbb::task_group work;
    for (std::uint64_t i = 0; i < 9; ++i)
        work.run([&sums, i, first, share] { sums[i] = skynet_in_tbb(first + i * share, share); });
    sums[9] = skynet_in_tbb(first + 9 * share, share);
    work.wait();
    std::uint64_t sum = 0;
    for (const std::uint64_t each : sums) sum += each;
    return sum;
}

// --- nqueens: the ways to place n queens; a child for each square of the next row that is not attacked ---

constexpr int most_queens = 16;
using board = std::array<signed char, most_queens>;

bool is_safe(const board& queens, int row, signed char column) noexcept {
    for (int i = 0; i < row; ++i) {
        const int other = queens[static_cast<unsigned>(i)];
        if (other == column || other == column - (row - i) || other == column + (row - i)) return false;
    }
    return true;
}

fork_task<std::uint64_t> nqueens(int n, int row, board queens) {
    if (row == n) co_return 1;
    std::array<std::uint64_t, most_queens> ways;
    unsigned children = 0;
    for (signed char column = 0; column < n; ++column) {
        if (!is_safe(queens, row, column)) continue;
        queens[static_cast<unsigned>(row)] = column;
        co_await fork(&ways[children++], nqueens, n, row + 1, queens);
    }
    co_await join();
    std::uint64_t sum = 0;
    for (unsigned i = 0; i < children; ++i) sum += ways[i];
    co_return sum;
}

std::uint64_t nqueens_in_tbb(int n, int row, board queens) {
    if (row == n) return 1;
    std::array<std::uint64_t, most_queens> ways;
    unsigned children = 0;
    tbb::task_group work;
    for (signed char column = 0; column < n; ++column) {
        if (!is_safe(queens, row, column)) continue;
        queens[static_cast<unsigned>(row)] = column;
        std::uint64_t* const way = &ways[children++];
        work.run([=] { *way = nqueens_in_tbb(n, row + 1, queens); });
    }
    work.wait();
    std::uint64_t sum = 0;
    for (unsigned i = 0; i < children; ++i) sum += ways[i];
    return sum;
}

// --- matmul: c += a * b by quarters, in place ---

constexpr int tile = 32;

struct matrices {
    const float* a;
    const float* b;
    float* c;
    int size;  // also the distance between two rows
};

void multiply_tile(const float* a, const float* b, float* c, int n, int stride) noexcept {
    for (int i = 0; i < n; ++i)
        for (int k = 0; k < n; ++k) {
            const float factor = a[i * stride + k];
            for (int j = 0; j < n; ++j) c[i * stride + j] += factor * b[k * stride + j];
        }
}

fork_task<> multiply(const float* a, const float* b, float* c, int n, int stride) {
    if (n <= tile) {
        multiply_tile(a, b, c, n, stride);
        co_return;
    }
    const int half = n / 2;
    const int down = half * stride;
    co_await fork(multiply, a, b, c, half, stride);
    co_await fork(multiply, a, b + half, c + half, half, stride);
    co_await fork(multiply, a + down, b, c + down, half, stride);
    co_await call(multiply, a + down, b + half, c + down + half, half, stride);
    co_await join();
    co_await fork(multiply, a + half, b + down, c, half, stride);
    co_await fork(multiply, a + half, b + down + half, c + half, half, stride);
    co_await fork(multiply, a + down + half, b + down, c + down, half, stride);
    co_await call(multiply, a + down + half, b + down + half, c + down + half, half, stride);
    co_await join();
}

void multiply_in_tbb(const float* a, const float* b, float* c, int n, int stride) {
    if (n <= tile) return multiply_tile(a, b, c, n, stride);
    const int half = n / 2;
    const int down = half * stride;
    tbb::task_group work;
    work.run([=] { multiply_in_tbb(a, b, c, half, stride); });
    work.run([=] { multiply_in_tbb(a, b + half, c + half, half, stride); });
    work.run([=] { multiply_in_tbb(a + down, b, c + down, half, stride); });
    multiply_in_tbb(a + down, b + half, c + down + half, half, stride);
    work.wait();
    work.run([=] { multiply_in_tbb(a + half, b + down, c, half, stride); });
    work.run([=] { multiply_in_tbb(a + half, b + down + half, c + half, half, stride); });
    work.run([=] { multiply_in_tbb(a + down + half, b + down, c + down, half, stride); });
    multiply_in_tbb(a + down + half, b + down + half, c + down + half, half, stride);
    work.wait();
}

// Small whole numbers, so that the sums are exact in any order.
class matmul {
public:
    explicit matmul(int size) : size_(size), a_(cells()), b_(cells()), c_(cells()) {
        for (std::size_t i = 0; i < cells(); ++i) {
            a_[i] = static_cast<float>(i % 7);
            b_[i] = static_cast<float>(i % 5);
        }
    }
    template <class Run>
    std::uint64_t product(Run run) {
        std::fill(c_.begin(), c_.end(), 0.0F);
        run(matrices{a_.data(), b_.data(), c_.data(), size_});
        std::uint64_t sum = 0;
        for (const float each : c_) sum = sum * 31 + static_cast<std::uint64_t>(each);
        return sum;
    }

private:
    [[nodiscard]] std::size_t cells() const noexcept {
        return static_cast<std::size_t>(size_) * static_cast<std::size_t>(size_);
    }
    int size_;
    std::vector<float> a_, b_, c_;
};

// --- Running one ---

// Calls the fork_task fn(arguments...) from a task of `pool`.
template <class Function, class... Argument>
auto run_in(leat::thread_pool& pool, Function fn, Argument... arguments) {
    using value = decltype(fn(arguments...))::value_type;
    const auto root = [](Function body, Argument... each) -> leat::task<value> { co_return co_await body(each...); };
    return pool.run(root(fn, arguments...));
}

template <class Work>
bench::side measured(Work work) {
    return [work] {
        std::uint64_t sum = 0;
        const double time = bench::nanoseconds_of([&] { sum = work(); });
        return bench::sample{time / 1e6, sum};
    };
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "fork_join");
    const int fib_of = static_cast<int>(bench.size(39, 15));
    const std::uint64_t leaves = bench.size(100'000'000, 1000);
    const int queens = static_cast<int>(bench.size(14, 6));
    const int matrix = static_cast<int>(bench.size(2048, 64));
    matmul matrix_product(matrix);

    const unsigned most = std::max(2U, leat::effective_machine().worker_count);
    for (unsigned threads = 1; threads <= most; threads *= 2) {
        leat::thread_pool pool(threads);
        tbb::task_arena arena(static_cast<int>(threads));
        const auto compare = [&](const char* name, auto ours, auto theirs) {
            bench.compare(fmt::format("{}, {} thread{}", name, threads, threads == 1 ? "" : "s").c_str(),
                          "oneTBB task_group", "ms", measured(ours), measured([&, theirs] {
                              std::uint64_t sum = 0;
                              arena.execute([&] { sum = theirs(); });
                              return sum;
                          }));
        };
        compare("fib", [&] { return run_in(pool, fib, fib_of); }, [&] { return fib_in_tbb(fib_of); });
        // A goroutine a fork takes a hundred times as long: a smaller tree.
        const int less = static_cast<int>(bench.size(27, 10));
        bench.compare_go(fmt::format("fib({}), {} thread{}", less, threads, threads == 1 ? "" : "s").c_str(), "fib",
                         "ms", measured([&] { return run_in(pool, fib, less); }), static_cast<std::uint64_t>(less),
                         threads, 1e6);
        compare(
            "skynet", [&] { return run_in(pool, skynet, std::uint64_t{0}, leaves); },
            [&] { return skynet_in_tbb(0, leaves); });
        compare(
            "nqueens", [&] { return run_in(pool, nqueens, queens, 0, board{}); },
            [&] { return nqueens_in_tbb(queens, 0, board{}); });
        compare(
            "matmul",
            [&] {
                return matrix_product.product(
                    [&](const matrices& m) { run_in(pool, multiply, m.a, m.b, m.c, m.size, m.size); });
            },
            [&] {
                return matrix_product.product(
                    [](const matrices& m) { multiply_in_tbb(m.a, m.b, m.c, m.size, m.size); });
            });
    }
    return bench.exit_code();
}
