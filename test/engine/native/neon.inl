#include "activations.inl"
#include "gemm.inl"

static void exponentials(float* y, const float* x, int64_t n) {
  mapVectors(y, x, n, [](Vec v) { return exponential(v); });
}
static void logistics(float* y, const float* x, int64_t n) {
  mapVectors(y, x, n, [](Vec v) { return logistic(v); });
}
static void softpluses(float* y, const float* x, int64_t n) {
  mapVectors(y, x, n, [](Vec v) { return softplusOf(v); });
}
static void squareRoots(float* y, const float* x, int64_t n) {
  mapVectors(y, x, n, [](Vec v) { return squareRoot(absolute(v)); });
}
