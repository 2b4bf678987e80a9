// Vectors run over channels, four at a time; the states are the inner loop, so that B and C are scalars.
constexpr int64_t scanVectors = 4;
constexpr int64_t scanWidth = scanVectors * width;

static inline int64_t scanLanes() { return scanWidth; }

/// 2ʳ for |r| ≤ ½ to 8e-8: a polynomial fitted to the smallest relative error.
static SACCADE_INLINE Vec scanPolynomial(Vec r) {
  Vec p = splat(1.3276405e-3f);
  p = p * r + 9.6755240e-3f;
  p = p * r + 5.5507132e-2f;
  p = p * r + 2.4022120e-1f;
  p = p * r + 6.9314697e-1f;
  return p * r + 1.00000007f;
}

/// 2ˣ: the decay's exponential, whose exponents are scaled to powers of two beforehand.
static SACCADE_INLINE Vec scanPower(Vec x) {
#if SIMD_AVX512
  const __m512 whole = _mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return (Vec)_mm512_scalef_ps((__m512)scanPolynomial(x - (Vec)whole), whole);
#else
  x = minimum(splat(126.0f), maximum(splat(-126.0f), x));  // in this order, a NaN stays one
  const Vec shifted = x + 12582912.0f;                     // rounds to the nearest integer
  const Vec power = scanPolynomial(x - (shifted - 12582912.0f));
  return fromBits(bits(power) + (bits(shifted) << 23));
#endif
}

static SACCADE_INLINE float scanSum(Vec v) {
#if SIMD_AVX512
  return _mm512_reduce_add_ps((__m512)v);
#else
  return sumOf(v);
#endif
}

/// One group of channels of one sequence.
struct ScanTask {
  int64_t b, group, from, count;

  ScanTask(const ScanCall& call, int64_t task)
      : b(task / call.groups),
        group(task % call.groups),
        from(group * scanWidth),
        count(std::min(scanWidth, call.channels - from)) {}
};

/// Copies up to scanWidth values, then zeros.
static SACCADE_INLINE void scanCopy(float* to, const float* from, int64_t count) {
  if (count == scanWidth) {
    memcpy(to, from, scanWidth * sizeof(float));
  } else {
    memset(to, 0, scanWidth * sizeof(float));
    memcpy(to, from, count * sizeof(float));
  }
}

/// `[channels, states]` to `[states, scanWidth]`, scaled.
static inline void scanGather(float* to, const float* from, int64_t count, int64_t states,
                              float scale) {
  memset(to, 0, states * scanWidth * sizeof(float));
  for (int64_t c = 0; c < count; c++) {
    for (int64_t s = 0; s < states; s++) to[s * scanWidth + c] = scale * from[c * states + s];
  }
}

static inline void scanScatter(float* to, const float* from, int64_t count, int64_t states) {
  for (int64_t c = 0; c < count; c++) {
    for (int64_t s = 0; s < states; s++) to[c * states + s] = from[s * scanWidth + c];
  }
}

/// Inputs and step sizes of `steps` steps from `start` on, `[steps, scanWidth]` each.
static inline void scanPack(const ScanCall& call, const ScanTask& task, int64_t start, int64_t steps,
                            const float* bias, float* inputs, float* sizes) {
  for (int64_t k = 0; k < steps; k++) {
    const int64_t at = call.row(task.b, start + k) * call.channels + task.from;
    scanCopy(inputs + k * scanWidth, call.u + at, task.count);
    float* size = sizes + k * scanWidth;
    scanCopy(size, call.delta + at, task.count);
    for (int64_t i = 0; i < scanWidth; i += width) {
      store(size + i, softplusOf(load(size + i) + load(bias + i)));
    }
  }
}

constexpr float scanLog2E = 1.44269504088896f;

static void scanForward(const ScanCall& call, int64_t begin, int64_t end) {
  const int64_t states = call.states;
  float* exponents = scratch(0, states * scanWidth);
  float* h = scratch(1, states * scanWidth);
  float* inputs = scratch(2, scanChunk * scanWidth);
  float* sizes = scratch(3, scanChunk * scanWidth);
  float bias[scanWidth], skip[scanWidth], out[scanWidth], gate[scanWidth];
  for (int64_t at = begin; at < end; at++) {
    const ScanTask task(call, at);
    const int64_t stateAt = (task.b * call.channels + task.from) * states;
    scanGather(exponents, call.A + task.from * states, task.count, states, scanLog2E);
    scanGather(h, call.initial + stateAt, task.count, states, 1);
    scanCopy(bias, call.deltaBias + task.from, task.count);
    scanCopy(skip, call.D + task.from, task.count);
    for (int64_t start = 0; start < call.length; start += scanChunk) {
      const int64_t steps = std::min(scanChunk, call.length - start);
      scanPack(call, task, start, steps, bias, inputs, sizes);
      for (int64_t k = 0; k < steps; k++) {
        const int64_t row = call.row(task.b, start + k);
        const float* B = call.B + row * states;
        const float* C = call.C + row * states;
        Vec dt[scanVectors], drive[scanVectors], sum[scanVectors];
#pragma GCC unroll 4
        for (int64_t g = 0; g < scanVectors; g++) {
          const Vec input = load(inputs + k * scanWidth + g * width);
          dt[g] = load(sizes + k * scanWidth + g * width);
          drive[g] = dt[g] * input;
          sum[g] = load(skip + g * width) * input;
        }
        for (int64_t s = 0; s < states; s++) {
          const float b = B[s], c = C[s];
          float* state = h + s * scanWidth;
          const float* exponent = exponents + s * scanWidth;
#pragma GCC unroll 4
          for (int64_t g = 0; g < scanVectors; g++) {
            const Vec decay = scanPower(dt[g] * load(exponent + g * width));
            const Vec next = decay * load(state + g * width) + drive[g] * b;
            store(state + g * width, next);
            sum[g] = sum[g] + next * c;
          }
        }
        for (int64_t g = 0; g < scanVectors; g++) store(out + g * width, sum[g]);
        const int64_t yAt = row * call.channels + task.from;
        if (call.z != nullptr) {
          scanCopy(gate, call.z + yAt, task.count);
          for (int64_t i = 0; i < scanWidth; i += width) {
            const Vec z = load(gate + i);
            store(out + i, load(out + i) * z * logistic(z));
          }
        }
        memcpy(call.y + yAt, out, task.count * sizeof(float));
      }
    }
    scanScatter(call.last + stateAt, h, task.count, states);
  }
}

static void scanBackward(const ScanCall& call, int64_t begin, int64_t end) {
  const int64_t states = call.states;
  const int64_t stateSize = states * scanWidth;
  const int64_t chunks = (call.length + scanChunk - 1) / scanChunk;
  float* exponents = scratch(0, stateSize);
  float* checkpoints = scratch(1, std::max<int64_t>(1, chunks) * stateSize);
  float* inputs = scratch(2, scanChunk * scanWidth);
  float* sizes = scratch(3, scanChunk * scanWidth);
  float* h = scratch(4, (scanChunk + 1) * stateSize);
  float* decays = scratch(5, scanChunk * stateSize);
  float* dh = scratch(6, stateSize);
  float* plain = scratch(7, scanChunk * scanWidth);
  float bias[scanWidth], skip[scanWidth], gate[scanWidth], dOut[scanWidth], line[scanWidth];
  for (int64_t at = begin; at < end; at++) {
    const ScanTask task(call, at);
    const int64_t stateAt = (task.b * call.channels + task.from) * states;
    float* dA = call.partialChannels + at * (states + 2) * scanWidth;
    float* dD = dA + states * scanWidth;
    float* dBias = dD + scanWidth;
    memset(dA, 0, (states + 2) * scanWidth * sizeof(float));
    scanGather(exponents, call.A + task.from * states, task.count, states, 1);
    scanCopy(bias, call.deltaBias + task.from, task.count);
    scanCopy(skip, call.D + task.from, task.count);
    scanGather(dh, call.dLast + stateAt, task.count, states, 1);

    // Through the sequence once for the states at the chunks' starts …
    scanGather(checkpoints, call.initial + stateAt, task.count, states, 1);
    for (int64_t chunk = 0; chunk + 1 < chunks; chunk++) {
      const float* before = checkpoints + chunk * stateSize;
      float* state = checkpoints + (chunk + 1) * stateSize;
      memcpy(state, before, stateSize * sizeof(float));
      scanPack(call, task, chunk * scanChunk, scanChunk, bias, inputs, sizes);
      for (int64_t k = 0; k < scanChunk; k++) {
        const float* B = call.B + call.row(task.b, chunk * scanChunk + k) * states;
        Vec dt[scanVectors], drive[scanVectors];
#pragma GCC unroll 4
        for (int64_t g = 0; g < scanVectors; g++) {
          dt[g] = load(sizes + k * scanWidth + g * width);
          drive[g] = dt[g] * load(inputs + k * scanWidth + g * width);
          dt[g] = dt[g] * scanLog2E;
        }
        for (int64_t s = 0; s < states; s++) {
          const float b = B[s];
#pragma GCC unroll 4
          for (int64_t g = 0; g < scanVectors; g++) {
            const int64_t i = s * scanWidth + g * width;
            const Vec decay = scanPower(dt[g] * load(exponents + i));
            store(state + i, decay * load(state + i) + drive[g] * b);
          }
        }
      }
    }

    // … then chunk by chunk from the end: states and decays again, kept this time, and backwards.
    for (int64_t chunk = chunks - 1; chunk >= 0; chunk--) {
      const int64_t start = chunk * scanChunk;
      const int64_t steps = std::min(scanChunk, call.length - start);
      memcpy(h, checkpoints + chunk * stateSize, stateSize * sizeof(float));
      scanPack(call, task, start, steps, bias, inputs, sizes);
      for (int64_t k = 0; k < steps; k++) {
        const int64_t row = call.row(task.b, start + k);
        const float* B = call.B + row * states;
        const float* C = call.C + row * states;
        Vec dt[scanVectors], drive[scanVectors], sum[scanVectors];
#pragma GCC unroll 4
        for (int64_t g = 0; g < scanVectors; g++) {
          const Vec input = load(inputs + k * scanWidth + g * width);
          dt[g] = load(sizes + k * scanWidth + g * width);
          drive[g] = dt[g] * input;
          dt[g] = dt[g] * scanLog2E;
          sum[g] = load(skip + g * width) * input;
        }
        for (int64_t s = 0; s < states; s++) {
          const float b = B[s], c = C[s];
          const float* before = h + k * stateSize + s * scanWidth;
#pragma GCC unroll 4
          for (int64_t g = 0; g < scanVectors; g++) {
            const Vec decay = scanPower(dt[g] * load(exponents + s * scanWidth + g * width));
            const Vec next = decay * load(before + g * width) + drive[g] * b;
            store(decays + k * stateSize + s * scanWidth + g * width, decay);
            store(h + (k + 1) * stateSize + s * scanWidth + g * width, next);
            if (call.z != nullptr) sum[g] = sum[g] + next * c;
          }
        }
        if (call.z != nullptr) {
          for (int64_t g = 0; g < scanVectors; g++) store(plain + k * scanWidth + g * width, sum[g]);
        }
      }
      for (int64_t k = steps - 1; k >= 0; k--) {
        const int64_t row = call.row(task.b, start + k);
        const int64_t rowAt = row * call.channels + task.from;
        const float* B = call.B + row * states;
        const float* C = call.C + row * states;
        float* dB = call.partialB + (at * call.length + start + k) * states;
        float* dC = call.partialC + (at * call.length + start + k) * states;
        scanCopy(dOut, call.dY + rowAt, task.count);
        if (call.z != nullptr) {
          scanCopy(gate, call.z + rowAt, task.count);
          for (int64_t i = 0; i < scanWidth; i += width) {
            const Vec z = load(gate + i);
            const Vec s = logistic(z);
            const Vec dy = load(dOut + i);
            store(gate + i, dy * load(plain + k * scanWidth + i) * s * (1.0f + z * (1.0f - s)));
            store(dOut + i, dy * z * s);
          }
          memcpy(call.dZ + rowAt, gate, task.count * sizeof(float));
        }
        Vec dt[scanVectors], drive[scanVectors], dy[scanVectors];
        Vec dDt[scanVectors], dDrive[scanVectors];
#pragma GCC unroll 4
        for (int64_t g = 0; g < scanVectors; g++) {
          dt[g] = load(sizes + k * scanWidth + g * width);
          drive[g] = dt[g] * load(inputs + k * scanWidth + g * width);
          dy[g] = load(dOut + g * width);
          dDt[g] = Vec{};
          dDrive[g] = Vec{};
        }
        for (int64_t s = 0; s < states; s++) {
          const float b = B[s], c = C[s];
          const float* before = h + k * stateSize + s * scanWidth;
          const float* after = before + stateSize;
          const float* decay = decays + k * stateSize + s * scanWidth;
          Vec sumB{}, sumC{};
#pragma GCC unroll 4
          for (int64_t g = 0; g < scanVectors; g++) {
            const int64_t i = s * scanWidth + g * width;
            const Vec dState = load(dh + i) + dy[g] * c;
            const Vec carried = dState * load(decay + g * width);
            const Vec dExponent = carried * load(before + g * width);
            sumB = sumB + dState * drive[g];
            sumC = sumC + dy[g] * load(after + g * width);
            dDt[g] = dDt[g] + dExponent * load(exponents + i);
            dDrive[g] = dDrive[g] + dState * b;
            store(dA + i, load(dA + i) + dExponent * dt[g]);
            store(dh + i, carried);
          }
          dB[s] = scanSum(sumB);
          dC[s] = scanSum(sumC);
        }
        for (int64_t g = 0; g < scanVectors; g++) {
          const int64_t i = g * width;
          const Vec input = load(inputs + k * scanWidth + i);
          store(line + i, dDrive[g] * dt[g] + dy[g] * load(skip + i));
          store(dD + i, load(dD + i) + dy[g] * input);
          dDt[g] = dDt[g] + dDrive[g] * input;
        }
        memcpy(call.dU + rowAt, line, task.count * sizeof(float));
        scanCopy(line, call.delta + rowAt, task.count);
        for (int64_t g = 0; g < scanVectors; g++) {
          const int64_t i = g * width;
          const Vec dRaw = dDt[g] * logistic(load(line + i) + load(bias + i));
          store(line + i, dRaw);
          store(dBias + i, load(dBias + i) + dRaw);
        }
        memcpy(call.dDelta + rowAt, line, task.count * sizeof(float));
      }
    }
    scanScatter(call.dInitial + stateAt, dh, task.count, states);
  }
}

/// Adds up the groups' parts of dB and dC for rows of `[batch · length]` in the order of the recurrence.
static void scanAddMixes(const ScanCall& call, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; r++) {
    const int64_t b = r / call.length, step = r % call.length;
    const int64_t to = call.row(b, step) * call.states;
    for (int64_t s = 0; s < call.states; s++) call.dB[to + s] = call.dC[to + s] = 0;
    for (int64_t group = 0; group < call.groups; group++) {
      const int64_t from = ((b * call.groups + group) * call.length + step) * call.states;
      for (int64_t s = 0; s < call.states; s++) {
        call.dB[to + s] += call.partialB[from + s];
        call.dC[to + s] += call.partialC[from + s];
      }
    }
  }
}

/// Adds up the batch's parts of dA, dD and dDeltaBias.
static void scanAddChannels(const ScanCall& call, int64_t begin, int64_t end) {
  const int64_t size = (call.states + 2) * scanWidth;
  float* sum = scratch(0, size);
  for (int64_t group = begin; group < end; group++) {
    memset(sum, 0, size * sizeof(float));
    for (int64_t b = 0; b < call.batch; b++) {
      const float* part = call.partialChannels + (b * call.groups + group) * size;
      for (int64_t i = 0; i < size; i += width) store(sum + i, load(sum + i) + load(part + i));
    }
    const int64_t from = group * scanWidth;
    const int64_t count = std::min(scanWidth, call.channels - from);
    scanScatter(call.dA + from * call.states, sum, count, call.states);
    memcpy(call.dD + from, sum + call.states * scanWidth, count * sizeof(float));
    memcpy(call.dDeltaBias + from, sum + (call.states + 1) * scanWidth, count * sizeof(float));
  }
}
