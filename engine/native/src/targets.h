// Compiles one file of kernels for every instruction set. Use, at the end of `thing.cc`:
//
//     #define SACCADE_FILE "thing.inl"
//     #include "targets.h"
//
// `thing.inl` is included once per set, inside namespace saccade::SIMD (avx512, avx2, portable), with
// SIMD_WIDTH floats to a vector. `SACCADE_CALL(f)(…)` then calls the best version of `f`.
// Standard headers must be included before, outside: their inline functions stay portable.
#ifndef SACCADE_TARGETS
#define SACCADE_TARGETS

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "cpu.h"
#include "parallel.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
#define SACCADE_X86 1
#define SACCADE_CALL(f)                                  \
  (saccade::isa() == saccade::Isa::avx512  ? saccade::avx512::f \
   : saccade::isa() == saccade::Isa::avx2 ? saccade::avx2::f   \
                                          : saccade::portable::f)
#else
#define SACCADE_CALL(f) (saccade::portable::f)
#endif

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#define SACCADE_INLINE inline __attribute__((always_inline))

#endif  // SACCADE_TARGETS

#if SACCADE_X86

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,popcnt,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,popcnt,bmi,bmi2,prefer-vector-width=512")
#endif
#define SIMD avx512
#define SIMD_AVX512 1
#define SIMD_WIDTH 16
namespace saccade { namespace avx512 {
#include "simd.h"
#include SACCADE_FILE
} }
#undef SIMD
#undef SIMD_AVX512
#undef SIMD_WIDTH
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma,popcnt,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,popcnt,bmi,bmi2")
#endif
#define SIMD avx2
#define SIMD_AVX2 1
#define SIMD_WIDTH 8
namespace saccade { namespace avx2 {
#include "simd.h"
#include SACCADE_FILE
} }
#undef SIMD
#undef SIMD_AVX2
#undef SIMD_WIDTH
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // SACCADE_X86

#define SIMD portable
#define SIMD_WIDTH 4
namespace saccade { namespace portable {
#include "simd.h"
#include SACCADE_FILE
} }
#undef SIMD
#undef SIMD_WIDTH
#undef SACCADE_FILE
