// Mamba's selective scan: engine/ops/selectiveScan.ts says what is computed. STATES states of a channel
// are shared by LANES neighbouring threads of a warp; each runs its part of them through all steps.
// Compiled per number of states, a multiple of LANES.
constexpr int own = STATES / LANES;      // states of a thread
constexpr int channelsPerWarp = 32 / LANES;
constexpr int warps = 4;
constexpr int channelsPerBlock = warps * channelsPerWarp;
constexpr float log2e = 1.4426950408889634f;

struct Scan {
  const float *u, *delta, *A, *B, *C, *D, *deltaBias, *initial, *z;
  int batch, length, channels, reverse;
};

__device__ __forceinline__ float laneSum(float value) {
#pragma unroll
  for (int offset = LANES / 2; offset > 0; offset >>= 1) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}
/// Over the channels of a warp, for the same states.
__device__ __forceinline__ float channelSum(float value) {
#pragma unroll
  for (int offset = LANES; offset < 32; offset <<= 1) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

struct Place {
  int b, channel, lane;
  bool live;
  __device__ Place(const Scan& s) {
    const int inBlock = threadIdx.x / LANES;
    lane = threadIdx.x % LANES;
    b = blockIdx.y;
    channel = blockIdx.x * channelsPerBlock + inBlock;
    live = channel < s.channels;
    if (!live) channel = s.channels - 1;
  }
};

KERNEL scanForward(const Scan s, float* __restrict__ y, float* __restrict__ last, float* __restrict__ kept,
                   int every) {
  const Place p(s);
  const int64 stateAt = ((int64)p.b * s.channels + p.channel) * STATES + p.lane * own;
  float h[own], a[own];
#pragma unroll
  for (int i = 0; i < own; i++) {
    h[i] = s.initial[stateAt + i];
    a[i] = s.A[(int64)p.channel * STATES + p.lane * own + i] * log2e;
  }
  const float bias = s.deltaBias[p.channel], skip = s.D[p.channel];
  for (int step = 0; step < s.length; step++) {
    if (kept != nullptr && step % every == 0 && p.live) {
      const int64 chunk = step / every;
      float* to = kept + ((chunk * s.batch + p.b) * s.channels + p.channel) * STATES + p.lane * own;
#pragma unroll
      for (int i = 0; i < own; i++) to[i] = h[i];
    }
    const int64 row = (int64)p.b * s.length + (s.reverse ? s.length - 1 - step : step);
    const int64 at = row * s.channels + p.channel;
    const float input = s.u[at];
    const float dt = softplus(s.delta[at] + bias);
    const float drive = dt * input;
    const float* B = s.B + row * STATES + p.lane * own;
    const float* C = s.C + row * STATES + p.lane * own;
    float output = 0.0f;
#pragma unroll
    for (int i = 0; i < own; i++) {
      h[i] = exp2f(dt * a[i]) * h[i] + drive * B[i];
      output += C[i] * h[i];
    }
    if (y != nullptr) {
      output = laneSum(output) + skip * input;
      if (p.lane == 0 && p.live) y[at] = s.z == nullptr ? output : output * silu(s.z[at]);
    }
  }
  if (last != nullptr && p.live) {
#pragma unroll
    for (int i = 0; i < own; i++) last[stateAt + i] = h[i];
  }
}

/// States are computed again from those that `scanForward` kept before every CHUNK steps, and lie in shared
/// memory while the chunk runs backwards. Sums over channels and over the batch are left in parts:
/// partB, partC [blocks, batch, length, states]; partA [batch, channels, states]; partD, partBias [batch, channels].
KERNEL scanBackward(const Scan s, const float* __restrict__ dY, const float* __restrict__ dLast,
                    const float* __restrict__ kept, float* __restrict__ dU, float* __restrict__ dDelta,
                    float* __restrict__ dInitial, float* __restrict__ dZ, float* __restrict__ partA,
                    float* __restrict__ partB, float* __restrict__ partC, float* __restrict__ partD,
                    float* __restrict__ partBias) {
  extern __shared__ float shared[];
  // [CHUNK + 1][own][threads] states, then [2][warps][STATES] sums of one step.
  float* states = shared + threadIdx.x;
  const int stride = blockDim.x;
  float* sums = shared + (CHUNK + 1) * own * stride;
  const Place p(s);
  const int warp = threadIdx.x >> 5, inWarp = threadIdx.x & 31;
  const int64 stateAt = ((int64)p.b * s.channels + p.channel) * STATES + p.lane * own;
  float a[own], dh[own], dA[own];
#pragma unroll
  for (int i = 0; i < own; i++) {
    a[i] = s.A[(int64)p.channel * STATES + p.lane * own + i];
    dh[i] = dLast[stateAt + i];
    dA[i] = 0.0f;
  }
  const float bias = s.deltaBias[p.channel], skip = s.D[p.channel];
  float dSkip = 0.0f, dBias = 0.0f;
  const int chunks = (s.length + CHUNK - 1) / CHUNK;
  for (int chunk = chunks - 1; chunk >= 0; chunk--) {
    const int from = chunk * CHUNK, to = min(s.length, from + CHUNK);
    const float* start = kept + (((int64)chunk * s.batch + p.b) * s.channels + p.channel) * STATES + p.lane * own;
    float h[own];
#pragma unroll
    for (int i = 0; i < own; i++) states[i * stride] = h[i] = start[i];
    for (int step = from; step < to; step++) {
      const int64 row = (int64)p.b * s.length + (s.reverse ? s.length - 1 - step : step);
      const int64 at = row * s.channels + p.channel;
      const float dt = softplus(s.delta[at] + bias), drive = dt * s.u[at];
      const float* B = s.B + row * STATES + p.lane * own;
#pragma unroll
      for (int i = 0; i < own; i++) {
        h[i] = exp2f(dt * a[i] * log2e) * h[i] + drive * B[i];
        states[((step - from + 1) * own + i) * stride] = h[i];
      }
    }
    for (int step = to - 1; step >= from; step--) {
      const int64 row = (int64)p.b * s.length + (s.reverse ? s.length - 1 - step : step);
      const int64 at = row * s.channels + p.channel;
      const float* B = s.B + row * STATES + p.lane * own;
      const float* C = s.C + row * STATES + p.lane * own;
      const float input = s.u[at], raw = s.delta[at] + bias, dt = softplus(raw);
      float dy = dY[at];
      const float* before = states + (step - from) * own * stride;
      if (s.z != nullptr) {
        float ungated = 0.0f;
#pragma unroll
        for (int i = 0; i < own; i++) ungated += C[i] * before[(own + i) * stride];
        ungated = laneSum(ungated) + skip * input;
        const float z = s.z[at], gate = sigmoid(z);
        if (p.lane == 0 && p.live) dZ[at] = dy * ungated * gate * (1.0f + z * (1.0f - gate));
        dy *= z * gate;
      }
      float dDt = 0.0f, dDrive = 0.0f;
#pragma unroll
      for (int i = 0; i < own; i++) {
        const float factor = exp2f(dt * a[i] * log2e);
        const float dState = dh[i] + dy * C[i];
        const float dLog = dState * factor * before[i * stride];
        const float toC = channelSum(p.live ? dy * before[(own + i) * stride] : 0.0f);
        const float toB = channelSum(p.live ? dState * dt * input : 0.0f);
        if (inWarp < LANES) {
          sums[warp * STATES + p.lane * own + i] = toB;
          sums[(warps + warp) * STATES + p.lane * own + i] = toC;
        }
        dA[i] += dLog * dt;
        dDt += dLog * a[i];
        dDrive += dState * B[i];
        dh[i] = dState * factor;
      }
      dDt = laneSum(dDt);
      dDrive = laneSum(dDrive);
      dDt += dDrive * input;
      const float dRaw = dDt / (1.0f + expf(-raw));
      dSkip += dy * input;
      dBias += dRaw;
      if (p.lane == 0 && p.live) {
        dU[at] = dDrive * dt + dy * skip;
        dDelta[at] = dRaw;
      }
      __syncthreads();
      if (threadIdx.x < STATES) {
        float toB = 0.0f, toC = 0.0f;
#pragma unroll
        for (int w = 0; w < warps; w++) {
          toB += sums[w * STATES + threadIdx.x];
          toC += sums[(warps + w) * STATES + threadIdx.x];
        }
        const int64 target = ((int64)blockIdx.x * s.batch * s.length + row) * STATES + threadIdx.x;
        partB[target] = toB;
        partC[target] = toC;
      }
      __syncthreads();
    }
  }
  if (!p.live) return;
#pragma unroll
  for (int i = 0; i < own; i++) {
    dInitial[stateAt + i] = dh[i];
    partA[stateAt + i] = dA[i];
  }
  if (p.lane == 0) {
    partD[(int64)p.b * s.channels + p.channel] = dSkip;
    partBias[(int64)p.b * s.channels + p.channel] = dBias;
  }
}
