// Two bytes for each side of an image, then a config.json. The network gets whatever weights it
// asks for, if they are few: this file replaces safetensors.cc. Small images are run.
#include <algorithm>
#include <cstring>
#include <random>

#include "error.h"
#include "instructions.h"
#include "network.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace mv2 {

struct SafeTensors::Mapping {};

SafeTensors::SafeTensors(const unsigned char*, size_t, const std::string& name) : name_(name) {}
SafeTensors::~SafeTensors() = default;

namespace {
int64_t given;  // values of this network
constexpr int64_t most_given = 300000;
}  // namespace

std::vector<float> SafeTensors::floats(const std::string& name,
                                       const std::vector<int64_t>& shape) const {
    int64_t count = 1;
    for (int64_t side : shape) {
        if (side < 1) __builtin_trap();
        count *= side;
        if (count > most_given) fail_file(name + " is too large to be made up.");
    }
    given += count;
    if (given > most_given) fail_file(name + " is too much to be made up.");
    std::vector<float> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); i++)
        values[i] = 0.05f + static_cast<float>(i % 97) * 0.002f;
    return values;
}

}  // namespace mv2

namespace {

constexpr int longest_side = 150, most_pixels = 2500;

void use(const mv2::Network& network, const mv2::Config& config, int height, int width) {
    const std::vector<mv2::Output> outputs = network.outputs(height, width);
    if (outputs.size() < 6) __builtin_trap();
    std::vector<std::vector<float>> found;
    std::vector<float*> places;
    for (const mv2::Output& output : outputs) {
        if (output.shape.empty() || output.shape.size() > 4 || output.count() == 0)
            __builtin_trap();
        if (height * width <= most_pixels) found.emplace_back(output.count());
    }
    if (found.empty()) return;
    for (auto& values : found) places.push_back(values.data());
    const std::vector<float> pixels(static_cast<size_t>(config.planes) * height * width, 0.5f);
    network.run(pixels.data(), 1, height, width, places.data(), 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 5) return 0;
    const int height = data[0] | data[1] << 8, width = data[2] | data[3] << 8;
    const std::string text(reinterpret_cast<const char*>(data) + 4, size - 4);
    mv2::given = 0;
    try {
        const mv2::Config config =
            mv2::read_config(mv2::parse_json(text, "the config"), "the config");
        const mv2::SafeTensors weights(nullptr, 0, "the file");
        const mv2::Network network(config, weights, "the file",
                                   mv2::find_kernels(MV2_FP32, "portable"));
        // Leave out what only costs time: borders, pyramids, planes, labels.
        int64_t work = config.planes + config.classes;
        for (int rate : config.atrous_rates) work += rate;
        for (int scale : config.pool_scales) work += int64_t{scale} * scale;
        if (height <= longest_side && width <= longest_side && work < 2000)
            use(network, config, height, width);
    } catch (const mv2::Error&) {
    }
    return 0;
}

// Replaces a number of the text half of the time.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
    std::minstd_rand random(seed);
    if (size < 6 || random() % 2) return LLVMFuzzerMutate(data, size, most);
    static const char* const numbers[] = {
        "0",    "1",  "2",    "3",   "8",   "13",   "16",    "17",         "33",         "100",
        "1000", "-1", "0.05", "0.3", "1.5", "1e-5", "65536", "2147483647", "4294967296", ""};
    constexpr size_t fixed = sizeof numbers / sizeof *numbers, drawn = 12;
    std::string text(reinterpret_cast<const char*>(data), size);
    const size_t begin = text.find_first_of("0123456789", 4 + random() % (size - 4));
    if (begin == std::string::npos) return LLVMFuzzerMutate(data, size, most);
    const size_t end = std::min(text.find_first_not_of("0123456789.", begin), text.size());
    const size_t which = random() % (fixed + drawn);
    text.replace(begin, end - begin,
                 which < fixed ? std::string(numbers[which])
                               : std::to_string(random() % 1000 / 100.0).substr(0, 4));
    if (text.size() > most) return size;
    std::memcpy(data, text.data(), text.size());
    return text.size();
}
