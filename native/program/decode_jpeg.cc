// libjpeg reports errors through a function that must not return. It leaves by longjmp, which runs
// no destructors: what lives across it is trivial or belongs to the caller.
#include "decoders.h"

#ifndef MV2_HAS_JPEG

namespace mv2 {

Photo decode_jpeg(const std::vector<uint8_t>&, const std::string& name) {
    fail_unsupported(name + " is a JPEG, and this program was built without libjpeg. Save it as " +
                     "PPM, or build again with libjpeg.");
}

}  // namespace mv2

#else

#include <csetjmp>
#include <cstddef>
#include <cstdio>

#include <jpeglib.h>
#include <jerror.h>

namespace mv2 {
namespace {

struct Decoder {
    jpeg_decompress_struct jpeg = {};
    jpeg_error_mgr errors = {};
    std::jmp_buf failed = {};
    char reason[JMSG_LENGTH_MAX] = "";
    ~Decoder() { jpeg_destroy_decompress(&jpeg); }
};

void stop(j_common_ptr jpeg) {
    Decoder* decoder = static_cast<Decoder*>(jpeg->client_data);
    jpeg->err->format_message(jpeg, decoder->reason);
    std::longjmp(decoder->failed, 1);
}

// libjpeg fills missing data with gray, and only warns.
void warn(j_common_ptr jpeg, int level) {
    if (level < 0 && jpeg->err->msg_code == JWRN_JPEG_EOF) stop(jpeg);
}

bool read_header(Decoder& decoder, const std::vector<uint8_t>& bytes) {
    jpeg_decompress_struct& jpeg = decoder.jpeg;
    if (setjmp(decoder.failed)) return false;
    jpeg_create_decompress(&jpeg);
    jpeg_mem_src(&jpeg, bytes.data(), static_cast<unsigned long>(bytes.size()));
    jpeg_read_header(&jpeg, TRUE);
    const bool inks = jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK;
    jpeg.out_color_space = inks ? JCS_CMYK : JCS_RGB;
    return true;
}

// A row of CMYK, stored inverted, to RGB.
void to_rgb(const uint8_t* inks, int width, uint8_t* rgb) {
    for (int x = 0; x < width; x++, inks += 4, rgb += 3) {
        for (int c = 0; c < 3; c++) {
            const int product = (255 - inks[c]) * inks[3] + 128;
            rgb[c] = static_cast<uint8_t>(inks[3] - ((product >> 8) + product) / 256);
        }
    }
}

bool read_rows(Decoder& decoder, Photo& photo, std::vector<uint8_t>& inks) {
    jpeg_decompress_struct& jpeg = decoder.jpeg;
    if (setjmp(decoder.failed)) return false;
    jpeg_start_decompress(&jpeg);
    while (jpeg.output_scanline < jpeg.output_height) {
        uint8_t* rgb = photo.rgb.data() + static_cast<size_t>(jpeg.output_scanline) *
                                              static_cast<size_t>(photo.width) * 3;
        JSAMPROW row = inks.empty() ? rgb : inks.data();
        jpeg_read_scanlines(&jpeg, &row, 1);
        if (!inks.empty()) to_rgb(inks.data(), photo.width, rgb);
    }
    return true;
}

}  // namespace

Photo decode_jpeg(const std::vector<uint8_t>& bytes, const std::string& name) {
    Decoder decoder;
    decoder.jpeg.err = jpeg_std_error(&decoder.errors);
    decoder.errors.error_exit = stop;
    decoder.errors.emit_message = warn;
    decoder.jpeg.client_data = &decoder;

    if (!read_header(decoder, bytes)) fail_cut_short(name, decoder.reason);
    Photo photo = empty_photo(decoder.jpeg.image_height, decoder.jpeg.image_width, name);
    std::vector<uint8_t> inks;
    if (decoder.jpeg.out_color_space == JCS_CMYK) {
        inks.resize(static_cast<size_t>(photo.width) * 4);
    }
    if (!read_rows(decoder, photo, inks)) fail_cut_short(name, decoder.reason);
    return photo;
}

}  // namespace mv2

#endif
