#include "instructions.h"

#include "error.h"

#if defined(__x86_64__) || defined(_M_X64)
#define MV2_X86 1
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif
#endif
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace mv2 {

// One for each isa_*.cc; CMake tells which are in this build.
Kernels portable_kernels();
Kernels avx2_kernels();
Kernels avx512_kernels();
Kernels avx512_bf16_kernels();
Kernels avx512_int8_kernels();
Kernels avx_vnni_int8_kernels();
Kernels avx_vnni_emulated_kernels();
Kernels avx2_int8_kernels();
Kernels amx_bf16_kernels();
Kernels amx_emulated_kernels();
Kernels neon_kernels();
Kernels neon_bf16_kernels();
Kernels neon_int8_kernels();

namespace {

#if defined(MV2_X86)
struct Registers {
    uint32_t a, b, c, d;
};

Registers cpuid(uint32_t leaf, uint32_t part) {
    Registers r{};
#if defined(_MSC_VER)
    int out[4];
    __cpuid(out, 0);
    if (leaf > static_cast<uint32_t>(out[0])) return r;
    __cpuidex(out, static_cast<int>(leaf), static_cast<int>(part));
    r = {static_cast<uint32_t>(out[0]), static_cast<uint32_t>(out[1]),
         static_cast<uint32_t>(out[2]), static_cast<uint32_t>(out[3])};
#else
    __get_cpuid_count(leaf, part, &r.a, &r.b, &r.c, &r.d);
#endif
    return r;
}

// The registers that the operating system saves for each thread.
uint64_t kept_registers() {
    if (!(cpuid(1, 0).c >> 27 & 1)) return 0;
#if defined(_MSC_VER)
    return _xgetbv(0);
#else
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return static_cast<uint64_t>(high) << 32 | low;
#endif
}

bool bits(uint32_t word, std::initializer_list<int> needed) {
    for (int bit : needed)
        if (!(word >> bit & 1)) return false;
    return true;
}

bool has_avx2() {
    return (kept_registers() & 0x6) == 0x6 && bits(cpuid(1, 0).c, {12, 28}) &&
           bits(cpuid(7, 0).b, {5});
}

bool has_avx512() {  // F, DQ, BW, VL
    return has_avx2() && (kept_registers() & 0xe6) == 0xe6 && bits(cpuid(7, 0).b, {16, 17, 30, 31});
}

[[maybe_unused]] bool has_avx512_int8() { return has_avx512() && bits(cpuid(7, 0).c, {11}); }

[[maybe_unused]] bool has_avx_vnni() { return has_avx2() && bits(cpuid(7, 1).a, {4}); }

[[maybe_unused]] bool has_avx512_bf16() { return has_avx512() && bits(cpuid(7, 1).a, {5}); }

[[maybe_unused]] bool has_amx_bf16() {
    if (!has_avx512_bf16() || !bits(cpuid(7, 0).d, {22, 24}) ||
        (kept_registers() & 0x60000) != 0x60000)
        return false;
#if defined(__linux__)
    // Linux grants the tiles to processes that ask.
    constexpr long ask = 0x1023, tiles = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, ask, tiles) == 0;
#else
    return false;  // other systems have other ways of asking
#endif
}
#endif

#if defined(__aarch64__) || defined(_M_ARM64)
#if !defined(__linux__)
constexpr int AT_HWCAP = 0, AT_HWCAP2 = 0;  // unused, but the calls below name them
#endif

// Whether Linux's word of capabilities has the bit, or macOS reports the feature of that name.
// Windows isn't asked.
bool reports([[maybe_unused]] int word, [[maybe_unused]] int bit,
             [[maybe_unused]] const char* name) {
#if defined(__linux__)
    return getauxval(word) >> bit & 1;
#elif defined(__APPLE__)
    int found = 0;
    size_t size = sizeof found;
    return sysctlbyname(name, &found, &size, nullptr, 0) == 0 && found;
#else
    return false;
#endif
}

[[maybe_unused]] bool has_neon_bf16() {
    constexpr int bf16 = 14;
    return reports(AT_HWCAP2, bf16, "hw.optional.arm.FEAT_BF16");
}

[[maybe_unused]] bool has_neon_int8() {
    constexpr int dot_product = 20;
    return reports(AT_HWCAP, dot_product, "hw.optional.arm.FEAT_DotProd");
}
#endif

[[maybe_unused]] bool always() { return true; }

struct Choice {
    const char* name;
    int precision;
    bool (*runs)();
    Kernels (*make)();
};

// Best first.
const Choice choices[] = {
#if defined(MV2_HAS_AVX512)
    {"avx512", MV2_FP32, has_avx512, avx512_kernels},
#endif
#if defined(MV2_HAS_AVX2)
    {"avx2", MV2_FP32, has_avx2, avx2_kernels},
#endif
#if defined(MV2_HAS_NEON)
    {"neon", MV2_FP32, always, neon_kernels},
#endif
    {"portable", MV2_FP32, always, portable_kernels},
#if defined(MV2_HAS_AMX_BF16)
    {"amx-bf16", MV2_BF16, has_amx_bf16, amx_bf16_kernels},
#endif
#if defined(MV2_HAS_AVX512_BF16)
    {"avx512-bf16", MV2_BF16, has_avx512_bf16, avx512_bf16_kernels},
#endif
#if defined(MV2_HAS_AMX_EMULATED)  // for tests: never the best, as avx512-bf16 runs there too
    {"amx-bf16-emulated", MV2_BF16, has_avx512_bf16, amx_emulated_kernels},
#endif
#if defined(MV2_HAS_AVX512_INT8)
    {"avx512-int8", MV2_INT8, has_avx512_int8, avx512_int8_kernels},
#endif
#if defined(MV2_HAS_AVX_VNNI_INT8)
    {"avx-vnni-int8", MV2_INT8, has_avx_vnni, avx_vnni_int8_kernels},
#endif
#if defined(MV2_HAS_AVX_VNNI_EMULATED)  // for tests: never the best, as avx512-int8 runs there too
    {"avx-vnni-int8-emulated", MV2_INT8, has_avx512_int8, avx_vnni_emulated_kernels},
#endif
#if defined(MV2_HAS_AVX2_INT8)
    {"avx2-int8", MV2_INT8, has_avx2, avx2_int8_kernels},
#endif
#if defined(MV2_HAS_NEON_INT8)
    {"neon-int8", MV2_INT8, has_neon_int8, neon_int8_kernels},
#endif
#if defined(MV2_HAS_NEON_BF16)
    {"neon-bf16", MV2_BF16, has_neon_bf16, neon_bf16_kernels},
#endif
};

}  // namespace

const char* precision_name(int precision) {
    return precision == MV2_FP32 ? "fp32" : precision == MV2_BF16 ? "bf16" : "int8";
}

std::vector<std::string> instructions(int precision) {
    std::vector<std::string> names;
    for (const Choice& choice : choices)
        if (choice.precision == precision && choice.runs()) names.push_back(choice.name);
    return names;
}

Kernels find_kernels(int precision, const std::string& name) {
    if (precision < MV2_FP32 || precision > MV2_INT8)
        fail_input("precision must be 0 (fp32), 1 (bf16) or 2 (int8), got " +
                   std::to_string(precision) + ".");
    std::string known;
    for (const Choice& choice : choices) {
        if (choice.precision != precision || !choice.runs()) continue;
        if (name.empty() || name == choice.name) return choice.make();
        known += (known.empty() ? "" : ", ") + std::string(choice.name);
    }
    const std::string named = precision_name(precision);
    if (known.empty())
        fail_input("this processor has no instructions for " + named + "; fp32 runs everywhere.");
    fail_input("unknown instruction set " + name + "; for " + named + " this processor has " +
               known + ".");
}

}  // namespace mv2
