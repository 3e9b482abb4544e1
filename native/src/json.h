// JSON as a tree. Safe for hostile text too.
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
    std::map<std::string, Json, std::less<>> members;  // a repeated key has its last value

    // An object's member; nullptr if there is none or this isn't an object.
    const Json* find(std::string_view key) const;
};

enum class Repeated { last_counts, refused };  // how a key that is repeated in an object is treated

// Throws Error (MV2_ERROR_FILE) with `name` and the position for: invalid JSON, nesting deeper than
// 64, more than 500,000 values, numbers beyond a double, bad escapes, invalid UTF-8, anything after
// the value.
Json parse_json(std::string_view text, const std::string& name,
                Repeated repeated = Repeated::last_counts);

// The tree as one line of JSON; numbers read back the same. Throws Error (MV2_ERROR_INPUT) for
// NaN and infinity.
std::string to_json(const Json& value);

}  // namespace mv2
