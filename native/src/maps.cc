#include "maps.h"

#include <cmath>
#include <cstring>

namespace mv2 {

namespace {

struct Bf16 {
    uint16_t bits;
};

inline float value(float x) { return x; }
inline float value(Bf16 x) {
    const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}
inline void assign(float& to, float x) { to = x; }
inline void assign(Bf16& to, float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    to.bits = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <class T>
T* pixel(const Map& map, int y, int x) {
    return static_cast<T*>(map.data) + y * map.row_elements() +
           static_cast<ptrdiff_t>(x + map.border) * map.channels;
}

template <class T>
void clear_borders(const Map& map, int y) {
    T* row = static_cast<T*>(map.data) + y * map.row_elements();
    const size_t bytes = sizeof(T) * map.border * map.channels;
    std::memset(static_cast<void*>(row), 0, bytes);
    std::memset(
        static_cast<void*>(row + static_cast<ptrdiff_t>(map.border + map.width) * map.channels), 0,
        bytes);
}

// Where a pixel of the larger map lies in the smaller one.
struct Place {
    int low, high;
    float part;  // of the way from low to high
};

Place place_of(int at, int from, int to) {
    const float scale = to > 1 ? static_cast<float>(from - 1) / static_cast<float>(to - 1) : 0.0f;
    const float exact = scale * static_cast<float>(at);
    const int low = static_cast<int>(exact) < from - 1 ? static_cast<int>(exact) : from - 1;
    return {low, low < from - 1 ? low + 1 : low, exact - static_cast<float>(low)};
}

template <class T>
void stretch_rows(const Map& in, const Map& out, int channel, Rows rows) {
    for (int y = rows.begin; y < rows.end; y++) {
        clear_borders<T>(out, y);
        const Place v = place_of(y, in.height, out.height);
        for (int x = 0; x < out.width; x++) {
            const Place h = place_of(x, in.width, out.width);
            const T *a = pixel<T>(in, v.low, h.low), *b = pixel<T>(in, v.low, h.high),
                    *c = pixel<T>(in, v.high, h.low), *d = pixel<T>(in, v.high, h.high);
            T* to = pixel<T>(out, y, x) + channel;
            for (int i = 0; i < in.channels; i++) {
                const float top = value(a[i]) * (1 - h.part) + value(b[i]) * h.part;
                const float bottom = value(c[i]) * (1 - h.part) + value(d[i]) * h.part;
                assign(to[i], top * (1 - v.part) + bottom * v.part);
            }
        }
    }
}

template <class T>
void copy(const Map& in, const Map& out, Rows rows) {
    for (int y = rows.begin; y < rows.end; y++) {
        clear_borders<T>(out, y);
        for (int x = 0; x < in.width; x++)
            std::memcpy(static_cast<void*>(pixel<T>(out, y, x)), pixel<T>(in, y, x),
                        sizeof(T) * in.channels);
    }
}

template <class T>
void cells(const Map& in, const Map& out) {
    for (int y = 0; y < out.height; y++) {
        const int top = y * in.height / out.height,
                  bottom = ((y + 1) * in.height + out.height - 1) / out.height;
        for (int x = 0; x < out.width; x++) {
            const int left = x * in.width / out.width,
                      right = ((x + 1) * in.width + out.width - 1) / out.width;
            T* to = pixel<T>(out, y, x);
            for (int c = 0; c < in.channels; c++) {
                double sum = 0;
                for (int i = top; i < bottom; i++)
                    for (int j = left; j < right; j++) sum += value(pixel<T>(in, i, j)[c]);
                assign(to[c], static_cast<float>(sum / (bottom - top) / (right - left)));
            }
        }
    }
}

template <class T>
void planar(const Map& in, int channels, float* out, Rows rows) {
    for (int y = rows.begin; y < rows.end; y++)
        for (int x = 0; x < in.width; x++) {
            const T* from = pixel<T>(in, y, x);
            for (int c = 0; c < channels; c++)
                out[(static_cast<size_t>(c) * in.height + y) * in.width + x] = value(from[c]);
        }
}

}  // namespace

void stretch(const Map& in, const Map& out, int channel, int element, Rows rows) {
    element == 4 ? stretch_rows<float>(in, out, channel, rows)
                 : stretch_rows<Bf16>(in, out, channel, rows);
}

void copy_rows(const Map& in, const Map& out, int element, Rows rows) {
    element == 4 ? copy<float>(in, out, rows) : copy<Bf16>(in, out, rows);
}

void mean_cells(const Map& in, const Map& out, int element) {
    element == 4 ? cells<float>(in, out) : cells<Bf16>(in, out);
}

void to_planar(const Map& in, int channels, float* out, int element, Rows rows) {
    element == 4 ? planar<float>(in, channels, out, rows) : planar<Bf16>(in, channels, out, rows);
}

void to_elements(const float* in, void* out, int count, int element) {
    if (element == 4) {
        std::memcpy(out, in, sizeof(float) * count);
    } else {
        for (int i = 0; i < count; i++) assign(static_cast<Bf16*>(out)[i], in[i]);
    }
}

}  // namespace mv2
