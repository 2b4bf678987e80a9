// Linear attention: engine/ops/linearAttention.ts says what is computed. A block runs one group and head;
// memory S [width, width] and z [width] lie in shared memory, tokens come in tiles. Threads compute patches of the
// products in registers: four values for each one or two that are read. Compiled for one WIDTH, and for tiles of
// TILE tokens, a multiple of 16.
struct Attention {
  const float *q, *k, *v, *memory, *keySum, *decay;
  int groups, frames, tokens, features, heads, span, normalise, decays;
  float epsilon;
  __device__ int64 row(int group, int token, int head) const {
    return ((int64)group * frames * tokens + token) * features + head * WIDTH;
  }
  __device__ float factor(int group, int frame, int head, int i) const {
    return decay[(((int64)group * frames + frame) * heads + head) * decays + i % decays];
  }
};

constexpr int threads = 128;
constexpr int resident = TILE == 64 ? 7 : 1;  // blocks of a multiprocessor, as many as shared memory holds
// Rows of S and of tiles are cut into fours, the last filled up with zeros. A row is an odd number of fours apart
// from the next: eight lanes that read from eight rows then meet no bank twice.
constexpr int quads = (WIDTH + 3) / 4, rows = 4 * quads, stride = 4 * (quads | 1);
constexpr int size = rows * stride + rows;  // S and then z
constexpr int apart = TILE / 4;             // tokens of a patch

__device__ __forceinline__ float4& quadAt(float* at) { return *reinterpret_cast<float4*>(at); }
__device__ __forceinline__ float4 quadAt(const float* at) { return *reinterpret_cast<const float4*>(at); }
__device__ __forceinline__ float dot(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }
__device__ __forceinline__ void add(float4& sum, float a, float4 b) {
  sum.x += a * b.x, sum.y += a * b.y, sum.z += a * b.z, sum.w += a * b.w;
}

/// Channels 4 · quad … of a row in global memory.
__device__ __forceinline__ float4 readQuad(const float* row, int quad) {
  const float* from = row + 4 * quad;
  if constexpr (WIDTH % 4 == 0) return quadAt(from);
  const int left = WIDTH - 4 * quad;
  return make_float4(from[0], left > 1 ? from[1] : 0.0f, left > 2 ? from[2] : 0.0f, left > 3 ? from[3] : 0.0f);
}
__device__ __forceinline__ void writeQuad(float* row, int quad, float4 value) {
  float* to = row + 4 * quad;
  if constexpr (WIDTH % 4 == 0) {
    quadAt(to) = value;
    return;
  }
  const int left = WIDTH - 4 * quad;
  to[0] = value.x;
  if (left > 1) to[1] = value.y;
  if (left > 2) to[2] = value.z;
  if (left > 3) to[3] = value.w;
}

/// `to`: [TILE, stride]; zeros behind `count` tokens. Eight lanes read a row.
__device__ __forceinline__ void loadTile(const Attention& a, const float* from, float* to, int group, int head,
                                         int first, int count) {
  for (int t = threadIdx.x / 8; t < TILE; t += threads / 8) {
    const float* row = from + a.row(group, first + t, head);
    for (int quad = threadIdx.x % 8; quad < quads; quad += 8) {
      quadAt(to + t * stride + 4 * quad) = t < count ? readQuad(row, quad) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
  }
}

/// Loads queries and finds the normaliser of each. With `dOut` the tile `dNumerators` becomes the gradient of the
/// numerator, and `perToken` that of the normaliser; without, `perToken` is the normaliser itself.
__device__ __forceinline__ void loadQueries(const Attention& a, const float* z, const float* out, const float* dOut,
                                            float* queries, float* dNumerators, float* perToken, int group,
                                            int head, int first, int count) {
  const int lane = threadIdx.x % 8;
  for (int t = threadIdx.x / 8; t < TILE; t += threads / 8) {
    const int64 at = a.row(group, first + t, head);
    float overlap = 0.0f, gradient = 0.0f;
    for (int quad = lane; quad < quads; quad += 8) {
      float4 query = make_float4(0.0f, 0.0f, 0.0f, 0.0f), d = query;
      if (t < count) {
        query = readQuad(a.q + at, quad);
        if (dOut != nullptr) {
          d = readQuad(dOut + at, quad);
          gradient += dot(d, readQuad(out + at, quad));
        }
      }
      overlap += dot(query, quadAt(z + 4 * quad));
      quadAt(queries + t * stride + 4 * quad) = query;
      if (dOut != nullptr) quadAt(dNumerators + t * stride + 4 * quad) = d;
    }
#pragma unroll
    for (int offset = 4; offset > 0; offset >>= 1) {
      overlap += __shfl_xor_sync(0xffffffffu, overlap, offset);
      gradient += __shfl_xor_sync(0xffffffffu, gradient, offset);
    }
    const float normaliser = a.normalise ? a.epsilon + overlap : a.epsilon;
    if (dOut != nullptr) {
      for (int quad = lane; quad < quads; quad += 8) {
        float4& d = quadAt(dNumerators + t * stride + 4 * quad);
        d = make_float4(d.x / normaliser, d.y / normaliser, d.z / normaliser, d.w / normaliser);
      }
    }
    if (lane == 0) perToken[t] = dOut == nullptr ? normaliser : a.normalise ? -gradient / normaliser : 0.0f;
  }
}

/// M[i, j] += Σ A[t, i] B[t, j] and m[i] += Σ A[t, i] weights[t], where there are no weights Σ A[t, i].
__device__ __forceinline__ void addProduct(float* M, float* m, const float* A, const float* B, const float* weights,
                                           int count) {
  for (int at = threadIdx.x; at < quads * rows / 2; at += threads) {
    const int i = at / quads * 2, j = at % quads * 4;
    float4 upper = quadAt(M + i * stride + j), lower = quadAt(M + (i + 1) * stride + j);
    float first = 0.0f, second = 0.0f;
#pragma unroll 4
    for (int t = 0; t < count; t++) {
      const float2 pair = *reinterpret_cast<const float2*>(A + t * stride + i);
      const float4 quad = quadAt(B + t * stride + j);
      const float weight = weights == nullptr ? 1.0f : weights[t];
      add(upper, pair.x, quad);
      add(lower, pair.y, quad);
      first += pair.x * weight, second += pair.y * weight;
    }
    quadAt(M + i * stride + j) = upper;
    quadAt(M + (i + 1) * stride + j) = lower;
    if (j == 0) m[i] += first, m[i + 1] += second;
  }
}

/// sums[r] = Σ A[t + r · apart, i] M[i, 4 · quad …] over i.
__device__ __forceinline__ void patch(float4 (&sums)[4], const float* A, const float* M, int t, int quad) {
#pragma unroll
  for (int r = 0; r < 4; r++) sums[r] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 1
  for (int i = 0; i < rows; i += 4) {
    float4 a[4];
#pragma unroll
    for (int r = 0; r < 4; r++) a[r] = quadAt(A + (t + r * apart) * stride + i);
    const float* m = M + i * stride + 4 * quad;
    const float4 m0 = quadAt(m), m1 = quadAt(m + stride), m2 = quadAt(m + 2 * stride), m3 = quadAt(m + 3 * stride);
#pragma unroll
    for (int r = 0; r < 4; r++) {
      add(sums[r], a[r].x, m0);
      add(sums[r], a[r].y, m1);
      add(sums[r], a[r].z, m2);
      add(sums[r], a[r].w, m3);
    }
  }
}

/// By the transposed M: sums[r][s] = Σ A[t + r · apart, j] M[i + s · quads, j] over j.
__device__ __forceinline__ void patchTransposed(float (&sums)[4][4], const float* A, const float* M, int t, int i) {
#pragma unroll
  for (int r = 0; r < 4; r++)
#pragma unroll
    for (int s = 0; s < 4; s++) sums[r][s] = 0.0f;
#pragma unroll 1
  for (int j = 0; j < rows; j += 4) {
    float4 a[4];
#pragma unroll
    for (int r = 0; r < 4; r++) a[r] = quadAt(A + (t + r * apart) * stride + j);
#pragma unroll
    for (int s = 0; s < 4; s++) {
      const float4 m = quadAt(M + (i + s * quads) * stride + j);
#pragma unroll
      for (int r = 0; r < 4; r++) sums[r][s] += dot(a[r], m);
    }
  }
}

/// to[t, i] = Σ A[t, j] M[i, j] + (weights[t], or 1) · m[i].
__device__ __forceinline__ void writeTransposed(const Attention& a, float* to, const float* A, const float* M,
                                                const float* m, const float* weights, int group, int head, int first,
                                                int count) {
  for (int at = threadIdx.x; at < apart * quads; at += threads) {
    const int t = at / quads, i = at % quads;
    float sums[4][4];
    patchTransposed(sums, A, M, t, i);
#pragma unroll
    for (int r = 0; r < 4; r++) {
      const int token = t + r * apart;
      if (token >= count) continue;
      const float weight = weights == nullptr ? 1.0f : weights[token];
      float* row = to + a.row(group, first + token, head);
#pragma unroll
      for (int s = 0; s < 4; s++) {
        const int channel = i + s * quads;
        if (channel < WIDTH) row[channel] = sums[r][s] + weight * m[channel];
      }
    }
  }
}

/// to[t, j] = Σ A[t, i] M[i, j], divided by normalisers[t] where there are any.
__device__ __forceinline__ void write(const Attention& a, float* to, const float* A, const float* M,
                                      const float* normalisers, int group, int head, int first, int count) {
  for (int at = threadIdx.x; at < apart * quads; at += threads) {
    const int t = at / quads, quad = at % quads;
    float4 sums[4];
    patch(sums, A, M, t, quad);
#pragma unroll
    for (int r = 0; r < 4; r++) {
      const int token = t + r * apart;
      if (token >= count) continue;
      const float by = normalisers == nullptr ? 1.0f : normalisers[token];
      const float4 value = make_float4(sums[r].x / by, sums[r].y / by, sums[r].z / by, sums[r].w / by);
      writeQuad(to + a.row(group, first + token, head), quad, value);
    }
  }
}

__device__ __forceinline__ void loadMemory(float* S, const float* memory, const float* keySum) {
  for (int at = threadIdx.x; at < size; at += threads) {
    const int i = at / stride, j = at % stride, own = at - rows * stride;
    if (own >= 0) S[at] = own < WIDTH ? keySum[(int64)blockIdx.x * WIDTH + own] : 0.0f;
    else S[at] = i < WIDTH && j < WIDTH ? memory[((int64)blockIdx.x * WIDTH + i) * WIDTH + j] : 0.0f;
  }
}
__device__ __forceinline__ void storeMemory(const float* S, float* memory, float* keySum) {
  for (int at = threadIdx.x; at < WIDTH * WIDTH; at += threads) {
    memory[(int64)blockIdx.x * WIDTH * WIDTH + at] = S[at / WIDTH * stride + at % WIDTH];
  }
  for (int i = threadIdx.x; i < WIDTH; i += threads) keySum[(int64)blockIdx.x * WIDTH + i] = S[rows * stride + i];
}

__device__ __forceinline__ void decayMemory(const Attention& a, float* S, int group, int frame, int head) {
  for (int at = threadIdx.x; at < WIDTH * WIDTH; at += threads) {
    S[at / WIDTH * stride + at % WIDTH] *= a.factor(group, frame, head, at / WIDTH);
  }
  for (int i = threadIdx.x; i < WIDTH; i += threads) S[rows * stride + i] *= a.factor(group, frame, head, i);
}

/// Lets the memory decay and adds the keys and values of a span.
__device__ __forceinline__ void addSpan(const Attention& a, float* S, float* keys, float* values, int group,
                                        int head, int from) {
  if (a.decay != nullptr) decayMemory(a, S, group, from / a.tokens, head);
  for (int first = from; first < from + a.span; first += TILE) {
    const int count = min(TILE, from + a.span - first);
    loadTile(a, a.k, keys, group, head, first, count);
    loadTile(a, a.v, values, group, head, first, count);
    __syncthreads();
    addProduct(S, S + rows * stride, keys, values, nullptr, count);
    __syncthreads();
  }
}

KERNEL __launch_bounds__(128, resident)
    attentionForward(const Attention a, float* out, float* lastMemory, float* lastKeySum) {
  extern __shared__ float4 shared[];
  const int group = blockIdx.x / a.heads, head = blockIdx.x % a.heads;
  float* S = reinterpret_cast<float*>(shared);
  float* first = S + size;
  float* second = first + TILE * stride;
  float* normalisers = second + TILE * stride;
  loadMemory(S, a.memory, a.keySum);
  __syncthreads();
  for (int from = 0; from < a.frames * a.tokens; from += a.span) {
    addSpan(a, S, first, second, group, head, from);
    for (int token = from; token < from + a.span; token += TILE) {
      const int count = min(TILE, from + a.span - token);
      loadQueries(a, S + rows * stride, nullptr, nullptr, first, nullptr, normalisers, group, head, token, count);
      __syncthreads();
      write(a, out, first, S, normalisers, group, head, token, count);
      __syncthreads();
    }
  }
  storeMemory(S, lastMemory, lastKeySum);
}

/// `states`: per group and head the memories after each span, [spans + 1, size]; unused where there is one span and
/// nothing decays.
KERNEL __launch_bounds__(128, resident)
    attentionBackward(const Attention a, const float* out, const float* dOut, const float* dLastMemory,
                      const float* dLastKeySum, float* dQ, float* dK, float* dV, float* dMemory, float* dKeySum,
                      float* dDecay, float* states) {
  extern __shared__ float4 shared[];
  const int group = blockIdx.x / a.heads, head = blockIdx.x % a.heads;
  float* S = reinterpret_cast<float*>(shared);  // memory after the span
  float* dS = S + size;                         // its gradient, and that of the key sum
  float* first = dS + size;                     // tiles
  float* second = first + TILE * stride;
  float* dNormalisers = second + TILE * stride;
  float *z = S + rows * stride, *dz = dS + rows * stride;
  const int spans = a.frames * a.tokens / a.span;
  const bool keep = spans > 1 || a.decay != nullptr;
  float* kept = states + (int64)blockIdx.x * (spans + 1) * size;
  loadMemory(S, a.memory, a.keySum);
  loadMemory(dS, dLastMemory, dLastKeySum);
  __syncthreads();
  for (int n = 0; n <= spans; n++) {
    if (n > 0) addSpan(a, S, first, second, group, head, (n - 1) * a.span);
    if (!keep) continue;
    for (int i = threadIdx.x; i < size; i += threads) kept[n * size + i] = S[i];
    __syncthreads();
  }
  for (int n = spans - 1; n >= 0; n--) {
    if (n < spans - 1) {
      for (int i = threadIdx.x; i < size; i += threads) S[i] = kept[(n + 1) * size + i];
      __syncthreads();
    }
    const int from = n * a.span;
    for (int token = from; token < from + a.span; token += TILE) {
      const int count = min(TILE, from + a.span - token);
      loadQueries(a, z, out, dOut, first, second, dNormalisers, group, head, token, count);
      __syncthreads();
      writeTransposed(a, dQ, second, S, z, dNormalisers, group, head, token, count);
      addProduct(dS, dz, first, second, dNormalisers, count);
      __syncthreads();
    }
    for (int token = from; token < from + a.span; token += TILE) {
      const int count = min(TILE, from + a.span - token);
      loadTile(a, a.k, first, group, head, token, count);
      loadTile(a, a.v, second, group, head, token, count);
      __syncthreads();
      writeTransposed(a, dK, second, dS, dz, nullptr, group, head, token, count);
      write(a, dV, first, dS, nullptr, group, head, token, count);
      __syncthreads();
    }
    if (a.decay == nullptr) continue;
    const int frame = from / a.tokens;
    const float* before = kept + (int64)n * size;
    // One factor for each key channel, or one for all: rows are added up in `first`, in order.
    for (int i = threadIdx.x; i < WIDTH; i += threads) {
      float gradient = dz[i] * before[rows * stride + i];
      for (int j = 0; j < WIDTH; j++) gradient += dS[i * stride + j] * before[i * stride + j];
      first[i] = gradient;
    }
    __syncthreads();
    for (int d = threadIdx.x; d < a.decays; d += threads) {
      float gradient = 0.0f;
      for (int i = d; i < WIDTH; i += a.decays) gradient += first[i];
      dDecay[(((int64)group * a.frames + frame) * a.heads + head) * a.decays + d] = gradient;
    }
    decayMemory(a, dS, group, frame, head);
    __syncthreads();
  }
  storeMemory(dS, dMemory, dKeySum);
}
