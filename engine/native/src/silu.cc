// x · sigmoid(x), alone and as a gate, and their gradients: engine/ops/silu.ts.
#include "registry.h"

#define SACCADE_FILE "silu.inl"
#include "targets.h"

namespace {
constexpr int64_t siluGrain = 8192;
}

/// siluForward(x, y)
SACCADE_KERNEL(siluForward) {
  const float* x = arguments.floats(0);
  float* y = arguments.floats(1);
  const auto run = SACCADE_CALL(silu);
  saccade::parallelFor(arguments.length(0), siluGrain, [=](int64_t begin, int64_t end) {
    run(y + begin, x + begin, end - begin);
  });
}

/// siluBackward(x, dY, dX)
SACCADE_KERNEL(siluBackward) {
  const float* x = arguments.floats(0);
  const float* dY = arguments.floats(1);
  float* dX = arguments.floats(2);
  const auto run = SACCADE_CALL(siluGradient);
  saccade::parallelFor(arguments.length(0), siluGrain, [=](int64_t begin, int64_t end) {
    run(dX + begin, x + begin, dY + begin, end - begin);
  });
}

/// siluGateForward(x, gate, y)
SACCADE_KERNEL(siluGateForward) {
  const float* x = arguments.floats(0);
  const float* gate = arguments.floats(1);
  float* y = arguments.floats(2);
  const auto run = SACCADE_CALL(siluGate);
  saccade::parallelFor(arguments.length(0), siluGrain, [=](int64_t begin, int64_t end) {
    run(y + begin, x + begin, gate + begin, end - begin);
  });
}

/// siluGateBackward(x, gate, dY, dX, dGate)
SACCADE_KERNEL(siluGateBackward) {
  const float* x = arguments.floats(0);
  const float* gate = arguments.floats(1);
  const float* dY = arguments.floats(2);
  float* dX = arguments.floats(3);
  float* dGate = arguments.floats(4);
  const auto run = SACCADE_CALL(siluGateGradient);
  saccade::parallelFor(arguments.length(0), siluGrain, [=](int64_t begin, int64_t end) {
    run(dX + begin, dGate + begin, x + begin, gate + begin, dY + begin, end - begin);
  });
}
