// Separable self-attention and feed-forward on a map that is never unfolded.
//
// A GroupNorm in front of a product is two numbers, mean and scale, which are applied to the
// product instead of its input. The key projection is applied to the four context vectors instead
// of every pixel. The package's docs/design.md shows why both are exact.
#pragma once

#include <cmath>
#include <cstring>

#include "filter.h"
#include "scratch.h"

namespace mv2 {

constexpr int together = 64;  // pixels whose hidden channels are kept between two products
constexpr float log2_e = 1.44269504f;

inline Rows pixels_of_part(const AttentionMap& map, int part) {
    const int begin = part * map.part_rows, end = begin + map.part_rows;
    return {begin * map.width, (end < map.height ? end : map.height) * map.width};
}

// A pixel's position in its 2x2 patch, of four.
inline int position(const AttentionMap& map, int pixel) {
    return pixel / map.width % 2 * 2 + pixel % map.width % 2;
}

// What the products read: the residual stream, rounded if the instruction set needs it.
template <class X>
inline const typename X::Element* stream(const AttentionMap& map) {
    return static_cast<const typename X::Element*>(map.rounded ? map.rounded : map.values);
}

template <class X>
inline void put(const AttentionMap& map, ptrdiff_t at, typename X::V v) {
    X::store(map.values + at, v);
    if constexpr (sizeof(typename X::Element) != sizeof(float))
        X::store(static_cast<typename X::Element*>(map.rounded) + at, v);
}

// Mean and squares of a finished part, in two passes, so that they are exact even if the mean is
// far from 0. The second pass also computes the next layer's scores.
template <class X>
inline void measure(const AttentionMap& map, int part, const float* query) {
    using V = typename X::V;
    const Rows pixels = pixels_of_part(map, part);
    const int count = pixels.end - pixels.begin;
    const float* values = map.values + static_cast<ptrdiff_t>(pixels.begin) * map.dim;
    V total = X::zero();
    for (ptrdiff_t i = 0; i < static_cast<ptrdiff_t>(count) * map.dim; i += X::lanes)
        total = X::add(total, X::load(values + i));
    const double mean = static_cast<double>(X::sum(total)) / count / map.true_dim;
    const V center = X::set(static_cast<float>(mean));
    V squares = X::zero();
    for (int p = 0; p < count; p++) {
        const float* row = values + static_cast<ptrdiff_t>(p) * map.dim;
        V score = X::zero();
        if (query) {
            for (int c = 0; c < map.dim; c += X::lanes) {
                const V v = X::load(row + c), d = X::sub(v, center);
                squares = X::fma(d, d, squares);
                score = X::fma(v, X::load(query + c), score);
            }
            map.scores[pixels.begin + p] = X::sum(score);
        } else {
            for (int c = 0; c < map.dim; c += X::lanes) {
                const V d = X::sub(X::load(row + c), center);
                squares = X::fma(d, d, squares);
            }
        }
    }
    // The channels of the padding are 0, and each has added center * center.
    const double padding = static_cast<double>(map.dim - map.true_dim) * count;
    const double c = static_cast<float>(mean);
    double about = static_cast<double>(X::sum(squares)) - padding * c * c;
    about -= (mean - c) * (mean - c) * count * map.true_dim;
    map.part[part].mean = mean;
    map.part[part].squares = about < 0 ? 0 : about;  // NaN stays
}

template <class X>
struct AttentionPieces {
    using T = typename X::Element;
    T* hidden;  // [pixels][widest]
    T* rows;    // [4][dim], of the context
    size_t bytes;

    AttentionPieces(const AttentionMap& map, size_t pixels, int widest, unsigned char* memory) {
        Pieces pieces(memory);
        hidden = pieces.take<T>(pixels * widest);
        rows = pieces.take<T>(static_cast<size_t>(4) * map.dim);
        bytes = pieces.used();
    }
};

template <class X>
size_t attention_scratch(const AttentionMap& map, int channels, int hidden) {
    const size_t row = static_cast<size_t>(map.width);
    const size_t widest = channels > hidden ? channels : hidden;
    return AttentionPieces<X>(map, row > together ? row : together, static_cast<int>(widest),
                              nullptr)
        .bytes;
}

// One part of the local filter: each row is filtered, then narrowed into the residual stream.
template <class X>
void local(const LocalArgs& args, int part, Scratch scratch) {
    using T = typename X::Element;
    const AttentionMap& map = args.map;
    const int channels = args.filter.channels;
    const Rows pixels = pixels_of_part(map, part);
    const int rows_at_once = together / map.width > 1 ? together / map.width : 1;
    const AttentionPieces<X> p(map, static_cast<size_t>(rows_at_once) * map.width, channels,
                               scratch.data);
    const int last = pixels.end / map.width;
    for (int y0 = pixels.begin / map.width; y0 < last; y0 += rows_at_once) {
        const int y1 = y0 + rows_at_once < last ? y0 + rows_at_once : last;
        for (int y = y0; y < y1; y++) {
            const T* from[3];
            for (int k = 0; k < 3; k++) {
                const int at = y + (k - 1) * args.dilation;
                const bool inside = at >= 0 && at < map.height;
                from[k] = inside ? static_cast<const T*>(args.in.data) + at * args.in.row_elements()
                                 : static_cast<const T*>(args.zeros);
            }
            T* to = p.hidden + static_cast<ptrdiff_t>(y - y0) * map.width * channels;
            filter_row<X>(from, args.filter, 1, args.dilation, map.width,
                          [&](int x, int c, typename X::V v) {
                              X::store(to + static_cast<ptrdiff_t>(x) * channels + c, X::silu(v));
                          });
        }
        const ptrdiff_t begin = static_cast<ptrdiff_t>(y0) * map.width;
        product<X>(
            p.hidden, channels, (y1 - y0) * map.width, args.narrow, args.narrow.bias,
            [&](int m, int c, typename X::V v) { put<X>(map, (begin + m) * map.dim + c, v); });
    }
    measure<X>(map, part, args.query);
}

// The exponentials of a part's scores and, weighted by them, the sum of its pixels, for each of the
// four positions. They are relative to the part's own highest score, so that none overflows.
template <class X>
void sum_part(const LayerArgs& args, int part) {
    using V = typename X::V;
    const AttentionMap& map = args.map;
    const Rows pixels = pixels_of_part(map, part);
    const float scale = args.scale * log2_e;
    Part& out = map.part[part];
    for (int p = 0; p < 4; p++) {
        out.highest[p] = -INFINITY;
        out.sum[p] = 0;
    }
    for (int y = pixels.begin / map.width; y < pixels.end / map.width; y++) {
        for (int x = 0; x < map.width; x++) {
            float& score = map.scores[static_cast<ptrdiff_t>(y) * map.width + x];
            score *= scale;
            float& highest = out.highest[y % 2 * 2 + x % 2];
            if (score > highest) highest = score;
        }
    }
    float* summed = map.summed + static_cast<ptrdiff_t>(part) * 4 * map.dim;
    for (int y = pixels.begin / map.width; y < pixels.end / map.width; y++) {
        float* scores = map.scores + static_cast<ptrdiff_t>(y) * map.width;
        const float even = out.highest[y % 2 * 2], odd = out.highest[y % 2 * 2 + 1];
        float about[X::lanes], taken[X::lanes];
        for (int i = 0; i < X::lanes; i++) about[i] = i % 2 ? odd : even;
        const V zero = X::load(about);
        for (int x = 0; x < map.width; x += X::lanes) {
            const int count = map.width - x < X::lanes ? map.width - x : X::lanes;
            for (int i = 0; i < X::lanes; i++) taken[i] = i < count ? scores[x + i] : about[i];
            X::store(taken, X::exp2(X::sub(X::load(taken), zero)));
            for (int i = 0; i < count; i++) {
                scores[x + i] = taken[i];
                out.sum[y % 2 * 2 + i % 2] += taken[i];
            }
        }
    }
    for (int p = 0; p < 4; p++) {
        const int first_row = pixels.begin / map.width + (pixels.begin / map.width % 2 != p / 2);
        for (int c = 0; c < map.dim; c += 2 * X::lanes) {
            const bool two = c + X::lanes < map.dim;
            V first = X::zero(), second = X::zero();
            for (int y = first_row; y < pixels.end / map.width; y += 2) {
                for (int x = p % 2; x < map.width; x += 2) {
                    const ptrdiff_t pixel = static_cast<ptrdiff_t>(y) * map.width + x;
                    const V weight = X::set(map.scores[pixel]);
                    const float* values = map.values + pixel * map.dim + c;
                    first = X::fma(weight, X::load(values), first);
                    if (two) second = X::fma(weight, X::load(values + X::lanes), second);
                }
            }
            X::store(summed + p * map.dim + c, first);
            if (two) X::store(summed + p * map.dim + c + X::lanes, second);
        }
    }
}

// The context vectors: the parts' sums combined, normalized, and the key projection.
template <class X>
void context(const LayerArgs& args, Scratch scratch) {
    using V = typename X::V;
    const AttentionMap& map = args.map;
    const AttentionPieces<X> pieces(map, 0, 0, scratch.data);
    for (int p = 0; p < 4; p++) {
        float highest = -INFINITY;
        for (int i = 0; i < map.parts; i++)
            if (map.part[i].highest[p] > highest) highest = map.part[i].highest[p];
        double total = 0;
        for (int i = 0; i < map.parts; i++) {
            Part& part = map.part[i];
            part.highest[p] = std::exp2(part.highest[p] - highest);  // now its sums' weight
            total += static_cast<double>(part.sum[p]) * part.highest[p];
        }
        for (int c = 0; c < map.dim; c += X::lanes) {
            V sum = X::zero();
            for (int i = 0; i < map.parts; i++)
                sum = X::fma(
                    X::set(map.part[i].highest[p]),
                    X::load(map.summed + (static_cast<ptrdiff_t>(i) * 4 + p) * map.dim + c), sum);
            const V mean = X::mul(sum, X::set(static_cast<float>(1 / total)));
            X::store(pieces.rows + p * map.dim + c,
                     X::mul(X::sub(mean, X::set(args.mean)), X::set(args.scale)));
        }
    }
    product<X>(pieces.rows, map.dim, 4, args.key, args.key.bias,
               [&](int m, int c, V v) { X::store(args.context + m * map.dim + c, v); });
}

// Value projection times context, out projection, added to the residual stream.
template <class X>
void attend(const LayerArgs& args, int part, Scratch scratch) {
    using V = typename X::V;
    const AttentionMap& map = args.map;
    const Rows pixels = pixels_of_part(map, part);
    const V scale = X::set(args.scale), zero = X::zero();
    const AttentionPieces<X> p(map, together, map.dim, scratch.data);
    const float* contexts[together];
    for (int begin = pixels.begin; begin < pixels.end; begin += together) {
        const int count = pixels.end - begin < together ? pixels.end - begin : together;
        for (int m = 0; m < count; m++)
            contexts[m] = args.context + position(map, begin + m) * map.dim;
        product<X>(stream<X>(map) + static_cast<ptrdiff_t>(begin) * map.dim, map.dim, count,
                   args.value, nullptr, [&](int m, int c, V v) {
                       const V value = X::max(zero, X::fma(v, scale, X::load(args.value_bias + c)));
                       X::store(p.hidden + static_cast<ptrdiff_t>(m) * map.dim + c,
                                X::mul(value, X::load(contexts[m] + c)));
                   });
        product<X>(p.hidden, map.dim, count, args.out, args.out.bias, [&](int m, int c, V v) {
            const ptrdiff_t at = static_cast<ptrdiff_t>(begin + m) * map.dim + c;
            put<X>(map, at, X::add(v, X::load(map.values + at)));
        });
    }
    measure<X>(map, part, nullptr);
}

template <class X>
void feed_forward(const LayerArgs& args, int part, Scratch scratch) {
    using V = typename X::V;
    const AttentionMap& map = args.map;
    const Rows pixels = pixels_of_part(map, part);
    const V scale = X::set(args.scale);
    const int wide = args.widen.n;
    const AttentionPieces<X> p(map, together, wide, scratch.data);
    for (int begin = pixels.begin; begin < pixels.end; begin += together) {
        const int count = pixels.end - begin < together ? pixels.end - begin : together;
        product<X>(stream<X>(map) + static_cast<ptrdiff_t>(begin) * map.dim, map.dim, count,
                   args.widen, nullptr, [&](int m, int c, V v) {
                       X::store(p.hidden + static_cast<ptrdiff_t>(m) * wide + c,
                                X::silu(X::fma(v, scale, X::load(args.widen_bias + c))));
                   });
        product<X>(p.hidden, wide, count, args.narrow, args.narrow.bias, [&](int m, int c, V v) {
            const ptrdiff_t at = static_cast<ptrdiff_t>(begin + m) * map.dim + c;
            put<X>(map, at, X::add(v, X::load(map.values + at)));
        });
    }
    measure<X>(map, part, args.query);
}

template <class X>
void project(const ProjectArgs& args, int part, Scratch) {
    using T = typename X::Element;
    using V = typename X::V;
    const AttentionMap& map = args.map;
    const Rows pixels = pixels_of_part(map, part);
    const V scale = X::set(args.scale);
    const int n = args.matrix.n, count = pixels.end - pixels.begin;
    float* pooled = args.pooled ? args.pooled + static_cast<ptrdiff_t>(part) * n : nullptr;
    if (pooled) std::memset(pooled, 0, n * sizeof(float));
    T* out = static_cast<T*>(args.out.data);
    const T* in = stream<X>(map) + static_cast<ptrdiff_t>(pixels.begin) * map.dim;
    if (out) out += static_cast<ptrdiff_t>(pixels.begin) * n;
    const auto made = [&](int c, V v) { return X::fma(v, scale, X::load(args.bias + c)); };
    const auto add = [&](int c, V v) { X::store(pooled + c, X::add(X::load(pooled + c), v)); };
    const auto keep = [&](int m, int c, V v) {
        X::store(out + static_cast<ptrdiff_t>(m) * n + c, v);
    };
    if (!pooled)
        product<X>(in, map.dim, count, args.matrix, nullptr,
                   [&](int m, int c, V v) { keep(m, c, made(c, v)); });
    else if (!out)
        product<X>(in, map.dim, count, args.matrix, nullptr,
                   [&](int, int c, V v) { add(c, made(c, v)); });
    else
        product<X>(in, map.dim, count, args.matrix, nullptr, [&](int m, int c, V v) {
            const V value = made(c, v);
            keep(m, c, value);
            add(c, value);
        });
}

}  // namespace mv2
