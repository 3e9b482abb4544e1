// The tensors of a bundle as the engine computes with them: BatchNorms folded into convolutions.
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

// Reads by the names of transformers' layout, and remembers which were read.
class Weights {
 public:
    Weights(const SafeTensors& file, std::string name) : file_(file), name_(std::move(name)) {}

    // `prefix`.convolution with .normalization folded in. Of a convolution of each channel `in`
    // is 1.
    Convolution conv_norm(const std::string& prefix, int out, int in, int taps);
    // `prefix`.convolution with its bias, or without.
    Convolution conv(const std::string& prefix, int out, int in, int taps, bool bias);
    // `prefix`.weight [out, in] and .bias.
    Convolution linear(const std::string& prefix, int out, int in);
    Norm norm(const std::string& prefix, int channels);

    bool has(const std::string& name) const { return file_.tensors().count(name) != 0; }

    // Throws Error for tensors of the file that nothing has read, but for those that only training
    // reads: counters of batches, the auxiliary head.
    void check_all_read() const;

 private:
    std::vector<float> read(const std::string& name, const std::vector<int64_t>& shape);

    const SafeTensors& file_;
    std::string name_;
    std::set<std::string> read_;
};

}  // namespace mv2
