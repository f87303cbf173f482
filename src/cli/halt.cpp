#include <cli/halt.hpp>

#include <fmt/format.h>

namespace leat::cli {

void halt_watch::count(bool success) {
    const std::uint64_t ended = ++ended_;
    const bool counts =
        rule_.counted == halt_rule::sort::ended || success == (rule_.counted == halt_rule::sort::succeeded);
    const std::uint64_t counted = counts ? ++counted_ : counted_.load();
    // As GNU parallel, which lets two pass whatever their share.
    constexpr unsigned least_for_percent = 3;
    const bool reached = rule_.is_percent ? counted >= least_for_percent && counted * 100 >= rule_.count * ended
                                          : counted >= rule_.count;
    if (!reached || fired_.exchange(true)) return;
    constexpr const char* words[] = {"failed", "succeeded", "ended"};
    const bool at_once = rule_.when == halt_rule::moment::now;
    screen_.print(fmt::format("leat: --halt: {} of {} jobs {}: {}\n", counted, ended,
                              words[static_cast<std::size_t>(rule_.counted)],
                              at_once ? "stopping the others" : "starting no more"));
    if (at_once) control_.stop();
    else control_.drain();
}

}  // namespace leat::cli
