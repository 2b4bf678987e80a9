// Mamba's selective scan: engine/ops/selectiveScan.ts says what is computed. STATES states of a channel are shared
// by LANES neighbouring threads, which run their part of them, `own`, through all steps. A block takes CHUNK
// steps of its channels at a time: what does not depend on states is computed once per step and channel, by
// whichever thread, and handed over in shared memory; so is what threads have to add up. Compiled per number of
// states, and for scans with a gate (GATED) or without.
constexpr int threads = 256;
constexpr int own = STATES / LANES;
/// Channels of a block.
constexpr int width = threads / LANES;
/// Steps of channels, and values of B and C, that a thread brings for each chunk.
constexpr int items = (CHUNK * width + threads - 1) / threads;
constexpr int mixItems = (2 * CHUNK * STATES + threads - 1) / threads;
/// Channels of a warp that are added up before they go to shared memory, whose bandwidth is what limits the way back.
constexpr int joined = LANES < 32 ? 2 : 1;
/// From one step, and from B to C, to the next of what is added up over channels; not multiples of the 32 banks.
constexpr int mixStride = width / joined * STATES + 16;
constexpr int mixPlane = CHUNK * mixStride + 16;
constexpr float log2e = 1.4426950408889634f, ln2 = 0.6931471805599453f;

struct Scan {
  const float *u, *delta, *A, *B, *C, *D, *deltaBias, *initial, *z;
  int batch, length, channels, reverse;
};

/// 2ˣ by the special function unit, whose error is 2 in the last place; 0 where that has no normal number.
__device__ __forceinline__ float power(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

template <int N>
__device__ __forceinline__ void load(float (&to)[N], const float* from) {
  if constexpr (N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const float4 v = *reinterpret_cast<const float4*>(from + i);
      to[i] = v.x, to[i + 1] = v.y, to[i + 2] = v.z, to[i + 3] = v.w;
    }
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
/// The sum of what the threads of a channel left behind.
__device__ __forceinline__ float sumOfLanes(const float* from) {
  float parts[LANES], sum = 0.0f;
  load(parts, from);
#pragma unroll
  for (int i = 0; i < LANES; i++) sum += parts[i];
  return sum;
}

/// Which channel and states a thread runs (`channel`, `lane`), and for which channel it brings values (`brought`).
struct Place {
  int b, lane, inBlock, channel, brought;
  bool live, bringing;
  int64 stateAt;
  __device__ __forceinline__ Place(const Scan& s) {
    lane = threadIdx.x % LANES, inBlock = threadIdx.x / LANES;
    b = blockIdx.y;
    channel = blockIdx.x * width + inBlock, brought = blockIdx.x * width + threadIdx.x % width;
    live = channel < s.channels, bringing = brought < s.channels;
    stateAt = ((int64)b * s.channels + channel) * STATES + lane * own;
  }
};

/// What a chunk takes from global memory, in the registers of the threads that brought it. Steps beyond the end
/// and channels that do not exist have zeros, and a step size of 0: the state stays as it is.
struct Brought {
  float u[items], delta[items], mixes[mixItems];
  __device__ __forceinline__ void fetch(const Scan& s, const Place& p, int first) {
#pragma unroll
    for (int k = 0; k < items; k++) {
      int64 at;
      const bool there = find(s, p, first, k, at);
      u[k] = there ? s.u[at] : 0.0f;
      delta[k] = there ? s.delta[at] : 0.0f;
    }
#pragma unroll
    for (int k = 0; k < mixItems; k++) {
      const int item = k * threads + threadIdx.x, t = item / STATES % CHUNK;
      const bool there = item < 2 * CHUNK * STATES && first + t < s.length;
      const float* from = item < CHUNK * STATES ? s.B : s.C;
      mixes[k] = there ? from[row(s, p, first + t) * STATES + item % STATES] : 0.0f;
    }
  }
  __device__ __forceinline__ void handMixes(float* to) const {
#pragma unroll
    for (int k = 0; k < mixItems; k++) {
      const int item = k * threads + threadIdx.x;
      if (item < 2 * CHUNK * STATES) to[item] = mixes[k];
    }
  }
  static __device__ __forceinline__ int64 row(const Scan& s, const Place& p, int step) {
    return (int64)p.b * s.length + (s.reverse ? s.length - 1 - step : step);
  }
  static __device__ __forceinline__ int stepOf(int k) { return (k * threads + (int)threadIdx.x) / width; }
  /// Whether this thread's item k is a step of a channel, and where.
  static __device__ __forceinline__ bool find(const Scan& s, const Place& p, int first, int k, int64& at) {
    const int t = stepOf(k);
    at = row(s, p, first + t) * s.channels + p.brought;
    return t < CHUNK && first + t < s.length && p.bringing;
  }
};

/// Where `kept` is somewhere, leaves the states before each chunk there, [chunks, batch, channels, states].
KERNEL __launch_bounds__(256) scanForward(const Scan s, float* __restrict__ y, float* __restrict__ last,
                                          float* __restrict__ kept) {
  __shared__ float2 entering[CHUNK * width];  // Step size, and its product with the input.
  __shared__ __align__(16) float mixes[2 * CHUNK * STATES];
  __shared__ __align__(16) float outputs[CHUNK * threads];
  const Place p(s);
  float h[own] = {}, a[own] = {};
  if (p.live) {
    load(h, s.initial + p.stateAt);
    load(a, s.A + (int64)p.channel * STATES + p.lane * own);
  }
#pragma unroll
  for (int i = 0; i < own; i++) a[i] *= log2e;
  const float bias = p.bringing ? s.deltaBias[p.brought] : 0.0f, skip = p.bringing ? s.D[p.brought] : 0.0f;
  Brought next;
  next.fetch(s, p, 0);
  for (int first = 0; first < s.length; first += CHUNK) {
    const Brought here = next;
#pragma unroll
    for (int k = 0; k < items; k++) {
      int64 at;
      const float dt = Brought::find(s, p, first, k, at) ? softplus(here.delta[k] + bias) : 0.0f;
      if (Brought::stepOf(k) < CHUNK) entering[k * threads + threadIdx.x] = make_float2(dt, dt * here.u[k]);
    }
    here.handMixes(mixes);
    __syncthreads();
    if (first + CHUNK < s.length) next.fetch(s, p, first + CHUNK);
    if (kept != nullptr && p.live)
      store(h, kept + (int64)(first / CHUNK) * s.batch * s.channels * STATES + p.stateAt);
#pragma unroll
    for (int t = 0; t < CHUNK; t++) {
      const float2 e = entering[t * width + p.inBlock];
      float B[own], C[own], output = 0.0f;
      load(B, mixes + t * STATES + p.lane * own);
      load(C, mixes + (CHUNK + t) * STATES + p.lane * own);
#pragma unroll
      for (int i = 0; i < own; i++) {
        h[i] = power(e.x * a[i]) * h[i] + e.y * B[i];
        output += C[i] * h[i];
      }
      outputs[t * threads + threadIdx.x] = output;
    }
    __syncthreads();
    if (y == nullptr) continue;
#pragma unroll
    for (int k = 0; k < items; k++) {
      int64 at;
      if (!Brought::find(s, p, first, k, at)) continue;
      const int from = Brought::stepOf(k) * threads + threadIdx.x % width * LANES;
      const float output = sumOfLanes(outputs + from) + skip * here.u[k];
      y[at] = GATED ? output * silu(s.z[at]) : output;
    }
  }
  if (last != nullptr && p.live) store(h, last + p.stateAt);
}

/// States are computed again from those that `scanForward` kept before every chunk. Sums over channels and over
/// the batch are left in parts: partB, partC [blocks, batch, length, states]; partA [batch, channels, states];
/// partD, partBias [batch, channels].
KERNEL __launch_bounds__(256, own <= 4 ? 2 : 1) scanBackward(
    const Scan s, const float* __restrict__ dY, const float* __restrict__ dLast, const float* __restrict__ kept,
    float* __restrict__ dU, float* __restrict__ dDelta, float* __restrict__ dInitial, float* __restrict__ dZ,
    float* __restrict__ partA, float* __restrict__ partB, float* __restrict__ partC, float* __restrict__ partD,
    float* __restrict__ partBias) {
  extern __shared__ float4 shared[];
  float* mixes = reinterpret_cast<float*>(shared);                          // B and C, [2][CHUNK][STATES].
  float2* entering = reinterpret_cast<float2*>(mixes + 2 * CHUNK * STATES);  // [CHUNK][width], as forward.
  float* arriving = reinterpret_cast<float*>(entering + CHUNK * width);      // dY without gate, [CHUNK][width].
  float* toDt = arriving + CHUNK * width;                                    // [CHUNK][threads] each.
  float* toDrive = toDt + CHUNK * threads;
  float* ungated = toDrive + CHUNK * threads;
  float* toMixes = ungated + (GATED ? CHUNK * threads : 0);  // [2][mixPlane]
  const Place p(s);
  float a[own] = {}, dh[own] = {}, dA[own] = {};
  if (p.live) {
    load(a, s.A + (int64)p.channel * STATES + p.lane * own);
    load(dh, dLast + p.stateAt);
  }
#pragma unroll
  for (int i = 0; i < own; i++) a[i] *= log2e;
  const float bias = p.bringing ? s.deltaBias[p.brought] : 0.0f, skip = p.bringing ? s.D[p.brought] : 0.0f;
  float dSkip = 0.0f, dBias = 0.0f;

  Brought next;
  float nextDy[items], nextStart[own];
  const auto fetch = [&](int first) {
    next.fetch(s, p, first);
#pragma unroll
    for (int k = 0; k < items; k++) {
      int64 at;
      nextDy[k] = Brought::find(s, p, first, k, at) ? dY[at] : 0.0f;
    }
    if (p.live) load(nextStart, kept + (int64)(first / CHUNK) * s.batch * s.channels * STATES + p.stateAt);
  };
#pragma unroll
  for (int i = 0; i < own; i++) nextStart[i] = 0.0f;
  int first = s.length > 0 ? (s.length - 1) / CHUNK * CHUNK : -1;
  if (first >= 0) fetch(first);
  for (; first >= 0; first -= CHUNK) {
    const Brought here = next;
    float given[items];
    float h[CHUNK + 1][own], factor[CHUNK][own];
#pragma unroll
    for (int i = 0; i < own; i++) h[0][i] = nextStart[i];
#pragma unroll
    for (int k = 0; k < items; k++) {
      int64 at;
      const bool there = Brought::find(s, p, first, k, at);
      const float dt = there ? softplus(here.delta[k] + bias) : 0.0f;
      given[k] = nextDy[k];
      const float dy = GATED && there ? given[k] * silu(s.z[at]) : given[k];
      if (Brought::stepOf(k) < CHUNK) {
        entering[k * threads + threadIdx.x] = make_float2(dt, dt * here.u[k]);
        arriving[k * threads + threadIdx.x] = dy;
      }
    }
    here.handMixes(mixes);
    __syncthreads();
    if (first >= CHUNK) fetch(first - CHUNK);
#pragma unroll
    for (int t = 0; t < CHUNK; t++) {
      const float2 e = entering[t * width + p.inBlock];
      float B[own];
      load(B, mixes + t * STATES + p.lane * own);
#pragma unroll
      for (int i = 0; i < own; i++) {
        factor[t][i] = power(e.x * a[i]);
        h[t + 1][i] = factor[t][i] * h[t][i] + e.y * B[i];
      }
    }
#pragma unroll
    for (int t = CHUNK - 1; t >= 0; t--) {
      const float2 e = entering[t * width + p.inBlock];
      const float dy = arriving[t * width + p.inBlock];
      float B[own], C[own], toB[own], toC[own], dLogs = 0.0f, dDrive = 0.0f, output = 0.0f;
      load(B, mixes + t * STATES + p.lane * own);
      load(C, mixes + (CHUNK + t) * STATES + p.lane * own);
#pragma unroll
      for (int i = 0; i < own; i++) {
        const float dState = dh[i] + dy * C[i];
        toC[i] = dy * h[t + 1][i];
        toB[i] = dState * e.y;
        dh[i] = dState * factor[t][i];
        const float dLog = dh[i] * h[t][i];
        dA[i] += dLog * e.x;
        dLogs += dLog * a[i];
        dDrive += dState * B[i];
        if constexpr (GATED) output += C[i] * h[t + 1][i];
      }
      toDt[t * threads + threadIdx.x] = dLogs;
      toDrive[t * threads + threadIdx.x] = dDrive;
      if constexpr (GATED) ungated[t * threads + threadIdx.x] = output;
      float* target = toMixes + t * mixStride + p.inBlock / joined * STATES + p.lane * own;
      if constexpr (joined == 2) {
        // Of two neighbouring channels one takes what goes to B, the other what goes to C.
        const bool other = p.inBlock % 2 == 1;
#pragma unroll
        for (int i = 0; i < own; i++) {
          const float given = __shfl_xor_sync(0xffffffffu, other ? toB[i] : toC[i], LANES);
          toB[i] = (other ? toC[i] : toB[i]) + given;
        }
        store(toB, target + (other ? mixPlane : 0));
      } else {
        store(toB, target);
        store(toC, target + mixPlane);
      }
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < items; k++) {
      int64 at;
      if (!Brought::find(s, p, first, k, at)) continue;
      const int from = Brought::stepOf(k) * threads + threadIdx.x % width * LANES;
      const float dt = entering[k * threads + threadIdx.x].x, dy = arriving[k * threads + threadIdx.x];
      const float dDrive = sumOfLanes(toDrive + from), u = here.u[k];
      const float dRaw =
          (sumOfLanes(toDt + from) * ln2 + dDrive * u) / (1.0f + __expf(-(here.delta[k] + bias)));
      if constexpr (GATED) {
        const float z = s.z[at], gate = sigmoid(z);
        dZ[at] = given[k] * (sumOfLanes(ungated + from) + skip * u) * gate * (1.0f + z * (1.0f - gate));
      }
      dSkip += dy * u;
      dBias += dRaw;
      dU[at] = dDrive * dt + dy * skip;
      dDelta[at] = dRaw;
    }
    for (int item = threadIdx.x; item < 2 * CHUNK * STATES; item += threads) {
      const int t = item / STATES % CHUNK, n = item % STATES;
      if (first + t >= s.length) continue;
      const float* from = toMixes + item / (CHUNK * STATES) * mixPlane + t * mixStride + n;
      float sums[4] = {};
#pragma unroll 4
      for (int c = 0; c < width / joined; c += 4) {
#pragma unroll
        for (int k = 0; k < 4; k++) sums[k] += from[(c + k) * STATES];
      }
      float* part = item < CHUNK * STATES ? partB : partC;
      part[((int64)blockIdx.x * s.batch * s.length + Brought::row(s, p, first + t)) * STATES + n] =
          (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
  }
  if (p.live) {
    store(dh, dInitial + p.stateAt);
    store(dA, partA + p.stateAt);
  }
  __syncthreads();
  toDt[threadIdx.x] = dSkip;
  toDrive[threadIdx.x] = dBias;
  __syncthreads();
  if (threadIdx.x < width && p.bringing) {
    for (int i = 1; i < LANES; i++) {
      dSkip += toDt[i * width + threadIdx.x];
      dBias += toDrive[i * width + threadIdx.x];
    }
    partD[(int64)p.b * s.channels + p.brought] = dSkip;
    partBias[(int64)p.b * s.channels + p.brought] = dBias;
  }
}
