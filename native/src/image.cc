// What MobileViTImageProcessor does to a photo: resize, crop, scale and flip the channels. Only
// what the crop leaves is computed, a few rows at a time: the resized photo is never in memory as a
// whole.
#include "image.h"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "error.h"
#include "resample.h"
#include "resample_rows.h"

namespace mv2 {
namespace {

constexpr int longest_asked_side = 8192;  // for a resize or crop
constexpr int longest_photo_side = 65535;
constexpr int64_t most_pixels = 178956970;  // Pillow refuses larger photos as decompression bombs

// The fields of preprocessor_config.json; one that is missing or null keeps its default.
class Fields {
 public:
    Fields(const Json& config, const char* name) : config_(config), name_(name) {
        if (config.kind != Json::object) fail_file(name_ + " must be a JSON object.");
    }

    [[noreturn]] void fail(const std::string& what) const { fail_file(name_ + ": " + what); }

    const Json* find(const char* field) const {
        const Json* value = config_.find(field);
        return value && value->kind != Json::null ? value : nullptr;
    }

    void flag(const char* field, bool& result) const {
        const Json* value = find(field);
        if (!value) return;
        if (value->kind != Json::boolean) {
            fail(std::string(field) + " must be true or false, got " + shown(*value) + ".");
        }
        result = value->truth;
    }

    int whole(const std::string& field, const Json& value, int least, int most,
              const char* what) const {
        if (value.kind != Json::number || value.value != std::floor(value.value) ||
            value.value < least || value.value > most) {
            fail(field + " must be " + what + " from " + std::to_string(least) + " to " +
                 std::to_string(most) + ", got " + shown(value) + ".");
        }
        return static_cast<int>(value.value);
    }

    int side(const std::string& field, const Json& value) const {
        return whole(field, value, 1, longest_asked_side, "a whole number of pixels");
    }

    static std::string shown(const Json& value) {
        const std::string text = to_json(value);
        if (text.size() <= 80) return text;
        size_t end = 77;  // not inside a character
        while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
        return text.substr(0, end) + "...";
    }

 private:
    const Json& config_;
    const std::string name_;
};

void check_type(const Fields& fields) {
    auto given = [](const Json* value) {
        return value && !(value->kind == Json::string && value->text.empty());
    };
    const Json* type = fields.find("image_processor_type");
    if (!given(type)) type = fields.find("feature_extractor_type");
    if (given(type) && type->text.rfind("MobileViT", 0) != 0) {
        fields.fail("these settings are for a " + Fields::shown(*type) +
                    ", which prepares images differently from a MobileViT processor. Use the file "
                    "that belongs to the MobileViTV2 model.");
    }
}

// `size` is {"shortest_edge": 288} or another set of keys, a number, or [height, width].
void read_size(const Fields& fields, ImageSettings& settings) {
    const Json* size = fields.find("size");
    if (!size) return;
    settings.shortest_edge = 0;
    if (size->kind == Json::number) {
        settings.shortest_edge = fields.side("size", *size);
    } else if (size->kind == Json::array && size->items.size() == 2) {
        settings.height = fields.side("size[0]", size->items[0]);
        settings.width = fields.side("size[1]", size->items[1]);
    } else {
        auto has_only = [&](const char* a, const char* b) {
            return size->members.size() == (b ? 2u : 1u) && size->find(a) && (!b || size->find(b));
        };
        auto side = [&](const char* key) {
            return fields.side(std::string("size.") + key, *size->find(key));
        };
        if (has_only("shortest_edge", nullptr)) {
            settings.shortest_edge = side("shortest_edge");
        } else if (has_only("shortest_edge", "longest_edge")) {
            settings.shortest_edge = side("shortest_edge");
            settings.longest_edge = side("longest_edge");
        } else if (has_only("height", "width")) {
            settings.height = side("height");
            settings.width = side("width");
        } else if (has_only("max_height", "max_width")) {
            settings.max_height = side("max_height");
            settings.max_width = side("max_width");
        } else {
            fields.fail(
                "size must have one of these sets of keys: shortest_edge; longest_edge and "
                "shortest_edge; height and width; max_height and max_width; got " +
                Fields::shown(*size) + ".");
        }
    }
}

void read_crop_size(const Fields& fields, ImageSettings& settings) {
    const Json* size = fields.find("crop_size");
    if (!size) return;
    const Json *height = size->find("height"), *width = size->find("width");
    if (size->kind == Json::number) {
        height = width = size;
    } else if (size->kind == Json::array && size->items.size() == 2) {
        height = &size->items[0];
        width = &size->items[1];
    } else if (!height || !width || size->members.size() != 2) {
        fields.fail("crop_size has the keys height and width, not " + Fields::shown(*size) + ".");
    }
    settings.crop_height = fields.side("crop_size.height", *height);
    settings.crop_width = fields.side("crop_size.width", *width);
}

int half_down(int value) { return (value - (value < 0)) / 2; }

double half_to_even(double value) {
    const double below = std::floor(value), rest = value - below;
    const bool up = rest > 0.5 || (rest == 0.5 && std::fmod(below, 2.0) != 0.0);
    return up ? below + 1 : below;
}

std::string shown(double height, double width) {
    char text[64];
    std::snprintf(text, sizeof text, "%.0fx%.0f px (width x height)", width, height);
    return text;
}

// The size that a photo is resized to. The operations are in the Python code's order, so that they
// round the same.
Size resized_size(const ImageSettings& settings, int photo_height, int photo_width) {
    const double width = photo_width, height = photo_height;
    double to_width = width, to_height = height;
    if (settings.height) {
        to_width = settings.width;
        to_height = settings.height;
    } else if (settings.max_height) {
        const double scale = std::min(settings.max_width / width, settings.max_height / height);
        to_width = std::max(1.0, std::floor(width * scale));
        to_height = std::max(1.0, std::floor(height * scale));
    } else {
        const double edge = std::min(width, height), other = std::max(width, height);
        double short_side = settings.shortest_edge, exact = short_side;
        if (settings.longest_edge && other / edge * short_side > settings.longest_edge) {
            exact = settings.longest_edge * edge / other;
            short_side = std::max(1.0, half_to_even(exact));
        }
        if (!settings.longest_edge || edge != short_side) {
            const double long_side = std::floor(exact * other / edge);
            to_width = width <= height ? short_side : long_side;
            to_height = width <= height ? long_side : short_side;
        }
    }
    if (to_width < 1 || to_height < 1 || to_width * to_height > static_cast<double>(most_pixels)) {
        fail_input("A photo of " + shown(height, width) + " would be resized to " +
                   shown(to_height, to_width) +
                   "; expected 1 to 178,956,970 pixels: crop the photo.");
    }
    return {static_cast<int>(to_height), static_cast<int>(to_width)};
}

// One axis: the photo's size, the size it is resized to, and the part of that which is kept.
struct Side {
    int photo, resized, prepared;
    int before;      // the first prepared pixel among the resized ones; before 0 they are 0
    int begin, end;  // the resized pixels that are kept

    Side(int photo_size, int resized_size, bool crop, int crop_size)
        : photo(photo_size),
          resized(resized_size),
          prepared(crop ? crop_size : resized_size),
          before(half_down(resized - prepared)),
          begin(std::max(before, 0)),
          end(std::min(before + prepared, resized)) {}
    int kept() const { return end - begin; }
};

struct Sides {
    Side rows, columns;
};

Sides sides(const ImageSettings& settings, int height, int width) {
    if (height < 1 || width < 1 || height > longest_photo_side || width > longest_photo_side ||
        int64_t{height} * width > most_pixels) {
        fail_input("A photo must have sides of 1 to 65,535 px and up to 178,956,970 pixels, got " +
                   shown(height, width) + ": make it smaller.");
    }
    const Size to = settings.resize ? resized_size(settings, height, width) : Size{height, width};
    return {{height, to.height, settings.crop, settings.crop_height},
            {width, to.width, settings.crop, settings.crop_width}};
}

// The source pixel of each kept pixel; -1 for none. Pillow accumulates the position in the source,
// and the sum's rounding decides which pixel is nearest.
std::vector<int> nearest_pixels(const Side& side) {
    std::vector<int> pixels;
    const double step = static_cast<double>(side.photo) / side.resized;
    double at = step * 0.5;
    for (int i = 0; i < side.end; ++i, at += step) {
        if (i < side.begin) continue;
        pixels.push_back(at < side.photo ? static_cast<int>(at) : -1);
    }
    return pixels;
}

// Turns a row of the photo into the kept columns, as three consecutive planes of bytes.
class Columns {
 public:
    Columns(const Side& side, Resample filter) : count_(static_cast<size_t>(side.kept())) {
        if (side.photo == side.resized) {
            source_ = {side.begin, side.kept()};
            for (int x = 0; x < side.kept(); ++x) pixels_.push_back(x);
        } else if (filter == Resample::nearest) {
            source_ = {0, side.photo};
            pixels_ = nearest_pixels(side);
        } else {
            axis_.emplace(filter, side.photo, side.resized, side.begin, side.end);
            source_ = axis_->source();
            pitch_ = static_cast<size_t>(source_.count + Axis::lanes);
            planes_.resize(3 * pitch_);
        }
    }

    bool filtered() const { return axis_.has_value(); }
    size_t bytes() const { return 3 * count_; }
    size_t source_offset() const { return 3 * static_cast<size_t>(source_.first); }
    size_t source_bytes() const { return 3 * static_cast<size_t>(source_.count); }

    // Takes source_bytes() of a row from source_offset() on, writes bytes().
    void pick(const uint8_t* source, uint8_t* out) {
        if (axis_) {
            split(source, source_.count, planes_.data(), pitch_);
            along(*axis_, planes_.data(), pitch_, out);
            return;
        }
        for (size_t x = 0; x < count_; ++x) {
            for (int c = 0; c < 3; ++c) {
                out[static_cast<size_t>(c) * count_ + x] =
                    pixels_[x] < 0 ? uint8_t{0} : source[3 * pixels_[x] + c];
            }
        }
    }

 private:
    size_t count_, pitch_ = 0;
    Window source_{0, 0};
    std::optional<Axis> axis_;
    std::vector<int> pixels_;  // of the source, if there is no axis
    std::vector<int16_t> planes_;
};

// The prepared pixels; a table turns bytes into floats.
class Output {
 public:
    Output(const ImageSettings& settings, const Sides& place, float* pixels)
        : place_(place), flip_(settings.flip_channels), pixels_(pixels) {
        const double factor = settings.rescale ? settings.rescale_factor : 1.0;
        for (int i = 0; i < 256; ++i) {
            table_[static_cast<size_t>(i)] = static_cast<float>(i * factor);
        }
        if (place.rows.kept() < place.rows.prepared ||
            place.columns.kept() < place.columns.prepared) {
            std::fill_n(pixels, 3 * plane(), 0.0f);
        }
    }

    // The planes of the resized row `y`.
    void write(int y, const uint8_t* planes) {
        const auto width = static_cast<size_t>(place_.columns.prepared);
        const auto count = static_cast<size_t>(place_.columns.kept());
        const auto row = static_cast<size_t>(y - place_.rows.before);
        const auto column = static_cast<size_t>(place_.columns.begin - place_.columns.before);
        for (size_t c = 0; c < 3; ++c) {
            float* to = pixels_ + (flip_ ? 2 - c : c) * plane() + row * width + column;
            for (size_t x = 0; x < count; ++x) to[x] = table_[planes[c * count + x]];
        }
    }

 private:
    const Sides& place_;
    bool flip_;
    float* pixels_;
    std::array<float, 256> table_;

    size_t plane() const {
        return static_cast<size_t>(place_.rows.prepared) *
               static_cast<size_t>(place_.columns.prepared);
    }
};

// The order of the passes decides what is rounded in between. This is Pillow's rule since 13.0.
// Older versions always resize along the rows first, and differ for photos that lose far more rows
// than columns: those more than twice as high as wide.
bool columns_come_first(const Sides& place) {
    const int64_t fewer_rows = place.rows.photo - place.rows.resized;
    const int64_t fewer_columns = place.columns.photo - place.columns.resized;
    return fewer_rows > 0 && fewer_rows > 2 * fewer_columns;
}

// `row(y)` returns the photo's row y from the first needed column on.
template <typename Row>
void resize_columns_first(const Axis& axis, const Side& side, Columns& columns, Row row,
                          Output& output) {
    std::vector<uint8_t> source(columns.source_bytes()), planes(columns.bytes());
    std::vector<const uint8_t*> taps(static_cast<size_t>(axis.widest));
    for (int y = side.begin; y < side.end; ++y) {
        const auto pixel = static_cast<size_t>(y - side.begin);
        const Window window = axis.windows[pixel];
        for (int i = 0; i < window.count; ++i) taps[static_cast<size_t>(i)] = row(window.first + i);
        const size_t at = axis.offsets[pixel];
        across(taps.data(), &axis.low[at], &axis.high[at], window.count, source.size(),
               source.data());
        columns.pick(source.data(), planes.data());
        output.write(y, planes.data());
    }
}

// The resized rows lie in a ring with room for one window, as windows only move forward.
template <typename Row>
void resize_rows_first(const Axis& axis, const Side& side, Columns& columns, Row row,
                       Output& output) {
    const size_t bytes = columns.bytes(), room = static_cast<size_t>(axis.widest);
    std::vector<uint8_t> ring(room * bytes), planes(bytes);
    std::vector<const uint8_t*> taps(room);
    const auto slot = [&](int y) { return ring.data() + static_cast<size_t>(y) % room * bytes; };
    int next = 0;
    for (int y = side.begin; y < side.end; ++y) {
        const auto pixel = static_cast<size_t>(y - side.begin);
        const Window window = axis.windows[pixel];
        for (next = std::max(next, window.first); next < window.first + window.count; ++next) {
            columns.pick(row(next), slot(next));
        }
        for (int i = 0; i < window.count; ++i) {
            taps[static_cast<size_t>(i)] = slot(window.first + i);
        }
        const size_t at = axis.offsets[pixel];
        across(taps.data(), &axis.low[at], &axis.high[at], window.count, bytes, planes.data());
        output.write(y, planes.data());
    }
}

// Takes rows unchanged, or the nearest ones.
template <typename Row>
void pick_rows(const Side& side, Columns& columns, Row row, Output& output) {
    const bool same = side.photo == side.resized;
    const std::vector<int> nearest = same ? std::vector<int>() : nearest_pixels(side);
    std::vector<uint8_t> planes(columns.bytes());
    for (int y = side.begin; y < side.end; ++y) {
        const int from = same ? y : nearest[static_cast<size_t>(y - side.begin)];
        if (from < 0) {
            std::fill(planes.begin(), planes.end(), uint8_t{0});
        } else {
            columns.pick(row(from), planes.data());
        }
        output.write(y, planes.data());
    }
}

}  // namespace

ImageSettings image_settings(const Json& config, const char* name) {
    const Fields fields(config, name);
    check_type(fields);
    ImageSettings settings;
    bool unused = false;  // mistakes in these two are refused, as in Python
    fields.flag("do_reduce_labels", unused);
    fields.flag("do_convert_rgb", unused);
    fields.flag("do_resize", settings.resize);
    fields.flag("do_center_crop", settings.crop);
    fields.flag("do_rescale", settings.rescale);
    fields.flag("do_flip_channel_order", settings.flip_channels);
    read_size(fields, settings);
    read_crop_size(fields, settings);
    if (const Json* filter = fields.find("resample")) {
        const int number = fields.whole("resample", *filter, 0, 7, "the number of a Pillow filter");
        settings.resample = static_cast<Resample>(number);
    }
    if (const Json* factor = fields.find("rescale_factor")) {
        if (factor->kind != Json::number || !(factor->value > 0) || factor->value > FLT_MAX / 255) {
            fields.fail("rescale_factor must be a positive number, such as 1/255, got " +
                        Fields::shown(*factor) + ".");
        }
        settings.rescale_factor = factor->value;
    }
    return settings;
}

Size prepared_size(const ImageSettings& settings, int height, int width) {
    const Sides place = sides(settings, height, width);
    return {place.rows.prepared, place.columns.prepared};
}

void prepare(const ImageSettings& settings, const uint8_t* photo, int height, int width,
             ptrdiff_t stride, float* pixels) {
    const Sides place = sides(settings, height, width);
    if (!photo || !pixels) fail_input("The photo or its pixels are a null pointer: pass both.");
    if (std::abs(stride) < ptrdiff_t{3} * width) {
        fail_input("The photo's rows are " + std::to_string(stride) + " bytes apart, but have " +
                   std::to_string(3 * width) + " bytes: pass uint8 RGB.");
    }
    Output output(settings, place, pixels);
    Columns columns(place.columns, settings.resample);
    const Side& side = place.rows;
    const auto row = [&](int y) { return photo + y * stride + columns.source_offset(); };
    if (side.photo == side.resized || settings.resample == Resample::nearest) {
        pick_rows(side, columns, row, output);
        return;
    }
    const Axis axis(settings.resample, side.photo, side.resized, side.begin, side.end);
    if (columns_come_first(place) || !columns.filtered()) {
        resize_columns_first(axis, side, columns, row, output);
    } else {
        resize_rows_first(axis, side, columns, row, output);
    }
}

}  // namespace mv2
