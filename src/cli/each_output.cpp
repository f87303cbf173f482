#include <cli/each_output.hpp>

#include <cli/each_items.hpp>
#include <cli/line_tagger.hpp>
#include <fmt/format.h>

#include <leat/runtime/blocking.hpp>

namespace leat::cli {

namespace {

class output_worker final : public stage_worker {
public:
    explicit output_worker(output_rules rules) : rules_(std::move(rules)) {}

    task<> process(item& in, emitter&) override {
        if (in.value.is<each_block_result>()) return write_block(in);
        return write_one(in);
    }

private:
    task<> write_block(item& in) {
        auto& result = in.value.as<each_block_result>();
        rules_.out->check();
        {
            const auto held = co_await rules_.out->turns().lock();
            co_await rules_.out->write(result.out);
        }
        for (const auto& each : result.failed) {
            if (!each.err.empty()) rules_.messages.print(each.err);
            rules_.messages.print(fmt::format("leat: item '{}': {}\n", each.name, each.failure));
        }
        in.ack.commit();
    }
    task<> write_one(item& in) {
        auto& result = in.value.as<each_result>();
        rules_.out->check();
        if (!result.printed_bytes) co_await print(result);
        if (!result.failure.empty())
            rules_.messages.print(fmt::format("leat: item '{}': {}\n", result.name(), result.failure));
        if (rules_.folder) {
            const auto keep = [this, &result] { rules_.folder->write(result); };
            co_await blocking(keep);
        }
        if (rules_.live) co_await rules_.live->done(result.number);
        if (rules_.log && result.job) rules_.log->add(*result.job);
        in.ack.commit();
        if (rules_.halts) rules_.halts->output_written(result.failure.empty());
    }
    task<> print(const each_result& result) {
        if (!result.out.empty()) co_await write_out(result);
        if (result.err.empty()) co_return;
        if (rules_.tag) rules_.messages.print(line_tagger(result.text() + "\t")(result.err));
        else rules_.messages.print(result.err);
    }
    task<> write_out(const each_result& result) {
        const auto held = co_await rules_.out->turns().lock();
        line_tagger tagger(result.text() + "\t");
        const std::function<task<>(std::string_view)> write = [this, &tagger](std::string_view text) {
            return rules_.tag ? write_tagged(tagger(text)) : rules_.out->write(text);
        };
        co_await read_in_pieces(result.out, write);
    }
    task<> write_tagged(std::string text) { co_await rules_.out->write(text); }

    output_rules rules_;
};

class output_stage final : public stage {
public:
    explicit output_stage(output_rules rules) : rules_(std::move(rules)) {}
    [[nodiscard]] unsigned most_jobs() const noexcept override { return 1; }
    task<> start(unsigned) override {
        rules_.out->open();
        co_return;
    }
    task<> close() override {
        rules_.out->close();
        co_return;
    }
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<output_worker>(rules_); }

private:
    output_rules rules_;
};

}  // namespace

std::shared_ptr<stage> each_output(output_rules rules) { return std::make_shared<output_stage>(std::move(rules)); }

}  // namespace leat::cli
