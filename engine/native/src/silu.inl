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
