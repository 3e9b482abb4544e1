// The layout of the tiles, as LDTILECFG reads it: 64 bytes of palette 1.
//
// Tiles have 16 rows of 64 bytes; for a product of fewer rows, the tiles of its rows and sums have
// only as many. The tables are constants because GCC's _tile_loadconfig doesn't declare that it
// reads all 64 bytes, so GCC could drop the stores to a config built on the spot.
#pragma once

#include <cstdint>

namespace mv2 {

constexpr int tile_rows = 16, tile_columns = 16;  // columns of fp32
constexpr int tile_depth = 32;                    // values of k per instruction

struct alignas(64) TileConfig {
    uint8_t palette = 1, start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};

// Tiles 0 to 3 are sums, 4 and 5 rows of a map, 6 and 7 weights.
struct TileConfigs {
    TileConfig of[tile_rows + 1] = {};

    constexpr TileConfigs() {
        for (int rows = 0; rows <= tile_rows; rows++) {
            for (int tile = 0; tile < 8; tile++) {
                of[rows].row_bytes[tile] = 64;
                of[rows].rows[tile] = static_cast<uint8_t>(tile < 6 ? rows : tile_rows);
            }
        }
    }
};

constexpr TileConfigs tile_configs;

}  // namespace mv2
