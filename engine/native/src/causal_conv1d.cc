// Depthwise causal convolution: engine/ops/causalConv1d.ts says what is computed.
#include "registry.h"
#include "scratch.h"

namespace saccade {
namespace {

/// Steps that are one piece of work, and the unit in which weight gradients are added up.
constexpr int64_t convolutionSteps = 64;

struct ConvolutionCall {
  const float *x, *weight, *bias, *initial;
  float *y, *last;
  const float *dY, *dLast;
  float *dX, *dWeight, *dBias, *dInitial;
  int64_t batch, length, channels, taps;
  bool reverse;
  /// `[batch · pieces, taps + 1, channels]`: weight gradients, then the bias's.
  float* partial;

  int64_t pieces() const { return (length + convolutionSteps - 1) / convolutionSteps; }
  /// Offset of a step's values in x; steps before the sequence lie in the state.
  int64_t at(int64_t b, int64_t step) const {
    return (b * length + (reverse ? length - 1 - step : step)) * channels;
  }
  int64_t stateAt(int64_t b, int64_t step) const {
    return (b * (taps - 1) + taps - 1 + step) * channels;
  }
  const float* source(int64_t b, int64_t step) const {
    return step < 0 ? initial + stateAt(b, step) : x + at(b, step);
  }
  float* gradient(int64_t b, int64_t step) const {
    return step < 0 ? dInitial + stateAt(b, step) : dX + at(b, step);
  }
};

void readSizes(ConvolutionCall& call, const Arguments& arguments, size_t at) {
  call.batch = arguments.integer(at);
  call.length = arguments.integer(at + 1);
  call.channels = arguments.integer(at + 2);
  call.taps = arguments.integer(at + 3);
  call.reverse = arguments.flag(at + 4);
}

int64_t grainOf(const ConvolutionCall& call) {
  const int64_t work = convolutionSteps * call.channels;
  return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, work));
}

}  // namespace
}  // namespace saccade

#define SACCADE_FILE "causal_conv1d.inl"
#include "targets.h"

/// causalConv1dForward(x, weight, bias, initial, y, last, batch, length, channels, taps, reverse)
SACCADE_KERNEL(causalConv1dForward) {
  using namespace saccade;
  ConvolutionCall call{};
  call.x = arguments.floats(0);
  call.weight = arguments.floats(1);
  call.bias = arguments.floats(2);
  call.initial = arguments.floats(3);
  call.y = arguments.floats(4);
  call.last = arguments.floats(5);
  readSizes(call, arguments, 6);
  const auto run = SACCADE_CALL(convolutionForward);
  parallelFor(call.batch * call.pieces(), grainOf(call),
              [&](int64_t begin, int64_t end) { run(call, begin, end); });
  const int64_t tail = call.taps - 1;
  for (int64_t b = 0; b < call.batch; b++) {
    for (int64_t k = 0; k < tail; k++) {
      memcpy(call.last + (b * tail + k) * call.channels,
             call.source(b, call.length - tail + k), call.channels * sizeof(float));
    }
  }
}

/// causalConv1dBackward(x, weight, initial, dY, dLast, dX, dWeight, dBias, dInitial, batch, length,
/// channels, taps, reverse)
SACCADE_KERNEL(causalConv1dBackward) {
  using namespace saccade;
  ConvolutionCall call{};
  call.x = arguments.floats(0);
  call.weight = arguments.floats(1);
  call.initial = arguments.floats(2);
  call.dY = arguments.floats(3);
  call.dLast = arguments.floats(4);
  call.dX = arguments.floats(5);
  call.dWeight = arguments.floats(6);
  call.dBias = arguments.floats(7);
  call.dInitial = arguments.floats(8);
  readSizes(call, arguments, 9);
  const int64_t parts = call.batch * call.pieces();
  const int64_t size = (call.taps + 1) * call.channels;
  call.partial = scratch(15, parts * size);
  const auto run = SACCADE_CALL(convolutionBackward);
  parallelFor(parts, grainOf(call), [&](int64_t begin, int64_t end) { run(call, begin, end); });
  const int64_t weights = call.taps * call.channels;
  parallelFor(size, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      float sum = 0;
      for (int64_t part = 0; part < parts; part++) sum += call.partial[part * size + i];
      if (i < weights) call.dWeight[i] = sum;
      else call.dBias[i - weights] = sum;
    }
  });
}
