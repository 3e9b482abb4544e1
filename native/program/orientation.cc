// Walks a file's parts up to its EXIF block, and the block up to one tag. None of it can be
// trusted, so every read goes through a `Span`, which returns 0 for anything beyond its end.
#include "orientation.h"

#include <algorithm>
#include <cstring>

namespace mv2 {
namespace {

struct Span {
    const uint8_t* data;
    size_t size;

    Span from(size_t begin) const {
        begin = std::min(begin, size);
        return {data + begin, size - begin};
    }
    Span first(size_t length) const { return {data, std::min(length, size)}; }
    bool starts_with(const char* bytes, size_t length) const {
        return size >= length && std::memcmp(data, bytes, length) == 0;
    }
    uint32_t number(size_t at, int bytes, bool little) const {
        if (at > size || size - at < static_cast<size_t>(bytes)) return 0;
        uint32_t value = 0;
        for (int i = 0; i < bytes; i++) {
            value = value << 8 | data[at + static_cast<size_t>(little ? bytes - 1 - i : i)];
        }
        return value;
    }
};

constexpr uint32_t orientation_tag = 0x0112;

// A TIFF header and the directory that it points to: entries of tag, type, count and value.
int orientation_in_tiff(Span tiff) {
    const bool little = tiff.starts_with("II*\0", 4);
    if (!little && !tiff.starts_with("MM\0*", 4)) return 1;
    const Span directory = tiff.from(tiff.number(4, 4, little));
    const uint32_t entries = directory.number(0, 2, little);
    for (uint32_t i = 0; i < entries && 2 + 12 * (i + 1) <= directory.size; i++) {
        const Span entry = directory.from(2 + 12 * i).first(12);
        if (entry.number(0, 2, little) != orientation_tag) continue;
        const uint32_t value = entry.number(8, 2, little);
        return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
    return 1;
}

// Markers with their lengths, before the first scan; EXIF is in an APP1.
int orientation_in_jpeg(Span file) {
    Span rest = file.from(2);
    while (rest.size >= 4 && rest.data[0] == 0xff) {
        const uint8_t marker = rest.data[1];
        if (marker == 0xff) {  // a fill byte
            rest = rest.from(1);
            continue;
        }
        const size_t length = rest.number(2, 2, false);
        if (marker == 0xda || length < 2) break;
        const Span body = rest.from(4).first(length - 2);
        if (marker == 0xe1 && body.starts_with("Exif\0\0", 6)) {
            return orientation_in_tiff(body.from(6));
        }
        rest = rest.from(2 + length);
    }
    return 1;
}

// Chunks of length, name, body and checksum.
int orientation_in_png(Span file) {
    Span rest = file.from(8);
    while (rest.size >= 12) {
        const size_t length = rest.number(0, 4, false);
        const Span chunk = rest.from(4);
        if (chunk.starts_with("eXIf", 4)) return orientation_in_tiff(chunk.from(4).first(length));
        if (length > rest.size - 12) break;
        rest = rest.from(12 + length);
    }
    return 1;
}

}  // namespace

int exif_orientation(const uint8_t* file, size_t size) {
    const Span bytes = {file, size};
    if (bytes.starts_with("\xff\xd8", 2)) return orientation_in_jpeg(bytes);
    if (bytes.starts_with("\x89PNG", 4)) return orientation_in_png(bytes);
    return 1;
}

}  // namespace mv2
