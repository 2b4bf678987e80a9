// Sums and the like over one axis, and normalisations by their results.

/// Short rows: `group` neighbouring threads for each, a power of two up to 32.
template <typename Join>
__device__ __forceinline__ void reduceRows(const float* x, float* y, int64 reduced, int group, float scale,
                                           int64 rows, float neutral) {
  const Join join;
  const int lane = threadIdx.x & (group - 1), perBlock = blockDim.x / group;
  for (int64 first = (int64)blockIdx.x * perBlock; first < rows; first += (int64)gridDim.x * perBlock) {
    const int64 row = first + threadIdx.x / group;
    float value = neutral;
    if (row < rows)
      for (int64 i = lane; i < reduced; i += group) value = join(value, x[row * reduced + i]);
    for (int offset = group >> 1; offset > 0; offset >>= 1)
      value = join(value, __shfl_xor_sync(0xffffffffu, value, offset));
    if (lane == 0 && row < rows) y[row] = value * scale;
  }
}

/// Long rows, each in pieces of the same length, a block for a piece: y is [rows, pieces].
template <typename Join>
__device__ __forceinline__ void reducePieces(const float* x, float* y, int64 reduced, int64 pieces, float scale,
                                             int64 rows, float neutral) {
  __shared__ float shared[33];
  const Join join;
  const int64 length = (reduced + 4 * pieces - 1) / (4 * pieces) * 4;
  for (int64 at = blockIdx.x; at < rows * pieces; at += gridDim.x) {
    const int64 row = at / pieces, from = (at - row * pieces) * length, to = min(reduced, from + length);
    const float* values = x + row * reduced;
    float value = neutral;
    if (reduced % 4 == 0 && (unsigned long long)x % 16 == 0) {
      float parts[4] = {neutral, neutral, neutral, neutral};
      const float4* quads = reinterpret_cast<const float4*>(values);
#pragma unroll 4
      for (int64 i = from / 4 + threadIdx.x; i < to / 4; i += blockDim.x) {
        const float4 quad = quads[i];
        parts[0] = join(parts[0], quad.x), parts[1] = join(parts[1], quad.y);
        parts[2] = join(parts[2], quad.z), parts[3] = join(parts[3], quad.w);
      }
      value = join(join(parts[0], parts[1]), join(parts[2], parts[3]));
    } else {
#pragma unroll 4
      for (int64 i = from + threadIdx.x; i < to; i += blockDim.x) value = join(value, values[i]);
    }
    value = blockReduce(value, join, neutral, shared);
    if (threadIdx.x == 0) y[at] = value * scale;
  }
}

/// An axis with others inside, in pieces: y is [outer, pieces, inner]. Blocks of 256 threads, so many columns wide
/// as `inner` has up to 32; each thread takes a column and some of its rows.
template <typename Join>
__device__ __forceinline__ void reduceColumns(const float* x, float* y, int64 reduced, int64 inner,
                                              int64 pieces, float scale, float neutral) {
  __shared__ float shared[256];
  const Join join;
  const int64 columnBlocks = (inner + blockDim.x - 1) / blockDim.x, outer = blockIdx.x / columnBlocks;
  const int64 column = blockIdx.x % columnBlocks * blockDim.x + threadIdx.x, piece = blockIdx.y;
  const int64 length = (reduced + pieces - 1) / pieces;
  const int64 from = piece * length, to = min(reduced, from + length), step = blockDim.y;
  float value = neutral;
  if (column < inner) {
    const float* values = x + outer * reduced * inner + column;
    float parts[4] = {neutral, neutral, neutral, neutral};
    int64 r = from + threadIdx.y;
    for (; r + 3 * step < to; r += 4 * step) {
#pragma unroll
      for (int k = 0; k < 4; k++) parts[k] = join(parts[k], values[(r + k * step) * inner]);
    }
    for (; r < to; r += step) parts[0] = join(parts[0], values[r * inner]);
    value = join(join(parts[0], parts[1]), join(parts[2], parts[3]));
  }
  const int at = threadIdx.y * blockDim.x + threadIdx.x;
  shared[at] = value;
  __syncthreads();
  if (threadIdx.y == 0 && column < inner) {
    for (int i = 1; i < blockDim.y; i++) value = join(value, shared[i * blockDim.x + threadIdx.x]);
    y[(outer * pieces + piece) * inner + column] = value * scale;
  }
}

#define REDUCTION(NAME, JOIN, NEUTRAL)                                                                      \
  KERNEL NAME##Rows(const float* x, float* y, int64 reduced, int group, float scale, int64 rows) {          \
    reduceRows<JOIN>(x, y, reduced, group, scale, rows, NEUTRAL);                                           \
  }                                                                                                         \
  KERNEL NAME##Pieces(const float* x, float* y, int64 reduced, int64 pieces, float scale, int64 rows) {     \
    reducePieces<JOIN>(x, y, reduced, pieces, scale, rows, NEUTRAL);                                        \
  }                                                                                                         \
  KERNEL NAME##Columns(const float* x, float* y, int64 reduced, int64 inner, int64 pieces, float scale) {   \
    reduceColumns<JOIN>(x, y, reduced, inner, pieces, scale, NEUTRAL);                                      \
  }

REDUCTION(Sum, Add, 0.0f)
REDUCTION(Prod, Product, 1.0f)
REDUCTION(Max, Largest, -INFINITE)
REDUCTION(Min, Smallest, INFINITE)

/// Sums of the values so far along an axis with others inside, a thread for each line along it.
KERNEL cumulativeSum(const float* x, float* y, int64 length, int64 inner, int exclusive, int reverse,
                     int64 lines) {
  for (int64 line = gridThread(); line < lines; line += gridThreads()) {
    const int64 from = line / inner * length * inner + line % inner;
    float sum = 0.0f;
    for (int64 i = 0; i < length; i++) {
      const int64 at = from + (reverse ? length - 1 - i : i) * inner;
      const float value = x[at];
      y[at] = exclusive ? sum : sum + value;
      sum += value;
    }
  }
}
/// The same along the innermost axis, a block of 256 threads for each row.
KERNEL cumulativeSumRows(const float* x, float* y, int64 length, int exclusive, int reverse, int64 rows) {
  __shared__ float ofWarps[8];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    float before = 0.0f;
    for (int64 first = 0; first < length; first += blockDim.x) {
      const int64 i = first + threadIdx.x, at = row * length + (reverse ? length - 1 - i : i);
      const float value = i < length ? x[at] : 0.0f;
      float sum = value;
#pragma unroll
      for (int offset = 1; offset < 32; offset <<= 1) {
        const float other = __shfl_up_sync(0xffffffffu, sum, offset);
        if (lane >= offset) sum += other;
      }
      if (lane == 31) ofWarps[warp] = sum;
      __syncthreads();
      float earlier = before;
      for (int w = 0; w < 8; w++) {
        if (w < warp) earlier += ofWarps[w];
        before += ofWarps[w];
      }
      if (i < length) y[at] = earlier + (exclusive ? sum - value : sum);
      __syncthreads();
    }
  }
}

KERNEL softmax(const float* x, float* y, int64 n, int64 rows) {
  __shared__ float shared[33];
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const float* from = x + row * n;
    float most = -INFINITE;
    for (int64 i = threadIdx.x; i < n; i += blockDim.x) most = Largest()(most, from[i]);
    most = blockReduce(most, Largest(), -INFINITE, shared);
    float sum = 0.0f;
    for (int64 i = threadIdx.x; i < n; i += blockDim.x) sum += expf(from[i] - most);
    sum = blockReduce(sum, Add(), 0.0f, shared);
    for (int64 i = threadIdx.x; i < n; i += blockDim.x) y[row * n + i] = expf(from[i] - most) / sum;
  }
}

/// engine/ops/softmaxCrossEntropy.ts; a warp for each row.
KERNEL crossEntropyForward(const float* logits, const float* targets, float* loss, int64 rows, int classes) {
  const int lane = threadIdx.x & 31;
  for (int64 row = gridThread() >> 5; row < rows; row += gridThreads() >> 5) {
    const float* x = logits + row * classes;
    float most = -INFINITE, sum = 0.0f, result = 0.0f;
    for (int k = lane; k < classes; k += 32) most = Largest()(most, x[k]);
    most = warpReduce(most, Largest());
    for (int k = lane; k < classes; k += 32) sum += expf(x[k] - most);
    const float logSum = logf(warpSum(sum));
    for (int k = lane; k < classes; k += 32) result += targets[row * classes + k] * (logSum - (x[k] - most));
    result = warpSum(result);
    if (lane == 0) loss[row] = result;
  }
}
KERNEL crossEntropyBackward(const float* logits, const float* targets, const float* dLoss, float* dLogits,
                            float* dTargets, int64 rows, int classes) {
  const int lane = threadIdx.x & 31;
  for (int64 row = gridThread() >> 5; row < rows; row += gridThreads() >> 5) {
    const float* x = logits + row * classes;
    const float* target = targets + row * classes;
    float most = -INFINITE, sum = 0.0f, total = 0.0f;
    for (int k = lane; k < classes; k += 32) most = Largest()(most, x[k]);
    most = warpReduce(most, Largest());
    for (int k = lane; k < classes; k += 32) sum += expf(x[k] - most), total += target[k];
    const float logSum = logf(warpSum(sum));
    total = warpSum(total);
    for (int k = lane; k < classes; k += 32) {
      const float logProbability = x[k] - most - logSum;
      dLogits[row * classes + k] = dLoss[row] * (total * expf(logProbability) - target[k]);
      dTargets[row * classes + k] = -dLoss[row] * logProbability;
    }
  }
}

/// engine/ops/spikes.ts: how many values are not 0, and how many of those not 1. One block.
KERNEL countSpikes(const float* x, float* counts, int64 n) {
  __shared__ float shared[33];
  float fired = 0.0f, graded = 0.0f;
  for (int64 i = threadIdx.x; i < n; i += blockDim.x) {
    fired += x[i] != 0.0f;
    graded += x[i] != 0.0f && x[i] != 1.0f;
  }
  fired = blockReduce(fired, Add(), 0.0f, shared);
  graded = blockReduce(graded, Add(), 0.0f, shared);
  if (threadIdx.x == 0) counts[0] = fired, counts[1] = graded;
}
