#include "photo.h"

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>

#include "decoders.h"
#include "error.h"
#include "orientation.h"

namespace mv2 {
namespace {

std::vector<uint8_t> read_file(const std::string& path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                               std::fclose);
    if (!file) fail_file(path + " can't be opened. Give the path of one image file.");
    std::vector<uint8_t> bytes;
    size_t filled = 0;
    do {
        bytes.resize(filled + (1 << 20));
        filled += std::fread(bytes.data() + filled, 1, bytes.size() - filled, file.get());
    } while (filled == bytes.size());
    bytes.resize(filled);
    if (std::ferror(file.get()))
        fail_file(path + " can't be read. Give the path of one image file.");
    if (bytes.empty()) fail_file(path + " is empty (0 bytes). Copy or download it again.");
    return bytes;
}

// A decimal number after white space and comments; -1 if there is none or it is absurd.
long ppm_number(const std::vector<uint8_t>& bytes, size_t& at) {
    const auto is_space = [](uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
    while (at < bytes.size() && (is_space(bytes[at]) || bytes[at] == '#')) {
        if (bytes[at] == '#') {
            while (at < bytes.size() && bytes[at] != '\n') at++;
        } else {
            at++;
        }
    }
    long value = -1;
    for (; at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '9'; at++) {
        value = (value < 0 ? 0 : value) * 10 + (bytes[at] - '0');
        if (value > max_photo_pixels) return -1;
    }
    return value;
}

Photo decode_ppm(const std::vector<uint8_t>& bytes, const std::string& name) {
    size_t at = 2;
    const long width = ppm_number(bytes, at), height = ppm_number(bytes, at);
    const long maximum = ppm_number(bytes, at);
    at++;  // one white space
    if (width < 1 || height < 1 || maximum < 1) {
        fail_file(name + " has a damaged PPM header. Copy or export it again.");
    }
    if (maximum != 255) {
        fail_file(name + " has PPM values up to " + std::to_string(maximum) +
                  "; expected 255. Save it with 8 bits.");
    }
    Photo photo = empty_photo(height, width, name);
    if (at > bytes.size() || bytes.size() - at < photo.rgb.size()) fail_cut_short(name);
    std::memcpy(photo.rgb.data(), bytes.data() + at, photo.rgb.size());
    return photo;
}

Photo decode(const std::vector<uint8_t>& bytes, const std::string& name) {
    const auto starts_with = [&](const char* magic) {
        const size_t length = std::strlen(magic);
        return bytes.size() >= length && std::memcmp(bytes.data(), magic, length) == 0;
    };
    if (starts_with("\xff\xd8")) return decode_jpeg(bytes, name);
    if (starts_with("\x89PNG")) return decode_png(bytes, name);
    if (starts_with("P6")) return decode_ppm(bytes, name);
    fail_file(name + " isn't a JPEG, PNG or PPM (P6) image. Save it as one of these.");
}

// In orientations 5 to 8 the stored photo lies on its side. Pixel (y, x) of the upright photo is
// the stored one at the same place after the mirrorings that EXIF's number stands for.
Photo turn_upright(Photo stored, int orientation) {
    if (orientation == 1) return stored;
    const bool lies = orientation >= 5;
    const bool mirrored_x =
        orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool mirrored_y =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    Photo photo;
    photo.height = lies ? stored.width : stored.height;
    photo.width = lies ? stored.height : stored.width;
    photo.rgb.resize(stored.rgb.size());
    uint8_t* to = photo.rgb.data();
    for (int y = 0; y < photo.height; y++) {
        for (int x = 0; x < photo.width; x++, to += 3) {
            int from_y = lies ? x : y, from_x = lies ? y : x;
            if (mirrored_y) from_y = stored.height - 1 - from_y;
            if (mirrored_x) from_x = stored.width - 1 - from_x;
            const size_t pixel = static_cast<size_t>(from_y) * static_cast<size_t>(stored.width) +
                                 static_cast<size_t>(from_x);
            std::memcpy(to, stored.rgb.data() + 3 * pixel, 3);
        }
    }
    return photo;
}

}  // namespace

Photo read_photo(const std::string& path) {
    const std::vector<uint8_t> bytes = read_file(path);
    return turn_upright(decode(bytes, path), exif_orientation(bytes.data(), bytes.size()));
}

}  // namespace mv2
