// What one image is computed with: kernels, threads and their scratch memory.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "packing.h"
#include "threads.h"

namespace mv2 {

// The scratch memory of a team's threads; grows for a larger team.
class ScratchSet {
 public:
    void reserve(size_t threads, size_t bytes) {
        while (scratch_.size() < threads) {
            rings_.push_back(std::make_unique<Ring>());
            scratch_.push_back({rings_.back().get(), store_.take_array<unsigned char>(bytes)});
        }
    }
    size_t bytes() const { return store_.bytes(); }
    Scratch operator[](int thread) const { return scratch_[thread]; }

 private:
    Store store_;
    std::vector<std::unique_ptr<Ring>> rings_;
    std::vector<Scratch> scratch_;
};

struct Run {
    const Kernels& kernels;
    Team& team;
    const ScratchSet& scratch;

    // f(item, scratch) for all items, on all threads.
    template <class F>
    void each(int count, F&& f) {
        team.each(count, [&](int item, int thread) {
            kernels.enter();
            f(item, scratch[thread]);
            kernels.leave();
        });
    }

    // f(rows, scratch) for all rows of a map, `step` at a time.
    template <class F>
    void rows(int height, int step, F&& f) {
        each((height + step - 1) / step, [&](int item, Scratch s) {
            f(Rows{item * step, std::min(height, (item + 1) * step)}, s);
        });
    }

    // f(scratch) once, on this thread.
    template <class F>
    void once(F&& f) {
        kernels.enter();
        f(scratch[0]);
        kernels.leave();
    }
};

}  // namespace mv2
