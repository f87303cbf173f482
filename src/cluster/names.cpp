#include "names.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace leat::cluster {

namespace {

bool is_letter_or_digit(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::string_view take_token(std::string_view& from) noexcept {
    const std::size_t dot = from.find('.');
    const std::string_view token = from.substr(0, dot);
    from.remove_prefix(dot == std::string_view::npos ? from.size() : dot + 1);
    return token;
}

std::string time_text(std::chrono::nanoseconds time) {
    return fmt::format("{} s", std::chrono::duration<double>(time).count());
}

class difference_list {
public:
    template <class T>
    void compare(std::string_view what, const T& there, const T& asked) {
        if (there == asked) return;
        if (!text_.empty()) text_ += ", ";
        text_ += fmt::format("{} {} instead of {}", what, there, asked);
    }
    [[nodiscard]] std::string take() { return std::move(text_); }

private:
    std::string text_;
};

}  // namespace

bool is_name(std::string_view text) noexcept {
    return !text.empty() && text.size() <= 255 &&
           std::all_of(text.begin(), text.end(), [](char c) { return is_letter_or_digit(c) || c == '-' || c == '_'; });
}

bool is_key(std::string_view text) noexcept {
    constexpr std::string_view more = "-_=/.";
    return !text.empty() && text.front() != '.' && text.back() != '.' &&
           std::all_of(text.begin(), text.end(),
                       [&](char c) { return is_letter_or_digit(c) || more.find(c) != std::string_view::npos; });
}

bool is_subject(std::string_view text, bool with_wildcards) noexcept {
    if (text.empty() || text.back() == '.') return false;
    while (!text.empty()) {
        const std::string_view token = take_token(text);
        if (token.empty() || token.find_first_of(" \t\r\n") != std::string_view::npos) return false;
        if (token == ">" && (!with_wildcards || !text.empty())) return false;
        if (token == "*" && !with_wildcards) return false;
    }
    return true;
}

bool overlap(std::string_view one, std::string_view other) noexcept {
    while (!one.empty() && !other.empty()) {
        const std::string_view left = take_token(one);
        const std::string_view right = take_token(other);
        if (left == ">" || right == ">") return true;
        if (left != right && left != "*" && right != "*") return false;
    }
    return one.empty() && other.empty();
}

// A token of a subject is never a wildcard, so only those of the pattern count.
bool matches(std::string_view pattern, std::string_view subject) noexcept { return overlap(pattern, subject); }

std::string differences(const stream_config& there, const stream_config& asked) {
    difference_list list;
    list.compare("subjects", fmt::format("{}", fmt::join(there.subjects, " ")),
                 fmt::format("{}", fmt::join(asked.subjects, " ")));
    list.compare("work queue", there.is_work_queue, asked.is_work_queue);
    list.compare("in memory", there.in_memory, asked.in_memory);
    list.compare("replicas", there.replicas, asked.replicas);
    list.compare("most messages", there.most_messages, asked.most_messages);
    list.compare("most bytes", there.most_bytes, asked.most_bytes);
    list.compare("duplicate window", time_text(there.duplicate_window), time_text(asked.duplicate_window));
    const auto about = [](const stream_config& of) {
        std::string text;
        for (const auto& [name, value] : of.about)
            text += fmt::format("{}'{}={}'", text.empty() ? "" : " ", name, value);
        return text.empty() ? std::string("nothing") : text;
    };
    list.compare("about", about(there), about(asked));
    return list.take();
}

std::string differences(const consumer_config& there, const consumer_config& asked) {
    difference_list list;
    list.compare("subject", there.subject, asked.subject);
    list.compare("ack wait", time_text(there.ack_wait), time_text(asked.ack_wait));
    list.compare("most unacked", there.most_unacked, asked.most_unacked);
    return list.take();
}

}  // namespace leat::cluster
