// `EmulatedTiles`: the tile registers in plain C++, for tests on processors without them.
//
// The arithmetic is that of Intel's manual for TDPBF16PS: for each sum, the even and the odd values
// of k are added up separately, by fused multiply-adds from 0; then the two are added, and the
// result is added to the sum. Everything rounds to nearest even, and subnormal inputs and outputs
// count as 0. (A result that only rounding lifts out of the subnormal range may differ, and so may
// a NaN's payload.)
//
// What the processor would refuse ends the program here, and so do rows that don't start on a cache
// line, which the processor reads several times slower.
#pragma once

#include <cstddef>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tile_config.h"

namespace mv2 {

class EmulatedTiles {
 public:
    static void configure(const TileConfig& config) {
        need(config.palette == 1 && config.start_row == 0, "palette 1 from row 0");
        File& file = tiles();
        for (int i = 0; i < 16; i++) {
            const bool real = i < 8;
            need(real || (config.rows[i] == 0 && config.row_bytes[i] == 0), "eight tiles");
            if (!real) continue;
            need(config.rows[i] <= 16 && config.row_bytes[i] <= 64, "at most 16 rows of 64 bytes");
            file.of[i] = {};
            file.of[i].rows = config.rows[i];
            file.of[i].bytes = config.row_bytes[i];
        }
        file.configured = true;
    }
    static void release() { tiles() = {}; }

    template <int T>
    static void zero() {
        std::memset(tile(T).data, 0, sizeof tile(T).data);
    }

    template <int T>
    static void load(const void* from, ptrdiff_t stride) {
        zero<T>();
        for (int row = 0; row < tile(T).rows; row++) {
            const char* at = static_cast<const char*>(from) + row * stride;
            need_line(at);
            std::memcpy(tile(T).data[row], at, tile(T).bytes);
        }
    }
    template <int T>
    static void store(void* to, ptrdiff_t stride) {
        for (int row = 0; row < tile(T).rows; row++) {
            char* at = static_cast<char*>(to) + row * stride;
            need_line(at);
            std::memcpy(at, tile(T).data[row], tile(T).bytes);
        }
    }

    template <int Sums, int A, int B>
    static void dot() {
        Tile &c = tile(Sums), &a = tile(A), &b = tile(B);
        need(c.rows == a.rows && c.bytes == b.bytes && a.bytes == b.rows * 4, "tiles that fit");
        for (int row = 0; row < c.rows; row++) {
            float even[16] = {}, odd[16] = {};
            for (int pair = 0; pair < b.rows; pair++) {
                const float x = lower(a.data[row][pair]), y = upper(a.data[row][pair]);
                for (int n = 0; n < 16; n++) {
                    even[n] = flushed(std::fma(x, lower(b.data[pair][n]), even[n]));
                    odd[n] = flushed(std::fma(y, upper(b.data[pair][n]), odd[n]));
                }
            }
            float sums[16];
            std::memcpy(sums, c.data[row], sizeof sums);
            for (int n = 0; n < 16; n++)
                sums[n] = flushed(flushed(sums[n]) + flushed(even[n] + odd[n]));
            std::memcpy(c.data[row], sums, sizeof sums);
        }
    }

 private:
    struct Tile {
        int rows, bytes;
        uint32_t data[16][16];
    };
    struct File {
        bool configured;
        Tile of[8];
    };

    static File& tiles() {
        static thread_local File file;
        return file;
    }
    static Tile& tile(int index) {
        need(tiles().configured, "a thread that has configured its tiles");
        return tiles().of[index];
    }

    static float flushed(float x) { return std::fabs(x) < FLT_MIN ? std::copysign(0.0f, x) : x; }
    static float as_float(uint32_t bits) {
        float x;
        std::memcpy(&x, &bits, 4);
        return flushed(x);
    }
    static float lower(uint32_t pair) { return as_float(pair << 16); }
    static float upper(uint32_t pair) { return as_float(pair & 0xffff0000u); }

    static void need_line(const void* at) {
        need(reinterpret_cast<uintptr_t>(at) % 64 == 0, "rows on cache lines");
    }
    static void need(bool so, const char* what) {
        if (so) return;
        std::fprintf(stderr, "emulated tiles: expected %s\n", what);
        std::abort();
    }
};

}  // namespace mv2
