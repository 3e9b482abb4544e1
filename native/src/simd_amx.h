// AVX-512 with bf16, and products by AMX's tiles. Weights have the layout of AVX-512 with bf16: 16
// pairs of k of a panel of 32 columns are two adjacent tiles.
#pragma once

#include "amx_product.h"
#include "simd_avx512_bf16.h"
#include "tile_config.h"

namespace mv2 {

// `Policy` is Tiles or EmulatedTiles.
template <class Policy>
struct AmxBf16 : Avx512Bf16 {
    using Tiles = Policy;
    static constexpr Form form = Form::tiles;
    static constexpr int channel_multiple = 32;  // a tile's depth; pixels begin on a cache line
    static_assert(vectors * lanes == 2 * tile_columns && group == 2, "a panel is two tiles wide");

    static void enter() { Policy::configure(tile_configs.of[tile_rows]); }
    static void leave() { Policy::release(); }  // so that context switches needn't save them

    // With the tiles as `enter` left them: zeros.
    static double spin(ptrdiff_t rounds) {
        for (ptrdiff_t i = 0; i < rounds; i++) {
            Policy::template dot<0, 4, 6>();
            Policy::template dot<1, 4, 7>();
            Policy::template dot<2, 5, 6>();
            Policy::template dot<3, 5, 7>();
        }
        return 4.0 * tile_rows * tile_columns * tile_depth * static_cast<double>(rounds);
    }
};

}  // namespace mv2
