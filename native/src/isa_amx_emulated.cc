// isa_amx_bf16.cc with emulated tiles, for tests: some hundred times slower.
#include "emulated_tiles.h"
#include "kernels_of.h"
#include "simd_amx.h"

namespace mv2 {

Kernels amx_emulated_kernels() { return kernels_of<AmxBf16<EmulatedTiles>>("amx-bf16-emulated"); }

}  // namespace mv2
