// Every instruction set of this processor against plain C++, on small networks of every kind, with
// channels and sizes that don't fill registers; and the same bits for any number of threads and
// images, and beside an image with NaN or infinity, whose own answers hold nothing else.
#include <algorithm>
#include <cmath>
#include <cstring>
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

// All outputs of images `first` to `first` + `batch`.
Outputs run(const Model& model, const Case& c, const std::vector<float>& pixels, int first,
            int batch) {
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
    const float* from = pixels.data() + pixels.size() / images * first;
    CHECK(fine(mv2_run(model.get(), from, batch, c.height, c.width, places.data(), counts.data(),
                       count, message, sizeof message)));
    return outputs;
}

Outputs run_each(const Model& model, const Case& c, const std::vector<float>& pixels) {
    Outputs all;
    for (int i = 0; i < images; i++) {
        const Outputs one = run(model, c, pixels, i, 1);
        all.resize(one.size());
        for (size_t o = 0; o < one.size(); o++)
            all[o].insert(all[o].end(), one[o].begin(), one[o].end());
    }
    return all;
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

// With one `strange` number, the second image has no finite answer; the others keep theirs.
void spoil_one(const Model& model, const Case& c, std::vector<float> pixels, float strange,
               const Outputs& expected) {
    const size_t image = pixels.size() / images;
    pixels[image + image / 2] = strange;
    const Outputs found = run(model, c, pixels, 0, images);
    const size_t answers = found.size() - 5;  // before the stages' maps
    for (size_t o = 0; o < found.size(); o++) {
        const size_t count = found[o].size() / images;
        const float *own = found[o].data(), *spoiled = own + count, *last = spoiled + count;
        CHECK(std::memcmp(own, expected[o].data(), count * sizeof(float)) == 0);
        CHECK(std::memcmp(last, expected[o].data() + 2 * count, count * sizeof(float)) == 0);
        const auto finite = std::count_if(spoiled, last, [](float x) { return std::isfinite(x); });
        CHECK(o < answers ? finite == 0 : finite < last - spoiled);
    }
}

void compare(const Case& c) {
    const RandomBundle bundle("{\"n_attn_blocks\": [1, 2, 1], " + c.config + "}");
    std::mt19937 random(2);
    std::vector<float> pixels(static_cast<size_t>(images) * 3 * c.height * c.width);
    for (float& pixel : pixels) pixel = static_cast<float>(random()) * 0x1p-32f;

    const Outputs plain = run_each(open(bundle, MV2_FP32, "portable", 1), c, pixels);
    for (int precision : {MV2_FP32, MV2_BF16, MV2_INT8}) {
        for (const std::string& name : names(precision)) {
            const Model single = open(bundle, precision, name, 1);
            const Outputs first = run(single, c, pixels, 0, 1);
            const Outputs alone = run_each(single, c, pixels);
            const double apart = difference(plain, alone);
            std::printf("%s, %s: %.1e\n", c.name, name.c_str(), apart);
            std::fflush(stdout);
            CHECK(apart <= tolerance(precision, name));
            for (float strange : {NAN, nan_of_ones(), INFINITY, -INFINITY})
                spoil_one(single, c, pixels, strange, alone);
            for (int threads = 1; threads <= 3; threads++) {
                const Model model = open(bundle, precision, name, threads);
                CHECK(same_bits(alone, run(model, c, pixels, 0, images)));
                if (threads > 1) CHECK(same_bits(first, run(model, c, pixels, 0, 1)));
            }
        }
    }
}

}  // namespace

int main() {
    for (const Case& c : cases) compare(c);
    return failures();
}
