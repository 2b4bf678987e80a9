// Mamba's selective scan: engine/ops/selectiveScan.ts says what is computed.
#include <initializer_list>

#include "registry.h"
#include "scratch.h"

namespace saccade {
namespace {

/// Steps between the states that are kept for the backward pass.
constexpr int64_t scanChunk = 16;

struct ScanCall {
  const float *u, *delta, *A, *B, *C, *D, *deltaBias, *initial;
  /// Gate; null where there is none.
  const float* z;
  float *y, *last;
  const float *dY, *dLast;
  float *dU, *dDelta, *dA, *dB, *dC, *dD, *dDeltaBias, *dInitial, *dZ;

  int64_t batch, length, channels, states;
  bool reverse;
  /// States before each chunk, `[batch · groups, chunks, states, lanes]`: the forward pass writes them, the
  /// backward pass finds them again where there is none.
  float* kept;
  /// Channels that are computed together, and how many such groups there are.
  int64_t lanes, groups;
  /// Parts of sums over groups, `[batch · groups, states, length]`, and over the batch,
  /// `[batch · groups, states + 2, lanes]`: added up in a fixed order once all are there.
  float *partialB, *partialC, *partialChannels;

  int64_t row(int64_t b, int64_t step) const {
    return b * length + (reverse ? length - 1 - step : step);
  }
};

void readSizes(ScanCall& call, const Arguments& arguments, size_t at) {
  call.batch = arguments.integer(at);
  call.length = arguments.integer(at + 1);
  call.channels = arguments.integer(at + 2);
  call.states = arguments.integer(at + 3);
  call.reverse = arguments.flag(at + 4);
  call.kept = arguments.length(at + 5) == 0 ? nullptr : arguments.floats(at + 5);
}

void readInputs(ScanCall& call, const Arguments& arguments) {
  call.u = arguments.floats(0);
  call.delta = arguments.floats(1);
  call.A = arguments.floats(2);
  call.B = arguments.floats(3);
  call.C = arguments.floats(4);
  call.D = arguments.floats(5);
  call.deltaBias = arguments.floats(6);
  call.initial = arguments.floats(7);
  call.z = arguments.length(8) == 0 ? nullptr : arguments.floats(8);
}

}  // namespace
}  // namespace saccade

#define SACCADE_FILE "selective_scan.inl"
#include "targets.h"

namespace saccade {
namespace {

void cutIntoGroups(ScanCall& call) {
  call.lanes = SACCADE_CALL(scanLanes)();
  call.groups = (call.channels + call.lanes - 1) / call.lanes;
}

/// Groups per chunk of work.
int64_t grainOf(const ScanCall& call) {
  const int64_t work = call.length * call.states * call.lanes;
  return std::max<int64_t>(1, 20000 / std::max<int64_t>(1, work));
}

}  // namespace
}  // namespace saccade

/// scanForward(u, delta, A, B, C, D, deltaBias, initial, z, y, last, batch, length, channels, states,
/// reverse, kept); z and kept may be empty. Kept states take `channels` in whole multiples of 64.
SACCADE_KERNEL(scanForward) {
  using namespace saccade;
  ScanCall call{};
  readInputs(call, arguments);
  call.y = arguments.floats(9);
  call.last = arguments.floats(10);
  readSizes(call, arguments, 11);
  cutIntoGroups(call);
  const auto run = SACCADE_CALL(scanForward);
  parallelFor(call.batch * call.groups, grainOf(call),
              [&](int64_t begin, int64_t end) { run(call, begin, end); });
}

/// scanBackward(u, …, z, dY, dLast, dU, dDelta, dA, dB, dC, dD, dDeltaBias, dInitial, dZ, batch, length,
/// channels, states, reverse, kept)
SACCADE_KERNEL(scanBackward) {
  using namespace saccade;
  ScanCall call{};
  readInputs(call, arguments);
  call.dY = arguments.floats(9);
  call.dLast = arguments.floats(10);
  call.dU = arguments.floats(11);
  call.dDelta = arguments.floats(12);
  call.dA = arguments.floats(13);
  call.dB = arguments.floats(14);
  call.dC = arguments.floats(15);
  call.dD = arguments.floats(16);
  call.dDeltaBias = arguments.floats(17);
  call.dInitial = arguments.floats(18);
  call.dZ = call.z == nullptr ? nullptr : arguments.floats(19);
  readSizes(call, arguments, 20);
  cutIntoGroups(call);
  const int64_t tasks = call.batch * call.groups;
  const int64_t mixes = call.length * call.states;
  call.partialB = scratch(13, tasks * mixes);
  call.partialC = scratch(14, tasks * mixes);
  call.partialChannels = scratch(15, tasks * (call.states + 2) * call.lanes);
  const auto run = SACCADE_CALL(scanBackward);
  parallelFor(tasks, grainOf(call), [&](int64_t begin, int64_t end) { run(call, begin, end); });

  const auto addMixes = SACCADE_CALL(scanAddMixes);
  parallelFor(call.batch * call.length, 64,
              [&](int64_t begin, int64_t end) { addMixes(call, begin, end); });
  const auto addChannels = SACCADE_CALL(scanAddChannels);
  parallelFor(call.groups, 8, [&](int64_t begin, int64_t end) { addChannels(call, begin, end); });
}
