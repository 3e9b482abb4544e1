// Rare and cheap operations on whole maps, in plain C++ instead of kernels.
#pragma once

#include "kernels.h"

namespace mv2 {

// Resizes bilinearly to rows begin to end of `out`, with the corners aligned (align_corners).
// Writes from channel `channel` on; borders are set to 0.
void stretch(const Map& in, const Map& out, int channel, int element, Rows rows);

// Copies a map into one with another border.
void copy_rows(const Map& in, const Map& out, int element, Rows rows);

// Means over a grid of cells, which may overlap, as in torch's adaptive_avg_pool2d.
void mean_cells(const Map& in, const Map& out, int element);

// The first `channels` channels as fp32 [channels, height, width].
void to_planar(const Map& in, int channels, float* out, int element, Rows rows);

// fp32 to elements.
void to_elements(const float* in, void* out, int count, int element);

}  // namespace mv2
