// Packs convolutions the way the kernels read them, into memory that it owns.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels.h"
#include "weights.h"

namespace mv2 {

// Zeroed memory, aligned to cache lines and freed together.
class Store {
 public:
    // Throws std::bad_alloc.
    void* take(size_t bytes);
    template <class T>
    T* take_array(size_t count) {
        if (count > static_cast<size_t>(-1) / 2 / sizeof(T)) throw std::bad_alloc();
        return static_cast<T*>(take(count * sizeof(T)));
    }
    size_t bytes() const { return bytes_; }

 private:
    struct Free {
        void operator()(void* memory) const;
    };
    std::vector<std::unique_ptr<void, Free>> blocks_;
    size_t bytes_ = 0;
};

class Packer {
 public:
    Packer(const Kernels& kernels, Store& store) : kernels_(kernels), store_(store) {}

    int padded(int channels) const {
        const int m = kernels_.channel_multiple;
        return (channels + m - 1) / m * m;
    }

    // A 1x1 or dense 3x3 convolution. A norm in front is folded in: its weights into the matrix,
    // its biases into the bias. `segments` are the channels of each map if the input consists of
    // several side by side, each padded separately.
    Matrix matrix(const Convolution& conv, const Norm* norm = nullptr,
                  std::vector<int> segments = {});
    Filter filter(const Convolution& conv);
    // The weights [planes * 9][padded channels] of the first convolution.
    const float* stem(const Convolution& conv);
    // Values padded with zeros.
    float* vector(const std::vector<float>& values);

 private:
    const Kernels& kernels_;
    Store& store_;
};

}  // namespace mv2
