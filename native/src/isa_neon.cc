// fp32 with NEON.
#if defined(__GNUC__) && !defined(__clang__)
// GCC would load so far ahead of the arithmetic that sums spill from the registers.
#pragma GCC optimize("no-schedule-insns")
#endif
#include "kernels_of.h"
#include "simd_neon.h"

namespace mv2 {

Kernels neon_kernels() { return kernels_of<Neon>("neon"); }

}  // namespace mv2
