// A bundle's config.json: every number that shapes a model, derived as in MobileViTV2Config.
#pragma once

#include <string>
#include <vector>

#include "json.h"

namespace mv2 {

enum class Task { backbone, classification, segmentation, detection };

struct Config {
    Task task = Task::classification;
    int planes = 3;  // channels of an image
    double width = 1;
    double expand_ratio = 2, ffn_multiplier = 2;
    double eps = 1e-5;  // of the GroupNorms
    int output_stride = 32;
    std::vector<int> blocks{2, 4, 3};
    std::vector<int> base_dims{128, 192, 256};
    bool pspnet = false;  // else DeepLabV3
    int head_channels = 512;
    std::vector<int> atrous_rates{6, 12, 18};
    std::vector<int> pool_scales{1, 2, 3, 6};
    std::vector<std::string> labels;
    std::string problem_type;  // a classifier's, or empty
    int classes = 0;

    int stem_channels() const;
    std::vector<int> stage_channels() const;  // of five stages
    std::vector<int> dims() const;            // of three attention stages
    int widened(int channels) const;          // inside an inverted residual
    int hidden(int dim) const;                // inside a feed-forward network
    int pool_channels() const;                // of a PSPNet branch
};

// Throws Error: MV2_ERROR_FILE for values of the wrong type or out of range, MV2_ERROR_UNSUPPORTED
// for an activation, patch or kernel that no published model has.
Config read_config(const Json& json, const std::string& name);

}  // namespace mv2
