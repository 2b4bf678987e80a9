// Depthwise 2-D convolution of frames, zero padded to the same size: engine/ops/depthwiseConv2d.ts.
#include "registry.h"
#include "scratch.h"

namespace saccade {
namespace {

struct DepthwiseCall {
  const float *x, *weight, *bias, *dY;
  float *y, *dX;
  int64_t frames, height, columns, channels, size;
  /// `[pieces, size² + 1, channels]`: weight gradients, then the bias's.
  float* partial;
  int64_t pieces;

  int64_t rows() const { return frames * height; }
  int64_t at(int64_t frame, int64_t row, int64_t column) const {
    return ((frame * height + row) * columns + column) * channels;
  }
};

void readSizes(DepthwiseCall& call, const Arguments& arguments, size_t at) {
  call.frames = arguments.integer(at);
  call.height = arguments.integer(at + 1);
  call.columns = arguments.integer(at + 2);
  call.channels = arguments.integer(at + 3);
  call.size = arguments.integer(at + 4);
}

int64_t grainOf(const DepthwiseCall& call) {
  return std::max<int64_t>(1, 8192 / std::max<int64_t>(1, call.columns * call.channels));
}

}  // namespace
}  // namespace saccade

#define SACCADE_FILE "depthwise_same.inl"
#include "targets.h"

/// depthwiseSameForward(x, weight, bias, y, frames, height, columns, channels, size)
SACCADE_KERNEL(depthwiseSameForward) {
  using namespace saccade;
  DepthwiseCall call{};
  call.x = arguments.floats(0);
  call.weight = arguments.floats(1);
  call.bias = arguments.floats(2);
  call.y = arguments.floats(3);
  readSizes(call, arguments, 4);
  const auto run = SACCADE_CALL(depthwiseSameForward);
  parallelFor(call.rows(), grainOf(call),
              [&](int64_t begin, int64_t end) { run(call, begin, end); });
}

/// depthwiseSameBackward(x, weight, dY, dX, dWeight, dBias, frames, height, columns, channels, size)
SACCADE_KERNEL(depthwiseSameBackward) {
  using namespace saccade;
  DepthwiseCall call{};
  call.x = arguments.floats(0);
  call.weight = arguments.floats(1);
  call.dY = arguments.floats(2);
  call.dX = arguments.floats(3);
  float* dWeight = arguments.floats(4);
  float* dBias = arguments.floats(5);
  readSizes(call, arguments, 6);
  // Pieces whose bounds depend on the shape alone.
  call.pieces = std::min<int64_t>(64, call.rows());
  const int64_t weights = call.size * call.size * call.channels;
  const int64_t size = weights + call.channels;
  call.partial = scratch(15, call.pieces * size);
  const auto run = SACCADE_CALL(depthwiseSameBackward);
  parallelFor(call.pieces, std::max<int64_t>(1, grainOf(call) * call.pieces / call.rows()),
              [&](int64_t begin, int64_t end) { run(call, begin, end); });
  parallelFor(size, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      float sum = 0;
      for (int64_t piece = 0; piece < call.pieces; piece++) sum += call.partial[piece * size + i];
      if (i < weights) dWeight[i] = sum;
      else dBias[i - weights] = sum;
    }
  });
}
