// JSON: valid text is read, everything else is refused with its position.
#include <clocale>
#include <cmath>
#include <limits>

#include "check.h"
#include "json.h"

using mv2::Json;
using mv2::parse_json;

namespace {

bool refused(std::string_view text) {
    return !refusal(MV2_ERROR_FILE, [&] { parse_json(text, "the text"); }).empty();
}

double number(std::string_view text) { return parse_json(text, "the text").value; }

std::string text_of(std::string_view text) { return parse_json(text, "the text").text; }

std::string nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

void values() {
    const Json tree = parse_json(
        " {\"a\" : [1, -2.5e3, true, false, null, \"x\"],\r\n\t\"b\":{}, \"a b\":[]} ", "tree");
    CHECK(tree.kind == Json::object && tree.members.size() == 3);
    const Json* a = tree.find("a");
    CHECK(a && a->items.size() == 6);
    CHECK(a->items[0].value == 1 && a->items[1].value == -2500);
    CHECK(a->items[2].kind == Json::boolean && a->items[2].truth && !a->items[3].truth);
    CHECK(a->items[4].kind == Json::null && a->items[5].text == "x");
    CHECK(!tree.find("c") && !a->find("a"));
    CHECK(parse_json("{\"a\": 1, \"a\": 2}", "x").find("a")->value == 2);
}

void numbers() {
    CHECK(number("0") == 0 && std::signbit(number("-0")));
    CHECK(number("0.1") == 0.1 && number("1E+2") == 100);
    CHECK(number("123456789012") == 123456789012.0);
    CHECK(number("1.7976931348623157e308") == std::numeric_limits<double>::max());
    CHECK(number("5e-324") == std::numeric_limits<double>::denorm_min());
    CHECK(number("2.2250738585072011e-308") == 2.2250738585072011e-308);
    CHECK(number("1e-400") == 0 && number("0e999999999999999999999") == 0);
    CHECK(number("0." + std::string(400, '0') + "1") == 0);
    CHECK(refused("1e400") && refused("-1e400") && refused("1" + std::string(400, '0') + "e-5"));
    for (const char* wrong : {"01", "+1", ".5", "5.", "1e", "1e+", "-", "0x10", "1_0", "1,5", "NaN",
                              "Infinity", "-Infinity", "inf", "nan", "1 2", "--1"}) {
        CHECK(refused(wrong));
    }
}

void strings() {
    CHECK(text_of("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"") == "\"\\/\b\f\n\r\t");
    CHECK(text_of("\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"") ==
          "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
    CHECK(text_of("\"\\u0000\"") == std::string(1, '\0'));
    CHECK(text_of("\"\xC3\xA9 \xF4\x8F\xBF\xBF \x7F\"") == "\xC3\xA9 \xF4\x8F\xBF\xBF \x7F");
    for (const char* wrong : {"\"",
                              "\"\\",
                              "\"\\x\"",
                              "\"\\u12\"",
                              "\"\\u12g4\"",
                              "\"\\ud800\"",
                              "\"\\ud800\\n\"",
                              "\"\\ud800\\u0041\"",
                              "\"\\udc00\"",
                              "\"\n\"",
                              "\"\x01\"",
                              "'a'",
                              "\"\x80\"",
                              "\"\xC0\x80\"",
                              "\"\xC3\"",
                              "\"\xE0\x80\x80\"",
                              "\"\xED\xA0\x80\"",
                              "\"\xF0\x80\x80\x80\"",
                              "\"\xF4\x90\x80\x80\"",
                              "\"\xF5\x80\x80\x80\"",
                              "\"\xFF\""}) {
        CHECK(refused(wrong));
    }
    CHECK(refused(std::string_view("\"a\0b\"", 5)));
}

void structure() {
    for (const char* wrong : {"",           " ",         "{",     "[",         "[1",
                              "[1,",        "[1,]",      "[,1]",  "{\"a\"}",   "{\"a\":}",
                              "{\"a\":1,}", "{a:1}",     "{1:1}", "{\"a\" 1}", "[1 2]",
                              "[1}",        "{\"a\":1]", "]",     "[]]",       "{} x",
                              "nul",        "truee",     "True",  "// a\n1",   "\xEF\xBB\xBF{}",
                              "[1]\xC3\xA9"}) {
        CHECK(refused(wrong));
    }
    CHECK(refused(std::string_view("1\0", 2)) && refused(std::string_view("\0", 1)));
    CHECK(!refused(nested(64)) && refused(nested(65)) && refused(std::string(10000000, '[')));
    std::string many = "[0";
    for (int i = 0; i < 499998; ++i) many += ",0";
    CHECK(!refused(many + "]") && refused(many + ",0]"));
    const std::string message =
        refusal(MV2_ERROR_FILE, [] { parse_json("{\n  \"a\": x}", "config.json"); });
    CHECK(message.find("config.json") == 0);
    CHECK(message.find("line 2, column 8") != std::string::npos);
    auto twice = [](const char* text) {
        return refusal(MV2_ERROR_FILE, [=] { parse_json(text, "x", mv2::Repeated::refused); });
    };
    CHECK(!twice("{\"a\": 1, \"b\": {\"c\": 1, \"\\u0063\": 2}}").empty());
    CHECK(twice("{\"a\": {\"a\": 1}, \"b\": 1}").empty());
}

void writing() {
    const std::string text =
        "{\"a\": [1, -2.5, 1e+300, 0.1, true, null], "
        "\"b\\n\\\"\": \"\xC3\xA9\\\\\\u0001\", \"c\": {}}";
    const std::string written = to_json(parse_json(text, "x"));
    CHECK(to_json(parse_json(written, "x")) == written);
    CHECK(parse_json(written, "x").find("a")->items[3].value == 0.1);
    CHECK(written.find('\n') == std::string::npos);
    CHECK(to_json(parse_json("[100000, 0.00392156862745098, -0]", "x")) ==
          "[100000, 0.00392156862745098, -0]");
    Json nan;
    nan.kind = Json::number;
    nan.value = std::nan("");
    CHECK(!refusal(MV2_ERROR_INPUT, [&] { to_json(nan); }).empty());
}

void other_locale() {
    for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "German"}) {
        if (std::setlocale(LC_ALL, name)) break;
    }
    CHECK(number("0.5") == 0.5);
    CHECK(to_json(parse_json("0.5", "x")) == "0.5");
    std::setlocale(LC_ALL, "C");
}

}  // namespace

int main() {
    values();
    numbers();
    strings();
    structure();
    writing();
    other_locale();
    return failures();
}
