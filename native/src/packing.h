// From convolutions to what the kernels read, and the memory that holds it.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels.h"
#include "weights.h"

namespace mv2 {

// Zeroed memory on cache lines, freed together.
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

    // A 1x1 or dense 3x3 convolution. With a norm in front, its weights go into the matrix and its
    // biases through it into the bias. `segments` says how the input channels lie, where they are
    // several maps side by side, each padded by itself.
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
