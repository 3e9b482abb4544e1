// Weights in a .safetensors file, read in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mv2 {

enum class Dtype { f32, f16, bf16, f64, i64, other };

struct TensorView {
    Dtype dtype;
    std::vector<int64_t> shape;
    const unsigned char* data;  // little endian, maybe unaligned
    size_t bytes;
};

class SafeTensors {
 public:
    // Maps the file (or reads it, without mmap). Throws Error (MV2_ERROR_FILE) for a file that is
    // missing, truncated, longer than its header says, or whose header lies: offsets beyond the
    // data, tensors that overlap or leave gaps, shapes that don't match the number of bytes,
    // products that overflow, a header of more than 100 MB, a repeated name.
    explicit SafeTensors(const std::string& path);
    // The same for bytes in memory, which must outlive it.
    SafeTensors(const unsigned char* bytes, size_t size, const std::string& name);
    ~SafeTensors();
    SafeTensors(const SafeTensors&) = delete;
    SafeTensors& operator=(const SafeTensors&) = delete;

    const std::map<std::string, TensorView>& tensors() const { return tensors_; }

    // The values of a tensor of exactly this shape as fp32. Throws Error (MV2_ERROR_FILE) if it is
    // missing, has another shape, isn't floating point, or holds NaN or infinity.
    std::vector<float> floats(const std::string& name, const std::vector<int64_t>& shape) const;

 private:
    struct Mapping;
    std::unique_ptr<Mapping> mapping_;
    std::string name_;
    std::map<std::string, TensorView> tensors_;
    void parse(const unsigned char* bytes, size_t size);
};

}  // namespace mv2
