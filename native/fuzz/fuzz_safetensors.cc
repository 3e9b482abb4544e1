// Any bytes as a .safetensors file; if it is accepted, all its tensors are read.
#include "error.h"
#include "safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        const mv2::SafeTensors file(data, size, "the file");
        for (const auto& [name, tensor] : file.tensors()) {
            try {
                (void)file.floats(name, tensor.shape);
            } catch (const mv2::Error&) {
            }
        }
    } catch (const mv2::Error&) {
    }
    return 0;
}
