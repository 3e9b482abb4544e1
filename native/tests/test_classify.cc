// mobilevitv2-classify's scores: softmax of the C interface's logits or, if each class has a
// probability of its own, sigmoid. MV2_CLASSIFY is the command that runs the program.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "check.h"
#include "mobilevitv2.h"
#include "random_bundle.h"

#if !defined(_WIN32)
namespace {

constexpr int side = 64;

std::vector<unsigned char> photo() {
    std::vector<unsigned char> rgb(size_t{3} * side * side);
    for (size_t i = 0; i < rgb.size(); i++) rgb[i] = static_cast<unsigned char>(i * 7 % 251);
    return rgb;
}

// The program's output and errors.
std::vector<std::string> printed(const RandomBundle& bundle) {
    const std::string image = bundle.folder() + "/photo.ppm";
    const std::vector<unsigned char> rgb = photo();
    std::ofstream file(image, std::ios::binary);
    file << "P6 " << side << " " << side << " 255\n";
    file.write(reinterpret_cast<const char*>(rgb.data()), static_cast<std::streamsize>(rgb.size()));
    file.close();
    const std::string command = std::getenv("MV2_CLASSIFY") + (" " + bundle.folder()) + " " +
                                image + " --top 100 2>&1";
    FILE* output = popen(command.c_str(), "r");
    std::vector<std::string> lines;
    char line[1024];
    while (output && std::fgets(line, sizeof line, output)) lines.emplace_back(line);
    if (output) pclose(output);
    return lines;
}

// By the names of the classes.
std::map<std::string, double> scores(const RandomBundle& bundle) {
    std::map<std::string, double> found;
    for (const std::string& line : printed(bundle)) {
        char name[100];
        double score = NAN;
        const size_t at = line.find(": ");
        CHECK(at != std::string::npos &&
              std::sscanf(line.c_str() + at, ": %99s %lf", name, &score) == 2);
        found[name] = score;
    }
    return found;
}

std::vector<float> logits(const RandomBundle& bundle, size_t classes) {
    const mv2_options options{1, MV2_FP32, nullptr};
    mv2_model* model = nullptr;
    CHECK(mv2_open(bundle.folder().c_str(), &options, &model, nullptr, 0) == 0);
    std::vector<float> found(classes);
    float* place = found.data();
    CHECK(mv2_run_photo(model, photo().data(), side, side, 3 * side, &place, &classes, 1, nullptr,
                        0) == 0);
    mv2_close(model);
    return found;
}

RandomBundle bundle(const std::string& fields) {
    return RandomBundle("{\"architectures\": [\"MobileViTV2ForImageClassification\"], " + fields +
                        ", \"width_multiplier\": 0.25, \"n_attn_blocks\": [1, 1, 1]}");
}

void check_scores(const std::string& fields, size_t classes, bool independent) {
    const RandomBundle made = bundle(fields);
    const std::map<std::string, double> found = scores(made);
    CHECK(found.size() == classes);
    const std::vector<float> raw = logits(made, classes);
    double sum = 0;
    for (float logit : raw) sum += std::exp(double{logit});
    for (size_t i = 0; i < classes; i++) {
        const double own = std::exp(double{raw[i]}), expected = own / (independent ? 1 + own : sum);
        CHECK(std::fabs(found.at("LABEL_" + std::to_string(i)) - expected) < 1e-4);
    }
}

void check_refusal(const RandomBundle& made, const char* part) {
    const std::vector<std::string> lines = printed(made);
    CHECK(lines.size() == 1 && lines[0].find(part) != std::string::npos);
}

}  // namespace

int main() {
    if (!std::getenv("MV2_CLASSIFY")) return 77;  // skipped
    check_scores("\"num_labels\": 4", 4, false);
    check_scores("\"num_labels\": 4, \"problem_type\": \"single_label_classification\"", 4, false);
    check_scores("\"num_labels\": 4, \"problem_type\": \"multi_label_classification\"", 4, true);
    check_scores("\"num_labels\": 1", 1, true);
    const RandomBundle beyond = bundle("\"num_labels\": 4");
    std::ofstream(beyond.folder() + "/preprocessor_config.json") << "{\"rescale_factor\": 1e36}";
    check_refusal(beyond, "the logits hold NaN or infinity");
    return failures();
}
#else
int main() { return 77; }
#endif
