// `Error`: a message with its MV2_ERROR_ number from mobilevitv2.h.
#pragma once

#include <stdexcept>
#include <string>

#include "mobilevitv2.h"

namespace mv2 {

struct Error : std::runtime_error {
    int kind;
    Error(int number, const std::string& message) : std::runtime_error(message), kind(number) {}
};

[[noreturn]] inline void fail_input(const std::string& m) { throw Error(MV2_ERROR_INPUT, m); }
[[noreturn]] inline void fail_file(const std::string& m) { throw Error(MV2_ERROR_FILE, m); }
[[noreturn]] inline void fail_unsupported(const std::string& m) {
    throw Error(MV2_ERROR_UNSUPPORTED, m);
}

}  // namespace mv2
