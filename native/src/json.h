// A JSON text as a tree. Reads whatever anybody wrote, also what was written to do harm.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mv2 {

struct Json {
    enum Kind { null, boolean, number, string, array, object };
    Kind kind = null;
    bool truth = false;
    double value = 0;  // of a number
    std::string text;  // of a string, UTF-8
    std::vector<Json> items;
    std::map<std::string, Json, std::less<>> members;  // of a key that comes twice the last

    // The member of an object; nullptr where there is none, or where this is no object.
    const Json* find(std::string_view key) const;
};

enum class Repeated { last_counts, refused };  // what a key is that comes twice in an object

// Throws Error (MV2_ERROR_FILE), which names `name` and the place: no JSON, nested deeper than 64,
// more than 500,000 values, numbers that are no doubles, bad escapes, bytes that are no UTF-8,
// anything after the value.
Json parse_json(std::string_view text, const std::string& name,
                Repeated repeated = Repeated::last_counts);

// The tree as one line of JSON; numbers read back as they were. Throws Error (MV2_ERROR_INPUT) for
// NaN and infinity.
std::string to_json(const Json& value);

}  // namespace mv2
