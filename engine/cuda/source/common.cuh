// What every kernel file begins with. Compiled at run time: no headers beyond the compiler's own.
typedef long long int64;
typedef unsigned char uint8;
#define KERNEL extern "C" __global__ void
#define INFINITE __int_as_float(0x7f800000)
#define NOT_A_NUMBER __int_as_float(0x7fc00000)

/// This thread's number in the grid, and the number of threads.
__device__ __forceinline__ int64 gridThread() { return (int64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64 gridThreads() { return (int64)gridDim.x * blockDim.x; }

template <typename F>
__device__ __forceinline__ float warpReduce(float value, F join) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) value = join(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}
struct Add {
  __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};
struct Largest {
  __device__ __forceinline__ float operator()(float a, float b) const {
    return isnan(a) || a > b ? a : b;
  }
};
struct Smallest {
  __device__ __forceinline__ float operator()(float a, float b) const {
    return isnan(a) || a < b ? a : b;
  }
};
struct Product {
  __device__ __forceinline__ float operator()(float a, float b) const { return a * b; }
};
__device__ __forceinline__ float warpSum(float value) { return warpReduce(value, Add()); }

/// Over all threads of a block (whole warps); every thread gets the result. `shared`: 33 floats.
template <typename F>
__device__ __forceinline__ float blockReduce(float value, F join, float neutral, float* shared) {
  value = warpReduce(value, join);
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, warps = (blockDim.x + 31) >> 5;
  if (lane == 0) shared[warp] = value;
  __syncthreads();
  if (warp == 0) {
    value = warpReduce(lane < warps ? shared[lane] : neutral, join);
    if (lane == 0) shared[32] = value;
  }
  __syncthreads();
  value = shared[32];
  __syncthreads();
  return value;
}

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }
__device__ __forceinline__ float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }

/// Neighbouring values that are read and written at once.
template <int N>
struct Several {
  float at[N];
};
template <int N>
__device__ __forceinline__ Several<N> loadSeveral(const float* from) {
  Several<N> values;
  if constexpr (N == 4) {
    const float4 quad = *reinterpret_cast<const float4*>(from);
    values.at[0] = quad.x, values.at[1] = quad.y, values.at[2] = quad.z, values.at[3] = quad.w;
  } else {
    for (int i = 0; i < N; i++) values.at[i] = from[i];
  }
  return values;
}
template <int N>
__device__ __forceinline__ void storeSeveral(float* to, const Several<N>& values) {
  if constexpr (N == 4) {
    *reinterpret_cast<float4*>(to) = make_float4(values.at[0], values.at[1], values.at[2], values.at[3]);
  } else {
    for (int i = 0; i < N; i++) to[i] = values.at[i];
  }
}

/// What a thread works on where rows of features are cut into pieces: `width` features from f on, and every
/// blockDim.y-th row of the piece [from, to) of its block (`launches/pieces.ts`).
struct Piece {
  int64 from, to;
  int f;
  __device__ Piece(int64 rows, int pieces, int width) {
    const int64 length = (rows + pieces - 1) / pieces;
    from = blockIdx.y * length, to = min(rows, from + length);
    f = (blockIdx.x * blockDim.x + threadIdx.x) * width;
  }
};
