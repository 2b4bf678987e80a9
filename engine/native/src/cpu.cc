#include "cpu.h"

#include <atomic>

namespace saccade {

Isa bestIsa() {
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
      return Isa::avx512;
    }
    return Isa::avx2;
  }
#endif
  return Isa::portable;
}

namespace {
std::atomic<Isa>& current() {
  static std::atomic<Isa> value{bestIsa()};
  return value;
}
}  // namespace

Isa isa() { return current().load(std::memory_order_relaxed); }
void setIsa(Isa isa) { current() = isa; }

const char* isaName(Isa isa) {
  switch (isa) {
    case Isa::avx512: return "AVX-512";
    case Isa::avx2: return "AVX2+FMA";
    default:
#if defined(__aarch64__)
      return "NEON";
#elif defined(__x86_64__)
      return "SSE2";
#else
      return "portable";
#endif
  }
}

}  // namespace saccade
