// A recursive descent parser, as strict as RFC 8259. Two limits protect against hostile text: the
// depth (for the stack) and the number of values (the two bytes of `,0` become a Json of a hundred;
// half a million are at most some 100 MB, and ten times as many as in the largest real file).
#include "json.h"

#include <algorithm>
#include <charconv>
#include <clocale>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <locale>
#include <sstream>

#include "error.h"

namespace mv2 {
namespace {

constexpr int deepest = 64;
constexpr size_t most_values = 500000;
constexpr const char* expected_value =
    "expected an object, array, string, finite number, true, false or null";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The length of the UTF-8 character that begins at text[at]; 0 if it is invalid.
size_t character_length(std::string_view text, size_t at) {
    auto byte = [&](size_t i) -> unsigned {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
    };
    const unsigned first = byte(at);
    if (first < 0x80) return 1;
    const size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                          : first >= 0xE0 && first <= 0xEF ? 3
                          : first >= 0xF0 && first <= 0xF4 ? 4
                                                           : 0;
    for (size_t i = 1; i < length; ++i) {
        if ((byte(at + i) & 0xC0) != 0x80) return 0;
    }
    const unsigned second = byte(at + 1);
    const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
    const bool beyond = (first == 0xED && second > 0x9F) || (first == 0xF4 && second > 0x8F);
    return overlong || beyond ? 0 : length;
}

void append_utf8(std::string& text, unsigned code) {
    auto add = [&](unsigned byte) { text += static_cast<char>(byte); };
    if (code < 0x80) {
        add(code);
    } else if (code < 0x800) {
        add(0xC0 | code >> 6);
        add(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        add(0xE0 | code >> 12);
        add(0x80 | (code >> 6 & 0x3F));
        add(0x80 | (code & 0x3F));
    } else {
        add(0xF0 | code >> 18);
        add(0x80 | (code >> 12 & 0x3F));
        add(0x80 | (code >> 6 & 0x3F));
        add(0x80 | (code & 0x3F));
    }
}

// Whether a number that no double can hold is too small, rather than too large.
[[maybe_unused]] bool too_small(std::string_view number) {
    const size_t e = number.find_first_of("eE");
    const std::string_view digits = number.substr(0, e);
    const size_t point = std::min(digits.find('.'), digits.size());
    const size_t first = digits.find_first_of("123456789");
    if (first == std::string_view::npos) return true;
    long long magnitude = static_cast<long long>(point) - static_cast<long long>(first);
    if (e != std::string_view::npos) {
        const bool negative = number[e + 1] == '-';
        long long exponent = 0;
        for (char c : number.substr(e + 1)) {
            if (is_digit(c) && exponent < 1000000000000) exponent = exponent * 10 + (c - '0');
        }
        magnitude += negative ? -exponent : exponent;
    }
    return magnitude < 0;
}

// The double nearest to a JSON number, whatever the locale; infinite if it is too large.
double to_double(std::string_view number) {
    double value = 0;
#if defined(__cpp_lib_to_chars)
    const auto result = std::from_chars(number.data(), number.data() + number.size(), value);
    if (result.ec == std::errc::result_out_of_range) {
        value = too_small(number) ? 0.0 : HUGE_VAL;
        if (number[0] == '-') value = -value;
    }
#else
    std::string text(number);  // for strtod, which expects the locale's decimal point
    const size_t point = text.find('.');
    if (point != std::string::npos) text.replace(point, 1, std::localeconv()->decimal_point);
    value = std::strtod(text.c_str(), nullptr);
#endif
    return value;
}

class Parser {
 public:
    Parser(std::string_view text, const std::string& name, Repeated repeated)
        : text_(text), name_(name), repeated_(repeated) {}

    Json document() {
        Json result = value(0);
        skip_space();
        if (at_ < text_.size()) fail("expected the end of the text");
        return result;
    }

 private:
    std::string_view text_;
    const std::string& name_;
    Repeated repeated_;
    size_t at_ = 0, values_ = 0;

    [[noreturn]] void fail(const std::string& what) const {
        size_t line = 1, column = 1;
        for (size_t i = 0; i < at_ && i < text_.size(); ++i, ++column) {
            if (text_[i] == '\n') ++line, column = 0;
        }
        std::string found = "the end of the text";
        if (at_ < text_.size()) {
            const unsigned char c = static_cast<unsigned char>(text_[at_]);
            char hex[8];
            std::snprintf(hex, sizeof hex, "0x%02X", static_cast<unsigned>(c));
            found = c > 0x20 && c < 0x7F ? std::string("'") + text_[at_] + "'"
                                         : std::string("byte ") + hex;
        }
        fail_file(name_ + " isn't valid JSON: " + what + " at line " + std::to_string(line) +
                  ", column " + std::to_string(column) + ", found " + found + ".");
    }

    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    void skip_space() {
        while (at_ < text_.size() && std::strchr(" \t\n\r", text_[at_]) && text_[at_]) ++at_;
    }

    bool take(char c) {
        skip_space();
        if (at_ >= text_.size() || text_[at_] != c) return false;
        ++at_;
        return true;
    }

    void take_word(const char* word) {
        if (text_.substr(at_, std::strlen(word)) != word) {
            fail(expected_value);
        }
        at_ += std::strlen(word);
    }

    Json value(int depth) {
        if (++values_ > most_values) fail("more than 500,000 values");
        Json result;
        skip_space();
        switch (peek()) {
            case '{':
                object(result, depth + 1);
                break;
            case '[':
                array(result, depth + 1);
                break;
            case '"':
                result.kind = Json::string;
                result.text = string();
                break;
            case 't':
                take_word("true");
                result.kind = Json::boolean;
                result.truth = true;
                break;
            case 'f':
                take_word("false");
                result.kind = Json::boolean;
                break;
            case 'n':
                take_word("null");
                break;
            default:
                result.kind = Json::number;
                result.value = number();
        }
        return result;
    }

    void object(Json& result, int depth) {
        if (depth > deepest) fail("more than 64 nested objects and arrays");
        result.kind = Json::object;
        ++at_;
        if (take('}')) return;
        do {
            skip_space();
            if (peek() != '"') fail("expected a key in double quotes");
            const size_t key_at = at_;
            std::string key = string();
            if (!take(':')) fail("expected a colon");
            Json member = value(depth);
            if (repeated_ == Repeated::refused && result.members.count(key)) {
                at_ = key_at;
                fail("repeated key");
            }
            result.members[std::move(key)] = std::move(member);
        } while (take(','));
        if (!take('}')) fail("expected a comma or }");
    }

    void array(Json& result, int depth) {
        if (depth > deepest) fail("more than 64 nested objects and arrays");
        result.kind = Json::array;
        ++at_;
        if (take(']')) return;
        do {
            result.items.push_back(value(depth));
        } while (take(','));
        if (!take(']')) fail("expected a comma or ]");
    }

    std::string string() {
        std::string result;
        ++at_;
        while (peek() != '"') {
            if (at_ >= text_.size()) fail("expected a closing double quote");
            if (text_[at_] == '\\') {
                escape(result);
                continue;
            }
            if (static_cast<unsigned char>(text_[at_]) < 0x20) {
                fail("unescaped control character in a string");
            }
            const size_t length = character_length(text_, at_);
            if (length == 0) fail("invalid UTF-8 in a string");
            result.append(text_.substr(at_, length));
            at_ += length;
        }
        ++at_;
        return result;
    }

    void escape(std::string& result) {
        ++at_;
        static constexpr char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
        const char* found = peek() ? std::strchr(letters, peek()) : nullptr;
        if (found) {
            result += meanings[found - letters];
            ++at_;
        } else if (peek() == 'u') {
            unsigned code = code_unit();
            if (code >= 0xD800 && code < 0xDC00) {
                if (peek() != '\\') fail("expected the second half of a surrogate pair");
                ++at_;
                if (peek() != 'u') fail("expected the second half of a surrogate pair");
                const unsigned low = code_unit();
                if (low < 0xDC00 || low > 0xDFFF) fail("incomplete surrogate pair");
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            } else if (code >= 0xDC00 && code < 0xE000) {
                fail("second half of a surrogate pair without the first");
            }
            append_utf8(result, code);
        } else {
            fail("unknown escape");
        }
    }

    // The four hexadecimal digits after the u.
    unsigned code_unit() {
        ++at_;
        unsigned code = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            const char c = peek();
            const int digit = is_digit(c)            ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
            if (digit < 0) fail("expected four hexadecimal digits");
            code = code * 16 + static_cast<unsigned>(digit);
        }
        return code;
    }

    void digits() {
        if (!is_digit(peek())) fail("expected a digit");
        while (is_digit(peek())) ++at_;
    }

    double number() {
        const size_t start = at_;
        if (peek() == '-') ++at_;
        if (!is_digit(peek())) {  // also NaN and Infinity, which Python writes
            fail(expected_value);
        }
        if (peek() == '0') {
            ++at_;
        } else {
            digits();
        }
        if (peek() == '.') {
            ++at_;
            digits();
        }
        if (peek() == 'e' || peek() == 'E') {
            ++at_;
            if (peek() == '+' || peek() == '-') ++at_;
            digits();
        }
        const double result = to_double(text_.substr(start, at_ - start));
        if (!std::isfinite(result)) {
            at_ = start;
            fail("number beyond a double");
        }
        return result;
    }
};

std::string to_text(double value) {
    if (!std::isfinite(value)) {
        fail_input("JSON can't hold NaN or infinity.");
    }
#if defined(__cpp_lib_to_chars)
    char buffer[64];
    const bool whole = value == std::trunc(value) && std::fabs(value) < 1e15;
    const auto result =
        std::to_chars(buffer, buffer + sizeof buffer, value,
                      whole ? std::chars_format::fixed : std::chars_format::general);
    return std::string(buffer, result.ptr);
#else
    for (int digits = 15;; ++digits) {
        std::ostringstream stream;
        stream.imbue(std::locale::classic());
        stream.precision(digits);
        stream << value;
        if (digits == 17 || to_double(stream.str()) == value) return stream.str();
    }
#endif
}

void write_string(std::string& out, const std::string& text) {
    out += '"';
    for (char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            char escape[8];
            std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
            out += escape;
        } else {
            out += c;
        }
    }
    out += '"';
}

void write(std::string& out, const Json& value) {
    const char* comma = "";
    switch (value.kind) {
        case Json::null:
            out += "null";
            break;
        case Json::boolean:
            out += value.truth ? "true" : "false";
            break;
        case Json::number:
            out += to_text(value.value);
            break;
        case Json::string:
            write_string(out, value.text);
            break;
        case Json::array:
            out += '[';
            for (const Json& item : value.items) {
                out += comma;
                write(out, item);
                comma = ", ";
            }
            out += ']';
            break;
        case Json::object:
            out += '{';
            for (const auto& [key, member] : value.members) {
                out += comma;
                write_string(out, key);
                out += ": ";
                write(out, member);
                comma = ", ";
            }
            out += '}';
            break;
    }
}

}  // namespace

const Json* Json::find(std::string_view key) const {
    const auto found = members.find(key);
    return found == members.end() ? nullptr : &found->second;
}

Json parse_json(std::string_view text, const std::string& name, Repeated repeated) {
    return Parser(text, name, repeated).document();
}

std::string to_json(const Json& value) {
    std::string out;
    write(out, value);
    return out;
}

}  // namespace mv2
