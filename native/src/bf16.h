// `Bf16`: the upper half of a float, as memory holds it.
#pragma once

#include <cstdint>

namespace mv2 {

struct Bf16 {
    uint16_t bits;
};

}  // namespace mv2
