// Depthwise convolutions along time and over images: engine/ops/causalConv1d.ts, depthwiseConv2d.ts.

/// The value `step` places into the order of the recurrence; negative places are the state's.
__device__ __forceinline__ float sequenceAt(const float* x, const float* initial, int b, int step, int e,
                                            int length, int channels, int tail, int reverse) {
  if (step < 0) return initial[((int64)b * tail + tail + step) * channels + e];
  return x[((int64)b * length + (reverse ? length - 1 - step : step)) * channels + e];
}

KERNEL causalConv1dForward(const float* x, const float* weight, const float* bias, const float* initial,
                           float* y, float* last, int batch, int length, int channels, int taps, int reverse) {
  const int tail = taps - 1;
  const int64 outputs = (int64)batch * length * channels, all = outputs + (int64)batch * tail * channels;
  for (int64 i = gridThread(); i < all; i += gridThreads()) {
    if (i < outputs) {
      const int e = i % channels, place = i / channels % length, b = i / channels / length;
      const int step = reverse ? length - 1 - place : place;
      float sum = bias[e];
      for (int k = 0; k < taps; k++) {
        sum += weight[k * channels + e] *
               sequenceAt(x, initial, b, step - tail + k, e, length, channels, tail, reverse);
      }
      y[i] = sum;
    } else {
      const int64 at = i - outputs;
      const int e = at % channels, k = at / channels % tail, b = at / channels / tail;
      last[at] = sequenceAt(x, initial, b, length - tail + k, e, length, channels, tail, reverse);
    }
  }
}

/// dX and dInitial.
KERNEL causalConv1dInputs(const float* weight, const float* dY, const float* dLast, float* dX, float* dInitial,
                          int batch, int length, int channels, int taps, int reverse) {
  const int tail = taps - 1;
  const int64 inputs = (int64)batch * length * channels, all = inputs + (int64)batch * tail * channels;
  for (int64 i = gridThread(); i < all; i += gridThreads()) {
    int e, b, step;
    if (i < inputs) {
      const int place = i / channels % length;
      e = i % channels, b = i / channels / length, step = reverse ? length - 1 - place : place;
    } else {
      const int64 at = i - inputs;
      e = at % channels, b = at / channels / tail, step = (int)(at / channels % tail) - tail;
    }
    float sum = 0.0f;
    for (int k = 0; k < taps; k++) {
      const int target = step + tail - k;
      if (target < 0 || target >= length) continue;
      const int row = reverse ? length - 1 - target : target;
      sum += weight[k * channels + e] * dY[((int64)b * length + row) * channels + e];
    }
    const int kept = step - (length - tail);
    if (kept >= 0) sum += dLast[((int64)b * tail + kept) * channels + e];
    if (i < inputs) dX[i] = sum;
    else dInitial[i - inputs] = sum;
  }
}

/// Sums of dY times what each tap saw, and of dY: [pieces, taps + 1, channels]. Steps of all clips are cut
/// into pieces; blocks of 32 × 8.
KERNEL causalConv1dWeights(const float* x, const float* initial, const float* dY, float* partial, int batch,
                           int length, int channels, int taps, int reverse, int pieces) {
  __shared__ float shared[8][32];
  const int e = blockIdx.x * 32 + threadIdx.x, k = blockIdx.z, tail = taps - 1;
  const int64 rows = (int64)batch * length, span = (rows + pieces - 1) / pieces;
  const int64 from = blockIdx.y * span, to = min(rows, from + span);
  float sum = 0.0f;
  if (e < channels) {
    for (int64 r = from + threadIdx.y; r < to; r += 8) {
      const int b = r / length, place = r % length, step = reverse ? length - 1 - place : place;
      const float d = dY[r * channels + e];
      sum += k == taps ? d
                       : d * sequenceAt(x, initial, b, step - tail + k, e, length, channels, tail, reverse);
    }
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && e < channels) {
    for (int i = 1; i < 8; i++) sum += shared[i][threadIdx.x];
    partial[((int64)blockIdx.y * (taps + 1) + k) * channels + e] = sum;
  }
}

/// Where `back`, the gradient of the input: taps reach the other way, and there is no bias.
KERNEL depthwiseSame(const float* x, const float* weight, const float* bias, float* y, int height, int width,
                     int channels, int size, int back, int64 n) {
  const int margin = (size - 1) / 2;
  for (int64 i = gridThread(); i < n; i += gridThreads()) {
    const int c = i % channels, column = i / channels % width, row = i / channels / width % height;
    const int64 frame = i / channels / width / height;
    float sum = back ? 0.0f : bias[c];
    for (int ky = 0; ky < size; ky++) {
      const int from = row + (back ? margin - ky : ky - margin);
      if (from < 0 || from >= height) continue;
      for (int kx = 0; kx < size; kx++) {
        const int at = column + (back ? margin - kx : kx - margin);
        if (at < 0 || at >= width) continue;
        sum += weight[(ky * size + kx) * channels + c] * x[((frame * height + from) * width + at) * channels + c];
      }
    }
    y[i] = sum;
  }
}

/// As `causalConv1dWeights`: [pieces, size² + 1, channels].
KERNEL depthwiseWeights(const float* x, const float* dY, float* partial, int frames, int height, int width,
                        int channels, int size, int pieces) {
  __shared__ float shared[8][32];
  const int c = blockIdx.x * 32 + threadIdx.x, tap = blockIdx.z, margin = (size - 1) / 2;
  const int ky = tap / size - margin, kx = tap % size - margin;
  const int64 pixels = (int64)frames * height * width, span = (pixels + pieces - 1) / pieces;
  const int64 from = blockIdx.y * span, to = min(pixels, from + span);
  float sum = 0.0f;
  if (c < channels) {
    for (int64 p = from + threadIdx.y; p < to; p += 8) {
      const float d = dY[p * channels + c];
      if (tap == size * size) {
        sum += d;
        continue;
      }
      const int column = p % width + kx, row = p / width % height + ky;
      if (row < 0 || row >= height || column < 0 || column >= width) continue;
      sum += d * x[(p + ky * width + kx) * channels + c];
    }
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && c < channels) {
    for (int i = 1; i < 8; i++) sum += shared[i][threadIdx.x];
    partial[((int64)blockIdx.y * (size * size + 1) + tap) * channels + c] = sum;
  }
}
