// bf16 with AMX's tiles.
#include "kernels_of.h"
#include "simd_amx.h"
#include "tiles.h"

namespace mv2 {

Kernels amx_bf16_kernels() { return kernels_of<AmxBf16<Tiles>>("amx-bf16"); }

}  // namespace mv2
