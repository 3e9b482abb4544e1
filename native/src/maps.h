// What is done with whole maps outside of the kernels, rarely and for little time, in plain C++.
#pragma once

#include "kernels.h"

namespace mv2 {

// Rows begin to end, resized bilinearly so that the corners stay where they are (align_corners).
// Writes channels `channel` and following of `out`; borders are set to 0.
void stretch(const Map& in, const Map& out, int channel, int element, Rows rows);

// The same map with another border.
void copy_rows(const Map& in, const Map& out, int element, Rows rows);

// Means over a grid of size x size cells that may overlap, as torch's adaptive_avg_pool2d cuts
// them.
void mean_cells(const Map& in, const Map& out, int element);

// The first `channels` channels as fp32 [channels, height, width].
void to_planar(const Map& in, int channels, float* out, int element, Rows rows);

// fp32 to elements.
void to_elements(const float* in, void* out, int count, int element);

}  // namespace mv2
