// Element by element, with NumPy's broadcasting.
struct Axes {
  int rank;
  unsigned extent[8];
  int first[8], second[8];
};

#define UNARY(NAME, EXPRESSION)                                               \
  KERNEL NAME(const float* x, float* y, float p, float q, int64 n) {          \
    for (int64 i = gridThread(); i < n; i += gridThreads()) {                 \
      const float v = x[i];                                                   \
      y[i] = EXPRESSION;                                                      \
    }                                                                         \
  }

UNARY(Abs, fabsf(v))
UNARY(Ceil, ceilf(v))
UNARY(ClipByValue, v > q ? q : v < p ? p : v)
UNARY(Cos, cosf(v))
UNARY(Elu, v >= 0.0f ? v : expm1f(v))
UNARY(Erf, erff(v))
UNARY(Exp, expf(v))
UNARY(Expm1, expm1f(v))
UNARY(Floor, floorf(v))
UNARY(LeakyRelu, v < 0.0f ? p * v : v)
UNARY(Log, logf(v))
UNARY(Log1p, log1pf(v))
UNARY(Neg, -v)
UNARY(Reciprocal, 1.0f / v)
UNARY(Relu, v < 0.0f ? 0.0f : v)
UNARY(Relu6, v < 0.0f ? 0.0f : v > 6.0f ? 6.0f : v)
UNARY(Round, rintf(v))
UNARY(Rsqrt, 1.0f / sqrtf(v))
UNARY(Selu, v >= 0.0f ? 1.0507009873554805f * v : 1.7580993408473768f * expm1f(v))
UNARY(Sigmoid, sigmoid(v))
UNARY(Sign, v > 0.0f ? 1.0f : v < 0.0f ? -1.0f : 0.0f)
UNARY(Sin, sinf(v))
UNARY(Softplus, softplus(v))
UNARY(Sqrt, sqrtf(v))
UNARY(Square, v * v)
UNARY(Step, isnan(v) ? v : v > 0.0f ? 1.0f : p)
UNARY(Tanh, tanhf(v))
UNARY(siluForward, silu(v))
UNARY(geluForward, v * normcdff(v))

#define BINARY(NAME, IN, OUT, EXPRESSION)                                                         \
  KERNEL NAME(const IN* a, const IN* b, OUT* y, int firstStride, int secondStride, int64 n) {     \
    for (int64 i = gridThread(); i < n; i += gridThreads()) {                                     \
      const IN u = a[i * firstStride], v = b[i * secondStride];                                   \
      y[i] = EXPRESSION;                                                                          \
    }                                                                                             \
  }                                                                                               \
  KERNEL NAME##Axes(const IN* a, const IN* b, OUT* y, const Axes axes, int64 n) {                 \
    for (int64 i = gridThread(); i < n; i += gridThreads()) {                                     \
      unsigned rest = i;                                                                          \
      int64 atA = 0, atB = 0;                                                                     \
      for (int d = axes.rank - 1; d >= 0; d--) {                                                  \
        const unsigned next = rest / axes.extent[d], index = rest - next * axes.extent[d];        \
        atA += (int64)index * axes.first[d];                                                             \
        atB += (int64)index * axes.second[d];                                                            \
        rest = next;                                                                              \
      }                                                                                           \
      const IN u = a[atA], v = b[atB];                                                            \
      y[i] = EXPRESSION;                                                                          \
    }                                                                                             \
  }

BINARY(Add, float, float, u + v)
BINARY(Sub, float, float, u - v)
BINARY(Multiply, float, float, u * v)
BINARY(RealDiv, float, float, u / v)
BINARY(Maximum, float, float, isnan(u) || u > v ? u : v)
BINARY(Minimum, float, float, isnan(u) || u < v ? u : v)
BINARY(Pow, float, float, isnan(v) ? v : v == 0.0f ? 1.0f : powf(u, v))
BINARY(SquaredDifference, float, float, (u - v) * (u - v))
BINARY(Prelu, float, float, u < 0.0f ? u * v : u)
BINARY(EluGrad, float, float, v >= 0.0f ? u : u * (v + 1.0f))
BINARY(Equal, float, uint8, u == v)
BINARY(NotEqual, float, uint8, u != v)
BINARY(Greater, float, uint8, u > v)
BINARY(GreaterEqual, float, uint8, u >= v)
BINARY(Less, float, uint8, u < v)
BINARY(LessEqual, float, uint8, u <= v)
BINARY(LogicalAnd, uint8, uint8, u && v)
BINARY(LogicalOr, uint8, uint8, u || v)
BINARY(addInts, int, int, u + v)
BINARY(subtractInts, int, int, u - v)
BINARY(multiplyInts, int, int, u * v)
BINARY(floorDivideInts, int, int, (int)floor((double)u / v))
BINARY(EqualInts, int, uint8, u == v)
BINARY(NotEqualInts, int, uint8, u != v)
BINARY(GreaterInts, int, uint8, u > v)
BINARY(GreaterEqualInts, int, uint8, u >= v)
BINARY(LessInts, int, uint8, u < v)
BINARY(LessEqualInts, int, uint8, u <= v)

KERNEL LogicalNot(const uint8* x, uint8* y, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) y[i] = !x[i];
}

KERNEL addTo(float* y, const float* x, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) y[i] += x[i];
}

KERNEL Select(const uint8* chosen, const float* t, const float* e, float* y, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) y[i] = chosen[i] ? t[i] : e[i];
}

KERNEL fill(float* y, float value, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) y[i] = value;
}
KERNEL fillInts(int* y, int value, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) y[i] = value;
}

KERNEL intsToFloats(const int* x, float* y, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) y[i] = (float)x[i];
}
KERNEL bytesToFloats(const uint8* x, float* y, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) y[i] = (float)x[i];
}
KERNEL bytesToInts(const uint8* x, int* y, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) y[i] = x[i];
}
KERNEL floatsToInts(const float* x, int* y, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) {
    // As JavaScript's conversion: not a number and infinities give 0.
    const float v = x[i];
    y[i] = isnan(v) || isinf(v) ? 0 : (int)(int64)v;
  }
}

KERNEL siluBackward(const float* x, const float* dY, float* dX, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) {
    const float s = sigmoid(x[i]);
    dX[i] = dY[i] * s * (1.0f + x[i] * (1.0f - s));
  }
}
KERNEL geluBackward(const float* x, const float* dY, float* dX, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) {
    const float v = x[i];
    dX[i] = dY[i] * (normcdff(v) + v * 0.3989422804014327f * expf(-0.5f * v * v));
  }
}
KERNEL siluGateForward(const float* x, const float* gate, float* y, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) y[i] = x[i] * silu(gate[i]);
}
KERNEL siluGateBackward(const float* x, const float* gate, const float* dY, float* dX, float* dGate, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) {
    const float g = gate[i], s = sigmoid(g), d = dY[i];
    dX[i] = d * g * s;
    dGate[i] = d * x[i] * s * (1.0f + g * (1.0f - s));
  }
}

/// The upper half of a float32, rounded to the nearest, and to even where two are as near.
__device__ __forceinline__ unsigned bf16Of(float x) {
  const unsigned bits = __float_as_uint(x);
  return isnan(x) ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
/// Two values a thread; `pairs` is half of n, rounded up.
KERNEL roundToBf16(const float* x, unsigned* y, int64 n, int64 pairs) {
  for (int64 i = gridThread(); i < pairs; i += gridThreads()) {
    const unsigned second = 2 * i + 1 < n ? bf16Of(x[2 * i + 1]) : 0u;
    y[i] = bf16Of(x[2 * i]) | second << 16;
  }
}
