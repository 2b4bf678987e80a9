// Sums and the like over one axis, and normalisations by their results.

#define REDUCTION(NAME, JOIN, NEUTRAL)                                                                \
  /* Neighbouring values, a block for each row. */                                                    \
  KERNEL NAME##Rows(const float* x, float* y, int64 reduced, float scale, int64 rows) {               \
    __shared__ float shared[33];                                                                      \
    for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {                                      \
      float value = NEUTRAL;                                                                          \
      for (int64 i = threadIdx.x; i < reduced; i += blockDim.x) value = JOIN()(value, x[row * reduced + i]); \
      value = blockReduce(value, JOIN(), NEUTRAL, shared);                                            \
      if (threadIdx.x == 0) y[row] = value * scale;                                                   \
    }                                                                                                 \
  }                                                                                                   \
  /* An axis with others inside: blocks of 32 × 8, each thread a column and an eighth of its rows. */ \
  KERNEL NAME##Columns(const float* x, float* y, int64 reduced, int64 inner, int64 pieces, float scale) { \
    __shared__ float shared[8][32];                                                                   \
    const int64 columnBlocks = (inner + 31) / 32, outer = blockIdx.x / columnBlocks;                  \
    const int64 column = blockIdx.x % columnBlocks * 32 + threadIdx.x, piece = blockIdx.y;            \
    const int64 length = (reduced + pieces - 1) / pieces;                                             \
    const int64 from = piece * length, to = min(reduced, from + length);                              \
    float value = NEUTRAL;                                                                            \
    if (column < inner)                                                                               \
      for (int64 r = from + threadIdx.y; r < to; r += 8)                                              \
        value = JOIN()(value, x[(outer * reduced + r) * inner + column]);                             \
    shared[threadIdx.y][threadIdx.x] = value;                                                         \
    __syncthreads();                                                                                  \
    if (threadIdx.y == 0 && column < inner) {                                                         \
      for (int i = 1; i < 8; i++) value = JOIN()(value, shared[i][threadIdx.x]);                      \
      y[(outer * pieces + piece) * inner + column] = value * scale;                                   \
    }                                                                                                 \
  }

REDUCTION(Sum, Add, 0.0f)
REDUCTION(Prod, Product, 1.0f)
REDUCTION(Max, Largest, -INFINITE)
REDUCTION(Min, Smallest, INFINITE)

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
