// x · sigmoid(x)
#include "registry.h"

#define SACCADE_FILE "silu.inl"
#include "targets.h"

/// siluForward(x, y)
SACCADE_KERNEL(siluForward) {
  const float* x = arguments.floats(0);
  float* y = arguments.floats(1);
  const auto run = SACCADE_CALL(silu);
  saccade::parallelFor(arguments.length(0), 16384, [=](int64_t begin, int64_t end) {
    run(y + begin, x + begin, end - begin);
  });
}
