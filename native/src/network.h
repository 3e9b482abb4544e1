// The network: packed weights, workspaces for each image size, and inference.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "config.h"
#include "heads.h"
#include "kernels.h"
#include "layers.h"

namespace mv2 {

class Workspace;

// The time that a part of the network takes.
struct StageTime {
    std::string name;
    double seconds;
    double multiply_adds;  // of its products, with padding
};

class Network {
 public:
    // Throws Error if the weights don't match the config, std::bad_alloc.
    Network(const Config& config, const SafeTensors& file, const std::string& name,
            const Kernels& kernels);
    ~Network();

    // For images of this size [px]: the head's outputs, then stage_0 to stage_4. Throws Error.
    std::vector<Output> outputs(int height, int width) const;

    // float [batch, planes, height, width] to the outputs; nullptr for those not wanted.
    void run(const float* pixels, int batch, int height, int width, float* const* outputs,
             int threads) const;

    // The parts of a run of one image, each with the median of its times over `rounds` runs.
    std::vector<StageTime> profile(int height, int width, int threads, int rounds) const;

    size_t weight_bytes() const { return store_.bytes(); }
    const Kernels& kernels() const { return kernels_; }

 private:
    const Kernels kernels_;
    Store store_;
    Backbone backbone_;
    std::unique_ptr<Head> head_;
    // Workspaces that no call uses at the moment; the oldest are freed when there are many.
    mutable std::list<std::unique_ptr<Workspace>> idle_;

    std::unique_ptr<Workspace> take(int height, int width) const;
    void give_back(std::unique_ptr<Workspace> workspace) const;
};

}  // namespace mv2
