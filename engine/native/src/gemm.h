// Matrix product C = A B, packed and blocked (Goto & van de Geijn 2008).
#pragma once

#include <cstdint>

namespace saccade {

/// Where a factor comes from. `pack` copies `count` of its lines (rows of A, columns of B) from `first`
/// on, elements `k0` … `k0 + kc - 1` of each, to `to[(k - k0) * tile + line]`; lines `count` … `tile - 1`
/// get zeros.
struct Factor {
  void (*pack)(const Factor& factor, int64_t first, int64_t count, int64_t k0, int64_t kc,
               int64_t tile, float* to);
  const float* data;
  /// Distance between lines and between elements of a line (plain matrices).
  int64_t lineStride, elementStride;
  /// What another `pack` needs.
  const void* context;
};

/// Terms of a sum that are added up on their own, before they are added to those before.
constexpr int64_t gemmDepth = 512;

/// A matrix in memory; the strides say whether it is transposed.
Factor matrixFactor(const float* data, int64_t lineStride, int64_t elementStride);

/// C[m, n] (+)= A[m, k] B[k, n]; rows of C are `ldc` apart. Sums run over k in order: the result does not
/// depend on the number of threads.
void gemm(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, float* c, int64_t ldc,
          bool add);

}  // namespace saccade
