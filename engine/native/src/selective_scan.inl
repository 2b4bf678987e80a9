// Vectors run over channels, four at a time. A chunk of steps is gone through once for every state, so that
// what belongs to the state stays in registers, the chunk in the nearest cache, and B and C are scalars.
constexpr int64_t scanVectors = 4;
constexpr int64_t scanWidth = scanVectors * width;

static inline int64_t scanLanes() { return scanWidth; }

/// 2ˣ: the decay's exponential, whose exponents are scaled to powers of two beforehand. Polynomials are
/// fitted to the smallest relative error, 8e-8.
static SACCADE_INLINE Vec scanPower(Vec x) {
#if SIMD_AVX512
  // r = x - ⌊x⌋, and 2ˣ = 2ʳ · 2^⌊x⌋: `scalef` rounds down by itself.
  const Vec r = (Vec)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  Vec p = splat(1.8775751e-3f);
  p = p * r + 8.9893443e-3f;
  p = p * r + 5.5826314e-2f;
  p = p * r + 2.4015363e-1f;
  p = p * r + 6.9315308e-1f;
  return (Vec)_mm512_maskz_scalef_ps((__mmask16)-1, (__m512)(p * r + 0.99999994f), (__m512)x);
#else
  x = minimum(splat(126.0f), maximum(splat(-126.0f), x));  // in this order, a NaN stays one
  const Vec shifted = x + 12582912.0f;                     // rounds to the nearest integer
  const Vec r = x - (shifted - 12582912.0f);
  Vec p = splat(1.3276405e-3f);
  p = p * r + 9.6755240e-3f;
  p = p * r + 5.5507132e-2f;
  p = p * r + 2.4022120e-1f;
  p = p * r + 6.9314697e-1f;
  return fromBits(bits(p * r + 1.00000007f) + (bits(shifted) << 23));
#endif
}

#if SIMD_AVX512
/// Sums of neighbours, of sixteen vectors at once: halves are added crosswise until each lane holds one sum.
static SACCADE_INLINE Vec scanSumsOfSixteen(const float* from) {
  // Masks of ones: GCC takes the plain forms for uninitialised (its bug 105593).
  constexpr __mmask16 all = (__mmask16)-1;
  const auto pairs = [](__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_maskz_unpacklo_ps(all, a, b), _mm512_maskz_unpackhi_ps(all, a, b));
  };
  const auto halves = [](__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_maskz_shuffle_f32x4(all, a, b, 0x88),
                         _mm512_maskz_shuffle_f32x4(all, a, b, 0xdd));
  };
  __m512 quarter[4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; q++) {
    const float* at = from + 4 * q * width;
    const __m512d ab = _mm512_castps_pd(pairs((__m512)load(at), (__m512)load(at + width)));
    const __m512d cd = _mm512_castps_pd(pairs((__m512)load(at + 2 * width), (__m512)load(at + 3 * width)));
    quarter[q] = _mm512_add_ps(_mm512_castpd_ps(_mm512_maskz_unpacklo_pd((__mmask8)-1, ab, cd)),
                               _mm512_castpd_ps(_mm512_maskz_unpackhi_pd((__mmask8)-1, ab, cd)));
  }
  return (Vec)halves(halves(quarter[0], quarter[1]), halves(quarter[2], quarter[3]));
}
#endif

/// to[k] = the sum of vector k of `from`, for `count` vectors.
static SACCADE_INLINE void scanSums(float* to, const float* from, int64_t count) {
  int64_t k = 0;
#if SIMD_AVX512
  for (; k + width <= count; k += width) store(to + k, scanSumsOfSixteen(from + k * width));
#endif
  for (; k < count; k++) to[k] = sumOf(load(from + k * width));
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

/// What a chunk of steps is made of, `[scanChunk, scanWidth]` each.
struct ScanSteps {
  /// Inputs, step sizes, and their products; then what is added up over the states.
  float *inputs, *sizes, *drives, *out, *dSizes, *dDrives;
};

/// Steps `start` … `start + steps - 1`; `out` begins with what skips the states.
static inline void scanPack(const ScanCall& call, const ScanTask& task, int64_t start, int64_t steps,
                            const float* bias, const float* skip, const ScanSteps& to) {
  for (int64_t k = 0; k < steps; k++) {
    const int64_t at = call.row(task.b, start + k) * call.channels + task.from;
    const int64_t row = k * scanWidth;
    scanCopy(to.inputs + row, call.u + at, task.count);
    scanCopy(to.sizes + row, call.delta + at, task.count);
    for (int64_t i = 0; i < scanWidth; i += width) {
      const Vec size = softplusOf(load(to.sizes + row + i) + load(bias + i));
      const Vec input = load(to.inputs + row + i);
      store(to.sizes + row + i, size);
      store(to.drives + row + i, size * input);
      store(to.out + row + i, load(skip + i) * input);
    }
  }
}

/// While state `s` of a chunk is computed, its share of the next chunk's rows is fetched: they lie too far apart
/// for processors to foresee. The next chunk begins at step `start`, which may lie outside.
static SACCADE_INLINE void scanFetch(const ScanCall& call, const ScanTask& task, int64_t start, int64_t s,
                                     std::initializer_list<const float*> arrays) {
  for (int64_t k = s * scanChunk / call.states; k < (s + 1) * scanChunk / call.states; k++) {
    const int64_t step = start + k;
    if (step < 0 || step >= call.length) continue;
    const int64_t at = call.row(task.b, step) * call.channels + task.from;
    for (const float* array : arrays) {
      if (array == nullptr) continue;
      for (int64_t i = 0; i < task.count; i += 16) __builtin_prefetch(array + at + i, 0, 2);
    }
  }
}

constexpr float scanLog2E = 1.44269504088896f;

static void scanForward(const ScanCall& call, int64_t begin, int64_t end) {
  const int64_t states = call.states;
  const int64_t stateSize = states * scanWidth, stepsSize = scanChunk * scanWidth;
  const int64_t chunks = (call.length + scanChunk - 1) / scanChunk;
  float* exponents = scratch(0, stateSize);
  float* h = scratch(1, stateSize);
  float* memory = scratch(2, 4 * stepsSize);
  const ScanSteps chunk{memory, memory + stepsSize, memory + 2 * stepsSize, memory + 3 * stepsSize,
                        nullptr, nullptr};
  float bias[scanWidth], skip[scanWidth], gate[scanWidth];
  for (int64_t at = begin; at < end; at++) {
    const ScanTask task(call, at);
    const int64_t stateAt = (task.b * call.channels + task.from) * states;
    scanGather(exponents, call.A + task.from * states, task.count, states, scanLog2E);
    scanGather(h, call.initial + stateAt, task.count, states, 1);
    scanCopy(bias, call.deltaBias + task.from, task.count);
    scanCopy(skip, call.D + task.from, task.count);
    for (int64_t start = 0; start < call.length; start += scanChunk) {
      const int64_t steps = std::min(scanChunk, call.length - start);
      if (call.kept != nullptr) {
        memcpy(call.kept + (at * chunks + start / scanChunk) * stateSize, h, stateSize * sizeof(float));
      }
      scanPack(call, task, start, steps, bias, skip, chunk);
      for (int64_t s = 0; s < states; s++) {
        scanFetch(call, task, start + scanChunk, s, {call.u, call.delta, call.z});
        Vec exponent[scanVectors], state[scanVectors];
#pragma GCC unroll 4
        for (int64_t g = 0; g < scanVectors; g++) {
          exponent[g] = load(exponents + s * scanWidth + g * width);
          state[g] = load(h + s * scanWidth + g * width);
        }
        for (int64_t k = 0; k < steps; k++) {
          const int64_t mixAt = call.row(task.b, start + k) * states + s;
          const float b = call.B[mixAt], c = call.C[mixAt];
#pragma GCC unroll 4
          for (int64_t g = 0; g < scanVectors; g++) {
            const int64_t i = k * scanWidth + g * width;
            const Vec decay = scanPower(load(chunk.sizes + i) * exponent[g]);
            state[g] = decay * state[g] + load(chunk.drives + i) * b;
            store(chunk.out + i, load(chunk.out + i) + state[g] * c);
          }
        }
#pragma GCC unroll 4
        for (int64_t g = 0; g < scanVectors; g++) store(h + s * scanWidth + g * width, state[g]);
      }
      for (int64_t k = 0; k < steps; k++) {
        const int64_t yAt = call.row(task.b, start + k) * call.channels + task.from;
        float* out = chunk.out + k * scanWidth;
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

/// The states before each chunk, where the forward pass kept none.
static inline void scanCheckpoints(const ScanCall& call, const ScanTask& task, const float* exponents,
                                   const float* bias, const float* skip, const ScanSteps& chunk,
                                   float* checkpoints) {
  const int64_t states = call.states, stateSize = states * scanWidth;
  const int64_t chunks = (call.length + scanChunk - 1) / scanChunk;
  scanGather(checkpoints, call.initial + (task.b * call.channels + task.from) * states, task.count,
             states, 1);
  for (int64_t n = 0; n + 1 < chunks; n++) {
    scanPack(call, task, n * scanChunk, scanChunk, bias, skip, chunk);
    for (int64_t s = 0; s < states; s++) {
      scanFetch(call, task, (n + 1) * scanChunk, s, {call.u, call.delta});
      const float* before = checkpoints + n * stateSize + s * scanWidth;
      Vec exponent[scanVectors], state[scanVectors];
#pragma GCC unroll 4
      for (int64_t g = 0; g < scanVectors; g++) {
        exponent[g] = load(exponents + s * scanWidth + g * width) * scanLog2E;
        state[g] = load(before + g * width);
      }
      for (int64_t k = 0; k < scanChunk; k++) {
        const float b = call.B[call.row(task.b, n * scanChunk + k) * states + s];
#pragma GCC unroll 4
        for (int64_t g = 0; g < scanVectors; g++) {
          const int64_t i = k * scanWidth + g * width;
          const Vec decay = scanPower(load(chunk.sizes + i) * exponent[g]);
          state[g] = decay * state[g] + load(chunk.drives + i) * b;
        }
      }
      float* after = checkpoints + (n + 1) * stateSize + s * scanWidth;
#pragma GCC unroll 4
      for (int64_t g = 0; g < scanVectors; g++) store(after + g * width, state[g]);
    }
  }
}

static void scanBackward(const ScanCall& call, int64_t begin, int64_t end) {
  const int64_t states = call.states;
  const int64_t stateSize = states * scanWidth, stepsSize = scanChunk * scanWidth;
  const int64_t chunks = (call.length + scanChunk - 1) / scanChunk;
  float* exponents = scratch(0, stateSize);
  float* dh = scratch(1, stateSize);
  float* memory = scratch(2, 9 * stepsSize);
  const ScanSteps chunk{memory, memory + stepsSize, memory + 2 * stepsSize, memory + 3 * stepsSize,
                        memory + 4 * stepsSize, memory + 5 * stepsSize};
  float* dOut = memory + 6 * stepsSize;
  float* h = memory + 7 * stepsSize;
  float* decays = memory + 8 * stepsSize;
  float* sumsB = scratch(3, scanChunk * width);
  float* sumsC = scratch(4, scanChunk * width);
  float* own = call.kept != nullptr ? nullptr : scratch(5, std::max<int64_t>(1, chunks) * stateSize);
  float bias[scanWidth], skip[scanWidth], gate[scanWidth], line[scanWidth];
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
    if (own != nullptr) scanCheckpoints(call, task, exponents, bias, skip, chunk, own);
    const float* checkpoints = own != nullptr ? own : call.kept + at * chunks * stateSize;

    // Chunk by chunk from the end, state by state: what the chunk went through, and back.
    for (int64_t n = chunks - 1; n >= 0; n--) {
      const int64_t start = n * scanChunk;
      const int64_t steps = std::min(scanChunk, call.length - start);
      scanPack(call, task, start, steps, bias, skip, chunk);
      memset(chunk.dSizes, 0, steps * scanWidth * sizeof(float));
      memset(chunk.dDrives, 0, steps * scanWidth * sizeof(float));
      for (int64_t k = 0; k < steps; k++) {
        const int64_t rowAt = call.row(task.b, start + k) * call.channels + task.from;
        float* dy = dOut + k * scanWidth;
        scanCopy(dy, call.dY + rowAt, task.count);
        if (call.z == nullptr) continue;
        scanCopy(gate, call.z + rowAt, task.count);
        for (int64_t i = 0; i < scanWidth; i += width) {
          const Vec z = load(gate + i);
          store(dy + i, load(dy + i) * z * logistic(z));
        }
      }
      for (int64_t s = 0; s < states; s++) {
        scanFetch(call, task, start - scanChunk, s, {call.u, call.delta, call.dY, call.z});
        Vec exponent[scanVectors], state[scanVectors];
#pragma GCC unroll 4
        for (int64_t g = 0; g < scanVectors; g++) {
          exponent[g] = load(exponents + s * scanWidth + g * width) * scanLog2E;
          state[g] = load(checkpoints + n * stateSize + s * scanWidth + g * width);
        }
        for (int64_t k = 0; k < steps; k++) {
          const int64_t mixAt = call.row(task.b, start + k) * states + s;
          const float b = call.B[mixAt], c = call.C[mixAt];
          Vec sumC{};
#pragma GCC unroll 4
          for (int64_t g = 0; g < scanVectors; g++) {
            const int64_t i = k * scanWidth + g * width;
            const Vec decay = scanPower(load(chunk.sizes + i) * exponent[g]);
            // What the decay is taken of: all that the way back needs of the states.
            store(h + i, state[g]);
            store(decays + i, decay);
            state[g] = decay * state[g] + load(chunk.drives + i) * b;
            sumC = sumC + load(dOut + i) * state[g];
            if (call.z != nullptr) store(chunk.out + i, load(chunk.out + i) + state[g] * c);
          }
          store(sumsC + k * width, sumC);
        }
        Vec carried[scanVectors], sumA[scanVectors];
#pragma GCC unroll 4
        for (int64_t g = 0; g < scanVectors; g++) {
          exponent[g] = load(exponents + s * scanWidth + g * width);
          carried[g] = load(dh + s * scanWidth + g * width);
          sumA[g] = load(dA + s * scanWidth + g * width);
        }
        for (int64_t k = steps - 1; k >= 0; k--) {
          const int64_t mixAt = call.row(task.b, start + k) * states + s;
          const float b = call.B[mixAt], c = call.C[mixAt];
          Vec sumB{};
#pragma GCC unroll 4
          for (int64_t g = 0; g < scanVectors; g++) {
            const int64_t i = k * scanWidth + g * width;
            const Vec dState = carried[g] + load(dOut + i) * c;
            carried[g] = dState * load(decays + i);
            const Vec dExponent = carried[g] * load(h + i);
            sumB = sumB + dState * load(chunk.drives + i);
            sumA[g] = sumA[g] + dExponent * load(chunk.sizes + i);
            store(chunk.dSizes + i, load(chunk.dSizes + i) + dExponent * exponent[g]);
            store(chunk.dDrives + i, load(chunk.dDrives + i) + dState * b);
          }
          store(sumsB + k * width, sumB);
        }
#pragma GCC unroll 4
        for (int64_t g = 0; g < scanVectors; g++) {
          store(dh + s * scanWidth + g * width, carried[g]);
          store(dA + s * scanWidth + g * width, sumA[g]);
        }
        const int64_t sumsAt = (at * states + s) * call.length + start;
        scanSums(call.partialB + sumsAt, sumsB, steps);
        scanSums(call.partialC + sumsAt, sumsC, steps);
      }
      for (int64_t k = 0; k < steps; k++) {
        const int64_t rowAt = call.row(task.b, start + k) * call.channels + task.from;
        const int64_t row = k * scanWidth;
        if (call.z != nullptr) {
          scanCopy(gate, call.z + rowAt, task.count);
          scanCopy(line, call.dY + rowAt, task.count);
          for (int64_t i = 0; i < scanWidth; i += width) {
            const Vec z = load(gate + i);
            const Vec sigmoid = logistic(z);
            store(line + i, load(line + i) * load(chunk.out + row + i) * sigmoid *
                                (1.0f + z * (1.0f - sigmoid)));
          }
          memcpy(call.dZ + rowAt, line, task.count * sizeof(float));
        }
        scanCopy(gate, call.delta + rowAt, task.count);
        float* dInput = chunk.dDrives + row;
        float* dSize = chunk.dSizes + row;
        for (int64_t i = 0; i < scanWidth; i += width) {
          const Vec input = load(chunk.inputs + row + i), dy = load(dOut + row + i);
          const Vec dDrive = load(dInput + i);
          const Vec raw = load(gate + i) + load(bias + i);
          const Vec dRaw = (load(dSize + i) + dDrive * input) * logistic(raw);
          store(dInput + i, dDrive * load(chunk.sizes + row + i) + dy * load(skip + i));
          store(dSize + i, dRaw);
          store(dD + i, load(dD + i) + dy * input);
          store(dBias + i, load(dBias + i) + dRaw);
        }
        memcpy(call.dU + rowAt, dInput, task.count * sizeof(float));
        memcpy(call.dDelta + rowAt, dSize, task.count * sizeof(float));
      }
    }
    scanScatter(call.dInitial + stateAt, dh, task.count, states);
  }
}

/// Adds up the groups' parts of dB and dC for steps of `[batch · length]` in the order of the recurrence.
static void scanAddMixes(const ScanCall& call, int64_t begin, int64_t end) {
  const int64_t states = call.states, length = call.length;
  const auto add = [&](float* to, const float* partial, int64_t b, int64_t first, int64_t steps) {
    for (int64_t s = 0; s < states; s++) {
      for (int64_t step = first; step < first + steps; step += width) {
        const int64_t lanes = std::min(width, first + steps - step);
        Vec sum{};
        for (int64_t group = 0; group < call.groups; group++) {
          const float* from = partial + ((b * call.groups + group) * states + s) * length + step;
          sum = sum + (lanes == width ? load(from) : loadPart(from, lanes));
        }
        for (int64_t i = 0; i < lanes; i++) to[call.row(b, step + i) * states + s] = sum[i];
      }
    }
  };
  constexpr int64_t block = 64;
  for (int64_t r = begin; r < end;) {
    const int64_t b = r / length, first = r % length;
    const int64_t steps = std::min({block, end - r, length - first});
    add(call.dB, call.partialB, b, first, steps);
    add(call.dC, call.partialC, b, first, steps);
    r += steps;
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
