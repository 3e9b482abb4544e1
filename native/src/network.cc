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
#include "workspace.h"

namespace mv2 {

namespace {

constexpr int smallest = 32, largest = 65535;  // sides of an image [px]
constexpr int64_t most_pixels = 1 << 28;
constexpr size_t most_idle = 16, most_idle_bytes = 512 << 20;  // of workspaces

// One lock for all models' lists of workspaces: it is held for moments, and a fork waits for it.
std::mutex& workspaces_lock() {
    static std::mutex* lock = [] {
        static std::mutex made;
#if !defined(_WIN32)
        pthread_atfork([] { workspaces_lock().lock(); }, [] { workspaces_lock().unlock(); },
                       [] { workspaces_lock().unlock(); });
#endif
        return &made;
    }();
    return *lock;
}

void check_size(int height, int width) {
    const auto size = std::to_string(height) + "x" + std::to_string(width);
    if (height < smallest || width < smallest)
        fail_input("the image is " + size +
                   " px; MobileViTv2 halves it five times and needs at least 32x32.");
    if (height > largest || width > largest || static_cast<int64_t>(height) * width > most_pixels)
        fail_input("the image is " + size + " px; the limits are 65535 px a side and 2^28 pixels.");
}

}  // namespace

Network::Network(const Config& config, const SafeTensors& file, const std::string& name,
                 const Kernels& kernels)
    : kernels_(kernels) {
    Weights weights(file, name);
    backbone_ = read_backbone(config, weights, kernels_, store_);
    head_ = make_head(config, weights, kernels_, store_);
    weights.check_all_read();
}

Network::~Network() = default;

std::unique_ptr<Workspace> Network::take(int height, int width) const {
    {
        std::lock_guard<std::mutex> lock(workspaces_lock());
        for (auto i = idle_.begin(); i != idle_.end(); ++i) {
            if ((*i)->height != height || (*i)->width != width) continue;
            std::unique_ptr<Workspace> found = std::move(*i);
            idle_.erase(i);
            return found;
        }
    }
    return std::make_unique<Workspace>(backbone_, *head_, kernels_, height, width);
}

void Network::give_back(std::unique_ptr<Workspace> workspace) const {
    std::list<std::unique_ptr<Workspace>> oldest;  // freed after unlocking
    std::lock_guard<std::mutex> lock(workspaces_lock());
    idle_.push_front(std::move(workspace));
    size_t count = 0, bytes = 0;
    for (auto i = idle_.begin(); i != idle_.end(); ++i) {
        bytes += (*i)->bytes();
        if (count++ > 0 && (count > most_idle || bytes > most_idle_bytes)) {
            oldest.splice(oldest.end(), idle_, i, idle_.end());
            break;
        }
    }
}

std::vector<Output> Network::outputs(int height, int width) const {
    check_size(height, width);
    return outputs_of(backbone_, *head_, height, width);
}

void Network::run(const float* pixels, int batch, int height, int width, float* const* outputs,
                  int threads) const {
    check_size(height, width);
    Team team(threads);
    const int size = team.size();
    // Each thread takes whole images while there are enough; all threads share the rest.
    const int apart = size > 1 ? batch / size * size : 0;
    std::vector<std::unique_ptr<Workspace>> workspaces;
    for (int i = 0; i < (apart ? size : 1); i++) {
        workspaces.push_back(take(height, width));
        workspaces.back()->reserve(i == 0 ? size : 1);
    }
    const std::vector<Output> shapes = outputs_of(backbone_, *head_, height, width);
    const size_t image = static_cast<size_t>(backbone_.planes) * height * width;
    std::vector<float*> places(shapes.size() * batch);
    for (int i = 0; i < batch; i++)
        for (size_t o = 0; o < shapes.size(); o++)
            places[i * shapes.size() + o] =
                outputs[o] ? outputs[o] + i * shapes[o].count() : nullptr;

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
    const std::vector<float> pixels(static_cast<size_t>(backbone_.planes) * height * width, 0.5f);
    std::unique_ptr<Workspace> workspace = take(height, width);
    std::vector<std::vector<float>> rooms;
    std::vector<float*> outputs;
    for (const Output& output : outputs_of(backbone_, *head_, height, width)) {
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
