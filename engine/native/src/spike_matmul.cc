// Products with sparse spikes: only the weights of neurons that fired are added. engine/ops/spikes.ts.
#include "gemm.h"
#include "registry.h"
#include "scratch.h"

namespace saccade {
namespace {

struct SpikeMatMulCall {
  const float *x, *weight;
  float* y;
  int64_t rows, inputs, outputs;
};

struct SpikeConvolutionCall {
  const float *x, *weight;
  float* y;
  int64_t batch, height, width, inputs, size, outputs, stride, top, left, outHeight, outWidth;
};

}  // namespace
}  // namespace saccade

#define SACCADE_FILE "spike_matmul.inl"
#include "targets.h"

/// countSpikes(x, result): number of values that are not 0 into result[0], not 0 or 1 into result[1].
SACCADE_KERNEL(countSpikes) {
  using namespace saccade;
  const float* x = arguments.floats(0);
  float* result = arguments.floats(1);
  const int64_t n = arguments.length(0);
  constexpr int64_t piece = 65536;
  const int64_t pieces = (n + piece - 1) / piece;
  // Whole numbers below 2²⁴: exact as floats.
  float* counts = scratch(15, 2 * pieces);
  const auto run = SACCADE_CALL(countNonZero);
  parallelFor(pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      run(x + i * piece, std::min(piece, n - i * piece), counts + 2 * i);
    }
  });
  double nonZero = 0, notOne = 0;
  for (int64_t i = 0; i < pieces; i++) {
    nonZero += counts[2 * i];
    notOne += counts[2 * i + 1];
  }
  result[0] = static_cast<float>(nonZero);
  result[1] = static_cast<float>(notOne);
}

/// spikeMatMul(x, weight, y, rows, inputs, outputs, binary): x holds 0 and 1 only where binary.
SACCADE_KERNEL(spikeMatMul) {
  using namespace saccade;
  SpikeMatMulCall call{};
  call.x = arguments.floats(0);
  call.weight = arguments.floats(1);
  call.y = arguments.floats(2);
  call.rows = arguments.integer(3);
  call.inputs = arguments.integer(4);
  call.outputs = arguments.integer(5);
  const auto run = arguments.flag(6) ? SACCADE_CALL(spikeMatMulRows<true>)
                                     : SACCADE_CALL(spikeMatMulRows<false>);
  const int64_t grain = 1 + 100000 / (1 + call.inputs * call.outputs / 8);
  parallelFor(call.rows, grain, [&](int64_t begin, int64_t end) { run(call, begin, end); });
}

/// spikeConv2d(x, weight, y, batch, height, width, inputs, size, outputs, stride, top, left, outHeight,
/// outWidth, binary): `top` and `left` are the margins of zeros.
SACCADE_KERNEL(spikeConv2d) {
  using namespace saccade;
  SpikeConvolutionCall call{};
  call.x = arguments.floats(0);
  call.weight = arguments.floats(1);
  call.y = arguments.floats(2);
  call.batch = arguments.integer(3);
  call.height = arguments.integer(4);
  call.width = arguments.integer(5);
  call.inputs = arguments.integer(6);
  call.size = arguments.integer(7);
  call.outputs = arguments.integer(8);
  call.stride = arguments.integer(9);
  call.top = arguments.integer(10);
  call.left = arguments.integer(11);
  call.outHeight = arguments.integer(12);
  call.outWidth = arguments.integer(13);
  const auto run = arguments.flag(14) ? SACCADE_CALL(spikeConvolutionRows<true>)
                                      : SACCADE_CALL(spikeConvolutionRows<false>);
  parallelFor(call.batch * call.outHeight, 1,
              [&](int64_t begin, int64_t end) { run(call, begin, end); });
}
