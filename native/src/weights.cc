#include "weights.h"

#include <cmath>

#include "error.h"

namespace mv2 {

namespace {

constexpr double batch_norm_eps = 1e-5;  // PyTorch's default, in every published model

bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() &&
           text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

std::vector<float> Weights::read(const std::string& name, const std::vector<int64_t>& shape) {
    read_.insert(name);
    return file_.floats(name, shape);
}

Convolution Weights::conv(const std::string& prefix, int out, int in, int taps, bool bias) {
    const int side = taps == 9 ? 3 : 1;
    Convolution c;
    c.out = out;
    c.in = in;
    c.taps = taps;
    c.weight = read(prefix + ".convolution.weight", {out, in, side, side});
    c.bias = bias ? read(prefix + ".convolution.bias", {out}) : std::vector<float>(out);
    return c;
}

Convolution Weights::conv_norm(const std::string& prefix, int out, int in, int taps) {
    Convolution c = conv(prefix, out, in, taps, false);
    const std::string norm = prefix + ".normalization.";
    const std::vector<float> weight = read(norm + "weight", {out}),
                             bias = read(norm + "bias", {out}),
                             mean = read(norm + "running_mean", {out}),
                             var = read(norm + "running_var", {out});
    const size_t each = static_cast<size_t>(in) * taps;
    for (int o = 0; o < out; o++) {
        if (!(var[o] >= 0)) fail_file(name_ + ": " + norm + "running_var has negative values.");
        const double scale = weight[o] / std::sqrt(var[o] + batch_norm_eps);
        for (size_t i = 0; i < each; i++)
            c.weight[o * each + i] = static_cast<float>(c.weight[o * each + i] * scale);
        c.bias[o] = static_cast<float>(bias[o] - mean[o] * scale);
    }
    return c;
}

Convolution Weights::linear(const std::string& prefix, int out, int in) {
    Convolution c;
    c.out = out;
    c.in = in;
    c.weight = read(prefix + ".weight", {out, in});
    c.bias = read(prefix + ".bias", {out});
    return c;
}

Norm Weights::norm(const std::string& prefix, int channels) {
    return {read(prefix + ".weight", {channels}), read(prefix + ".bias", {channels})};
}

void Weights::check_all_read() const {
    std::string unknown;
    int count = 0;
    for (const auto& [name, tensor] : file_.tensors()) {
        if (read_.count(name) || ends_with(name, ".num_batches_tracked") ||
            name.compare(0, 15, "auxiliary_head.") == 0)
            continue;
        if (count++ < 3) unknown += (unknown.empty() ? "" : ", ") + name.substr(0, 80);
    }
    if (count)
        fail_file(name_ + " has " + std::to_string(count) + (count > 1 ? " tensors" : " tensor") +
                  " that its config.json doesn't define: " + unknown + (count > 3 ? ", ..." : "") +
                  ". The config and the weights belong to different models.");
}

}  // namespace mv2
