// A .safetensors file: 8 bytes of length, that many bytes of JSON, then the values. The reader
// checks everything that the header says against the size of the file before relying on it.
#include "safetensors.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <string_view>
#include <utility>

#include "error.h"
#include "json.h"

#if defined(_WIN32)
#include <filesystem>
#include <fstream>
#else
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace mv2 {

// If something else truncates the file while it is mapped, reading it ends the process (SIGBUS), as
// with every mapped file.
struct SafeTensors::Mapping {
    const unsigned char* bytes = nullptr;
    size_t size = 0;

#if defined(_WIN32)
    std::vector<unsigned char> content;

    explicit Mapping(const std::string& path) {
        std::ifstream file(std::filesystem::u8path(path), std::ios::binary | std::ios::ate);
        const std::streamoff end = file ? static_cast<std::streamoff>(file.tellg()) : -1;
        if (end < 0) fail_file(path + " can't be opened. Give the path of a .safetensors file.");
        if (static_cast<uint64_t>(end) > SIZE_MAX)
            fail_file(path + " is too large to read on this system.");
        content.resize(static_cast<size_t>(end));
        file.seekg(0);
        file.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(end));
        if (!file) fail_file(path + " can't be read to the end. Copy it again.");
        bytes = content.data();
        size = content.size();
    }
#else
    explicit Mapping(const std::string& path) {
        const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (file < 0) {
            fail_file(path + " can't be opened: " + std::strerror(errno) +
                      ". Give the path of a .safetensors file.");
        }
        struct stat status{};
        const bool known = fstat(file, &status) == 0 && S_ISREG(status.st_mode);
        const bool fits = known && static_cast<uint64_t>(status.st_size) <= SIZE_MAX;
        void* address = nullptr;
        if (fits && status.st_size > 0) {
            size = static_cast<size_t>(status.st_size);
            address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
        }
        const int reason = errno;
        close(file);
        if (!known) fail_file(path + " isn't a file. Give the path of a .safetensors file.");
        if (!fits) fail_file(path + " is too large to read on this system.");
        if (address == MAP_FAILED)
            fail_file(path + " can't be read: " + std::strerror(reason) + ".");
        bytes = static_cast<const unsigned char*>(address);
    }
    ~Mapping() {
        if (bytes) munmap(const_cast<unsigned char*>(bytes), size);
    }
#endif
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
};

namespace {

constexpr uint64_t longest_header = 100000000;

struct Type {
    const char* name;
    Dtype dtype;
    size_t bytes;  // of one value
};

constexpr Type types[] = {
    {"F32", Dtype::f32, 4},       {"F16", Dtype::f16, 2},       {"BF16", Dtype::bf16, 2},
    {"F64", Dtype::f64, 8},       {"I64", Dtype::i64, 8},       {"I32", Dtype::other, 4},
    {"I16", Dtype::other, 2},     {"I8", Dtype::other, 1},      {"U64", Dtype::other, 8},
    {"U32", Dtype::other, 4},     {"U16", Dtype::other, 2},     {"U8", Dtype::other, 1},
    {"BOOL", Dtype::other, 1},    {"F8_E4M3", Dtype::other, 1}, {"F8_E5M2", Dtype::other, 1},
    {"F8_E8M0", Dtype::other, 1}, {"C64", Dtype::other, 8},
};

// Reads a number of the header, which must be whole, non-negative and exact in a double.
bool whole_number(const Json& value, uint64_t& result) {
    const bool good = value.kind == Json::number && value.value >= 0 &&
                      value.value <= 9007199254740992.0 && value.value == std::floor(value.value);
    if (good) result = static_cast<uint64_t>(value.value);
    return good;
}

template <typename Word>
Word load(const unsigned char* bytes) {
    Word word = 0;
    for (size_t i = 0; i < sizeof(Word); ++i) word |= static_cast<Word>(Word{bytes[i]} << (8 * i));
    return word;
}

float from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

float from_f32(const unsigned char* bytes) { return from_bits(load<uint32_t>(bytes)); }

float from_bf16(const unsigned char* bytes) {
    return from_bits(uint32_t{load<uint16_t>(bytes)} << 16);
}

float from_f16(const unsigned char* bytes) {
    const uint32_t half = load<uint16_t>(bytes);
    const uint32_t sign = (half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 0) {  // fp16's subnormals are normal numbers in fp32
        const float value = static_cast<float>(fraction) * 0x1p-24f;
        return sign ? -value : value;
    }
    const uint32_t widened = exponent == 31 ? 255 : exponent + 112;
    return from_bits(sign | widened << 23 | fraction << 13);
}

float from_f64(const unsigned char* bytes) {
    const uint64_t bits = load<uint64_t>(bytes);
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return std::fabs(value) <= FLT_MAX ? static_cast<float>(value) : HUGE_VALF;  // NaN too
}

// Returns whether all values are finite.
template <float (*convert)(const unsigned char*), size_t width>
bool convert_all(const TensorView& tensor, std::vector<float>& values) {
    const unsigned char* bytes = tensor.data;
    bool finite = true;
    values.resize(tensor.bytes / width);
    for (size_t i = 0; i < values.size(); ++i) {
        values[i] = convert(bytes + i * width);
        finite &= std::fabs(values[i]) <= FLT_MAX;
    }
    return finite;
}

std::string shape_text(const std::vector<int64_t>& shape) {
    std::string text = "[";
    for (size_t i = 0; i < shape.size(); ++i) {
        text += (i ? ", " : "") + std::to_string(shape[i]);
    }
    return text + "]";
}

struct Extent {
    uint64_t begin, end;
    const std::string* name;
};

// Reads one entry of the header, and checks its members against each other and `data_size`.
Extent read_entry(const std::string& file, const std::string& name, const Json& entry,
                  uint64_t data_size, TensorView& tensor) {
    auto fail = [&](const std::string& what) {
        fail_file(file + " is damaged: the tensor " + name + " has " + what + ". Copy it again.");
    };
    const Json* dtype = entry.find("dtype");
    const Json* shape = entry.find("shape");
    const Json* offsets = entry.find("data_offsets");
    if (!dtype || dtype->kind != Json::string) fail("no dtype");
    if (!shape || shape->kind != Json::array) fail("no shape");
    if (!offsets || offsets->kind != Json::array || offsets->items.size() != 2) {
        fail("no pair of data_offsets");
    }
    Extent extent{0, 0, &name};
    if (!whole_number(offsets->items[0], extent.begin) ||
        !whole_number(offsets->items[1], extent.end) || extent.begin > extent.end ||
        extent.end > data_size) {
        fail("data_offsets outside the " + std::to_string(data_size) + " bytes of data");
    }
    uint64_t count = 1;
    bool empty = false;
    for (const Json& side : shape->items) {
        uint64_t length = 0;
        if (!whole_number(side, length)) fail("a shape that isn't whole numbers");
        empty = empty || length == 0;
        if (length != 0 && count > INT64_MAX / length) fail("too large a shape");
        if (length != 0) count *= length;
        tensor.shape.push_back(static_cast<int64_t>(length));
    }
    if (empty) count = 0;
    tensor.dtype = Dtype::other;
    for (const Type& type : types) {
        if (dtype->text != type.name) continue;
        tensor.dtype = type.dtype;
        if (count > UINT64_MAX / type.bytes || count * type.bytes != extent.end - extent.begin) {
            fail("the shape " + shape_text(tensor.shape) + " in " + dtype->text + ", but " +
                 std::to_string(extent.end - extent.begin) + " bytes");
        }
    }
    tensor.bytes = static_cast<size_t>(extent.end - extent.begin);
    return extent;
}

void check_metadata(const std::string& file, const Json& metadata) {
    bool good = metadata.kind == Json::object || metadata.kind == Json::null;
    for (const auto& member : metadata.members) good &= member.second.kind == Json::string;
    if (!good) fail_file(file + " is damaged: its __metadata__ isn't strings. Copy it again.");
}

}  // namespace

SafeTensors::SafeTensors(const std::string& path)
    : mapping_(std::make_unique<Mapping>(path)), name_(path) {
    parse(mapping_->bytes, mapping_->size);
}

SafeTensors::SafeTensors(const unsigned char* bytes, size_t size, const std::string& name)
    : name_(name) {
    parse(bytes, size);
}

SafeTensors::~SafeTensors() = default;

void SafeTensors::parse(const unsigned char* bytes, size_t size) {
    if (size < 8) {
        fail_file(name_ + " isn't a .safetensors file: it has " + std::to_string(size) +
                  " bytes, but the length of its header alone takes 8.");
    }
    const uint64_t length = load<uint64_t>(bytes);
    if (length > longest_header) {
        fail_file(name_ + " isn't a .safetensors file: its header would have " +
                  std::to_string(length) + " bytes; the limit is 100,000,000.");
    }
    if (length > size - 8) {
        fail_file(name_ + " is truncated: its header should have " + std::to_string(length) +
                  " bytes, but only " + std::to_string(size - 8) + " follow. Copy it again.");
    }
    const size_t header_size = static_cast<size_t>(length);
    const std::string_view text(reinterpret_cast<const char*>(bytes) + 8, header_size);
    const Json header = parse_json(text, "The header of " + name_, Repeated::refused);
    if (header.kind != Json::object) {
        fail_file(name_ + " isn't a .safetensors file: its header isn't a JSON object.");
    }
    const unsigned char* data = bytes + 8 + header_size;
    const uint64_t data_size = size - 8 - header_size;
    std::vector<Extent> extents;
    for (const auto& [name, entry] : header.members) {
        if (name == "__metadata__") {
            check_metadata(name_, entry);
            continue;
        }
        TensorView tensor{};
        extents.push_back(read_entry(name_, name, entry, data_size, tensor));
        tensor.data = data + extents.back().begin;
        tensors_.emplace(name, std::move(tensor));
    }
    std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
        return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    uint64_t end = 0;
    for (const Extent& extent : extents) {
        if (extent.begin != end) {
            fail_file(name_ + " is damaged: the data of the tensor " + *extent.name +
                      (extent.begin < end ? " overlap another's" : " follow a gap") +
                      ". Copy it again.");
        }
        end = extent.end;
    }
    if (end != data_size) {
        fail_file(name_ + " is damaged: its tensors have " + std::to_string(end) + " bytes, but " +
                  std::to_string(data_size) + " follow the header. Copy it again.");
    }
}

std::vector<float> SafeTensors::floats(const std::string& name,
                                       const std::vector<int64_t>& shape) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
        fail_file(name_ + " has no tensor " + name + ", which the model's config.json requires.");
    }
    const TensorView& tensor = found->second;
    if (tensor.shape != shape) {
        fail_file(name_ + " has the tensor " + name + " in the shape " + shape_text(tensor.shape) +
                  ", but the model's config.json requires " + shape_text(shape) + ".");
    }
    bool finite = false;
    std::vector<float> values;
    switch (tensor.dtype) {
        case Dtype::f32:
            finite = convert_all<from_f32, 4>(tensor, values);
            break;
        case Dtype::f16:
            finite = convert_all<from_f16, 2>(tensor, values);
            break;
        case Dtype::bf16:
            finite = convert_all<from_bf16, 2>(tensor, values);
            break;
        case Dtype::f64:
            finite = convert_all<from_f64, 8>(tensor, values);
            break;
        default:
            fail_file(name_ + " has the tensor " + name +
                      " in a dtype other than F32, F16, BF16 and F64. Save it in one of these.");
    }
    if (!finite) {
        fail_file(name_ + " has NaN, infinity or a value beyond fp32 in the tensor " + name +
                  ". The training diverged, or the file is damaged.");
    }
    return values;
}

}  // namespace mv2
