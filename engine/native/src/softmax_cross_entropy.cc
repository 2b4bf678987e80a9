// Cross-entropy of a softmax and its gradient: engine/ops/softmaxCrossEntropy.ts.
#include "registry.h"

#define SACCADE_FILE "softmax_cross_entropy.inl"
#include "targets.h"

namespace {
int64_t rowGrain(int64_t classes) { return 4096 / (classes + 8) + 1; }
}  // namespace

/// crossEntropyForward(logits, targets, loss, rows, classes)
SACCADE_KERNEL(crossEntropyForward) {
  const float* logits = arguments.floats(0);
  const float* targets = arguments.floats(1);
  float* loss = arguments.floats(2);
  const int64_t n = arguments.integer(4);
  const auto run = SACCADE_CALL(crossEntropyRow);
  saccade::parallelFor(arguments.integer(3), rowGrain(n), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) loss[r] = run(logits + r * n, targets + r * n, n);
  });
}

/// crossEntropyBackward(logits, targets, dLoss, dLogits, dTargets, rows, classes)
SACCADE_KERNEL(crossEntropyBackward) {
  const float* logits = arguments.floats(0);
  const float* targets = arguments.floats(1);
  const float* dLoss = arguments.floats(2);
  float* dLogits = arguments.floats(3);
  float* dTargets = arguments.floats(4);
  const int64_t n = arguments.integer(6);
  const auto run = SACCADE_CALL(crossEntropyGradient);
  saccade::parallelFor(arguments.integer(5), rowGrain(n), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      run(dLogits + r * n, dTargets + r * n, logits + r * n, targets + r * n, dLoss[r], n);
    }
  });
}
