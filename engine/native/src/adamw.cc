// One AdamW update: engine/ops/adamw.ts.
#include "registry.h"

namespace saccade {
namespace {

struct AdamwCall {
  const float *parameter, *gradient, *m, *v;
  float *nextParameter, *nextM, *nextV;
  float learningRate, beta1, beta2, epsilon, weightDecay, gradientScale;
  /// 1 / (1 - betaⁿ) of step n.
  float correction1, correction2;
};

}  // namespace
}  // namespace saccade

#define SACCADE_FILE "adamw.inl"
#include "targets.h"

/// adamw(parameter, gradient, m, v, nextParameter, nextM, nextV, learningRate, beta1, beta2, epsilon,
/// weightDecay, step, gradientScale)
SACCADE_KERNEL(adamw) {
  using namespace saccade;
  AdamwCall call{};
  call.parameter = arguments.floats(0);
  call.gradient = arguments.floats(1);
  call.m = arguments.floats(2);
  call.v = arguments.floats(3);
  call.nextParameter = arguments.floats(4);
  call.nextM = arguments.floats(5);
  call.nextV = arguments.floats(6);
  const double beta1 = arguments.number(8), beta2 = arguments.number(9);
  const double step = arguments.number(12);
  call.learningRate = static_cast<float>(arguments.number(7));
  call.beta1 = static_cast<float>(beta1);
  call.beta2 = static_cast<float>(beta2);
  call.epsilon = static_cast<float>(arguments.number(10));
  call.weightDecay = static_cast<float>(arguments.number(11));
  call.gradientScale = static_cast<float>(arguments.number(13));
  call.correction1 = static_cast<float>(1 / (1 - std::pow(beta1, step)));
  call.correction2 = static_cast<float>(1 / (1 - std::pow(beta2, step)));
  const auto run = SACCADE_CALL(adamwUpdate);
  parallelFor(arguments.length(0), 16384,
              [&](int64_t begin, int64_t end) { run(call, begin, end); });
}
