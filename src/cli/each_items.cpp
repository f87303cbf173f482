#include <cli/each_items.hpp>

#include <cli/screen.hpp>
#include <fmt/format.h>
#include <system_error>

#include <leat/io/pipe.hpp>

namespace leat::cli {

namespace {

constexpr std::size_t longest_name = 80;
constexpr std::size_t longest_item = std::size_t{64} << 20U;

std::string short_name(const std::string& item) {
    if (item.size() <= longest_name) return printable(item);
    return printable(std::string_view(item).substr(0, longest_name)) + "…";
}

class item_list final : public source {
public:
    explicit item_list(std::vector<std::string> items) : items_(std::move(items)), total_(items_.size()) {}

    task<> run(source_output& out) override {
        for (std::string& each : items_) {
            payload next(each_item(std::move(each)));
            co_await out.emit(std::move(next));
        }
    }
    [[nodiscard]] std::optional<std::uint64_t> total() const noexcept override { return total_; }

private:
    std::vector<std::string> items_;
    std::uint64_t total_;
};

class item_file final : public source {
public:
    item_file(io::unique_fd file, char delimiter, std::string name)
        : in_(std::move(file)), delimiter_(delimiter), name_(std::move(name)) {}

    task<> run(source_output& out) override {
        std::string begun;  // an item whose end has not been read
        std::vector<char> piece(std::size_t{64} << 10U);
        for (;;) {
            auto got = co_await in_.read_some(piece);
            if (!got) throw std::system_error(got.error(), "cannot read " + name_);
            if (*got == 0) break;
            std::string_view rest(piece.data(), *got);
            for (auto end = rest.find(delimiter_); end != std::string_view::npos; end = rest.find(delimiter_)) {
                begun += rest.substr(0, end);
                rest.remove_prefix(end + 1);
                payload next(each_item(std::exchange(begun, {})));
                co_await out.emit(std::move(next));
            }
            begun += rest;
            if (begun.size() > longest_item)
                throw std::runtime_error(fmt::format("{}: an item is longer than {} MiB{}", name_, longest_item >> 20U,
                                                     delimiter_ == '\0' ? "; -0 expects a NUL byte behind each" : ""));
        }
        if (begun.empty()) co_return;
        payload last(each_item(std::move(begun)));
        co_await out.emit(std::move(last));
    }

private:
    io::pipe_reader in_;
    char delimiter_;
    std::string name_;
};

}  // namespace

std::string each_item::name() const { return short_name(text); }
std::string each_result::name() const { return short_name(item); }

std::shared_ptr<source> items_in_list(std::vector<std::string> items) {
    return std::make_shared<item_list>(std::move(items));
}
std::shared_ptr<source> items_in_file(io::unique_fd file, char delimiter, std::string name) {
    return std::make_shared<item_file>(std::move(file), delimiter, std::move(name));
}

}  // namespace leat::cli
