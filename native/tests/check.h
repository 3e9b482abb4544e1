// What the test programs share: CHECK goes on after a failure, and main returns `failures()`.
#pragma once

#include <cstdio>
#include <string>

#include "error.h"

inline int& failure_count() {
    static int count = 0;
    return count;
}

inline int failures() { return failure_count() == 0 ? 0 : 1; }

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            ++failure_count();                                                           \
        }                                                                                \
    } while (false)

// The message of the error of this kind that `action` throws; "" if it throws none.
template <typename Action>
std::string refusal(int kind, Action action) {
    try {
        action();
    } catch (const mv2::Error& error) {
        return error.kind == kind ? error.what() : std::string();
    }
    return "";
}
