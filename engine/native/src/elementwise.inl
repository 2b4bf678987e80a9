// Unary operations: f(x, p, q), where p and q are what the operation is set by.

static SACCADE_INLINE Vec unaryAbs(Vec x, Vec, Vec) { return absolute(x); }
static SACCADE_INLINE Vec unaryClipByValue(Vec x, Vec low, Vec high) {
  return select(x > high, high, select(x < low, low, x));
}
static SACCADE_INLINE Vec unaryElu(Vec x, Vec alpha, Vec) {
  return select(x >= Vec{}, x, alpha * (exponential(x) - 1.0f));
}
/// Abramowitz & Stegun 7.1.26, to 1.5e-7.
static SACCADE_INLINE Vec unaryErf(Vec x, Vec, Vec) {
  const Vec v = absolute(x);
  const Vec t = 1.0f / (1.0f + 0.3275911f * v);
  Vec p = t * 1.061405429f - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const Vec y = 1.0f - p * t * exponential(-v * v);
  return select(x < Vec{}, -y, select(x == x, y, x));
}
static SACCADE_INLINE Vec unaryExp(Vec x, Vec, Vec) { return exponential(x); }
static SACCADE_INLINE Vec unaryLeakyRelu(Vec x, Vec alpha, Vec) {
  return select(x < Vec{}, alpha * x, x);
}
static SACCADE_INLINE Vec unaryLog(Vec x, Vec, Vec) { return logarithm(x); }
static SACCADE_INLINE Vec unaryNeg(Vec x, Vec, Vec) { return -x; }
static SACCADE_INLINE Vec unaryReciprocal(Vec x, Vec, Vec) { return 1.0f / x; }
static SACCADE_INLINE Vec unaryRelu(Vec x, Vec, Vec) { return select(x < Vec{}, Vec{}, x); }
static SACCADE_INLINE Vec unaryRelu6(Vec x, Vec, Vec) {
  return select(x < Vec{}, Vec{}, select(x > splat(6.0f), splat(6.0f), x));
}
static SACCADE_INLINE Vec unaryRsqrt(Vec x, Vec, Vec) { return 1.0f / squareRoot(x); }
static SACCADE_INLINE Vec unarySelu(Vec x, Vec, Vec) {
  const float scaleAlpha = 1.7580993408473768599402175208123f;
  const float scale = 1.0507009873554804934193349852946f;
  return select(x >= Vec{}, scale * x, scaleAlpha * (exponential(x) - 1.0f));
}
static SACCADE_INLINE Vec unarySigmoid(Vec x, Vec, Vec) { return logistic(x); }
static SACCADE_INLINE Vec unarySign(Vec x, Vec, Vec) {
  return select(x > Vec{}, splat(1.0f), select(x < Vec{}, splat(-1.0f), Vec{}));
}
static SACCADE_INLINE Vec unarySoftplus(Vec x, Vec, Vec) { return softplusOf(x); }
static SACCADE_INLINE Vec unarySqrt(Vec x, Vec, Vec) { return squareRoot(x); }
static SACCADE_INLINE Vec unarySquare(Vec x, Vec, Vec) { return x * x; }
static SACCADE_INLINE Vec unaryStep(Vec x, Vec alpha, Vec) {
  return select(x == x, select(x > Vec{}, splat(1.0f), alpha), x);
}
static SACCADE_INLINE Vec unaryTanh(Vec x, Vec, Vec) {
  // Near zero a polynomial (Cephes tanhf), elsewhere 1 - 2 / (1 + e²ˣ).
  const Vec a = absolute(x), z = x * x;
  Vec p = splat(-5.70498872745e-3f);
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const Vec small = p * z * x + x;
  const Vec large = 1.0f - 2.0f / (1.0f + exponential(a + a));
  return select(a < splat(0.625f), small, select(x < Vec{}, -large, large));
}

// The C library's, value by value.
#define SACCADE_BY_VALUE(NAME, EXPRESSION)                       \
  static SACCADE_INLINE Vec unary##NAME(Vec v, Vec, Vec) {       \
    for (int i = 0; i < SIMD_WIDTH; i++) {                       \
      const float x = v[i];                                      \
      v[i] = EXPRESSION;                                         \
    }                                                            \
    return v;                                                    \
  }
SACCADE_BY_VALUE(Ceil, ceilf(x))
SACCADE_BY_VALUE(Cos, cosf(x))
SACCADE_BY_VALUE(Expm1, expm1f(x))
SACCADE_BY_VALUE(Floor, floorf(x))
SACCADE_BY_VALUE(Log1p, log1pf(x))
SACCADE_BY_VALUE(Round, rintf(x))
SACCADE_BY_VALUE(Sin, sinf(x))
#undef SACCADE_BY_VALUE

#define SACCADE_DEFINE(NAME)                                                            \
  static void row##NAME(float* y, const float* x, int64_t n, float p, float q) {        \
    const Vec pv = splat(p), qv = splat(q);                                             \
    mapVectors(y, x, n, [=](Vec v) { return unary##NAME(v, pv, qv); });                 \
  }
SACCADE_UNARY(SACCADE_DEFINE)
#undef SACCADE_DEFINE

// Binary operations.

static SACCADE_INLINE Vec binaryAdd(Vec a, Vec b) { return a + b; }
static SACCADE_INLINE Vec binarySub(Vec a, Vec b) { return a - b; }
static SACCADE_INLINE Vec binaryMultiply(Vec a, Vec b) { return a * b; }
static SACCADE_INLINE Vec binaryRealDiv(Vec a, Vec b) { return a / b; }
static SACCADE_INLINE Vec binarySquaredDifference(Vec a, Vec b) { return (a - b) * (a - b); }
static SACCADE_INLINE Vec binaryMaximum(Vec a, Vec b) {
  return select((a > b) | (a != a), a, b);
}
static SACCADE_INLINE Vec binaryMinimum(Vec a, Vec b) {
  return select((a < b) | (a != a), a, b);
}
static SACCADE_INLINE Vec binaryPrelu(Vec x, Vec alpha) { return select(x < Vec{}, x * alpha, x); }
/// dy and the output y of ELU.
static SACCADE_INLINE Vec binaryEluGrad(Vec dy, Vec y) {
  return select(y >= Vec{}, dy, dy * (y + 1.0f));
}
static SACCADE_INLINE Vec binaryPow(Vec a, Vec b) {
  for (int i = 0; i < SIMD_WIDTH; i++) a[i] = powf(a[i], b[i]);
  return a;
}

typedef void (*BinaryRow)(float*, const float*, const float*, int64_t);

/// Rows of two arrays, of an array and one value, of one value and an array.
#define SACCADE_DEFINE(NAME)                                                                     \
  static void both##NAME(float* y, const float* a, const float* b, int64_t n) {                  \
    mapVectors(y, a, b, n, [](Vec u, Vec v) { return binary##NAME(u, v); });                     \
  }                                                                                              \
  static void right##NAME(float* y, const float* a, const float* b, int64_t n) {                 \
    const Vec v = splat(*b);                                                                     \
    mapVectors(y, a, n, [=](Vec u) { return binary##NAME(u, v); });                              \
  }                                                                                              \
  static void left##NAME(float* y, const float* a, const float* b, int64_t n) {                  \
    const Vec u = splat(*a);                                                                     \
    mapVectors(y, b, n, [=](Vec v) { return binary##NAME(u, v); });                              \
  }                                                                                              \
  static const BinaryRow rows##NAME[3] = {both##NAME, right##NAME, left##NAME};
SACCADE_BINARY(SACCADE_DEFINE)
#undef SACCADE_DEFINE

typedef void (*CompareRow)(uint8_t*, const float*, const float*, int64_t);

#define SACCADE_DEFINE(NAME, OPERATOR)                                                     \
  static void both##NAME(uint8_t* y, const float* a, const float* b, int64_t n) {          \
    for (int64_t i = 0; i < n; i++) y[i] = a[i] OPERATOR b[i];                             \
  }                                                                                        \
  static void right##NAME(uint8_t* y, const float* a, const float* b, int64_t n) {         \
    const float v = *b;                                                                    \
    for (int64_t i = 0; i < n; i++) y[i] = a[i] OPERATOR v;                                \
  }                                                                                        \
  static void left##NAME(uint8_t* y, const float* a, const float* b, int64_t n) {          \
    const float u = *a;                                                                    \
    for (int64_t i = 0; i < n; i++) y[i] = u OPERATOR b[i];                                \
  }                                                                                        \
  static const CompareRow rows##NAME[3] = {both##NAME, right##NAME, left##NAME};
SACCADE_COMPARE(SACCADE_DEFINE)
#undef SACCADE_DEFINE

static void selectRow(float* y, const uint8_t* condition, const float* yes, const float* no,
                      int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = condition[i] ? yes[i] : no[i];
}
static void addRow(float* y, const float* x, int64_t n) {
  mapVectors(y, y, x, n, [](Vec a, Vec b) { return a + b; });
}
static void toInts(int32_t* y, const float* x, int64_t n) {
  // As JavaScript converts within ±2³¹; NaN becomes 0.
  for (int64_t i = 0; i < n; i++) y[i] = x[i] == x[i] ? (int32_t)x[i] : 0;
}
static void toFloats(float* y, const int32_t* x, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = (float)x[i];
}
static void bytesToFloats(float* y, const uint8_t* x, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = (float)x[i];
}
