// Every instruction set of this processor against plain C++, on small networks of every kind, with
// channels and sizes that don't fill registers; and the same bits for any number of threads and
// images, and beside an image with NaN or infinity, whose own answers hold nothing else.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <sstream>

#include "check.h"
#include "mobilevitv2.h"
#include "random_bundle.h"

namespace {

struct Case {
    const char* name;
    std::string config;  // fields of config.json
    int height, width;
};

const std::string classifier =
    "\"architectures\": [\"MobileViTV2ForImageClassification\"], \"num_labels\": 19, ";
const std::string segmenter =
    "\"architectures\": [\"MobileViTV2ForSemanticSegmentation\"], \"num_labels\": 5, "
    "\"aspp_out_channels\": 40, ";
const std::string detector =
    "\"architectures\": [\"MobileViTV2ForObjectDetection\"], \"num_labels\": 3, ";
const std::string backbone = "\"architectures\": [\"MobileViTV2Model\"], ";

const Case cases[] = {
    {"classifier", classifier + "\"width_multiplier\": 0.25", 64, 64},
    {"classifier, odd size", classifier + "\"width_multiplier\": 0.25", 97, 70},
    {"classifier, padded channels", classifier + "\"width_multiplier\": 0.35", 64, 64},
    {"backbone", backbone + "\"width_multiplier\": 0.35", 33, 65},
    {"detector", detector + "\"width_multiplier\": 0.25", 97, 70},
    {"DeepLabV3", segmenter + "\"width_multiplier\": 0.25, \"output_stride\": 16", 64, 70},
    {"PSPNet",
     segmenter + "\"width_multiplier\": 0.25, \"output_stride\": 8, "
                 "\"segmentation_head\": \"pspnet\"",
     64, 70},
};

// Largest difference from plain C++ in fp32, bf16 and int8, relative to an output's largest number.
constexpr double tolerances[] = {1e-5, 3e-2, 1e-1};

double tolerance(int precision, const std::string& name) {
    return tolerances[precision] * (name == "avx2-int8" ? 2 : 1);  // one bit less per value
}

constexpr int images = 3;

using Outputs = std::vector<std::vector<float>>;

struct Closer {
    void operator()(mv2_model* model) const { mv2_close(model); }
};
using Model = std::unique_ptr<mv2_model, Closer>;

char message[1024];

bool fine(int error) {
    if (error) std::fprintf(stderr, "%s\n", message);
    return !error;
}

Model open(const RandomBundle& bundle, int precision, const std::string& instructions,
           int threads) {
    const mv2_options options{threads, precision, instructions.c_str()};
    mv2_model* model = nullptr;
    CHECK(fine(mv2_open(bundle.folder().c_str(), &options, &model, message, sizeof message)));
    return Model(model);
}

// All outputs for a batch of images.
Outputs run(const Model& model, const Case& c, const float* pixels, int batch) {
    mv2_output known[16];
    int count = 0;
    CHECK(fine(
        mv2_outputs(model.get(), c.height, c.width, known, 16, &count, message, sizeof message)));
    Outputs outputs;
    std::vector<float*> places;
    std::vector<size_t> counts;
    for (int i = 0; i < count; i++) {
        counts.push_back(known[i].count * static_cast<size_t>(batch));
        outputs.emplace_back(counts.back(), NAN);
        places.push_back(outputs.back().data());
    }
    CHECK(fine(mv2_run(model.get(), pixels, batch, c.height, c.width, places.data(), counts.data(),
                       count, message, sizeof message)));
    return outputs;
}

Outputs run_each(const Model& model, const Case& c, const std::vector<float>& pixels) {
    Outputs all;
    for (int i = 0; i < images; i++) {
        const Outputs one = run(model, c, pixels.data() + pixels.size() / images * i, 1);
        all.resize(one.size());
        for (size_t o = 0; o < one.size(); o++)
            all[o].insert(all[o].end(), one[o].begin(), one[o].end());
    }
    return all;
}

// What the first image has of the outputs for all.
Outputs first(const Outputs& all) {
    Outputs one;
    for (const auto& output : all)
        one.emplace_back(output.begin(), output.begin() + output.size() / images);
    return one;
}

bool same_bits(const Outputs& a, const Outputs& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
        return x.size() == y.size() &&
               std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
    });
}

// Infinity if anything isn't a number.
double difference(const Outputs& a, const Outputs& b) {
    double worst = 0;
    for (size_t o = 0; o < a.size(); o++) {
        double scale = 0, apart = 0;
        for (size_t i = 0; i < a[o].size(); i++) {
            const double d = std::fabs(static_cast<double>(a[o][i]) - b[o][i]);
            if (!(d < INFINITY)) return INFINITY;  // also for NaN
            apart = std::max(apart, d);
            scale = std::max(scale, static_cast<double>(std::fabs(a[o][i])));
        }
        worst = std::max(worst, apart / scale);
    }
    return worst;
}

// A NaN whose bits become those of -0 when they are rounded to bf16 like a number's.
float nan_of_ones() {
    const uint32_t bits = 0x7fffffff;
    float nan;
    std::memcpy(&nan, &bits, 4);
    return nan;
}

std::vector<std::string> names(int precision) {
    std::istringstream all(mv2_instructions(precision));
    std::vector<std::string> found;
    for (std::string name; all >> name;) found.push_back(name);
    return found;
}

// Images with one strange number each have no finite answer; those before and after keep theirs.
void spoil(const Model& model, const Case& c, const std::vector<float>& pixels,
           const Outputs& expected) {
    const float strange[] = {NAN, nan_of_ones(), INFINITY, -INFINITY};
    const size_t image = pixels.size() / images;
    std::vector<float> mixed(pixels.begin(), pixels.begin() + image);
    for (const float number : strange) {
        mixed.insert(mixed.end(), pixels.begin() + image, pixels.begin() + 2 * image);
        mixed[mixed.size() - image / 2] = number;
    }
    mixed.insert(mixed.end(), pixels.end() - image, pixels.end());
    const int all = static_cast<int>(mixed.size() / image);
    const Outputs found = run(model, c, mixed.data(), all);
    const size_t answers = found.size() - 5;  // before the stages' maps
    for (size_t o = 0; o < found.size(); o++) {
        const size_t count = found[o].size() / all;
        const float *before = found[o].data(), *after = before + (all - 1) * count;
        CHECK(std::memcmp(before, expected[o].data(), count * sizeof(float)) == 0);
        CHECK(std::memcmp(after, expected[o].data() + 2 * count, count * sizeof(float)) == 0);
        for (const float* spoiled = before + count; spoiled < after; spoiled += count) {
            const auto finite =
                std::count_if(spoiled, spoiled + count, [](float x) { return std::isfinite(x); });
            CHECK(o < answers ? finite == 0 : finite < static_cast<ptrdiff_t>(count));
        }
    }
}

// On ARM, where an emulator runs the tests, plain C++ is only the reference: it is tested elsewhere.
#ifdef __aarch64__
constexpr bool emulated = true;
#else
constexpr bool emulated = false;
#endif

void compare(const Case& c) {
    const RandomBundle bundle("{\"n_attn_blocks\": [1, 2, 1], " + c.config + "}");
    std::mt19937 random(2);
    std::vector<float> pixels(static_cast<size_t>(images) * 3 * c.height * c.width);
    for (float& pixel : pixels) pixel = static_cast<float>(random()) * 0x1p-32f;

    const Outputs plain = run_each(open(bundle, MV2_FP32, "portable", 1), c, pixels);
    for (int precision : {MV2_FP32, MV2_BF16, MV2_INT8}) {
        for (const std::string& name : names(precision)) {
            if (emulated && name == "portable") continue;
            const Model single = open(bundle, precision, name, 1);
            const Outputs alone = run_each(single, c, pixels);
            const double apart = difference(plain, alone);
            std::printf("%s, %s: %.1e\n", c.name, name.c_str(), apart);
            std::fflush(stdout);
            CHECK(apart <= tolerance(precision, name));
            spoil(single, c, pixels, alone);
            CHECK(same_bits(alone, run(single, c, pixels.data(), images)));
            for (int threads = 2; threads <= 3; threads++) {
                const Model model = open(bundle, precision, name, threads);
                CHECK(same_bits(alone, run(model, c, pixels.data(), images)));
                CHECK(same_bits(first(alone), run(model, c, pixels.data(), 1)));
            }
        }
    }
}

}  // namespace

// With MV2_FEW_CASES in the environment, only the first two.
int main() {
    const ptrdiff_t count = std::getenv("MV2_FEW_CASES") ? 2 : std::end(cases) - std::begin(cases);
    std::for_each(cases, cases + count, compare);
    return failures();
}
