// Over many tensors at once. What they are comes with the launch: a block works on a piece of one of them.

constexpr int most = 80;
constexpr int pieceLength = 4096;

/// Up to 4 arrays for each tensor, its length, its first block, and two settings of its own.
struct Tensors {
  float* arrays[4][most];
  int length[most];
  int firstBlock[most];
  float setting[2][most];
  int count;
  int unused;
};

/// The tensor that this block works on.
__device__ __forceinline__ int tensorOfBlock(const Tensors& tensors) {
  int low = 0, high = tensors.count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (tensors.firstBlock[middle] <= (int)blockIdx.x) low = middle;
    else high = middle;
  }
  return low;
}

/// Over all threads of a block of 256; thread 0 has the result. `shared`: 8 doubles.
__device__ __forceinline__ double blockSum(double value, double* shared) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_xor_sync(0xffffffffu, value, offset);
  if ((threadIdx.x & 31) == 0) shared[threadIdx.x >> 5] = value;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int warp = 1; warp < 8; warp++) value += shared[warp];
  return value;
}

/// Squares of each block's values.
KERNEL squareSums(const Tensors tensors, double* partial) {
  __shared__ double shared[8];
  const int tensor = tensorOfBlock(tensors);
  const float* x = tensors.arrays[0][tensor];
  const int from = (blockIdx.x - tensors.firstBlock[tensor]) * pieceLength;
  const int to = min(tensors.length[tensor], from + pieceLength);
  double sum = 0;
  for (int i = from + threadIdx.x; i < to; i += 256) sum += (double)x[i] * x[i];
  sum = blockSum(sum, shared);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// engine/ops/norm.ts: a block for each tensor.
KERNEL normOfEach(const Tensors tensors, const double* partial, double* squares, float* norms) {
  __shared__ double shared[8];
  const int tensor = blockIdx.x, from = tensors.firstBlock[tensor];
  const int to = from + (tensors.length[tensor] + pieceLength - 1) / pieceLength;
  double sum = 0;
  for (int i = from + threadIdx.x; i < to; i += 256) sum += partial[i];
  sum = blockSum(sum, shared);
  if (threadIdx.x == 0) squares[tensor] = sum, norms[tensor] = (float)sqrt(sum);
}
/// One block.
KERNEL normOfAll(const double* squares, float* norm, int count) {
  __shared__ double shared[8];
  double sum = 0;
  for (int i = threadIdx.x; i < count; i += 256) sum += squares[i];
  sum = blockSum(sum, shared);
  if (threadIdx.x == 0) *norm = (float)sqrt(sum);
}

__device__ __forceinline__ bool isFiniteUpdate(const float* loss, const float* norms) {
  return isfinite(*loss) && isfinite(*norms);
}

/// engine/ops/adamw.ts, in place. Arrays: parameter, gradient, m, v; the settings are rate and weight decay.
KERNEL adamw(const Tensors tensors, const float* settings, const float* loss, const float* norms, float beta1,
             float beta2, float epsilon, float gradientClip, float beta1Rest, float beta2Rest) {
  if (!isFiniteUpdate(loss, norms)) return;
  __shared__ float corrections[2];
  const float norm = *norms;
  if (threadIdx.x < 2) {
    // Close to 1, where float32 is too coarse: with what it lacks.
    const double beta = threadIdx.x == 0 ? (double)beta1 + beta1Rest : (double)beta2 + beta2Rest;
    corrections[threadIdx.x] = (float)(1.0 / (1.0 - pow(beta, (double)settings[1])));
  }
  __syncthreads();
  const float correction1 = corrections[0], correction2 = corrections[1];
  const float gradientScale = gradientClip > 0.0f && norm > gradientClip ? gradientClip / norm : 1.0f;
  const int tensor = tensorOfBlock(tensors);
  float* parameter = tensors.arrays[0][tensor];
  const float* gradient = tensors.arrays[1][tensor];
  float *m = tensors.arrays[2][tensor], *v = tensors.arrays[3][tensor];
  const float learningRate = tensors.setting[0][tensor] * settings[0];
  const float weightDecay = tensors.setting[1][tensor];
  const int from = (blockIdx.x - tensors.firstBlock[tensor]) * pieceLength;
  const int to = min(tensors.length[tensor], from + pieceLength);
  for (int i = from + threadIdx.x; i < to; i += 256) {
    const float g = gradient[i] * gradientScale;
    const float m1 = beta1 * m[i] + (1.0f - beta1) * g;
    const float v1 = beta2 * v[i] + (1.0f - beta2) * g * g;
    m[i] = m1;
    v[i] = v1;
    const float update = m1 * correction1 / (sqrtf(v1 * correction2) + epsilon);
    parameter[i] -= learningRate * (update + weightDecay * parameter[i]);
  }
}

/// engine/ops/runningAverage.ts, in place. Arrays: average, value.
KERNEL runningAverages(const Tensors tensors, const float* settings, const float* loss, const float* norms) {
  if (!isFiniteUpdate(loss, norms)) return;
  const float share = settings[2];
  const int tensor = tensorOfBlock(tensors);
  float* average = tensors.arrays[0][tensor];
  const float* value = tensors.arrays[1][tensor];
  const int from = (blockIdx.x - tensors.firstBlock[tensor]) * pieceLength;
  const int to = min(tensors.length[tensor], from + pieceLength);
  for (int i = from + threadIdx.x; i < to; i += 256) average[i] = (1.0f - share) * average[i] + share * value[i];
}
