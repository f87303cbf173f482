// The way of items past a full queue: over a disk. See flow_engine::side_way.
#include <fmt/format.h>

#include <leat/base/exception_text.hpp>
#include <leat/runtime/blocking.hpp>

#include "engine_parts.hpp"

namespace leat {

task<> flow_engine::send_or_spill(segment& to, std::vector<item>& items) {
    side_way& side = *to.side;
    auto held = co_await side.lock.lock();
    while (!items.empty()) {
        if (side.is_empty()) send_what_fits(to, items);
        if (items.empty()) break;
        if (side.takes()) {
            auto putting = put_aside(to, items);
            co_await std::move(putting);
        } else if (side.is_empty()) {
            auto sending = send_in_turn(to, items);  // nothing can be put aside
            co_await std::move(sending);
        } else {
            const auto may_go_on = [&side] { return side.takes() || side.is_empty(); };
            auto waiting = side.changed.wait(held, may_go_on);
            co_await std::move(waiting);
        }
    }
}

task<> flow_engine::put_aside(segment& to, std::vector<item>& items) {
    side_way& side = *to.side;
    spill::parcel packed;
    try {
        packed = side.waiting.pack(items);
        if (side.waiting.stays_in_memory(packed)) side.waiting.put(packed, items);
        else co_await blocking(&spill::put, &side.waiting, std::cref(packed), std::ref(items));
    } catch (const cancelled&) {
        throw;
    } catch (
        const std::exception& error) {  // a full disk, an item that has no bytes: whether it comes to that is chance
        side.problem = error.what();
        const std::string& name = to.stages.front()->description.name;
        const std::scoped_lock kept(sizing_lock_);
        full_disks_.push_back(fmt::format(
            "'{}' held up what gives to it, since what waits for it could not be put aside: {}", name, side.problem));
        co_return;
    }
    to.stages.front()->account.spilled.add(packed.sizes.size());
    side.now = side.waiting.size();
    side.wake.set();
}

task<> flow_engine::run_side_way(segment& of) {
    outcome<void> end = co_await bring_back(of).as_outcome();
    if (end.is_error()) fail(fmt::format("{}: {}", of.stages.front()->description.name, text_of(end.error())));
    // Before the queues are closed: see invariant 2.
    if (end.is_value())
        for (lane_ends& lane : of.lanes) lane.out->close();
    end_line();
}

task<> flow_engine::bring_back(segment& to) {
    side_way& side = *to.side;
    std::vector<item> some;
    for (;;) {
        const bool over = side.over;
        {
            auto held = co_await side.lock.lock();
            if (side.waiting.begins_in_memory()) side.waiting.take(some, most_at_once);
            else if (!side.waiting.empty())
                co_await blocking(&spill::take, &side.waiting, std::ref(some), most_at_once);
            side.moving = !some.empty();
            side.now = side.waiting.size() + some.size();
            side.changed.notify_all();
        }
        if (some.empty()) {
            if (over) co_return;
            co_await side.wake.wait();
            continue;
        }
        auto sending = send_in_turn(to, some);
        co_await std::move(sending);
        some.clear();
    }
}

// From the front, until one finds its queue full.
void flow_engine::send_what_fits(segment& to, std::vector<item>& items) {
    std::size_t sent = 0;
    for (; sent < items.size(); ++sent) {
        const unsigned lane = to.lane_of(items[sent]);
        auto tried = to.lanes[lane].out->try_send(std::move(items[sent]));
        if (tried) continue;
        items[sent] = std::move(tried.error().value);
        if (tried.error().why == send_failure::full) break;
        items.erase(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(sent));
        throw cancelled{};
    }
    to.entered.add(sent);
    items.erase(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(sent));
}

}  // namespace leat
