// int8 with AVX-512 VNNI.
#include "kernels_of.h"
#include "simd_avx512_int8.h"

namespace mv2 {

Kernels avx512_int8_kernels() { return kernels_of<Avx512Int8>("avx512-int8"); }

}  // namespace mv2
