// batch and unbatch, as stages of flows of functions: for whatever comes, every item is in one batch, in order, within the
// bounds, and ends as its batch did. On the simulated runtime, where what RapidCheck draws decides all that happens.
#include <leat/flow/batch.hpp>

#include <gmock/gmock.h>
#include <rapidcheck.h>
#include <set>

#include <leat/runtime/run.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>

namespace {

using leat::fate;
using leat::task;
using namespace std::chrono_literals;
using testing::ElementsAre;
using batches = std::vector<std::vector<int>>;

// Numbers from 0; before each a pause.
class paused_source final : public leat::source, public leat::source_output::listener {
public:
    explicit paused_source(std::vector<int> pauses) : pauses_(std::move(pauses)), fates_(pauses_.size()) {}
    task<> run(leat::source_output& out) override {
        for (std::size_t i = 0; i < pauses_.size(); ++i) {
            if (pauses_[i] != 0) co_await leat::sleep_for(1ms * pauses_[i]);
            leat::payload value(static_cast<int>(i));
            co_await out.emit(std::move(value), *this);
        }
    }
    void settled(std::uint64_t sequence, fate how) noexcept override {
        fates_.at(sequence) = how;
        ++told_;
    }
    [[nodiscard]] std::size_t told() const { return told_; }
    [[nodiscard]] fate of(int number) const { return fates_.at(static_cast<std::size_t>(number)); }

private:
    std::vector<int> pauses_;
    std::vector<fate> fates_;
    std::size_t told_ = 0;
};

leat::pipeline<int> from(std::shared_ptr<paused_source> numbers) {
    return leat::from_source<int>("numbers", std::move(numbers));
}

batches batches_of(int count, leat::batch_stage how) {
    batches all;
    auto flow = leat::from(std::views::iota(0, count)) | std::move(how) |
                leat::for_each("keep", [&](std::vector<int> some) { all.push_back(std::move(some)); });
    const leat::report done = leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow)); });
    EXPECT_EQ(done.end, leat::flow_end::complete) << done.error;
    EXPECT_EQ(done.in, static_cast<std::uint64_t>(count));
    EXPECT_EQ(done.out, static_cast<std::uint64_t>(count));
    return all;
}

TEST(batch, goes_on_when_it_is_full_and_what_is_left_at_the_end) {
    EXPECT_THAT(batches_of(7, leat::batch("threes", 3)),
                ElementsAre(ElementsAre(0, 1, 2), ElementsAre(3, 4, 5), ElementsAre(6)));
    EXPECT_THAT(batches_of(6, leat::batch("threes", 3)), ElementsAre(ElementsAre(0, 1, 2), ElementsAre(3, 4, 5)));
    EXPECT_TRUE(batches_of(0, leat::batch("threes", 3)).empty());
    EXPECT_THAT(batches_of(3, leat::batch("alone", 1)), ElementsAre(ElementsAre(0), ElementsAre(1), ElementsAre(2)));
}

TEST(batch, is_bounded_in_bytes_and_what_is_heavier_is_one_alone) {
    std::vector<std::string> words = {"a", std::string(1000, 'x'), "b", "c"};
    std::vector<std::size_t> sizes;
    auto flow = leat::from(std::move(words)) | leat::batch("light", 0).bytes(200) |
                leat::for_each("keep", [&](const std::vector<std::string>& some) { sizes.push_back(some.size()); });
    (void)leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow)); });
    EXPECT_THAT(sizes, ElementsAre(1, 1, 2));
}

TEST(batch, needs_a_bound) {
    EXPECT_THROW((void)(leat::from(std::views::iota(0, 3)) | leat::batch("endless", 0, 1s)), std::invalid_argument);
}

TEST(batch, counts_by_what_its_items_hold_where_queues_are_bounded_in_bytes) {
    EXPECT_GE(leat::weight_of(std::vector<std::string>{std::string(1000, 'x'), std::string(1000, 'x')}), 2000U);
    EXPECT_EQ(leat::weight_of(std::vector<int>{1, 2, 3}), sizeof(std::vector<int>) + 3 * sizeof(int));
}

TEST(unbatch, gives_the_elements_in_their_order_and_each_item_its_own_end) {
    std::vector<int> all;
    auto flow = leat::from(std::views::iota(0, 10)) | leat::batch("threes", 3) | leat::unbatch("ones") |
                leat::for_each("keep", [&](int one) { all.push_back(one); });
    const leat::report done = leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow)); });
    EXPECT_THAT(all, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
    EXPECT_EQ(done.out, 10U);
}

// --- Whatever comes ---

struct plan {
    unsigned seed = 1;
    std::vector<int> pauses;  // in ms, before each item
    unsigned count = 1;       // of the bounds; 0: none, but then bytes
    unsigned bytes = 0;       // likewise, in items' weights
    int longest = 0;          // in ms; 0: no bound
    unsigned fails = 0;       // which batches fail: a bit each, by the number of the first item in it, modulo 32
    int work = 0;             // ms that a batch takes
};
std::ostream& operator<<(std::ostream& out, const plan& p) {
    out << "seed " << p.seed << ", count " << p.count << ", bytes " << p.bytes << ", longest " << p.longest
        << " ms, fails " << p.fails << ", work " << p.work << " ms, pauses";
    for (const int each : p.pauses) out << ' ' << each;
    return out;
}
rc::Gen<plan> plans() {
    const auto pause = rc::gen::map(rc::gen::inRange(0, 12), [](int n) { return n > 6 ? (n - 6) * 7 : 0; });
    return rc::gen::build<plan>(
        rc::gen::set(&plan::seed, rc::gen::inRange(1U, 100'000U)),
        rc::gen::set(&plan::pauses, rc::gen::container<std::vector<int>>(pause)),
        rc::gen::set(&plan::count, rc::gen::inRange(0U, 7U)), rc::gen::set(&plan::bytes, rc::gen::inRange(0U, 6U)),
        rc::gen::set(&plan::longest, rc::gen::inRange(0, 30)),
        rc::gen::set(&plan::fails, rc::gen::arbitrary<unsigned>()), rc::gen::set(&plan::work, rc::gen::inRange(0, 20)));
}
bool fails(const plan& p, int first) { return (p.fails >> (static_cast<unsigned>(first) % 32U) & 1U) != 0; }

void require(bool condition, const char* what) {
    if (!condition) throw std::runtime_error(what);
}

task<> batch_as_planned(const plan& p) {
    const unsigned count = p.count == 0 && p.bytes == 0 ? 1 : p.count;
    const leat::duration longest = p.longest == 0 ? leat::duration::max() : leat::duration(1ms * p.longest);
    auto numbers = std::make_shared<paused_source>(p.pauses);
    batches all;
    leat::context& line = co_await leat::this_task::line();
    leat::executor& where = line.where();
    std::vector<leat::time_point> came(p.pauses.size());
    bool in_time = true;
    auto flow = from(numbers) |
                leat::map("note",
                          [&](int number) {
                              came[static_cast<std::size_t>(number)] = where.now();
                              return number;
                          })
                    .concurrency(1) |
                leat::batch("some", count, longest).bytes(p.bytes * sizeof(int)) |
                leat::for_each("keep", [&](const std::vector<int>& some) -> task<> {
                    all.push_back(some);
                    // Where what follows takes no time, nothing but the clock holds a batch up.
                    if (p.work == 0 && longest != leat::duration::max())
                        in_time = in_time && where.now() - came[static_cast<std::size_t>(some.front())] <= longest;
                    if (p.work != 0) co_await leat::sleep_for(1ms * p.work);
                    if (fails(p, some.front())) throw leat::permanent_error("as planned");
                }).on_error(leat::on_error::keep_going);
    const leat::report done = co_await leat::run_flow(std::move(flow));

    int next = 0;
    std::uint64_t failed = 0;
    for (const auto& some : all) {
        require(!some.empty(), "an empty batch");
        require(count == 0 || some.size() <= count, "more than count");
        require(p.bytes == 0 || some.size() <= p.bytes, "more than bytes");
        for (const int each : some) {
            require(each == next++, "lost, twice or out of order");
            require(numbers->of(each) == (fails(p, some.front()) ? fate::failed : fate::committed), "another fate");
            failed += fails(p, some.front()) ? 1 : 0;
        }
    }
    require(in_time, "older than it may be");
    require(static_cast<std::size_t>(next) == p.pauses.size(), "not all came");
    require(numbers->told() == p.pauses.size(), "not all were settled, or one twice");
    require(done.failed == failed && done.out == p.pauses.size() - failed && done.unfinished == 0, "the account");
}

TEST(batch, holds_every_item_once_in_order_within_its_bounds_and_ends_them_as_it_ends) {
    rc::detail::TestParams how;
    how.maxSuccess = 1000;
    how.maxSize = 60;
    const auto result = rc::detail::checkTestable(
        [] {
            const plan p = *plans();
            try {
                (void)leat::sim::run({.seed = p.seed}, batch_as_planned, p);
            } catch (const std::exception& error) {
                std::ostringstream text;
                text << error.what() << "; " << p;
                RC_FAIL(text.str());
            }
        },
        rc::detail::TestMetadata(), how);
    if (result.is<rc::detail::SuccessResult>()) return;
    std::ostringstream text;
    rc::detail::printResultMessage(result, text);
    FAIL() << text.str();
}

TEST(batch, that_is_not_full_when_the_flow_drains_goes_on_and_one_of_a_flow_that_stops_is_unfinished) {
    for (const bool stop : {false, true}) {
        const auto program = [stop]() -> task<> {
            auto numbers = std::make_shared<paused_source>(std::vector<int>{0, 0, 0, 60'000});
            std::size_t kept = 0;
            auto flow = from(numbers) | leat::batch("tens", 10) |
                        leat::for_each("keep", [&](const std::vector<int>& some) { kept += some.size(); });
            leat::flow_control control;
            leat::flow_options options;
            options.control = &control;
            leat::scope beside;
            const auto end = [](leat::flow_control* of, bool at_once) -> task<> {
                co_await leat::sleep_for(1s);
                at_once ? of->stop() : of->drain();
            };
            beside.spawn(end, &control, stop);
            const leat::report done = co_await leat::run_flow(std::move(flow), options);
            co_await beside.join();
            require(done.end == leat::flow_end::interrupted, "interrupted");
            require(kept == (stop ? 0U : 3U), "kept");
            require(done.out == (stop ? 0U : 3U) && done.unfinished == (stop ? 3U : 0U), "the account");
        };
        (void)leat::sim::run({.seed = 3}, program);
    }
}

}  // namespace
