#include "packing.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>
#include <string>

#if defined(_WIN32)
#include <malloc.h>
#endif

#include "error.h"
#include "quantized.h"

namespace mv2 {

namespace {

constexpr size_t line = 64;
constexpr size_t slack = 256;  // a register's width may be read past the end

uint16_t to_bf16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float from_bf16(uint16_t value) {
    const uint32_t bits = static_cast<uint32_t>(value) << 16;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

// Writes a weight in that many bytes, and returns its rounded value.
float put(float weight, float scale, int bytes, unsigned char* to) {
    if (bytes == 1) {
        const int rounded = static_cast<int>(std::nearbyint(weight / scale));
        *to =
            static_cast<unsigned char>(static_cast<int8_t>(std::max(-127, std::min(127, rounded))));
        return static_cast<float>(rounded) * scale;
    }
    if (bytes == 2) {
        const uint16_t rounded = to_bf16(weight);
        std::memcpy(to, &rounded, 2);
        return from_bf16(rounded);
    }
    std::memcpy(to, &weight, 4);
    return weight;
}

}  // namespace

void Store::Free::operator()(void* memory) const {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    std::free(memory);
#endif
}

void* Store::take(size_t bytes) {
    if (bytes > static_cast<size_t>(-1) / 2) throw std::bad_alloc();
    const size_t room = (bytes + slack + line - 1) / line * line;
#if defined(_WIN32)
    void* memory = _aligned_malloc(room, line);
#else
    void* memory = std::aligned_alloc(line, room);
#endif
    if (!memory) throw std::bad_alloc();
    std::unique_ptr<void, Free> block(memory);
    std::memset(memory, 0, room);
    blocks_.push_back(std::move(block));
    bytes_ += room;
    return memory;
}

float* Packer::vector(const std::vector<float>& values) {
    float* out = store_.take_array<float>(padded(static_cast<int>(values.size())));
    std::memcpy(out, values.data(), values.size() * sizeof(float));
    return out;
}

Matrix Packer::matrix(const Convolution& conv, const Norm* norm, std::vector<int> segments) {
    if (segments.empty()) segments = {conv.in};
    std::vector<int> lies(conv.in);  // the position of each input channel
    int depth = 0, channel = 0;
    for (int segment : segments) {
        for (int i = 0; i < segment; i++) lies[channel++] = depth + i;
        depth += padded(segment);
    }
    if (kernels_.weight == 1 && depth > quantized_depth)
        fail_unsupported("the model has a product over " + std::to_string(depth) +
                         " channels, but int8 supports at most " +
                         std::to_string(quantized_depth) + ". Use bf16 or fp32.");
    Matrix m;
    m.k = depth;
    m.n = padded(conv.out);
    m.tap = static_cast<ptrdiff_t>(m.k) * m.n * kernels_.weight;
    unsigned char* packed =
        store_.take_array<unsigned char>(static_cast<size_t>(m.tap) * conv.taps);
    float* bias = vector(conv.bias);
    float* sums = store_.take_array<float>(static_cast<size_t>(conv.taps) * m.n);
    float* scales = kernels_.weight == 1 ? store_.take_array<float>(m.n) : nullptr;
    std::vector<float> column(static_cast<size_t>(conv.in) * conv.taps);
    for (int n = 0; n < conv.out; n++) {
        double shift = 0;
        float largest = 0;
        bool finite = true;
        for (int k = 0; k < conv.in; k++) {
            for (int tap = 0; tap < conv.taps; tap++) {
                const size_t i = static_cast<size_t>(k) * conv.taps + tap;
                double w = conv.weight[n * column.size() + i];
                if (norm) {
                    shift += w * norm->bias[k];
                    w *= norm->weight[k];
                }
                column[i] = static_cast<float>(w);
                largest = std::max(largest, std::fabs(column[i]));
                finite = finite && std::isfinite(column[i]);
            }
        }
        if (!finite)
            fail_file(
                "the bundle has a weight that exceeds fp32 once its norm is folded in. "
                "The training diverged, or the file is damaged.");
        bias[n] = static_cast<float>(bias[n] + shift);
        const float scale = largest > 0 ? largest / 127 : 1;
        if (scales) scales[n] = scale;
        for (int tap = 0; tap < conv.taps; tap++) {
            double sum = 0;
            for (int k = 0; k < conv.in; k++) {
                const float w = column[static_cast<size_t>(k) * conv.taps + tap];
                unsigned char* to =
                    packed + tap * m.tap + kernels_.place(m.k, m.n, lies[k], n) * kernels_.weight;
                sum += put(w, scale, kernels_.weight, to);
            }
            sums[static_cast<size_t>(tap) * m.n + n] = static_cast<float>(sum);
        }
    }
    m.weights = packed;
    m.bias = bias;
    m.sums = sums;
    m.scales = scales;
    return m;
}

Filter Packer::filter(const Convolution& conv) {
    Filter f;
    f.channels = padded(conv.out);
    float* weights = store_.take_array<float>(static_cast<size_t>(f.channels) * 9);
    for (int c = 0; c < conv.out; c++)
        for (int tap = 0; tap < 9; tap++)
            weights[c / 16 * 144 + tap * 16 + c % 16] =
                conv.weight[static_cast<size_t>(c) * 9 + tap];
    f.weights = weights;
    f.bias = vector(conv.bias);
    return f;
}

const float* Packer::stem(const Convolution& conv) {
    const int channels = padded(conv.out);
    float* weights = store_.take_array<float>(static_cast<size_t>(conv.in) * 9 * channels);
    for (int o = 0; o < conv.out; o++)
        for (int k = 0; k < conv.in * 9; k++)
            weights[static_cast<size_t>(k) * channels + o] =
                conv.weight[static_cast<size_t>(o) * conv.in * 9 + k];
    return weights;
}

}  // namespace mv2
