// Which source pixels make up a pixel of a resized axis, and with which weights: Pillow's
// fixed-point ones, to the last bit. Compile what includes this with -ffp-contract=off on
// processors that always have fused multiply-add (arm64): another rounding can move a weight by
// 2^-22.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "image.h"

namespace mv2 {

// A weight w has 22 fractional bits and is stored as two int16: w = high * 256 + low. Every
// instruction set is fast at sums of 16-bit products; and with 8 bits in the low half, the sum over
// an image side's 65,535 pixels stays within 32 bits in either half.
constexpr int weight_bits = 22;
constexpr int low_bits = 8;

struct Window {
    int first, count;  // source pixels
};

// The weights of the pixels `begin` to `end` of an axis that goes from `from` to `to` pixels.
struct Axis {
    static constexpr int lanes = 16;  // zeros fill the weights of each pixel up to a multiple

    std::vector<Window> windows;
    std::vector<size_t> offsets;  // of each pixel in `low` and `high`
    std::vector<int16_t> low, high;
    int widest = 0;

    Axis(Resample filter, int from, int to, int begin, int end);
    Window source() const {  // all source pixels needed; windows never move back
        if (windows.empty()) return {0, 0};
        const Window& last = windows.back();
        return {windows[0].first, last.first + last.count - windows[0].first};
    }
    int weight(size_t pixel, int tap) const {
        const size_t at = offsets[pixel] + static_cast<size_t>(tap);
        return high[at] * (1 << low_bits) + low[at];
    }
};

// Half the width of a filter, in source pixels where an axis keeps its size.
inline double filter_radius(Resample filter) {
    switch (filter) {
        case Resample::box:
            return 0.5;
        case Resample::bicubic:
            return 2.0;
        case Resample::lanczos:
            return 3.0;
        case Resample::mks2013:
            return 2.5;
        case Resample::mks2021:
            return 4.5;
        default:
            return 1.0;
    }
}

// Parabolas that meet at 0.5, 1.5 and so on: J. Costella, johncostella.com/magic.
inline double magic_kernel(Resample filter, double x) {
    if (filter == Resample::mks2013) {
        if (x < 0.5) return 17.0 / 16.0 - 7.0 / 4.0 * (x * x);
        if (x < 1.5) return (1.0 - x) * (7.0 / 4.0 - x);
        return x < 2.5 ? -1.0 / 8.0 * ((x - 2.5) * (x - 2.5)) : 0.0;
    }
    if (x < 0.5) return 577.0 / 576.0 - 239.0 / 144.0 * (x * x);
    if (x < 1.5) return 35.0 / 36.0 * (x - 1.0) * (x - 239.0 / 140.0);
    if (x < 2.5) return 1.0 / 6.0 * (x - 2.0) * (65.0 / 24.0 - x);
    if (x < 3.5) return 1.0 / 36.0 * (x - 3.0) * (x - 15.0 / 4.0);
    return x < 4.5 ? -1.0 / 288.0 * ((x - 4.5) * (x - 4.5)) : 0.0;
}

inline double filter_value(Resample filter, double x) {
    constexpr double pi = 3.14159265358979323846;
    auto sinc = [](double t) { return t == 0.0 ? 1.0 : std::sin(t * pi) / (t * pi); };
    if (filter == Resample::box) return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
    if (filter == Resample::lanczos) return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
    x = std::fabs(x);
    if (filter == Resample::bilinear) return x < 1.0 ? 1.0 - x : 0.0;
    if (filter == Resample::hamming) {
        if (x == 0.0 || x >= 1.0) return x == 0.0 ? 1.0 : 0.0;
        const double angle = x * pi;
        return std::sin(angle) / angle * (0.54f + 0.46f * std::cos(angle));  // floats in Pillow
    }
    if (filter != Resample::bicubic) return magic_kernel(filter, x);
    constexpr double a = -0.5;
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
}

inline Axis::Axis(Resample filter, int from, int to, int begin, int end) {
    const double scale = static_cast<double>(from) / to, stretch = scale < 1.0 ? 1.0 : scale;
    const double radius = filter_radius(filter) * stretch, shrink = 1.0 / stretch;
    std::vector<double> values;
    for (int pixel = begin; pixel < end; ++pixel) {
        const double center = (pixel + 0.5) * scale;
        int first = static_cast<int>(center - radius + 0.5);
        int last = static_cast<int>(center + radius + 0.5);
        if (first < 0) first = 0;
        if (last > from) last = from;
        values.clear();
        double sum = 0.0;
        for (int i = first; i < last; ++i) {
            values.push_back(filter_value(filter, (i - center + 0.5) * shrink));
            sum += values.back();
        }
        windows.push_back({first, last - first});
        offsets.push_back(low.size());
        widest = std::max(widest, last - first);
        for (double value : values) {
            const double exact = (sum != 0.0 ? value / sum : value) * (1 << weight_bits);
            if (!(std::fabs(exact) < 1 << (15 + low_bits))) throw std::logic_error("weight >= 2");
            const int weight = static_cast<int>(exact < 0 ? exact - 0.5 : exact + 0.5);
            const int rest = ((weight + 128) & 255) - 128;
            low.push_back(static_cast<int16_t>(rest));
            high.push_back(static_cast<int16_t>((weight - rest) / (1 << low_bits)));
        }
        low.resize((low.size() + lanes - 1) / lanes * lanes);
        high.resize(low.size());
    }
}

}  // namespace mv2
