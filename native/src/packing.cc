#include "packing.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>

#if defined(_WIN32)
#include <malloc.h>
#endif

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
    std::memset(memory, 0, room);
    blocks_.emplace_back(memory);
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
    std::vector<int> lies(conv.in);  // where each input channel is
    int depth = 0, channel = 0;
    for (int segment : segments) {
        for (int i = 0; i < segment; i++) lies[channel++] = depth + i;
        depth += padded(segment);
    }
    Matrix m;
    m.k = depth;
    m.n = padded(conv.out);
    m.tap = static_cast<long>(m.k) * m.n;
    unsigned char* packed =
        store_.take_array<unsigned char>(static_cast<size_t>(m.tap) * conv.taps * kernels_.element);
    float* bias = vector(conv.bias);
    float* sums = store_.take_array<float>(m.n);
    for (int n = 0; n < conv.out; n++) {
        double sum = 0, shift = 0;
        for (int k = 0; k < conv.in; k++) {
            for (int tap = 0; tap < conv.taps; tap++) {
                double w = conv.weight[(static_cast<size_t>(n) * conv.in + k) * conv.taps + tap];
                if (norm) {
                    shift += w * norm->bias[k];
                    w *= norm->weight[k];
                }
                const float value = static_cast<float>(w);
                const size_t at = tap * m.tap + kernels_.place(m.k, m.n, lies[k], n);
                if (kernels_.element == 2) {
                    const uint16_t rounded = to_bf16(value);
                    std::memcpy(packed + at * 2, &rounded, 2);
                    sum += from_bf16(rounded);
                } else {
                    std::memcpy(packed + at * 4, &value, 4);
                    sum += value;
                }
            }
        }
        sums[n] = static_cast<float>(sum);
        bias[n] = static_cast<float>(bias[n] + shift);
    }
    m.weights = packed;
    m.bias = bias;
    m.sums = sums;
    return m;
}

Filter Packer::filter(const Convolution& conv) {
    Filter f;
    f.channels = padded(conv.out);
    float* weights = store_.take_array<float>(static_cast<size_t>(f.channels) * 9);
    for (int c = 0; c < conv.out; c++)
        for (int tap = 0; tap < 9; tap++)
            weights[c / 16 * 144 + tap * 16 + c % 16] = conv.weight[static_cast<size_t>(c) * 9 + tap];
    f.weights = weights;
    f.bias = vector(conv.bias);
    return f;
}

const float* Packer::stem(const Convolution& conv) {
    const int channels = padded(conv.out);
    float* weights = store_.take_array<float>(static_cast<size_t>(conv.in) * 9 * channels);
    for (int o = 0; o < conv.out; o++)
        for (int k = 0; k < conv.in * 9; k++)
            weights[static_cast<size_t>(k) * channels + o] = conv.weight[static_cast<size_t>(o) * conv.in * 9 + k];
    return weights;
}

}  // namespace mv2
