// bf16 with AVX-512.
#include "kernels_of.h"
#include "simd_avx512_bf16.h"

namespace mv2 {

Kernels avx512_bf16_kernels() { return kernels_of<Avx512Bf16>("avx512-bf16"); }

}  // namespace mv2
