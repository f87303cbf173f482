// One line waits for the end of the command; companions feed and read it meanwhile.
#include <leat/process/command.hpp>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <sys/ioctl.h>

#include <leat/io/pipe.hpp>
#include <leat/runtime/blocking.hpp>
#include <leat/sync/event.hpp>
#include <leat/task/timeout.hpp>

#include "bounded_text.hpp"
#include "companions.hpp"
#include "ending.hpp"
#include "pipe_failed.hpp"

namespace leat {

namespace {

constexpr std::size_t piece_bytes = std::size_t{64} << 10U;  // what a pipe holds

// Most commands are short and say little: what they say is in the pipe when they end. So reading begins at the end, or after
// this time; but at once for a while after a command that has filled a pipe meanwhile, and had to wait for us.
constexpr auto patience = std::chrono::milliseconds(5);
constexpr int commands_without_patience = 64;
env::atomic<int> hasty{0};  // so many commands more are read at once; relaxed, since it says nothing of other memory

struct conversation {
    explicit conversation(command_options&& from)
        : options(std::move(from)),
          out(options.out_memory_bytes),
          err(options.err_bytes / 2, options.err_bytes - options.err_bytes / 2) {}

    command_options options;
    child_process child;
    spool out;
    bounded_text err;
    std::exception_ptr output_failure;  // the first of a spool or a listener
    event reading;                      // the companions are to read the outputs
    time_point start{};
    time_point end{};
};

task<> feed(io::pipe_writer to, const std::string& input) {
    // A command that does not read all of its input closes it or ends: neither is an error of ours.
    (void)co_await to.write_all(input);
    to.close();  // now: a parameter lives as long as the frame
}

void append_to(spool& out, std::span<const char> bytes) { out.append(bytes); }

task<expected<std::size_t, std::error_code>> read_what_is_there(io::pipe_reader& from, std::span<char> room) {
    return shield(from.read_some(room, env::now()));
}

void note_fullness(int pipe) noexcept {
    int held = 0;
    if (::ioctl(pipe, FIONREAD, &held) == 0 && static_cast<std::size_t>(held) > piece_bytes - PIPE_BUF)
        hasty.store(commands_without_patience, env::relaxed);
}

// From when it is `begin`, and at the latest after the patience, calls the function with each piece, until the end, an error,
// or a stop. When that comes while a piece is taken, what the pipe holds by then is read too: the command wrote it in time, and
// it is at most one piece.
template <class Take>
task<> read_pieces(io::pipe_reader from, Take take, event& begin) {
    const bool was_told = co_await begin.wait_for(patience);
    if (!was_told) note_fullness(from.fd());
    const stop_token stop = co_await this_task::stop_token();
    const auto buffer = std::make_unique_for_overwrite<char[]>(piece_bytes);
    const std::span<char> room(buffer.get(), piece_bytes);
    for (bool first = true, last = false; !last; first = false) {
        last = stop.stop_requested();
        if (first && last) break;
        auto reading = last ? read_what_is_there(from, room) : from.read_some(room);
        auto got = co_await std::move(reading);
        if (!got || *got == 0 || !co_await take(room.first(*got))) break;
    }
    from.close();
}

// Gives a piece to the listener. False when it threw: the command is ended.
task<bool> tell(conversation& talk, const output_listener& listener, std::span<const char> piece) {
    outcome<void> told = co_await shield(listener(piece)).as_outcome();
    if (told.is_value()) co_return true;
    if (told.is_error() && !talk.output_failure) talk.output_failure = told.error();
    talk.child.signal_group(SIGKILL);
    co_return false;
}

struct into_spool {
    conversation& talk;
    explicit into_spool(conversation& of) noexcept : talk(of) {}
    task<bool> operator()(std::span<const char> piece) const {
        if (talk.options.on_out) {
            const bool told = co_await tell(talk, talk.options.on_out, piece);
            if (!told || !talk.options.keep_out) co_return told;
        }
        try {
            if (talk.out.fits(piece.size())) talk.out.append(piece);
            else co_await blocking(&append_to, std::ref(talk.out), piece);
            co_return true;
        } catch (const spool_error&) {
            if (!talk.output_failure) talk.output_failure = std::current_exception();
        }
        talk.child.signal_group(SIGKILL);
        co_return false;
    }
};

struct into_text {
    conversation& talk;
    explicit into_text(conversation& of) noexcept : talk(of) {}
    task<bool> operator()(std::span<const char> piece) const {
        talk.err.append({piece.data(), piece.size()});
        if (!talk.options.on_err) co_return true;
        co_return co_await tell(talk, talk.options.on_err, piece);
    }
};

// The pipe for an output, if it is captured; `end` becomes what the child gets.
std::optional<io::incoming_pipe> pipe_for(command_output output, child_stdio& end) {
    end = output == command_output::inherit ? child_stdio::inherit() : child_stdio::null();
    if (output != command_output::capture) return std::nullopt;
    auto pipe = io::make_incoming_pipe();
    if (!pipe) throw pipe_failed(pipe.error());
    end = child_stdio::descriptor(pipe->writer.get());
    return std::optional<io::incoming_pipe>(std::move(*pipe));
}

// From the start of the command to its end, leaving the companions at work.
task<ending> converse(conversation& talk, companions& beside) {
    command_options& options = talk.options;
    std::optional<io::outgoing_pipe> in;
    options.child.in = child_stdio::null();
    if (options.input) {
        auto pipe = io::make_outgoing_pipe();
        if (!pipe) throw pipe_failed(pipe.error());
        in.emplace(std::move(*pipe));
        options.child.in = child_stdio::descriptor(in->reader.get());
    }
    auto out = pipe_for(options.out, options.child.out);
    auto err = pipe_for(options.err, options.child.err);

    const bool is_heard = options.on_out || options.on_err;
    if (in || is_heard || hasty.load(env::relaxed) > 0) {
        talk.reading.set();
        if (!in && !is_heard) hasty.fetch_sub(1, env::relaxed);  // below 0 counts as 0
    }
    talk.start = env::now();
    {
        auto started = spawn(options.child);
        if (!started) throw spawn_failed(std::move(started).error());
        talk.child = std::move(*started);
    }
    if (in) {
        in->reader.reset();
        beside.add_helper(feed(std::move(in->writer), *options.input));
    }
    if (out) {
        out->writer.reset();
        beside.add_reader(read_pieces(std::move(out->reader), into_spool(talk), talk.reading));
    }
    if (err) {
        err->writer.reset();
        beside.add_reader(read_pieces(std::move(err->reader), into_text(talk), talk.reading));
    }
    const ending end = co_await end_of(talk.child, later(talk.start, options.timeout), options.grace);
    talk.reading.set();
    co_return end;
}

}  // namespace

task<command_result> run_command(command_options options) {
    context& line = co_await this_task::line();
    if (line.stop_requested()) detail::throw_cancelled();
    conversation talk(std::move(options));
    companions beside(line);
    auto how = co_await converse(talk, beside).as_outcome();
    talk.end = env::now();
    if (!how.is_value() && talk.child.unreaped()) talk.child.signal_group(SIGKILL);
    const duration drain = how.is_value() ? talk.options.drain : duration::zero();
    const bool held_open = co_await beside.join(drain);
    const ending end = std::move(how).get();
    if (end == ending::stopped) detail::throw_cancelled();
    if (talk.output_failure) std::rethrow_exception(talk.output_failure);

    command_result result;
    result.status = talk.child.wait();
    result.out = std::move(talk.out);
    result.err = talk.err.text();
    result.err_omitted_bytes = talk.err.omitted_bytes();
    result.timed_out = end == ending::timed_out;
    result.output_held_open = held_open;
    result.sandboxed = talk.child.sandboxed();
    result.elapsed = talk.end - talk.start;
    co_return result;
}

}  // namespace leat
