// Normalisation: engine/ops/normalise.ts says what is computed.

// Sums by feature are compiled for WIDTH features a thread, which it reads at once: 4 where they divide so, or 1.
#ifndef WIDTH
#define WIDTH 1
#endif
using Values = Several<WIDTH>;
__device__ __forceinline__ Values load(const float* from) { return loadSeveral<WIDTH>(from); }
#define EACH(i) _Pragma("unroll") for (int i = 0; i < WIDTH; i++)

/// Two sums by feature and piece of rows, [pieces, 2, features]: `add` adds what a row gives. Blocks of 256 threads.
template <typename F>
__device__ __forceinline__ void featureSums(float* partial, const Piece& piece, int features, F add) {
  __shared__ float4 shared[2][64 * WIDTH];  // [256, WIDTH]
  const int f = piece.f;
  Values first = {}, second = {};
  if (f < features) {
#pragma unroll 4
    for (int64 r = piece.from + threadIdx.y; r < piece.to; r += blockDim.y) add(r, r * features + f, first, second);
  }
  float* firsts = reinterpret_cast<float*>(shared[0]);
  float* seconds = reinterpret_cast<float*>(shared[1]);
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  storeSeveral(firsts + thread * WIDTH, first);
  storeSeveral(seconds + thread * WIDTH, second);
  __syncthreads();
  if (threadIdx.y > 0 || f >= features) return;
  for (int y = 1; y < blockDim.y; y++) {
    const int other = (y * blockDim.x + threadIdx.x) * WIDTH;
    EACH(i) first.at[i] += firsts[other + i], second.at[i] += seconds[other + i];
  }
  storeSeveral(partial + (int64)blockIdx.y * 2 * features + f, first);
  storeSeveral(partial + ((int64)blockIdx.y * 2 + 1) * features + f, second);
}

/// The sums of all pieces, by blocks of 32 features × 32; valid where threadIdx.y is 0.
__device__ __forceinline__ void joinPieces(const float* partial, int f, int features, int pieces, double& first,
                                           double& second) {
  __shared__ double shared[2][32][32];
  first = second = 0;
  if (f < features) {
#pragma unroll 4
    for (int p = threadIdx.y; p < pieces; p += 32) {
      first += partial[(int64)p * 2 * features + f];
      second += partial[((int64)p * 2 + 1) * features + f];
    }
  }
  shared[0][threadIdx.y][threadIdx.x] = first;
  shared[1][threadIdx.y][threadIdx.x] = second;
  __syncthreads();
  for (int y = 1; threadIdx.y == 0 && y < 32; y++) {
    first += shared[0][y][threadIdx.x];
    second += shared[1][y][threadIdx.x];
  }
}

/// Sums of x - x[0] and of its square: shifted by the first row, so that a large mean harms no digits.
KERNEL batchNormSums(const float* x, float* partial, int64 rows, int features, int pieces) {
  const Piece piece(rows, pieces, WIDTH);
  const Values origin = load(x + (piece.f < features ? piece.f : 0));
  featureSums(partial, piece, features, [=](int64 r, int64 at, Values& sum, Values& squares) {
    const Values row = load(x + at);
    EACH(i) {
      const float value = row.at[i] - origin.at[i];
      sum.at[i] += value;
      squares.at[i] += value * value;
    }
  });
}
KERNEL batchNormJoin(const float* x, const float* partial, const float* scale, float* mean, float* variance,
                     float* factor, int64 rows, int features, int pieces, float epsilon) {
  const int f = blockIdx.x * 32 + threadIdx.x;
  double sum, squares;
  joinPieces(partial, f, features, pieces, sum, squares);
  if (threadIdx.y > 0 || f >= features) return;
  const double shifted = sum / rows;
  const double spread = fmax(0.0, squares / rows - shifted * shifted);
  mean[f] = (float)(x[f] + shifted);
  variance[f] = (float)spread;
  factor[f] = (float)(scale[f] / sqrt(spread + epsilon));
}
KERNEL batchNormFactor(const float* scale, const float* variance, float* factor, int features, float epsilon) {
  const int f = gridThread();
  if (f < features) factor[f] = (scale == nullptr ? 1.0f : scale[f]) / sqrtf(variance[f] + epsilon);
}
/// Goes through a piece from its last row to its first: what the sums have read last still lies in the cache.
KERNEL batchNormApply(const float* __restrict__ x, const float* mean, const float* factor, const float* shift,
                      float* __restrict__ y, int64 rows, int features, int pieces) {
  const Piece piece(rows, pieces, WIDTH);
  if (piece.f >= features) return;
  const Values middle = load(mean + piece.f), slope = load(factor + piece.f);
  const Values offset = shift == nullptr ? Values{} : load(shift + piece.f);
#pragma unroll 4
  for (int64 r = piece.to - 1 - threadIdx.y; r >= piece.from; r -= blockDim.y) {
    const int64 at = r * features + piece.f;
    Values row = load(x + at);
    EACH(i) row.at[i] = (row.at[i] - middle.at[i]) * slope.at[i] + offset.at[i];
    storeSeveral(y + at, row);
  }
}

__device__ __forceinline__ Values inverseRoots(const float* variance, float epsilon) {
  Values values = load(variance);
  EACH(i) values.at[i] = 1.0f / sqrtf(values.at[i] + epsilon);
  return values;
}

/// Sums of dY and of dY · normal.
KERNEL batchNormGradientSums(const float* x, const float* mean, const float* variance, const float* dY,
                             float* partial, int64 rows, int features, int pieces, float epsilon) {
  const Piece piece(rows, pieces, WIDTH);
  const int f = piece.f < features ? piece.f : 0;
  const Values middle = load(mean + f), inverse = inverseRoots(variance + f, epsilon);
  featureSums(partial, piece, features, [=](int64 r, int64 at, Values& sum, Values& overlap) {
    const Values d = load(dY + at), row = load(x + at);
    EACH(i) {
      sum.at[i] += d.at[i];
      overlap.at[i] += d.at[i] * ((row.at[i] - middle.at[i]) * inverse.at[i]);
    }
  });
}
KERNEL batchNormGradientJoin(const float* partial, float* dScale, float* dShift, int features, int pieces) {
  const int f = blockIdx.x * 32 + threadIdx.x;
  double sum, overlap;
  joinPieces(partial, f, features, pieces, sum, overlap);
  if (threadIdx.y > 0 || f >= features) return;
  dShift[f] = (float)sum;
  dScale[f] = (float)overlap;
}
/// As `batchNormApply`.
KERNEL batchNormGradient(const float* __restrict__ x, const float* scale, const float* mean, const float* variance,
                         const float* __restrict__ dY, const float* dScale, const float* dShift,
                         float* __restrict__ dX, int64 rows, int features, int pieces, float epsilon) {
  const Piece piece(rows, pieces, WIDTH);
  const int f = piece.f;
  if (f >= features) return;
  const Values middle = load(mean + f), inverse = inverseRoots(variance + f, epsilon);
  Values factor = load(scale + f), offset = load(dShift + f), slope = load(dScale + f);
  EACH(i) {
    factor.at[i] *= inverse.at[i];
    offset.at[i] /= rows;
    slope.at[i] /= rows;
  }
#pragma unroll 4
  for (int64 r = piece.to - 1 - threadIdx.y; r >= piece.from; r -= blockDim.y) {
    const int64 at = r * features + f;
    const Values row = load(x + at);
    Values d = load(dY + at);
    EACH(i) {
      const float normal = (row.at[i] - middle.at[i]) * inverse.at[i];
      d.at[i] = factor.at[i] * (d.at[i] - (offset.at[i] + normal * slope.at[i]));
    }
    storeSeveral(dX + at, d);
  }
}

/// Mean and 1 / root of the mean square about it, of one row, by a warp.
__device__ __forceinline__ void rowStatistics(const float* x, int features, int centred, float epsilon,
                                              float& mean, float& inverse) {
  const int lane = threadIdx.x & 31;
  mean = 0.0f;
  if (centred) {
    for (int f = lane; f < features; f += 32) mean += x[f];
    mean = warpSum(mean) / features;
  }
  float squares = 0.0f;
  for (int f = lane; f < features; f += 32) {
    const float value = x[f] - mean;
    squares += value * value;
  }
  inverse = 1.0f / sqrtf(warpSum(squares) / features + epsilon);
}

KERNEL rowNormForward(const float* x, const float* scale, const float* shift, float* y, int64 rows,
                      int features, float epsilon) {
  for (int64 row = gridThread() >> 5; row < rows; row += gridThreads() >> 5) {
    const float* from = x + row * features;
    float mean, inverse;
    rowStatistics(from, features, shift != nullptr, epsilon, mean, inverse);
    for (int f = threadIdx.x & 31; f < features; f += 32) {
      const float value = (from[f] - mean) * inverse * scale[f];
      y[row * features + f] = shift == nullptr ? value : value + shift[f];
    }
  }
}

/// dX, and per row its mean and inverse for the sums that follow: [rows, 2].
KERNEL rowNormBackward(const float* x, const float* scale, const float* dY, float* dX, float* statistics,
                       int64 rows, int features, int centred, float epsilon) {
  const int lane = threadIdx.x & 31;
  for (int64 row = gridThread() >> 5; row < rows; row += gridThreads() >> 5) {
    const float* from = x + row * features;
    const float* d = dY + row * features;
    float mean, inverse;
    rowStatistics(from, features, centred, epsilon, mean, inverse);
    float sum = 0.0f, overlap = 0.0f;
    for (int f = lane; f < features; f += 32) {
      const float weighted = d[f] * scale[f];
      if (centred) sum += weighted;
      overlap += weighted * (from[f] - mean) * inverse;
    }
    sum = warpSum(sum);
    overlap = warpSum(overlap);
    for (int f = lane; f < features; f += 32) {
      const float normal = (from[f] - mean) * inverse;
      dX[row * features + f] = inverse * (d[f] * scale[f] - (sum + normal * overlap) / features);
    }
    if (lane == 0) statistics[2 * row] = mean, statistics[2 * row + 1] = inverse;
  }
}
/// Sums of dY and of dY · normal, by the statistics of each row.
KERNEL rowNormSums(const float* x, const float* dY, const float* statistics, float* partial, int64 rows,
                   int features, int pieces) {
  featureSums(partial, Piece(rows, pieces, WIDTH), features, [=](int64 r, int64 at, Values& sum, Values& overlap) {
    const float* row = statistics + 2 * r;
    const Values d = load(dY + at), values = load(x + at);
    EACH(i) {
      sum.at[i] += d.at[i];
      overlap.at[i] += d.at[i] * ((values.at[i] - row[0]) * row[1]);
    }
  });
}
