// Photos from files: JPEG and PNG where their libraries were there to build with, PPM always.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mv2 {

struct Photo {
    int height = 0, width = 0;
    std::vector<uint8_t> rgb;  // [height, width, 3]
};

// Upright, and with transparency laid on white, as the Python package reads them. Throws Error
// (MV2_ERROR_FILE).
Photo read_photo(const std::string& path);

}  // namespace mv2
