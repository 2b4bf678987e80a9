// Linear attention: engine/ops/linearAttention.ts says what is computed.
#include "registry.h"
#include "scratch.h"

namespace saccade {
namespace {

struct AttentionCall {
  const float *q, *k, *v, *memory, *keySum;
  /// Null where nothing decays.
  const float* decay;
  float *out, *lastMemory, *lastKeySum;
  const float *result, *dOut, *dLastMemory, *dLastKeySum;
  float *dQ, *dK, *dV, *dMemory, *dKeySum, *dDecay;
  int64_t groups, frames, tokens, features, heads;
  bool causal, normalise;
  float epsilon;
  /// Decay factors of one head: 1, or one for each of its key channels.
  int64_t decays;

  int64_t headWidth() const { return features / heads; }
  /// Frames that see each other.
  int64_t span() const { return causal ? 1 : frames; }
  int64_t rowAt(int64_t group, int64_t token, int64_t head) const {
    return (group * frames * tokens + token) * features + head * headWidth();
  }
  int64_t decayAt(int64_t group, int64_t frame, int64_t head) const {
    return ((group * frames + frame) * heads + head) * decays;
  }
};

void readSizes(AttentionCall& call, const Arguments& arguments, size_t at) {
  call.groups = arguments.integer(at);
  call.frames = arguments.integer(at + 1);
  call.tokens = arguments.integer(at + 2);
  call.features = arguments.integer(at + 3);
  call.heads = arguments.integer(at + 4);
  call.causal = arguments.flag(at + 5);
  call.normalise = arguments.flag(at + 6);
  call.epsilon = static_cast<float>(arguments.number(at + 7));
  call.decays = arguments.integer(at + 8);
}

void readInputs(AttentionCall& call, const Arguments& arguments) {
  call.q = arguments.floats(0);
  call.k = arguments.floats(1);
  call.v = arguments.floats(2);
  call.memory = arguments.floats(3);
  call.keySum = arguments.floats(4);
  call.decay = arguments.length(5) == 0 ? nullptr : arguments.floats(5);
}

int64_t grainOf(const AttentionCall& call) {
  const int64_t work = call.frames * call.tokens * call.headWidth() * call.headWidth();
  return std::max<int64_t>(1, 60000 / std::max<int64_t>(1, work));
}

}  // namespace
}  // namespace saccade

#define SACCADE_FILE "linear_attention.inl"
#include "targets.h"

/// attentionForward(q, k, v, memory, keySum, decay, out, lastMemory, lastKeySum, groups, frames, tokens,
/// features, heads, causal, normalise, epsilon, decays); decay may be empty.
SACCADE_KERNEL(attentionForward) {
  using namespace saccade;
  AttentionCall call{};
  readInputs(call, arguments);
  call.out = arguments.floats(6);
  call.lastMemory = arguments.floats(7);
  call.lastKeySum = arguments.floats(8);
  readSizes(call, arguments, 9);
  const auto run = SACCADE_CALL(attentionForward);
  parallelFor(call.groups * call.heads, grainOf(call),
              [&](int64_t begin, int64_t end) { run(call, begin, end); });
}

/// attentionBackward(q, k, v, memory, keySum, decay, out, dOut, dLastMemory, dLastKeySum, dQ, dK, dV,
/// dMemory, dKeySum, dDecay, groups, …)
SACCADE_KERNEL(attentionBackward) {
  using namespace saccade;
  AttentionCall call{};
  readInputs(call, arguments);
  call.result = arguments.floats(6);
  call.dOut = arguments.floats(7);
  call.dLastMemory = arguments.floats(8);
  call.dLastKeySum = arguments.floats(9);
  call.dQ = arguments.floats(10);
  call.dK = arguments.floats(11);
  call.dV = arguments.floats(12);
  call.dMemory = arguments.floats(13);
  call.dKeySum = arguments.floats(14);
  call.dDecay = call.decay == nullptr ? nullptr : arguments.floats(15);
  readSizes(call, arguments, 16);
  const auto run = SACCADE_CALL(attentionBackward);
  parallelFor(call.groups * call.heads, grainOf(call),
              [&](int64_t begin, int64_t end) { run(call, begin, end); });
}
