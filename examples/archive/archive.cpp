// archive: files in one file, each piece of content once. README.md says what it does and what an archive looks like.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>
#include <leat/base/machine.hpp>
#include <leat/leat.hpp>

#include "commands.hpp"

namespace archive {

void tell(const std::string& what) { fmt::print(stderr, "archive: {}\n", what); }

namespace {

constexpr const char* usage_text = R"(usage: archive create [--resume] [--level N] [--save-every BYTES] OUT.arc PATH..
       archive extract OUT.arc FOLDER
       archive verify OUT.arc
       archive list OUT.arc
)";

class usage_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

template <class Number>
Number number_of(const std::string& flag, const std::vector<std::string>& words, std::size_t at, Number least,
                 Number most) {
    const std::string text = at < words.size() ? words[at] : "";
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
        throw usage_error(fmt::format("{} needs a number from {} to {}, not '{}'", flag, least, most, text));
    return value;
}

create_options create_options_of(const std::vector<std::string>& words) {
    create_options made;
    std::size_t at = 0;
    for (; at < words.size() && words[at].starts_with("--"); ++at) {
        const std::string& flag = words[at];
        if (flag == "--resume") made.resume = true;
        else if (flag == "--level") made.level = number_of(flag, words, ++at, 1, 19);
        else if (flag == "--save-every")
            made.save_every = number_of<std::uint64_t>(flag, words, ++at, 1, std::uint64_t{1} << 40U);
        else if (flag == "--") {
            ++at;
            break;
        } else throw usage_error(fmt::format("create does not know '{}'", flag));
    }
    if (words.size() < at + 2) throw usage_error("create needs the name of the archive, and a path at least");
    made.output = words[at];
    made.paths.assign(words.begin() + static_cast<std::ptrdiff_t>(at) + 1, words.end());
    return made;
}

leat::task<int> run(std::vector<std::string> words) {
    const std::string verb = words.empty() ? "" : words[0];
    if (!words.empty()) words.erase(words.begin());
    if (verb == "create") {
        create_options options = create_options_of(words);
        co_return co_await create(std::move(options));
    }
    if (verb == "extract" && words.size() == 2) co_return co_await extract(words[0], words[1]);
    if (verb == "verify" && words.size() == 1) co_return co_await verify(words[0]);
    if (verb == "list" && words.size() == 1) co_return list(words[0]);
    throw usage_error(verb.empty() ? "a verb is missing"
                                   : fmt::format("'{}' is no verb, or has too few or too many words", verb));
}

leat::task<int> program(int argc, char** argv) {
    try {
        co_return co_await run(std::vector<std::string>(argv + 1, argv + argc));
    } catch (const usage_error& error) {
        tell(error.what());
        fmt::print(stderr, "{}", usage_text);
        co_return 2;
    } catch (const std::exception& error) {
        tell(error.what());
        co_return 1;
    }
}

}  // namespace
}  // namespace archive

int main(int argc, char** argv) {
    // A worker more than there are CPUs: one waits for files much of the time, and it may.
    leat::run_options options(1 + static_cast<unsigned>(std::ceil(leat::effective_machine().cpus)));
    options.report_holds_after = leat::duration::zero();
    return leat::main(argc, argv, archive::program, options);
}
