// isa_avx_vnni_int8.cc with AVX-512's form of its one instruction, for tests.
#include "kernels_of.h"
#include "simd_avx2_int8.h"

namespace mv2 {

struct VnniOfAvx512 {
    static constexpr int largest = 255;
    static __m256i dot4(__m256i c, __m256i a, __m256i b) { return _mm256_dpbusd_epi32(c, a, b); }
};

Kernels avx_vnni_emulated_kernels() {
    return kernels_of<Avx2Int8<VnniOfAvx512>>("avx-vnni-int8-emulated");
}

}  // namespace mv2
