// All buffers for an image of one size, and the network's run in them.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "heads.h"
#include "layers.h"
#include "run.h"

namespace mv2 {

// The head's outputs for images of this size [px], then the stages' maps.
std::vector<Output> outputs_of(const Backbone& backbone, const Head& head, int height, int width);

class Workspace {
 public:
    Workspace(const Backbone& backbone, const Head& head, const Kernels& kernels, int height,
              int width);

    void run(Team& team, const float* pixels, float* const* outputs);
    void reserve(int threads) { scratch_.reserve(static_cast<size_t>(threads), scratch_bytes_); }
    size_t bytes() const { return store_.bytes() + scratch_.bytes(); }

    const int height, width;

    // Unless nullptr, receives each part's name, multiply-adds and end.
    struct Mark {
        std::string name;
        double multiply_adds;
        std::chrono::steady_clock::time_point end;
    };
    std::vector<Mark>* marks = nullptr;

 private:
    struct Attention {
        Map narrow_in;    // the downsampled map, with the border that the filter needs
        Map unstretched;  // the same before stretching, if a side is odd
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
    void normalize(const AttentionMap& map, float* mean, float* scale) const;
    void mark(const char* part, size_t stage, double multiply_adds);

    const Backbone& backbone_;
    const Head& answers_;
    const Kernels& kernels_;
    Store store_;
    ScratchSet scratch_;
    size_t scratch_bytes_ = 0;
    StemArgs stem_;
    std::vector<Stage> stages_;
    std::unique_ptr<HeadPlan> head_;
    Map fine_;                   // the second to last stage's map, if the head wants it
    std::vector<float> pooled_;  // of the last map
    size_t answers_count_;       // outputs of the head
    uint64_t phase_ = 0;
};

}  // namespace mv2
