// int8 with AVX-VNNI.
#include "kernels_of.h"
#include "simd_avx2_int8.h"

namespace mv2 {

struct Vnni {
    static constexpr int largest = 255;
    static __m256i dot4(__m256i c, __m256i a, __m256i b) {
        return _mm256_dpbusd_avx_epi32(c, a, b);
    }
};

Kernels avx_vnni_int8_kernels() { return kernels_of<Avx2Int8<Vnni>>("avx-vnni-int8"); }

}  // namespace mv2
