#include "heads.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "maps.h"

namespace mv2 {

namespace {

constexpr float none = -std::numeric_limits<float>::infinity();  // least value: no activation
constexpr float relu = 0;

// Maps and vectors of a head for one image size.
class Buffers {
 public:
    explicit Buffers(const Kernels& kernels) : kernels_(kernels) {}
    Map map(int height, int width, int channels, int border = 0) {
        Map m{nullptr, height, width, channels, border};
        m.data =
            store_.take_array<unsigned char>(static_cast<size_t>(m.elements()) * kernels_.element);
        return m;
    }
    void* zeros(const Map& map) {
        return store_.take_array<unsigned char>(static_cast<size_t>(map.row_elements()) *
                                                kernels_.element);
    }
    float* floats(size_t count) { return store_.take_array<float>(count); }

 private:
    const Kernels& kernels_;
    Store store_;
};

// What heads are made of, on all threads.
void convolve(Run& run, const ConvArgs& args) {
    const int height = args.in.height, rows = std::clamp(height / (2 * run.team.size()), 1, 4);
    run.rows(height, rows, [&](Rows r, Scratch) { run.kernels.conv(args, r); });
}

void filter(Run& run, const FilterArgs& args) {
    run.rows(args.out.height, 1, [&](Rows r, Scratch) { run.kernels.filter(args, r); });
}

void copy(Run& run, const Map& in, const Map& out) {
    run.rows(in.height, 4, [&](Rows r, Scratch) { copy_rows(in, out, run.kernels.element, r); });
}

void dense(Run& run, const void* in, const Matrix& matrix, const float* bias, float least,
           float* out) {
    constexpr int step = 128;  // columns; a multiple of every kernel's panel
    const DenseArgs args{in, matrix, bias, least, out};
    run.each((matrix.n + step - 1) / step, [&](int item, Scratch) {
        run.kernels.dense(args, {item * step, std::min(matrix.n, (item + 1) * step)});
    });
}

// fp32 [pixels][padded] to [channels][pixels].
void planes(Run& run, const float* in, int pixels, int padded, int channels, float* out) {
    run.each(channels, [&](int c, Scratch) {
        for (int i = 0; i < pixels; i++)
            out[static_cast<size_t>(c) * pixels + i] = in[static_cast<size_t>(i) * padded + c];
    });
}

// ---- the backbone alone ----

class Backbone : public Head {
 public:
    Backbone(const Kernels& kernels, int channels) : kernels_(kernels), channels_(channels) {}
    std::vector<Output> outputs(const Map&, const Map& coarse) const override {
        return {{"last_hidden_state", {channels_, coarse.height, coarse.width}},
                {"pooler_output", {channels_}}};
    }
    bool wants_pooled() const override { return true; }
    std::unique_ptr<HeadPlan> plan(const Map&, const Map&) const override {
        struct Plan : HeadPlan {
            int channels;
            void run(Run& run, const Features& features, float* const* outputs) override {
                if (outputs[0])
                    run.rows(features.coarse.height, 4, [&](Rows r, Scratch) {
                        to_planar(features.coarse, channels, outputs[0], run.kernels.element, r);
                    });
                if (outputs[1]) std::memcpy(outputs[1], features.pooled, sizeof(float) * channels);
            }
        };
        auto plan = std::make_unique<Plan>();
        plan->channels = channels_;
        return plan;
    }

 private:
    const Kernels& kernels_;
    int channels_;
};

// ---- classification ----

class Classifier : public Head {
 public:
    Classifier(const Config& config, Weights& weights, const Kernels& kernels, Store& store)
        : kernels_(kernels), classes_(config.classes) {
        Packer packer(kernels, store);
        matrix_ =
            packer.matrix(weights.linear("classifier", classes_, config.stage_channels().back()));
    }
    std::vector<Output> outputs(const Map&, const Map&) const override {
        return {{"logits", {classes_}}};
    }
    bool wants_coarse() const override { return false; }
    bool wants_pooled() const override { return true; }
    std::unique_ptr<HeadPlan> plan(const Map&, const Map&) const override {
        return std::make_unique<Plan>(kernels_, matrix_, classes_);
    }

 private:
    struct Plan : HeadPlan {
        Buffers buffers;
        const Matrix& matrix;
        int classes;
        float *pooled, *logits;
        Plan(const Kernels& kernels, const Matrix& m, int c)
            : buffers(kernels),
              matrix(m),
              classes(c),
              pooled(buffers.floats(m.k)),
              logits(buffers.floats(m.n)) {}
        void run(Run& run, const Features& features, float* const* outputs) override {
            to_elements(features.pooled, pooled, matrix.k, run.kernels.element);
            dense(run, pooled, matrix, matrix.bias, none, logits);
            std::memcpy(outputs[0], logits, sizeof(float) * classes);
        }
    };

    const Kernels& kernels_;
    Matrix matrix_;
    int classes_;
};

// ---- segmentation ----

// The convolution to class scores that ends both heads.
struct Scores {
    Matrix matrix;
    int classes = 0;

    void read(const Config& config, Weights& weights, Packer& packer) {
        classes = config.classes;
        matrix = packer.matrix(
            weights.conv("segmentation_head.classifier", classes, config.head_channels, 1, true));
    }
    void run(Run& run, const Map& in, float* floats, float* out) const {
        convolve(run, {in, matrix, matrix.bias, none, {}, 0, floats, 0});
        planes(run, floats, in.pixels(), matrix.n, classes, out);
    }
};

class Segmenter : public Head {
 public:
    std::vector<Output> outputs(const Map&, const Map& coarse) const override {
        return {{"logits", {scores_.classes, coarse.height, coarse.width}}};
    }

 protected:
    Scores scores_;
};

class DeepLabV3 : public Segmenter {
 public:
    DeepLabV3(const Config& config, Weights& weights, const Kernels& kernels, Store& store)
        : kernels_(kernels), rates_(config.atrous_rates) {
        Packer packer(kernels, store);
        const std::string aspp = "segmentation_head.aspp.";
        const int in = config.stage_channels().back(), out = config.head_channels;
        near_ = packer.matrix(weights.conv_norm(aspp + "convs.0", out, in, 1));
        for (int i = 0; i < 3; i++)
            far_.push_back(packer.matrix(
                weights.conv_norm(aspp + "convs." + std::to_string(i + 1), out, in, 9)));
        pooled_ = packer.matrix(weights.conv_norm(aspp + "convs.4.conv_1x1", out, in, 1));
        // The pooled branch is the same at every pixel, so it only shifts the projection.
        const Convolution mix = weights.conv_norm(aspp + "project", out, 5 * out, 1);
        Convolution local = mix, whole = mix;
        local.in = 4 * out;
        whole.in = out;
        local.weight.clear();
        whole.weight.clear();
        for (int o = 0; o < out; o++) {
            const auto row = mix.weight.begin() + static_cast<size_t>(o) * 5 * out;
            local.weight.insert(local.weight.end(), row, row + 4 * out);
            whole.weight.insert(whole.weight.end(), row + 4 * out, row + 5 * out);
        }
        mix_local_ = packer.matrix(local, nullptr, std::vector<int>(4, out));
        mix_whole_ = packer.matrix(whole);
        scores_.read(config, weights, packer);
    }
    bool wants_pooled() const override { return true; }
    std::unique_ptr<HeadPlan> plan(const Map&, const Map& coarse) const override {
        return std::make_unique<Plan>(*this, coarse);
    }

 private:
    struct Plan : HeadPlan {
        const DeepLabV3& head;
        Buffers buffers;
        Map bordered, beside, mixed;
        int border;
        float *row, *pooled, *shift, *floats;
        Plan(const DeepLabV3& h, const Map& coarse) : head(h), buffers(h.kernels_) {
            border = *std::max_element(h.rates_.begin(), h.rates_.end());
            const int n = h.near_.n;
            bordered = buffers.map(coarse.height, coarse.width, coarse.channels, border);
            beside = buffers.map(coarse.height, coarse.width, 4 * n);
            mixed = buffers.map(coarse.height, coarse.width, n);
            row = buffers.floats(std::max(coarse.channels, n));
            pooled = buffers.floats(n);
            shift = buffers.floats(n);
            floats = buffers.floats(static_cast<size_t>(coarse.pixels()) * h.scores_.matrix.n);
        }
        void run(Run& run, const Features& features, float* const* outputs) override {
            const int element = run.kernels.element, n = head.near_.n;
            copy(run, features.coarse, bordered);
            convolve(run,
                     {features.coarse, head.near_, head.near_.bias, relu, beside, 0, nullptr, 0});
            for (int i = 0; i < 3; i++)
                convolve(run, {bordered, head.far_[i], head.far_[i].bias, relu, beside, (i + 1) * n,
                               nullptr, head.rates_[i]});
            to_elements(features.pooled, row, head.pooled_.k, element);
            dense(run, row, head.pooled_, head.pooled_.bias, relu, pooled);
            to_elements(pooled, row, n, element);
            dense(run, row, head.mix_whole_, head.mix_local_.bias, none, shift);
            convolve(run, {beside, head.mix_local_, shift, relu, mixed, 0, nullptr, 0});
            head.scores_.run(run, mixed, floats, outputs[0]);
        }
    };

    const Kernels& kernels_;
    std::vector<int> rates_;
    Matrix near_, pooled_, mix_local_, mix_whole_;
    std::vector<Matrix> far_;
};

class PSPNet : public Segmenter {
 public:
    PSPNet(const Config& config, Weights& weights, const Kernels& kernels, Store& store)
        : kernels_(kernels), scales_(config.pool_scales) {
        Packer packer(kernels, store);
        const std::string pyramid = "segmentation_head.pyramid.";
        const int in = config.stage_channels().back(), inside = config.pool_channels();
        std::vector<int> segments{in};
        for (size_t i = 0; i < scales_.size(); i++) {
            branches_.push_back(packer.matrix(
                weights.conv_norm(pyramid + "branches." + std::to_string(i), inside, in, 1)));
            segments.push_back(inside);
        }
        const int all = in + static_cast<int>(scales_.size()) * inside;
        fusion_ = packer.matrix(weights.conv_norm(pyramid + "fusion", config.head_channels, all, 9),
                                nullptr, segments);
        scores_.read(config, weights, packer);
    }
    std::unique_ptr<HeadPlan> plan(const Map&, const Map& coarse) const override {
        return std::make_unique<Plan>(*this, coarse);
    }

 private:
    struct Plan : HeadPlan {
        const PSPNet& head;
        Buffers buffers;
        std::vector<Map> cells, branches;
        Map beside, mixed;
        float* floats;
        Plan(const PSPNet& h, const Map& coarse) : head(h), buffers(h.kernels_) {
            for (size_t i = 0; i < h.scales_.size(); i++) {
                cells.push_back(buffers.map(h.scales_[i], h.scales_[i], coarse.channels));
                branches.push_back(buffers.map(h.scales_[i], h.scales_[i], h.branches_[i].n));
            }
            beside = buffers.map(coarse.height, coarse.width, h.fusion_.k, 1);
            mixed = buffers.map(coarse.height, coarse.width, h.fusion_.n);
            floats = buffers.floats(static_cast<size_t>(coarse.pixels()) * h.scores_.matrix.n);
        }
        void run(Run& run, const Features& features, float* const* outputs) override {
            const int element = run.kernels.element;
            Map widened = features.coarse;  // as wide as its place beside the branches
            run.rows(beside.height, 4,
                     [&](Rows r, Scratch) { stretch(widened, beside, 0, element, r); });
            run.each(static_cast<int>(cells.size()),
                     [&](int i, Scratch) { mean_cells(features.coarse, cells[i], element); });
            int channel = features.coarse.channels;
            for (size_t i = 0; i < cells.size(); i++) {
                const Matrix& matrix = head.branches_[i];
                convolve(run, {cells[i], matrix, matrix.bias, relu, branches[i], 0, nullptr, 0});
                run.rows(beside.height, 4, [&](Rows r, Scratch) {
                    stretch(branches[i], beside, channel, element, r);
                });
                channel += matrix.n;
            }
            convolve(run, {beside, head.fusion_, head.fusion_.bias, relu, mixed, 0, nullptr, 1});
            head.scores_.run(run, mixed, floats, outputs[0]);
        }
    };

    const Kernels& kernels_;
    std::vector<int> scales_;
    std::vector<Matrix> branches_;
    Matrix fusion_;
};

// ---- detection ----

constexpr int maps = 6;
constexpr int halved_channels[] = {256, 128, 128};
constexpr int pooled_channels = 64;
constexpr int inside_channels[] = {512, 256, 256, 128, 128, 64};
constexpr int shapes_of_a_cell[] = {6, 6, 6, 6, 6, 4};
constexpr int box_numbers = 4;
constexpr float center_variance = 0.1f, size_variance = 0.2f;

struct Shape {
    float width, height;
};

// The anchors at a cell of a map: two squares, then a wide and a tall one for each ratio.
std::vector<Shape> anchor_shapes(int map) {
    constexpr double first = 0.1, last = 1.05;
    const double step = (last - first) / maps, small = first + map * step,
                 next = first + (map + 1) * step;
    const double large = std::sqrt(small * next);
    std::vector<std::pair<double, double>> shapes{{small, small}, {large, large}};
    for (int ratio = 2; ratio <= (map + 1 < maps ? 3 : 2); ratio++) {
        const double root = std::sqrt(static_cast<double>(ratio));
        shapes.push_back({small * root, small / root});
        shapes.push_back({small / root, small * root});
    }
    std::vector<Shape> rounded;
    for (auto [w, h] : shapes)
        rounded.push_back(
            {static_cast<float>(std::min(w, 1.0)), static_cast<float>(std::min(h, 1.0))});
    return rounded;
}

class SSDLite : public Head {
 public:
    SSDLite(const Config& config, Weights& weights, const Kernels& kernels, Store& store)
        : kernels_(kernels), classes_(config.classes) {
        Packer packer(kernels, store);
        const std::string head = "detection_head.";
        const std::vector<int> stages = config.stage_channels();
        int channels[maps] = {stages[3], stages[4], 0, 0, 0, pooled_channels};
        for (int i = 0; i < 3; i++) {
            const std::string name = head + "extra_layers." + std::to_string(i);
            channels[2 + i] = halved_channels[i];
            filters_.push_back(
                packer.filter(weights.conv_norm(name + ".conv_3x3", channels[1 + i], 1, 9)));
            mixes_.push_back(packer.matrix(
                weights.conv_norm(name + ".conv_1x1", channels[2 + i], channels[1 + i], 1)));
        }
        Convolution pooled = weights.conv(head + "extra_layers.3.conv_1x1", pooled_channels,
                                          halved_channels[2], 1, false);
        mixes_.push_back(packer.matrix(pooled));
        for (int i = 0; i < maps; i++) {
            const std::string name = head + "predictors." + std::to_string(i);
            const int inside = inside_channels[i];
            Predictor p;
            p.projects = channels[i] != inside;
            p.looks_around = inside != pooled_channels;
            if (p.projects)
                p.project =
                    packer.matrix(weights.conv_norm(name + ".projection", inside, channels[i], 1));
            if (p.looks_around)
                p.filter = packer.filter(weights.conv_norm(name + ".conv_3x3", inside, 1, 9));
            const int answers = shapes_of_a_cell[i] * (box_numbers + 1 + classes_);
            p.answer = packer.matrix(weights.conv(name + ".conv_1x1", answers, inside, 1, true));
            predictors_.push_back(p);
        }
    }
    bool wants_fine() const override { return true; }
    std::vector<Output> outputs(const Map& fine, const Map& coarse) const override {
        int64_t anchors = 0;
        const std::vector<Map> sizes = map_sizes(fine, coarse);
        for (int i = 0; i < maps; i++)
            anchors += static_cast<int64_t>(sizes[i].pixels()) * shapes_of_a_cell[i];
        return {{"logits", {anchors, 1 + classes_}}, {"boxes", {anchors, box_numbers}}};
    }
    std::unique_ptr<HeadPlan> plan(const Map& fine, const Map& coarse) const override {
        return std::make_unique<Plan>(*this, fine, coarse);
    }

 private:
    struct Predictor {
        bool projects, looks_around;
        Matrix project, answer;
        Filter filter;
    };

    // Heights, widths and channels of the six maps.
    std::vector<Map> map_sizes(const Map& fine, const Map& coarse) const {
        std::vector<Map> sizes{fine, coarse};
        for (int i = 0; i < 3; i++) {
            const Map& last = sizes.back();
            sizes.push_back(
                {nullptr, (last.height - 1) / 2 + 1, (last.width - 1) / 2 + 1, mixes_[i].n, 0});
        }
        sizes.push_back({nullptr, 1, 1, mixes_[3].n, 0});
        return sizes;
    }

    struct Plan : HeadPlan {
        const SSDLite& head;
        Buffers buffers;
        std::vector<Map> sizes, bordered, filtered, projected, looked;
        std::vector<void*> zeros, projected_zeros;
        std::vector<float*> answers;

        Plan(const SSDLite& h, const Map& fine, const Map& coarse)
            : head(h), buffers(h.kernels_), sizes(h.map_sizes(fine, coarse)) {
            for (int i = 0; i < maps; i++) {
                Map& map = sizes[i];
                if (i >= 2) map = buffers.map(map.height, map.width, map.channels);
                const Predictor& p = h.predictors_[i];
                const int inside = p.answer.k;
                bordered.push_back(buffers.map(map.height, map.width, map.channels, 1));
                zeros.push_back(buffers.zeros(bordered.back()));
                projected.push_back(
                    buffers.map(map.height, map.width, inside, p.looks_around ? 1 : 0));
                projected_zeros.push_back(buffers.zeros(projected.back()));
                looked.push_back(buffers.map(map.height, map.width, inside));
                answers.push_back(buffers.floats(static_cast<size_t>(map.pixels()) * p.answer.n));
            }
            for (int i = 0; i < 3; i++)
                filtered.push_back(
                    buffers.map(sizes[2 + i].height, sizes[2 + i].width, sizes[1 + i].channels));
        }

        void run(Run& run, const Features& features, float* const* outputs) override {
            sizes[0] = features.fine;
            sizes[1] = features.coarse;
            for (int i = 1; i < 4; i++) {  // each half the size of the last
                copy(run, sizes[i], bordered[i]);
                mv2::filter(run,
                            {bordered[i], zeros[i], head.filters_[i - 1], 2, 1, filtered[i - 1]});
                const Matrix& mix = head.mixes_[i - 1];
                convolve(run, {filtered[i - 1], mix, mix.bias, relu, sizes[i + 1], 0, nullptr, 0});
            }
            Map mean = projected[5];
            mean.channels = head.mixes_[3].k;
            mean.data = bordered[4].data;  // large enough: the same channels, more pixels
            mean_cells(sizes[4], mean, run.kernels.element);
            convolve(run,
                     {mean, head.mixes_[3], head.mixes_[3].bias, relu, sizes[5], 0, nullptr, 0});

            size_t anchor = 0;
            for (int i = 0; i < maps; i++) {
                predict(run, i);
                unpack(run, i, anchor, outputs[0], outputs[1]);
                anchor += static_cast<size_t>(sizes[i].pixels()) * shapes_of_a_cell[i];
            }
        }

        void predict(Run& run, int i) {
            const Predictor& p = head.predictors_[i];
            Map map = sizes[i];
            if (p.projects) {
                convolve(run, {map, p.project, p.project.bias, relu, projected[i], 0, nullptr, 0});
                map = projected[i];
            } else if (p.looks_around) {
                copy(run, map, projected[i]);
                map = projected[i];
            }
            if (p.looks_around) {
                mv2::filter(run, {map, projected_zeros[i], p.filter, 1, 1, looked[i]});
                map = looked[i];
            }
            convolve(run, {map, p.answer, p.answer.bias, none, {}, 0, answers[i], 0});
        }

        // Splits a map's answers into logits, and boxes relative to the anchors.
        void unpack(Run& run, int i, size_t first, float* logits, float* boxes) {
            const Map& map = sizes[i];
            const std::vector<Shape> shapes = anchor_shapes(i);
            const int padded = head.predictors_[i].answer.n, scores = 1 + head.classes_;
            const int count = shapes_of_a_cell[i];
            run.rows(map.height, 1, [&](Rows rows, Scratch) {
                for (int pixel = rows.begin * map.width; pixel < rows.end * map.width; pixel++) {
                    const float x = (static_cast<float>(pixel % map.width) + 0.5f) /
                                    static_cast<float>(map.width);
                    const float y = (static_cast<float>(pixel / map.width) + 0.5f) /
                                    static_cast<float>(map.height);
                    for (int a = 0; a < count; a++) {
                        const float* from = answers[i] + static_cast<size_t>(pixel) * padded +
                                            a * (box_numbers + scores);
                        const size_t to = first + static_cast<size_t>(pixel) * count + a;
                        if (boxes) {
                            float* box = boxes + to * box_numbers;
                            box[0] = from[0] * center_variance * shapes[a].width + x;
                            box[1] = from[1] * center_variance * shapes[a].height + y;
                            box[2] = std::exp(from[2] * size_variance) * shapes[a].width;
                            box[3] = std::exp(from[3] * size_variance) * shapes[a].height;
                        }
                        if (logits)
                            std::memcpy(logits + to * scores, from + box_numbers,
                                        sizeof(float) * scores);
                    }
                }
            });
        }
    };

    const Kernels& kernels_;
    int classes_;
    std::vector<Filter> filters_;
    std::vector<Matrix> mixes_;
    std::vector<Predictor> predictors_;
};

}  // namespace

std::unique_ptr<Head> make_head(const Config& config, Weights& weights, const Kernels& kernels,
                                Store& store) {
    switch (config.task) {
        case Task::classification:
            return std::make_unique<Classifier>(config, weights, kernels, store);
        case Task::segmentation:
            if (config.pspnet) return std::make_unique<PSPNet>(config, weights, kernels, store);
            return std::make_unique<DeepLabV3>(config, weights, kernels, store);
        case Task::detection:
            return std::make_unique<SSDLite>(config, weights, kernels, store);
        case Task::backbone:
            break;
    }
    return std::make_unique<Backbone>(kernels, config.stage_channels().back());
}

}  // namespace mv2
