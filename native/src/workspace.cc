#include "workspace.h"

#include <algorithm>
#include <cmath>

#include "maps.h"

namespace mv2 {

namespace {

constexpr int at_once = 64;  // pixels in a residual's step

int halved(int side, int stride) { return (side - 1) / stride + 1; }

double products_of(const ResidualArgs& args) {
    return static_cast<double>(args.in.pixels()) * args.widen.k * args.widen.n +
           static_cast<double>(args.out.pixels()) * args.narrow.k * args.narrow.n;
}

double products_of(const AttentionLayers& layers, const AttentionMap& map) {
    const auto size = [](const Matrix& m) { return static_cast<double>(m.k) * m.n; };
    double each = size(layers.narrow) + size(layers.project), once = 0;
    for (const TransformerLayer& layer : layers.layers) {
        each += size(layer.value) + size(layer.out) + size(layer.widen) + size(layer.narrow);
        once += 4 * size(layer.key);
    }
    return each * map.height * map.width + once;
}

void add_bias(const Matrix& matrix, float mean, float scale, float* bias) {
    for (int n = 0; n < matrix.n; n++) bias[n] = matrix.bias[n] - mean * scale * matrix.sums[n];
}

}  // namespace

std::vector<Output> outputs_of(const Backbone& backbone, const Head& head, int height, int width) {
    std::vector<Map> maps;
    int h = halved(height, 2), w = halved(width, 2);
    for (const StageLayers& stage : backbone.stages) {
        for (const ResidualLayer& residual : stage.residuals) {
            h = halved(h, residual.stride);
            w = halved(w, residual.stride);
        }
        if (stage.attention) h += h % 2, w += w % 2;
        maps.push_back({nullptr, h, w, stage.channels, 0});
    }
    std::vector<Output> all = head.outputs(maps[maps.size() - 2], maps.back());
    for (size_t i = 0; i < maps.size(); i++)
        all.push_back(
            {"stage_" + std::to_string(i), {maps[i].channels, maps[i].height, maps[i].width}});
    return all;
}

Workspace::Workspace(const Backbone& backbone, const Head& head, const Kernels& kernels,
                     int image_height, int image_width)
    : height(image_height),
      width(image_width),
      backbone_(backbone),
      answers_(head),
      kernels_(kernels) {
    const Kernels& k = kernels;
    int h = halved(height, 2), w = halved(width, 2);

    // Each map is read only by the next, so two buffers as large as the largest map suffice.
    size_t elements = static_cast<size_t>(h) * w * backbone.stem_channels;
    {
        int sh = h, sw = w;
        for (const StageLayers& stage : backbone.stages) {
            for (const ResidualLayer& r : stage.residuals) {
                sh = halved(sh, r.stride);
                sw = halved(sw, r.stride);
                const int border = stage.attention ? stage.attention->dilation : 0;
                const size_t size =
                    static_cast<size_t>(sh + sh % 2) * (sw + sw % 2 + 2 * border) * r.narrow.n;
                elements = std::max(elements, size);
            }
            if (stage.attention) sh += sh % 2, sw += sw % 2;
        }
    }
    unsigned char* halves[2];
    int turn = 0;
    for (auto& half : halves) half = store_.take_array<unsigned char>(elements * k.element);
    const auto next = [&](int mh, int mw, int channels, int border) {
        return Map{halves[turn++ % 2], mh, mw, channels, border};
    };

    Map map = next(h, w, backbone.stem_channels, 0);
    stem_ = {nullptr, backbone.planes, height, width, backbone.stem_weights, backbone.stem_bias,
             map};
    scratch_bytes_ = k.stem_scratch(stem_);
    for (size_t i = 0; i < backbone.stages.size(); i++) {
        const StageLayers& layers = backbone.stages[i];
        Stage stage;
        stage.channels = layers.channels;
        for (const ResidualLayer& r : layers.residuals) {
            h = halved(h, r.stride);
            w = halved(w, r.stride);
            const bool odd = layers.attention && (h % 2 || w % 2);
            const int border = layers.attention && !odd ? layers.attention->dilation : 0;
            ResidualArgs args{map,        next(h, w, r.narrow.n, border),
                              r.widen,    r.narrow,
                              r.filter,   r.stride,
                              r.dilation, r.add,
                              0,          0};
            const int rows = std::min(h, std::max(1, at_once / w));
            args.ring = (rows - 1) * r.stride + 2 * r.dilation + 1;
            scratch_bytes_ = std::max(scratch_bytes_, k.residual_scratch(args, rows));
            stage.residuals.push_back(args);
            map = args.out;
        }
        if (layers.attention) {
            stage.attention = std::make_unique<Attention>();
            Attention& a = *stage.attention;
            if (h % 2 || w % 2) {
                a.unstretched = map;
                h += h % 2;
                w += w % 2;
                map = next(h, w, map.channels, layers.attention->dilation);
            }
            a.narrow_in = map;
            Map out = next(h, w, layers.attention->project.n, 0);
            const bool last_but_one = i + 2 == backbone.stages.size();
            if (last_but_one && head.wants_fine())
                out.data = store_.take_array<unsigned char>(static_cast<size_t>(out.elements()) *
                                                            k.element);
            plan_attention(*layers.attention, map, out, stage);
            map = out;
            if (last_but_one) fine_ = map;
        }
        stage.out = map;
        stages_.push_back(std::move(stage));
    }
    pooled_.resize(map.channels);
    head_ = head.plan(fine_, map);
    answers_count_ = head.outputs(fine_, map).size();
}

void Workspace::plan_attention(const AttentionLayers& layers, const Map& down, Map& out,
                               Stage& stage) {
    const Kernels& k = kernels_;
    Attention& a = *stage.attention;
    const int h = down.height, w = down.width, dim = layers.narrow.n;
    AttentionMap map;
    map.height = h;
    map.width = w;
    map.dim = dim;
    map.true_dim = layers.true_dim;
    map.part_rows = 2;
    while (map.part_rows * w < k.block && map.part_rows < h) map.part_rows += 2;
    map.parts = (h + map.part_rows - 1) / map.part_rows;
    const size_t elements = static_cast<size_t>(h) * w * dim;
    map.values = store_.take_array<float>(elements);
    map.rounded = k.element == 4 ? nullptr : store_.take_array<unsigned char>(elements * k.element);
    map.scores = store_.take_array<float>(static_cast<size_t>(h) * w);
    map.part = store_.take_array<Part>(map.parts);
    map.summed = store_.take_array<float>(static_cast<size_t>(map.parts) * 4 * dim);

    void* zeros =
        store_.take_array<unsigned char>(static_cast<size_t>(down.row_elements()) * k.element);
    const float* first = layers.layers.empty() ? nullptr : layers.layers[0].query;
    a.local = {down, zeros, layers.filter, layers.dilation, layers.narrow, map, first};
    int widest = 0;
    float* context = store_.take_array<float>(static_cast<size_t>(4) * dim);
    for (size_t i = 0; i < layers.layers.size(); i++) {
        const TransformerLayer& layer = layers.layers[i];
        const float* next = i + 1 < layers.layers.size() ? layers.layers[i + 1].query : nullptr;
        a.value_bias.push_back(store_.take_array<float>(layer.value.n));
        a.widen_bias.push_back(store_.take_array<float>(layer.widen.n));
        a.layers.push_back({map, 0, 0, next, layer.key, layer.value, layer.out, a.value_bias.back(),
                            context, layer.widen, layer.narrow, a.widen_bias.back()});
        widest = std::max(widest, std::max(layer.widen.n, dim));
    }
    a.project_bias = store_.take_array<float>(layers.project.n);
    float* pooled = store_.take_array<float>(static_cast<size_t>(map.parts) * layers.project.n);
    a.project = {map, 0, layers.project, a.project_bias, out, pooled};
    scratch_bytes_ = std::max(scratch_bytes_, k.attention_scratch(map, down.channels, widest));
}

void Workspace::normalize(const AttentionMap& map, float* mean, float* scale) const {
    double count = 0, about = 0, sum = 0;
    for (int i = 0; i < map.parts; i++) {  // Chan's formula merges the parts
        const int rows = std::min(map.height, (i + 1) * map.part_rows) - i * map.part_rows;
        const double more = static_cast<double>(rows) * map.width * map.true_dim;
        const double apart = map.part[i].mean - sum;
        about += map.part[i].squares + apart * apart * count * more / (count + more);
        sum += apart * more / (count + more);
        count += more;
    }
    *mean = static_cast<float>(sum);
    // If the squares overflowed it would be 0, and every output would be a number again.
    *scale = std::isfinite(about) ? static_cast<float>(1 / std::sqrt(about / count + backbone_.eps))
                                  : NAN;
}

void Workspace::run_residual(Run& run, ResidualArgs& args, int threads) {
    const int h = args.out.height;
    int rows = std::min(h, std::max(1, at_once / args.out.width));
    if (threads > 1)
        rows = std::min(rows,
                        std::max(h / (2 * threads), (run.kernels.block - 1) / args.out.width + 1));
    args.phase = ++phase_;
    run.rows(h, rows, [&](Rows r, Scratch s) { run.kernels.residual(args, r, s); });
}

void Workspace::run_attention(Run& run, const AttentionLayers& layers, Attention& a,
                              bool map_wanted, bool pooled_wanted) {
    const Kernels& k = run.kernels;
    if (a.unstretched.data)
        run.rows(a.narrow_in.height, 2,
                 [&](Rows r, Scratch) { stretch(a.unstretched, a.narrow_in, 0, k.element, r); });
    const int parts = a.local.map.parts;
    run.each(parts, [&](int part, Scratch s) { k.local(a.local, part, s); });
    for (size_t i = 0; i < a.layers.size(); i++) {
        LayerArgs& layer = a.layers[i];
        normalize(layer.map, &layer.mean, &layer.scale);
        add_bias(layer.value, layer.mean, layer.scale, a.value_bias[i]);
        run.each(parts, [&](int part, Scratch) { k.sum_part(layer, part); });
        run.once([&](Scratch s) { k.context(layer, s); });
        run.each(parts, [&](int part, Scratch s) { k.attend(layer, part, s); });
        normalize(layer.map, &layer.mean, &layer.scale);
        add_bias(layer.widen, layer.mean, layer.scale, a.widen_bias[i]);
        run.each(parts, [&](int part, Scratch s) { k.feed_forward(layer, part, s); });
    }
    ProjectArgs project = a.project;
    float mean;
    normalize(project.map, &mean, &project.scale);
    add_bias(layers.project, mean, project.scale, a.project_bias);
    if (!map_wanted) project.out.data = nullptr;
    if (!pooled_wanted) project.pooled = nullptr;
    run.each(parts, [&](int part, Scratch s) { k.project(project, part, s); });
    if (!pooled_wanted) return;
    const int n = project.matrix.n;
    std::vector<float>& pooled = pooled_;
    for (int c = 0; c < n; c++) {
        double sum = 0;
        for (int part = 0; part < parts; part++)
            sum += project.pooled[static_cast<size_t>(part) * n + c];
        pooled[c] = static_cast<float>(sum / project.map.height / project.map.width);
    }
}

void Workspace::mark(const char* part, size_t stage, double multiply_adds) {
    if (!marks) return;
    const std::string number = stage < stages_.size() ? "stage " + std::to_string(stage) + " " : "";
    marks->push_back({number + part, multiply_adds, std::chrono::steady_clock::now()});
}

void Workspace::run(Team& team, const float* pixels, float* const* outputs) {
    Run run{kernels_, team, scratch_};
    const size_t first_map = answers_count_;
    bool head_wanted = false;
    for (size_t i = 0; i < first_map; i++) head_wanted = head_wanted || outputs[i];
    size_t needed = head_wanted ? stages_.size() : 0;  // stages, up to the last that is wanted
    for (size_t i = needed; i < stages_.size(); i++)
        if (outputs[first_map + i]) needed = i + 1;
    if (!needed) return;

    stem_.pixels = pixels;
    run.rows(stem_.out.height, 2, [&](Rows r, Scratch s) { run.kernels.stem(stem_, r, s); });
    mark("stem", stages_.size(), 9.0 * stem_.planes * stem_.out.elements());
    for (size_t i = 0; i < needed; i++) {
        Stage& stage = stages_[i];
        const bool last = i + 1 == stages_.size();
        float* wanted = outputs[first_map + i];
        for (ResidualArgs& args : stage.residuals) {
            run_residual(run, args, team.size());
            mark("residual", i, products_of(args));
        }
        if (stage.attention) {
            const bool map_wanted = !last || wanted || (head_wanted && answers_.wants_coarse());
            run_attention(run, *backbone_.stages[i].attention, *stage.attention, map_wanted,
                          last && head_wanted && answers_.wants_pooled());
            mark("attention", i,
                 products_of(*backbone_.stages[i].attention, stage.attention->local.map));
        }
        if (wanted)
            run.rows(stage.out.height, 4, [&](Rows r, Scratch) {
                to_planar(stage.out, stage.channels, wanted, run.kernels.element, r);
            });
    }
    if (head_wanted) head_->run(run, {fine_, stages_.back().out, pooled_.data()}, outputs);
    mark("head", stages_.size(), 0);
}

}  // namespace mv2
