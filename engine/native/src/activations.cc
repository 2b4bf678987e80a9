// SiLU, alone and as a gate, and GELU, with their gradients: engine/ops/silu.ts, engine/ops/gelu.ts.
#include "registry.h"

#define SACCADE_FILE "activations.inl"
#include "targets.h"

namespace {

/// run(begin, end) over all values of the call's arrays, which are of one length.
template <class F>
void overValues(const saccade::Arguments& arguments, F run) {
  saccade::parallelFor(arguments.length(0), 8192, run);
}

/// (x, y)
void forward(const saccade::Arguments& arguments, void (*run)(float*, const float*, int64_t)) {
  const float* x = arguments.floats(0);
  float* y = arguments.floats(1);
  overValues(arguments,
             [=](int64_t begin, int64_t end) { run(y + begin, x + begin, end - begin); });
}

/// (a, b, y): the gradient of one with its input and its output's gradient, or a gate.
void forwardOfTwo(const saccade::Arguments& arguments,
                  void (*run)(float*, const float*, const float*, int64_t)) {
  const float* a = arguments.floats(0);
  const float* b = arguments.floats(1);
  float* y = arguments.floats(2);
  overValues(arguments, [=](int64_t begin, int64_t end) {
    run(y + begin, a + begin, b + begin, end - begin);
  });
}

}  // namespace

/// siluForward(x, y)
SACCADE_KERNEL(siluForward) { forward(arguments, SACCADE_CALL(silu)); }
/// siluBackward(x, dY, dX)
SACCADE_KERNEL(siluBackward) { forwardOfTwo(arguments, SACCADE_CALL(siluGradient)); }
/// geluForward(x, y)
SACCADE_KERNEL(geluForward) { forward(arguments, SACCADE_CALL(gelu)); }
/// geluBackward(x, dY, dX)
SACCADE_KERNEL(geluBackward) { forwardOfTwo(arguments, SACCADE_CALL(geluGradient)); }
/// siluGateForward(x, gate, y)
SACCADE_KERNEL(siluGateForward) { forwardOfTwo(arguments, SACCADE_CALL(siluGate)); }

/// siluGateBackward(x, gate, dY, dX, dGate)
SACCADE_KERNEL(siluGateBackward) {
  const float* x = arguments.floats(0);
  const float* gate = arguments.floats(1);
  const float* dY = arguments.floats(2);
  float* dX = arguments.floats(3);
  float* dGate = arguments.floats(4);
  const auto run = SACCADE_CALL(siluGateGradient);
  overValues(arguments, [=](int64_t begin, int64_t end) {
    run(dX + begin, dGate + begin, x + begin, gate + begin, dY + begin, end - begin);
  });
}
