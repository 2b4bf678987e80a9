// Reductions of [outer, reduced, inner] over the middle axis.

struct SumOf {
  static SACCADE_INLINE Vec start() { return Vec{}; }
  static SACCADE_INLINE Vec join(Vec a, Vec b) { return a + b; }
  static SACCADE_INLINE float last(float a, float b) { return a + b; }
  static SACCADE_INLINE float one() { return 0; }
};
struct SquaresOf : SumOf {};
struct ProductOf {
  static SACCADE_INLINE Vec start() { return splat(1.0f); }
  static SACCADE_INLINE Vec join(Vec a, Vec b) { return a * b; }
  static SACCADE_INLINE float last(float a, float b) { return a * b; }
  static SACCADE_INLINE float one() { return 1; }
};
struct MaximumOf {
  static SACCADE_INLINE Vec start() { return splat(-__builtin_inff()); }
  static SACCADE_INLINE Vec join(Vec a, Vec b) { return select((a > b) | (a != a), a, b); }
  static SACCADE_INLINE float last(float a, float b) { return a > b || a != a ? a : b; }
  static SACCADE_INLINE float one() { return -__builtin_inff(); }
};
struct MinimumOf {
  static SACCADE_INLINE Vec start() { return splat(__builtin_inff()); }
  static SACCADE_INLINE Vec join(Vec a, Vec b) { return select((a < b) | (a != a), a, b); }
  static SACCADE_INLINE float last(float a, float b) { return a < b || a != a ? a : b; }
  static SACCADE_INLINE float one() { return __builtin_inff(); }
};

/// Of n values in a row.
template <class Op>
static float reduceRow(const float* x, int64_t n) {
  Vec part[4] = {Op::start(), Op::start(), Op::start(), Op::start()};
  int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    for (int v = 0; v < 4; v++) part[v] = Op::join(part[v], load(x + i + v * width));
  }
  for (; i + width <= n; i += width) part[0] = Op::join(part[0], load(x + i));
  const Vec all = Op::join(Op::join(part[0], part[1]), Op::join(part[2], part[3]));
  float values[SIMD_WIDTH];
  store(values, all);
  float result = Op::one();
  for (int v = 0; v < SIMD_WIDTH; v++) result = Op::last(result, values[v]);
  for (; i < n; i++) result = Op::last(result, x[i]);
  return result;
}

/// y[i] = of `rows` rows of n values, `stride` apart.
template <class Op>
static void reduceRows(float* y, const float* x, int64_t rows, int64_t n, int64_t stride) {
  int64_t i = 0;
  for (; i + 2 * width <= n; i += 2 * width) {
    Vec a = Op::start(), b = Op::start();
    for (int64_t r = 0; r < rows; r++) {
      a = Op::join(a, load(x + r * stride + i));
      b = Op::join(b, load(x + r * stride + i + width));
    }
    store(y + i, a);
    store(y + i + width, b);
  }
  for (; i < n; i += width) {
    const int64_t left = n - i < width ? n - i : width;
    Vec a = Op::start();
    for (int64_t r = 0; r < rows; r++) {
      a = Op::join(a, left == width ? load(x + r * stride + i)
                                    : loadPart(x + r * stride + i, left));
    }
    if (left == width) store(y + i, a);
    else storePart(y + i, a, left);
  }
}

static float rowSum(const float* x, int64_t n) { return reduceRow<SumOf>(x, n); }
static float rowProd(const float* x, int64_t n) { return reduceRow<ProductOf>(x, n); }
static float rowMax(const float* x, int64_t n) { return reduceRow<MaximumOf>(x, n); }
static float rowMin(const float* x, int64_t n) { return reduceRow<MinimumOf>(x, n); }
static void rowsSum(float* y, const float* x, int64_t rows, int64_t n, int64_t stride) {
  reduceRows<SumOf>(y, x, rows, n, stride);
}
static void rowsProd(float* y, const float* x, int64_t rows, int64_t n, int64_t stride) {
  reduceRows<ProductOf>(y, x, rows, n, stride);
}
static void rowsMax(float* y, const float* x, int64_t rows, int64_t n, int64_t stride) {
  reduceRows<MaximumOf>(y, x, rows, n, stride);
}
static void rowsMin(float* y, const float* x, int64_t rows, int64_t n, int64_t stride) {
  reduceRows<MinimumOf>(y, x, rows, n, stride);
}

static double squaresRow(const float* x, int64_t n) {
  typedef double Doubles __attribute__((vector_size(SIMD_WIDTH * 8)));
  Doubles part[2] = {};
  int64_t i = 0;
  for (; i + 2 * width <= n; i += 2 * width) {
    for (int v = 0; v < 2; v++) {
      const Doubles a = __builtin_convertvector(load(x + i + v * width), Doubles);
      part[v] += a * a;
    }
  }
  double sum = 0;
  for (int v = 0; v < width; v++) sum += part[0][v] + part[1][v];
  for (; i < n; i++) sum += (double)x[i] * x[i];
  return sum;
}

static void softmaxRows(float* y, const float* x, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; r++, x += n, y += n) {
    const float most = reduceRow<MaximumOf>(x, n);
    const Vec shift = splat(most);
    mapVectors(y, x, n, [=](Vec v) { return exponential(v - shift); });
    const float sum = reduceRow<SumOf>(y, n);
    const Vec factor = splat(1.0f / sum);
    mapVectors(y, y, n, [=](Vec v) { return v * factor; });
  }
}

/// y = x · factor + shift, per feature.
static void affineRows(float* y, const float* x, const float* factor, const float* shift,
                       int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; r++, x += n, y += n) {
    int64_t i = 0;
    for (; i + width <= n; i += width) store(y + i, load(x + i) * load(factor + i) + load(shift + i));
    if (i < n) {
      const int64_t left = n - i;
      storePart(y + i,
                loadPart(x + i, left) * loadPart(factor + i, left) + loadPart(shift + i, left),
                left);
    }
  }
}
