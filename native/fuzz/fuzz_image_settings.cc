// Two bytes for each side of a photo, then a preprocessor_config.json; small photos are prepared.
#include <vector>

#include "error.h"
#include "image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 4) return 0;
    const int height = data[0] | data[1] << 8, width = data[2] | data[3] << 8;
    try {
        const mv2::Json config =
            mv2::parse_json({reinterpret_cast<const char*>(data) + 4, size - 4}, "the file");
        const mv2::ImageSettings settings = mv2::image_settings(config, "the file");
        const mv2::Size to = mv2::prepared_size(settings, height, width);
        if (to.height < 1 || to.width < 1) __builtin_trap();
        if (int64_t{height} * width > 10000 || int64_t{to.height} * to.width > 40000) return 0;
        const std::vector<uint8_t> photo(static_cast<size_t>(3 * height * width), 200);
        std::vector<float> pixels(static_cast<size_t>(3 * to.height * to.width), -1.0f);
        mv2::prepare(settings, photo.data(), height, width, ptrdiff_t{3} * width, pixels.data());
        for (float pixel : pixels) {
            if (!(pixel >= 0)) __builtin_trap();
        }
    } catch (const mv2::Error&) {
    }
    return 0;
}
