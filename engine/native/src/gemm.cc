#include "gemm.h"

#include <algorithm>
#include <atomic>

#include "registry.h"
#include "thread_memory.h"

#define SACCADE_FILE "gemm.inl"
#include "targets.h"

namespace saccade {

Factor matrixFactor(const float* data, int64_t lineStride, int64_t elementStride) {
  return {SACCADE_CALL(packMatrix), data, lineStride, elementStride, nullptr};
}

void gemm(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, float* c, int64_t ldc,
          bool add) {
  if (m <= 0 || n <= 0) return;
  SACCADE_CALL(gemmBlocks)(m, n, k, a, b, c, ldc, add);
}

}  // namespace saccade

/// matMul(a, b, c, batches, aBatch, bBatch, m, n, k, transposeA, transposeB, add): `aBatch`, `bBatch` are
/// the distances of one batch's matrix to the next (0: the same for all).
SACCADE_KERNEL(matMul) {
  const float* a = arguments.floats(0);
  const float* b = arguments.floats(1);
  float* c = arguments.floats(2);
  const int64_t batches = arguments.integer(3);
  const int64_t aBatch = arguments.integer(4), bBatch = arguments.integer(5);
  const int64_t m = arguments.integer(6), n = arguments.integer(7), k = arguments.integer(8);
  const bool transposeA = arguments.flag(9), transposeB = arguments.flag(10);
  const bool add = arguments.flag(11);
  const auto one = [=](int64_t i) {
    const auto left = saccade::matrixFactor(a + i * aBatch, transposeA ? 1 : k, transposeA ? m : 1);
    const auto right = saccade::matrixFactor(b + i * bBatch, transposeB ? k : 1, transposeB ? 1 : n);
    saccade::gemm(m, n, k, left, right, c + i * m * n, n, add);
  };
  const double work = static_cast<double>(m) * n * k;
  if (batches > 1 && (batches >= 4 * saccade::threadCount() || work < 2e6)) {
    // Whole matrices per thread; the products inside then run alone.
    saccade::parallelFor(batches, static_cast<int64_t>(200000 / (work + 1)) + 1,
                         [=](int64_t begin, int64_t end) {
                           for (int64_t i = begin; i < end; i++) one(i);
                         });
  } else {
    for (int64_t i = 0; i < batches; i++) one(i);
  }
}
