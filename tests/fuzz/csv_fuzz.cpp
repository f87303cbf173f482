// libFuzzer's entry to the CSV parser: any bytes give rows within bounds, the same however they come, and good rows are read
// back as they are when they are written again.
#include <leat/flow/csv.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace {

using rows = std::vector<std::vector<std::string>>;

rows parsed(std::string_view text, std::size_t piece, std::uint64_t longest) {
    leat::csv_parser parser(',', longest);
    rows all;
    const auto take = [&] {
        for (auto found = parser.next(); found != leat::csv_parser::event::more; found = parser.next()) {
            std::vector<std::string>& row = all.emplace_back();
            if (found == leat::csv_parser::event::bad) continue;
            for (std::size_t i = 0; i < parser.size(); ++i) row.emplace_back(parser[i]);
            if (parser.raw().size() > longest) std::abort();
        }
    };
    for (std::size_t at = 0; at < text.size(); at += piece) {
        parser.feed(text.substr(at, piece));
        take();
    }
    parser.finish();
    take();
    return all;
}

}  // namespace

// The first two bytes choose the pieces and the bound.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
    const std::uint64_t longest = data[1];
    const rows all = parsed(text, text.size() + 1, longest);
    if (parsed(text, std::size_t{1} + data[0] % 16, longest) != all) std::abort();
    std::string again;
    rows good;
    for (const auto& row : all) {
        const std::vector<std::string_view> fields(row.begin(), row.end());
        leat::append_csv_row(again, fields);
        if (!row.empty()) good.push_back(row);
    }
    if (parsed(again, again.size() + 1, again.size()) != good) std::abort();
    return 0;
}
