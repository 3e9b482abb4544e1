// JPEG and PNG by their libraries; without them these throw.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "error.h"
#include "photo.h"

namespace mv2 {

constexpr long max_photo_pixels = 89478485;  // Pillow warns beyond

Photo decode_jpeg(const std::vector<uint8_t>& bytes, const std::string& name);
Photo decode_png(const std::vector<uint8_t>& bytes, const std::string& name);

[[noreturn]] inline void fail_cut_short(const std::string& name, const std::string& why = "") {
    fail_file(name + " is damaged or cut short" + (why.empty() ? "" : " (" + why + ")") +
              ". Copy or export it again.");
}

// Memory for a photo whose header announces this size.
inline Photo empty_photo(long height, long width, const std::string& name) {
    if (height < 1 || width < 1) fail_cut_short(name);
    if (height > max_photo_pixels / width) {
        fail_file(name + " has " + std::to_string(width) + "x" + std::to_string(height) +
                  " px, more than the " + std::to_string(max_photo_pixels) +
                  " that are safe to decode. Scale it down.");
    }
    Photo photo;
    photo.height = static_cast<int>(height);
    photo.width = static_cast<int>(width);
    photo.rgb.resize(static_cast<size_t>(height) * static_cast<size_t>(width) * 3);
    return photo;
}

}  // namespace mv2
