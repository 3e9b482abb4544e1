#include "layers.h"

#include <string>

#include "error.h"

namespace mv2 {

namespace {

std::vector<float> part_of(const std::vector<float>& values, size_t begin, size_t count) {
    return {values.begin() + begin, values.begin() + begin + count};
}

// `count` rows of a 1x1 convolution from `begin` on.
Convolution rows_of(const Convolution& conv, int begin, int count) {
    Convolution part;
    part.out = count;
    part.in = conv.in;
    part.weight = part_of(conv.weight, static_cast<size_t>(begin) * conv.in,
                          static_cast<size_t>(count) * conv.in);
    part.bias = part_of(conv.bias, begin, count);
    return part;
}

ResidualLayer read_residual(Weights& weights, Packer& packer, const Config& config,
                            const std::string& name, int in, int out, int stride, int dilation) {
    const int wide = config.widened(in);
    ResidualLayer layer;
    layer.widen = packer.matrix(weights.conv_norm(name + ".expand_1x1", wide, in, 1));
    layer.filter = packer.filter(weights.conv_norm(name + ".conv_3x3", wide, 1, 9));
    layer.narrow = packer.matrix(weights.conv_norm(name + ".reduce_1x1", out, wide, 1));
    layer.stride = stride;
    layer.dilation = dilation;
    layer.add = stride == 1 && in == out;
    layer.true_channels = out;
    return layer;
}

TransformerLayer read_transformer(Weights& weights, Packer& packer, const Config& config,
                                  const std::string& name, int dim) {
    TransformerLayer layer;
    const int hidden = config.hidden(dim);
    const Norm before = weights.norm(name + ".layernorm_before", dim);
    const Convolution qkv = weights.conv(name + ".attention.qkv_proj", 1 + 2 * dim, dim, 1, true);
    // The norm's shift and the query's bias change all scores equally, which softmax ignores.
    std::vector<float> query(dim);
    for (int i = 0; i < dim; i++) query[i] = qkv.weight[i] * before.weight[i];
    layer.query = packer.vector(query);
    layer.key = packer.matrix(rows_of(qkv, 1, dim), &before);
    layer.value = packer.matrix(rows_of(qkv, 1 + dim, dim), &before);
    layer.out = packer.matrix(weights.conv(name + ".attention.out_proj", dim, dim, 1, true));
    const Norm after = weights.norm(name + ".layernorm_after", dim);
    layer.widen = packer.matrix(weights.conv(name + ".ffn.conv1", hidden, dim, 1, true), &after);
    layer.narrow = packer.matrix(weights.conv(name + ".ffn.conv2", dim, hidden, 1, true));
    return layer;
}

}  // namespace

Backbone read_backbone(const Config& config, Weights& weights, const Kernels& kernels,
                       Store& store) {
    Packer packer(kernels, store);
    Backbone backbone;
    backbone.planes = config.planes;
    backbone.eps = config.eps;
    const std::string root = config.task == Task::backbone ? "" : "mobilevitv2.";
    const Convolution stem =
        weights.conv_norm(root + "conv_stem", config.stem_channels(), config.planes, 9);
    backbone.stem_weights = packer.stem(stem);
    backbone.stem_bias = packer.vector(stem.bias);
    backbone.stem_channels = packer.padded(stem.out);

    const std::vector<int> channels = config.stage_channels(), dims = config.dims();
    int in = stem.out, dilation = 1, stride_so_far = 2;
    for (int i = 0; i < 5; i++) {
        const std::string stage_name = root + "encoder.layer." + std::to_string(i);
        StageLayers stage;
        stage.channels = channels[i];
        if (i < 2) {
            for (int block = 0; block <= i; block++) {
                const int stride = i == 1 && block == 0 ? 2 : 1;
                stage.residuals.push_back(read_residual(
                    weights, packer, config, stage_name + ".layer." + std::to_string(block), in,
                    channels[i], stride, 1));
                in = channels[i];
                stride_so_far *= stride;
            }
        } else {
            const int before = dilation;
            int stride = 2;
            if (stride_so_far >= config.output_stride) {
                stride = 1;
                dilation *= 2;
            }
            stride_so_far *= stride;
            stage.residuals.push_back(read_residual(weights, packer, config,
                                                    stage_name + ".downsampling_layer", in,
                                                    channels[i], stride, before));
            in = channels[i];
            const int dim = dims[i - 2];
            if (config.hidden(dim) < 1)
                fail_file("config.json: ffn_multiplier leaves no hidden channels for " +
                          std::to_string(dim) + " channels.");
            stage.attention = std::make_unique<AttentionLayers>();
            AttentionLayers& a = *stage.attention;
            a.dilation = dilation;
            a.true_dim = dim;
            a.filter = packer.filter(weights.conv_norm(stage_name + ".conv_kxk", in, 1, 9));
            a.narrow = packer.matrix(weights.conv(stage_name + ".conv_1x1", dim, in, 1, false));
            for (int layer = 0; layer < config.blocks[i - 2]; layer++)
                a.layers.push_back(read_transformer(
                    weights, packer, config,
                    stage_name + ".transformer.layer." + std::to_string(layer), dim));
            const Norm norm = weights.norm(stage_name + ".layernorm", dim);
            a.project = packer.matrix(
                weights.conv_norm(stage_name + ".conv_projection", in, dim, 1), &norm);
        }
        backbone.stages.push_back(std::move(stage));
    }
    return backbone;
}

}  // namespace mv2
