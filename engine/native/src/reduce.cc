// Reductions, softmax and the affine map of batch normalisation.
#include <vector>

#include "registry.h"
#include "thread_memory.h"

#define SACCADE_FILE "reduce.inl"
#include "targets.h"

namespace saccade {
namespace {

typedef float (*Row)(const float*, int64_t);
typedef void (*Rows)(float*, const float*, int64_t, int64_t, int64_t);

/// Values that one partial result covers. Fixed, so that sums do not depend on the threads; short, so
/// that rounding stays small.
constexpr int64_t pieceLength = 8192;
constexpr int64_t pieceRows = 128;

/// reduce(x, y, outer, reduced, inner, scale): y[outer, inner], times scale.
void reduce(const Arguments& arguments, Row row, Rows rows) {
  static thread_local ThreadMemory memory;
  const float* x = arguments.floats(0);
  float* y = arguments.floats(1);
  const int64_t outer = arguments.integer(2), reduced = arguments.integer(3),
                inner = arguments.integer(4);
  const float scale = static_cast<float>(arguments.number(5));
  if (inner == 1) {
    const int64_t pieces = std::max<int64_t>(1, (reduced + pieceLength - 1) / pieceLength);
    if (pieces == 1) {
      parallelFor(outer, 16384 / (reduced + 8) + 1, [=](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; o++) y[o] = scale * row(x + o * reduced, reduced);
      });
      return;
    }
    float* parts = memory.floats(outer * pieces);
    parallelFor(outer * pieces, 2, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        const int64_t first = i % pieces * pieceLength;
        parts[i] = row(x + i / pieces * reduced + first, std::min(pieceLength, reduced - first));
      }
    });
    for (int64_t o = 0; o < outer; o++) y[o] = scale * row(parts + o * pieces, pieces);
    return;
  }
  const int64_t pieces = std::max<int64_t>(1, (reduced + pieceRows - 1) / pieceRows);
  const int64_t work = std::min(reduced, pieceRows) * inner;
  float* parts = pieces == 1 ? y : memory.floats(outer * pieces * inner);
  parallelFor(outer * pieces, 32768 / (work + 8) + 1, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t first = i % pieces * pieceRows;
      rows(parts + i * inner, x + (i / pieces * reduced + first) * inner,
           std::min(pieceRows, reduced - first), inner, inner);
    }
  });
  if (pieces > 1) {
    for (int64_t o = 0; o < outer; o++) {
      rows(y + o * inner, parts + o * pieces * inner, pieces, inner, inner);
    }
  }
  if (scale != 1) {
    for (int64_t i = 0; i < outer * inner; i++) y[i] *= scale;
  }
}

}  // namespace
}  // namespace saccade

SACCADE_KERNEL(Sum) { saccade::reduce(arguments, SACCADE_CALL(rowSum), SACCADE_CALL(rowsSum)); }
SACCADE_KERNEL(Prod) { saccade::reduce(arguments, SACCADE_CALL(rowProd), SACCADE_CALL(rowsProd)); }
SACCADE_KERNEL(Max) { saccade::reduce(arguments, SACCADE_CALL(rowMax), SACCADE_CALL(rowsMax)); }
SACCADE_KERNEL(Min) { saccade::reduce(arguments, SACCADE_CALL(rowMin), SACCADE_CALL(rowsMin)); }

/// softmax(x, y, rows, n)
SACCADE_KERNEL(softmax) {
  const float* x = arguments.floats(0);
  float* y = arguments.floats(1);
  const int64_t n = arguments.integer(3);
  const auto run = SACCADE_CALL(softmaxRows);
  saccade::parallelFor(arguments.integer(2), 4096 / (n + 8) + 1, [=](int64_t begin, int64_t end) {
    run(y + begin * n, x + begin * n, end - begin, n);
  });
}

/// batchNorm(x, mean, variance, scale, shift, y, features, epsilon)
SACCADE_KERNEL(batchNorm) {
  static thread_local saccade::ThreadMemory memory;
  const float* x = arguments.floats(0);
  const float* mean = arguments.floats(1);
  const float* variance = arguments.floats(2);
  const float* scale = arguments.floats(3);
  const float* shift = arguments.floats(4);
  float* y = arguments.floats(5);
  const int64_t n = arguments.integer(6);
  const double epsilon = arguments.number(7);
  // Scale and shift may be empty.
  const bool scaled = arguments.length(3) > 0, shifted = arguments.length(4) > 0;
  float* factor = memory.floats(2 * n);
  float* offset = factor + n;
  for (int64_t i = 0; i < n; i++) {
    factor[i] = static_cast<float>((scaled ? scale[i] : 1.0f) / std::sqrt(variance[i] + epsilon));
    offset[i] = (shifted ? shift[i] : 0.0f) - mean[i] * factor[i];
  }
  const auto run = SACCADE_CALL(affineRows);
  saccade::parallelFor(arguments.length(5) / n, 16384 / (n + 8) + 1,
                       [=](int64_t begin, int64_t end) {
                         run(y + begin * n, x + begin * n, factor, offset, end - begin, n);
                       });
}

/// sumOfSquares(x, y): y, a Float64Array of one value; added up in double.
SACCADE_KERNEL(sumOfSquares) {
  const float* x = arguments.floats(0);
  const int64_t n = arguments.length(0);
  constexpr int64_t piece = 4096;
  const int64_t pieces = (n + piece - 1) / piece;
  static thread_local std::vector<double> parts;
  parts.resize(static_cast<size_t>(pieces));
  double* part = parts.data();
  const auto run = SACCADE_CALL(squaresRow);
  saccade::parallelFor(pieces, 4, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) part[i] = run(x + i * piece, std::min(piece, n - i * piece));
  });
  double sum = 0;
  for (int64_t i = 0; i < pieces; i++) sum += part[i];
  arguments.doubles(1)[0] = sum;
}
