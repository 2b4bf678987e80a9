// Mamba's selective scan: engine/ops/selectiveScan.ts says what is computed. A block runs the channels of its width
// through all steps, a STAGE of steps at a time: while states advance, the inputs of the next stage are copied to shared
// memory. STATES states of a channel are shared by LANES neighbouring threads; each runs `own` of them for CHANNELS
// neighbouring channels, so that what it reads of B and C serves all of these. What does not depend on states is computed once per
// step and channel. Where there are too few channels to keep a device busy, steps are cut into segments, which blocks run side by side: once
// from states of zero, which gives what each segment adds (scanForward with `durations`, scanReturn), and, after `scanCarry` has
// put these together, from the states that they begin with. Sums over states and over channels are exchanged within warps: after each exchange a thread
// has half as many values, so that eight cost seven. Compiled per layout (launches/scan.ts), and for scans with a gate (GATED) or without.
constexpr int own = STATES / LANES;
/// Channels of a block.
constexpr int width = THREADS / LANES * CHANNELS;
static_assert(width <= THREADS, "a thread for each channel sums up what is its alone");
constexpr int warps = THREADS / 32;
constexpr int tile = STAGE * width;
/// A thread brings four neighbouring channels (a quad) of every `rowsAtOnce`-th step of a tile.
constexpr int quads = width / 4;
constexpr int rowsAtOnce = THREADS / quads;
constexpr int parts = (STAGE + rowsAtOnce - 1) / rowsAtOnce;
/// Values of B and C in a stage.
constexpr int mixes = 2 * STAGE * STATES;
constexpr float log2e = 1.4426950408889634f, ln2 = 0.6931471805599453f;

struct Scan {
  const float *u, *delta, *A, *B, *C, *D, *deltaBias, *initial, *z;
  int batch, length, channels, reverse;
  /// Steps of a segment; blocks of the same gridDim.z-th have the same.
  int segment;
  __device__ __forceinline__ int64 states() const { return (int64)batch * channels * STATES; }
};

/// 2ˣ by the special function unit, whose error is 2 in the last place; 0 where that has no normal number.
__device__ __forceinline__ float power(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
/// log(1 + eˣ) = max(x, 0) + 2 artanh(e / (2 + e)) with e = exp(-|x|), whose series ends early, as e / (2 + e) ≤ 1/3.
__device__ __forceinline__ float stepSize(float x) {
  const float e = power(-fabsf(x) * log2e);
  const float s = __fdividef(e, 2.0f + e), q = s * s;
  float sum = 2.0f / 15.0f;
  sum = fmaf(sum, q, 2.0f / 13.0f);
  sum = fmaf(sum, q, 2.0f / 11.0f);
  sum = fmaf(sum, q, 2.0f / 9.0f);
  sum = fmaf(sum, q, 2.0f / 7.0f);
  sum = fmaf(sum, q, 2.0f / 5.0f);
  sum = fmaf(sum, q, 2.0f / 3.0f);
  sum = fmaf(sum, q, 2.0f);
  return fmaf(s, sum, fmaxf(x, 0.0f));
}
/// The derivative of the step size by what it was made of, 1 - exp(-dt), also where dt is small.
__device__ __forceinline__ float slopeAt(float dt) {
  if (dt > 0.25f) return 1.0f - power(-dt * log2e);
  float sum = fmaf(-dt, 1.0f / 6.0f, 1.0f);
  sum = fmaf(-dt * (1.0f / 5.0f), sum, 1.0f);
  sum = fmaf(-dt * (1.0f / 4.0f), sum, 1.0f);
  sum = fmaf(-dt * (1.0f / 3.0f), sum, 1.0f);
  sum = fmaf(-dt * (1.0f / 2.0f), sum, 1.0f);
  return dt * sum;
}

template <int N>
__device__ __forceinline__ void load(float (&to)[N], const float* from) {
  if constexpr (N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const float4 v = *reinterpret_cast<const float4*>(from + i);
      to[i] = v.x, to[i + 1] = v.y, to[i + 2] = v.z, to[i + 3] = v.w;
    }
  } else if constexpr (N == 2) {
    const float2 v = *reinterpret_cast<const float2*>(from);
    to[0] = v.x, to[1] = v.y;
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) to[i] = from[i];
  }
}
template <int N>
__device__ __forceinline__ void store(const float (&from)[N], float* to) {
  if constexpr (N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 4)
      *reinterpret_cast<float4*>(to + i) = make_float4(from[i], from[i + 1], from[i + 2], from[i + 3]);
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) to[i] = from[i];
  }
}

/// What a thread has left of values that threads added up: `count` of them, of which the first was number `first`.
/// Of threads with the same ones, `isFirst` is true for one.
struct Share {
  int first, count;
  bool isFirst;
};
/// Adds values up over the threads of a warp that differ in the bits FROM, 2 FROM … of less than TO. While they can be
/// halved, of two threads each adds up its half.
template <int FROM, int TO, int N>
__device__ __forceinline__ Share addAcross(float (&values)[N]) {
  const int lane = threadIdx.x % 32;
  Share share = {0, N, true};
#pragma unroll
  for (int offset = FROM; offset < TO; offset *= 2) {
    const bool upper = lane & offset;
    if (share.count % 2 == 0) {
      share.count /= 2;
#pragma unroll
      for (int i = 0; i < N / 2; i++) {
        if (i >= share.count) continue;
        const float low = values[i], high = values[i + share.count];
        values[i] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, offset);
      }
      share.first += upper ? share.count : 0;
    } else {
#pragma unroll
      for (int i = 0; i < N; i++) {
        if (i < share.count) values[i] += __shfl_xor_sync(0xffffffffu, values[i], offset);
      }
      share.isFirst &= !upper;
    }
  }
  return share;
}

/// Copies BYTES to shared memory without waiting, zeros where there is nothing.
template <int BYTES>
__device__ __forceinline__ void bring(float* to, const float* from, bool there) {
  const unsigned target = (unsigned)__cvta_generic_to_shared(to);
  if constexpr (BYTES == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(from), "r"(there ? 16 : 0));
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(target), "l"(from), "r"(there ? 4 : 0));
  }
}
/// Waits for all that this thread has asked for.
__device__ __forceinline__ void waitForBrought() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// Which channels and states a thread runs, and for which quad of channels it brings values.
struct Place {
  int b, lane, inBlock, channel, quad, row, brought;
  /// Steps of the block's segment.
  int begin, end;
  __device__ __forceinline__ explicit Place(const Scan& s) {
    lane = threadIdx.x % LANES, inBlock = threadIdx.x / LANES * CHANNELS;
    b = blockIdx.y;
    channel = blockIdx.x * width + inBlock;
    quad = threadIdx.x % quads * 4, row = threadIdx.x / quads, brought = blockIdx.x * width + quad;
    begin = blockIdx.z * s.segment, end = min(s.length, begin + s.segment);
  }
  /// Number of the stage in which a segment's last step lies, from its first; -1 where it has none.
  __device__ __forceinline__ int lastStage() const { return end > begin ? (end - 1 - begin) / STAGE : -1; }
  __device__ __forceinline__ int64 rowAt(const Scan& s, int step) const {
    return (int64)b * s.length + (s.reverse ? s.length - 1 - step : step);
  }
  /// Where the states of channel k lie that this thread runs, in [batch, channels, states].
  __device__ __forceinline__ int64 stateAt(const Scan& s, int k) const {
    return ((int64)b * s.channels + channel + k) * STATES + lane * own;
  }
  /// Calls `f` with the place in a tile of each of this thread's quads, that in the arrays, and which of the four exist.
  template <typename F>
  __device__ __forceinline__ void eachQuad(const Scan& s, int first, F f) const {
#pragma unroll
    for (int part = 0; part < parts; part++) {
      const int t = part * rowsAtOnce + row;
      if (t >= STAGE) continue;
      const int there = first + t < end ? min(4, max(0, s.channels - brought)) : 0;
      f(t * width + quad, there > 0 ? rowAt(s, first + t) * s.channels + brought : 0, there);
    }
  }
};

/// Quads may be read and written at once.
__device__ __forceinline__ bool isAligned(const Scan& s) { return s.channels % 4 == 0; }

__device__ __forceinline__ void bringQuad(const Scan& s, float* to, const float* from, int there) {
  if (isAligned(s)) {
    bring<16>(to, from, there > 0);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) bring<4>(to + i, i < there ? from + i : from, i < there);
  }
}
__device__ __forceinline__ void storeQuad(const Scan& s, const float (&from)[4], float* to, int there) {
  if (isAligned(s)) {
    if (there > 0) store(from, to);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i < there) to[i] = from[i];
    }
  }
}
/// B and C of a stage, [2][STAGE][STATES].
__device__ __forceinline__ void bringMixes(const Scan& s, const Place& p, int first, float* to) {
  constexpr int size = STATES % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int start = 0; start < mixes; start += size * THREADS) {
    const int item = start + threadIdx.x * size, t = item / STATES % STAGE;
    if (item >= mixes) continue;
    const bool there = first + t < p.end;
    const float* from = item < mixes / 2 ? s.B : s.C;
    bring<4 * size>(to + item, there ? from + p.rowAt(s, first + t) * STATES + item % STATES : from, there);
  }
}
/// Turns this thread's part of delta into step sizes; 0 where there is no step: the state stays as it is.
__device__ __forceinline__ void toStepSizes(const Scan& s, const Place& p, int first, const float* bias, float* delta) {
  p.eachQuad(s, first, [&](int at, int64, int there) {
    float values[4], given[4];
    load(given, bias + p.quad);
    load(values, delta + at);
#pragma unroll
    for (int i = 0; i < 4; i++) values[i] = i < there ? stepSize(values[i] + given[i]) : 0.0f;
    store(values, delta + at);
  });
}
/// Turns this thread's part of dY into the gradient before the gate.
__device__ __forceinline__ void toUngated(const Scan& s, const Place& p, int first, float* dys) {
  if constexpr (GATED) {
    p.eachQuad(s, first, [&](int at, int64 from, int there) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if (i < there) dys[at + i] *= silu(s.z[from + i]);
      }
    });
  }
}
/// What thread c has summed up for the block's channel c.
__device__ __forceinline__ void storeDuration(const Scan& s, const Place& p, float duration, float* durations) {
  const int channel = blockIdx.x * width + threadIdx.x;
  if (threadIdx.x < width && channel < s.channels)
    durations[((int64)blockIdx.z * s.batch + p.b) * s.channels + channel] = duration;
}
/// Bias and skip connection of the block's channels, [2][width].
__device__ __forceinline__ void bringChannels(const Scan& s, float* to) {
  for (int c = threadIdx.x; c < width; c += THREADS) {
    const int channel = blockIdx.x * width + c;
    to[c] = channel < s.channels ? s.deltaBias[channel] : 0.0f;
    to[width + c] = channel < s.channels ? s.D[channel] : 0.0f;
  }
  __syncthreads();
}

/// `kept`, where it is somewhere, receives the states before each stage, [stages, batch, channels, states]; `initial` has the
/// states before each segment. With `durations`, [segments, batch, channels], it receives the sums of step sizes, and `last` the
/// states after each segment that began with zeros.
KERNEL __launch_bounds__(THREADS, BLOCKS) scanForward(const Scan s, float* __restrict__ y, float* __restrict__ last,
                                                      float* __restrict__ kept, float* __restrict__ durations) {
  extern __shared__ float4 shared[];
  float* const perChannel = reinterpret_cast<float*>(shared);
  float* const buffers = perChannel + 2 * width;  // Twice u, delta, B and C.
  constexpr int size = 2 * tile + mixes;
  const Place p(s);
  float h[CHANNELS][own] = {}, a[CHANNELS][own] = {};
#pragma unroll
  for (int k = 0; k < CHANNELS; k++) {
    if (p.channel + k >= s.channels) continue;
    if (durations == nullptr) load(h[k], s.initial + blockIdx.z * s.states() + p.stateAt(s, k));
    load(a[k], s.A + (int64)(p.channel + k) * STATES + p.lane * own);
#pragma unroll
    for (int i = 0; i < own; i++) a[k][i] *= log2e;
  }
  const auto bringStage = [&](int first, float* to) {
    p.eachQuad(s, first, [&](int at, int64 from, int there) {
      bringQuad(s, to + at, s.u + from, there);
      bringQuad(s, to + tile + at, s.delta + from, there);
    });
    bringMixes(s, p, first, to + 2 * tile);
  };
  float duration = 0.0f;
  bringStage(p.begin, buffers + (p.begin / STAGE % 2 ? size : 0));
  bringChannels(s, perChannel);
  for (int first = p.begin; first < p.end; first += STAGE) {
    const bool odd = first / STAGE % 2;
    float* const us = buffers + (odd ? size : 0);
    float* const dts = us + tile;
    const float* const Bs = dts + tile + p.lane * own;
    waitForBrought();
    toStepSizes(s, p, first, perChannel, dts);
    __syncthreads();
    if (first + STAGE < p.end) bringStage(first + STAGE, buffers + (odd ? 0 : size));
    if (kept != nullptr) {
#pragma unroll
      for (int k = 0; k < CHANNELS; k++) {
        if (p.channel + k < s.channels)
          store(h[k], kept + first / STAGE * s.states() + p.stateAt(s, k));
      }
    }
#pragma unroll 4
    for (int t = 0; t < STAGE; t++) {
      float B[own], C[own], u[CHANNELS], dt[CHANNELS], output[CHANNELS] = {};
      load(B, Bs + t * STATES);
      load(C, Bs + (STAGE + t) * STATES);
      load(u, us + t * width + p.inBlock);
      load(dt, dts + t * width + p.inBlock);
#pragma unroll
      for (int k = 0; k < CHANNELS; k++) {
        const float drive = dt[k] * u[k];
#pragma unroll
        for (int i = 0; i < own; i++) {
          h[k][i] = power(dt[k] * a[k][i]) * h[k][i] + drive * B[i];
          output[k] += C[i] * h[k][i];
        }
      }
      if (y == nullptr) continue;
      // In place of the step sizes, which all threads of these channels have read.
      const Share share = addAcross<1, LANES>(output);
#pragma unroll
      for (int i = 0; i < CHANNELS; i++) {
        if (i < share.count && share.isFirst) dts[t * width + p.inBlock + share.first + i] = output[i];
      }
    }
    __syncthreads();
    if (durations != nullptr && threadIdx.x < width) {
#pragma unroll
      for (int t = 0; t < STAGE; t++) duration += dts[t * width + threadIdx.x];
    }
    if (y == nullptr) continue;
    p.eachQuad(s, first, [&](int at, int64 to, int there) {
      float values[4], u[4], skip[4];
      load(values, dts + at);
      load(u, us + at);
      load(skip, perChannel + width + p.quad);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        values[i] += skip[i] * u[i];
        if constexpr (GATED) values[i] *= i < there ? silu(s.z[to + i]) : 0.0f;
      }
      storeQuad(s, values, y + to, there);
    });
  }
  if (last == nullptr) return;
  if (durations != nullptr) {
    last += blockIdx.z * s.states();
    storeDuration(s, p, duration, durations);
  } else if (blockIdx.z != gridDim.z - 1) {
    return;
  }
#pragma unroll
  for (int k = 0; k < CHANNELS; k++) {
    if (p.channel + k < s.channels) store(h[k], last + p.stateAt(s, k));
  }
}

/// The gradients by the states before each segment, [segments, batch, channels, states], if those after it are zero; and
/// `durations` as forward.
KERNEL __launch_bounds__(THREADS, BLOCKS) scanReturn(const Scan s, const float* __restrict__ dY,
                                                     float* __restrict__ ends, float* __restrict__ durations) {
  extern __shared__ float4 shared[];
  float* const perChannel = reinterpret_cast<float*>(shared);
  float* const buffers = perChannel + 2 * width;  // Twice delta, dY, B and C.
  constexpr int size = 2 * tile + mixes;
  const Place p(s);
  float dh[CHANNELS][own] = {}, a[CHANNELS][own] = {};
#pragma unroll
  for (int k = 0; k < CHANNELS; k++) {
    if (p.channel + k >= s.channels) continue;
    load(a[k], s.A + (int64)(p.channel + k) * STATES + p.lane * own);
#pragma unroll
    for (int i = 0; i < own; i++) a[k][i] *= log2e;
  }
  const auto bringStage = [&](int first, float* to) {
    p.eachQuad(s, first, [&](int at, int64 from, int there) {
      bringQuad(s, to + at, s.delta + from, there);
      bringQuad(s, to + tile + at, dY + from, there);
    });
    bringMixes(s, p, first, to + 2 * tile);
  };
  float duration = 0.0f;
  int stage = p.lastStage();
  if (stage >= 0) bringStage(p.begin + stage * STAGE, buffers + (stage % 2 ? size : 0));
  bringChannels(s, perChannel);
  for (; stage >= 0; stage--) {
    const int first = p.begin + stage * STAGE;
    float* const dts = buffers + (stage % 2 ? size : 0);
    float* const dys = dts + tile;
    const float* const Cs = dys + tile + STAGE * STATES + p.lane * own;
    waitForBrought();
    toStepSizes(s, p, first, perChannel, dts);
    toUngated(s, p, first, dys);
    __syncthreads();
    if (stage > 0) bringStage(first - STAGE, buffers + (stage % 2 ? 0 : size));
#pragma unroll 4
    for (int t = STAGE - 1; t >= 0; t--) {
      float C[own], dt[CHANNELS], dy[CHANNELS];
      load(C, Cs + t * STATES);
      load(dt, dts + t * width + p.inBlock);
      load(dy, dys + t * width + p.inBlock);
#pragma unroll
      for (int k = 0; k < CHANNELS; k++) {
#pragma unroll
        for (int i = 0; i < own; i++) dh[k][i] = (dh[k][i] + dy[k] * C[i]) * power(dt[k] * a[k][i]);
      }
    }
    if (threadIdx.x < width) {
#pragma unroll
      for (int t = 0; t < STAGE; t++) duration += dts[t * width + threadIdx.x];
    }
    __syncthreads();
  }
  storeDuration(s, p, duration, durations);
#pragma unroll
  for (int k = 0; k < CHANNELS; k++) {
    if (p.channel + k < s.channels) store(dh[k], ends + blockIdx.z * s.states() + p.stateAt(s, k));
  }
}

/// Puts segments together: from the state before the first of them, or, `backwards`, from the gradient after the last, the one
/// with which each begins.
KERNEL scanCarry(const Scan s, const float* __restrict__ begin, const float* __restrict__ ends,
                 const float* __restrict__ durations, float* __restrict__ starts, int segments, int backwards) {
  const int64 count = s.states();
  for (int64 i = gridThread(); i < count; i += gridThreads()) {
    const float a = s.A[i % ((int64)s.channels * STATES)] * log2e;
    float state = begin[i];
    for (int k = 0; k < segments; k++) {
      const int64 segment = backwards ? segments - 1 - k : k;
      starts[segment * count + i] = state;
      state = power(durations[segment * (count / STATES) + i / STATES] * a) * state + ends[segment * count + i];
    }
  }
}

/// States are computed again from those that `scanForward` kept before each stage: up to the last CHUNK of the stage, whose states and
/// factors then stay in registers on the way back, and so for each CHUNK before it. Sums over channels and over the batch are
/// left in parts: partB, partC [blocks, batch, length, states]; partA [segments, batch, channels, states];
/// partD, partBias [segments, batch, channels]. `dLast` has the gradients after each segment.
KERNEL __launch_bounds__(THREADS, BLOCKS) scanBackward(
    const Scan s, const float* __restrict__ dY, const float* __restrict__ dLast, const float* __restrict__ kept,
    float* __restrict__ dU, float* __restrict__ dDelta, float* __restrict__ dInitial, float* __restrict__ dZ,
    float* __restrict__ partA, float* __restrict__ partB, float* __restrict__ partC, float* __restrict__ partD,
    float* __restrict__ partBias) {
  extern __shared__ float4 shared[];
  /// All states of the block, by thread.
  constexpr int allStates = CHANNELS * THREADS * own;
  constexpr int size = 3 * tile + mixes + allStates, chunks = STAGE / CHUNK;
  /// From one kind of sums to the next; half a turn of the banks further.
  constexpr int sumTile = tile + 16;
  float* const perChannel = reinterpret_cast<float*>(shared);
  float* const buffers = perChannel + 2 * width;       // Twice u, delta, dY, B and C, states before the stage.
  float* const sums = buffers + 2 * size;              // Over states: for step sizes, for what enters, outputs.
  float* const mixSums = sums + (2 + GATED) * sumTile;  // Over a warp's channels, [STAGE][2][warps][STATES].
  float* const totals = mixSums + mixes * warps;       // Over steps, for D and the bias, [2][THREADS][4].
  float* const starts = totals + 8 * THREADS;          // States before chunks but the first and the last.
  const Place p(s);
  float a[CHANNELS][own] = {}, dh[CHANNELS][own] = {}, dA[CHANNELS][own] = {};
#pragma unroll
  for (int k = 0; k < CHANNELS; k++) {
    if (p.channel + k >= s.channels) continue;
    load(a[k], s.A + (int64)(p.channel + k) * STATES + p.lane * own);
    load(dh[k], dLast + blockIdx.z * s.states() + p.stateAt(s, k));
#pragma unroll
    for (int i = 0; i < own; i++) a[k][i] *= log2e;
  }
  const auto bringStage = [&](int first, float* to) {
    p.eachQuad(s, first, [&](int at, int64 from, int there) {
      bringQuad(s, to + at, s.u + from, there);
      bringQuad(s, to + tile + at, s.delta + from, there);
      bringQuad(s, to + 2 * tile + at, dY + from, there);
    });
    bringMixes(s, p, first, to + 3 * tile);
    constexpr int several = own % 4 == 0 ? 4 : 1;
#pragma unroll
    for (int k = 0; k < CHANNELS; k++) {
      const bool there = p.channel + k < s.channels;
      const float* from = there ? kept + first / STAGE * s.states() + p.stateAt(s, k) : kept;
#pragma unroll
      for (int i = 0; i < own; i += several)
        bring<4 * several>(to + 3 * tile + mixes + (k * THREADS + threadIdx.x) * own + i, there ? from + i : from, there);
    }
  };
  int stage = p.lastStage();
  if (stage >= 0) bringStage(p.begin + stage * STAGE, buffers + (stage % 2 ? size : 0));
#pragma unroll
  for (int i = 0; i < 8; i++) totals[i * THREADS + threadIdx.x] = 0.0f;
  bringChannels(s, perChannel);
  for (; stage >= 0; stage--) {
    const int first = p.begin + stage * STAGE;
    const bool odd = stage % 2;
    float* const us = buffers + (odd ? size : 0);
    float* const dts = us + tile;
    float* const dys = dts + tile;
    const float* const Bs = dys + tile + p.lane * own;
    const float* const Cs = Bs + STAGE * STATES;
    waitForBrought();
    toStepSizes(s, p, first, perChannel, dts);
    toUngated(s, p, first, dys);
    __syncthreads();
    if (stage > 0) bringStage(first - STAGE, buffers + (odd ? 0 : size));
    float* const before = dys + tile + mixes;
    const auto startOf = [&](int chunk, int k) {
      return (chunk == 0 ? before : starts + (chunk - 1) * allStates) + (k * THREADS + threadIdx.x) * own;
    };
    float h[CHANNELS][own];
#pragma unroll
    for (int k = 0; k < CHANNELS; k++) load(h[k], startOf(0, k));
#pragma unroll 1
    for (int chunk = 0; chunk < chunks - 1; chunk++) {
#pragma unroll
      for (int k = 0; k < CHANNELS; k++) {
        if (chunk > 0) store(h[k], startOf(chunk, k));
      }
#pragma unroll
      for (int step = 0; step < CHUNK; step++) {
        const int t = chunk * CHUNK + step;
        float B[own], u[CHANNELS], dt[CHANNELS];
        load(B, Bs + t * STATES);
        load(u, us + t * width + p.inBlock);
        load(dt, dts + t * width + p.inBlock);
#pragma unroll
        for (int k = 0; k < CHANNELS; k++) {
          const float drive = dt[k] * u[k];
#pragma unroll
          for (int i = 0; i < own; i++) h[k][i] = power(dt[k] * a[k][i]) * h[k][i] + drive * B[i];
        }
      }
    }
#pragma unroll 1
    for (int chunk = chunks - 1; chunk >= 0; chunk--) {
      if (chunk < chunks - 1) {
#pragma unroll
        for (int k = 0; k < CHANNELS; k++) load(h[k], startOf(chunk, k));
      }
      float factor[CHUNK][CHANNELS][own], faded[CHUNK][CHANNELS][own];
      const auto handMixes = [&](float (&values)[own], int t, int kind) {
        const Share share = addAcross<LANES, 32>(values);
        float* const to = mixSums + ((t * 2 + kind) * warps + threadIdx.x / 32) * STATES + p.lane * own + share.first;
#pragma unroll
        for (int i = 0; i < own; i++) {
          if (i < share.count && share.isFirst) to[i] = values[i];
        }
      };
      const auto handSums = [&](float (&values)[CHANNELS], int t, int kind) {
        const Share share = addAcross<1, LANES>(values);
#pragma unroll
        for (int i = 0; i < CHANNELS; i++) {
          if (i < share.count && share.isFirst)
            sums[kind * sumTile + t * width + p.inBlock + share.first + i] = values[i];
        }
      };
#pragma unroll
      for (int step = 0; step < CHUNK; step++) {
        const int t = chunk * CHUNK + step;
        float B[own], u[CHANNELS], dt[CHANNELS], dy[CHANNELS], toC[own] = {};
        load(B, Bs + t * STATES);
        load(u, us + t * width + p.inBlock);
        load(dt, dts + t * width + p.inBlock);
        load(dy, dys + t * width + p.inBlock);
#pragma unroll
        for (int k = 0; k < CHANNELS; k++) {
          const float drive = dt[k] * u[k];
#pragma unroll
          for (int i = 0; i < own; i++) {
            factor[step][k][i] = power(dt[k] * a[k][i]);
            faded[step][k][i] = factor[step][k][i] * h[k][i];
            h[k][i] = faded[step][k][i] + drive * B[i];
            toC[i] += dy[k] * h[k][i];
          }
        }
        handMixes(toC, t, 1);
        if constexpr (GATED) {
          float C[own], output[CHANNELS] = {};
          load(C, Cs + t * STATES);
#pragma unroll
          for (int k = 0; k < CHANNELS; k++) {
#pragma unroll
            for (int i = 0; i < own; i++) output[k] += C[i] * h[k][i];
          }
          handSums(output, t, 2);
        }
      }
#pragma unroll
      for (int step = CHUNK - 1; step >= 0; step--) {
        const int t = chunk * CHUNK + step;
        float B[own], C[own], u[CHANNELS], dt[CHANNELS], dy[CHANNELS], toB[own] = {}, toSums[2 * CHANNELS] = {};
        load(B, Bs + t * STATES);
        load(C, Cs + t * STATES);
        load(u, us + t * width + p.inBlock);
        load(dt, dts + t * width + p.inBlock);
        load(dy, dys + t * width + p.inBlock);
#pragma unroll
        for (int k = 0; k < CHANNELS; k++) {
          const float drive = dt[k] * u[k];
#pragma unroll
          for (int i = 0; i < own; i++) {
            const float dState = dh[k][i] + dy[k] * C[i];
            toB[i] += dState * drive;
            toSums[CHANNELS + k] += dState * B[i];
            dh[k][i] = dState * factor[step][k][i];
            const float dLog = dState * faded[step][k][i];
            dA[k][i] += dLog * dt[k];
            toSums[k] += dLog * a[k][i];
          }
        }
        handMixes(toB, t, 0);
        const Share share = addAcross<1, LANES>(toSums);
#pragma unroll
        for (int i = 0; i < 2 * CHANNELS; i++) {
          if (i >= share.count || !share.isFirst) continue;
          const int kind = (share.first + i) / CHANNELS, k = (share.first + i) % CHANNELS;
          sums[kind * sumTile + t * width + p.inBlock + k] = toSums[i];
        }
      }
    }
    __syncthreads();
    float skip[4], dSkip[4], dBias[4];
    load(skip, perChannel + width + p.quad);
    load(dSkip, totals + 4 * threadIdx.x);
    load(dBias, totals + 4 * (THREADS + threadIdx.x));
    p.eachQuad(s, first, [&](int at, int64 to, int there) {
      float u[4], dt[4], dy[4], dLog[4], dDrive[4], toU[4], toDelta[4];
      load(u, us + at);
      load(dt, dts + at);
      load(dy, dys + at);
      load(dLog, sums + at);
      load(dDrive, sums + sumTile + at);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        toU[i] = dDrive[i] * dt[i] + dy[i] * skip[i];
        toDelta[i] = (dLog[i] * ln2 + dDrive[i] * u[i]) * slopeAt(dt[i]);
        dSkip[i] += dy[i] * u[i];
        dBias[i] += toDelta[i];
      }
      storeQuad(s, toU, dU + to, there);
      storeQuad(s, toDelta, dDelta + to, there);
      if constexpr (GATED) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          if (i >= there) continue;
          const float z = s.z[to + i], gate = sigmoid(z);
          dZ[to + i] = dY[to + i] * (sums[2 * sumTile + at + i] + skip[i] * u[i]) * gate * (1.0f + z * (1.0f - gate));
        }
      }
    });
    store(dSkip, totals + 4 * threadIdx.x);
    store(dBias, totals + 4 * (THREADS + threadIdx.x));
    for (int item = threadIdx.x; item < mixes; item += THREADS) {
      const int n = item % STATES, kind = item / STATES % 2, t = item / (2 * STATES);
      if (first + t >= p.end) continue;
      const float* from = mixSums + (t * 2 + kind) * warps * STATES + n;
      float sum = 0.0f;
#pragma unroll
      for (int warp = 0; warp < warps; warp++) sum += from[warp * STATES];
      float* part = kind == 0 ? partB : partC;
      part[((int64)blockIdx.x * s.batch * s.length + p.rowAt(s, first + t)) * STATES + n] = sum;
    }
  }
#pragma unroll
  for (int k = 0; k < CHANNELS; k++) {
    if (p.channel + k >= s.channels) continue;
    if (blockIdx.z == 0) store(dh[k], dInitial + p.stateAt(s, k));
    store(dA[k], partA + blockIdx.z * s.states() + p.stateAt(s, k));
  }
  __syncthreads();
  for (int c = threadIdx.x; c < width; c += THREADS) {
    const int channel = blockIdx.x * width + c;
    if (channel >= s.channels) continue;
    float dSkip = 0.0f, dBias = 0.0f;
#pragma unroll
    for (int row = 0; row < rowsAtOnce; row++) {
      const int from = 4 * (row * quads + c / 4) + c % 4;
      dSkip += totals[from];
      dBias += totals[4 * THREADS + from];
    }
    const int64 to = ((int64)blockIdx.z * s.batch + p.b) * s.channels + channel;
    partD[to] = dSkip;
    partBias[to] = dBias;
  }
}
