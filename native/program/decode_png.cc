// As in decode_jpeg.cc, no function that longjmp leaves holds anything with a destructor.
#include "decoders.h"

#ifndef MV2_HAS_PNG

namespace mv2 {

Photo decode_png(const std::vector<uint8_t>&, const std::string& name) {
    fail_unsupported(name + " is a PNG, and this program was built without libpng. Save it as " +
                     "PPM, or build again with libpng.");
}

}  // namespace mv2

#else

#include <png.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>

namespace mv2 {
namespace {

struct Decoder {
    png_structp png = nullptr;
    png_infop info = nullptr;
    const std::vector<uint8_t>* bytes = nullptr;
    size_t at = 0;
    char reason[128] = "";
    ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }
};

void stop(png_structp png, png_const_charp reason) {
    Decoder* decoder = static_cast<Decoder*>(png_get_error_ptr(png));
    std::snprintf(decoder->reason, sizeof decoder->reason, "%s", reason);
    png_longjmp(png, 1);
}

void ignore(png_structp, png_const_charp) {}

void take(png_structp png, png_bytep to, size_t length) {
    Decoder* decoder = static_cast<Decoder*>(png_get_io_ptr(png));
    if (decoder->bytes->size() - decoder->at < length) png_error(png, "it ends too early");
    std::memcpy(to, decoder->bytes->data() + decoder->at, length);
    decoder->at += length;
}

bool is_deep_gray(const Decoder& decoder) {
    return png_get_bit_depth(decoder.png, decoder.info) == 16 &&
           png_get_color_type(decoder.png, decoder.info) == PNG_COLOR_TYPE_GRAY;
}

bool read_header(Decoder& decoder) {
    if (setjmp(png_jmpbuf(decoder.png))) return false;
    png_set_read_fn(decoder.png, &decoder, take);
    png_read_info(decoder.png, decoder.info);
    if (!is_deep_gray(decoder)) {  // all others to 8-bit RGBA
        png_set_strip_16(decoder.png);
        png_set_expand(decoder.png);
        png_set_gray_to_rgb(decoder.png);
        png_set_add_alpha(decoder.png, 255, PNG_FILLER_AFTER);
    }
    png_set_interlace_handling(decoder.png);
    png_read_update_info(decoder.png, decoder.info);
    return true;
}

bool read_rows(Decoder& decoder, std::vector<png_bytep>& rows) {
    if (setjmp(png_jmpbuf(decoder.png))) return false;
    png_read_image(decoder.png, rows.data());
    png_read_end(decoder.png, nullptr);
    return true;
}

// Pillow's alpha_composite on white, bit for bit.
uint8_t on_white(int value, int alpha) {
    const unsigned sum = static_cast<unsigned>(value * alpha + 255 * (255 - alpha)) * 128 + 16384;
    return static_cast<uint8_t>((((sum >> 8) + sum) >> 8) >> 7);
}

void from_rgba(const std::vector<uint8_t>& rgba, Photo& photo) {
    for (size_t i = 0; i < rgba.size() / 4; i++) {
        for (size_t c = 0; c < 3; c++) {
            photo.rgb[3 * i + c] = on_white(rgba[4 * i + c], rgba[4 * i + 3]);
        }
    }
}

// 16 bits often hold 8-bit values; otherwise 65535 is white.
void from_deep_gray(const std::vector<uint8_t>& pairs, Photo& photo) {
    const auto value = [&](size_t i) { return pairs[2 * i] * 256 + pairs[2 * i + 1]; };
    int largest = 0;
    for (size_t i = 0; i < pairs.size() / 2; i++) largest = std::max(largest, value(i));
    for (size_t i = 0; i < pairs.size() / 2; i++) {
        const int gray = largest <= 255 ? value(i) : (value(i) + 128) / 257;
        std::memset(photo.rgb.data() + 3 * i, gray, 3);
    }
}

}  // namespace

Photo decode_png(const std::vector<uint8_t>& bytes, const std::string& name) {
    Decoder decoder;
    decoder.bytes = &bytes;
    decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, stop, ignore);
    decoder.info = decoder.png ? png_create_info_struct(decoder.png) : nullptr;
    if (!decoder.info)
        fail_unsupported(
            "libpng can't be used: it isn't the version this program was built with, or memory ran "
            "out.");
    if (!read_header(decoder)) fail_cut_short(name, decoder.reason);
    Photo photo =
        empty_photo(static_cast<long>(png_get_image_height(decoder.png, decoder.info)),
                    static_cast<long>(png_get_image_width(decoder.png, decoder.info)), name);
    const size_t row_bytes = png_get_rowbytes(decoder.png, decoder.info);
    std::vector<uint8_t> stored(row_bytes * static_cast<size_t>(photo.height));
    std::vector<png_bytep> rows(static_cast<size_t>(photo.height));
    for (size_t y = 0; y < rows.size(); y++) rows[y] = stored.data() + y * row_bytes;
    if (!read_rows(decoder, rows)) fail_cut_short(name, decoder.reason);
    if (is_deep_gray(decoder)) {
        from_deep_gray(stored, photo);
    } else {
        from_rgba(stored, photo);
    }
    return photo;
}

}  // namespace mv2

#endif
