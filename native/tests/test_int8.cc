// Products of bytes against plain loops, for every instruction set here that has them: rows that
// bytes hold exactly, the largest possible sums, and how far off any other row may be.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "check.h"
#include "instructions.h"
#include "mobilevitv2.h"
#include "numbers.h"
#include "packing.h"

namespace {

using mv2::Kernels;

constexpr int skipped = 77;  // CTest's code for "not run"
constexpr float none = -INFINITY;

// How many steps a row's values are rounded to.
int steps(const Kernels& kernels) { return std::string(kernels.name) == "avx2-int8" ? 127 : 255; }

// Whole numbers up to 127, which are packed unchanged if a column has a 127.
mv2::Convolution weights(int k, int n, bool largest) {
    mv2::Convolution conv;
    conv.in = k;
    conv.out = n;
    conv.weight.resize(static_cast<size_t>(k) * n);
    conv.bias.resize(n);
    for (float& w : conv.weight) w = static_cast<float>(largest ? 127 : any(-127, 127));
    for (int j = 0; j < n; j++) {
        conv.weight[static_cast<size_t>(j) * k + any(0, k - 1)] = 127;
        conv.bias[j] = static_cast<float>(any(-99, 99));
    }
    return conv;
}

// [rows][n]
std::vector<float> product(const Kernels& kernels, std::vector<uint16_t>& in, int rows,
                           const mv2::Convolution& conv) {
    mv2::Store store;
    mv2::ConvArgs args{};
    args.matrix = mv2::Packer(kernels, store).matrix(conv);
    args.in = {in.data(), 1, rows, conv.in, 0};
    args.bias = args.matrix.bias;
    args.least = none;
    std::vector<float> out(static_cast<size_t>(rows) * conv.out);
    args.floats = out.data();
    kernels.enter();
    kernels.conv(args, {0, 1});
    kernels.leave();
    return out;
}

// Whether each output is as near to the plain sum as when each of a row's values is rounded by up
// to `share` of a step.
bool near(const Kernels& kernels, const std::vector<float>& out, const std::vector<uint16_t>& in,
          int rows, const mv2::Convolution& conv, double share) {
    const int k = conv.in;
    for (int r = 0; r < rows; r++) {
        const uint16_t* row = in.data() + static_cast<size_t>(r) * k;
        float low = value(row[0]), high = low;
        for (int i = 0; i < k; i++) {
            low = std::min(low, value(row[i]));
            high = std::max(high, value(row[i]));
        }
        const double step = (static_cast<double>(high) - low) / steps(kernels);
        for (int j = 0; j < conv.out; j++) {
            double sum = conv.bias[j], all = 0;
            for (int i = 0; i < k; i++) {
                const double w = conv.weight[static_cast<size_t>(j) * k + i];
                sum += w * value(row[i]);
                all += std::fabs(w);
            }
            const double size =
                std::fabs(conv.bias[j]) + all * std::max(std::fabs(low), std::fabs(high));
            const double found = out[static_cast<size_t>(r) * conv.out + j];
            if (!(std::fabs(found - sum) <= share * step * all + 1e-6 * size)) return false;
        }
    }
    return true;
}

// Rows of two values, the least and the greatest, which are exact with any number of steps.
void exact(const Kernels& kernels, int rows, int k, int n, bool largest) {
    const mv2::Convolution conv = weights(k, n, largest);
    std::vector<uint16_t> in(static_cast<size_t>(rows) * k);
    for (int r = 0; r < rows; r++) {
        const uint16_t low = cut(static_cast<float>(any(-200, -1)) / 64),
                       high = cut(value(low) + static_cast<float>(any(0, 300)) / 32);
        uint16_t* row = in.data() + static_cast<size_t>(r) * k;
        row[0] = low;
        for (int i = 1; i < k; i++) row[i] = any(0, largest ? 30 : 1) ? high : low;
    }
    const std::vector<float> out = product(kernels, in, rows, conv);
    CHECK(near(kernels, out, in, rows, conv, 0));
    mv2::Convolution other = conv;
    float& weight = other.weight[static_cast<size_t>(any(0, n - 1)) * k];
    weight += weight > 0 ? -64 : 64;
    CHECK(!near(kernels, out, in, rows, other, 0));  // one wrong weight shows
}

void rounded(const Kernels& kernels, int rows, int k, int n) {
    const mv2::Convolution conv = weights(k, n, false);
    std::vector<uint16_t> in(static_cast<size_t>(rows) * k);
    for (uint16_t& x : in) x = cut(static_cast<float>(any(-100000, 300000)) * 1e-4f);
    const std::vector<float> out = product(kernels, in, rows, conv);
    CHECK(near(kernels, out, in, rows, conv, 0.502));
    CHECK(!near(kernels, out, in, rows, conv, 0));
}

}  // namespace

int main() {
    std::istringstream names(mv2_instructions(MV2_INT8));
    int tried = 0;
    for (std::string name; names >> name; tried++) {
        const Kernels kernels = mv2::find_kernels(MV2_INT8, name);
        for (int rows = 1; rows <= 40; rows++) exact(kernels, rows, 32, 48, false);
        exact(kernels, 20, 512, 64, true);
        exact(kernels, 3, 4096, 16, true);
        for (int i = 0; i < 40; i++) {
            const int rows = any(1, 40), k = 16 * any(1, 20), n = 16 * any(1, 12);
            exact(kernels, rows, k, n, i % 2);
            rounded(kernels, rows, k, n);
        }
        std::printf("%s\n", name.c_str());
    }
    return tried ? failures() : skipped;
}
