// Vectors of SIMD_WIDTH floats and what kernels do with them. Included inside the namespace of each
// instruction set (see targets.h), therefore without an include guard.

typedef float Vec __attribute__((vector_size(SIMD_WIDTH * 4)));
typedef int32_t IVec __attribute__((vector_size(SIMD_WIDTH * 4)));
constexpr int64_t width = SIMD_WIDTH;

static SACCADE_INLINE Vec load(const float* p) {
  Vec v;
  memcpy(&v, p, sizeof v);
  return v;
}
static SACCADE_INLINE void store(float* p, Vec v) { memcpy(p, &v, sizeof v); }
/// Stores past the caches where `p` lies on a vector's bound; `endStreaming` before others read it.
static SACCADE_INLINE void stream(float* p, Vec v) {
#if SIMD_AVX512
  if (((uintptr_t)p & 63) == 0) return _mm512_stream_ps(p, (__m512)v);
#elif SIMD_AVX2
  if (((uintptr_t)p & 31) == 0) return _mm256_stream_ps(p, (__m256)v);
#elif defined(__SSE2__)
  if (((uintptr_t)p & 15) == 0) return _mm_stream_ps(p, (__m128)v);
#endif
  store(p, v);
}
static SACCADE_INLINE void endStreaming() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}
static SACCADE_INLINE IVec loadInts(const int32_t* p) {
  IVec v;
  memcpy(&v, p, sizeof v);
  return v;
}
static SACCADE_INLINE void storeInts(int32_t* p, IVec v) { memcpy(p, &v, sizeof v); }
/// The first `n` < width values, zeros after them.
static SACCADE_INLINE Vec loadPart(const float* p, int64_t n) {
#if SIMD_AVX512
  return (Vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
  Vec v = {};
  for (int64_t i = 0; i < n; i++) v[i] = p[i];
  return v;
#endif
}
static SACCADE_INLINE void storePart(float* p, Vec v, int64_t n) {
#if SIMD_AVX512
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
  for (int64_t i = 0; i < n; i++) p[i] = v[i];
#endif
}
static SACCADE_INLINE Vec splat(float x) { return x - Vec{}; }
static SACCADE_INLINE IVec bits(Vec v) { return (IVec)v; }
static SACCADE_INLINE Vec fromBits(IVec v) { return (Vec)v; }
static SACCADE_INLINE Vec select(IVec mask, Vec yes, Vec no) { return mask ? yes : no; }
static SACCADE_INLINE Vec maximum(Vec a, Vec b) { return a > b ? a : b; }
static SACCADE_INLINE Vec minimum(Vec a, Vec b) { return a < b ? a : b; }
static SACCADE_INLINE Vec absolute(Vec v) { return (Vec)((IVec)v & 0x7fffffff); }
static SACCADE_INLINE Vec toFloat(IVec v) { return __builtin_convertvector(v, Vec); }
static SACCADE_INLINE IVec truncate(Vec v) { return __builtin_convertvector(v, IVec); }
static SACCADE_INLINE Vec squareRoot(Vec v) {
#if SIMD_AVX512
  return (Vec)_mm512_maskz_sqrt_ps((__mmask16)-1, (__m512)v);
#elif SIMD_AVX2
  return (Vec)_mm256_sqrt_ps((__m256)v);
#elif defined(__SSE2__)
  return (Vec)_mm_sqrt_ps((__m128)v);
#elif defined(__aarch64__)
  return (Vec)vsqrtq_f32((float32x4_t)v);
#else
  for (int i = 0; i < SIMD_WIDTH; i++) v[i] = sqrtf(v[i]);
  return v;
#endif
}
static SACCADE_INLINE float sumOf(Vec v) {
  // Pairwise, in a fixed order.
  float part[SIMD_WIDTH];
  memcpy(part, &v, sizeof v);
  for (int half = SIMD_WIDTH / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) part[i] += part[i + half];
  }
  return part[0];
}
static SACCADE_INLINE float maximumOf(Vec v) {
  float most = v[0];
  for (int i = 1; i < SIMD_WIDTH; i++) most = v[i] > most ? v[i] : most;
  return most;
}

/// eˣ to about 1 unit in the last place; 0 below -87.34 and infinity above 88.73; NaN stays NaN.
static SACCADE_INLINE Vec exponential(Vec x) {
  // x = n ln 2 + r, |r| ≤ ln 2 / 2; eˣ = 2ⁿ eʳ with a polynomial for eʳ (Cephes).
  const Vec low = splat(-87.3365478515625f), high = splat(88.7228317f);
  const Vec clamped = minimum(maximum(x, low), high);
  const Vec magic = splat(12582912.0f);  // 1.5 · 2²³: adding it rounds to the nearest integer
  const Vec shifted = clamped * 1.44269504088896341f + magic;
  const Vec n = shifted - magic;
  Vec r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2ⁿ in two factors: n reaches 128, one exponent too far for a single one.
  const IVec k = truncate(n);
  const IVec k1 = k >> 1, k2 = k - k1;
  const Vec y = p * (Vec)((k1 + 127) << 23) * (Vec)((k2 + 127) << 23);
  const Vec inside = select(x < low, Vec{}, select(x > high, splat(__builtin_inff()), y));
  return select(x == x, inside, x);
}

/// ln x for x ≥ 0 to about 1 unit in the last place; -∞ at 0, NaN below 0.
static SACCADE_INLINE Vec logarithm(Vec x) {
  // Cephes logf: x = 2ᵉ m with m in [√½, √2).
  const IVec tiny = x < splat(1.17549435e-38f);
  const Vec scaled = select(tiny, x * 8388608.0f, x);
  IVec e = ((bits(scaled) >> 23) & 255) - 126;
  Vec m = (Vec)((bits(scaled) & 0x007fffff) | 0x3f000000);  // [½, 1)
  const IVec small = m < splat(0.707106781186547524f);
  e = e + (IVec)small;  // mask is -1
  m = select(small, m + m, m) - 1.0f;
  const Vec ef = toFloat(e) - select(tiny, splat(23.0f), Vec{});
  const Vec z = m * m;
  Vec y = splat(7.0376836292e-2f);
  y = y * m - 1.1514610310e-1f;
  y = y * m + 1.1676998740e-1f;
  y = y * m - 1.2420140846e-1f;
  y = y * m + 1.4249322787e-1f;
  y = y * m - 1.6668057665e-1f;
  y = y * m + 2.0000714765e-1f;
  y = y * m - 2.4999993993e-1f;
  y = y * m + 3.3333331174e-1f;
  y = y * m * z;
  y = y + ef * -2.12194440e-4f;
  y = y - z * 0.5f;
  Vec result = m + y + ef * 0.693359375f;
  result = select(x == splat(__builtin_inff()), x, result);
  result = select(x == Vec{}, splat(-__builtin_inff()), result);
  return select(x >= Vec{}, result, splat(__builtin_nanf("")));
}

/// 1 / (1 + e⁻ˣ), without overflow.
static SACCADE_INLINE Vec logistic(Vec x) {
  const Vec e = exponential(fromBits(bits(x) | (int32_t)0x80000000));  // e^-|x|
  const Vec inverse = 1.0f / (1.0f + e);
  return select(x < Vec{}, e * inverse, inverse);
}

/// log(1 + eˣ), without overflow.
static SACCADE_INLINE Vec softplusOf(Vec x) {
  const Vec e = exponential(fromBits(bits(x) | (int32_t)0x80000000));
  // log1p(e): correct the rounding of 1 + e.
  const Vec u = 1.0f + e;
  const Vec correction = (e - (u - 1.0f)) / u;
  const Vec positive = select(x > Vec{}, x, Vec{});
  return select(x == x, positive + (logarithm(u) + correction), x);
}

/// y[i] = f(x[i]) for n values.
template <class F>
static SACCADE_INLINE void mapVectors(float* y, const float* x, int64_t n, F f) {
  int64_t i = 0;
  for (; i + width <= n; i += width) store(y + i, f(load(x + i)));
  if (i < n) storePart(y + i, f(loadPart(x + i, n - i)), n - i);
}
/// y[i] = f(a[i], b[i]) for n values.
template <class F>
static SACCADE_INLINE void mapVectors(float* y, const float* a, const float* b, int64_t n, F f) {
  int64_t i = 0;
  for (; i + width <= n; i += width) store(y + i, f(load(a + i), load(b + i)));
  if (i < n) storePart(y + i, f(loadPart(a + i, n - i), loadPart(b + i, n - i)), n - i);
}
