void silu(float* y, const float* x, int64_t n) {
  mapVectors(y, x, n, [](Vec v) { return v * logistic(v); });
}
