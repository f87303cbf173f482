// libFuzzer's entry to the codec: any bytes are an error or a value that can be sent again. Built by the asan preset; the tests
// run some, and `build/asan/bin/codec_fuzz CORPUS_FOLDER` goes on for as long as it is left alone.
#include <cstddef>
#include <cstdint>

#include "../process/codec_garbage.hpp"

// The first byte chooses the type.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view message(reinterpret_cast<const char*>(data) + 1, size - 1);
    switch (data[0] % 4) {
        case 0:
            codec_garbage::look<codec_garbage::everything>(message);
            break;
        case 1:
            codec_garbage::look<codec_garbage::branch>(message);
            break;
        case 2:
            codec_garbage::look<std::vector<codec_garbage::pixel>>(message);
            break;
        default:
            codec_garbage::look<codec_garbage::pixel>(message);
            break;
    }
    return 0;
}
