// The backbone's weights, read from a bundle and packed.
#pragma once

#include <memory>
#include <vector>

#include "config.h"
#include "kernels.h"
#include "packing.h"
#include "weights.h"

namespace mv2 {

// An inverted residual's weights and geometry.
struct ResidualLayer {
    Matrix widen, narrow;
    Filter filter;
    int stride, dilation, true_channels;
    bool add;
};

struct TransformerLayer {
    const float* query;  // times the norm's weights
    Matrix key, value, out, widen, narrow;
};

struct AttentionLayers {
    int dilation, true_dim;
    Filter filter;
    Matrix narrow, project;
    std::vector<TransformerLayer> layers;
};

struct StageLayers {
    std::vector<ResidualLayer> residuals;
    std::unique_ptr<AttentionLayers> attention;  // of stages 3 to 5
    int channels;                                // without padding
};

struct Backbone {
    int planes;  // of an image
    double eps;  // of the norms
    const float *stem_weights, *stem_bias;
    int stem_channels;  // padded
    std::vector<StageLayers> stages;
};

// Throws Error if the weights don't match the config, std::bad_alloc.
Backbone read_backbone(const Config& config, Weights& weights, const Kernels& kernels,
                       Store& store);

}  // namespace mv2
