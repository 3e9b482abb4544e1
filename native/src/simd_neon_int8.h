// NEON with its byte products (dot product extension). Maps are bf16, rounded by integer
// instructions, as many processors have dot products but not bf16.
#pragma once

#include <cstring>

#include "quantized.h"
#include "simd_neon_maps.h"

namespace mv2 {

struct NeonInt8 : NeonMaps {
    static constexpr Form form = Form::quantized;

    static void enter() {}  // its own: kernel files may not share functions
    static void leave() {}

    using Neon::store;
    static void store(Bf16* p, V v) {
        const uint32x4_t rounded = vaddq_u32(vreinterpretq_u32_f32(v), vdupq_n_u32(0x8000));
        vst1_u16(&p->bits, vshrn_n_u32(rounded, 16));
    }

    // Channels to signed bytes: the least is -128, the greatest 127.
    static void quantize(const Bf16* a, int k, uint8_t* bytes, float* offset, float* step) {
        V low = load(a), high = low;
        for (int i = lanes; i < k; i += lanes) {
            const V v = load(a + i);
            low = vminq_f32(low, v);
            high = vmaxq_f32(high, v);
        }
        const float from = vminvq_f32(low), to = vmaxvq_f32(high);
        *step = (to - from) / 255;
        *offset = from + 128 * *step;
        const float per_step = to > from ? 255 / (to - from) : 0;
        const V back = set(per_step), shift = set(-from * per_step - 128);
        for (int i = 0; i < k; i += 4 * lanes) {
            const int16x8_t left = integers(a + i, back, shift),
                            right = integers(a + i + 2 * lanes, back, shift);
            vst1q_s8(reinterpret_cast<int8_t*>(bytes + i),
                     vcombine_s8(vqmovn_s16(left), vqmovn_s16(right)));
        }
    }
    static int16x8_t integers(const Bf16* a, V back, V shift) {
        return vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(fma(load(a), back, shift))),
                            vqmovn_s32(vcvtnq_s32_f32(fma(load(a + lanes), back, shift))));
    }

    using Integers = int32x4_t;
    using Bytes = int8x16_t;
    static Integers no_integers() { return vdupq_n_s32(0); }
    static Bytes bytes(const int8_t* b) { return vld1q_s8(b); }
    static Bytes four(const uint8_t* a) {
        int32_t word;
        std::memcpy(&word, a, 4);
        return vreinterpretq_s8_s32(vdupq_n_s32(word));
    }
    static Integers dot4(Integers c, Bytes a, Bytes b) { return vdotq_s32(c, a, b); }
    static V to_floats(Integers c) { return vcvtq_f32_s32(c); }
};

}  // namespace mv2
