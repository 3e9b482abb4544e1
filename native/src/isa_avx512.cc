// fp32 with AVX-512.
#include "kernels_of.h"
#include "simd_avx512.h"

namespace mv2 {

Kernels avx512_kernels() { return kernels_of<Avx512>("avx512"); }

}  // namespace mv2
