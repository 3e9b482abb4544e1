// A bundle of random weights in a folder of its own, for any config.json: every tensor of such a
// network, scaled so that the numbers in it keep their size.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "config.h"
#include "json.h"

class RandomBundle {
 public:
    explicit RandomBundle(const std::string& config_json, unsigned seed = 1) : random_(seed) {
        using std::filesystem::path;
        std::random_device device;
        folder_ = std::filesystem::temp_directory_path() /
                  path("mv2_bundle_" + std::to_string(device()) + std::to_string(device()));
        std::filesystem::create_directories(folder_);
        list(mv2::read_config(mv2::parse_json(config_json, "config.json"), "config.json"));
        std::ofstream(folder_ / "config.json") << config_json;
        std::ofstream file(folder_ / "model.safetensors", std::ios::binary);
        const std::string header = "{" + header_ + "}";
        const uint64_t size = header.size();
        file.write(reinterpret_cast<const char*>(&size), 8);
        file << header;
        file.write(reinterpret_cast<const char*>(values_.data()),
                   static_cast<std::streamsize>(values_.size() * sizeof(float)));
    }
    ~RandomBundle() {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    RandomBundle(const RandomBundle&) = delete;
    RandomBundle& operator=(const RandomBundle&) = delete;

    std::string folder() const { return folder_.string(); }

 private:
    void list(const mv2::Config& config) {
        const std::string root = config.task == mv2::Task::backbone ? "" : "mobilevitv2.";
        const std::vector<int> stages = config.stage_channels(), dims = config.dims();
        int in = config.stem_channels();
        unit(root + "conv_stem", in, config.planes, 3);
        for (int i = 0; i < 5; i++) {
            const std::string stage = root + "encoder.layer." + std::to_string(i);
            for (int block = 0; block < (i == 1 ? 2 : 1); block++) {
                const std::string layer = ".layer." + std::to_string(block);
                residual(stage + (i < 2 ? layer : ".downsampling_layer"), stages[i], in,
                         config.widened(in));
                in = stages[i];
            }
            if (i < 2) continue;
            const int dim = dims[i - 2];
            attention(stage, in, dim, config.hidden(dim), config.blocks[i - 2]);
        }
        if (config.task == mv2::Task::classification) {
            tensor("classifier.weight", {config.classes, in}, 0, spread(in));
            tensor("classifier.bias", {config.classes}, 0, 0.1f);
        }
        if (config.task == mv2::Task::segmentation) segmentation(config, in);
        if (config.task == mv2::Task::detection) detection(config, stages[3], in);
    }

    void attention(const std::string& stage, int channels, int dim, int hidden, int layers) {
        unit(stage + ".conv_kxk", channels, 1, 3);
        convolution(stage + ".conv_1x1", dim, channels);
        for (int i = 0; i < layers; i++) {
            const std::string layer = stage + ".transformer.layer." + std::to_string(i);
            norm(layer + ".layernorm_before", dim);
            biased(layer + ".attention.qkv_proj", 1 + 2 * dim, dim);
            biased(layer + ".attention.out_proj", dim, dim);
            norm(layer + ".layernorm_after", dim);
            biased(layer + ".ffn.conv1", hidden, dim);
            biased(layer + ".ffn.conv2", dim, hidden);
        }
        norm(stage + ".layernorm", dim);
        unit(stage + ".conv_projection", channels, dim);
    }

    void segmentation(const mv2::Config& config, int in) {
        const std::string head = "segmentation_head.";
        const std::string aspp = head + "aspp.", pyramid = head + "pyramid.";
        const int out = config.head_channels;
        if (config.pspnet) {
            const int scales = static_cast<int>(config.pool_scales.size());
            const int inside = config.pool_channels();
            for (int i = 0; i < scales; i++)
                unit(pyramid + "branches." + std::to_string(i), inside, in);
            unit(pyramid + "fusion", out, in + scales * inside, 3);
        } else {
            unit(aspp + "convs.0", out, in);
            for (int i = 1; i < 4; i++) unit(aspp + "convs." + std::to_string(i), out, in, 3);
            unit(aspp + "convs.4.conv_1x1", out, in);
            unit(aspp + "project", out, 5 * out);
        }
        biased(head + "classifier", config.classes, out);
    }

    void detection(const mv2::Config& config, int fine, int coarse) {
        const int channels[] = {fine, coarse, 256, 128, 128, 64};
        const int inside[] = {512, 256, 256, 128, 128, 64};
        for (int i = 0; i < 4; i++) {
            const std::string layer = "detection_head.extra_layers." + std::to_string(i);
            if (i < 3) {
                unit(layer + ".conv_3x3", channels[i + 1], 1, 3);
                unit(layer + ".conv_1x1", channels[i + 2], channels[i + 1]);
            } else {
                convolution(layer + ".conv_1x1", channels[5], channels[4]);
            }
        }
        for (int i = 0; i < 6; i++) {
            const std::string predictor = "detection_head.predictors." + std::to_string(i);
            if (channels[i] != inside[i]) unit(predictor + ".projection", inside[i], channels[i]);
            if (i < 5) unit(predictor + ".conv_3x3", inside[i], 1, 3);
            biased(predictor + ".conv_1x1", (i < 5 ? 6 : 4) * (5 + config.classes), inside[i]);
        }
    }

    void residual(const std::string& name, int out, int in, int wide) {
        unit(name + ".expand_1x1", wide, in);
        unit(name + ".conv_3x3", wide, 1, 3);
        unit(name + ".reduce_1x1", out, wide);
    }
    // A convolution and its BatchNorm.
    void unit(const std::string& name, int out, int in, int side = 1) {
        convolution(name, out, in, side);
        norm(name + ".normalization", out);
        tensor(name + ".normalization.running_mean", {out}, 0, 0.1f);
        tensor(name + ".normalization.running_var", {out}, 1, 0.3f);
    }
    void biased(const std::string& name, int out, int in) {
        convolution(name, out, in);
        tensor(name + ".convolution.bias", {out}, 0, 0.1f);
    }
    void convolution(const std::string& name, int out, int in, int side = 1) {
        tensor(name + ".convolution.weight", {out, in, side, side}, 0, spread(in * side * side));
    }
    void norm(const std::string& name, int channels) {
        tensor(name + ".weight", {channels}, 1, 0.3f);
        tensor(name + ".bias", {channels}, 0, 0.3f);
    }

    // For weights of this many inputs: the output varies as much as the input.
    static float spread(int inputs) { return std::sqrt(3 / static_cast<float>(inputs)); }

    // Evenly distributed from `middle` - `reach` to `middle` + `reach`.
    void tensor(const std::string& name, const std::vector<int>& shape, float middle, float reach) {
        const size_t begin = values_.size();
        size_t count = 1;
        std::string sides;
        for (int side : shape) {
            count *= static_cast<size_t>(side);
            sides += (sides.empty() ? "" : ", ") + std::to_string(side);
        }
        for (size_t i = 0; i < count; i++)
            values_.push_back(middle + reach * (static_cast<float>(random_()) * 0x1p-31f - 1));
        header_ += std::string(header_.empty() ? "" : ", ") + "\"" + name +
                   "\": {\"dtype\": \"F32\", \"shape\": [" + sides + "], \"data_offsets\": [" +
                   std::to_string(begin * 4) + ", " + std::to_string(values_.size() * 4) + "]}";
    }

    std::filesystem::path folder_;
    std::string header_;
    std::vector<float> values_;
    std::mt19937 random_;
};
