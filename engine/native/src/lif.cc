// Leaky integrate-and-fire neurons: engine/ops/lif.ts says what is computed.
#include <vector>

#include "registry.h"
#include "scratch.h"

namespace saccade {
namespace {

enum class Surrogate { atan, sigmoid, triangle, rectangle };

/// Arrays and settings of a call; what an op does not have is null.
struct LifCall {
  const float *input, *membrane, *tau, *adaptation;
  int64_t tauPeriod;
  float *spikes, *lastMembrane, *lastAdaptation;
  const float *dSpikes, *dLastMembrane, *dLastAdaptation;
  float *dInput, *dMembrane, *dTau, *dAdaptation;
  /// Gradients of 1/tau, summed over time, by clip and neuron.
  float* dRates;

  int64_t batch, steps, features;
  /// 1/tau where tau is a setting.
  float rate;
  float threshold;
  bool hard, decayInput, detachReset;
  Surrogate surrogate;
  float surrogateWidth;
  /// How much the threshold rises by adaptation 1, and the share of it that is kept at each step.
  float strength, keep;

  float gain() const { return decayInput && rate > 0 ? rate : 1; }
  /// Neurons that are computed together: few enough for the nearest cache to hold their states of
  /// all steps.
  int64_t tile() const {
    const int64_t fit = 8192 / std::max<int64_t>(steps, 1) / 16 * 16;
    return std::min<int64_t>(std::max<int64_t>(fit, 16), 512);
  }
  /// Whether an output is larger than what the next kernel could find in caches.
  bool streams() const { return batch * steps * features > (int64_t{1} << 20); }
  int64_t tiles() const { return (features + tile() - 1) / tile(); }
};

/// From (batch, steps, features, settings) at `at`.
LifCall callOf(const Arguments& arguments, size_t at) {
  LifCall call{};
  call.batch = arguments.integer(at);
  call.steps = arguments.integer(at + 1);
  call.features = arguments.integer(at + 2);
  const double* settings = arguments.doubles(at + 3);
  call.rate = static_cast<float>(1 / settings[0]);
  call.threshold = static_cast<float>(settings[1]);
  call.hard = settings[2] != 0;
  call.decayInput = settings[3] != 0;
  call.detachReset = settings[4] != 0;
  call.surrogate = static_cast<Surrogate>(static_cast<int>(settings[5]));
  call.surrogateWidth = static_cast<float>(settings[6]);
  call.strength = static_cast<float>(settings[7]);
  call.keep = static_cast<float>(settings[8]);
  return call;
}

float* optional(const Arguments& arguments, size_t i) {
  return arguments.length(i) == 0 ? nullptr : arguments.floats(i);
}

}  // namespace
}  // namespace saccade

#define SACCADE_FILE "lif.inl"
#include "targets.h"

namespace saccade {
namespace {

int64_t grainOf(const LifCall& call) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, call.steps * call.tile()));
}

}  // namespace
}  // namespace saccade

/// lifForward(input, membrane, tau, adaptation, spikes, lastMembrane, lastAdaptation, batch, steps,
/// features, settings); tau and the adaptations may be empty.
SACCADE_KERNEL(lifForward) {
  using namespace saccade;
  LifCall call = callOf(arguments, 7);
  call.input = arguments.floats(0);
  call.membrane = arguments.floats(1);
  call.tau = optional(arguments, 2);
  call.tauPeriod = arguments.length(2);
  call.adaptation = optional(arguments, 3);
  call.spikes = arguments.floats(4);
  call.lastMembrane = arguments.floats(5);
  call.lastAdaptation = optional(arguments, 6);
  const auto run = SACCADE_CALL(lifForward);
  parallelFor(call.batch * call.tiles(), grainOf(call),
              [&](int64_t begin, int64_t end) { run(call, begin, end); });
}

/// lifBackward(input, membrane, tau, adaptation, dSpikes, dLastMembrane, dLastAdaptation, dInput,
/// dMembrane, dTau, dAdaptation, batch, steps, features, settings)
SACCADE_KERNEL(lifBackward) {
  using namespace saccade;
  LifCall call = callOf(arguments, 11);
  call.input = arguments.floats(0);
  call.membrane = arguments.floats(1);
  call.tau = optional(arguments, 2);
  call.tauPeriod = arguments.length(2);
  call.adaptation = optional(arguments, 3);
  call.dSpikes = arguments.floats(4);
  call.dLastMembrane = arguments.floats(5);
  call.dLastAdaptation = optional(arguments, 6);
  call.dInput = arguments.floats(7);
  call.dMembrane = arguments.floats(8);
  call.dTau = optional(arguments, 9);
  call.dAdaptation = optional(arguments, 10);
  std::vector<float> dRates(call.tau == nullptr ? 0 : call.batch * call.features);
  call.dRates = dRates.data();
  const auto run = SACCADE_CALL(lifBackward);
  parallelFor(call.batch * call.tiles(), grainOf(call),
              [&](int64_t begin, int64_t end) { run(call, begin, end); });
  if (call.tau == nullptr) return;
  std::vector<double> sums(call.tauPeriod);
  for (size_t i = 0; i < dRates.size(); i++) {
    sums[static_cast<int64_t>(i) % call.features % call.tauPeriod] += dRates[i];
  }
  for (int64_t i = 0; i < call.tauPeriod; i++) {
    const double tau = call.tau[i];
    call.dTau[i] = static_cast<float>(-sums[i] / (tau * tau));
  }
}
