// mobilevitv2-classify: classifies photos through the C interface alone, without Python.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "error.h"
#include "json.h"
#include "mobilevitv2.h"
#include "photo.h"

namespace mv2 {
namespace {

constexpr const char* usage =
    "usage: mobilevitv2-classify BUNDLE IMAGE... [--top N] [--threads N] "
    "[--precision fp32|bf16|int8]";

constexpr const char* help =
    "\n"
    "Prints the best classes of each image, with their probabilities.\n"
    "\n"
    "  --top N        classes per image (default: 5)\n"
    "  --threads N    threads to use (default: 0, one per core)\n"
    "  --precision P  fp32, bf16 or int8 (default: fp32)\n";

struct Arguments {
    std::string bundle;
    std::vector<std::string> images;
    int top = 5, threads = 0, precision = MV2_FP32;
    bool help = false;
};

int whole_number(const std::string& option, const std::string& text, int smallest) {
    char* end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    if (text.empty() || *end != 0 || value < smallest || value > 1000000) {
        fail_input(option + " must be a whole number from " + std::to_string(smallest) +
                   " on, got '" + text + "'.");
    }
    return static_cast<int>(value);
}

int precision_of(const std::string& name) {
    if (name == "fp32") return MV2_FP32;
    if (name == "bf16") return MV2_BF16;
    if (name == "int8") return MV2_INT8;
    fail_input("--precision must be fp32, bf16 or int8, got '" + name + "'.");
}

Arguments parse_arguments(const std::vector<std::string>& words) {
    Arguments arguments;
    std::vector<std::string> paths;
    bool only_paths = false;  // after --
    for (size_t i = 0; i < words.size(); i++) {
        const std::string& word = words[i];
        if (only_paths || word.compare(0, 1, "-") != 0) {
            paths.push_back(word);
        } else if (word == "--") {
            only_paths = true;
        } else if (word == "--help" || word == "-h") {
            arguments.help = true;
        } else if (word == "--top" || word == "--threads" || word == "--precision") {
            if (i + 1 == words.size()) fail_input(word + " needs a value. " + usage);
            const std::string& value = words[++i];
            if (word == "--top") arguments.top = whole_number(word, value, 1);
            if (word == "--threads") arguments.threads = whole_number(word, value, 0);
            if (word == "--precision") arguments.precision = precision_of(value);
        } else {
            fail_input("unknown option " + word + ". " + usage);
        }
    }
    if (arguments.help) return arguments;
    if (paths.size() < 2) {
        fail_input("expected a bundle's folder and at least one image. " + std::string(usage));
    }
    arguments.bundle = paths[0];
    arguments.images.assign(paths.begin() + 1, paths.end());
    return arguments;
}

// Calls a function of the interface, and throws its error with the message.
template <class Function, class... Rest>
void call(Function function, Rest... arguments) {
    char message[1024] = "";
    const int error = function(arguments..., message, sizeof message);
    if (error) throw Error(error, message);
}

using Model = std::unique_ptr<mv2_model, decltype(&mv2_close)>;

Model open(const Arguments& arguments) {
    const mv2_options options = {arguments.threads, arguments.precision, nullptr};
    mv2_model* model = nullptr;
    call(mv2_open, arguments.bundle.c_str(), &options, &model);
    return Model(model, mv2_close);
}

struct Classes {
    std::vector<std::string> labels;
    bool independent;  // each has a probability of its own
};

Classes classes_of(const mv2_model* model) {
    const Json description = parse_json(mv2_describe(model), "mv2_describe");
    Classes classes;
    for (const Json& label : description.find("labels")->items)
        classes.labels.push_back(label.text);
    classes.independent = classes.labels.size() == 1 ||
                          description.find("problem_type")->text == "multi_label_classification";
    return classes;
}

std::vector<double> sigmoid(const std::vector<float>& logits) {
    std::vector<double> scores;
    for (const float logit : logits) scores.push_back(1 / (1 + std::exp(-double{logit})));
    return scores;
}

std::vector<double> softmax(const std::vector<float>& logits) {
    const double largest = *std::max_element(logits.begin(), logits.end());
    std::vector<double> scores;
    for (const float logit : logits) scores.push_back(std::exp(logit - largest));
    const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
    for (double& score : scores) score /= sum;
    return scores;
}

std::vector<double> classify(const mv2_model* model, const Classes& classes, const Photo& photo) {
    int height = 0, width = 0;
    call(mv2_prepared_size, model, photo.height, photo.width, &height, &width);
    mv2_output outputs[32];
    int count = 0;
    call(mv2_outputs, model, height, width, outputs, 32, &count);
    count = std::min(count, 32);
    const mv2_output* found = std::find_if(outputs, outputs + count, [](const mv2_output& output) {
        return std::strcmp(output.name, "logits") == 0 && output.rank == 1;
    });
    if (found == outputs + count || found->count == 0) {
        fail_unsupported(
            "the bundle isn't a classifier. Give one that `mobilevitv2 train` made from a folder "
            "of images for each class.");
    }
    std::vector<float> logits(found->count);
    std::vector<float*> results(static_cast<size_t>(count), nullptr);
    std::vector<size_t> counts(static_cast<size_t>(count), 0);
    results[static_cast<size_t>(found - outputs)] = logits.data();
    counts[static_cast<size_t>(found - outputs)] = logits.size();
    const ptrdiff_t stride = static_cast<ptrdiff_t>(photo.width) * 3;
    call(mv2_run_photo, model, photo.rgb.data(), photo.height, photo.width, stride, results.data(),
         counts.data(), count);
    if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); })) {
        fail_file(
            "the logits hold NaN or infinity, so there is no prediction. The training diverged, "
            "or the weights are damaged.");
    }
    return classes.independent ? sigmoid(logits) : softmax(logits);
}

void print_best(const std::string& image, const std::vector<double>& scores,
                const std::vector<std::string>& labels, int top) {
    std::vector<size_t> order(scores.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return scores[a] > scores[b]; });
    if (order.size() > static_cast<size_t>(top)) order.resize(static_cast<size_t>(top));
    for (const size_t i : order) {
        const std::string label =
            i < labels.size() && !labels[i].empty() ? labels[i] : std::to_string(i);
        std::printf("%s: %s %.4f\n", image.c_str(), label.c_str(), scores[i]);
    }
}

void report(const std::exception& error) { std::fprintf(stderr, "error: %s\n", error.what()); }

// Reports images that can't be read, and classifies the others.
int run(const Arguments& arguments) {
    const Model model = open(arguments);
    const Classes classes = classes_of(model.get());
    int status = 0;
    for (const std::string& image : arguments.images) {
        try {
            const Photo photo = read_photo(image);
            print_best(image, classify(model.get(), classes, photo), classes.labels,
                       arguments.top);
        } catch (const std::exception& error) {
            report(error);
            status = 1;
        }
    }
    return status;
}

}  // namespace
}  // namespace mv2

int main(int count, char** words) {
    try {
        const mv2::Arguments arguments = mv2::parse_arguments(
            std::vector<std::string>(words + std::min(count, 1), words + count));
        if (arguments.help) {
            std::printf("%s\n%s", mv2::usage, mv2::help);
            return 0;
        }
        return mv2::run(arguments);
    } catch (const std::exception& error) {
        mv2::report(error);
        return 1;
    }
}
