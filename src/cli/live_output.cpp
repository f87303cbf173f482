#include <cli/live_output.hpp>

#include <leat/runtime/blocking.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cli {

namespace {

void append_to(spool& kept, std::string_view text) { kept.append(text); }

task<> print_message(screen& messages, std::string_view text) {
    messages.print(text);
    co_return;
}

}  // namespace

task<> live_output::done(std::uint64_t number) {
    if (!how_.in_order) co_return;
    const auto held = co_await jobs_lock_.lock();
    done_.insert(number);
    while (done_.erase(next_) > 0) ++next_;
    const auto next = jobs_.find(next_);
    if (next == jobs_.end()) co_return;
    co_await next->second->out_.flush();
    co_await next->second->err_.flush();
}

task<> live_output::add(live_job& job) {
    const auto held = co_await jobs_lock_.lock();
    jobs_[job.number_] = &job;
}

task<> live_output::remove(live_job& job) {
    const auto held = co_await jobs_lock_.lock();
    jobs_.erase(job.number_);
}

live_job::live_job(live_output& shared, const std::string& item, std::uint64_t number)
    : shared_(shared),
      number_(number),
      out_(
          *this, shared.out_->turns(), [&shared](std::string_view text) { return shared.out_->write(text); },
          shared.how_.tag ? item + "\t" : std::string()),
      err_(
          *this, shared.err_turns_, [&shared](std::string_view text) { return print_message(shared.messages_, text); },
          shared.how_.tag ? item + "\t" : std::string()) {}

task<> live_job::listen(command_options& to) {
    to.on_out = [this](std::span<const char> piece) { return out_.take({piece.data(), piece.size()}); };
    to.on_err = [this](std::span<const char> piece) { return err_.take({piece.data(), piece.size()}); };
    to.keep_out = shared_.how_.keep;
    if (shared_.how_.in_order) co_await shared_.add(*this);
}

task<> live_job::finish() {
    if (shared_.how_.in_order) co_await shield(shared_.remove(*this));
    printed_ = shared_.is_turn(number_);
    if (!printed_) co_return;  // it is the sink's, also when its turn comes now
    try {
        co_await out_.flush();
        co_await err_.flush();
    } catch (const data_out_failed&) {
        co_return;
    }
}

std::optional<std::uint64_t> live_job::printed_bytes() const noexcept {
    if (!printed_) return std::nullopt;
    return out_.bytes;
}

std::optional<spool> live_job::take_unprinted() {
    if (printed_ || shared_.how_.keep) return std::nullopt;
    return std::move(out_.kept);
}

task<> live_job::stream::take(std::string_view text) {
    const auto held = co_await lock_.lock();
    bytes += text.size();
    const bool is_turn = owner_.shared_.is_turn(owner_.number_);
    if (const std::size_t end = text.rfind('\n') + 1; is_turn && end > 0) {  // 0: the line goes on
        co_await print(text.substr(0, end));
        text.remove_prefix(end);
    }
    if (text.empty()) co_return;
    if (kept.fits(text.size())) kept.append(text);
    else co_await blocking(&append_to, std::ref(kept), text);
}

task<> live_job::stream::flush() {
    const auto held = co_await lock_.lock();
    if (!kept.empty() && owner_.shared_.is_turn(owner_.number_)) co_await print({});
}

task<> live_job::stream::print(std::string_view rest) {
    const auto held = co_await turns_.lock();
    if (!kept.empty()) {
        const std::function<task<>(std::string_view)> next = [this](std::string_view piece) { return put(piece); };
        co_await read_in_pieces(kept, next);
        kept = spool();
    }
    if (!rest.empty()) co_await put(rest);
}

task<> live_job::stream::put(std::string_view text) {
    if (!is_tagged_) co_return co_await write_(text);
    const std::string tagged = tagger_(text);
    co_await write_(tagged);
}

}  // namespace leat::cli
