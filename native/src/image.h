// Turns a photo's bytes into a network's input pixels, bit for bit as Pillow and
// MobileViTImageProcessor do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "json.h"

namespace mv2 {

// Pillow's numbers; the last two, Magic Kernel Sharp, came with 13.0.
enum class Resample { nearest, lanczos, bilinear, bicubic, box, hamming, mks2013, mks2021 };

// preprocessor_config.json, with the defaults of MobileViTImageProcessor.
struct ImageSettings {
    bool resize = true;
    int shortest_edge = 224, longest_edge = 0;  // 0: not given
    int height = 0, width = 0;                  // instead of shortest_edge
    int max_height = 0, max_width = 0;          // or these
    Resample resample = Resample::bicubic;
    bool crop = true;
    int crop_height = 256, crop_width = 256;
    bool rescale = true;
    double rescale_factor = 1.0 / 255;
    bool flip_channels = true;
};

// Throws Error (MV2_ERROR_FILE) for values of the wrong type or out of range.
ImageSettings image_settings(const Json& config, const char* name);

struct Size {
    int height, width;
};

// The size of a photo's prepared pixels. Throws Error (MV2_ERROR_INPUT).
Size prepared_size(const ImageSettings& settings, int height, int width);

// uint8 RGB [height, width, 3], rows `stride` bytes apart, to float [3, h, w] of prepared_size.
// Resizes like Pillow's Image.resize, with antialiasing; a crop beyond the edges is filled with 0.
void prepare(const ImageSettings& settings, const uint8_t* photo, int height, int width,
             ptrdiff_t stride, float* pixels);

}  // namespace mv2
