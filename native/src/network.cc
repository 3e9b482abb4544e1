#include "network.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <mutex>

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include "error.h"
#include "maps.h"

namespace mv2 {

namespace {

constexpr int smallest = 32, largest = 65535;  // sides of an image [px]
constexpr int64_t most_pixels = 1 << 28;
constexpr int at_once = 64;        // pixels of a residual's step
constexpr size_t most_idle = 8;  // plans that are kept

// One lock for the lists of plans of all models: it is held for moments, and a fork waits for it.
std::mutex& plans_lock() {
    static std::mutex* lock = [] {
        static std::mutex made;
#if !defined(_WIN32)
        pthread_atfork([] { plans_lock().lock(); }, [] { plans_lock().unlock(); },
                       [] { plans_lock().unlock(); });
#endif
        return &made;
    }();
    return *lock;
}

void check_size(int height, int width) {
    const auto size = std::to_string(height) + "x" + std::to_string(width);
    if (height < smallest || width < smallest)
        fail_input("the image is " + size + " px; MobileViTv2 halves it five times and needs 32x32.");
    if (height > largest || width > largest || static_cast<int64_t>(height) * width > most_pixels)
        fail_input("the image is " + size + " px; 65535 a side and 2^28 pixels are the most.");
}

int halved(int side, int stride) { return (side - 1) / stride + 1; }

std::vector<float> part_of(const std::vector<float>& values, size_t begin, size_t count) {
    return {values.begin() + begin, values.begin() + begin + count};
}

// Rows `begin` and following of a 1x1 convolution.
Convolution rows_of(const Convolution& conv, int begin, int count) {
    Convolution part;
    part.out = count;
    part.in = conv.in;
    part.weight = part_of(conv.weight, static_cast<size_t>(begin) * conv.in, static_cast<size_t>(count) * conv.in);
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
    // The norm's shift and the query's bias change all scores by the same, and so no weight.
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

// All buffers for one image of one size.
class Workspace {
   public:
    Workspace(const Network& network, int height, int width);

    void run(Team& team, const float* pixels, float* const* outputs);
    void reserve(int threads) { scratch_.reserve(static_cast<size_t>(threads), scratch_bytes_); }
    std::vector<Output> outputs() const;

    const int height, width;

    // Where not nullptr, gets a part's name, multiply-adds and end.
    struct Mark {
        std::string name;
        double multiply_adds;
        std::chrono::steady_clock::time_point end;
    };
    std::vector<Mark>* marks = nullptr;

   private:
    struct Attention {
        Map narrow_in;  // what the downsampling made, with the border that the filter wants
        Map unstretched;  // where that has an odd side
        LocalArgs local;
        std::vector<LayerArgs> layers;
        std::vector<float*> value_bias, widen_bias;
        ProjectArgs project;
        float* project_bias;
    };
    struct Stage {
        std::vector<ResidualArgs> residuals;
        std::unique_ptr<Attention> attention;
        Map out;
        int channels;
    };

    void plan_attention(const AttentionLayers& layers, const Map& down, Map& out, Stage& stage);
    void run_residual(Run& run, ResidualArgs& args, int threads);
    void run_attention(Run& run, const AttentionLayers& layers, Attention& plan, bool map_wanted,
                       bool pooled_wanted);
    void normalise(const AttentionMap& map, float* mean, float* scale) const;
    void mark(const char* part, size_t stage, double multiply_adds);

    const Network& network_;
    Store store_;
    ScratchSet scratch_;
    size_t scratch_bytes_ = 0;
    StemArgs stem_;
    std::vector<Stage> stages_;
    std::unique_ptr<HeadPlan> head_;
    Map fine_;                   // the last map but one, where the head wants it
    std::vector<float> pooled_;  // of the last map
    uint64_t phase_ = 0;
};

namespace {

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

Workspace::Workspace(const Network& network, int image_height, int image_width)
    : height(image_height), width(image_width), network_(network) {
    const Kernels& k = network.kernels_;
    const Packer packer(k, store_);
    int h = halved(height, 2), w = halved(width, 2);

    // First the sizes of all maps, of which each is read by the next only: two buffers do.
    size_t elements = static_cast<size_t>(h) * w * packer.padded(network.stem_channels_);
    {
        int sh = h, sw = w;
        for (const StageLayers& stage : network.stages_) {
            for (const ResidualLayer& r : stage.residuals) {
                sh = halved(sh, r.stride);
                sw = halved(sw, r.stride);
                const int border = stage.attention ? stage.attention->dilation : 0;
                const size_t size = static_cast<size_t>(sh + sh % 2) * (sw + sw % 2 + 2 * border) * r.narrow.n;
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

    Map map = next(h, w, packer.padded(network.stem_channels_), 0);
    stem_ = {nullptr, network.config_.planes, height, width, network.stem_weights_, network.stem_bias_, map};
    scratch_bytes_ = k.stem_scratch(stem_);
    for (size_t i = 0; i < network.stages_.size(); i++) {
        const StageLayers& layers = network.stages_[i];
        Stage stage;
        stage.channels = layers.channels;
        for (const ResidualLayer& r : layers.residuals) {
            h = halved(h, r.stride);
            w = halved(w, r.stride);
            const bool odd = layers.attention && (h % 2 || w % 2);
            const int border = layers.attention && !odd ? layers.attention->dilation : 0;
            ResidualArgs args{map, next(h, w, r.narrow.n, border), r.widen, r.narrow, r.filter, r.stride,
                              r.dilation, r.add, 0, 0};
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
            const bool last_but_one = i + 2 == network.stages_.size();
            if (last_but_one && network.head_->wants_fine())
                out.data = store_.take_array<unsigned char>(static_cast<size_t>(out.elements()) * k.element);
            plan_attention(*layers.attention, map, out, stage);
            map = out;
            if (last_but_one) fine_ = map;
        }
        stage.out = map;
        stages_.push_back(std::move(stage));
    }
    pooled_.resize(map.channels);
    head_ = network.head_->plan(fine_, map);
}

void Workspace::plan_attention(const AttentionLayers& layers, const Map& down, Map& out, Stage& stage) {
    const Kernels& k = network_.kernels_;
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

    void* zeros = store_.take_array<unsigned char>(static_cast<size_t>(down.row_elements()) * k.element);
    const float* first = layers.layers.empty() ? nullptr : layers.layers[0].query;
    a.local = {down, zeros, layers.filter, layers.dilation, layers.narrow, map, first};
    int widest = 0;
    float* context = store_.take_array<float>(static_cast<size_t>(4) * dim);
    for (size_t i = 0; i < layers.layers.size(); i++) {
        const TransformerLayer& layer = layers.layers[i];
        const float* next = i + 1 < layers.layers.size() ? layers.layers[i + 1].query : nullptr;
        a.value_bias.push_back(store_.take_array<float>(layer.value.n));
        a.widen_bias.push_back(store_.take_array<float>(layer.widen.n));
        a.layers.push_back({map, 0, 0, next, layer.key, layer.value, layer.out, a.value_bias.back(), context,
                            layer.widen, layer.narrow, a.widen_bias.back()});
        widest = std::max(widest, std::max(layer.widen.n, dim));
    }
    a.project_bias = store_.take_array<float>(layers.project.n);
    float* pooled = store_.take_array<float>(static_cast<size_t>(map.parts) * layers.project.n);
    a.project = {map, 0, layers.project, a.project_bias, out, pooled};
    scratch_bytes_ = std::max(scratch_bytes_, k.attention_scratch(map, down.channels, widest));
}

void Workspace::normalise(const AttentionMap& map, float* mean, float* scale) const {
    double count = 0, about = 0, sum = 0;
    for (int i = 0; i < map.parts; i++) {  // Chan's: means and squares of parts to those of all
        const int rows = std::min(map.height, (i + 1) * map.part_rows) - i * map.part_rows;
        const double more = static_cast<double>(rows) * map.width * map.true_dim;
        const double apart = map.part[i].mean - sum;
        about += map.part[i].squares + apart * apart * count * more / (count + more);
        sum += apart * more / (count + more);
        count += more;
    }
    *mean = static_cast<float>(sum);
    *scale = static_cast<float>(1 / std::sqrt(about / count + network_.config_.eps));
}

void Workspace::run_residual(Run& run, ResidualArgs& args, int threads) {
    const int h = args.out.height;
    int rows = std::min(h, std::max(1, at_once / args.out.width));
    if (threads > 1) rows = std::min(rows, std::max(h / (2 * threads), (run.kernels.block - 1) / args.out.width + 1));
    args.phase = ++phase_;
    run.rows(h, rows, [&](Rows r, Scratch s) { run.kernels.residual(args, r, s); });
}

void Workspace::run_attention(Run& run, const AttentionLayers& layers, Attention& a, bool map_wanted,
                              bool pooled_wanted) {
    const Kernels& k = run.kernels;
    if (a.unstretched.data)
        run.rows(a.narrow_in.height, 2,
                 [&](Rows r, Scratch) { stretch(a.unstretched, a.narrow_in, 0, k.element, r); });
    const int parts = a.local.map.parts;
    run.each(parts, [&](int part, Scratch s) { k.local(a.local, part, s); });
    for (size_t i = 0; i < a.layers.size(); i++) {
        LayerArgs& layer = a.layers[i];
        normalise(layer.map, &layer.mean, &layer.scale);
        add_bias(layer.value, layer.mean, layer.scale, a.value_bias[i]);
        run.each(parts, [&](int part, Scratch) { k.sum_part(layer, part); });
        run.once([&](Scratch s) { k.context(layer, s); });
        run.each(parts, [&](int part, Scratch s) { k.attend(layer, part, s); });
        normalise(layer.map, &layer.mean, &layer.scale);
        add_bias(layer.widen, layer.mean, layer.scale, a.widen_bias[i]);
        run.each(parts, [&](int part, Scratch s) { k.feed_forward(layer, part, s); });
    }
    ProjectArgs project = a.project;
    float mean;
    normalise(project.map, &mean, &project.scale);
    add_bias(layers.project, mean, project.scale, a.project_bias);
    if (!map_wanted) project.out.data = nullptr;
    if (!pooled_wanted) project.pooled = nullptr;
    run.each(parts, [&](int part, Scratch s) { k.project(project, part, s); });
    if (!pooled_wanted) return;
    const int n = project.matrix.n;
    std::vector<float>& pooled = pooled_;
    for (int c = 0; c < n; c++) {
        double sum = 0;
        for (int part = 0; part < parts; part++) sum += project.pooled[static_cast<size_t>(part) * n + c];
        pooled[c] = static_cast<float>(sum / project.map.height / project.map.width);
    }
}

void Workspace::mark(const char* part, size_t stage, double multiply_adds) {
    if (!marks) return;
    const std::string number = stage < stages_.size() ? "stage " + std::to_string(stage) + " " : "";
    marks->push_back({number + part, multiply_adds, std::chrono::steady_clock::now()});
}

std::vector<Output> Workspace::outputs() const {
    std::vector<Output> all = network_.head_->outputs(fine_, stages_.back().out);
    for (size_t i = 0; i < stages_.size(); i++)
        all.push_back({"stage_" + std::to_string(i),
                       {stages_[i].channels, stages_[i].out.height, stages_[i].out.width}});
    return all;
}

void Workspace::run(Team& team, const float* pixels, float* const* outputs) {
    Run run{network_.kernels_, team, scratch_};
    const Head& head = *network_.head_;
    const size_t first_map = head.outputs(fine_, stages_.back().out).size();
    bool head_wanted = false;
    for (size_t i = 0; i < first_map; i++) head_wanted = head_wanted || outputs[i];
    size_t needed = head_wanted ? stages_.size() : 0;  // stages: none behind the last that is wanted
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
            const bool map_wanted = !last || wanted || (head_wanted && head.wants_coarse());
            run_attention(run, *network_.stages_[i].attention, *stage.attention, map_wanted,
                          last && head_wanted && head.wants_pooled());
            mark("attention", i, products_of(*network_.stages_[i].attention, stage.attention->local.map));
        }
        if (wanted)
            run.rows(stage.out.height, 4, [&](Rows r, Scratch) {
                to_planar(stage.out, stage.channels, wanted, run.kernels.element, r);
            });
    }
    if (head_wanted) head_->run(run, {fine_, stages_.back().out, pooled_.data()}, outputs);
    mark("head", stages_.size(), 0);
}

Network::Network(const Config& config, const SafeTensors& file, const std::string& name,
                 const Kernels& kernels)
    : config_(config), kernels_(kernels) {
    Weights weights(file, name);
    Packer packer(kernels_, store_);
    const std::string root = config.task == Task::backbone ? "" : "mobilevitv2.";
    const Convolution stem = weights.conv_norm(root + "conv_stem", config.stem_channels(), config.planes, 9);
    stem_weights_ = packer.stem(stem);
    stem_bias_ = packer.vector(stem.bias);
    stem_channels_ = stem.out;

    const std::vector<int> channels = config.stage_channels(), dims = config.dims();
    int in = stem.out, dilation = 1, stride_so_far = 2;
    for (int i = 0; i < 5; i++) {
        const std::string stage_name = root + "encoder.layer." + std::to_string(i);
        StageLayers stage;
        stage.channels = channels[i];
        if (i < 2) {
            for (int block = 0; block <= i; block++) {
                const int stride = i == 1 && block == 0 ? 2 : 1;
                stage.residuals.push_back(read_residual(weights, packer, config,
                                                        stage_name + ".layer." + std::to_string(block), in,
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
                                                    stage_name + ".downsampling_layer", in, channels[i],
                                                    stride, before));
            in = channels[i];
            const int dim = dims[i - 2];
            if (config.hidden(dim) < 1)
                fail_file(name + ": ffn_multiplier leaves no hidden channels at " + std::to_string(dim) + ".");
            stage.attention = std::make_unique<AttentionLayers>();
            AttentionLayers& a = *stage.attention;
            a.dilation = dilation;
            a.true_dim = dim;
            a.filter = packer.filter(weights.conv_norm(stage_name + ".conv_kxk", in, 1, 9));
            a.narrow = packer.matrix(weights.conv(stage_name + ".conv_1x1", dim, in, 1, false));
            for (int layer = 0; layer < config.blocks[i - 2]; layer++)
                a.layers.push_back(read_transformer(weights, packer, config,
                                                    stage_name + ".transformer.layer." + std::to_string(layer), dim));
            const Norm norm = weights.norm(stage_name + ".layernorm", dim);
            a.project = packer.matrix(weights.conv_norm(stage_name + ".conv_projection", in, dim, 1), &norm);
        }
        stages_.push_back(std::move(stage));
    }
    head_ = make_head(config_, weights, kernels_, store_);
    weights.check_all_read();
}

Network::~Network() = default;

std::unique_ptr<Workspace> Network::take(int height, int width) const {
    {
        std::lock_guard<std::mutex> lock(plans_lock());
        for (auto i = idle_.begin(); i != idle_.end(); ++i) {
            if ((*i)->height != height || (*i)->width != width) continue;
            std::unique_ptr<Workspace> found = std::move(*i);
            idle_.erase(i);
            return found;
        }
    }
    return std::make_unique<Workspace>(*this, height, width);
}

void Network::give_back(std::unique_ptr<Workspace> workspace) const {
    std::unique_ptr<Workspace> oldest;  // freed after the lock
    std::lock_guard<std::mutex> lock(plans_lock());
    idle_.push_front(std::move(workspace));
    if (idle_.size() > most_idle) {
        oldest = std::move(idle_.back());
        idle_.pop_back();
    }
}

std::vector<Output> Network::outputs(int height, int width) const {
    check_size(height, width);
    std::unique_ptr<Workspace> workspace = take(height, width);
    std::vector<Output> all = workspace->outputs();
    give_back(std::move(workspace));
    return all;
}

void Network::run(const float* pixels, int batch, int height, int width, float* const* outputs,
                  int threads) const {
    check_size(height, width);
    Team team(threads);
    const int size = team.size();
    // Whole images for each thread, as long as there are enough; what is left all threads do together.
    const int apart = size > 1 ? batch / size * size : 0;
    std::vector<std::unique_ptr<Workspace>> workspaces;
    for (int i = 0; i < (apart ? size : 1); i++) {
        workspaces.push_back(take(height, width));
        workspaces.back()->reserve(i == 0 ? size : 1);
    }
    const std::vector<Output> shapes = workspaces[0]->outputs();
    const size_t image = static_cast<size_t>(config_.planes) * height * width;
    std::vector<float*> places(shapes.size() * batch);
    for (int i = 0; i < batch; i++)
        for (size_t o = 0; o < shapes.size(); o++)
            places[i * shapes.size() + o] = outputs[o] ? outputs[o] + i * shapes[o].count() : nullptr;

    const auto compute = [&](Workspace& workspace, Team& with, int i) {
        workspace.run(with, pixels + i * image, places.data() + i * shapes.size());
    };
    if (apart)
        team.each(apart, [&](int i, int thread) {
            Team alone(1);
            compute(*workspaces[thread], alone, i);
        });
    for (int i = apart; i < batch; i++) compute(*workspaces[0], team, i);
    for (auto& workspace : workspaces) give_back(std::move(workspace));
}

std::vector<StageTime> Network::profile(int height, int width, int threads, int rounds) const {
    check_size(height, width);
    const std::vector<float> pixels(static_cast<size_t>(config_.planes) * height * width, 0.5f);
    std::unique_ptr<Workspace> workspace = take(height, width);
    std::vector<std::vector<float>> rooms;
    std::vector<float*> outputs;
    for (const Output& output : workspace->outputs()) {
        const bool map = output.name.compare(0, 6, "stage_") == 0;
        rooms.emplace_back(map ? 0 : output.count());
        outputs.push_back(map ? nullptr : rooms.back().data());
    }
    std::vector<Workspace::Mark> marks;
    workspace->marks = &marks;
    std::vector<StageTime> parts;
    std::vector<std::vector<double>> times;
    for (int round = 0; round < rounds; round++) {
        marks.clear();
        Team team(threads);
        workspace->reserve(team.size());
        auto before = std::chrono::steady_clock::now();
        workspace->run(team, pixels.data(), outputs.data());
        times.resize(marks.size());
        for (size_t i = 0; i < marks.size(); i++) {
            times[i].push_back(std::chrono::duration<double>(marks[i].end - before).count());
            before = marks[i].end;
        }
    }
    workspace->marks = nullptr;
    give_back(std::move(workspace));
    for (size_t i = 0; i < marks.size(); i++) {
        std::nth_element(times[i].begin(), times[i].begin() + times[i].size() / 2, times[i].end());
        parts.push_back({marks[i].name, times[i][times[i].size() / 2], marks[i].multiply_adds});
    }
    return parts;
}

}  // namespace mv2
