// fp32 in plain C++.
#include "kernels_of.h"
#include "simd_portable.h"

namespace mv2 {

Kernels portable_kernels() { return kernels_of<Portable>("portable"); }

}  // namespace mv2
