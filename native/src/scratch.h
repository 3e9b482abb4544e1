// Scratch memory, divided into pieces. Without memory, the same steps tell how much is needed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mv2 {

class Pieces {
 public:
    explicit Pieces(unsigned char* start) : start_(start) {}

    // Room for `count` elements, on a cache line of its own.
    template <class T>
    T* take(size_t count) {
        T* piece = start_ ? reinterpret_cast<T*>(start_ + used_) : nullptr;
        // 64 more, so that rows of different pieces don't collide in the cache
        used_ += (count * sizeof(T) + 63) / 64 * 64 + 64;
        return piece;
    }
    size_t used() const { return used_; }

 private:
    unsigned char* start_;
    size_t used_ = 0;
};

}  // namespace mv2
