// Random whole numbers, and bf16, for the tests of products.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>

inline int any(int low, int high) {
    static std::mt19937 bits(1);
    return low + static_cast<int>(bits() % static_cast<unsigned>(high - low + 1));
}

inline uint16_t cut(float x) {  // to bf16, exact if bf16 can hold x
    uint32_t word;
    std::memcpy(&word, &x, 4);
    return static_cast<uint16_t>(word >> 16);
}

inline float value(uint16_t x) {
    const uint32_t word = static_cast<uint32_t>(x) << 16;
    float out;
    std::memcpy(&out, &word, 4);
    return out;
}
