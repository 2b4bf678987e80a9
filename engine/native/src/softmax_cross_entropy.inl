/// f(offset, lanes) for vectors over 0 … n-1; lanes < width in the last one only.
template <class F>
static SACCADE_INLINE void overClasses(int64_t n, F f) {
  for (int64_t i = 0; i < n; i += width) f(i, n - i < width ? n - i : width);
}

static SACCADE_INLINE Vec loadClasses(const float* p, int64_t lanes, float rest) {
  if (lanes == width) return load(p);
  Vec v = loadPart(p, lanes);
  for (int64_t i = lanes; i < width; i++) v[i] = rest;
  return v;
}

struct LogSum {
  /// Largest logit, and the logarithm of Σ e^(logit - largest).
  float most, log;
};

static SACCADE_INLINE LogSum logSum(const float* x, int64_t n) {
  const float least = -__builtin_inff();
  Vec most = splat(least);
  overClasses(n, [&](int64_t i, int64_t lanes) {
    const Vec v = loadClasses(x + i, lanes, least);
    most = select((v > most) | (v != v), v, most);
  });
  const float largest = maximumOf(most);
  Vec sum{};
  overClasses(n, [&](int64_t i, int64_t lanes) {
    sum = sum + exponential(loadClasses(x + i, lanes, least) - largest);
  });
  return {largest, logf(sumOf(sum))};
}

static float crossEntropyRow(const float* logits, const float* targets, int64_t n) {
  const LogSum row = logSum(logits, n);
  Vec sum{};
  overClasses(n, [&](int64_t i, int64_t lanes) {
    const Vec x = loadClasses(logits + i, lanes, row.most);
    sum = sum + loadClasses(targets + i, lanes, 0) * (row.log - (x - row.most));
  });
  return sumOf(sum);
}

static void crossEntropyGradient(float* dLogits, float* dTargets, const float* logits,
                                 const float* targets, float dLoss, int64_t n) {
  const LogSum row = logSum(logits, n);
  Vec sum{};
  overClasses(n, [&](int64_t i, int64_t lanes) { sum = sum + loadClasses(targets + i, lanes, 0); });
  const float total = sumOf(sum);
  const Vec gradient = splat(dLoss);
  mapVectors(dTargets, logits, n, [=](Vec x) { return gradient * (row.log - (x - row.most)); });
  mapVectors(dLogits, logits, targets, n, [=](Vec x, Vec target) {
    return gradient * (total * exponential(x - row.most - row.log) - target);
  });
}
