// For tests of flow files and kinds: a folder of their own, all kinds, a flow run from its text, and a hand that drives one
// stage without an engine.
#pragma once

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <leat/channel/channel.hpp>
#include <leat/flow/flow_file.hpp>
#include <leat/flow/record.hpp>
#include <leat/runtime/run.hpp>

namespace leat_test {

// A new empty folder, removed at the end.
class scratch_folder {
public:
    scratch_folder() {
        std::string name = (std::filesystem::temp_directory_path() / "leat-test-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        path_ = name;
    }
    scratch_folder(const scratch_folder&) = delete;
    scratch_folder& operator=(const scratch_folder&) = delete;
    ~scratch_folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

inline void put_file(const std::string& path, std::string_view content) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
}

inline std::string get_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) return "(no such file)";
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
}

inline const leat::registry& all_kinds() {
    static const leat::registry* const kinds = [] {
        auto* made = new leat::registry;
        leat::add_builtin_kinds(*made);
        return made;
    }();
    return *kinds;
}

// The options of a kind as a flow file would give them; texts only, and lists.
struct given_option {
    std::string key;
    std::string text;
};
inline leat::option_values options_of(const leat::component& kind, const std::vector<given_option>& given) {
    leat::option_values values = leat::default_values(kind.options);
    for (const given_option& each : given)
        for (const leat::option& what : kind.options)
            if (what.key == each.key) {
                auto value = leat::parse_option(what, each.text);
                EXPECT_TRUE(value) << each.key << ": expected " << (value ? "" : value.error());
                if (value) values.set(each.key, *value);
            }
    return values;
}
inline std::shared_ptr<leat::stage> make_stage(const std::string& name, const std::vector<given_option>& given,
                                               leat::component_role role = leat::component_role::stage) {
    const leat::component* kind = all_kinds().find(role, name);
    if (kind == nullptr) throw std::invalid_argument("no kind " + name);
    return kind->make_stage(options_of(*kind, given));
}

// Runs a flow from its text on two threads. The text must be right.
inline leat::report run_text(const std::string& text) {
    auto file = leat::parse_flow_file(text, "test.toml", all_kinds());
    if (!file) throw std::invalid_argument(file.error().to_text());
    const leat::flow_options options = leat::prepare_flow(*file);
    return leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(file->graph), options); });
}

// What became of an item, for tests that play the engine.
class fate_probe {
public:
    [[nodiscard]] leat::ack_ref account(std::uint64_t sequence = 0) { return leat::ack_ref(new node(*this, sequence)); }
    [[nodiscard]] bool settled() const { return settled_; }
    [[nodiscard]] leat::fate how() const { return how_; }

private:
    class node final : public leat::ack_node {
    public:
        node(fate_probe& owner, std::uint64_t sequence) : ack_node(sequence), owner_(owner) {}

    private:
        void settled(leat::fate how) noexcept override {
            owner_.how_ = how;
            owner_.settled_ = true;
        }
        fate_probe& owner_;
    };
    std::atomic<bool> settled_ = false;  // set last: by any worker
    leat::fate how_ = leat::fate::skipped;
};

// Keeps what a stage puts out.
class recording_emitter final : public leat::emitter {
public:
    explicit recording_emitter(bool may_consume = true) { may_consume_ = may_consume; }
    leat::task<> emit(leat::payload value) override {
        leat::ack_ref account = current != nullptr ? current->ack.fork() : leat::ack_ref();
        return emit(std::move(value), std::move(account));
    }
    leat::task<> emit(leat::payload value, leat::ack_ref of) override {
        out.emplace_back(std::move(value), std::move(of));
        co_return;
    }
    leat::item* current = nullptr;
    std::vector<leat::item> out;
};

// One stage with one worker, driven from outside of tasks as the engine would: started, opened and closed on one line.
class stage_hand {
public:
    explicit stage_hand(std::shared_ptr<leat::stage> what, bool may_consume = true)
        : emitter(may_consume), what_(std::move(what)), orders_(leat::channel<order*>(leat::channel_bounds(1))) {
        thread_ = std::thread([this] { leat::run(leat::run_options(2), [this] { return serve(orders_.in); }); });
    }
    stage_hand(const stage_hand&) = delete;
    ~stage_hand() {
        {
            [[maybe_unused]] const auto last = std::move(orders_.out);
        }
        thread_.join();
    }
    // Gives it an item; throws what the stage throws. What it has emitted is in emitter.out.
    void give(leat::record what, leat::ack_ref account = {}) {
        leat::item in(leat::payload(std::move(what)), std::move(account));
        emitter.current = &in;
        const std::size_t before = emitter.out.size();
        order mine{&in, {}};
        send(mine);
        emitter.current = nullptr;
        if (emitter.out.size() > before) in.ack.pass();
        else in.ack.skip();
    }
    void finish() {
        order mine{nullptr, {}};
        send(mine);
    }
    [[nodiscard]] std::vector<std::string> contents() {
        std::vector<std::string> all;
        for (leat::item& each : emitter.out) all.push_back(each.value.as<leat::record>().bytes);
        return all;
    }
    recording_emitter emitter;

private:
    struct order {
        leat::item* in;  // null: finish
        std::promise<void> done;
    };

    void send(order& what) {
        auto done = what.done.get_future();
        if (!orders_.out.blocking_send(&what)) throw std::runtime_error("the stage has ended");
        done.get();
    }
    leat::task<> serve(leat::receiver<order*>& orders) {
        co_await what_->start(1);
        std::unique_ptr<leat::stage_worker> worker = co_await what_->open();
        while (auto next = co_await orders.recv()) {
            order& now = **next;
            leat::task<> work = now.in != nullptr ? worker->process(*now.in, emitter) : worker->finish(emitter);
            leat::outcome<void> end = co_await work.as_outcome();
            work.reset();
            if (end.is_value()) now.done.set_value();
            else now.done.set_exception(end.error());
        }
        co_await worker->close();
        co_await what_->close();
    }

    std::shared_ptr<leat::stage> what_;
    leat::channel_ends<order*> orders_;
    std::thread thread_;
};

}  // namespace leat_test
