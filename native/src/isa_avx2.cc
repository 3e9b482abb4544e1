// fp32 with AVX2 and FMA.
#include "kernels_of.h"
#include "simd_avx2.h"

namespace mv2 {

Kernels avx2_kernels() { return kernels_of<Avx2>("avx2"); }

}  // namespace mv2
