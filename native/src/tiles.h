// `Tiles`: AMX's tile registers. An instruction names its tiles by literals, whose very spelling
// counts in GCC's macros, so each template spells its tiles out.
#pragma once

#include <cstddef>
#include <immintrin.h>

#include "tile_config.h"

namespace mv2 {

struct Tiles {
    static void configure(const TileConfig& config) { _tile_loadconfig(&config); }
    static void release() { _tile_release(); }

    template <int T>
    static void zero() {
        static_assert(T < 4, "a tile of sums");
        if constexpr (T == 0) _tile_zero(0);
        if constexpr (T == 1) _tile_zero(1);
        if constexpr (T == 2) _tile_zero(2);
        if constexpr (T == 3) _tile_zero(3);
    }

    // Rows `stride` bytes apart, to and from memory.
    template <int T>
    static void load(const void* from, ptrdiff_t stride) {
        static_assert(T < 8, "one of eight tiles");
        if constexpr (T == 0) _tile_loadd(0, from, stride);
        if constexpr (T == 1) _tile_loadd(1, from, stride);
        if constexpr (T == 2) _tile_loadd(2, from, stride);
        if constexpr (T == 3) _tile_loadd(3, from, stride);
        if constexpr (T == 4) _tile_loadd(4, from, stride);
        if constexpr (T == 5) _tile_loadd(5, from, stride);
        if constexpr (T == 6) _tile_loadd(6, from, stride);
        if constexpr (T == 7) _tile_loadd(7, from, stride);
    }
    template <int T>
    static void store(void* to, ptrdiff_t stride) {
        static_assert(T < 4, "a tile of sums");
        if constexpr (T == 0) _tile_stored(0, to, stride);
        if constexpr (T == 1) _tile_stored(1, to, stride);
        if constexpr (T == 2) _tile_stored(2, to, stride);
        if constexpr (T == 3) _tile_stored(3, to, stride);
    }

    // Sums += A's rows times B's weights.
    template <int Sums, int A, int B>
    static void dot() {
        static_assert(Sums == (A - 4) * 2 + (B - 6), "the tiles of a 2x2 block");
        if constexpr (Sums == 0) _tile_dpbf16ps(0, 4, 6);
        if constexpr (Sums == 1) _tile_dpbf16ps(1, 4, 7);
        if constexpr (Sums == 2) _tile_dpbf16ps(2, 5, 6);
        if constexpr (Sums == 3) _tile_dpbf16ps(3, 5, 7);
    }
};

}  // namespace mv2
