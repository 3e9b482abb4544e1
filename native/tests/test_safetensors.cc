// Weights: the values of every dtype, and every way in which a header can lie.
#include <cfloat>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "check.h"
#include "safetensors.h"

using mv2::SafeTensors;
using Shape = std::vector<int64_t>;

namespace {

std::string file_of(const std::string& header, const std::string& data) {
    std::string file;
    for (int i = 0; i < 8; ++i) {
        file += static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i) & 255);
    }
    return file + header + data;
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
    return "\"" + name + "\": {\"dtype\": \"" + dtype + "\", \"shape\": " + shape +
           ", \"data_offsets\": " + offsets + "}";
}

const unsigned char* bytes_of(const std::string& file) {
    return reinterpret_cast<const unsigned char*>(file.data());
}

bool refused(const std::string& file) {
    const std::string message =
        refusal(MV2_ERROR_FILE, [&] { SafeTensors(bytes_of(file), file.size(), "the file"); });
    return message.find("he file") != std::string::npos;
}

bool refused(const std::string& header, size_t data_size) {
    return refused(file_of(header, std::string(data_size, '\0')));
}

template <typename Word>
std::string little_endian(const std::vector<Word>& words) {
    std::string bytes;
    for (Word word : words) {
        for (size_t i = 0; i < sizeof(Word); ++i) {
            bytes += static_cast<char>(static_cast<uint64_t>(word) >> (8 * i) & 255);
        }
    }
    return bytes;
}

// The values of one tensor of this dtype, which begins at an odd address; empty where refused.
std::vector<float> values(const std::string& dtype, const std::string& data, int64_t count) {
    std::string header = "{" +
                         tensor("a", dtype, "[" + std::to_string(count) + "]",
                                "[0, " + std::to_string(data.size()) + "]") +
                         "}";
    header += header.size() % 2 ? "" : " ";
    const std::string file = file_of(header, data);
    const SafeTensors tensors(bytes_of(file), file.size(), "the file");
    std::vector<float> result;
    const std::string message =
        refusal(MV2_ERROR_FILE, [&] { result = tensors.floats("a", {count}); });
    CHECK(message.empty() == !result.empty());
    return result;
}

float half(uint16_t bits) {
    const std::vector<float> result = values("F16", little_endian<uint16_t>({bits}), 1);
    return result.empty() ? NAN : result[0];
}

void dtypes() {
    using Floats = std::vector<float>;
    CHECK((values("F32", little_endian<uint32_t>({0x3F800000, 0xC0490FDB, 1, 0x7F7FFFFF}), 4) ==
           Floats{1, -3.14159274f, 1.40129846e-45f, FLT_MAX}));
    CHECK((values("BF16", little_endian<uint16_t>({0x3F80, 0xC049, 0x0001}), 3) ==
           Floats{1, -3.140625f, 9.18354962e-41f}));
    CHECK((values("F64", little_endian<uint64_t>({0x3FB999999999999A, 0x8000000000000000}), 2) ==
           Floats{0.1f, 0}));
    CHECK(half(0x3C00) == 1 && half(0xC000) == -2 && half(0x7BFF) == 65504);
    CHECK(half(0x0400) == 6.103515625e-5f && half(0x03FF) == 6.09755516e-5f);
    CHECK(half(0x8001) == -5.96046448e-8f && half(0x3555) == 0.333251953125f);
    CHECK(half(0) == 0 && std::signbit(half(0x8000)) && !std::signbit(half(0)));
    for (unsigned bits = 0; bits < 0x7C00; ++bits) {  // all values are between their neighbors
        const double exponent = bits >> 10, fraction = bits & 1023;
        const double value = exponent == 0
                                 ? std::ldexp(fraction, -24)
                                 : std::ldexp(1024 + fraction, static_cast<int>(exponent) - 25);
        if (bits % 37 == 0) CHECK(half(static_cast<uint16_t>(bits)) == static_cast<float>(value));
    }
    for (uint32_t bad : {0x7F800000u, 0xFF800000u, 0x7FC00000u, 0x7F800001u}) {
        CHECK(values("F32", little_endian<uint32_t>({0, bad}), 2).empty());
        CHECK(values("BF16", little_endian<uint16_t>({static_cast<uint16_t>(bad >> 16 | 1)}), 1)
                  .empty());
    }
    CHECK(values("F16", little_endian<uint16_t>({0x7C00}), 1).empty());
    CHECK(values("F16", little_endian<uint16_t>({0xFE00}), 1).empty());
    CHECK(values("F64", little_endian<uint64_t>({0x47F0000000000000}), 1).empty());  // 2^128
    CHECK(values("F64", little_endian<uint64_t>({0x7FF8000000000000}), 1).empty());
    CHECK(values("I64", little_endian<uint64_t>({1}), 1).empty());
    CHECK(values("BOOL", "\1", 1).empty());
    CHECK(values("F4", "\1", 7).empty());  // an unknown one is accepted, but has no values
}

void shapes() {
    const std::string file = file_of("{\"__metadata__\": {\"format\": \"pt\"}, " +
                                         tensor("scalar", "F32", "[]", "[0, 4]") + ", " +
                                         tensor("none", "F32", "[3, 0, 5]", "[4, 4]") + ", " +
                                         tensor("matrix", "F32", "[2, 1]", "[4, 12]") + "}  ",
                                     little_endian<uint32_t>({0x3F800000, 0x40000000, 0x40400000}));
    const SafeTensors tensors(bytes_of(file), file.size(), "the file");
    CHECK(tensors.tensors().size() == 3);
    CHECK(tensors.floats("scalar", {}) == std::vector<float>{1});
    CHECK(tensors.floats("none", {3, 0, 5}).empty());
    CHECK((tensors.floats("matrix", {2, 1}) == std::vector<float>{2, 3}));
    auto wrong = [&](const char* name, const Shape& shape) {
        return refusal(MV2_ERROR_FILE, [&] { tensors.floats(name, shape); });
    };
    CHECK(wrong("matrix", {1, 2}).find("[2, 1]") != std::string::npos);
    CHECK(!wrong("matrix", {2}).empty() && !wrong("Matrix", {2, 1}).empty());
    const std::string nothing = file_of("{}", "");
    CHECK(SafeTensors(bytes_of(nothing), nothing.size(), "x").tensors().empty());
}

void lies() {
    auto one = [](const char* dtype, const char* shape, const char* offsets) {
        return "{" + tensor("a", dtype, shape, offsets) + "}";
    };
    CHECK(!refused(one("F32", "[2]", "[0, 8]"), 8));
    CHECK(refused(one("F32", "[2]", "[0, 8]"), 7) && refused(one("F32", "[2]", "[0, 8]"), 9));
    CHECK(refused(one("F32", "[3]", "[0, 8]"), 8) && refused(one("F16", "[2]", "[0, 8]"), 8));
    CHECK(refused(one("F32", "[1]", "[4, 8]"), 8));  // a gap in front
    CHECK(refused(one("F32", "[2]", "[8, 0]"), 8) && refused(one("F32", "[2]", "[-8, 0]"), 8));
    CHECK(refused(one("F32", "[2]", "[0, 8.5]"), 8) && refused(one("F32", "[2]", "[0, \"8\"]"), 8));
    CHECK(refused(one("F32", "[2]", "[0]"), 8) && refused(one("F32", "[2]", "[0, 8, 8]"), 8));
    CHECK(refused(one("F32", "[-2]", "[0, 8]"), 8) && refused(one("F32", "2", "[0, 8]"), 8));
    CHECK(refused(one("F32", "[4294967296, 4294967296]", "[0, 0]"), 0));  // 2^64 is 0 in 64 bits
    CHECK(refused(one("F32", "[4611686018427387904, 1]", "[0, 0]"), 0));
    CHECK(refused(one("F32", "[1e300]", "[0, 8]"), 8) &&
          refused(one("F32", "[2]", "[0, 1e18]"), 8));
    CHECK(!refused(one("F32", "[0, 4294967296]", "[0, 0]"), 0));
    CHECK(refused(one("F32", "[9007199254740992, 9007199254740992, 0]", "[0, 0]"), 0));
    const std::string a = tensor("a", "F32", "[1]", "[0, 4]"),
                      b = tensor("b", "F32", "[1]", "[4, 8]");
    CHECK(!refused("{" + b + ", " + a + "}", 8));
    CHECK(refused("{" + a + ", " + a + "}", 4));                                      // twice
    CHECK(refused("{" + a + ", " + tensor("b", "F32", "[1]", "[0, 4]") + "}", 4));    // the same
    CHECK(refused("{" + a + ", " + tensor("b", "F32", "[2]", "[2, 10]") + "}", 10));  // overlap
    CHECK(refused("{" + a + ", " + tensor("b", "F32", "[1]", "[8, 12]") + "}", 12));  // gap
    CHECK(refused("{\"a\": {\"shape\": [1], \"data_offsets\": [0, 4]}}", 4));
    CHECK(refused("{\"a\": {\"dtype\": \"F32\", \"data_offsets\": [0, 4]}}", 4));
    CHECK(refused("{\"a\": {\"dtype\": \"F32\", \"shape\": [1]}}", 4));
    CHECK(refused("{\"a\": 1}", 0) && refused("[]", 0) && refused("", 0) && refused("{", 0));
    CHECK(refused("{\"__metadata__\": {\"a\": 1}}", 0) && refused("{\"__metadata__\": 1}", 0));
    CHECK(refused(std::string()) && refused(std::string("\2\0\0\0\0\0\0", 7)));
    CHECK(refused(std::string("\2\0\0\0\0\0\0\0{", 9)));
    CHECK(refused(std::string(8, '\xFF') + "{}"));
    CHECK(refused(little_endian<uint64_t>({100000001}) + "{}"));
}

void files() {
    const std::string path =
        (std::filesystem::temp_directory_path() / "mobilevitv2_test_safetensors.tmp").string();
    CHECK(!refusal(MV2_ERROR_FILE, [] { SafeTensors("no/such/file.safetensors"); }).empty());
    CHECK(!refusal(MV2_ERROR_FILE, [] { SafeTensors("."); }).empty());
    auto write = [&](const std::string& content) {
        std::ofstream(path, std::ios::binary | std::ios::trunc)
            .write(content.data(), static_cast<std::streamsize>(content.size()));
    };
    write("");
    CHECK(!refusal(MV2_ERROR_FILE, [&] { SafeTensors{path}; }).empty());
    const std::string good = file_of("{" + tensor("a", "F32", "[1]", "[0, 4]") + "}",
                                     little_endian<uint32_t>({0x40000000}));
    write(good);
    CHECK(SafeTensors(path).floats("a", {1}) == std::vector<float>{2});
    for (size_t size = 0; size < good.size(); ++size) {
        CHECK(refused(good.substr(0, size)));
    }
    write(good.substr(0, good.size() - 1));
    CHECK(!refusal(MV2_ERROR_FILE, [&] { SafeTensors{path}; }).empty());
    std::remove(path.c_str());
}

}  // namespace

int main() {
    dtypes();
    shapes();
    lies();
    files();
    return failures();
}
