// Photos: Pillow's own results as checksums, the accepted settings, the resulting sizes.
#include <algorithm>
#include <cmath>
#include <memory>

#include "check.h"
#include "image.h"
#include "resample.h"
#include "resample_rows.h"

using namespace mv2;

namespace {

std::vector<uint8_t> drawn(int height, int width) {
    std::vector<uint8_t> photo;
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
            for (int c = 0; c < 3; ++c) {
                photo.push_back(static_cast<uint8_t>(x * 37 + y * 101 + c * 53 + x * y * 7));
            }
        }
    }
    return photo;
}

ImageSettings plain(int height, int width, Resample filter) {
    ImageSettings settings;
    settings.height = height;
    settings.width = width;
    settings.resample = filter;
    settings.crop = settings.rescale = settings.flip_channels = false;
    return settings;
}

std::vector<float> prepared(const ImageSettings& settings, const std::vector<uint8_t>& photo,
                            int height, int width) {
    const Size size = prepared_size(settings, height, width);
    std::vector<float> pixels(static_cast<size_t>(3 * size.height * size.width), NAN);
    prepare(settings, photo.data(), height, width, ptrdiff_t{3} * width, pixels.data());
    return pixels;
}

// FNV-1a of the bytes in the order in which an image holds them.
uint32_t checksum(const std::vector<float>& planes) {
    uint32_t sum = 2166136261u;
    const size_t plane = planes.size() / 3;
    for (size_t i = 0; i < planes.size(); ++i) {
        sum = (sum ^ static_cast<uint32_t>(planes[i % 3 * plane + i / 3])) * 16777619u;
    }
    return sum;
}

struct Case {
    int height, width, to_height, to_width;
    uint32_t sums[8];  // of Image.resize of Pillow 13.0, for each filter
};

constexpr Case cases[] = {
    {7,
     5,
     3,
     4,
     {0x7eb59bf9u, 0xac003b96u, 0xa2b8abc4u, 0x93619a87u, 0x1e06b104u, 0xf3327a98u, 0x2353fc53u,
      0xcc8f368bu}},
    {40,
     60,
     17,
     23,
     {0xd8104343u, 0x98c62061u, 0x5c99bb6cu, 0xab15f09bu, 0x0272b9deu, 0x66900076u, 0x15f19675u,
      0xe92a13b0u}},
    {90,
     20,
     9,
     19,  // columns first
     {0x730d7b6fu, 0xbd119ae3u, 0xe36e5741u, 0x3f701c58u, 0x2b92ebb8u, 0x6d961e53u, 0xe087f658u,
      0x869251a1u}},
    {5,
     6,
     20,
     33,
     {0xef057db9u, 0x3ae8d510u, 0xab275d79u, 0x24148918u, 0x9ce14131u, 0xb738b6c3u, 0x62f3e7b7u,
      0x49606b75u}},
    {33,
     31,
     33,
     10,
     {0xaa141c5du, 0xaf693905u, 0x770dccb0u, 0x2cb95d28u, 0x0841163cu, 0x03b0dc4au, 0x5b212340u,
      0x0b71df4eu}},
    {33,
     31,
     10,
     31,
     {0x9ac9101du, 0x10a26d9du, 0xaeed63c5u, 0x71bdce75u, 0x9bbad02eu, 0xee13539eu, 0xfaafa927u,
      0x210590d1u}},
};

void like_pillow() {
    for (const Case& c : cases) {
        const std::vector<uint8_t> photo = drawn(c.height, c.width);
        for (int filter = 0; filter < 8; ++filter) {
            for (int other = 0; other < 8; ++other) {  // no filter is mistaken for another
                const auto settings = plain(c.to_height, c.to_width, static_cast<Resample>(filter));
                const uint32_t sum = checksum(prepared(settings, photo, c.height, c.width));
                CHECK((sum == c.sums[other]) == (filter == other));
            }
        }
    }
    CHECK((prepared(plain(2, 2, Resample::box), drawn(4, 4), 4, 4) ==
           std::vector<float>{71, 152, 152, 133, 124, 141, 141, 122, 177, 130, 130, 111}));
}

// A crop, even beyond the edges, equals a crop of the whole resized photo.
void crops() {
    const std::vector<uint8_t> photo = drawn(60, 45);
    for (int filter = 0; filter < 8; ++filter) {
        ImageSettings settings = plain(31, 22, static_cast<Resample>(filter));
        const std::vector<float> whole = prepared(settings, photo, 60, 45);
        for (const Size crop : {Size{31, 22}, Size{8, 5}, Size{1, 1}, Size{40, 7}, Size{35, 23}}) {
            settings.crop = true;
            settings.crop_height = crop.height;
            settings.crop_width = crop.width;
            const std::vector<float> part = prepared(settings, photo, 60, 45);
            const int top = static_cast<int>(std::floor((31 - crop.height) / 2.0));
            const int left = static_cast<int>(std::floor((22 - crop.width) / 2.0));
            bool same = true;
            size_t at = 0;
            for (int c = 0; c < 3; ++c) {
                for (int y = top; y < top + crop.height; ++y) {
                    for (int x = left; x < left + crop.width; ++x, ++at) {
                        const bool inside = y >= 0 && y < 31 && x >= 0 && x < 22;
                        const int from = (c * 31 + y) * 22 + x;
                        same &= part[at] == (inside ? whole[static_cast<size_t>(from)] : 0);
                    }
                }
            }
            CHECK(same);
        }
    }
}

void values_and_order() {
    ImageSettings settings;
    settings.resize = settings.crop = false;
    const std::vector<uint8_t> photo = {0, 128, 255, 1, 2, 3};
    const auto scaled = [](int value) { return static_cast<float>(value * (1.0 / 255)); };
    CHECK((prepared(settings, photo, 1, 2) ==
           std::vector<float>{1, scaled(3), scaled(128), scaled(2), 0, scaled(1)}));
    settings.flip_channels = settings.rescale = false;
    CHECK((prepared(settings, photo, 1, 2) == std::vector<float>{0, 1, 128, 2, 255, 3}));
    std::vector<float> upside_down(6);
    prepare(settings, photo.data() + 3, 2, 1, -3, upside_down.data());
    CHECK((upside_down == std::vector<float>{1, 0, 2, 128, 3, 255}));
}

Size size_of(const char* size, int height, int width) {
    const std::string text = std::string("{\"do_center_crop\": false, \"size\": ") + size + "}";
    return prepared_size(image_settings(parse_json(text, "the test"), "the test"), height, width);
}

bool operator==(Size a, Size b) { return a.height == b.height && a.width == b.width; }

void sizes() {
    CHECK((size_of("288", 3000, 4000) == Size{288, 384}));
    CHECK((size_of("288", 500, 333) == Size{432, 288}));
    CHECK((size_of("{\"shortest_edge\": 10, \"longest_edge\": 15}", 10, 40) == Size{4, 15}));
    // 2.5 is 2
    CHECK((size_of("{\"shortest_edge\": 8, \"longest_edge\": 5}", 2, 4) == Size{2, 4}));
    // 3.5 is 4
    CHECK((size_of("{\"shortest_edge\": 8, \"longest_edge\": 7}", 4, 8) == Size{4, 8}));
    CHECK((size_of("[20, 30]", 7, 7) == Size{20, 30}));
    CHECK((size_of("{\"height\": 20, \"width\": 30}", 7, 7) == Size{20, 30}));
    CHECK((size_of("{\"max_height\": 20, \"max_width\": 30}", 100, 1000) == Size{3, 30}));
    CHECK((size_of("{\"max_height\": 2, \"max_width\": 2}", 1, 60000) == Size{1, 2}));
    ImageSettings settings;
    CHECK((prepared_size(settings, 5, 5000) == Size{256, 256}));
    for (const Size wrong : {Size{0, 5}, Size{5, -1}, Size{65536, 1}, Size{1, 65536},
                             Size{65535, 2731}, Size{1, 65535}}) {
        const std::string message =
            refusal(MV2_ERROR_INPUT, [&] { prepared_size(settings, wrong.height, wrong.width); });
        CHECK(!message.empty());
    }
    settings.resize = false;
    CHECK((prepared_size(settings, 65535, 2730) == Size{256, 256}));
    const uint8_t photo[12] = {};
    float pixels[12];
    CHECK(!refusal(MV2_ERROR_INPUT, [&] { prepare(settings, photo, 2, 2, 5, pixels); }).empty());
    CHECK(!refusal(MV2_ERROR_INPUT, [&] { prepare(settings, nullptr, 2, 2, 6, pixels); }).empty());
}

void settings_of_files() {
    const auto read = [](const std::string& text) {
        return image_settings(parse_json(text, "the file"), "the file");
    };
    const ImageSettings some = read(
        "{\"do_resize\": false, \"size\": null, \"resample\": 2, \"crop_size\": {\"width\": 3, "
        "\"height\": 8192}, \"rescale_factor\": 1, \"do_flip_channel_order\": false, "
        "\"strange\": {}, \"image_processor_type\": \"MobileViTImageProcessorFast\"}");
    CHECK(!some.resize && some.shortest_edge == 224 && some.resample == Resample::bilinear);
    CHECK(some.crop_width == 3 && some.crop_height == 8192 && some.rescale_factor == 1);
    CHECK(some.crop && some.rescale && !some.flip_channels);
    CHECK(read("{\"crop_size\": 7}").crop_height == 7);
    CHECK(read("{\"crop_size\": [7, 8]}").crop_width == 8);
    CHECK(read("{\"size\": [7, 8]}").shortest_edge == 0);
    for (const char* wrong :
         {"\"do_resize\": 1",
          "\"do_rescale\": \"true\"",
          "\"do_reduce_labels\": 0",
          "\"do_convert_rgb\": []",
          "\"size\": true",
          "\"size\": 0",
          "\"size\": 8193",
          "\"size\": 1.5",
          "\"size\": [1]",
          "\"size\": [1, 0]",
          "\"size\": {}",
          "\"size\": \"224\"",
          "\"size\": {\"longest_edge\": 5}",
          "\"size\": {\"height\": 5}",
          "\"size\": {\"height\": 5, \"width\": null}",
          "\"size\": {\"height\": 5, \"shortest_edge\": 5}",
          "\"size\": {\"shortest_edge\": 5, \"longest_edge\": 5, \"height\": 5}",
          "\"crop_size\": false",
          "\"crop_size\": {\"shortest_edge\": 5}",
          "\"crop_size\": [1, 2, 3]",
          "\"crop_size\": -1",
          "\"crop_size\": {\"height\": 1, \"width\": 1, \"depth\": 1}",
          "\"resample\": 8",
          "\"resample\": true",
          "\"resample\": \"bicubic\"",
          "\"rescale_factor\": 0",
          "\"rescale_factor\": -1",
          "\"rescale_factor\": true",
          "\"rescale_factor\": 1e300",
          "\"image_processor_type\": \"ViTImageProcessor\"",
          "\"feature_extractor_type\": 1"}) {
        const std::string text = std::string("{") + wrong + "}";
        CHECK(refusal(MV2_ERROR_FILE, [&] { read(text); }).find("the file: ") == 0);
    }
    CHECK(!refusal(MV2_ERROR_FILE, [&] { read("[]"); }).empty());
}

// 32-bit sums rely on the halves of the weights.
void weights() {
    for (int filter = 1; filter < 8; ++filter) {
        for (const int from : {1, 2, 3, 10, 500, 65535}) {
            for (const int to : {1, 2, 7, 300}) {
                const Axis axis(static_cast<Resample>(filter), from, to, 0, to);
                bool good = true;
                for (size_t i = 0; i < axis.windows.size(); ++i) {
                    int64_t sum = 0, size = 0;
                    for (int tap = 0; tap < axis.windows[i].count; ++tap) {
                        sum += axis.weight(i, tap);
                        size += std::abs(axis.weight(i, tap));
                    }
                    const int64_t one = 1 << weight_bits;
                    good &= std::abs(sum - one) <= axis.windows[i].count && size * 255 < INT32_MAX;
                }
                for (int16_t low : axis.low) good &= low >= -128 && low < 128;
                CHECK(good);
            }
        }
    }
}

// This processor's instructions and plain loops give the same bytes.
void instructions() {
    for (const Size c : {Size{700, 31}, Size{100, 99}, Size{40, 300}, Size{5, 64}}) {
        const int from = c.height, to = c.width;
        const std::vector<uint8_t> photo = drawn(90, from);
        for (int filter = 1; filter < 8; ++filter) {
            const Axis axis(static_cast<Resample>(filter), from, to, 0, to);
            const size_t pitch = static_cast<size_t>(from + Axis::lanes);
            std::vector<int16_t> a(3 * pitch), b(3 * pitch);
            split(photo.data(), from, a.data(), pitch);
            split_plain(photo.data(), 0, from, b.data(), pitch);
            CHECK(a == b);
            std::vector<uint8_t> x(3 * axis.windows.size()), y(x.size());
            along(axis, a.data(), pitch, x.data());
            along_plain(axis, a.data(), pitch, y.data());
            CHECK(x == y);
            const Axis rows(static_cast<Resample>(filter), 90, 13, 0, 13);
            const size_t bytes = static_cast<size_t>(3 * from), at = rows.offsets[5];
            const Window window = rows.windows[5];
            std::vector<const uint8_t*> taps;
            for (int i = 0; i < window.count; ++i) {
                taps.push_back(photo.data() + static_cast<size_t>(window.first + i) * bytes);
            }
            std::vector<uint8_t> v(bytes), w(bytes);
            across(taps.data(), &rows.low[at], &rows.high[at], window.count, bytes, v.data());
            across_plain(taps.data(), &rows.low[at], &rows.high[at], window.count, 0, bytes,
                         w.data());
            CHECK(v == w);
        }
    }
}

}  // namespace

int main() {
    like_pillow();
    crops();
    values_and_order();
    sizes();
    settings_of_files();
    weights();
    instructions();
    return failures();
}
