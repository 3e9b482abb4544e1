// Photos from files: PPM always, JPEG and PNG if their libraries were there at build time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mv2 {

struct Photo {
    int height = 0, width = 0;
    std::vector<uint8_t> rgb;  // [height, width, 3]
};

// Upright, with transparency composited on white, as in the Python package. Throws Error
// (MV2_ERROR_FILE).
Photo read_photo(const std::string& path);

}  // namespace mv2
