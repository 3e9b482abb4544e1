// Which kernels this build has, and which of them this processor can run.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace mv2 {

// The instruction sets that run here in a precision of mobilevitv2.h, best first.
std::vector<std::string> instructions(int precision);

// The kernels of that name, or the best for "". Throws Error (MV2_ERROR_INPUT) if there are none.
Kernels find_kernels(int precision, const std::string& name);

const char* precision_name(int precision);

}  // namespace mv2
