// Any bytes as JSON; whatever parses is written, and must read back the same.
#include <cstdlib>

#include "error.h"
#include "json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    mv2::Json tree;
    try {
        tree = mv2::parse_json({reinterpret_cast<const char*>(data), size}, "the text");
    } catch (const mv2::Error&) {
        return 0;
    }
    const std::string text = mv2::to_json(tree);
    if (mv2::to_json(mv2::parse_json(text, "the text")) != text) std::abort();
    return 0;
}
