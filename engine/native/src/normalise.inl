/// Calls f(offset, lanes) for vectors over 0 … n-1; lanes < width in the last one only.
template <class F>
static SACCADE_INLINE void overVectors(int64_t n, F f) {
  int64_t i = 0;
  for (; i + width <= n; i += width) f(i, width);
  if (i < n) f(i, n - i);
}

static SACCADE_INLINE Vec loadUpTo(const float* p, int64_t lanes) {
  return lanes == width ? load(p) : loadPart(p, lanes);
}

static SACCADE_INLINE void storeUpTo(float* p, Vec v, int64_t lanes) {
  if (lanes == width) store(p, v);
  else storePart(p, v, lanes);
}

/// Mean and squared deviations of each feature over each piece of rows.
static void batchNormSums(const NormCall& call, int64_t begin, int64_t end) {
  const int64_t n = call.features;
  for (int64_t piece = begin; piece < end; piece++) {
    const int64_t first = piece * normRows;
    const int64_t count = std::min(normRows, call.rows - first);
    float* mean = call.partial + 2 * piece * n;
    float* squares = mean + n;
    overVectors(n, [&](int64_t f, int64_t lanes) {
      const float* x = call.x + first * n + f;
      Vec sum{};
      for (int64_t r = 0; r < count; r++) sum = sum + loadUpTo(x + r * n, lanes);
      const Vec centre = sum * (1.0f / count);
      Vec deviations{};
      for (int64_t r = 0; r < count; r++) {
        const Vec difference = loadUpTo(x + r * n, lanes) - centre;
        deviations = deviations + difference * difference;
      }
      storeUpTo(mean + f, centre, lanes);
      storeUpTo(squares + f, deviations, lanes);
    });
  }
}

static void batchNormApply(const NormCall& call, int64_t begin, int64_t end) {
  const int64_t n = call.features;
  for (int64_t r = begin; r < end; r++) {
    const float* x = call.x + r * n;
    float* y = call.y + r * n;
    overVectors(n, [&](int64_t f, int64_t lanes) {
      const Vec centred = loadUpTo(x + f, lanes) - loadUpTo(call.factors + n + f, lanes);
      const Vec factor = loadUpTo(call.factors + f, lanes);
      storeUpTo(y + f, centred * factor + loadUpTo(call.shift + f, lanes), lanes);
    });
  }
}

/// Σ dY and Σ dY (X - mean) over each piece of rows.
static void batchNormGradientSums(const NormCall& call, int64_t begin, int64_t end) {
  const int64_t n = call.features;
  for (int64_t piece = begin; piece < end; piece++) {
    const int64_t first = piece * normRows;
    const int64_t count = std::min(normRows, call.rows - first);
    float* shift = call.partial + 2 * piece * n;
    float* overlap = shift + n;
    overVectors(n, [&](int64_t f, int64_t lanes) {
      const float* x = call.x + first * n + f;
      const float* dY = call.dY + first * n + f;
      const Vec mean = loadUpTo(call.mean + f, lanes);
      Vec sum{}, products{};
      for (int64_t r = 0; r < count; r++) {
        const Vec gradient = loadUpTo(dY + r * n, lanes);
        sum = sum + gradient;
        products = products + gradient * (loadUpTo(x + r * n, lanes) - mean);
      }
      storeUpTo(shift + f, sum, lanes);
      storeUpTo(overlap + f, products, lanes);
    });
  }
}

static void batchNormGradient(const NormCall& call, int64_t begin, int64_t end) {
  const int64_t n = call.features;
  for (int64_t r = begin; r < end; r++) {
    const float* x = call.x + r * n;
    const float* dY = call.dY + r * n;
    float* dX = call.dX + r * n;
    overVectors(n, [&](int64_t f, int64_t lanes) {
      const Vec centred = loadUpTo(x + f, lanes) - loadUpTo(call.mean + f, lanes);
      const Vec a = loadUpTo(call.factors + f, lanes);
      const Vec b = loadUpTo(call.factors + n + f, lanes);
      const Vec c = loadUpTo(call.factors + 2 * n + f, lanes);
      storeUpTo(dX + f, a * loadUpTo(dY + f, lanes) - b * centred - c, lanes);
    });
  }
}

static SACCADE_INLINE float inverseRoot(const NormCall& call, const float* x) {
  Vec squares{};
  overVectors(call.features, [&](int64_t f, int64_t lanes) {
    const Vec v = loadUpTo(x + f, lanes);
    squares = squares + v * v;
  });
  return 1 / sqrtf(sumOf(squares) / call.features + call.epsilon);
}

static void rmsNormForward(const NormCall& call, int64_t begin, int64_t end) {
  const int64_t n = call.features;
  for (int64_t r = begin; r < end; r++) {
    const float* x = call.x + r * n;
    float* y = call.y + r * n;
    const float inverse = inverseRoot(call, x);
    overVectors(n, [&](int64_t f, int64_t lanes) {
      storeUpTo(y + f, loadUpTo(x + f, lanes) * inverse * loadUpTo(call.scale + f, lanes), lanes);
    });
  }
}

static void rmsNormBackward(const NormCall& call, int64_t begin, int64_t end) {
  const int64_t n = call.features;
  for (int64_t piece = begin; piece < end; piece++) {
    float* dScale = call.partial + piece * n;
    memset(dScale, 0, n * sizeof(float));
    const int64_t stop = std::min((piece + 1) * normRows, call.rows);
    for (int64_t r = piece * normRows; r < stop; r++) {
      const float* x = call.x + r * n;
      const float* dY = call.dY + r * n;
      float* dX = call.dX + r * n;
      const float inverse = inverseRoot(call, x);
      Vec overlap{};
      overVectors(n, [&](int64_t f, int64_t lanes) {
        const Vec scaled = loadUpTo(dY + f, lanes) * loadUpTo(call.scale + f, lanes);
        overlap = overlap + scaled * loadUpTo(x + f, lanes);
      });
      const float pull = sumOf(overlap) * inverse * inverse / n;
      overVectors(n, [&](int64_t f, int64_t lanes) {
        const Vec v = loadUpTo(x + f, lanes);
        const Vec gradient = loadUpTo(dY + f, lanes);
        const Vec scaled = gradient * loadUpTo(call.scale + f, lanes);
        storeUpTo(dX + f, inverse * (scaled - v * pull), lanes);
        storeUpTo(dScale + f, loadUpTo(dScale + f, lanes) + gradient * v * inverse, lanes);
      });
    }
  }
}
