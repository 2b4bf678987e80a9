// Batch, layer and root-mean-square normalisation: engine/ops/normalise.ts says what is computed.
#include <vector>

#include "registry.h"
#include "scratch.h"

namespace saccade {
namespace {

/// Rows whose sums are added up as one piece; the pieces then follow in order.
constexpr int64_t normRows = 64;

struct NormCall {
  const float *x, *scale, *shift, *mean, *variance, *dY;
  float *y, *dX;
  int64_t rows, features;
  float epsilon;
  /// Two numbers by piece and feature, `[pieces, 2, features]`.
  float* partial;
  /// Factors by feature, `[3, features]`.
  const float* factors;

  int64_t pieces() const { return (rows + normRows - 1) / normRows; }
};

int64_t pieceGrain(const NormCall& call) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, normRows * call.features));
}

int64_t rowGrain(const NormCall& call) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, call.features));
}

}  // namespace
}  // namespace saccade

#define SACCADE_FILE "normalise.inl"
#include "targets.h"

/// batchNormForward(x, scale, shift, y, mean, variance, rows, features, epsilon)
SACCADE_KERNEL(batchNormForward) {
  using namespace saccade;
  NormCall call{};
  call.x = arguments.floats(0);
  call.scale = arguments.floats(1);
  call.shift = arguments.floats(2);
  call.y = arguments.floats(3);
  float* mean = arguments.floats(4);
  float* variance = arguments.floats(5);
  call.rows = arguments.integer(6);
  call.features = arguments.integer(7);
  const double epsilon = arguments.number(8);
  const int64_t n = call.features;
  call.partial = scratch(15, call.pieces() * 2 * n);
  const auto sums = SACCADE_CALL(batchNormSums);
  parallelFor(call.pieces(), pieceGrain(call),
              [&](int64_t begin, int64_t end) { sums(call, begin, end); });

  // Pieces are joined in double (Chan et al. 1979), so that neither their number nor a large mean harms.
  float* factors = scratch(14, 2 * n);
  parallelFor(n, 512, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; f++) {
      double count = 0, centre = 0, squares = 0;
      for (int64_t piece = 0; piece < call.pieces(); piece++) {
        const double more = std::min(normRows, call.rows - piece * normRows);
        const double difference = call.partial[2 * piece * n + f] - centre;
        const double total = count + more;
        squares += call.partial[(2 * piece + 1) * n + f] + difference * difference * count * more / total;
        centre += difference * more / total;
        count = total;
      }
      mean[f] = static_cast<float>(centre);
      variance[f] = static_cast<float>(squares / count);
      const double factor = call.scale[f] / std::sqrt(squares / count + epsilon);
      factors[f] = static_cast<float>(factor);
      factors[n + f] = mean[f];
    }
  });
  call.factors = factors;
  const auto apply = SACCADE_CALL(batchNormApply);
  parallelFor(call.rows, rowGrain(call),
              [&](int64_t begin, int64_t end) { apply(call, begin, end); });
}

/// batchNormFixed(x, scale, shift, mean, variance, y, rows, features, epsilon): with given statistics.
SACCADE_KERNEL(batchNormFixed) {
  using namespace saccade;
  NormCall call{};
  call.x = arguments.floats(0);
  call.scale = arguments.floats(1);
  call.shift = arguments.floats(2);
  call.mean = arguments.floats(3);
  call.variance = arguments.floats(4);
  call.y = arguments.floats(5);
  call.rows = arguments.integer(6);
  call.features = arguments.integer(7);
  const double epsilon = arguments.number(8);
  const int64_t n = call.features;
  float* factors = scratch(14, 2 * n);
  for (int64_t f = 0; f < n; f++) {
    factors[f] = static_cast<float>(call.scale[f] / std::sqrt(call.variance[f] + epsilon));
    factors[n + f] = call.mean[f];
  }
  call.factors = factors;
  const auto apply = SACCADE_CALL(batchNormApply);
  parallelFor(call.rows, rowGrain(call),
              [&](int64_t begin, int64_t end) { apply(call, begin, end); });
}

/// batchNormBackward(x, scale, mean, variance, dY, dX, dScale, dShift, rows, features, epsilon)
SACCADE_KERNEL(batchNormBackward) {
  using namespace saccade;
  NormCall call{};
  call.x = arguments.floats(0);
  call.scale = arguments.floats(1);
  call.mean = arguments.floats(2);
  call.variance = arguments.floats(3);
  call.dY = arguments.floats(4);
  call.dX = arguments.floats(5);
  float* dScale = arguments.floats(6);
  float* dShift = arguments.floats(7);
  call.rows = arguments.integer(8);
  call.features = arguments.integer(9);
  const double epsilon = arguments.number(10);
  const int64_t n = call.features;
  call.partial = scratch(15, call.pieces() * 2 * n);
  const auto sums = SACCADE_CALL(batchNormGradientSums);
  parallelFor(call.pieces(), pieceGrain(call),
              [&](int64_t begin, int64_t end) { sums(call, begin, end); });

  // dX = a dY - b (X - mean) - c
  float* factors = scratch(14, 3 * n);
  parallelFor(n, 512, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; f++) {
      double shift = 0, overlap = 0;
      for (int64_t piece = 0; piece < call.pieces(); piece++) {
        shift += call.partial[2 * piece * n + f];
        overlap += call.partial[(2 * piece + 1) * n + f];
      }
      const double inverse = 1 / std::sqrt(call.variance[f] + epsilon);
      const double scale = overlap * inverse;
      dShift[f] = static_cast<float>(shift);
      dScale[f] = static_cast<float>(scale);
      const double a = call.scale[f] * inverse;
      factors[f] = static_cast<float>(a);
      factors[n + f] = static_cast<float>(a * inverse * scale / call.rows);
      factors[2 * n + f] = static_cast<float>(a * shift / call.rows);
    }
  });
  call.factors = factors;
  const auto apply = SACCADE_CALL(batchNormGradient);
  parallelFor(call.rows, rowGrain(call),
              [&](int64_t begin, int64_t end) { apply(call, begin, end); });
}

namespace saccade {
namespace {

typedef void (*NormRows)(const NormCall&, int64_t, int64_t);

/// (x, scale, [shift,] y, rows, features, epsilon)
void rowNormForward(const Arguments& arguments, bool centred, NormRows run) {
  NormCall call{};
  size_t at = 0;
  call.x = arguments.floats(at++);
  call.scale = arguments.floats(at++);
  if (centred) call.shift = arguments.floats(at++);
  call.y = arguments.floats(at++);
  call.rows = arguments.integer(at++);
  call.features = arguments.integer(at++);
  call.epsilon = static_cast<float>(arguments.number(at));
  parallelFor(call.rows, rowGrain(call), [&](int64_t begin, int64_t end) { run(call, begin, end); });
}

/// (x, scale, dY, dX, dScale, [dShift,] rows, features, epsilon)
void rowNormBackward(const Arguments& arguments, bool centred, NormRows run) {
  NormCall call{};
  size_t at = 0;
  call.x = arguments.floats(at++);
  call.scale = arguments.floats(at++);
  call.dY = arguments.floats(at++);
  call.dX = arguments.floats(at++);
  float* dScale = arguments.floats(at++);
  float* dShift = centred ? arguments.floats(at++) : nullptr;
  call.rows = arguments.integer(at++);
  call.features = arguments.integer(at++);
  call.epsilon = static_cast<float>(arguments.number(at));
  const int64_t n = call.features, sums = centred ? 2 * n : n;
  call.partial = scratch(15, call.pieces() * sums);
  parallelFor(call.pieces(), pieceGrain(call),
              [&](int64_t begin, int64_t end) { run(call, begin, end); });
  for (int64_t i = 0; i < sums; i++) {
    double sum = 0;
    for (int64_t piece = 0; piece < call.pieces(); piece++) sum += call.partial[piece * sums + i];
    (i < n ? dScale[i] : dShift[i - n]) = static_cast<float>(sum);
  }
}

}  // namespace
}  // namespace saccade

SACCADE_KERNEL(rmsNormForward) {
  saccade::rowNormForward(arguments, false, SACCADE_CALL(rowNormForward<false>));
}
SACCADE_KERNEL(rmsNormBackward) {
  saccade::rowNormBackward(arguments, false, SACCADE_CALL(rowNormBackward<false>));
}
SACCADE_KERNEL(layerNormForward) {
  saccade::rowNormForward(arguments, true, SACCADE_CALL(rowNormForward<true>));
}
SACCADE_KERNEL(layerNormBackward) {
  saccade::rowNormBackward(arguments, true, SACCADE_CALL(rowNormBackward<true>));
}
