// How a camera was held: the EXIF orientation that a JPEG or PNG file carries.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mv2 {

// 1 to 8 as in EXIF; 1 (upright) for a file without a readable one.
int exif_orientation(const uint8_t* file, size_t size);

}  // namespace mv2
