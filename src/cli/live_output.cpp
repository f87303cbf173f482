#include <cli/live_output.hpp>

#include <leat/runtime/blocking.hpp>
#include <leat/task/this_task.hpp>

namespace leat::cli {

namespace {

void append_to(spool& kept, std::string_view text) { kept.append(text); }

task<> print_message(screen& messages, std::string_view text) {
    messages.print(text);
    co_return;
}

}  // namespace

task<> live_stream::take(std::string_view text) {
    bytes_ += text.size();
    if (const std::size_t end = text.rfind('\n') + 1; end > 0) {  // 0: the line goes on
        co_await print(text.substr(0, end));
        text.remove_prefix(end);
    }
    if (text.empty()) co_return;
    if (begun_.fits(text.size())) begun_.append(text);
    else co_await blocking(&append_to, std::ref(begun_), text);
}

task<> live_stream::finish() {
    if (!begun_.empty()) co_await print({});
}

task<> live_stream::print(std::string_view rest) {
    const auto held = co_await turns_.lock();
    if (!begun_.empty()) {
        const std::function<task<>(std::string_view)> next = [this](std::string_view piece) { return put(piece); };
        co_await read_in_pieces(begun_, next);
        begun_ = spool();
    }
    if (!rest.empty()) co_await put(rest);
}

task<> live_stream::put(std::string_view text) {
    if (!is_tagged_) co_return co_await write_(text);
    const std::string tagged = tagger_(text);
    co_await write_(tagged);
}

live_job::live_job(live_output& shared, const std::string& item)
    : shared_(shared),
      out_(
          shared.out->turns(), [&shared](std::string_view text) { return shared.out->write(text); },
          shared.tag ? item + "\t" : std::string()),
      err_(
          shared.err_turns, [&shared](std::string_view text) { return print_message(shared.messages, text); },
          shared.tag ? item + "\t" : std::string()) {}

void live_job::listen(command_options& to) {
    to.on_out = [this](std::span<const char> piece) { return out_.take({piece.data(), piece.size()}); };
    to.on_err = [this](std::span<const char> piece) { return err_.take({piece.data(), piece.size()}); };
    to.keep_out = shared_.keep;
}

task<> live_job::finish() {
    try {
        co_await out_.finish();
        co_await err_.finish();
    } catch (const data_out_failed&) {
        co_return;
    }
}

}  // namespace leat::cli
