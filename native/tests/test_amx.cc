// Products by tiles against plain loops, for the kernels with tiles that run here: AMX's, and the
// emulated ones of a build with MV2_EMULATE.
//
// On a processor without AMX this shows that a product's blocks, packing and last rows are right if
// the tiles do what Intel's manual says; it can't show that the real ones do, nor how fast they
// are. With AMX and the emulation in one build, the two are compared bit by bit.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <new>
#include <vector>

#include "check.h"
#include "instructions.h"
#include "mobilevitv2.h"
#include "numbers.h"

namespace {

using mv2::Kernels;
using mv2::Matrix;
using mv2::Rows;

constexpr int skipped = 77;  // CTest's code for "not run"
constexpr float none = -std::numeric_limits<float>::infinity();
constexpr float untouched = 12345;
constexpr int margin = 16;  // rows after an output that nothing may write to

// Starts on a cache line and ends with its last element, so that a sanitizer sees any read past it.
template <class T>
class Array {
 public:
    explicit Array(size_t count)
        : count_(count), values_(static_cast<T*>(::operator new(count * sizeof(T), line))) {
        std::fill(values_, values_ + count, T());
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() { ::operator delete(values_, line); }
    T* data() { return values_; }
    T& operator[](size_t i) { return values_[i]; }
    size_t size() const { return count_; }

 private:
    static constexpr std::align_val_t line{64};
    size_t count_;
    T* values_;
};

// Small whole numbers, whose sums fp32 holds exactly; or any numbers.
enum class Numbers { whole, broken };

void fill(Array<uint16_t>& a, Numbers numbers) {
    for (size_t i = 0; i < a.size(); i++)
        a[i] = cut(numbers == Numbers::whole ? static_cast<float>(any(-7, 7))
                                             : static_cast<float>(any(-1000000, 1000000)) * 1e-6f);
}

// `taps` matrices [k, n], as they are and packed, and a bias.
struct Weights {
    int k, n, taps;
    Array<uint16_t> plain, packed;
    Array<float> bias;
    Matrix matrix;

    Weights(const Kernels& kernels, int depth, int columns, int count, Numbers numbers)
        : k(depth),
          n(columns),
          taps(count),
          plain(static_cast<size_t>(count) * depth * columns),
          packed(plain.size()),
          bias(columns) {
        fill(plain, numbers);
        for (int i = 0; i < n; i++) bias[i] = static_cast<float>(any(-99, 99));
        const size_t tap = static_cast<size_t>(k) * n;
        for (int t = 0; t < taps; t++)
            for (int i = 0; i < k; i++)
                for (int j = 0; j < n; j++)
                    packed[t * tap + kernels.place(k, n, i, j)] = at(t, i, j);
        matrix.weights = packed.data();
        matrix.bias = bias.data();
        matrix.k = k;
        matrix.n = n;
        matrix.tap = static_cast<long>(tap) * 2;
    }
    uint16_t& at(int tap, int i, int j) {
        return plain[(static_cast<size_t>(tap) * k + i) * n + j];
    }
};

template <class F>
void on(const Kernels& kernels, F&& f) {
    kernels.enter();
    f();
    kernels.leave();
}

// A convolution, 1x1 or, with a dilation, 3x3, of a map with that border: [height * width +
// margin][n].
std::vector<float> convolve(const Kernels& kernels, Array<uint16_t>& in, int height, int width,
                            Weights& weights, int dilation, bool biased, float least = none) {
    const int n = weights.n;
    Array<float> out(static_cast<size_t>(height * width + margin) * n);
    std::fill(out.data(), out.data() + out.size(), untouched);
    mv2::ConvArgs args{};
    args.in = {in.data(), height, width, weights.k, dilation};
    args.matrix = weights.matrix;
    args.bias = biased ? weights.bias.data() : nullptr;
    args.least = least;
    args.floats = out.data();
    args.dilation = dilation;
    on(kernels, [&] { kernels.conv(args, {0, height}); });
    return {out.data(), out.data() + out.size()};
}

std::vector<double> plain_convolve(Array<uint16_t>& in, int height, int width, Weights& weights,
                                   int dilation, bool biased) {
    const int k = weights.k, n = weights.n, line = width + 2 * dilation;
    std::vector<double> out(static_cast<size_t>(height) * width * n);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            double* sums = out.data() + (static_cast<size_t>(y) * width + x) * n;
            for (int j = 0; j < n; j++) sums[j] = biased ? weights.bias[j] : 0;
            for (int tap = 0; tap < weights.taps; tap++) {
                const int from = weights.taps == 1 ? y : y + (tap / 3 - 1) * dilation;
                const int column = weights.taps == 1 ? x : x + tap % 3 * dilation;
                if (from < 0 || from >= height) continue;
                for (int i = 0; i < k; i++) {
                    const double a = value(in[(static_cast<size_t>(from) * line + column) * k + i]);
                    for (int j = 0; j < n; j++) sums[j] += a * value(weights.at(tap, i, j));
                }
            }
        }
    return out;
}

// Equal, or close for fractional numbers, and nothing is written after the last row.
bool agree(const std::vector<float>& out, const std::vector<double>& expected, double error) {
    for (size_t i = 0; i < expected.size(); i++)
        if (!(std::fabs(out[i] - expected[i]) <= error)) return false;
    return std::all_of(out.begin() + static_cast<long>(expected.size()), out.end(),
                       [](float x) { return x == untouched; });
}

void one_product(const Kernels& kernels, int rows, int k, int n, bool biased, Numbers numbers) {
    Weights weights(kernels, k, n, 1, numbers);
    Array<uint16_t> in(static_cast<size_t>(rows) * k);
    fill(in, numbers);
    const int i = any(0, k - 1), j = any(0, n - 1);
    in[i] = cut(3);
    const auto out = convolve(kernels, in, 1, rows, weights, 0, biased);
    const double error = numbers == Numbers::whole ? 0 : 1e-6 * k + 1e-5;
    CHECK(agree(out, plain_convolve(in, 1, rows, weights, 0, biased), error));
    weights.at(0, i, j) ^= 0x4000;  // one wrong weight would show
    CHECK(!agree(out, plain_convolve(in, 1, rows, weights, 0, biased), error));
}

void products(const Kernels& kernels) {
    // Every count of rows up to three blocks.
    for (int rows = 1; rows <= 97; rows++)
        one_product(kernels, rows, 32, 32, rows % 2, Numbers::whole);
    for (int i = 0; i < 60; i++)
        one_product(kernels, any(1, 80), 32 * any(1, 5), 32 * any(1, 5), any(0, 1),
                    i % 2 ? Numbers::broken : Numbers::whole);
    // Rows that fill a cache with few weights; and more weights than fit into half an L2 cache.
    one_product(kernels, 130, 256, 96, true, Numbers::whole);
    one_product(kernels, 35, 768, 704, true, Numbers::whole);
}

void three_by_three(const Kernels& kernels) {
    for (int i = 0; i < 12; i++) {
        const int dilation = any(1, 3), height = any(1, 6), width = any(1, 40), k = 32 * any(1, 3);
        Weights weights(kernels, k, 32 * any(1, 3), 9, Numbers::whole);
        Array<uint16_t> in(static_cast<size_t>(height) * (width + 2 * dilation) * k);
        fill(in, Numbers::whole);
        CHECK(agree(convolve(kernels, in, height, width, weights, dilation, true),
                    plain_convolve(in, height, width, weights, dilation, true), 0));
    }
}

// One row, some of the columns.
void dense(const Kernels& kernels) {
    Weights weights(kernels, 96, 320, 1, Numbers::whole);
    Array<uint16_t> in(96);
    fill(in, Numbers::whole);
    const auto expected = plain_convolve(in, 1, 1, weights, 0, true);
    const Rows parts[] = {{0, 128}, {128, 256}, {256, 320}};
    for (const Rows& part : parts) {
        Array<float> out(320);
        std::fill(out.data(), out.data() + 320, untouched);
        const mv2::DenseArgs args{in.data(), weights.matrix, weights.bias.data(), 0, out.data()};
        on(kernels, [&] { kernels.dense(args, part); });
        bool right = true;
        for (int c = 0; c < 320; c++) {
            const bool made = c >= part.begin && c < part.end;
            right = right && out[c] == (made ? std::max(0.0, expected[c]) : untouched);
        }
        CHECK(right);
    }
}

// The pixels' sums: a row that is passed on twice would count twice.
void each_row_once(const Kernels& kernels) {
    for (int width : {1, 3, 8, 9, 16, 17, 23, 40}) {
        const int k = 64, n = 96, pixels = 2 * width;
        Weights weights(kernels, k, n, 1, Numbers::whole);
        Array<uint16_t> in(static_cast<size_t>(pixels) * k);
        fill(in, Numbers::whole);
        Array<float> pooled(n);
        mv2::ProjectArgs args{};
        args.map.height = args.map.part_rows = 2;
        args.map.width = width;
        args.map.dim = args.map.true_dim = k;
        args.map.parts = 1;
        args.map.rounded = in.data();
        args.scale = 1;
        args.matrix = weights.matrix;
        args.bias = weights.bias.data();
        args.pooled = pooled.data();
        on(kernels, [&] { kernels.project(args, 0, {}); });
        const auto expected = plain_convolve(in, 1, pixels, weights, 0, true);
        bool right = true;
        for (int c = 0; c < n; c++) {
            double sum = 0;
            for (int p = 0; p < pixels; p++) sum += expected[static_cast<size_t>(p) * n + c];
            right = right && pooled[c] == sum;
        }
        CHECK(right);
    }
}

// What the manual says about the sums, see emulated_tiles.h; a processor with AMX is tested too.
void arithmetic(const Kernels& kernels) {
    Weights weights(kernels, 32, 32, 1, Numbers::whole);
    Array<uint16_t> in(16 * 32);
    const auto product = [&](float first, float second, float weight, float bias) {
        std::fill(in.data(), in.data() + in.size(), cut(0));
        in[0] = cut(first);
        in[1] = cut(second);
        for (size_t i = 0; i < weights.packed.size(); i++) weights.packed[i] = cut(weight);
        std::fill(weights.bias.data(), weights.bias.data() + 32, bias);
        return convolve(kernels, in, 1, 16, weights, 0, true)[0];
    };
    CHECK(product(1, 1, 1, 0x1p24f) == 0x1p24f + 2);  // even and odd k are added before the sum
    CHECK(product(0x1p-70f, 0, 0x1p-70f, 0) == 0);    // a subnormal product
    CHECK(product(0x1p-130f, 0, 0x1p100f, 0) == 0);   // a subnormal factor
    CHECK(product(0x1p-126f, 0, 1, 0) == 0x1p-126f);
    CHECK(std::isinf(product(0x1p127f, 0x1p127f, 1, 0)));
}

void same_bits(const Kernels& one, const Kernels& other) {
    for (int i = 0; i < 40; i++) {
        const int rows = any(1, 70);
        Weights weights(one, 32 * any(1, 8), 32 * any(1, 4), 1, Numbers::broken);
        Array<uint16_t> in(static_cast<size_t>(rows) * weights.k);
        fill(in, Numbers::broken);
        const auto first = convolve(one, in, 1, rows, weights, 0, true);
        CHECK(first == convolve(other, in, 1, rows, weights, 0, true));
    }
}

}  // namespace

int main() {
    std::vector<Kernels> found;
    for (const std::string& name : mv2::instructions(MV2_BF16))
        if (name.find("amx") == 0) found.push_back(mv2::find_kernels(MV2_BF16, name));
    for (const Kernels& kernels : found) {
        std::printf("%s\n", kernels.name);
        CHECK(kernels.channel_multiple == 32 && kernels.element == 2);
        products(kernels);
        three_by_three(kernels);
        dense(kernels);
        each_row_once(kernels);
        arithmetic(kernels);
    }
    if (found.size() == 2) same_bits(found[0], found[1]);
    CHECK(mv2::instructions(MV2_BF16).empty() ||
          mv2::instructions(MV2_BF16).front() != "amx-bf16-emulated");
    if (found.empty()) {
        std::printf("no tiles: this needs MV2_EMULATE and a processor with AVX-512 bf16\n");
        return failures() ? failures() : skipped;
    }
    return failures();
}
