// Depthwise convolutions along time and over images: engine/ops/causalConv1d.ts, depthwiseConv2d.ts. Compiled for
// WIDTH channels a thread, which it reads at once, and for TAPS taps: along time, or in a row and a column of an image.
// Rows, which are steps of clips or pixels of frames, come in pieces.
using Values = Several<WIDTH>;
#define EACH(i) _Pragma("unroll") for (int i = 0; i < WIDTH; i++)
#define EACH_TAP(k) _Pragma("unroll") for (int k = 0; k < TAPS; k++)

// Blocks of images that a multiprocessor runs at once (`launches/convolve.ts`), where registers suffice.
constexpr int resident = WIDTH * TAPS * TAPS <= 36 ? 3 : 1;

__device__ __forceinline__ Values load(const float* from) { return loadSeveral<WIDTH>(from); }
__device__ __forceinline__ void addProduct(Values& sum, const Values& a, const Values& b) {
  EACH(i) sum.at[i] += a.at[i] * b.at[i];
}

/// Sums over the rows of a block, of N values each: [pieces, N, channels]. Blocks of 256 threads; all of them call.
template <int N>
__device__ __forceinline__ void writeSums(float* partial, const Values (&sums)[N], int channels, int c) {
  __shared__ float4 shared[64 * WIDTH];  // [256, WIDTH]
  float* values = reinterpret_cast<float*>(shared);
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
  for (int n = 0; n < N; n++) {
    __syncthreads();
    storeSeveral(values + thread * WIDTH, sums[n]);
    __syncthreads();
    if (threadIdx.y > 0 || c >= channels) continue;
    Values sum = sums[n];
    for (int y = 1; y < blockDim.y; y++) {
      EACH(i) sum.at[i] += values[(y * blockDim.x + threadIdx.x) * WIDTH + i];
    }
    storeSeveral(partial + ((int64)blockIdx.y * N + n) * channels + c, sum);
  }
}

/// The values `step` places into the order of the recurrence; negative places are the state's.
__device__ __forceinline__ Values sequenceAt(const float* x, const float* initial, int b, int step, int e, int length,
                                             int channels, int reverse) {
  const int tail = TAPS - 1;
  if (step < 0) return load(initial + ((int64)b * tail + tail + step) * channels + e);
  return load(x + ((int64)b * length + (reverse ? length - 1 - step : step)) * channels + e);
}

/// Rows: of each clip its steps and then those that stay for the next chunk.
KERNEL causalConv1dForward(const float* __restrict__ x, const float* weight, const float* bias,
                           const float* __restrict__ initial, float* __restrict__ y, float* __restrict__ last,
                           int batch, int length, int channels, int reverse, int pieces) {
  const int tail = TAPS - 1;
  const Piece piece(batch * (length + tail), pieces, WIDTH);
  const int e = piece.f;
  if (e >= channels) return;
  Values weights[TAPS];
  EACH_TAP(k) weights[k] = load(weight + k * channels + e);
  const Values offset = load(bias + e);
  for (int row = piece.from + threadIdx.y; row < piece.to; row += blockDim.y) {
    const int b = row / (length + tail), step = row - b * (length + tail);
    if (step >= length) {
      const Values value = sequenceAt(x, initial, b, step - tail, e, length, channels, reverse);
      storeSeveral(last + ((int64)b * tail + step - length) * channels + e, value);
      continue;
    }
    Values sum = offset;
    EACH_TAP(k) addProduct(sum, weights[k], sequenceAt(x, initial, b, step - tail + k, e, length, channels, reverse));
    storeSeveral(y + ((int64)b * length + (reverse ? length - 1 - step : step)) * channels + e, sum);
  }
}

/// dX and dInitial. Rows: of each clip the steps of its state and then its own.
KERNEL causalConv1dInputs(const float* weight, const float* __restrict__ dY, const float* __restrict__ dLast,
                          float* __restrict__ dX, float* __restrict__ dInitial, int batch, int length, int channels,
                          int reverse, int pieces) {
  const int tail = TAPS - 1;
  const Piece piece(batch * (length + tail), pieces, WIDTH);
  const int e = piece.f;
  if (e >= channels) return;
  Values weights[TAPS];
  EACH_TAP(k) weights[k] = load(weight + k * channels + e);
  for (int row = piece.from + threadIdx.y; row < piece.to; row += blockDim.y) {
    const int b = row / (length + tail), step = row - b * (length + tail) - tail;
    Values sum = {};
    EACH_TAP(k) {
      const int target = step + tail - k;
      if (target < 0 || target >= length) continue;
      const int place = reverse ? length - 1 - target : target;
      addProduct(sum, weights[k], load(dY + ((int64)b * length + place) * channels + e));
    }
    const int kept = step - (length - tail);
    if (kept >= 0) {
      const Values own = load(dLast + ((int64)b * tail + kept) * channels + e);
      EACH(i) sum.at[i] += own.at[i];
    }
    const int place = reverse ? length - 1 - step : step;
    storeSeveral(step < 0 ? dInitial + ((int64)b * tail + tail + step) * channels + e
                          : dX + ((int64)b * length + place) * channels + e,
                 sum);
  }
}

/// Sums of dY times what each tap saw, and of dY: [pieces, TAPS + 1, channels].
KERNEL causalConv1dWeights(const float* x, const float* initial, const float* dY, float* partial, int batch,
                           int length, int channels, int reverse, int pieces) {
  const int tail = TAPS - 1;
  const Piece piece(batch * length, pieces, WIDTH);
  const int e = piece.f;
  Values sums[TAPS + 1] = {};
  if (e < channels) {
    for (int row = piece.from + threadIdx.y; row < piece.to; row += blockDim.y) {
      const int b = row / length, place = row - b * length, step = reverse ? length - 1 - place : place;
      const Values d = load(dY + (int64)row * channels + e);
      EACH_TAP(k)
      addProduct(sums[k], d, sequenceAt(x, initial, b, step - tail + k, e, length, channels, reverse));
      EACH(i) sums[TAPS].at[i] += d.at[i];
    }
  }
  writeSums(partial, sums, channels, e);
}

/// Where `back`, the gradient of the input: taps reach the other way, and there is no bias.
KERNEL __launch_bounds__(256, resident)
    depthwiseSame(const float* __restrict__ x, const float* weight, const float* bias, float* __restrict__ y,
                  int frames, int height, int width, int channels, int back, int pieces) {
  const int margin = (TAPS - 1) / 2;
  const Piece piece(frames * height * width, pieces, WIDTH);
  const int c = piece.f;
  if (c >= channels) return;
  Values weights[TAPS * TAPS];
  EACH_TAP(ky) EACH_TAP(kx) {
    const int tap = ky * TAPS + kx;
    weights[tap] = load(weight + (back ? TAPS * TAPS - 1 - tap : tap) * channels + c);
  }
  const Values offset = back ? Values{} : load(bias + c);
  // An even number of taps reaches one further to one side, which is the other one on the way back.
  const int before = back ? TAPS - 1 - margin : margin;
  for (int p = piece.from + threadIdx.y; p < piece.to; p += blockDim.y) {
    const int line = p / width, column = p - line * width, row = line % height;
    Values sum = offset;
    EACH_TAP(ky) EACH_TAP(kx) {
      const int up = ky - before, along = kx - before;
      if (row + up < 0 || row + up >= height || column + along < 0 || column + along >= width) continue;
      addProduct(sum, weights[ky * TAPS + kx], load(x + (int64)(p + up * width + along) * channels + c));
    }
    storeSeveral(y + (int64)p * channels + c, sum);
  }
}

/// As `causalConv1dWeights`: [pieces, TAPS² + 1, channels].
KERNEL __launch_bounds__(256, resident)
    depthwiseWeights(const float* x, const float* dY, float* partial, int frames, int height, int width, int channels,
                     int pieces) {
  const int margin = (TAPS - 1) / 2;
  const Piece piece(frames * height * width, pieces, WIDTH);
  const int c = piece.f;
  Values sums[TAPS * TAPS + 1] = {};
  if (c < channels) {
    for (int p = piece.from + threadIdx.y; p < piece.to; p += blockDim.y) {
      const int line = p / width, column = p - line * width, row = line % height;
      const Values d = load(dY + (int64)p * channels + c);
      EACH_TAP(ky) EACH_TAP(kx) {
        const int up = ky - margin, along = kx - margin;
        if (row + up < 0 || row + up >= height || column + along < 0 || column + along >= width) continue;
        addProduct(sums[ky * TAPS + kx], d, load(x + (int64)(p + up * width + along) * channels + c));
      }
      EACH(i) sums[TAPS * TAPS].at[i] += d.at[i];
    }
  }
  writeSums(partial, sums, channels, c);
}
