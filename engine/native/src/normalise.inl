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

/// x in the first lanes, zeros after them.
static SACCADE_INLINE Vec splatUpTo(float x, int64_t lanes) {
  Vec v = splat(x);
  for (int64_t i = lanes; i < width; i++) v[i] = 0;
  return v;
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

struct RowStatistics {
  float mean, inverse;
};

/// Mean (0 where rows are not centred) and 1 / root of the mean square about it.
template <bool centred>
static SACCADE_INLINE RowStatistics rowStatistics(const NormCall& call, const float* x) {
  float mean = 0;
  if (centred) {
    Vec sum{};
    overVectors(call.features, [&](int64_t f, int64_t lanes) { sum = sum + loadUpTo(x + f, lanes); });
    mean = sumOf(sum) / call.features;
  }
  Vec squares{};
  overVectors(call.features, [&](int64_t f, int64_t lanes) {
    // Lanes past the end must not count the mean.
    const Vec v = loadUpTo(x + f, lanes) - (centred ? splatUpTo(mean, lanes) : Vec{});
    squares = squares + v * v;
  });
  return {mean, 1 / sqrtf(sumOf(squares) / call.features + call.epsilon)};
}

template <bool centred>
static void rowNormForward(const NormCall& call, int64_t begin, int64_t end) {
  const int64_t n = call.features;
  for (int64_t r = begin; r < end; r++) {
    const float* x = call.x + r * n;
    float* y = call.y + r * n;
    const RowStatistics row = rowStatistics<centred>(call, x);
    overVectors(n, [&](int64_t f, int64_t lanes) {
      const Vec normal = (loadUpTo(x + f, lanes) - row.mean) * row.inverse;
      const Vec scaled = normal * loadUpTo(call.scale + f, lanes);
      storeUpTo(y + f, centred ? scaled + loadUpTo(call.shift + f, lanes) : scaled, lanes);
    });
  }
}

/// Σ dY · normal and, where rows are centred, Σ dY are left by piece: `[pieces, 1 or 2, features]`.
template <bool centred>
static void rowNormBackward(const NormCall& call, int64_t begin, int64_t end) {
  const int64_t n = call.features;
  const int64_t sums = centred ? 2 * n : n;
  for (int64_t piece = begin; piece < end; piece++) {
    float* dScale = call.partial + piece * sums;
    float* dShift = dScale + n;
    memset(dScale, 0, sums * sizeof(float));
    const int64_t stop = std::min((piece + 1) * normRows, call.rows);
    for (int64_t r = piece * normRows; r < stop; r++) {
      const float* x = call.x + r * n;
      const float* dY = call.dY + r * n;
      float* dX = call.dX + r * n;
      const RowStatistics row = rowStatistics<centred>(call, x);
      Vec sum{}, overlap{};
      overVectors(n, [&](int64_t f, int64_t lanes) {
        const Vec scaled = loadUpTo(dY + f, lanes) * loadUpTo(call.scale + f, lanes);
        if (centred) sum = sum + scaled;
        overlap = overlap + scaled * (loadUpTo(x + f, lanes) - row.mean);
      });
      const float push = sumOf(sum) / n;
      const float pull = sumOf(overlap) * row.inverse / n;
      overVectors(n, [&](int64_t f, int64_t lanes) {
        const Vec normal = (loadUpTo(x + f, lanes) - row.mean) * row.inverse;
        const Vec gradient = loadUpTo(dY + f, lanes);
        const Vec scaled = gradient * loadUpTo(call.scale + f, lanes);
        storeUpTo(dX + f, row.inverse * (scaled - push - normal * pull), lanes);
        storeUpTo(dScale + f, loadUpTo(dScale + f, lanes) + gradient * normal, lanes);
        if (centred) storeUpTo(dShift + f, loadUpTo(dShift + f, lanes) + gradient, lanes);
      });
    }
  }
}
