// A bundle's tensors as the engine uses them: BatchNorms are folded into convolutions.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "safetensors.h"

namespace mv2 {

// A convolution: weight [out][in][taps], bias [out]. taps is 1 or 9.
struct Convolution {
    int out = 0, in = 0, taps = 1;
    std::vector<float> weight, bias;
};

struct Norm {
    std::vector<float> weight, bias;
};

// Reads tensors by their names in transformers' layout, and remembers which were read.
class Weights {
 public:
    Weights(const SafeTensors& file, std::string name) : file_(file), name_(std::move(name)) {}

    // `prefix`.convolution with .normalization folded in; `in` is 1 for a depthwise convolution.
    Convolution conv_norm(const std::string& prefix, int out, int in, int taps);
    // `prefix`.convolution with or without bias.
    Convolution conv(const std::string& prefix, int out, int in, int taps, bool bias);
    // `prefix`.weight [out, in] and .bias.
    Convolution linear(const std::string& prefix, int out, int in);
    Norm norm(const std::string& prefix, int channels);

    bool has(const std::string& name) const { return file_.tensors().count(name) != 0; }

    // Throws Error if the file has tensors that weren't read, except those that only training
    // needs: batch counters and the auxiliary head.
    void check_all_read() const;

 private:
    std::vector<float> read(const std::string& name, const std::vector<int64_t>& shape);

    const SafeTensors& file_;
    std::string name_;
    std::set<std::string> read_;
};

}  // namespace mv2
