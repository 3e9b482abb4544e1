// int8 with AVX2.
#include "kernels_of.h"
#include "simd_avx2_int8.h"

namespace mv2 {

Kernels avx2_int8_kernels() { return kernels_of<Avx2Int8<MultiplyAdd>>("avx2-int8"); }

}  // namespace mv2
