// libFuzzer's entry to reports: any bytes are a sentence of refusal, or a report that can be explained, printed and written again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <leat/flow/explain.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto read = leat::report::from_json({reinterpret_cast<const char*>(data), size});
    if (!read) return read.error().empty() ? std::abort(), 0 : 0;
    if (explain(*read).empty() || read->to_text().empty()) std::abort();
    if (!leat::report::from_json(read->to_json())) std::abort();
    return 0;
}
