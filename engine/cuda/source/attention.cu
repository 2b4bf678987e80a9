// Linear attention: engine/ops/linearAttention.ts says what is computed. A block runs one group and head;
// memory S [width, width] and z [width] lie in shared memory, tokens come in tiles.
struct Attention {
  const float *q, *k, *v, *memory, *keySum, *decay;
  int groups, frames, tokens, features, heads, width, span, normalise, decays;
  float epsilon;
  __device__ int64 row(int group, int token, int head) const {
    return ((int64)group * frames * tokens + token) * features + head * width;
  }
  __device__ float factor(int group, int frame, int head, int i) const {
    return decay[(((int64)group * frames + frame) * heads + head) * decays + i % decays];
  }
};

constexpr int tile = 16;

__device__ __forceinline__ void loadTile(const Attention& a, const float* from, float* to, int group, int head,
                                         int first, int count) {
  for (int i = threadIdx.x; i < count * a.width; i += blockDim.x) {
    to[i] = from[a.row(group, first + i / a.width, head) + i % a.width];
  }
}

__device__ __forceinline__ void decayMemory(const Attention& a, float* S, float* z, int group, int frame, int head) {
  for (int i = threadIdx.x; i < a.width * a.width; i += blockDim.x) S[i] *= a.factor(group, frame, head, i / a.width);
  for (int i = threadIdx.x; i < a.width; i += blockDim.x) z[i] *= a.factor(group, frame, head, i);
}

/// Adds the keys and values of a span. `keys`, `values`: [tile, width].
__device__ __forceinline__ void addSpan(const Attention& a, float* S, float* z, float* keys, float* values,
                                        int group, int head, int from) {
  for (int first = from; first < from + a.span; first += tile) {
    const int count = min(tile, from + a.span - first);
    loadTile(a, a.k, keys, group, head, first, count);
    loadTile(a, a.v, values, group, head, first, count);
    __syncthreads();
    for (int at = threadIdx.x; at < a.width * a.width; at += blockDim.x) {
      const int i = at / a.width, j = at % a.width;
      float sum = S[at];
      for (int t = 0; t < count; t++) sum += keys[t * a.width + i] * values[t * a.width + j];
      S[at] = sum;
    }
    for (int i = threadIdx.x; i < a.width; i += blockDim.x) {
      float sum = z[i];
      for (int t = 0; t < count; t++) sum += keys[t * a.width + i];
      z[i] = sum;
    }
    __syncthreads();
  }
}

KERNEL attentionForward(const Attention a, float* out, float* lastMemory, float* lastKeySum) {
  extern __shared__ float shared[];
  const int w = a.width, group = blockIdx.x / a.heads, head = blockIdx.x % a.heads;
  float* S = shared;
  float* z = S + w * w;
  float* first = z + w;
  float* second = first + tile * w;
  const int64 memoryAt = (int64)blockIdx.x * w * w, sumAt = (int64)blockIdx.x * w;
  for (int i = threadIdx.x; i < w * w; i += blockDim.x) S[i] = a.memory[memoryAt + i];
  for (int i = threadIdx.x; i < w; i += blockDim.x) z[i] = a.keySum[sumAt + i];
  __syncthreads();
  for (int from = 0; from < a.frames * a.tokens; from += a.span) {
    if (a.decay != nullptr) {
      decayMemory(a, S, z, group, from / a.tokens, head);
      __syncthreads();
    }
    addSpan(a, S, z, first, second, group, head, from);
    for (int token = from; token < from + a.span; token += tile) {
      const int count = min(tile, from + a.span - token);
      loadTile(a, a.q, first, group, head, token, count);
      __syncthreads();
      for (int at = threadIdx.x; at < count * w; at += blockDim.x) {
        const int t = at / w, j = at % w;
        float sum = 0.0f, normaliser = a.epsilon;
        for (int i = 0; i < w; i++) {
          const float query = first[t * w + i];
          sum += query * S[i * w + j];
          if (a.normalise) normaliser += query * z[i];
        }
        out[a.row(group, token + t, head) + j] = sum / normaliser;
      }
      __syncthreads();
    }
  }
  for (int i = threadIdx.x; i < w * w; i += blockDim.x) lastMemory[memoryAt + i] = S[i];
  for (int i = threadIdx.x; i < w; i += blockDim.x) lastKeySum[sumAt + i] = z[i];
}

/// `states`: per group and head the memories after each span, [spans + 1, w · w + w].
KERNEL attentionBackward(const Attention a, const float* out, const float* dOut, const float* dLastMemory,
                         const float* dLastKeySum, float* dQ, float* dK, float* dV, float* dMemory,
                         float* dKeySum, float* dDecay, float* states) {
  extern __shared__ float shared[];
  const int w = a.width, group = blockIdx.x / a.heads, head = blockIdx.x % a.heads, size = w * w + w;
  float* S = shared;                // memory after the span
  float* dS = S + size;             // its gradient, and that of the key sum
  float* first = dS + size;         // tiles
  float* second = first + tile * w;
  float* normalisers = second + tile * w;  // [tile], then their gradients [tile]
  float* dNormalisers = normalisers + tile;
  const int64 memoryAt = (int64)blockIdx.x * w * w, sumAt = (int64)blockIdx.x * w;
  const int spans = a.frames * a.tokens / a.span;
  float* kept = states + (int64)blockIdx.x * (spans + 1) * size;
  for (int i = threadIdx.x; i < size; i += blockDim.x) {
    S[i] = i < w * w ? a.memory[memoryAt + i] : a.keySum[sumAt + i - w * w];
    dS[i] = i < w * w ? dLastMemory[memoryAt + i] : dLastKeySum[sumAt + i - w * w];
    kept[i] = S[i];
  }
  __syncthreads();
  for (int n = 0; n < spans; n++) {
    if (a.decay != nullptr) {
      decayMemory(a, S, S + w * w, group, n * a.span / a.tokens, head);
      __syncthreads();
    }
    addSpan(a, S, S + w * w, first, second, group, head, n * a.span);
    for (int i = threadIdx.x; i < size; i += blockDim.x) kept[(n + 1) * size + i] = S[i];
    __syncthreads();
  }
  for (int n = spans - 1; n >= 0; n--) {
    if (n < spans - 1) {
      for (int i = threadIdx.x; i < size; i += blockDim.x) S[i] = kept[(n + 1) * size + i];
      __syncthreads();
    }
    const float* z = S + w * w;
    float* dz = dS + w * w;
    const int from = n * a.span;
    for (int token = from; token < from + a.span; token += tile) {
      const int count = min(tile, from + a.span - token);
      loadTile(a, a.q, first, group, head, token, count);
      loadTile(a, dOut, second, group, head, token, count);
      __syncthreads();
      for (int t = threadIdx.x; t < count; t += blockDim.x) {
        float normaliser = a.epsilon;
        for (int i = 0; a.normalise && i < w; i++) normaliser += first[t * w + i] * z[i];
        float gradient = 0.0f;
        const int64 at = a.row(group, token + t, head);
        for (int j = 0; a.normalise && j < w; j++) gradient -= second[t * w + j] / normaliser * out[at + j];
        normalisers[t] = normaliser;
        dNormalisers[t] = gradient;
      }
      __syncthreads();
      // `second` becomes the gradient of the numerator.
      for (int at = threadIdx.x; at < count * w; at += blockDim.x) second[at] /= normalisers[at / w];
      __syncthreads();
      for (int at = threadIdx.x; at < count * w; at += blockDim.x) {
        const int t = at / w, i = at % w;
        float gradient = dNormalisers[t] * z[i];
        for (int j = 0; j < w; j++) gradient += second[t * w + j] * S[i * w + j];
        dQ[a.row(group, token + t, head) + i] = gradient;
      }
      for (int at = threadIdx.x; at < w * w; at += blockDim.x) {
        const int i = at / w, j = at % w;
        float sum = dS[at];
        for (int t = 0; t < count; t++) sum += first[t * w + i] * second[t * w + j];
        dS[at] = sum;
      }
      for (int i = threadIdx.x; i < w; i += blockDim.x) {
        float sum = dz[i];
        for (int t = 0; t < count; t++) sum += first[t * w + i] * dNormalisers[t];
        dz[i] = sum;
      }
      __syncthreads();
    }
    for (int token = from; token < from + a.span; token += tile) {
      const int count = min(tile, from + a.span - token);
      loadTile(a, a.k, first, group, head, token, count);
      loadTile(a, a.v, second, group, head, token, count);
      __syncthreads();
      for (int at = threadIdx.x; at < count * w; at += blockDim.x) {
        const int t = at / w, c = at % w;
        float toKey = dz[c], toValue = 0.0f;
        for (int i = 0; i < w; i++) {
          toKey += dS[c * w + i] * second[t * w + i];
          toValue += dS[i * w + c] * first[t * w + i];
        }
        dK[a.row(group, token + t, head) + c] = toKey;
        dV[a.row(group, token + t, head) + c] = toValue;
      }
      __syncthreads();
    }
    if (a.decay == nullptr) continue;
    const int frame = from / a.tokens;
    const float* before = kept + (int64)n * size;
    // One factor for each key channel, or one for all: rows are added up in `first`, in order.
    for (int i = threadIdx.x; i < w; i += blockDim.x) {
      float gradient = dz[i] * before[w * w + i];
      for (int j = 0; j < w; j++) gradient += dS[i * w + j] * before[i * w + j];
      first[i] = gradient;
    }
    __syncthreads();
    for (int d = threadIdx.x; d < a.decays; d += blockDim.x) {
      float gradient = 0.0f;
      for (int i = d; i < w; i += a.decays) gradient += first[i];
      dDecay[(((int64)group * a.frames + frame) * a.heads + head) * a.decays + d] = gradient;
    }
    decayMemory(a, dS, dz, group, frame, head);
    __syncthreads();
  }
  for (int i = threadIdx.x; i < w * w; i += blockDim.x) dMemory[memoryAt + i] = dS[i];
  for (int i = threadIdx.x; i < w; i += blockDim.x) dKeySum[sumAt + i] = dS[w * w + i];
}
