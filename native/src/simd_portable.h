// Plain C++ for any processor; the compiler vectorizes what it can.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "product.h"

namespace mv2 {

struct Portable {
    struct V {
        float x[4];
    };
    using Element = float;
    static constexpr Form form = Form::registers;
    static constexpr int lanes = 4;
    static constexpr int rows = 4;
    static constexpr int vectors = 4;
    static constexpr int pixels = 4;
    static constexpr int filter_vectors = 1;
    static constexpr int group = 1;
    static constexpr int channel_multiple = 16;

    static void enter() {}
    static void leave() {}

    template <class F>
    static V each(F f) {
        V out;
        for (int i = 0; i < 4; i++) out.x[i] = f(i);
        return out;
    }
    static V zero() { return set(0); }
    static V set(float value) {
        return each([&](int) { return value; });
    }
    static V load(const float* p) {
        return each([&](int i) { return p[i]; });
    }
    static void store(float* p, V v) { std::memcpy(p, v.x, sizeof v.x); }
    static V add(V a, V b) {
        return each([&](int i) { return a.x[i] + b.x[i]; });
    }
    static V sub(V a, V b) {
        return each([&](int i) { return a.x[i] - b.x[i]; });
    }
    static V mul(V a, V b) {
        return each([&](int i) { return a.x[i] * b.x[i]; });
    }
    static V fma(V a, V b, V c) {
        return each([&](int i) { return a.x[i] * b.x[i] + c.x[i]; });
    }
    // b if either is NaN
    static V max(V a, V b) {
        return each([&](int i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
    }
    static float sum(V v) { return (v.x[0] + v.x[1]) + (v.x[2] + v.x[3]); }

    // 2^t for t from -126 to 126, 0 below, or NaN; a relative error of 2e-7
    static V exp2(V t) {
        return each([&](int i) {
            if (!(t.x[i] >= -126)) return t.x[i] < -126 ? 0 : t.x[i];
            const float whole = std::floor(t.x[i]), f = t.x[i] - whole;
            float p = 1.8775767e-3f * f + 8.9893397e-3f;
            p = p * f + 5.5826318e-2f;
            p = p * f + 2.4015361e-1f;
            p = p * f + 6.9315308e-1f;
            p = p * f + 9.9999994e-1f;
            const int32_t bits = (static_cast<int32_t>(whole) + 127) << 23;
            float power;
            std::memcpy(&power, &bits, 4);
            return p * power;
        });
    }
    static V silu(V v) {
        const V e = exp2(each([&](int i) {
            const float t = v.x[i] * -1.44269504f;
            return t < 126 ? t : 126;
        }));
        return each([&](int i) { return v.x[i] / (1 + e.x[i]); });
    }

    using Wide = V;
    static Wide broadcast(const float* a) { return set(*a); }
    static Wide weights(const float* b) { return load(b); }
    static V dot(V c, Wide a, Wide b) { return fma(a, b, c); }
};

}  // namespace mv2
