// Two bytes for each side of an image, a config.json up to a zero byte, then the header of a
// .safetensors file, whose data are made up here: opens the two as a network and asks for its
// outputs.
#include <algorithm>
#include <cstring>

#include "error.h"
#include "instructions.h"
#include "network.h"

namespace {

constexpr size_t most_bytes = 1 << 20;  // of a file's data
constexpr int longest_side = 300;

// The largest number before a bracket, which is the end of the data in a valid header.
size_t last_offset(const std::string& header) {
    size_t largest = 0;
    for (size_t at = header.find(']'); at != std::string::npos; at = header.find(']', at + 1)) {
        size_t begin = at;
        while (begin > 0 && at - begin < 9 && header[begin - 1] >= '0' && header[begin - 1] <= '9')
            begin--;
        const size_t number = begin < at ? std::stoul(header.substr(begin, at - begin)) : 0;
        if (number <= most_bytes) largest = std::max(largest, number);
    }
    return largest;
}

std::vector<unsigned char> file_of(const std::string& header) {
    std::vector<unsigned char> file(8 + header.size() + last_offset(header),
                                    0x3c);  // 0.0115 in F32
    for (int i = 0; i < 8; i++)
        file[i] = static_cast<unsigned char>(uint64_t{header.size()} >> 8 * i);
    std::memcpy(file.data() + 8, header.data(), header.size());
    return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 5) return 0;
    const int height = data[0] | data[1] << 8, width = data[2] | data[3] << 8;
    const std::string text(reinterpret_cast<const char*>(data) + 4, size - 4);
    const size_t end = std::min(text.find('\0'), text.size());
    const std::vector<unsigned char> file = file_of(text.substr(std::min(end + 1, text.size())));
    try {
        const mv2::Config config =
            mv2::read_config(mv2::parse_json(text.substr(0, end), "the config"), "the config");
        const mv2::SafeTensors tensors(file.data(), file.size(), "the file");
        const mv2::Network network(config, tensors, "the file",
                                   mv2::find_kernels(MV2_FP32, "portable"));
        int64_t work = config.planes;  // not what only costs time and memory
        for (int rate : config.atrous_rates) work += rate;
        for (int scale : config.pool_scales) work += int64_t{scale} * scale;
        if (height > longest_side || width > longest_side || work > 2000) return 0;
        for (const mv2::Output& output : network.outputs(height, width))
            if (output.shape.empty() || output.shape.size() > 4 || output.count() == 0)
                __builtin_trap();
    } catch (const mv2::Error&) {
    }
    return 0;
}
