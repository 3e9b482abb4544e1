// What follows the backbone: class scores, segmentation, detection, or nothing.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config.h"
#include "run.h"
#include "weights.h"

namespace mv2 {

struct Output {
    std::string name;
    std::vector<int64_t> shape;  // of one image
    size_t count() const {
        size_t n = 1;
        for (int64_t side : shape) n *= static_cast<size_t>(side);
        return n;
    }
};

// What the backbone passes on for one image.
struct Features {
    Map fine, coarse;     // of the last two stages; data is nullptr if not wanted
    const float* pooled;  // [channels], the mean of the last map
};

// A head for images of one size: its buffers and its run.
class HeadPlan {
 public:
    virtual ~HeadPlan() = default;
    // `outputs[i]` receives that one of Head::outputs, or is nullptr if not wanted.
    virtual void run(Run& run, const Features& features, float* const* outputs) = 0;
};

class Head {
 public:
    virtual ~Head() = default;
    virtual std::vector<Output> outputs(const Map& fine, const Map& coarse) const = 0;
    // The maps have a size but no data yet.
    virtual std::unique_ptr<HeadPlan> plan(const Map& fine, const Map& coarse) const = 0;
    virtual bool wants_fine() const { return false; }
    virtual bool wants_coarse() const { return true; }
    virtual bool wants_pooled() const { return false; }
};

// The head that the config names, with its weights read and packed.
std::unique_ptr<Head> make_head(const Config& config, Weights& weights, const Kernels& kernels,
                                Store& store);

}  // namespace mv2
