// Normalisation: engine/ops/normalise.ts says what is computed.

/// Two sums by feature and piece of rows, [pieces, 2, features], by blocks of 32 features × 8 rows: `add` adds what
/// a row gives.
template <typename F>
__device__ __forceinline__ void featureSums(float* partial, int64 rows, int features, int pieces, F add) {
  __shared__ float shared[2][8][32];
  const int f = blockIdx.x * 32 + threadIdx.x;
  const int64 length = (rows + pieces - 1) / pieces;
  const int64 from = blockIdx.y * length, to = min(rows, from + length);
  float first = 0.0f, second = 0.0f;
  if (f < features)
    for (int64 r = from + threadIdx.y; r < to; r += 8) add(r, f, first, second);
  shared[0][threadIdx.y][threadIdx.x] = first;
  shared[1][threadIdx.y][threadIdx.x] = second;
  __syncthreads();
  if (threadIdx.y == 0 && f < features) {
    for (int i = 1; i < 8; i++) first += shared[0][i][threadIdx.x], second += shared[1][i][threadIdx.x];
    partial[(blockIdx.y * 2) * features + f] = first;
    partial[(blockIdx.y * 2 + 1) * features + f] = second;
  }
}

/// Sums of x - x[0] and of its square: shifted by the first row, so that a large mean harms no digits.
KERNEL batchNormSums(const float* x, float* partial, int64 rows, int features, int pieces) {
  featureSums(partial, rows, features, pieces, [=](int64 r, int f, float& sum, float& squares) {
    const float value = x[r * features + f] - x[f];
    sum += value;
    squares += value * value;
  });
}
KERNEL batchNormJoin(const float* x, const float* partial, const float* scale, float* mean, float* variance,
                     float* factor, int64 rows, int features, int pieces, float epsilon) {
  const int f = gridThread();
  if (f >= features) return;
  double sum = 0, squares = 0;
  for (int p = 0; p < pieces; p++) {
    sum += partial[(p * 2) * features + f];
    squares += partial[(p * 2 + 1) * features + f];
  }
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
KERNEL batchNormApply(const float* x, const float* mean, const float* factor, const float* shift, float* y,
                      int features, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) {
    const int f = i % features;
    y[i] = (x[i] - mean[f]) * factor[f] + (shift == nullptr ? 0.0f : shift[f]);
  }
}

/// Sums of dY and of dY · normal.
KERNEL batchNormGradientSums(const float* x, const float* mean, const float* variance, const float* dY,
                             float* partial, int64 rows, int features, int pieces, float epsilon) {
  featureSums(partial, rows, features, pieces, [=](int64 r, int f, float& sum, float& overlap) {
    const float d = dY[r * features + f];
    sum += d;
    overlap += d * (x[r * features + f] - mean[f]) / sqrtf(variance[f] + epsilon);
  });
}
KERNEL batchNormGradientJoin(const float* partial, float* dScale, float* dShift, int features, int pieces) {
  const int f = gridThread();
  if (f >= features) return;
  double sum = 0, overlap = 0;
  for (int p = 0; p < pieces; p++) {
    sum += partial[(p * 2) * features + f];
    overlap += partial[(p * 2 + 1) * features + f];
  }
  dShift[f] = (float)sum;
  dScale[f] = (float)overlap;
}
KERNEL batchNormGradient(const float* x, const float* scale, const float* mean, const float* variance,
                         const float* dY, const float* dScale, const float* dShift, float* dX, int64 rows,
                         int features, float epsilon, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) {
    const int f = i % features;
    const float inverse = 1.0f / sqrtf(variance[f] + epsilon);
    const float normal = (x[i] - mean[f]) * inverse;
    dX[i] = scale[f] * inverse * (dY[i] - (dShift[f] + normal * dScale[f]) / rows);
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
  featureSums(partial, rows, features, pieces, [=](int64 r, int f, float& sum, float& overlap) {
    const float d = dY[r * features + f];
    sum += d;
    overlap += d * (x[r * features + f] - statistics[2 * r]) * statistics[2 * r + 1];
  });
}
