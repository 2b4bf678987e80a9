static SACCADE_INLINE Vec siluSlope(Vec x, Vec s) { return s * (1.0f + x * (1.0f - s)); }

void silu(float* y, const float* x, int64_t n) {
  mapVectors(y, x, n, [](Vec v) { return v * logistic(v); });
}

void siluGradient(float* dX, const float* x, const float* dY, int64_t n) {
  mapVectors(dX, x, dY, n, [](Vec v, Vec dy) { return dy * siluSlope(v, logistic(v)); });
}

void siluGate(float* y, const float* x, const float* gate, int64_t n) {
  mapVectors(y, x, gate, n, [](Vec v, Vec g) { return v * g * logistic(g); });
}

void siluGateGradient(float* dX, float* dGate, const float* x, const float* gate, const float* dY,
                      int64_t n) {
  for (int64_t i = 0; i < n; i += width) {
    const int64_t left = n - i;
    const bool whole = left >= width;
    const Vec v = whole ? load(x + i) : loadPart(x + i, left);
    const Vec g = whole ? load(gate + i) : loadPart(gate + i, left);
    const Vec dy = whole ? load(dY + i) : loadPart(dY + i, left);
    const Vec s = logistic(g);
    const Vec dx = dy * g * s;
    const Vec dg = dy * v * siluSlope(g, s);
    if (whole) {
      store(dX + i, dx);
      store(dGate + i, dg);
    } else {
      storePart(dX + i, dx, left);
      storePart(dGate + i, dg, left);
    }
  }
}

/// The normal distribution's density at x, times √(2π).
static SACCADE_INLINE Vec bell(Vec x) { return exponential(x * x * -0.5f); }

/// Φ(x) by erfc (Abramowitz & Stegun 7.1.26, to 1.5e-7), given bell(x).
static SACCADE_INLINE Vec normalBelow(Vec x, Vec density) {
  const Vec t = 1.0f / (1.0f + (0.3275911f * 0.70710678f) * absolute(x));
  Vec p = t * 1.061405429f - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const Vec tail = p * t * density * 0.5f;
  return select(x < Vec{}, tail, 1.0f - tail);
}

void gelu(float* y, const float* x, int64_t n) {
  mapVectors(y, x, n, [](Vec v) { return v * normalBelow(v, bell(v)); });
}

void geluGradient(float* dX, const float* x, const float* dY, int64_t n) {
  mapVectors(dX, x, dY, n, [](Vec v, Vec dy) {
    const Vec density = bell(v);
    return dy * (normalBelow(v, density) + v * density * 0.39894228f);
  });
}
